"""Python without asserts and docstrings, `python -OO`: what is refused, and every bit, must be as without it."""

import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.trust import hostile, work
from tests.trust.figures import Figure
from tests.trust.isolated import Died, outcomes


@cache
def arrays() -> dict[str, Any]:
    return work.arrays(0)


def answer(kind: str, name: str, given: dict[str, Any]) -> tuple[int, str]:
    """The interpreter's level of optimization; and what a hostile call comes to, or all bits of another one."""
    if kind == "hostile":
        return sys.flags.optimize, hostile.attempt("fastml", name, given)[0]
    return sys.flags.optimize, hashlib.sha256(work.bits(work.calls(arrays(), **given)[name]())).hexdigest()


def differing(calls: list[list[Any]]) -> int:
    """How many come to something else, or to nothing, in an interpreter that skips asserts."""
    ordinary, without = (outcomes("tests.trust.optimized:answer", calls, 60, PYTHONOPTIMIZE=level)
                         for level in ("", "2"))  # fmt: skip
    return sum(isinstance(one, Died) or isinstance(other, Died) or [one[0], other[0]] != [0, 2] or one[1] != other[1]
               for one, other in zip(ordinary, without, strict=True))  # fmt: skip


def optimized(thorough: bool) -> Iterator[Figure]:
    """Row 4: nothing is refused by an assert, and nothing needs a docstring."""
    refused = [["hostile", op, changes] for topic in hostile.ATTRIBUTES
               for _, op, changes in hostile.attribute_calls(topic, "fastml", False)]  # fmt: skip
    options: list[dict[str, Any]] = [{}, {"backend": "numpy"}, *([{"backend": "numba"}] if thorough else [])]
    answered = [["sound", name, chosen] for chosen in options for name in work.calls(arrays(), **chosen)]
    what = f"of {len(refused)} such calls and {len(answered)} others those with another error or other bits"
    yield Figure(4, f"{what} under python -OO", differing(refused + answered), "= 0")
