"""The ladder of an operation on this machine: every rung is checked, then timed against the one before it.

All rungs run by the call that users make, in blocks, in alternating order, as in `fastml.learn.versus`.

>>> from fastml.learn import ladder
>>> [case.name for case in ladder.cases_of("max_pool2d", "1x8x8x8")]
['1x8x8x8, k2 s2']
"""

import functools
import statistics
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import fastml
from fastml import _dispatch
from fastml._registry import OPS, Rung
from fastml.learn import timing
from fastml.learn.cases import BENCH, Case
from fastml.learn.costs import cost
from fastml.learn.harness import PEERS_TOLERANCE, TOLERANCE, equal_threads, error, least_seconds
from fastml.learn.report import COUNTED_IN_FLOPS
from fastml.learn.versus import block, known

DTYPE = "float32"
# The case that is shown unless another is asked for: large enough for what the rungs change to matter.
SHOWN = {
    "moments": "random 1000000x50",
    "standardize": "random 10000x1000",
    "conv2d": "1x64x56x56 to 64, k3",
    "max_pool2d": "8x64x112x112, k3 s2 p1",
    "avg_pool2d": "8x64x112x112, k2 s2",
    "batch_norm": "8x64x56x56, training",
    "max_pool2d_backward": "8x64x112x112, k3 s2 p1",
    "avg_pool2d_backward": "8x64x112x112, k2 s2",
    "batch_norm_backward": "8x64x56x56, training",
    "conv2d_backward": "8x256x14x14 to 256, k3",
    "pca": "patches of a photograph 67200x64 to 16",
    "pca_transform": "random 1000000x50 to 10",
}
IN_FLOPS = (*COUNTED_IN_FLOPS, "conv2d_backward", "pca_transform")  # the others move bytes, mostly
LAYERS = {"conv2d": "Conv2d"}  # timed with weights that are prepared
PURE_PYTHON = ("numpy", "loops")  # interpreted loops
MOST_INTERPRETED = 1e7  # flops or bytes of a case on which they are run: more take minutes


def cases_of(op: str, part: str = "") -> list[Case]:
    """The cases of an operation with `part` in their names; of an empty part, the one that is shown.

    Raises ValueError for an operation or a case that does not exist.
    """
    if op not in OPS:
        raise ValueError(f"there is no ladder of {op!r}; there are {', '.join(OPS)}")
    every = [case for case in BENCH if case.op == LAYERS.get(op, op) and DTYPE in case.dtypes]
    found = [case for case in every if (part in case.name if part else case.name == SHOWN[op])]
    if not found:
        raise ValueError(f"{op} has no case with {part!r} in its name; there are {'; '.join(c.name for c in every)}")
    return found


def measure(
    op: str,
    case: Case,
    rounds: int,
    track: Callable[[list[Any]], Iterable[Any]] = iter,
) -> list[dict[str, Any]]:
    """A row for each rung of an operation, in the order of the table; "gain" is over the row before of its backend.

    "seconds" is missing where a rung was not timed, and "note" says why. `track` goes through steps of equal length.

    Raises ArithmeticError where a rung's answer is wrong that should be right.
    """
    rungs = _dispatch.rungs(op)
    with equal_threads() as n_threads:
        rows = [_row(rung, case) for rung in rungs]
        calls: dict[int, Callable[[], Any]] = {}
        for i in track([*range(len(rungs))]):
            rows[i]["note"], call = _prepare(rungs[i], case, rows[i])
            if call:
                calls[i] = call
        blocks = [functools.partial(_block, rungs[i], call) for i, call in calls.items()]
        times: list[tuple[float, ...]] = []
        for i in track([*range(rounds)]):
            times += timing.alternate(blocks, 1, first=i)
        bound, least = least_seconds(case, DTYPE, n_threads), cost(case, DTYPE)
    unit = "FLOP/s" if op in IN_FLOPS else "B/s"
    work = least.flops if op in IN_FLOPS else least.bytes
    for column, i in enumerate(calls):
        seconds = statistics.median(row[column] for row in times)
        rows[i] |= {"seconds": seconds, "rate": work / seconds, "share": bound / seconds}
        above = [j for j, before in enumerate(calls) if j < column and rows[before]["backend"] == rows[i]["backend"]]
        if above:
            rows[i]["gain"] = statistics.median(row[above[-1]] / row[column] for row in times)
    common = {"threads": n_threads, "bytes": least.bytes, "flops": least.flops, "bound": bound, "unit": unit}
    return [row | common for row in rows]


def _row(rung: Rung, case: Case) -> dict[str, Any]:
    """What is known before anything is run."""
    named = {"op": rung.op, "case": case.name, "dtype": DTYPE, "backend": rung.backend, "rung": rung.name}
    return named | {"idea": rung.idea, "fails": rung.fails, "ships": rung == _shipping(rung, case)}


def _shipping(rung: Rung, case: Case) -> Rung:
    return _dispatch.choose(rung.op, _problem(rung.op, case), rung.backend)


@functools.lru_cache(maxsize=1)
def _problem(op: str, case: Case) -> Any:
    return replace(case, op=op).problem(DTYPE)


def _prepare(rung: Rung, case: Case, row: dict[str, Any]) -> tuple[str, Callable[[], Any] | None]:
    """What to time, its answer checked and its error put into the row; or why there is nothing to time."""
    if rung.backend == "numba" and "numba" not in fastml.configuration()["backends"]:
        return "Numba is not installed", None
    if not _dispatch.serves(rung, _problem(rung.op, case)):
        return f"needs {rung.needs}", None
    least = cost(case, DTYPE)
    if (rung.backend, rung.name) == PURE_PYTHON and max(least.flops, least.bytes) > MOST_INTERPRETED:
        small = min((one for one in BENCH if one.op == case.op), key=lambda one: max(_size(one)))
        if max(_size(small)) > MOST_INTERPRETED:
            return "interpreted: takes minutes here", None
        _checked(rung, small, row)
        return f"interpreted: takes minutes here; checked on {small.name}", None
    return "", _checked(rung, case, row)


def _size(case: Case) -> tuple[float, float]:
    return cost(case, case.dtypes[0]).flops, cost(case, case.dtypes[0]).bytes


def _checked(rung: Rung, case: Case, row: dict[str, Any]) -> Callable[[], Any]:
    """The call that runs a rung when it is forced, after one whose answer was right, or is known to fail."""
    call = _call(rung, case)
    with _dispatch.forced(rung):
        row["error"] = error(case, DTYPE, call())
    if not row["error"] < (PEERS_TOLERANCE if rung.fails else TOLERANCE[DTYPE]):
        raise ArithmeticError(f"{rung.op} {rung.backend} {rung.name} is wrong by {row['error']:.1e} on {case.name}")
    return call


def _call(rung: Rung, case: Case) -> Callable[[], Any]:
    arguments = case.arguments(DTYPE)
    if rung.op in LAYERS:  # its rungs are arguments of the call
        contender = next(one for one in known(case.op) if one.name == f"fastml {rung.backend} {rung.name}")
        return contender.prepare(case, *arguments)
    args, options = arguments
    return case.call(case.implementation, args, {**options, "backend": rung.backend})


def _block(rung: Rung, call: Callable[[], Any]) -> float:
    with _dispatch.forced(rung):
        return block(call)
