"""Paired ratios: peer time / fastml time, from alternating blocks in one run.

    python -m fastml.learn.versus [--op conv2d] [--case 8x64] [--dtype float32] [--fastml "fastml numba"]
                             [--peer "fastml cython"] [--rounds 7] [--json FILE]

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

from fastml.learn.cases import BENCH, DTYPES, Case
from fastml.learn.harness import OWN, PAUSE, Contender, equal_threads, prepared

BLOCK = 0.1  # seconds
PATIENCE = 1.0  # seconds; of what takes longer, one call is enough: cold caches are nothing to it
# Classes have files of other names.
CLASSES = {
    "StandardScaler": "standard_scaler",
    "PCA": "pca_estimator",
    "Conv2d": "conv2d_layer",
    "ResNet18": "resnet18",
}
OPS = tuple(dict.fromkeys(case.op for case in BENCH))


def bench_of(op: str) -> Any:
    """The module that says who takes part."""
    return importlib.import_module(f"fastml.learn.peers.{CLASSES.get(op, op)}")


def known(op: str) -> tuple[Contender, ...]:
    """Who takes part in the bench of an operation, and who is only timed in pairs: what can be forced."""
    bench = bench_of(op)
    return (*getattr(bench, "OWN", OWN), *bench.PEERS, *getattr(bench, "FORCED", ()))


def contenders(case: Case, dtype: str) -> dict[str, Contender]:
    """Who enters for a case, by name."""
    return {contender.name: contender for contender in known(case.op) if contender.enters(case, dtype)}


def block(call: Callable[[], Any]) -> float:
    """Seconds per call in a block of at least BLOCK seconds; a first call, which finds cold caches, is not counted."""
    time.sleep(PAUSE)
    start = time.perf_counter()
    call()
    if (first := time.perf_counter() - start) > PATIENCE:
        return first
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < BLOCK or not calls:
        call()
        calls += 1
    return elapsed / calls


def paired(ours: Callable[[], float], peer: Callable[[], float], rounds: int) -> dict[str, float]:
    """Medians of two measurements in alternating order, and of the ratio peer / ours of neighbours."""
    times: list[tuple[float, float]] = []
    for i in range(rounds):
        if i % 2:
            theirs, mine = peer(), ours()
        else:
            mine, theirs = ours(), peer()
        times.append((mine, theirs))
    ratios = [theirs / mine for mine, theirs in times]
    return {
        "ours": statistics.median(mine for mine, _ in times),
        "peer": statistics.median(theirs for _, theirs in times),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def compare(case: Case, dtype: str, own: str, peer: str, rounds: int) -> dict[str, Any]:
    """The paired ratio of two contenders, whose answers were checked first."""
    entered = contenders(case, dtype)
    mine, theirs = (prepared(entered[name], case, dtype)[0] for name in (own, peer))
    row = paired(lambda: block(mine), lambda: block(theirs), rounds)
    return {"op": case.op, "case": case.name, "dtype": dtype, "fastml": own, "against": peer, **row}


def peers(case: Case, dtype: str, own: str, wanted: list[str]) -> list[str]:
    """Names of those to compare with: the wanted ones, or everybody who is not fastml."""
    names = [name for name in contenders(case, dtype) if name != own]
    return [name for name in names if (name in wanted if wanted else not name.startswith("fastml"))]


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with equal_threads() as n_threads:
        for case in BENCH:
            if (options.op and case.op not in options.op) or options.case not in case.name:
                continue
            for dtype in [dtype for dtype in case.dtypes if not options.dtype or dtype in options.dtype]:
                if options.fastml in contenders(case, dtype):
                    for peer in peers(case, dtype, options.fastml, options.peer):
                        yield {**compare(case, dtype, options.fastml, peer, options.rounds), "threads": n_threads}


def main() -> None:
    parser = argparse.ArgumentParser(description="Paired ratios: peer time / fastml time.")
    parser.add_argument("--op", action="append", choices=OPS, help="default: all")
    parser.add_argument("--case", default="", help="part of a case's name; default: all")
    parser.add_argument("--dtype", action="append", choices=DTYPES, help="default: those of the case")
    parser.add_argument("--fastml", default="fastml cython", help='which of ours; also "fastml cython direct"')
    parser.add_argument("--peer", action="append", default=[], help='default: all but ours; may be "fastml cython"')
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="also write the rows to this file")
    options = parser.parse_args()
    table = Table("operation", "case", "dtype", "fastml", "ms", "peer", "ms", "ratio", "from", "to")
    rows = []
    for row in measure(options):
        rows.append(row)
        style = "red" if row["ratio"] < 1 else ""
        table.add_row(row["op"], row["case"], row["dtype"], row["fastml"], f"{row['ours'] * 1e3:.3f}", row["against"],
                      f"{row['peer'] * 1e3:.3f}", f"{row['ratio']:.2f}", f"{row['low']:.2f}", f"{row['high']:.2f}",
                      style=style)  # fmt: skip
    if not rows:
        parser.error("nobody of these names enters for a case of this name")
    Console(width=170).print(table)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
