"""What every bench does: check the result against float64, warm up, time, and record what was moved and computed."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastml
from benches.cases import BENCH, Case, cost

DTYPES = ("float32", "float64")
# Of the largest value: catches a wrong answer, tests judge the digits. A peer may be approximate; its error is shown.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
PEERS_TOLERANCE = 0.1
PAUSE = 0.15  # seconds before timing: OpenBLAS' threads spin for 105 ms (measured) after their work, and take a core


@dataclass(frozen=True)
class Contender:
    """Somebody's implementation: `prepare(case, args, options)` returns the call to time, all conversions done."""

    name: str
    prepare: Callable[[Case, tuple[Any, ...], dict[str, Any]], Callable[[], Any]]
    needs: str = ""  # a package

    @property
    def installed(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def _own(backend: str) -> Contender:
    def prepare(case: Case, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], Any]:
        function = getattr(fastml, case.op)
        return lambda: function(*args, **options, backend=backend)

    name = "NumPy" if backend == "numpy" else f"fastml {backend}"
    return Contender(name, prepare, "numba" if backend == "numba" else "")


OWN = (_own("cython"), _own("numba"), _own("numpy"))


def values(result: Any) -> list[np.ndarray]:
    """What is compared: the array, each of several, or an object's variances."""
    if isinstance(result, tuple):
        return [array for part in result for array in values(part)]
    for attribute in ("explained_variance", "explained_variance_", "m2"):
        if hasattr(result, attribute):
            result = getattr(result, attribute)
    return [np.asarray(result, dtype=np.float64)]


@cache
def reference(case: Case, dtype: str) -> list[np.ndarray]:
    """The NumPy specification on the same numbers in float64."""
    args, options = case.arguments(dtype)
    widened = [np.asarray(a, dtype=np.float64) for a in args]
    return values(getattr(fastml, case.op)(*widened, **options, backend="numpy"))


def error(case: Case, dtype: str, result: Any) -> float:
    """Largest error, as a share of the largest value."""
    pairs = zip(values(result), reference(case, dtype), strict=True)
    return max(float(np.max(np.abs(got - expected)) / np.max(np.abs(expected))) for got, expected in pairs)


@contextmanager
def equal_threads() -> Iterator[int]:
    """Give every library the number of threads that fastml uses."""
    n_threads = fastml.get_num_threads()
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(n_threads)
    with threadpool_limits(n_threads):
        yield n_threads


def prepared(contender: Contender, case: Case, dtype: str) -> tuple[Callable[[], Any], float]:
    """The call to time, made once so that compilers are done, and its error; a wrong answer is not timed."""
    call = contender.prepare(case, *case.arguments(dtype))
    largest = error(case, dtype, call())
    own = contender in OWN or contender.name.startswith("fastml")
    accepted = TOLERANCE[dtype] if own else PEERS_TOLERANCE
    assert largest < accepted, f"{contender.name} is wrong by {largest:.1e} on {case.op} {case.name}"
    return call, largest


def cells(op: str, *peers: Contender) -> pytest.MarkDecorator:
    """Parametrize a bench over the cases, dtypes and installed contenders of an operation."""
    rows = [
        pytest.param(case, dtype, contender, id=f"{case.name}-{dtype}-{contender.name}")
        for case in BENCH
        if case.op == op
        for dtype in DTYPES
        for contender in (*OWN, *peers)
        if contender.installed
    ]
    return pytest.mark.parametrize(("case", "dtype", "contender"), rows)


def run(benchmark: Any, case: Case, dtype: str, contender: Contender) -> None:
    with equal_threads() as n_threads:
        call, largest = prepared(contender, case, dtype)
        benchmark.group = f"{case.op}: {case.name}, {dtype}"
        least = cost(case, np.dtype(dtype))
        benchmark.extra_info.update(
            op=case.op, case=case.name, dtype=dtype, contender=contender.name, bytes=least.bytes, flops=least.flops,
            max_error=largest, threads=n_threads, isa=fastml.configuration()["isa"],
        )  # fmt: skip
        if not benchmark.disabled:
            time.sleep(PAUSE)
        benchmark(call)
        if benchmark.stats:  # None when benches run as tests
            seconds = benchmark.stats.stats.median
            benchmark.extra_info["GB/s"] = least.bytes / seconds / 1e9
            benchmark.extra_info["GFLOP/s"] = least.flops / seconds / 1e9
