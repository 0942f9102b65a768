"""The figures that fastml is meant to reach, and whether it does: paired ratios, measured as in `fastml.learn.versus`.

    python -m benches.figures [--only SUBSTRING] [--rounds 7] [--json FILE]

A figure is peer time / fastml time, at least. Against "roofline" it is the share of what was measured: the least time
that `fastml.learn.roofline` finds for the bytes and flops that are needed, over the time taken. A figure of several
cases is the geometric mean of their ratios, and the least of them; of several peers, the best in each case counts.
"""

import argparse
import importlib.util
import json
import operator
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fastml.learn import roofline
from fastml.learn.cases import BENCH, CONNECTED, CONVOLVED, DTYPES, MAPS, POOLED, Case, batch
from fastml.learn.costs import cost
from fastml.learn.harness import equal_threads, least_seconds, prepared, values
from fastml.learn.peers.pca_estimator import SLOW
from fastml.learn.versus import block, compare, contenders, paired

LARGE = 1e6  # bytes: from here on Numba's kernels are compared with Cython's
# Timed, but not meant: six others are.
NO_FIGURE = ("photograph 1x3x224x224 to 64, k7 s2", "8x256x14x14 to 256, k3", "1x8x8x8 to 8, k3")
BY_BYTES = ("standardize", "moments", "batch_norm", "max_pool2d", "avg_pool2d")  # and their backward passes


def case_of(op: str, name: str) -> Case:
    return next(case for case in BENCH if (case.op, case.name) == (op, name))


@dataclass(frozen=True)
class Figure:
    op: str
    case: str
    peer: str
    at_least: float
    dtype: str = DTYPES[0]
    own: str = "fastml cython"

    def __str__(self) -> str:
        return f"{self.op} {self.case} {self.dtype}, {self.own} / {self.peer}"

    @property
    def problem(self) -> Case:
        return case_of(self.op, self.case)


@dataclass(frozen=True)
class GroupFigure:
    op: str
    case: str  # a name for all of them
    cases: tuple[str, ...]
    peers: tuple[str, ...]
    at_least: float  # the geometric mean
    worst_at_least: float
    dtype: str = DTYPES[0]
    own: str = "fastml cython"
    explains: bool = False  # and no less of the variance, as answers are approximate

    @property
    def peer(self) -> str:
        return self.peers[0] if len(self.peers) == 1 else "the best of " + ", ".join(self.peers)

    __str__ = Figure.__str__


def _scaler(case: str, float32: float, float64: float) -> Iterator[Figure]:
    yield Figure("StandardScaler", case, "scikit-learn", float32)
    yield Figure("StandardScaler", case, "scikit-learn", float64, "float64")


def _numba() -> Iterator[Figure]:
    for case in BENCH:
        if case.op.removesuffix("_backward") in BY_BYTES:
            for dtype in case.dtypes:
                if cost(case, dtype).working_set > LARGE:
                    yield Figure(case.op, case.name, "fastml cython", 0.6, dtype, "fastml numba")


def _convolutions(op: str, dtype: str = DTYPES[0]) -> tuple[str, ...]:
    """The shapes that have a figure of their own."""
    cases = (case for case in BENCH if case.op == op and dtype in case.dtypes)
    return tuple(case.name for case in cases if case.name != CONNECTED)


def _wide() -> tuple[str, ...]:
    """3 x 3, stride 1, from 64 channels and maps of 14 on."""
    rows = zip(CONVOLVED, _convolutions("Conv2d"), strict=True)
    kept = [(name, min(outputs, x[1]), x[3]) for (x, outputs, *rest), name in rows if rest == [3, 1, 1, 1]]
    return tuple(name for name, channels, size in kept if channels >= 64 and size >= 14)


def _of_convolutions() -> Iterator[Figure | GroupFigure]:
    every, channels_last, runtime = "all shapes", "PyTorch channels_last", "ONNX Runtime"
    layers, functions = _convolutions("Conv2d"), _convolutions("conv2d")
    yield GroupFigure("Conv2d", every, layers, ("PyTorch",), 1.7, 1.0)
    yield GroupFigure("Conv2d", every, layers, (channels_last,), 1.3, 0.9)
    yield GroupFigure("Conv2d", every, layers, (runtime,), 1.3, 0.9)
    yield GroupFigure("conv2d", every, functions, ("PyTorch",), 1.4, 0.9)
    yield GroupFigure("Conv2d", "wide 3 x 3 shapes", _wide(), ("PyTorch", channels_last, runtime), 1.6, 1.3)
    yield GroupFigure("conv2d", "some shapes", _convolutions("conv2d", "float64"), ("PyTorch",), 2.0, 1.0, "float64")
    for case in (case for case in BENCH if case.op == "ResNet18"):
        yield Figure("ResNet18", case.name, "PyTorch", 1.5)
        yield Figure("ResNet18", case.name, runtime, 1.15)
    gradients = tuple(name for name in _convolutions("conv2d_backward") if name not in NO_FIGURE)
    yield GroupFigure("conv2d_backward", "some shapes", gradients, ("PyTorch",), 1.2, 0.9)
    # On the shapes that suit them: what does as many multiplications as the definition has, at the measured peak.
    yield Figure("conv2d", "1x64x56x56 to 64, k3", "roofline", 0.75, own="fastml cython direct")
    yield Figure("conv2d", "1x64x56x56 to 256, k1", "roofline", 0.75, own="fastml cython gemm")
    numba = "fastml numba unroll_and_jam"
    yield Figure("conv2d", "1x64x56x56 to 64, k3", "fastml cython direct", 0.4, own=numba)


def _of_pca(dtype: str) -> Iterator[GroupFigure]:
    fits, transforms = (tuple(c.name for c in BENCH if (c.op, c.method) == ("PCA", m)) for m in ("fit", "transform"))
    seconds, full, random = tuple(name for name in fits if name not in SLOW), "scikit-learn full", "randomized"
    yield GroupFigure("PCA", "fit", fits, ("scikit-learn",), 2.5, 1.0, dtype)
    yield GroupFigure("PCA", "fit, where the peer takes seconds", seconds, (full,), 6, 1.5, dtype)
    yield GroupFigure("PCA", "fit", seconds, (full,), 3, 1.2, dtype, "fastml cython full")
    yield GroupFigure("PCA", "fit", fits, (f"scikit-learn {random}",), 2, 1.0, dtype, f"fastml cython {random}", True)
    if importlib.util.find_spec("sklearnex"):
        yield GroupFigure("PCA", "fit", fits, ("scikit-learn-intelex",), 1.3, 0.9, dtype)
    yield GroupFigure("PCA", "transform", transforms, ("scikit-learn",), 1.5, 1.0, dtype)
    scatters = tuple(c.name for c in BENCH if c.op == "scatter" and int(c.name.split(",")[0].split("x")[1]) >= 100)
    yield GroupFigure("scatter", "matrix of PCA, from 100 columns on", scatters, ("product by NumPy",), 1.0, 0.8, dtype)


_POOLS = [f"{batch(*shape)}, {name}" for shape, name, _ in POOLED]
_MAPS = [batch(*shape) for shape in MAPS]


def figures() -> list[Figure | GroupFigure]:
    return [
        *_scaler("fit_transform 1000000x50", 8, 5),
        *_scaler("fit_transform 10000x1000", 6, 4),
        *_scaler("fit_transform 100000x50", 8, 5),
        *_scaler("fit 1000000x50", 12, 8),
        Figure("StandardScaler", "transform 1000000x50, in place", "scikit-learn", 2),
        Figure("StandardScaler", "fit_transform 1000x20", "scikit-learn", 10),
        Figure("StandardScaler", "transform 1x20", "scikit-learn", 20),
        Figure("standardize", "given statistics, 1x20", "NumPy expression", 0.5),
        *(Figure("batch_norm", f"{_MAPS[i]}, training", "PyTorch", least) for i, least in enumerate((5, 5, 4))),
        *(Figure("batch_norm", f"{name}, inference", "PyTorch", 1) for name in _MAPS),
        Figure("batch_norm", "256x512, training", "PyTorch", 1),
        *(Figure("batch_norm_backward", f"{name}, training", "PyTorch", 1.1) for name in (*_MAPS, "256x512")),
        *(Figure("batch_norm", f"{name}, training, residual, relu", "PyTorch", 5) for name in _MAPS),
        *(Figure("max_pool2d", _POOLS[i], "PyTorch", least) for i, least in enumerate((12, 15, 15, 15))),
        *(Figure("max_pool2d", f"{name}, indices", "PyTorch", 8) for name in _POOLS),
        *(Figure("max_pool2d", name, "PyTorch channels_last", 1) for name in _POOLS),
        *(Figure("max_pool2d_backward", name, "PyTorch", 1.1) for name in _POOLS[:2]),
        *(Figure("avg_pool2d", name, "PyTorch", 6) for name in _POOLS[:2]),
        Figure("StandardScaler", "fit 1000000x50", "roofline", 0.7),
        Figure("max_pool2d", _POOLS[0], "roofline", 0.7),
        *_of_convolutions(),
        *(figure for dtype in DTYPES for figure in _of_pca(dtype)),
        *_numba(),
    ]  # fmt: skip


def judge(figure: Figure | GroupFigure, n_threads: int, rounds: int) -> dict[str, Any]:
    """The figure as measured; a contender that is missing, or wrong, is a figure missed."""
    row = {"op": figure.op, "case": figure.case, "dtype": figure.dtype, "fastml": figure.own, "against": figure.peer,
           "at_least": figure.at_least, "threads": n_threads, "reached": False}  # fmt: skip
    try:
        if isinstance(figure, GroupFigure):
            row |= {"worst_at_least": figure.worst_at_least} | _together(figure, rounds)
            row |= _explained(figure) if figure.explains else {}
        else:
            row |= _measured(figure, n_threads, rounds)
    except Exception as problem:  # the rest of the table is wanted all the same
        return row | {"problem": f"{type(problem).__name__}: {problem}"}
    reached = row["ratio"] >= figure.at_least and ("worst_at_least" not in row or row["low"] >= row["worst_at_least"])
    as_much = row.get("explains", 1.0) >= 1 - 10 * float(np.finfo(figure.dtype).eps)
    return row | {"reached": reached and as_much}


def _together(figure: GroupFigure, rounds: int) -> dict[str, Any]:
    """Times of all cases together; the geometric mean of their ratios, the least and the largest; and each of them."""
    parts = []
    for case in figure.cases:
        rows = [_ratio(figure.op, case, figure.dtype, figure.own, peer, rounds) for peer in figure.peers]
        parts.append(min(rows, key=operator.itemgetter("ratio")))
    ratios = [part["ratio"] for part in parts]
    return {
        "ours": sum(part["ours"] for part in parts),
        "peer": sum(part["peer"] for part in parts),
        "ratio": statistics.geometric_mean(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "parts": parts,
    }


def _explained(figure: GroupFigure) -> dict[str, Any]:
    """The variance that ours explains, as a share of what the peer's does: the least of all cases, and each."""
    shares = {}
    for name in figure.cases:
        case = case_of(figure.op, name)
        entered = (contenders(case, figure.dtype)[who] for who in (figure.own, *figure.peers))
        ours, peers = (values(each.prepare(case, *case.arguments(figure.dtype))())[0].sum() for each in entered)
        shares[name] = float(ours / peers)
    return {"explains": min(shares.values()), "shares": shares}


@cache  # a case is in several groups
def _ratio(op: str, case: str, dtype: str, own: str, peer: str, rounds: int) -> dict[str, Any]:
    return compare(case_of(op, case), dtype, own, peer, rounds)


def _measured(figure: Figure, n_threads: int, rounds: int) -> dict[str, Any]:
    case, dtype = figure.problem, figure.dtype
    if figure.peer != "roofline":
        return compare(case, dtype, figure.own, figure.peer, rounds)
    ours, _ = prepared(contenders(case, dtype)[figure.own], case, dtype)

    def bound() -> float:
        roofline.forget()  # the machine is as fast as it is now, not as it was at the start
        return least_seconds(case, dtype, n_threads)

    return paired(lambda: block(ours), bound, rounds)


def _wanted(row: dict[str, Any]) -> str:
    return f"{row['at_least']:g}" + (f", worst {row['worst_at_least']:g}" if "worst_at_least" in row else "")


def main() -> None:
    parser = argparse.ArgumentParser(description="Whether fastml reaches its figures.")
    parser.add_argument("--only", default="", help='part of "op case dtype, fastml / peer"; default: all')
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="also write the rows to this file")
    options = parser.parse_args()
    console, rows = Console(width=170), []
    with equal_threads() as n_threads:
        chosen = [figure for figure in figures() if options.only in str(figure)]
        for figure in chosen:
            row = judge(figure, n_threads, options.rounds)
            rows.append(row)
            result = row.get("problem") or f"{row['ratio']:.2f} of {_wanted(row)}"
            console.print(f"{len(rows)}/{len(chosen)} {figure}: {result}", style="" if row["reached"] else "red")
            for part in row.get("parts", ()):
                explains = f", {row['shares'][part['case']]:.6f} of its variance" if "shares" in row else ""
                console.print(f"    {part['case']}: {part['ratio']:.2f} of {part['against']}{explains}", style="dim")
    table = Table("operation", "case", "dtype", "fastml", "ms", "against", "ms", "ratio", "from", "to", "at least", "")
    for row in rows:
        measured = [f"{row[key] * 1e3:.3f}" if "ratio" in row else "" for key in ("ours", "peer")]
        ratios = [f"{row[key]:.2f}" if "ratio" in row else "" for key in ("ratio", "low", "high")]
        table.add_row(row["op"], row["case"], row["dtype"], row["fastml"], measured[0], row["against"], measured[1],
                      *ratios, _wanted(row), "yes" if row["reached"] else "NO",
                      style="" if row["reached"] else "red")  # fmt: skip
    console.print(table)
    console.print(f"{sum(row['reached'] for row in rows)} of {len(rows)} figures are reached.")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
