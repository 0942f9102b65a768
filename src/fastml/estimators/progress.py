"""How far a long fit is, on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(name: str, total: int, verbose: int) -> Iterator[Callable[[int], Any]]:
    """What to call with the number of rows that were just done; with `verbose` 0, it says nothing.

    Drawn by rich or tqdm, whichever is installed; without either, a line for each tenth.
    """
    if not verbose:
        yield lambda rows: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        with _without_rich(name, total) as advance:
            yield advance
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def _without_rich(name: str, total: int) -> Iterator[Callable[[int], Any]]:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield _lines(name, total)
        return
    with tqdm(total=total, desc=name, unit="row") as bar:
        yield bar.update


def _lines(name: str, total: int) -> Callable[[int], None]:
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        tenths = done * 10 // total
        done += rows
        if done * 10 // total > tenths:
            print(f"{name}: {done} of {total} rows", file=sys.stderr, flush=True)

    return advance
