"""`fastml counters OP`"""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from fastml.learn.cli import show


def counters(
    op: Annotated[str, typer.Argument(metavar="OP", help="An operation: conv2d, moments, ...")],
    case: Annotated[str, typer.Option(help="Part of a case's name; default: a small one.")] = "",
    rung: Annotated[list[str] | None, typer.Option(help='Such as "cython rows"; default: all that can.')] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    source: Annotated[str, typer.Option(help="hardware, cachegrind or model; default: the best here.")] = "",
    as_json: show.Json = False,
) -> None:
    """Count what each rung's kernel takes: instructions, cycles, cache misses. Where the processor does not tell,
    Valgrind does, and where that is missing, a floor is worked out from the sizes.

    One call, from Python, with one thread, when all that fits is in the caches. An element is one of the first array;
    flops are the least that any implementation needs.
    """
    from fastml.learn import counters as counting  # with scikit-learn's data, which take a second
    from fastml.learn.costs import cost

    with show.refusing(ValueError, counting.Unavailable):
        one = counting.case_of(op, case, dtype)
        rungs = [counting.find(op, name) for name in rung or ()] or counting.rungs_of(op, one, dtype)
        counted = counting.count_all(op, rungs, one, dtype, source)
        rows = [next(counted) for _ in show.progress(f"{op}, {one.name}")(rungs)]
    least = cost(one, dtype)
    if as_json:
        floor = {"least_bytes": least.bytes, "least_flops": least.flops}
        show.as_json([asdict(row) | {"label": row.label} | floor for row in rows])
        return
    console = show.console()
    console.print(_table(rows, least.flops))
    for name in dict.fromkeys(row.source for row in rows):
        console.print(f"{name}: {counting.label(name)}")
    for reason in dict.fromkeys(reason for row in rows for reason in row.better):
        names = [f"{row.backend} {row.rung}" for row in rows if reason in row.better]
        console.print(f"no better source for {'any' if len(names) == len(rows) else ', '.join(names)}: {reason}")


def _table(rows: list[Any], flops: float) -> Any:
    first = rows[0]
    heads = ("instructions", "an element", "a flop", "cycles", "L1 misses", "last misses", "bytes", "flops")
    table = show.table("rung", "source", *heads, title=f"{first.op}: {first.case}, {first.dtype}", numbers=len(heads))
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        shares = [None if row.instructions is None else row.instructions / per for per in (row.elements, flops)]
        counts = [row.cycles, row.l1_misses, row.llc_misses, row.bytes, row.flops]
        cells = [_whole(row.instructions), *(_share(share) for share in shares), *map(_whole, counts)]
        last = after is None or after.backend != row.backend
        table.add_row(f"{row.backend} {row.rung}", row.source, *cells, end_section=last)
    return table


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
