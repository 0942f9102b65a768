"""One HTML page of what was measured: the machine, its roofline, ladders, peers. It needs no other file."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from fastml.learn import plot
from fastml.learn.report import COUNTED_IN_FLOPS, OURS, PEERS, significant

STYLE = """
:root { --ink: #1b1f24; --paper: #fff; --faint: #d5dae0; --bar: #4878a8; --bad: #b3452c; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16191d; --faint: #3b424a; --bar: #7aa6d1; --bad: #f0876c; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
       max-width: 62rem; margin: 0 auto; padding: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .5rem 0 1.5rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--faint); text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.loss td { color: var(--bad); }
.bar { display: inline-block; height: .6rem; background: var(--bar); vertical-align: middle; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg path { fill: none; } svg .axis { stroke: var(--ink); } svg .grid { stroke: var(--faint); }
svg .roof { stroke: var(--bar); }
svg circle { fill: var(--bad); }
"""
LADDERS = """<h2>Ladders</h2>
<p>Rungs in order, each with the idea that changed. Rates count what any implementation must move or compute at the
least; the bar is the share of the roofline. ● is what users get.</p>"""
AGAINST = """<h2>Against others</h2>
<p>{} A ratio is their time over fastml's. Where it is below 1, the row is marked: there fastml loses.</p>"""
ROOFLINE = """<h2>Roofline</h2>
{}
<p>Measured on {}, {} threads. No kernel is above the line of the memory that its arrays come from. Each dot is a kernel
of fastml; point at it for its name. Flops are those of the definition: Winograd's algorithm, which needs fewer, may be
above the peak.</p>"""


def render(
    machine: dict[str, Any],
    rates: dict[str, Any],
    ladders: Sequence[list[dict[str, Any]]] = (),
    benches: dict[tuple[str, str, str], dict[str, dict[str, Any]]] | None = None,
    origin: str = "",
) -> str:
    """The page: `fastml.learn.machine` gives the first two, `fastml.learn.ladder` the third, `report.load` the fourth.

    `origin` says where and when the benches were run.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    build = f"{machine['machine']}, {machine['isa']}, {machine['threads']} threads; fastml {machine['fastml']}"
    parts = [f"<h1>fastml on this machine</h1><p>{_text(build)}, {_text(versions)}.</p>"]
    parts.append(_roofline(rates, _points(ladders, benches or {})))
    if ladders:
        parts.append(LADDERS)
        parts += [_ladder(rows) for rows in ladders]
    if benches:
        parts += [AGAINST.format(_text(origin)), _peers(benches)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>fastml: a report</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )  # fmt: skip


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(caption: str, heads: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]], words: int) -> str:
    """Rows of cells that are HTML, and whether they are marked; the first `words` columns are not numbers."""
    kinds = ["" if i < words else ' class="n"' for i in range(len(heads))]
    lines = [f'<div class="wide"><table><caption>{_text(caption)}</caption>']
    lines.append("<tr>" + "".join(f"<th{k}>{_text(h)}</th>" for h, k in zip(heads, kinds, strict=True)) + "</tr>")
    for cells, marked in rows:
        columns = "".join(f"<td{k}>{cell}</td>" for cell, k in zip(cells, kinds, strict=True))
        lines.append(f"<tr class=loss>{columns}</tr>" if marked else f"<tr>{columns}</tr>")
    return "\n".join([*lines, "</table></div>"])


def _ladder(rows: list[dict[str, Any]]) -> str:
    first = rows[0]
    heads = ("rung", "idea", "ms", f"G{first['unit']}", "% of roofline", "over the rung before", "error")
    return _table(f"{first['op']}: {first['case']}, {first['dtype']}", heads, ((_rung(row), False) for row in rows), 2)


def _rung(row: dict[str, Any]) -> list[str]:
    name = f"{row['backend']} {row['rung']}{' ●' * row['ships']}"
    idea = "; ".join(filter(None, (row["idea"], f"fails: {row['fails']}" if row["fails"] else "", row["note"])))
    error = f"{row['error']:.0e}" if "error" in row else ""
    if "seconds" not in row:
        return [_text(name), _text(idea), "", "", "", "", error]
    share = 100 * row["share"]
    bar = f'<span class="bar" style="width:{min(share, 120) * 0.6:.0f}px"></span> {significant(share)}'
    gain = significant(row["gain"]) if "gain" in row else ""
    numbers = significant(row["seconds"] * 1e3), significant(row["rate"] / 1e9)
    return [_text(name), _text(idea), *numbers, bar, gain, error]


def _peers(benches: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> str:
    rows = []
    for (op, case, dtype), entered in benches.items():
        if OURS not in entered:
            continue
        own = entered[OURS]["seconds"]
        for peer in (peer for peer in PEERS if peer in entered):
            theirs = entered[peer]["seconds"]
            cells = [*map(_text, (op, case, dtype, peer)), *map(significant, (own * 1e3, theirs * 1e3, theirs / own))]
            rows.append((cells, theirs < own))
    lost = sum(marked for _, marked in rows)
    heads = ("operation", "case", "dtype", "peer", "fastml ms", "peer's ms", "ratio")
    return _table(f"{len(rows)} comparisons; fastml loses {lost}", heads, rows, 4)


def _points(
    ladders: Iterable[list[dict[str, Any]]], benches: dict[tuple[str, str, str], dict[str, dict[str, Any]]]
) -> list[plot.Point]:
    """(flops for a byte, GFLOP/s, name) of what ships; of benches, those whose work is counted in flops."""
    points = []
    for rows in ladders:
        for row in rows:
            if row["ships"] and "seconds" in row and row["backend"] == "cython" and row["flops"]:
                points.append((row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e9, row["op"]))
    for (op, case, dtype), entered in benches.items():
        own = entered.get(OURS)
        if own and own["flops"] and own["bytes"] and op in COUNTED_IN_FLOPS and dtype == "float32" and not own["small"]:
            points.append((own["flops"] / own["bytes"], own["flops"] / own["seconds"] / 1e9, f"{op} {case}"))
    return points


def _roofline(rates: dict[str, Any], points: list[plot.Point]) -> str:
    picture, threads = plot.roofline(rates["rates"], points), max(row["threads"] for row in rates["rates"])
    return ROOFLINE.format(picture, _text(rates["date"]), threads)
