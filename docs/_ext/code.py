"""The directives `source` and `diff`: definitions as they are in the repository, never as a copy of them.

    {source} fastml._jit.max_pool2d:loops, rows         one definition after the other
    {diff} fastml._jit.max_pool2d:loops fastml._jit.max_pool2d:rows

Both write Markdown that an author could have written by hand, so their links are those of `source_pages`. The name of a
module is that of a .py, .pyx, .pxd or .h file. A name that is not defined is an error.
"""

import difflib
import json
import os
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from _ext.sources import ROOT, Lines, excerpt, find, language

FENCE = "`" * 8  # longer than any in the code


class CodeDirective(SphinxDirective):
    """What both have in common."""

    required_arguments = 1
    final_argument_whitespace = True

    def found(self, place: str) -> tuple[Path, Lines]:
        """Where a "module:name" is defined; the page is made anew when that file changes."""
        try:
            path, lines = find(place)
        except LookupError as problem:
            raise self.error(str(problem)) from None
        self.env.note_dependency(str(path))
        return path, lines

    def link(self, path: Path, name: str) -> str:
        """Markdown: a name, with a link to where it is defined."""
        here = Path(self.env.doc2path(self.env.docname)).parent
        return f"[`{name}`]({os.path.relpath(path, here)})"

    def block(self, code: str, lexer: str, caption: str) -> list[nodes.Node]:
        options = f":caption: {json.dumps(caption)}\n:force:\n"  # `force`, as the ## of a macro is no C
        start = f"{FENCE}{{code-block}} {lexer}\n{options}\n"
        return self.parse_text_to_nodes(f"{start}{code}\n{FENCE}\n")


class SourceDirective(CodeDirective):
    """Definitions, each with a link to its place on the page of its file."""

    def run(self) -> list[nodes.Node]:
        module, _, names = self.arguments[0].partition(":")
        result: list[nodes.Node] = []
        for name in (name.strip() for name in names.split(",")):
            path, lines = self.found(f"{module}:{name}")
            caption = f"{self.link(path, name)} in {path.relative_to(ROOT)}"
            result += self.block(excerpt(path, lines), language(path), caption)
        return result


class DiffDirective(CodeDirective):
    """What changes from one definition to another."""

    def run(self) -> list[nodes.Node]:
        places = self.arguments[0].split()
        if len(places) != 2:
            raise self.error(f"diff takes two places, module:name, got {self.arguments[0]!r}")
        found = [self.found(place) for place in places]
        lines = [excerpt(*one).splitlines() for one in found]
        changes = [*difflib.unified_diff(*lines, lineterm="")][2:]  # without names of files
        if not changes:
            raise self.error(f"{places[0]} and {places[1]} are the same")
        text = "\n".join("@@" if line.startswith("@@") else line for line in changes)
        names = [self.link(path, place.partition(":")[2]) for (path, _), place in zip(found, places, strict=True)]
        return self.block(text.removeprefix("@@\n"), "diff", f"from {names[0]} to {names[1]}")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("source", SourceDirective)
    app.add_directive("diff", DiffDirective)
    return {"parallel_read_safe": True}
