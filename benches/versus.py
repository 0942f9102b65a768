"""Paired ratios: peer time / fastml time, from alternating blocks in one run.

    python -m benches.versus [--op conv2d] [--dtype float32] [--fastml "fastml numba"] [--rounds 7] [--json FILE]

Two libraries that each own a thread pool slow each other down while the idle one's threads still spin. So each
contender runs in blocks of at least 100 ms, with a pause between that outlasts the spinning, in alternating order, with
the same number of threads, and what is reported is the median of the ratios of neighbouring blocks, with the lowest and
highest.
"""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from benches.cases import BENCH, Case
from benches.harness import DTYPES, OWN, PAUSE, Contender, equal_threads, prepared
from fastml._registry import OPS

BLOCK = 0.1  # seconds
ESTIMATORS = {"standardize": "fastml StandardScaler", "pca": "fastml PCA"}  # what competes with scikit-learn


def contenders(op: str) -> dict[str, Contender]:
    peers = getattr(importlib.import_module(f"benches.bench_{op}"), "PEERS", ())
    return {contender.name: contender for contender in (*OWN, *peers) if contender.installed}


def block(call: Callable[[], Any]) -> float:
    """Seconds per call in a block of at least BLOCK seconds; a first call, which finds cold caches, is not counted."""
    time.sleep(PAUSE)
    call()
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < BLOCK or not calls:
        call()
        calls += 1
    return elapsed / calls


def paired(ours: Callable[[], Any], peer: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Medians of both, and of the ratio peer / ours of neighbouring blocks."""
    times: list[tuple[float, float]] = []
    for i in range(rounds):
        if i % 2:
            theirs, mine = block(peer), block(ours)
        else:
            mine, theirs = block(ours), block(peer)
        times.append((mine, theirs))
    ratios = [theirs / mine for mine, theirs in times]
    return {
        "ours": statistics.median(mine for mine, _ in times),
        "peer": statistics.median(theirs for _, theirs in times),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def pairs(case: Case, own: str) -> Iterator[tuple[str, str]]:
    """(fastml's contender, peer): the function against NumPy and PyTorch, the estimator against scikit-learn."""
    for name in contenders(case.op):
        if name == "scikit-learn":
            yield ESTIMATORS[case.op], name
        elif not name.startswith("fastml"):
            yield own, name


def measure(ops: list[str], dtypes: list[str], own: str, rounds: int) -> Iterator[dict[str, Any]]:
    with equal_threads() as n_threads:
        for case in BENCH:
            for dtype in dtypes if case.op in ops else ():
                known = contenders(case.op)
                for mine, peer in pairs(case, own):
                    calls = [prepared(known[name], case, dtype)[0] for name in (mine, peer)]
                    row = paired(calls[0], calls[1], rounds)
                    yield {"op": case.op, "case": case.name, "dtype": dtype, "fastml": mine, "against": peer,
                           "threads": n_threads, **row}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Paired ratios: peer time / fastml time.")
    parser.add_argument("--op", action="append", choices=OPS, help="default: all")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: both")
    parser.add_argument("--fastml", default="fastml cython", choices=[c.name for c in OWN], help="which of ours")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="also write the rows to this file")
    options = parser.parse_args()
    table = Table("operation", "case", "dtype", "fastml", "ms", "peer", "ms", "ratio", "from", "to")
    rows = []
    for row in measure(options.op or list(OPS), options.dtype or list(DTYPES), options.fastml, options.rounds):
        rows.append(row)
        style = "red" if row["ratio"] < 1 else ""
        table.add_row(row["op"], row["case"], row["dtype"], row["fastml"], f"{row['ours'] * 1e3:.3f}", row["against"],
                      f"{row['peer'] * 1e3:.3f}", f"{row['ratio']:.2f}", f"{row['low']:.2f}", f"{row['high']:.2f}",
                      style=style)  # fmt: skip
    Console(width=170).print(table)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
