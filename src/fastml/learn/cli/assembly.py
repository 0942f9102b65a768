"""`fastml assembly OP`"""

from dataclasses import asdict
from typing import Annotated

import typer

from fastml.learn.cli import show


def assembly(
    op: Annotated[str, typer.Argument(metavar="OP", help="An operation: conv2d, moments, ...")],
    rung: Annotated[str, typer.Option(help='Such as "cython rows"; default: the one that users get.')] = "",
    case: Annotated[str, typer.Option(help="Part of a case's name; default: a small one.")] = "",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    rank: Annotated[int, typer.Option(min=0, help="1 for the loop with most work but one, and so on.")] = 0,
    as_json: show.Json = False,
) -> None:
    """Show the loop of a compiled kernel that does most work, and count what is in it.

    Loads, stores, multiply-adds, other operations on vectors, and scalar ones. A computation that reads its operand
    from memory counts as a load, too. Which loop a case spends its time in cannot be seen in the code: this is the one
    with most multiply-adds, or else most other work on vectors.
    """
    from fastml import _dispatch  # and scikit-learn's data, which take a second
    from fastml.learn import assembly as code
    from fastml.learn import counters

    with show.refusing(ValueError, LookupError):
        problem = counters.problem_of(op, counters.case_of(op, case, dtype), dtype)
        found = counters.find(op, rung) if rung else _dispatch.choose(op, problem, "cython")
        module, _, function = _dispatch.location(found).partition(":")
        if found.backend == "numpy":
            raise ValueError(f"{op} {rung} is not compiled: its loops are NumPy's own, or Python's")
        if found.backend == "numba":
            arguments = (*counters.arguments_of(found, problem), 1)
            loop = code.numba_loop(_dispatch.load(found), arguments, rank)
        else:
            loop = code.native_loop(module, rank, function, dtype)
    named = {"op": op, "backend": found.backend, "rung": found.name, "dtype": dtype, "rank": rank}
    if as_json:
        show.as_json(named | asdict(loop))
        return
    console = show.console()
    console.print(f"{op} {found.backend} {found.name}, {dtype}: {module}", style="bold")
    console.print("\n".join(f"{i:>4}  {line}" for i, line in enumerate(loop.lines, 1)), markup=False)
    table = show.table("in one pass", "instructions", numbers=1)
    for kind, number in loop.counts.items():
        table.add_row(kind, str(number))
    console.print(table)
