"""Paired ratios: peer time / fastml time, from alternating blocks in one run.

    fastml versus [conv2d] [--case 8x64] [--dtype float32] [--fastml "fastml numba"] [--peer "fastml cython"]

Two libraries that each own a thread pool slow each other down while the idle one's threads still spin. So each
contender runs in blocks of at least 100 ms, with a pause between that outlasts the spinning, in alternating order, with
the same number of threads, and what is reported is the median of the ratios of neighbouring blocks, with the lowest and
highest.
"""

import importlib
import operator
import statistics
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from fastml.learn.cases import BENCH, DTYPES, Case
from fastml.learn.harness import OWN, PAUSE, Contender, prepared

BLOCK = 0.1  # seconds
PATIENCE = 1.0  # seconds; of what takes longer, one call is enough: cold caches are nothing to it
OURS = "fastml cython"
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


def peers(case: Case, dtype: str, own: str, wanted: Collection[str]) -> list[str]:
    """Names of those to compare with: the wanted ones, or everybody who is not fastml."""
    names = [name for name in contenders(case, dtype) if name != own]
    return [name for name in names if (name in wanted if wanted else not name.startswith("fastml"))]


def pairs(
    ops: Collection[str] = (),
    case: str = "",
    dtypes: Collection[str] = (),
    own: str = OURS,
    wanted: Collection[str] = (),
) -> list[tuple[Case, str, str]]:
    """Every case, dtype and peer to compare with. Of nothing, empty means all; `case` is a part of its name."""
    unknown = [*({*ops} - {*OPS}), *({*dtypes} - {*DTYPES})]
    if unknown:
        raise ValueError(f"there is no {unknown[0]!r}; operations are {', '.join(OPS)}, dtypes {', '.join(DTYPES)}")
    if not any(case in one.name for one in BENCH if not ops or one.op in ops):
        raise ValueError(f"no case has {case!r} in its name")
    names = dict.fromkeys(contender.name for op in ops or OPS for contender in known(op))
    if unknown := [name for name in (own, *wanted) if name not in names]:
        raise ValueError(f"there is no {unknown[0]!r} to compare; here are {', '.join(names)}")
    return [
        (one, dtype, peer)
        for one in BENCH
        if (not ops or one.op in ops) and case in one.name
        for dtype in one.dtypes
        if (not dtypes or dtype in dtypes) and own in contenders(one, dtype)
        for peer in peers(one, dtype, own, wanted)
    ]


def losses(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in which the peer is faster, from the worst on."""
    return sorted((row for row in rows if row["ratio"] < 1), key=operator.itemgetter("ratio"))
