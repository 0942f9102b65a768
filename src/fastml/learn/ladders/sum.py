"""The sum of an array by one idea after the other: latency, chains, vectors, digits, threads. See docs/ladder/sum.md.

Each step takes a float32 array (n,) and returns its sum. All but two are right; see `FAILS`.

>>> import numpy as np
>>> from fastml.learn.ladders import sum
>>> x = np.arange(1, 11, dtype=np.float32)
>>> sorted({float(step(x)) for step in sum.STEPS})
[55.0]
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

REORDER = {"reassoc", "contract", "nsz", "arcp"}  # additions in any order; NaN and infinity keep their meaning
ZERO = np.float32(0)
BLOCK = 4096  # values that are added up in float32: 16 KiB, half of a first-level cache


def as_written(function: Function) -> Function:
    """Compile additions in the order in which they are written."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True)(function))


def in_any_order(function: Function) -> Function:
    """Compile, and let LLVM put additions into another order."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True, fastmath=REORDER)(function))


def on_threads(function: Function) -> Function:
    """Compile additions as they are written, and share the steps of `prange` among Numba's threads."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True, parallel=True)(function))


def python(x: Array) -> Any:
    """a loop over Python's floats, which are float64"""
    total = 0.0
    for value in x.tolist():
        total += value
    return total


def numpy(x: Array) -> Any:
    """np.sum: eight sums of 128 values at the most, then sums of sums, in pairs"""
    return np.sum(x)


@as_written
def compiled(x: Array) -> Any:
    """the loop, compiled: each addition waits for the one before"""
    total = ZERO
    for i in range(x.size):
        total += x[i]
    return total


@as_written
def two(x: Array) -> Any:
    """two sums in turn: while one waits, the other adds"""
    a = b = ZERO
    whole = x.size // 2 * 2
    for i in range(0, whole, 2):
        a += x[i]
        b += x[i + 1]
    for i in range(whole, x.size):
        a += x[i]
    return a + b


@as_written
def four(x: Array) -> Any:
    """four sums in turn"""
    a = b = c = d = ZERO
    whole = x.size // 4 * 4
    for i in range(0, whole, 4):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
    for i in range(whole, x.size):
        a += x[i]
    return (a + b) + (c + d)


@as_written
def eight(x: Array) -> Any:
    """eight sums: more than fit between an addition and its result"""
    a = b = c = d = e = f = g = h = ZERO
    whole = x.size // 8 * 8
    for i in range(0, whole, 8):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
        e += x[i + 4]
        f += x[i + 5]
        g += x[i + 6]
        h += x[i + 7]
    for i in range(whole, x.size):
        a += x[i]
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@in_any_order
def vectors(x: Array) -> Any:
    """the simple loop, and leave to reorder it: LLVM makes vectors of sums"""
    total = ZERO
    for i in range(x.size):
        total += x[i]
    return total


@in_any_order
def many(x: Array) -> Any:
    """the same from four places at once: more vectors of sums"""
    a = b = c = d = ZERO
    quarter = x.size // 4
    for i in range(quarter):
        a += x[i]
        b += x[i + quarter]
        c += x[i + 2 * quarter]
        d += x[i + 3 * quarter]
    for i in range(4 * quarter, x.size):
        a += x[i]
    return (a + b) + (c + d)


@as_written
def kahan(x: Array) -> Any:
    """digits: what an addition rounds off is kept, and put into the next one"""
    total = lost = ZERO
    for i in range(x.size):
        value = x[i] - lost
        larger = total + value
        lost = (larger - total) - value
        total = larger
    return total


@in_any_order
def wide(x: Array) -> Any:
    """digits: the simple loop again, with sums in float64"""
    total = 0.0
    for i in range(x.size):
        total += x[i]
    return total


@as_written
def blocks(x: Array) -> Any:
    """both: float32 within a block of 4096 values, float64 from block to block"""
    total = 0.0
    for first in range(0, x.size, BLOCK):
        total += vectors(x[first : first + BLOCK])
    return total


@on_threads
def threads(x: Array) -> Any:
    """blocks on all threads, added up in the order of the array: the same bits for any number of them"""
    sums = np.empty((x.size + BLOCK - 1) // BLOCK)
    for block in numba.prange(sums.size):
        sums[block] = vectors(x[block * BLOCK : (block + 1) * BLOCK])
    total = 0.0
    for block in range(sums.size):
        total += sums[block]
    return total


STEPS = (python, numpy, compiled, two, four, eight, vectors, many, kahan, wide, blocks, threads)
FAILS = {
    "compiled": "from 2^24 on float32 are 2 apart, and each value between 1 and 2 counts as 2",
    "two": "from 2^23 on float32 are 1 apart: millions of roundings of up to a half show in the fifth digit",
}
SKIP = {("python", "16 Mi float32"): "interpreted: 16 Mi of Python's floats take half a gigabyte"}


def values(n: int) -> tuple[Array]:
    """n numbers between 1 and 2."""
    return ((np.random.default_rng(0).random(n, np.float32) + 1).astype(np.float32),)


CASES: dict[str, Callable[[], tuple[Array]]] = {
    "65536 float32": lambda: values(2**16),  # 256 KiB: in a second-level cache
    "4096 float32": lambda: values(2**12),  # 16 KiB: in the first-level cache
    "1 Mi float32": lambda: values(2**20),  # 4 MiB: in the third-level cache
    "16 Mi float32": lambda: values(2**24),  # 64 MiB: in memory, mostly
}


def expected(x: Array) -> Array:
    """The sum in float64."""
    return np.array([np.sum(x, dtype=np.float64)])


def work(x: Array) -> tuple[float, float, float]:
    """Bytes read, bytes written, additions."""
    return x.nbytes, 0, x.size


@as_written
def again(step: Callable[[Array], Any], x: Array, times: int) -> float:
    """The total of `times` calls from compiled code, where a call costs less than one from Python."""
    total = 0.0
    for _ in range(times):
        total += step(x)
    return total
