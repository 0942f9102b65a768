"""Checks of integers, numbers, flags and choices. Each returns the clean value or raises with the argument's name."""

import math
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

MOST = 2**63 - 1  # what a kernel's index can hold


def integer(value: Any, name: str, least: int, most: int = MOST) -> int:
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}") from None
    if not least <= number <= most:
        shown = str(number) if abs(number) <= 2**64 else f"an integer of {number.bit_length()} bits"
        raise ValueError(f"{name} must be from {least} to {most}, got {shown}")
    return number


def pair(value: Any, name: str, least: int) -> tuple[int, int]:
    """One integer for both axes, or (vertical, horizontal)."""
    if is_sequence(value):
        if len(value) != 2:
            raise ValueError(f"{name} must be an integer or two of them, got {len(value)} values")
        return integer(value[0], f"{name}[0]", least), integer(value[1], f"{name}[1]", least)
    number = integer(value, name, least)
    return number, number


def is_sequence(value: Any) -> bool:
    return (isinstance(value, Sequence) and not isinstance(value, str | bytes)) or getattr(value, "ndim", 0) > 0


def number(value: Any, name: str, least: float, most: float = math.inf) -> float:
    # isinstance(value, Real) takes half a microsecond, and most numbers are floats
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    try:
        clean = float(value)
    except OverflowError:  # an integer of more than 308 digits
        clean = math.inf
    if not (least <= clean <= most and math.isfinite(clean)):
        raise ValueError(f"{name} must be a finite number from {least} to {most}, got {clean}")
    return clean


def flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}")
    return bool(value)


def choice(value: Any, name: str, accepted: Sequence[str | None]) -> Any:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be one of {accepted}, got {type(value).__name__}")
    if value not in accepted:
        raise ValueError(f"{name} must be one of {accepted}, got {value!r}")
    return value
