"""A ladder on this machine: every rung is checked, then timed against the one before it.

All rungs run in blocks, in alternating order, as in `fastml.learn.versus`. `fastml.learn.stages` says on what.

>>> from fastml.learn import ladder, stages
>>> (shown,) = stages.find("max_pool2d", "1x8x8x8")
>>> rows = ladder.measure("max_pool2d", shown, rounds=1, only=["cython loops", "cython unrolled"])
>>> [row["rung"] for row in rows], rows[1]["gain"] > 0, rows[1]["ships"]
(['loops', 'unrolled'], True, True)
"""

import functools
import statistics
from collections.abc import Callable, Collection, Iterable
from typing import Any

from fastml.learn import timing
from fastml.learn.harness import PEERS_TOLERANCE, TOLERANCE, equal_threads
from fastml.learn.provenance import kernel_hash
from fastml.learn.stages import Entry, Shown, Stage, stage
from fastml.learn.versus import block


def measure(
    name: str,
    shown: Shown,
    rounds: int = 3,
    track: Callable[[list[Any]], Iterable[Any]] = iter,
    only: Collection[str] = (),
) -> list[dict[str, Any]]:
    """A row for each rung, or for those whose "backend rung" is in `only`.

    "gain" is over the row before of the same backend. "seconds" is missing where a rung was not timed,
    and "note" says why. `track` goes through steps of equal length.

    Raises ArithmeticError where a rung's answer is wrong that should be right, ValueError for a rung that is not there.
    """
    made = stage(name, shown)
    entries = _chosen(made.entries, only)
    with equal_threads() as n_threads:
        rows = [_row(made, entry) for entry in entries]
        calls: dict[int, Callable[[], Any]] = {}  # by number of the entry
        for i in track([*range(len(entries))]):
            if call := _checked(made, entries[i], rows[i]):
                calls[i] = call
        blocks = [functools.partial(_block, entries[i], call) for i, call in calls.items()]
        times: list[tuple[float, ...]] = []
        for i in track([*range(rounds)]):
            times += timing.alternate(blocks, 1, first=i)
        bound = made.bound(n_threads)
    work = made.least.flops if made.unit == "FLOP/s" else made.least.bytes
    above: dict[str, int] = {}  # the last column of a backend
    for column, i in enumerate(calls):
        seconds = statistics.median(time[column] for time in times)
        rows[i] |= {"seconds": seconds, "rate": work / seconds, "share": bound / seconds}
        if (before := above.get(rows[i]["backend"])) is not None:
            rows[i]["gain"] = statistics.median(time[before] / time[column] for time in times)
        above[rows[i]["backend"]] = column
    least = {"bytes": made.least.bytes, "flops": made.least.flops, "bound": bound, "unit": made.unit}
    return [row | least | {"threads": n_threads} for row in rows]


def _block(entry: Entry, call: Callable[[], Any]) -> float:
    with entry.within():
        return block(call)


def _chosen(entries: Collection[Entry], only: Collection[str]) -> list[Entry]:
    known = [f"{entry.backend} {entry.name}" for entry in entries]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"there is no rung {unknown[0]!r}; there are {', '.join(known)}")
    return [entry for entry, name in zip(entries, known, strict=True) if not only or name in only]


def _row(made: Stage, entry: Entry) -> dict[str, Any]:
    """What is known before anything is run."""
    named = {"op": made.ladder, "case": made.case, "dtype": made.dtype, "backend": entry.backend, "rung": entry.name}
    known = {"idea": entry.idea, "fails": entry.fails, "ships": entry.ships, "note": entry.why_not}
    return named | known | {"kernel": entry.kernel, "hash": kernel_hash(entry.kernel)}


def _checked(made: Stage, entry: Entry, row: dict[str, Any]) -> Callable[[], Any] | None:
    """The call to time, if there is one; the error of its answer goes into the row."""
    if entry.why_not:
        if entry.smaller:
            case, error = entry.smaller
            row |= {"error": error(), "note": f"{entry.why_not}; checked on {case}"}
            _refuse_if_wrong(row, case)
        return None
    call = entry.prepare()
    with entry.within():
        row["error"] = made.error(call())
    if entry.fails and not row["error"] < PEERS_TOLERANCE:
        row["note"] = "wrong"
        return None
    _refuse_if_wrong(row, made.case)
    return call


def _refuse_if_wrong(row: dict[str, Any], case: str) -> None:
    approximate = row["fails"] or row["backend"] == "step"  # an algorithm may be; its error is shown
    if not row["error"] < (PEERS_TOLERANCE if approximate else TOLERANCE[row["dtype"]]):
        raise ArithmeticError(f"{row['op']} {row['backend']} {row['rung']} is wrong by {row['error']:.1e} on {case}")
