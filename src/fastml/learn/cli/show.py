"""What commands have in common: where they write, how a number looks, and how they refuse."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs, and nothing else.")]
T = TypeVar("T")
READABLE = 100  # columns of prose


def console() -> Console:
    """Where results go. Wide where nobody looks: a table in a file should not be broken."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False)


def progress(what: str) -> Callable[[list[T]], Iterable[T]]:
    """Go through a list with a bar on standard error, if that is a terminal."""
    errors = Console(stderr=True)
    return lambda rows: track(rows, what, console=errors, transient=True, disable=not errors.is_terminal)


def waiting(what: str) -> contextlib.AbstractContextManager[object]:
    """A sign of life on standard error, if that is a terminal."""
    errors = Console(stderr=True)
    return errors.status(what) if errors.is_terminal else contextlib.nullcontext()


def as_json(value: Any) -> None:
    print(json.dumps(value, indent=1))


def table(*heads: str, title: str = "", numbers: int = 0) -> Table:
    """An empty table whose last `numbers` columns are aligned to the right, and are not broken."""
    made = Table(title=title or None, title_justify="left")
    for i, head in enumerate(heads):
        number = i >= len(heads) - numbers
        made.add_column(head, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return made


@contextlib.contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """Turn errors that are the user's into a line on standard error, and status 2."""
    try:
        yield
    except errors as error:
        Console(stderr=True, highlight=False).print(f"fastml: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
