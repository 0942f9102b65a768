"""The one instruction-set policy: the best level that was built and that this processor runs, or FASTML_ISA."""

import importlib.util
import os
from functools import cache

from fastml._core.baseline import _system

LEVELS: tuple[str, ...] = ("baseline", "v3")  # worst to best; setup.py builds them


def _usable() -> list[str]:
    runs = {"baseline": True, "v3": _system.has_v3()}
    return [level for level in LEVELS if runs[level] and importlib.util.find_spec(f"fastml._core.{level}._system")]


@cache
def isa() -> str:
    """The level in use, read once: FASTML_ISA if it is set, else the best of those that can run here."""
    usable = _usable()
    forced = os.environ.get("FASTML_ISA")
    if not forced:
        return usable[-1]
    if forced not in usable:
        raise ValueError(f"FASTML_ISA is {forced!r}, which this processor or build does not have; use one of {usable}")
    return forced
