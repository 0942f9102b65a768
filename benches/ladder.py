"""The ladder of an operation, timed: every rung on the problems that show what it is for.

    python -m benches.ladder conv2d [--slow] [--rounds 3] [--write docs/ladder/conv2d.md]

Answers are checked, and rungs timed, as in `fastml.learn.versus`, one rung after the other: right for steps of a
ladder, too coarse for close calls. Of conv2d the layer is timed, so that weights are prepared before; of pca the
kernels alone, and the algorithms around them.
"""

import argparse
import datetime
import importlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastml
from fastml.learn.cases import BENCH, Case
from fastml.learn.costs import cost
from fastml.learn.harness import Contender, accepted, equal_threads, error, least_seconds
from fastml.learn.report import publish, significant
from fastml.learn.versus import PATIENCE, block, known

BEGIN, END = "<!-- ladder: begin -->", "<!-- ladder: end -->"
DTYPE = "float32"


@dataclass(frozen=True)
class Stage:
    """A case, and what is shown on it: names of rungs by backend, of steps, and of whole operations."""

    op: str  # of the case
    case: str
    rungs: dict[str, tuple[str, ...]]


CAPTIONS = {
    "conv2d": """Weights are prepared. GFLOP/s and the roofline count the multiplications of the definition,
so that Winograd's algorithm may be above 100 %. Errors are shares of the largest value.""",
    "pca": """GFLOP/s and the roofline count half of the smaller scatter matrix, whatever is computed. Errors
are shares of the largest value, of the matrix or of the variances; who is off by a tenth is not timed.""",
}


def _steps(*names: str) -> dict[str, tuple[str, ...]]:
    """Algorithms of `fastml.learn.ladders`, and what ships."""
    return {"step": ("full_svd", *names), "fastml": ("cython",)}


LADDERS = {
    "conv2d": (
        Stage("Conv2d", "1x64x56x56 to 64, k3", {
            "numpy": ("loops", "im2col", "winograd_row", "winograd_2x2", "winograd_4x4", "winograd_points"),
            "numba": ("loops", "rows", "unroll_and_jam"),
            "cython": ("loops", "rows", "im2col", "direct", "winograd_2x2", "winograd"),
        }),
        Stage("Conv2d", "photograph 1x3x224x224 to 64, k7 s2", {"cython": ("rows", "im2col", "direct", "first")}),
        Stage("Conv2d", "1x256x56x56 to 64, k1", {"cython": ("rows", "im2col", "direct", "gemm")}),
        Stage("Conv2d", "1x96x112x112 depthwise, k3", {"cython": ("rows", "im2col", "direct", "depthwise")}),
        Stage("Conv2d", "1x512x7x7 to 512, k3", {"cython": ("im2col", "direct", "winograd_2x2", "winograd")}),
        Stage("Conv2d", "1x2048x1x1 to 1000, k1", {"cython": ("rows", "im2col", "direct", "gemm", "dots")}),
    ),
    "pca": (
        Stage("scatter", "1000x20", {
            "numpy": ("loops", "centred", "unshifted", "shifted", "blocks"),
            "numba": ("loops", "tiles"),
            "cython": ("loops", "rows", "square", "half", "blocks", "precise"),
        }),
        Stage("scatter", "100000x100", {
            "numpy": ("centred", "unshifted", "shifted", "blocks"),
            "numba": ("loops", "tiles"),
            "cython": ("loops", "rows", "square", "half", "blocks", "precise"),
        }),
        Stage("scatter", "5000x784", {"cython": ("rows", "square", "half", "blocks", "precise")}),
        Stage("scatter", "5000x20, offset 1e4", {
            "numpy": ("centred", "unshifted", "shifted", "blocks"), "numba": ("tiles",), "cython": ("blocks",),
        }),
        Stage("pca", "random 1000000x50 to 10", _steps("covariance_eigh", "qr_svd", "randomized")),
        Stage("pca", "random 5000x784 to 50", _steps("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Stage("pca", "random 2000x2000 to 20", _steps("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Stage("pca", "fading 2000x2000 to 20", _steps("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Stage("pca", "random 500x5000 to 20", _steps("covariance_eigh", "dual", "qr_svd", "randomized")),
    ),
}  # fmt: skip
SLOW = {("conv2d", "numpy", "loops")}  # minutes


def case_of(op: str, name: str) -> Case:
    return next(case for case in BENCH if (case.op, case.name) == (op, name))


def ladder(op: str, stage: Stage, slow: bool) -> Iterator[tuple[str, str, Contender]]:
    """Backend and name of what a stage shows, and who runs it."""
    entered = {contender.name: contender for contender in known(stage.op)}
    for backend, names in stage.rungs.items():
        for name in names:
            if slow or (op, backend, name) not in SLOW:
                yield backend, name, entered.get(f"fastml {backend} {name}") or entered[f"{backend} {name}"]


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """The median of blocks of calls; of one that takes long, the time that it takes once."""
    first = block(call)
    return first if first > PATIENCE else statistics.median([first, *(block(call) for _ in range(rounds - 1))])


def table(op: str, case: Case, stage: Stage, n_threads: int, slow: bool, rounds: int) -> list[str]:
    """A row for each rung. The last but one column compares with the row above, if that is of the same backend."""
    heads = ["rung", "ms", "GFLOP/s", "% of roofline", "over the rung above", "largest error"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    bound, flops, above = least_seconds(case, DTYPE, n_threads), cost(case, DTYPE).flops, ("", 0.0)
    for backend, name, contender in ladder(op, stage, slow):
        call = contender.prepare(case, *case.arguments(DTYPE))
        off = error(case, DTYPE, call())
        right, cells = off < accepted(contender, DTYPE), ["wrong", "", "", ""]
        assert right or not contender.exact, f"{backend} {name} is wrong by {off:.1e} on {case.op} {case.name}"
        if right:
            took = seconds(call, rounds)
            step = significant(above[1] / took) if above[0] == backend else ""
            cells = [significant(value) for value in (took * 1e3, flops / took / 1e9, 100 * bound / took)] + [step]
            above = backend, took
        lines.append("| " + " | ".join([f"{backend} {name}", *cells, f"{off:.0e}"]) + " |")
    return lines


def machine() -> str:
    """Date, processor, threads, instruction set and versions."""
    found = fastml.configuration()
    cpu = importlib.import_module("cpuinfo").get_cpu_info().get("brand_raw", found["processor"])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{datetime.date.today()}, {cpu}, {found['threads']} threads, {found['isa']}; {versions}."


def render(op: str, slow: bool = False, rounds: int = 3) -> str:
    lines = [machine(), f"{DTYPE}; medians. {CAPTIONS[op]}"]
    with equal_threads() as n_threads:
        for stage in LADDERS[op]:
            case = case_of(stage.op, stage.case)
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
