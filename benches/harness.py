"""What every bench does: time a contender whose result was checked, and record what was moved and computed."""

import time
from typing import Any

import pytest

import fastml
from fastml.learn.cases import BENCH, Case
from fastml.learn.costs import cost
from fastml.learn.harness import PAUSE, Contender, equal_threads, least_seconds, prepared
from fastml.learn.provenance import operation_hash


def cells(op: str, *contenders: Contender) -> pytest.MarkDecorator:
    """Parametrize a bench over the cases of an operation, their dtypes, and who enters."""
    rows = [
        pytest.param(case, dtype, contender, id=f"{case.name}-{dtype}-{contender.name}")
        for case in BENCH
        if case.op == op
        for dtype in case.dtypes
        if dtype not in case.paired
        for contender in contenders
        if contender.enters(case, dtype)
    ]
    return pytest.mark.parametrize(("case", "dtype", "contender"), rows)


def run(benchmark: Any, case: Case, dtype: str, contender: Contender) -> None:
    with equal_threads() as n_threads:
        call, largest = prepared(contender, case, dtype)
        benchmark.group = f"{case.group}, {dtype}"
        least = cost(case, dtype)
        benchmark.extra_info.update(
            op=case.op, case=case.name, small=case.small, dtype=dtype, contender=contender.name, bytes=least.bytes,
            flops=least.flops, max_error=largest, threads=n_threads, isa=fastml.configuration()["isa"],
            kernels=operation_hash(case.op),
        )  # fmt: skip
        if not benchmark.disabled:
            bound = least_seconds(case, dtype, n_threads)
            time.sleep(PAUSE)
        benchmark(call)
        if benchmark.stats:  # None when benches run as tests
            seconds = benchmark.stats.stats.median
            benchmark.extra_info["GB/s"] = least.bytes / seconds / 1e9
            benchmark.extra_info["GFLOP/s"] = least.flops / seconds / 1e9
            benchmark.extra_info["% of roofline"] = 100 * bound / seconds
