"""The figures that fastml is meant to reach, and whether it does: paired ratios, measured as in `benches.versus`.

    python -m benches.figures [--only SUBSTRING] [--rounds 7] [--json FILE]

A figure is peer time / fastml time, at least. Against "roofline" it is the share of the measured bandwidth: the least
time that `fastml.learn.roofline` finds for the bytes that must be moved, over the time taken.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from benches.cases import BENCH, DTYPES, MAPS, POOLED, Case, batch, cost
from benches.harness import equal_threads, least_seconds, prepared
from benches.versus import block, compare, contenders, paired
from fastml.learn import roofline

LARGE = 1e6  # bytes: from here on Numba's kernels are compared with Cython's
BY_BYTES = ("standardize", "moments", "batch_norm", "max_pool2d", "avg_pool2d")  # and their backward passes


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
        return next(case for case in BENCH if (case.op, case.name) == (self.op, self.case))


def _scaler(case: str, float32: float, float64: float) -> Iterator[Figure]:
    yield Figure("StandardScaler", case, "scikit-learn", float32)
    yield Figure("StandardScaler", case, "scikit-learn", float64, "float64")


def _numba() -> Iterator[Figure]:
    for case in BENCH:
        if case.op.removesuffix("_backward") in BY_BYTES:
            for dtype in case.dtypes:
                if cost(case, dtype).working_set > LARGE:
                    yield Figure(case.op, case.name, "fastml cython", 0.6, dtype, "fastml numba")


_POOLS = [f"{batch(*shape)}, {name}" for shape, name, _ in POOLED]
_MAPS = [batch(*shape) for shape in MAPS]


def figures() -> list[Figure]:
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
        *_numba(),
    ]  # fmt: skip


def judge(figure: Figure, n_threads: int, rounds: int) -> dict[str, Any]:
    """The figure as measured; a contender that is missing, or wrong, is a figure missed."""
    row = {"op": figure.op, "case": figure.case, "dtype": figure.dtype, "fastml": figure.own, "against": figure.peer,
           "at_least": figure.at_least, "threads": n_threads, "reached": False}  # fmt: skip
    try:
        row |= _measured(figure, n_threads, rounds)
    except Exception as problem:  # the rest of the table is wanted all the same
        return row | {"problem": f"{type(problem).__name__}: {problem}"}
    return row | {"reached": row["ratio"] >= figure.at_least}


def _measured(figure: Figure, n_threads: int, rounds: int) -> dict[str, Any]:
    case, dtype = figure.problem, figure.dtype
    if figure.peer != "roofline":
        return compare(case, dtype, figure.own, figure.peer, rounds)
    ours, _ = prepared(contenders(case, dtype)[figure.own], case, dtype)

    def bound() -> float:
        roofline.forget()  # the machine is as fast as it is now, not as it was at the start
        return least_seconds(case, dtype, n_threads)

    return paired(lambda: block(ours), bound, rounds)


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
            result = row.get("problem") or f"{row['ratio']:.2f} of {figure.at_least:g}"
            console.print(f"{len(rows)}/{len(chosen)} {figure}: {result}", style="" if row["reached"] else "red")
    table = Table("operation", "case", "dtype", "fastml", "ms", "against", "ms", "ratio", "from", "to", "at least", "")
    for row in rows:
        measured = [f"{row[key] * 1e3:.3f}" if "ratio" in row else "" for key in ("ours", "peer")]
        ratios = [f"{row[key]:.2f}" if "ratio" in row else "" for key in ("ratio", "low", "high")]
        table.add_row(row["op"], row["case"], row["dtype"], row["fastml"], measured[0], row["against"], measured[1],
                      *ratios, f"{row['at_least']:g}", "yes" if row["reached"] else "NO",
                      style="" if row["reached"] else "red")  # fmt: skip
    console.print(table)
    console.print(f"{sum(row['reached'] for row in rows)} of {len(rows)} figures are reached.")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
