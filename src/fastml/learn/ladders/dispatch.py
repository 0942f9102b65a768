"""One kernel, one thread or all, this processor's instructions or any processor's. See docs/ladder/dispatch.md.

Each step takes x (rows, columns), float32, and float64 vectors of its width, and returns (x - mean) / scale. All of
them run the same Cython function, `rows` of `_core/standardize.pyx`. Only who chooses changes, and what is chosen.

>>> import numpy as np
>>> from fastml.learn.ladders import dispatch
>>> x = np.array([[1, 4], [3, 8]], np.float32)
>>> for step in dispatch.STEPS:
...     print(step.__name__, step(x, np.array([1.0, 6.0]), np.array([2.0, 4.0])).tolist())
baseline [[0.0, -0.5], [1.0, 0.5]]
best [[0.0, -0.5], [1.0, 0.5]]
threads [[0.0, -0.5], [1.0, 0.5]]
called [[0.0, -0.5], [1.0, 0.5]]
"""

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml import get_num_threads, standardize
from fastml._cpu import isa

Array: TypeAlias = NDArray[Any]


@functools.cache
def kernel(level: str) -> Callable[..., None]:
    """The kernel for float32 in the copy of the package that was compiled for an instruction-set level."""
    module = importlib.import_module(f"fastml._core.{level}.standardize")
    return module.rows["float"]  # type: ignore[no-any-return]


def baseline(x: Array, mean: Array, scale: Array) -> Array:
    """one thread, and the instructions that every processor of the family has"""
    out = np.empty_like(x)
    kernel("baseline")(x, 0, mean, scale, out, 1)
    return out


def best(x: Array, mean: Array, scale: Array) -> Array:
    """one thread, and the best instructions that this processor has"""
    out = np.empty_like(x)
    kernel(isa())(x, 0, mean, scale, out, 1)
    return out


def threads(x: Array, mean: Array, scale: Array) -> Array:
    """all threads, whatever the size"""
    out = np.empty_like(x)
    kernel(isa())(x, 0, mean, scale, out, get_num_threads())
    return out


def called(x: Array, mean: Array, scale: Array) -> Array:
    """through the front door: arguments are checked, and threads run only where they pay"""
    result: Array = standardize(x, mean=mean, std=scale)
    return result


STEPS = (baseline, best, threads, called)


def _case(rows: int, columns: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    mean, scale = rng.normal(size=columns), rng.uniform(1, 2, columns)
    return rng.standard_normal((rows, columns), dtype=np.float32), mean, scale


CASES = {
    f"{rows}x{columns}": functools.partial(_case, rows, columns)
    for rows, columns in ((1000, 50), (1, 20), (100, 50), (10_000, 50), (1_000_000, 50))
}


def expected(x: Array, mean: Array, scale: Array) -> Array:
    result: Array = (x.astype(np.float64) - mean) / scale
    return result


def work(x: Array, mean: Array, scale: Array) -> tuple[float, float, float]:
    """x is read and a result of its size is written; a subtraction and a multiplication for each value."""
    return x.nbytes + mean.nbytes + scale.nbytes, x.nbytes, 2 * x.size
