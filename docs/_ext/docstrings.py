"""How the docstrings of the package are shown.

They are written to be read in a terminal: "name: what it is" under "Parameters", names in single back-quotes, names of
attributes that end in an underscore as they are, files of docs/ by their path. Here that becomes reStructuredText.
"""

import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

import fastml

HEADING = re.compile(r"-{3,}")
PARAMETER = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")
ATTRIBUTE = re.compile(r"(?<![\w`.])([A-Za-z]\w*_)(?=[\s,.;:)]|$)")  # svd_solver_: to reStructuredText, a reference
BARS = re.compile(r"(?<!`)\|(\w+)\|")  # |mean|: to reStructuredText, a substitution
PAGE = re.compile(r"(?<![\w`/])docs/([\w/]+)\.md\b")


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite a docstring, in place."""
    result: list[str] = []
    in_parameters = in_example = False
    for line in lines:
        in_example = bool(line) and (in_example or line.lstrip().startswith(">>>"))
        if not in_example:
            line = BARS.sub(r"\\|\1\\|", ATTRIBUTE.sub(r"``\1``", line))
            line = PAGE.sub(r":doc:`docs/\1.md </\1>`", line)
        if HEADING.fullmatch(line) and result and result[-1] == "Parameters":
            result[-1:] = [":Parameters:", ""]
            in_parameters = True
        elif in_parameters and line:
            parameter = PARAMETER.fullmatch(line)
            if parameter:
                terms = ", ".join(f"``{term}``" for term in parameter[1].split(", "))
                result += [f"    {terms}", f"        {parameter[2]}"]
            else:
                result.append(f"        {line.lstrip()}")
        else:
            in_parameters = False
            result.append(line)
    lines[:] = result


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what named tuples and scikit-learn put into a class."""
    made = type(obj).__name__ == "_tuplegetter" or re.fullmatch(r"set_\w+_request", name)
    return True if made else None


def name_role(
    role: str, rawtext: str, text: str, line: int, inliner: Inliner, options: Any = None, content: Any = ()
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Single back-quotes: code, and a link where the API reference describes what is named."""
    code = nodes.literal(rawtext, text.replace("\x00", "\\"), classes=["py"])
    name = text.removeprefix("fastml.").removesuffix("()")
    if not re.fullmatch(r"\w+(\.\w+)?", name) or name.partition(".")[0] not in fastml.__all__:
        return [code], []
    docname = inliner.document.settings.env.docname
    return [pending_xref("", code, refdomain="py", reftype="obj", reftarget=f"fastml.{name}", refdoc=docname)], []


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("name", name_role)
    app.connect("autodoc-process-docstring", process)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
