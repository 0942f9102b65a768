"""The sum of each class, by threads that get into each other's way less and less. See docs/ladder/threads.md.

Each step takes float64 values (n,), their labels (n,), uint8, and the number of classes, and returns (n_classes,) sums.
All but `shared` are right. They run on as many threads as `numba.set_num_threads` says.

>>> import numpy as np
>>> from fastml.learn.ladders import threads
>>> values, labels = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 1, 0, 2], np.uint8)
>>> for step in threads.STEPS:
...     if step.__name__ not in threads.FAILS:
...         print(step.__name__, step(values, labels, 3))
one [5. 2. 8.]
neighbours [5. 2. 8.]
apart [5. 2. 8.]
local [5. 2. 8.]
in_order [5. 2. 8.]
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

GAP = 16  # float64 between two rows: 128 bytes, two lines of the cache, as some processors fetch lines in pairs
CHUNK = 2**14  # values that are added up on their own, whatever the number of threads


def compiled(function: Function) -> Function:
    """Compile for one thread."""
    return cast(Function, numba.njit(error_model="numpy", nogil=True)(function))


def on_threads(function: Function) -> Function:
    """Compile, and share the steps of `prange` among threads: not those of np.zeros, which Numba would share, too."""
    only_prange: Any = {"numpy": False, "setitem": False, "reduction": False}
    return cast(Function, numba.njit(error_model="numpy", nogil=True, parallel=only_prange)(function))


@compiled
def add(values: Array, labels: Array, first: int, last: int, sums: Array) -> None:
    """The loop that all steps run: values[first:last] are added to the sums of their classes."""
    for i in range(first, last):
        sums[labels[i]] += values[i]


@compiled
def merged(parts: Array) -> Array:
    """The sum of the rows, from the first to the last."""
    total = np.zeros(parts.shape[1])
    for part in parts:
        total += part
    return total


@compiled
def one(values: Array, labels: Array, n_classes: int) -> Array:
    """one thread"""
    sums = np.zeros(n_classes)
    add(values, labels, 0, values.size, sums)
    return sums


@on_threads
def shared(values: Array, labels: Array, n_classes: int) -> Array:
    """each thread takes a share of the values; all add to the same sums"""
    threads = numba.get_num_threads()
    sums = np.zeros(n_classes)
    for thread in numba.prange(threads):
        first, last = values.size * thread // threads, values.size * (thread + 1) // threads
        add(values, labels, first, last, sums)
    return sums


@on_threads
def neighbours(values: Array, labels: Array, n_classes: int) -> Array:
    """sums of its own for each thread, next to those of the other threads"""
    threads = numba.get_num_threads()
    sums = np.zeros((n_classes, threads))
    for thread in numba.prange(threads):
        first, last = values.size * thread // threads, values.size * (thread + 1) // threads
        add(values, labels, first, last, sums[:, thread])
    return merged(sums.T)


@on_threads
def apart(values: Array, labels: Array, n_classes: int) -> Array:
    """a row for each thread, and two lines of the cache between rows"""
    threads = numba.get_num_threads()
    sums = np.zeros((threads, n_classes + GAP))
    for thread in numba.prange(threads):
        first, last = values.size * thread // threads, values.size * (thread + 1) // threads
        add(values, labels, first, last, sums[thread])
    return merged(sums[:, :n_classes])


@on_threads
def local(values: Array, labels: Array, n_classes: int) -> Array:
    """an array that the thread makes itself; what others read is written once, at the end"""
    threads = numba.get_num_threads()
    parts = np.empty((threads, n_classes))
    for thread in numba.prange(threads):
        first, last = values.size * thread // threads, values.size * (thread + 1) // threads
        sums = np.zeros(n_classes)
        add(values, labels, first, last, sums)
        parts[thread] = sums
    return merged(parts)


@on_threads
def in_order(values: Array, labels: Array, n_classes: int) -> Array:
    """chunks of a fixed size, added up in order: the same bits for any number of threads"""
    chunks = (values.size + CHUNK - 1) // CHUNK
    parts = np.empty((chunks, n_classes))
    for chunk in numba.prange(chunks):
        first, last = chunk * CHUNK, min((chunk + 1) * CHUNK, values.size)
        sums = np.zeros(n_classes)
        add(values, labels, first, last, sums)
        parts[chunk] = sums
    return merged(parts)


STEPS = (one, shared, neighbours, apart, local, in_order)
FAILS = {"shared": "threads lose each other's additions"}


def _case(n: int, n_classes: int, ordered: bool = False) -> tuple[Array, Array, int]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, n).astype(np.uint8)
    return rng.random(n), np.sort(labels) if ordered else labels, n_classes


CASES = {
    "1 Mi values, 4 classes": partial(_case, 2**20, 4),
    "1 Mi values, 4 classes, sorted": partial(_case, 2**20, 4, True),
    "1 Mi values, 256 classes": partial(_case, 2**20, 256),
    "10000 values, 4 classes": partial(_case, 10_000, 4),
}


def expected(values: Array, labels: Array, n_classes: int) -> Array:
    return np.bincount(labels, values, n_classes)


def work(values: Array, labels: Array, n_classes: int) -> tuple[float, float, float]:
    """Values and labels are read once, and each value is added once."""
    return values.nbytes + labels.nbytes, 8 * n_classes, values.size
