"""A figure: what was measured of a threat, and what it should be."""

import math
import operator
from dataclasses import dataclass, field

COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@dataclass(frozen=True)
class Figure:
    """`row` is that of `rows.THREATS`; `target` is a comparison, "= 0" or ">= 15", or empty where none is meant.

    `peers` are figures of the same test, of other libraries.
    """

    row: int
    what: str
    value: float
    target: str = ""
    unit: str = ""
    peers: dict[str, float | str] = field(default_factory=dict)

    @property
    def reached(self) -> bool:
        """Whether the target is met, as far as there is one; NaN meets none."""
        if not self.target:
            return True
        comparison, _, limit = self.target.partition(" ")
        return bool(COMPARISONS[comparison](self.value, float(limit)))


def largest(*values: float) -> float:
    """Of measured values; NaN if one of them is, which `max` may pass over."""
    return math.nan if any(map(math.isnan, values)) else max(values)


def shown(value: float | str) -> str:
    """Counts as they are, measured numbers with three digits."""
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
