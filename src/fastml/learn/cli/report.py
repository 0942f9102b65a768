"""`fastml report [FILE]`"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fastml.learn import machine, page
from fastml.learn import report as results
from fastml.learn.cli import show

File = Annotated[Path | None, typer.Argument(metavar="FILE", help="Take comparisons from what `make bench` left.")]
Ops = Annotated[list[str] | None, typer.Option("--op", help="Time this operation, not all; or not none, with a FILE.")]


def report(
    file: File = None,
    op: Ops = None,
    output: Annotated[Path, typer.Option(help="Write the page into this file.")] = Path("fastml-report.html"),
    rounds: Annotated[int, typer.Option(min=1, help="Time so many blocks of each. The median counts.")] = 3,
    as_json: show.Json = False,
) -> None:
    """Write one HTML page with this machine's roofline, ladders, and comparisons with other libraries.

    Without a file, a case of each operation is timed now, which takes about a minute for each. With one, comparisons
    are those of the file.
    """
    benches, origin = None, ""
    with show.refusing(OSError, ValueError):
        _writable(output)  # before minutes of measuring
        if file:
            benches, date = _loaded(file)
            origin = f"From {file.name}, {date}."
        ladders = _ladders(op or ([] if file else None), rounds)
    if not file:
        benches, origin = _compared(ladders, rounds), "In pairs, just now."
    found, rates = machine.description(), machine.rates(track=show.progress("roofline"))
    output.write_text(page.render(found, rates, ladders, benches, origin), encoding="utf-8")
    if as_json:
        show.as_json({"page": str(output), "machine": found, "roofline": rates, "ladders": ladders})
    else:
        show.console().print(f"Written: {output}")


def _writable(path: Path) -> None:
    folder = path.parent
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise ValueError(f"{path} cannot be written; choose another place with --output")


def _loaded(file: Path) -> tuple[dict[tuple[str, str, str], Any], str]:
    """What is in a benchmark file, and its date. Raises ValueError where it is something else."""
    try:
        data, benches = results.load(file)
        return benches, data["datetime"][:10]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not what `make bench` leaves: {error!r}") from None


def _ladders(ops: list[str] | None, rounds: int) -> list[list[dict[str, Any]]]:
    """The ladders of the case that is shown of each operation; of None, of all."""
    if ops == []:
        return []
    from fastml.learn import ladder, stages  # with scikit-learn's data, which take a second

    cases = [(name, stages.find(name)[0]) for name in ops or stages.names()]
    return [ladder.measure(name, shown, rounds) for name, shown in show.progress("ladders")(cases)]


def _compared(ladders: list[list[dict[str, Any]]], rounds: int) -> dict[tuple[str, str, str], Any]:
    """The cases of ladders against peers, in the form of a benchmark file."""
    from fastml.learn import harness, stages, versus

    shown = {(stages.TIMED.get(row["op"], row["op"]), row["case"]): row for row in (rows[0] for rows in ladders)}
    pairs = [pair for pair in versus.pairs(dtypes=[stages.DTYPE]) if (pair[0].op, pair[0].name) in shown]
    benches: dict[tuple[str, str, str], Any] = {}
    with harness.equal_threads():
        for case, dtype, peer in show.progress("comparing")(pairs):
            row = versus.compare(case, dtype, versus.OURS, peer, rounds)
            known = {key: shown[case.op, case.name][key] for key in ("flops", "bytes")} | {"small": case.small}
            entered = benches.setdefault((case.op, case.name, dtype), {})
            entered[versus.OURS], entered[peer] = (known | {"seconds": row[key]} for key in ("ours", "peer"))
    return benches
