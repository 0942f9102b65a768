"""`fastml info`"""

from typing import Any

from fastml.learn import machine
from fastml.learn.cli import show


def info(as_json: show.Json = False) -> None:
    """Show what fastml found here: its build, the instruction set, threads, BLAS libraries and versions."""
    found = machine.description()
    if as_json:
        show.as_json(found)
        return
    table = show.table("", "")
    table.show_header = False
    for key, value in found.items():
        table.add_row(key, _text(value))
    show.console().print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ("\n" if value and isinstance(value[0], dict) else ", ").join(_text(item) for item in value)
    return str(value)
