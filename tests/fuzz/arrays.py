"""Arrays of any dtype, layout and kind of values, and arguments that are no arrays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fuzz.choices import Choices
from tests.test_layouts import LAYOUTS
from tests.trust.hostile import EDGES, HUGE, NO_INTEGERS

DTYPES = ("f4", "f8", "f2", "i4", "i8", "u1", "?", "u8", "g", "c8", "S3", "U2", "O", "m8[s]")
LARGE = 2**20  # values, which no array here has that does not only claim it
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 1e-45, 5e-324, 1e-38, 6e4, 3e38, 1e308)
JUNK = (
    *EDGES, *NO_INTEGERS, -0.5, 0.5, 1e300, -np.inf, "relu", "same", "full", b"a", (1, 2), (2, 1, 3), ((0, 1), (2, 0)),
    (2**62, 1), (1, 2**31), range(2), np.int8(3), np.bool_(True), np.float32(0.5), np.array(2), np.array([2, 1]),
    np.array("a"), np.ma.masked_array([1.0, 2.0], [True, False]), [[1.0], [1.0, 2.0]], object(), int,
)  # fmt: skip


def sprinkled(*specials: float) -> Callable[..., Any]:
    """Normal values, a tenth of them others."""

    def change(x: Any, random: Any) -> Any:
        return np.where(random.random(x.shape) < 0.1, random.choice(specials, x.shape), x)

    return change


STYLES: tuple[Callable[..., Any], ...] = (
    lambda x, random: x,
    lambda x, random: np.round(4 * x),
    lambda x, random: np.sign(x),
    lambda x, random: x + 1e4,
    lambda x, random: x + 1e7,
    lambda x, random: np.full_like(x, 14.62),
    lambda x, random: x * 0,
    lambda x, random: x * 1e-5,
    lambda x, random: x * 1e5,
    sprinkled(np.nan),
    sprinkled(np.inf),
    sprinkled(-np.inf, np.inf, np.nan),
    sprinkled(*SPECIAL),
    lambda x, random: x * 1e-42,
    lambda x, random: x * 1e-310,
    lambda x, random: x * 1e25,
    lambda x, random: x * 1e200,
    lambda x, random: x * np.nan,
)


def array(choices: Choices, shape: tuple[int, ...], dtype: str, *, positive: bool = False) -> Any:
    """Mostly of this dtype, C-contiguous and of ordinary values."""
    random = np.random.default_rng(choices.integer(0, 255))
    x = np.asarray(choices.maybe(STYLES[0], STYLES)(np.asarray(random.normal(size=shape)), random))
    if positive and not choices.chance(16):
        x = np.abs(x, out=x)
    with np.errstate(all="ignore"):
        x = x.astype(choices.maybe(dtype, DTYPES, 24))
    layout = choices.maybe("C", [*LAYOUTS])
    return LAYOUTS[layout](x) if x.ndim and not x.dtype.hasobject else x


def places(shape: tuple[int, ...]) -> int:
    """Values of an array of this shape, if no axis were empty: a list of it has that many parts, even of no values."""
    return math.prod(n or 1 for n in shape)


def junk(choices: Choices, value: Any, dtype: str) -> Any:
    """What nobody gives in good faith: instead of an array often another array."""
    if not isinstance(value, np.ndarray) or places(value.shape) > LARGE or choices.chance(3):
        return choices.pick(JUNK)
    kind = choices.integer(0, 4)
    if kind == 0:
        return value.tolist()
    axis = choices.integer(0, max(value.ndim - 1, 0))
    if kind == 1 and value.ndim:
        return np.delete(value.view(np.ndarray), slice(None), axis)
    if kind == 2 and value.ndim:
        before, after = value.shape[:axis], value.shape[axis + 1 :]
        size = choices.pick(HUGE) // places(before + after)  # or NumPy cannot count its bytes
        shape = (*before, size, *after)
        return np.broadcast_to(np.zeros((1,) * value.ndim, dtype), shape)
    return array(choices, tuple(choices.integer(0, 4) for _ in range(choices.integer(0, 5))), dtype)


def plain(value: Any) -> Any:
    """A copy as a kernel would read it; not of what only claims to be large."""
    return value if value.size > LARGE else np.array(value, value.dtype.newbyteorder("="), order="C", subok=False)
