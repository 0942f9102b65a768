"""`fastml roofline`"""

from typing import Annotated, Any

import typer

from fastml.learn import machine
from fastml.learn.cli import show


def roofline(
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew, also what was measured before.")] = False,
    as_json: show.Json = False,
) -> None:
    """What this machine can do at best: flops, and bytes from each level of memory, by number of threads.

    Measured once on each machine (a few seconds; close other programs), then kept.
    """
    found = machine.rates(fresh, show.progress("measuring"))
    if as_json:
        show.as_json({**found, "file": str(machine.kept_at())})
        return
    rates, console = found["rates"], show.console()
    threads = sorted({row["threads"] for row in rates})
    heads = [f"{n} thread{'s' * (n > 1)}" for n in threads]
    console.print(f"{found['machine']}, {found['isa']}, measured on {found['date']}; kept in {machine.kept_at()}")
    table = show.table("multiplications and additions", *heads, title="GFLOP/s", numbers=len(heads))
    for dtype in dict.fromkeys(row["dtype"] for row in rates if row["what"] == "flops"):
        table.add_row(dtype, *_cells(rates, threads, dtype=dtype))
    console.print(table)
    table = show.table("arrays in", "", *heads, title="GB/s", numbers=len(heads))
    for level, kind in dict.fromkeys((row["level"], row["kind"]) for row in rates if row["what"] == "bandwidth"):
        table.add_row(level, kind, *_cells(rates, threads, level=level, kind=kind), end_section=kind == "copy")
    console.print(table)
    if machine.disturbed(rates):
        console.print("More threads were slower than one somewhere: other programs ran. Measure again, with --fresh.")


def _cells(rates: list[dict[str, Any]], threads: list[int], **wanted: str) -> list[str]:
    """The rows that are wanted, in billions a second, for each number of threads."""
    found = {row["threads"]: row["per_second"] for row in rates if wanted.items() <= row.items()}
    return [f"{found[n] / 1e9:.1f}" for n in threads]
