"""Links to files of the repository lead to pages of the site that show them.

Pages link to files as they would on a forge: [`_tile`](../../src/fastml/_jit/pca.py). In the site, such a link leads to
a page of its own with the highlighted file; where the text of the link is a name, to the line that defines it. A name
that is not defined there is a warning, as a missing file is to MyST.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

from _ext.sources import ROOT, definitions, language

logger = logging.getLogger(__name__)
FOLDER = "source/"  # of the pages


class LinkToSource(SphinxTransform):
    """Replace links to the repository's files, which MyST takes for downloads, or for pages where they are Markdown."""

    default_priority = 400

    def apply(self, **_: Any) -> None:
        docname = self.env.docname
        here = Path(self.env.doc2path(docname)).parent
        for node in [*self.document.findall(lambda node: isinstance(node, download_reference | pending_xref))]:
            suffix = "" if isinstance(node, download_reference) else ".md"
            path = (here / (node["reftarget"] + suffix)).resolve()
            if not path.is_file() or not path.is_relative_to(ROOT) or path.is_relative_to(self.env.srcdir):
                continue
            page = f"{FOLDER}{path.relative_to(ROOT)}"
            line = _line(path, node)
            uri = relative_uri(f"{docname}.html", f"{page}.html") + (f"#L-{line}" if line else "")
            pages_of(self.env).setdefault(docname, set()).add(page)
            self.env.note_dependency(str(path))  # its lines may move
            text = [child.deepcopy() for child in node.children]
            node.replace_self(nodes.reference("", "", *text, refuri=uri, internal=True, classes=["source-link"]))


def _line(path: Path, link: nodes.Element) -> int | None:
    """The line that the link is about: where the name is defined that its text has in back-quotes."""
    text = next((literal.astext() for literal in link.findall(nodes.literal)), "")
    if not re.fullmatch(r"[\w.]+(\(\))?", text) or str(path).endswith(f"/{text}"):
        return None  # prose, code, or the name of the file
    parts = text.removesuffix("()").split(".")
    found = definitions(path)
    for i in range(len(parts)):  # `pca.STEPS` is STEPS of pca.py
        if ".".join(parts[i:]) in found:
            return found[".".join(parts[i:])][0]
    logger.warning("%s is not defined in %s", text, path.relative_to(ROOT), location=link, type="source")
    return None


def pages_of(env: BuildEnvironment) -> dict[str, set[str]]:
    """The source pages that each page of the site links to; kept between builds."""
    if not hasattr(env, "fastml_source_pages"):
        env.fastml_source_pages = {}
    return env.fastml_source_pages


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """A page is read again, or is gone."""
    pages_of(env).pop(docname, None)


def join(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Another process has read some of the pages."""
    pages_of(env).update({docname: pages for docname, pages in pages_of(other).items() if docname in docnames})


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for every file that is linked to."""
    bridge = app.builder.highlighter
    for page in sorted(set().union(*pages_of(app.env).values())):
        path = ROOT / page.removeprefix(FOLDER)
        code = bridge.highlight_block(
            path.read_text(), language(path), force=True, linenos="inline", lineanchors="L", anchorlinenos=True
        )
        name = os.fspath(path.relative_to(ROOT))
        body = f'<h1>{name.replace("/", "/<wbr>")}</h1>\n<div class="source-page">{code}</div>'
        yield page, {"title": name, "body": body, "parents": [], "toc": "", "display_toc": False}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(LinkToSource)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", join)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True}
