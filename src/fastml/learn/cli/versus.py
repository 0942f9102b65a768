"""`fastml versus [OP]`"""

from typing import Annotated, Any

import typer

from fastml.learn.cli import show

Ops = Annotated[list[str] | None, typer.Argument(metavar="OP", help="Compare these operations; not one case of all.")]
Peers = Annotated[list[str] | None, typer.Option(help="Compare with this one, not with all that are installed.")]


def versus(
    op: Ops = None,
    case: Annotated[str, typer.Option(help="Take only the cases with this in their name.")] = "",
    dtype: Annotated[list[str] | None, typer.Option(help="Take only float32, or only float64.")] = None,
    own: Annotated[str, typer.Option("--fastml", help="Take this one of fastml's own.")] = "fastml cython",
    peer: Peers = None,
    rounds: Annotated[int, typer.Option(min=1, help="Time so many pairs of blocks. The median ratio counts.")] = 7,
    as_json: show.Json = False,
) -> None:
    """Time fastml against what else is installed, in pairs, and say where it loses.

    A ratio is the peer's time over fastml's: above 1, fastml is faster.
    """
    from fastml.learn import harness  # with scikit-learn's data, which take a second: not for other commands
    from fastml.learn import versus as comparison

    with show.refusing(ValueError):
        pairs = comparison.pairs(op or (), case, dtype or (), own, peer or ())
        if not pairs:
            raise ValueError("nobody to compare with; for more: pip install 'fastml-kernels[peers]'")
    if not op and not case:
        pairs = _one_of_each(pairs)
    rows, track = [], show.progress("comparing")
    with harness.equal_threads() as n_threads:
        for one, kind, other in track(pairs):
            rows.append({**comparison.compare(one, kind, own, other, rounds), "threads": n_threads})
    if as_json:
        show.as_json(rows)
        return
    show.console().print(_table(rows))
    losses = [f"  {row['op']}, {row['case']}, {row['dtype']}: {row['against']}, {row['ratio']:.2f}"
              for row in comparison.losses(rows)]  # fmt: skip
    show.console().print("\n".join(["Where fastml loses:", *losses]) if losses else "Here fastml loses nowhere.")


def _one_of_each(pairs: list[tuple[Any, str, str]]) -> list[tuple[Any, str, str]]:
    first = {one.op: (one, kind) for one, kind, _ in reversed(pairs)}
    return [pair for pair in pairs if first[pair[0].op] == pair[:2]]


def _table(rows: list[dict[str, Any]]) -> Any:
    heads = ("case", "peer", "ms", "peer's ms", "ratio", "from", "to")
    table = show.table(*heads, numbers=5, title=f"peer / {rows[0]['fastml']}, {rows[0]['threads']} threads")
    for row in rows:
        words = f"{row['op']}: {row['case']}, {row['dtype']}", row["against"]
        times = [f"{row[key] * 1e3:.3f}" for key in ("ours", "peer")]
        ratios = [f"{row[key]:.2f}" for key in ("ratio", "low", "high")]
        table.add_row(*words, *times, *ratios, style="red" if row["ratio"] < 1 else "")
    return table
