"""What the grader asks of an exercise: cases, an oracle in float64, a bound on the error, a problem to time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SINGLE = float(np.finfo(np.float32).eps) / 2  # the relative error of one rounding
DOUBLE = float(np.finfo(np.float64).eps) / 2
Cases = Iterator[tuple[str, tuple[Any, ...]]]


@dataclass(frozen=True)
class Exercise:
    """The function takes the inputs of a case, then the array for its result, then the number of threads if any.

    `oracle` and `allowed` take the same inputs, arrays widened to float64: they say what is right, and by how much each
    value may be off. Their parameters have the names of the inputs. The bounds count roundings; a right kernel keeps
    them in whatever order it adds.
    """

    function: str  # what a file must define
    cases: Callable[[], Cases]  # (what is special about it, inputs)
    oracle: Callable[..., Array]
    allowed: Callable[..., Any]
    timed: Callable[[int], tuple[Any, ...]]  # inputs of the problem that is timed, from a seed
    stars: tuple[float, float, float] = (0.5, 0.7, 0.85)  # speeds to reach, as shares of the solution's
    dtype: str = "float32"  # of the result
    threads: tuple[int, ...] = ()  # the numbers to try; the first gives the bits that all must give
    sizes: Callable[..., tuple[int, ...]] | None = None  # in C: what follows the pointers; from inputs and result
    rung: Callable[..., Any] | None = None  # what fastml ships for this: takes inputs and result


def normal(*shape: int, seed: int = 0, mean: float = 0.0, std: float = 1.0) -> Array:
    """Random numbers, the same ones for the same seed.

    >>> normal(2, 3, seed=1).shape
    (2, 3)
    """
    return np.random.default_rng(seed).normal(mean, std, shape).astype(np.float32)


def placed(array: Array, index: Any, value: float) -> Array:
    """A copy in which one value, or several, are another.

    >>> placed(np.zeros(3), 1, np.nan)
    array([ 0., nan,  0.])
    """
    copy = array.copy()
    copy[index] = value
    return copy
