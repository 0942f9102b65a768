"""`{measured}` and `{roofline}`: what docs/measured/ladders.json holds of a ladder, as tables and as a picture.

    ```{measured} conv2d
    :rung: cython winograd
    :case: 1x64x56x56
    ```

Nothing is measured when the site is built. A row whose kernel's sources have changed since is marked.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fastml.learn import plot
from fastml.learn.provenance import kernel_hash
from fastml.learn.report import significant

FILE = Path(__file__).parents[1] / "measured" / "ladders.json"
CAPTION = """Rates count what any implementation must move or compute at the least, so that an algorithm that needs
less may be above 100 % of the roofline. Errors are shares of the largest value. ● is what users get."""


@cache
def ladders() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def stale(row: dict[str, Any]) -> bool:
    """Whether a rung's sources are other ones than those that were measured."""
    return kernel_hash(row["kernel"]) != row["hash"]


def shown(ladder: str, case: str, rung: str) -> list[list[dict[str, Any]]]:
    """Of each case with `case` in its name the rows, or those of one rung; of rungs that do not serve it, none.

    Raises LookupError where nothing is left.
    """
    if ladder not in ladders():
        raise LookupError(f"{FILE.name} has no ladder {ladder!r}; python -m benches.ladder measures it")
    found = []
    for rows in ladders()[ladder]["stages"]:
        left = [row for row in rows if f"{row['backend']} {row['rung']}" == rung] if rung else rows
        left = [row for row in left if not row["note"].startswith("needs ")]
        if left and case in rows[0]["case"]:
            found.append(left)
    if not found:
        raise LookupError(f"{FILE.name} has no rung {rung!r} of {ladder} on a case with {case!r} in its name")
    return found


def numbers(row: dict[str, Any]) -> list[str]:
    """Time, rate, share, gain and error of a row, as far as they are known."""
    error = f"{row['error']:.0e}" if "error" in row else ""
    if "seconds" not in row:
        return [row["note"].partition(":")[0], "", "", "", error]
    gain = significant(row["gain"]) if "gain" in row else ""
    values = row["seconds"] * 1e3, row["rate"] / 1e9, 100 * row["share"]
    return [*map(significant, values), gain, error]


def label(row: dict[str, Any]) -> str:
    name = row["rung"] if row["backend"] == "step" else f"{row['backend']} {row['rung']}"
    return f"`{name}`{' ●' * row['ships']}{' †' * stale(row)}"


def table(first: str, rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Markdown, with `first` as the head of the column of names."""
    unit = rows[0][1]["unit"]
    heads = [first, "ms", f"G{unit}", "% of roofline", "over the rung above", "error"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    return lines + ["| " + " | ".join([name, *numbers(row)]) + " |" for name, row in rows]


def provenance(ladder: str, rows: list[dict[str, Any]]) -> str:
    """Where the figures come from, in a line, and whether they are of older code."""
    origin = ladders()[ladder]["origin"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    where = f"{origin['machine']}, {rows[0]['threads']} threads, {origin['isa']}, {rows[0]['dtype']}"
    line = f"{origin['date']}, {where}; commit {origin['commit'] or 'unknown'}, {versions}."
    return line + " **†: measured on older code**, which has changed since." * any(map(stale, rows))


class Figures(SphinxDirective):
    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"case": str}

    def rows(self, rung: str = "") -> list[list[dict[str, Any]]]:
        """What is shown; the page is made anew when the file changes."""
        self.env.note_dependency(str(FILE))
        try:
            return shown(self.arguments[0], self.options.get("case", ""), rung)
        except LookupError as problem:
            raise self.error(str(problem)) from None


class Measured(Figures):
    """A ladder's tables, or with `:rung:` that rung's rows, a case in each."""

    option_spec: ClassVar[dict[str, Any]] = {"rung": str, "case": str}

    def run(self) -> list[nodes.Node]:
        ladder, rung = self.arguments[0], self.options.get("rung", "")
        found = self.rows(rung)
        if rung:
            lines = table("case", [(f"{row['case']}{' †' * stale(row)}", row) for (row,) in found])
        else:
            lines = [provenance(ladder, [row for rows in found for row in rows]), "", CAPTION]
            for rows in found:
                lines += ["", f"**{rows[0]['case']}**", "", *table("rung", [(label(row), row) for row in rows])]
        made = nodes.container(classes=["measured"])
        self.state.nested_parse(StringList(lines, str(FILE)), self.content_offset, made)
        return [made]


class Roofline(Figures):
    """The rungs of one case of a ladder below the lines of memory and arithmetic; by default of its first case."""

    def run(self) -> list[nodes.Node]:
        ladder = self.arguments[0]
        rows = [row for row in self.rows()[0] if "seconds" in row]
        points = [(row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e9, label(row).replace("`", ""))
                  for row in rows]  # fmt: skip
        picture = plot.roofline(ladders()[ladder]["rates"], points, named=True)
        caption = f"{ladder}, {rows[0]['case']}: rungs, and the best that {rows[0]['threads']} threads can do there."
        text = f'<figure class="roofline">{picture}<figcaption>{caption}</figcaption></figure>'
        return [nodes.raw("", text, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("measured", Measured)
    app.add_directive("roofline", Roofline)
    return {"parallel_read_safe": True}
