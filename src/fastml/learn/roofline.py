"""What this machine can do at best: bytes and floating-point operations a second, measured when first asked for.

No operation can take less time than its bytes and its flops do at these rates (Williams, Waterman and Patterson,
"Roofline", 2009). All rates are those of the best of several short blocks, with fastml's own threads and instruction
set; another program that runs meanwhile lowers them.

>>> from fastml.learn import roofline
>>> x_bytes = 8 * 64 * 112 * 112 * 4  # max_pool2d of 2 x 2 reads four values and writes one
>>> least = roofline.seconds(x_bytes, x_bytes / 4, 3 * x_bytes / 16)
>>> 0 < least < 1
True
"""

import importlib
import math
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml import _cpu, _threads
from fastml._validate.numbers import choice, number

KINDS = ("read", "write", "copy")
DTYPES = ("float32", "float64")
SMALLEST, LARGEST = 2**14, 2**28  # bytes: below, a loop is all that one sees; above, it is memory in any case
BLOCK, BLOCKS = 0.003, 8  # seconds of a block, at least; blocks
FIRST_BYTES, FIRST_FLOPS = 2**25, 2**28  # of the first block: milliseconds, so that one interruption is not all it sees
PAGE = 4096


def bandwidth(kind: str, n_bytes: float, n_threads: int | None = None) -> float:
    """Bytes a second that `n_threads` threads "read", "write" or "copy" in arrays of `n_bytes` bytes in all.

    Where the arrays fit into a cache it is the bandwidth of that cache: they are gone over several times. Sizes are
    rounded to a quarter of a power of two, and clipped to 16 KB and 256 MB. `kind` "copy" counts the bytes read and
    those written; half of n_bytes are of either. Writing goes through the caches or past them, whichever is faster.
    `n_threads` None stands for what `fastml.get_num_threads` says.

    Raises ValueError for another kind, or a size that is not positive; TypeError for what is no number.

    Takes about a tenth of a second, once for each kind, size and number of threads in a process.

    >>> from fastml.learn import roofline
    >>> roofline.bandwidth("read", 2**20) > 0
    True
    """
    choice(kind, "kind", KINDS)
    size = number(n_bytes, "n_bytes", 1)
    quarters = round(4 * math.log2(min(max(size, SMALLEST), LARGEST)))
    return _bandwidth(kind, quarters, _threads.count(n_threads, math.inf))


def flops(dtype: str = "float32", n_threads: int | None = None) -> float:
    """Floating-point operations a second, a multiplication and an addition in one instruction being two.

    Measured in matrix products of panels in the first-level cache, in the instruction set that fastml's kernels use.
    `dtype` is "float32" or "float64"; `n_threads` None stands for what `fastml.get_num_threads` says.

    Raises ValueError for another dtype; TypeError for what is no string.

    >>> from fastml.learn import roofline
    >>> roofline.flops("float32", n_threads=1) > 0
    True
    """
    return _flops(choice(dtype, "dtype", DTYPES), _threads.count(n_threads, math.inf))


def seconds(
    read: float,
    written: float,
    flops: float = 0,
    *,
    dtype: str = "float32",
    n_threads: int | None = None,
    working_set: float | None = None,
) -> float:
    """The least time for `read` and `written` bytes and `flops` operations of `dtype`: they may all overlap.

    Bytes written are paired with as many that are read, at the bandwidth of copying; the rest is only read, or only
    written. `working_set` is the size of all arrays together, read + written when None, and says which cache, if any,
    they come from; `n_threads` is as in `bandwidth`.

    Raises ValueError for negative numbers and another dtype; TypeError for what is no number.

    >>> from fastml.learn import roofline
    >>> roofline.seconds(2**20, 0) < roofline.seconds(2**26, 0)
    True
    """
    read, written = number(read, "read", 0), number(written, "written", 0)
    operations, peak_of = number(flops, "flops", 0), choice(dtype, "dtype", DTYPES)
    threads = _threads.count(n_threads, math.inf)
    size = number(read + written if working_set is None else working_set, "working_set", 0)
    both = min(read, written)
    moved = {"copy": 2 * both, "read": read - both, "write": written - both}
    bytes_time = sum(amount / bandwidth(kind, max(size, 1), threads) for kind, amount in moved.items() if amount)
    return max(bytes_time, operations / _flops(peak_of, threads) if operations else 0.0)


def forget() -> None:
    """Measure anew at the next question.

    >>> from fastml.learn import roofline
    >>> roofline.forget()
    """
    _bandwidth.cache_clear()
    _flops.cache_clear()


@cache
def _kernels() -> Any:
    return importlib.import_module(f"fastml._core.{_cpu.isa()}._roofline")


@cache
def _bandwidth(kind: str, quarters: int, n_threads: int) -> float:
    core, size = _kernels(), round(2 ** (quarters / 4)) // 16 * 16
    first = max(FIRST_BYTES // size, 1)
    if kind == "read":
        x = _buffer(size).view(np.int64)
        return size * _rate(lambda repeats: core.read(x, repeats, n_threads), first)
    out = _buffer(size if kind == "write" else size // 2)
    source = _buffer(out.nbytes)

    def move(past_caches: bool) -> float:
        if kind == "write":
            return _rate(lambda repeats: core.write(past_caches, repeats, out, n_threads), first)
        return _rate(lambda repeats: core.copy(source, past_caches, repeats, out, n_threads), first)

    return size * max(move(past_caches=False), move(past_caches=True))


@cache
def _flops(dtype: str, n_threads: int) -> float:
    core = _kernels()
    tiles = np.empty((n_threads, PAGE), dtype)  # rows far enough apart for threads not to disturb each other
    once = float(core.multiply(1, tiles, n_threads))
    return once * _rate(lambda repeats: core.multiply(repeats, tiles, n_threads), round(FIRST_FLOPS / once))


def _buffer(size: int) -> NDArray[np.float64]:
    """Ones, from the start of a page on; written, as memory that never was is all one page of zeros."""
    raw = np.ones((size + PAGE) // 8)
    first = -raw.ctypes.data % PAGE // 8
    return raw[first : first + size // 8]


def _rate(run: Callable[[int], Any], repeats: int) -> float:
    """Repeats a second, of the best block."""
    while (elapsed := _timed(run, repeats)) < BLOCK:
        repeats = max(2 * repeats, int(repeats * BLOCK / max(elapsed, 1e-9)))
    return repeats / min(elapsed, *(_timed(run, repeats) for _ in range(BLOCKS - 1)))


def _timed(run: Callable[[int], Any], repeats: int) -> float:
    start = time.perf_counter()
    run(repeats)
    return time.perf_counter() - start
