"""The ladder of an operation, timed: every rung on the problems that show what it is for.

    python -m benches.ladder conv2d [--slow] [--rounds 3] [--write docs/ladder/conv2d.md]

Answers are checked, and rungs timed, as in `benches.versus`, one rung after the other: right for steps of a ladder,
too coarse for close calls. The layer is timed, so that weights are prepared before.
"""

import argparse
import datetime
import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastml
from benches.cases import BENCH, Case, cost
from benches.harness import FORCED, Contender, equal_threads, least_seconds, prepared
from benches.report import publish, significant
from benches.versus import block
from fastml import _dispatch
from fastml._registry import Rung

BEGIN, END = "<!-- ladder: begin -->", "<!-- ladder: end -->"
DTYPE = "float32"
PATIENCE = 1.0  # seconds; of what takes longer, one call is enough


@dataclass(frozen=True)
class Stage:
    """A case, and the rungs that are shown on it: for each backend their names, in the order of the table."""

    case: str
    rungs: dict[str, tuple[str, ...]]


LADDERS = {
    "conv2d": (
        "Conv2d",
        (
            Stage("1x64x56x56 to 64, k3", {
                "numpy": ("loops", "im2col", "winograd_row", "winograd_2x2", "winograd_4x4", "winograd_points"),
                "numba": ("loops", "rows", "unroll_and_jam"),
                "cython": ("loops", "rows", "im2col", "direct", "winograd_2x2", "winograd"),
            }),
            Stage("photograph 1x3x224x224 to 64, k7 s2", {"cython": ("rows", "im2col", "direct", "first")}),
            Stage("1x256x56x56 to 64, k1", {"cython": ("rows", "im2col", "direct", "gemm")}),
            Stage("1x96x112x112 depthwise, k3", {"cython": ("rows", "im2col", "direct", "depthwise")}),
            Stage("1x512x7x7 to 512, k3", {"cython": ("im2col", "direct", "winograd_2x2", "winograd")}),
            Stage("1x2048x1x1 to 1000, k1", {"cython": ("rows", "im2col", "direct", "gemm", "dots")}),
        ),
    ),
}  # fmt: skip
SLOW = {("conv2d", "numpy", "loops")}  # minutes


def case_of(op: str, name: str) -> Case:
    return next(case for case in BENCH if (case.op, case.name) == (op, name))


def ladder(op: str, stage: Stage, slow: bool) -> Iterator[tuple[Rung, Contender]]:
    """The rungs of a stage, and who runs them."""
    forced = dict(zip(_dispatch.rungs("conv2d"), FORCED, strict=True))
    for rung in _dispatch.rungs(op):
        if rung.name in stage.rungs.get(rung.backend, ()) and (slow or (op, rung.backend, rung.name) not in SLOW):
            yield rung, forced[rung]


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """The median of blocks of calls; of one that takes long, the time that it takes once."""
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    return once if once > PATIENCE else statistics.median(block(call) for _ in range(rounds))


def table(op: str, case: Case, stage: Stage, n_threads: int, slow: bool, rounds: int) -> list[str]:
    """A row for each rung. The last but one column compares with the row above, if that is of the same backend."""
    heads = ["rung", "ms", "GFLOP/s", "% of roofline", "over the rung above", "largest error"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    bound, flops, above = least_seconds(case, DTYPE, n_threads), cost(case, DTYPE).flops, ("", 0.0)
    for rung, contender in ladder(op, stage, slow):
        call, error = prepared(contender, case, DTYPE)
        took = seconds(call, rounds)
        step = significant(above[1] / took) if above[0] == rung.backend else ""
        rate, share = significant(flops / took / 1e9), significant(100 * bound / took)
        cells = [f"{rung.backend} {rung.name}", significant(took * 1e3), rate, share, step, f"{error:.0e}"]
        lines.append("| " + " | ".join(cells) + " |")
        above = rung.backend, took
    return lines


def machine() -> str:
    """Date, processor, threads, instruction set and versions."""
    found = fastml.configuration()
    cpu = importlib.import_module("cpuinfo").get_cpu_info().get("brand_raw", found["processor"])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{datetime.date.today()}, {cpu}, {found['threads']} threads, {found['isa']}; {versions}."


def render(op: str, slow: bool = False, rounds: int = 3) -> str:
    timed, stages = LADDERS[op]
    lines = [
        machine(),
        f"{DTYPE}, weights prepared; medians. GFLOP/s and the roofline count the multiplications of the definition, so",
        "that Winograd's algorithm may be above 100 %. Errors are shares of the largest value.",
    ]
    with equal_threads() as n_threads:
        for stage in stages:
            case = case_of(timed, stage.case)
            lines += ["", f"**{stage.case}**", "", *table(op, case, stage, n_threads, slow, rounds)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The ladder of an operation, timed.")
    parser.add_argument("op", choices=LADDERS)
    parser.add_argument("--slow", action="store_true", help="also rungs that take minutes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="a file with the two markers")
    options = parser.parse_args()
    publish(render(options.op, options.slow, options.rounds), options.write, BEGIN, END)


if __name__ == "__main__":
    main()
