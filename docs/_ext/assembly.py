"""The directive `assembly`: the hottest loop of a compiled kernel, and its instructions counted.

    {assembly} numba fastml._jit.max_pool2d:rows          compiled for the case that `fastml ladder` shows
    {assembly} numba fastml.learn.ladders.sum:four        for the first of the module's CASES
    {assembly} cython fastml._core.v3.conv2d_direct       the loop of the module with the most multiply-adds

`fastml.learn.assembly` finds the loop on the machine that builds the site; where it cannot, the page says why.
"""

import importlib
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from _ext.code import FENCE, CodeDirective
from fastml.learn import stages


def arguments(function: str, module: Any) -> tuple[Any, ...]:
    """What a Numba function is compiled for: a step for the first case of its ladder, a rung for the case shown."""
    if hasattr(module, "CASES"):
        make = next(iter(module.CASES.values()))
        return tuple(make())
    op = module.__name__.rpartition(".")[2]
    return (*stages.problem(op, stages.find(op)[0]), 1)  # on one thread


def loop(kind: str, place: str) -> Any:
    """The `Loop` of "numba" "module:function" or "cython" "module". Raises LookupError where there is none."""
    assembly = importlib.import_module("fastml.learn.assembly")
    if kind == "cython":
        return assembly.native_loop(place)
    name, _, function = place.partition(":")
    module = importlib.import_module(name)
    return assembly.numba_loop(getattr(module, function), arguments(function, module))


def table(counts: dict[str, int]) -> str:
    """Markdown: a table of one line."""
    return "\n".join(
        f"| {' | '.join(map(str, row))} |" for row in (counts, ["--:"] * len(counts), counts.values())
    )


class AssemblyDirective(CodeDirective):
    """The instructions, folded away, and the table of what they are."""

    def run(self) -> list[nodes.Node]:
        kind, _, place = self.arguments[0].partition(" ")
        if kind not in ("numba", "cython"):
            raise self.error(f"assembly takes numba or cython, and a place; got {self.arguments[0]!r}")
        if kind == "numba":
            self.found(place)  # so that a change of the source makes the page anew
        try:
            found = loop(kind, place)
        except LookupError as problem:
            return self.parse_text_to_nodes(f"No instructions of `{place}` here: {problem}.")
        code = "\n".join(found.lines)
        title = f"The hottest loop of {place.rpartition(':')[2]}, as compiled"
        folded = f"::::{{dropdown}} {title}\n{FENCE}{{code-block}} gas\n{code}\n{FENCE}\n::::\n\n"
        return self.parse_text_to_nodes(f"{folded}{table(found.counts)}\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("assembly", AssemblyDirective)
    return {"parallel_read_safe": True}
