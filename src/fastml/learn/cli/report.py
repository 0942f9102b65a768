"""`fastml report [FILE]`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from fastml.learn import machine, page
from fastml.learn import report as results
from fastml.learn.cli import show

File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="What `make bench` left; default: a fresh run.")]
Ops = Annotated[list[str] | None, typer.Option("--op", help="Time this ladder; default: all, or with a FILE none.")]


def report(
    file: File = None,
    op: Ops = None,
    output: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("fastml-report.html"),
    rounds: Annotated[int, typer.Option(min=1, help="Blocks of each rung; the median counts.")] = 3,
    as_json: show.Json = False,
) -> None:
    """Write one HTML page with this machine's roofline, ladders, and comparisons with other libraries.

    Comparisons come from a benchmark file; ladders are timed now, which takes about half a minute for each.
    """
    benches, origin = None, ""
    with show.refusing(OSError, ValueError, KeyError):
        if file:
            data, benches = results.load(file)
            origin = f"From {file.name}, {data['datetime'][:10]}."
        ladders = _measured(op or ([] if file else None), rounds)
    found, rates = machine.description(), machine.rates(track=show.progress("roofline"))
    output.write_text(page.render(found, rates, ladders, benches, origin), encoding="utf-8")
    if as_json:
        show.as_json({"page": str(output), "machine": found, "roofline": rates, "ladders": ladders})
    else:
        show.console().print(f"Written: {output}")


def _measured(ops: list[str] | None, rounds: int) -> list[list[dict[str, Any]]]:
    """The ladders of the case that is shown of each operation; of None, of all."""
    if ops == []:
        return []
    from fastml.learn import ladder  # with scikit-learn's data, which take a second

    cases = [(name, ladder.cases_of(name)[0]) for name in ops or ladder.SHOWN]
    return [ladder.measure(name, case, rounds) for name, case in show.progress("ladders")(cases)]
