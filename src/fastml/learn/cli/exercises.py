"""`fastml learn list | start | check | solution`"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.markdown import Markdown
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from fastml.learn import exercises, grader, native
from fastml.learn.cli import show
from fastml.learn.judge import Verdict

app = typer.Typer(name="learn", help="Exercises with a grader: make it right, make it fast.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="EXERCISE", help="The name of an exercise, as in `fastml learn list`.")]
Language = Annotated[str, typer.Option("--language", "-l", help="Take numba, or c or cython where the list has it.")]
STATUS = {"passed": 0, "failed": 1, "noisy": 3}  # 2 is that of a wrong command
COLOURS = {"passed": "green", "failed": "red", "noisy": "yellow"}


@app.command("list")
def list_them(as_json: show.Json = False) -> None:
    """List the exercises, in the order in which to take them."""
    rows = [
        {"name": name, "title": exercises.title(name), "languages": exercises.languages(name)}
        for name in exercises.NAMES
    ]
    if as_json:
        show.as_json(rows)
        return
    table = show.table("exercise", "what it is about", "in")
    for row in rows:
        table.add_row(str(row["name"]), str(row["title"]), ", ".join(row["languages"]))
    show.console().print(table)


@app.command()
def start(name: Name, language: Language = "numba") -> None:
    """Copy the starter of an exercise into this folder, and say what to do. Nothing is overwritten."""
    with show.refusing(ValueError, OSError):
        path = grader.start(name, Path(), language)
    console = show.console()
    console.print(Markdown(exercises.task(name)), width=show.READABLE)
    console.print(f"\nYour file is {path}. When you have changed it: fastml learn check {name}")


@app.command()
def check(
    name: Name,
    file: Annotated[Path | None, typer.Option(help="Grade this file, not the one that `start` made here.")] = None,
    hint: Annotated[int, typer.Option(min=0, max=3, help="Show the hints up to this one, and do not grade.")] = 0,
    as_json: show.Json = False,
) -> None:
    """Grade your file: is it right, and is it fast? This takes a few seconds, and up to half a minute.

    The exit status is 0 if it passes, 1 if it fails, 2 for a wrong command, and 3 if the machine is too noisy to say.
    """
    with show.refusing(ValueError, OSError, native.Unavailable):
        if hint:
            hints = exercises.hints(name)[:hint]
            text = "\n\n".join(f"## Hint {i}\n\n{text}" for i, text in enumerate(hints, 1))
            show.as_json(hints) if as_json else show.console().print(Markdown(text), width=show.READABLE)
            return
        path = file or grader.find(name, Path())
        with show.waiting(f"grading {path}"):
            verdict = grader.check(name, path)
    if as_json:
        show.as_json({"exercise": name, "file": str(path), **asdict(verdict)})
    else:
        show.console().print(_panel(name, verdict))
    raise typer.Exit(STATUS[verdict.outcome])


def _panel(name: str, verdict: Verdict) -> Panel:
    heading = f"{verdict.outcome} {'★' * verdict.stars}".strip()
    lines = [Text(heading, f"bold {COLOURS[verdict.outcome]}"), Text(verdict.reason)]
    if verdict.case and not verdict.seconds:
        lines.append(Text(f"in the case: {verdict.case}"))
    if verdict.seconds:
        between = f"the true speed lies between {verdict.low:.2f} and {verdict.high:.2f} of the solution's"
        lines.append(Text(f"{verdict.seconds * 1e3:.3g} ms a call; {between}"))
    if verdict.of_rung:
        lines.append(Text(f"{verdict.of_rung:.2f} times the speed of the kernel that fastml ships for this"))
    return Panel(Group(*lines), title=name, title_align="left", expand=False)


@app.command()
def solution(name: Name, language: Language = "numba") -> None:
    """Show how it can be done: the shipped solution."""
    with show.refusing(ValueError):
        offered = exercises.languages(name)
        if language not in offered:
            raise ValueError(f"{name} can be done in {', '.join(offered)}; got {language!r}")
        path = exercises.file(name, "solution", language)
    lexer = {"numba": "python"}.get(language, language)
    console, code = show.console(), path.read_text(encoding="utf-8")
    console.print(Syntax(code, lexer).highlight(code), soft_wrap=True, end="")  # whole lines, however long
