"""What every bench does: check the result against float64, warm up, time, and record what was moved and computed."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import fastml
from fastml._registry import RUNGS
from fastml.learn import roofline
from fastml.learn.cases import DTYPES, Case
from fastml.learn.costs import cost

# Of the largest value: catches a wrong answer, tests judge the digits. A peer may be approximate; its error is shown.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
PEERS_TOLERANCE = 0.1
PAUSE = 0.15  # seconds before timing: OpenBLAS' threads spin for 105 ms (measured) after their work, and take a core
# What is compared of an object.
RESULTS = ("m2", "sum_squares_centered_", "var_", "variance_", "explained_variance", "explained_variance_")


@dataclass(frozen=True)
class Contender:
    """Somebody's implementation: `prepare(case, args, options)` returns the call to time, all conversions done."""

    name: str
    prepare: Callable[[Case, tuple[Any, ...], dict[str, Any]], Callable[[], Any]]
    needs: str = ""  # packages
    takes: Callable[[Case], bool] = lambda case: True
    dtypes: tuple[str, ...] = DTYPES
    exact: bool = False  # its answer must have all digits, or it is not timed

    def enters(self, case: Case, dtype: str) -> bool:
        """Whether it is installed and has something for this case."""
        installed = all(importlib.util.find_spec(package) for package in self.needs.split())
        return installed and self.name not in case.skip and dtype in self.dtypes and self.takes(case)


def _within(backend: str, call: Callable[[], Any]) -> Callable[[], Any]:
    def within() -> Any:
        with fastml.backend(backend):
            return call()

    return within


def _own(backend: str, **forced: str) -> Contender:
    def prepare(case: Case, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], Any]:
        if not case.method:
            return case.call(case.implementation, args, {**options, "backend": backend, **forced})
        with fastml.backend(backend):  # a class like scikit-learn's has no such argument
            call = case.call(case.implementation, args, options)
        return call if backend == fastml.configuration()["backend"] else _within(backend, call)

    name = " ".join(("fastml", backend, *forced.values())) if forced or backend != "numpy" else "NumPy"
    return Contender(name, prepare, "numba" if backend == "numba" else "", exact=True)


OWN = (_own("cython"), _own("numba"), _own("numpy"))


def forced(op: str) -> tuple[Contender, ...]:
    """Every rung of an operation that takes `algorithm`: "fastml cython im2col" and so on."""
    return tuple(_own(rung.backend, algorithm=rung.name) for rung in RUNGS if rung.op == op)


def values(result: Any) -> list[np.ndarray]:
    """What is compared: the array, each of several, or an object's variances."""
    if result is None:  # a gradient that was not asked for
        return []
    if isinstance(result, tuple):
        return [array for part in result for array in values(part)]
    for attribute in RESULTS:
        if hasattr(result, attribute):
            result = getattr(result, attribute)
    return [np.asarray(result, dtype=np.float64)]


def _widened(value: Any) -> Any:
    floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(np.float64) if floats else value


@lru_cache(maxsize=1)  # these can be large, and the next contender mostly has the same case
def reference(case: Case, dtype: str) -> list[np.ndarray]:
    """The NumPy specification on the same numbers in float64."""
    args, options = case.arguments(dtype)
    wide = {name: _widened(value) for name, value in options.items()}
    return values(OWN[-1].prepare(case, tuple(map(_widened, args)), wide)())


def error(case: Case, dtype: str, result: Any) -> float:
    """Largest error, as a share of the largest value."""
    return difference(values(result), reference(case, dtype))


def difference(results: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest difference, as a share of the largest value that is expected, of the array where that is most."""
    pairs = zip(results, expected, strict=True)
    return max(float(np.max(np.abs(got - wanted)) / np.max(np.abs(wanted))) for got, wanted in pairs)


@contextmanager
def equal_threads() -> Iterator[int]:
    """Give every library the number of threads that fastml uses."""
    n_threads = fastml.get_num_threads()
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(n_threads)
    if importlib.util.find_spec("daal4py"):  # what scikit-learn-intelex runs on
        import daal4py

        daal4py.daalinit(n_threads)
    if "numba" in sys.modules:
        import numba

        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    with threadpool_limits(n_threads):
        yield n_threads


def accepted(contender: Contender, dtype: str) -> float:
    """The largest error that an answer may have to be timed."""
    return TOLERANCE[dtype] if contender.exact else PEERS_TOLERANCE


def prepared(contender: Contender, case: Case, dtype: str) -> tuple[Callable[[], Any], float]:
    """The call to time, made once so that compilers are done, and its error; a wrong answer is not timed."""
    call = contender.prepare(case, *case.arguments(dtype))
    largest = error(case, dtype, call())
    if not largest < accepted(contender, dtype):
        raise ArithmeticError(f"{contender.name} is wrong by {largest:.1e} on {case.op} {case.name}")
    return call, largest


def least_seconds(case: Case, dtype: str, n_threads: int) -> float:
    """What the case takes at the speed of this machine's memory, or caches where its arrays fit into them."""
    least = cost(case, dtype)
    return roofline.seconds(
        least.read, least.written, least.flops, dtype=dtype, n_threads=n_threads, working_set=least.working_set
    )
