"""`fastml roofline`"""

from typing import Annotated, Any

import typer

from fastml.learn import machine
from fastml.learn.cli import show


def roofline(
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured before.")] = False,
    as_json: show.Json = False,
) -> None:
    """Show what this machine can do at best: flops, and bytes from each level of memory, by number of threads.

    It is measured once on each machine, which takes a few seconds, and then kept. Close other programs before.
    """
    found = machine.rates(fresh, show.progress("measuring"))
    if as_json:
        show.as_json({**found, "file": str(machine.kept_at())})
        return
    rates, console = found["rates"], show.console()
    threads = sorted({row["threads"] for row in rates})
    heads = [f"{n} thread{'s' * (n > 1)}" for n in threads]
    path = machine.kept_at()
    kept = f"kept in {path}" if path.exists() else f"not kept, as {path} cannot be written"
    console.print(f"{found['machine']}, {found['isa']}, measured on {found['date']}; {kept}", soft_wrap=True)
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
