"""`fastml ladder NAME`"""

from typing import Annotated, Any

import typer

from fastml.learn.cli import show

Rungs = Annotated[list[str] | None, typer.Option("--rung", help='Only "cython rows", say; may be given repeatedly.')]


def ladder(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An operation, such as conv2d, or a warm-up: sum, gemm.")],
    case: Annotated[str, typer.Option(help="Part of a case's name; default: one that shows what rungs are for.")] = "",
    whole: Annotated[bool, typer.Option("--all", help="All cases of the chapter.")] = False,
    rung: Rungs = None,
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each rung; the median counts.")] = 3,
    as_json: show.Json = False,
) -> None:
    """Check every rung of a ladder, and time it: what does each idea buy, here?

    Rates count the bytes or operations that any implementation needs at the least; the roofline is what this machine
    does of these at best. A dot marks the kernel that users get.
    """
    from fastml.learn import ladder as ladders  # with scikit-learn's data, which take a second: not for other commands
    from fastml.learn import stages

    found = []
    with show.refusing(ValueError):
        for shown in stages.chapter(name) if whole else stages.find(name, case):
            rows = ladders.measure(name, shown, rounds, show.progress(f"{name}, {shown.case}"), rung or ())
            found += rows
            if not as_json:
                show.console().print(_table(rows))
    if as_json:
        show.as_json(found)


def _table(rows: list[dict[str, Any]]) -> Any:
    from fastml.learn.report import significant

    first = rows[0]
    unit = f"G{first['unit']}"
    title = f"{first['op']}: {first['case']}, {first['dtype']}, {first['threads']} threads"
    heads = ("rung", "idea", "ms", unit, "% of roofline", "over the rung before", "error")
    table = show.table(*heads, title=title, numbers=5)
    for row, after in zip(rows, [*rows[1:], {}], strict=True):
        cells = ["", "", "", ""]
        if "seconds" in row:
            numbers = row["seconds"] * 1e3, row["rate"] / 1e9, row["share"] * 100, row.get("gain")
            cells = ["" if number is None else significant(number) for number in numbers]
        error = f"{row['error']:.0e}" if "error" in row else ""
        rung = f"{row['backend']} {row['rung']}{' ●' * row['ships']}"
        notes = [row["idea"], f"fails: {row['fails']}" if row["fails"] else "", row["note"]]
        last = row["backend"] != after.get("backend")
        table.add_row(rung, "; ".join(filter(None, notes)), *cells, error, end_section=last)
    return table
