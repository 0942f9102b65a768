"""The tour and the user guide, without Sphinx: cells run and are quiet, pictures have words, and sections are there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("tour", *(f"guide/{name}" for name in ("standardize", "conv2d", "pooling", "batch_norm", "pca")))
CELL = re.compile(r"^```\{code-cell\} python\n(---\n.*?^---\n|(?::[^\n]*\n)*)(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]*)#([\w-]+)\)")
RUN = """if True:
    import json, sys
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    names, pictures = {"__name__": "__main__"}, []
    for number, code in enumerate(json.load(sys.stdin)):
        exec(compile(code, f"cell {number}", "exec"), names)
        if plt.get_fignums():
            pictures.append(number)
        for figure in plt.get_fignums():
            plt.figure(figure).canvas.draw()
        plt.close("all")
    print("\\n" + json.dumps(pictures))"""


def text(page):
    return (DOCS / f"{page}.md").read_text()


def headings(page):
    """What links to them are called."""
    prose = re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", prose, re.M)}


@pytest.mark.parametrize("page", PAGES)
def test_cells_run_without_a_word_on_stderr_and_pictures_are_described(page):
    cells = CELL.findall(text(page))
    assert len(cells) == text(page).count("```{code-cell}")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("FASTML_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([code for _, code in cells]), env=clean,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    pictures = json.loads(done.stdout.splitlines()[-1])
    assert pictures == [number for number, (options, _) in enumerate(cells) if "    alt: " in options]


@pytest.mark.parametrize("page", PAGES)
def test_links_to_sections_lead_somewhere(page):
    folder = (DOCS / page).parent
    for target, section in LINK.findall(text(page)):
        other = str((folder / target).resolve().relative_to(DOCS)).removesuffix(".md") if target else page
        assert section in headings(other), f"{page}: {target}#{section}"


@pytest.mark.parametrize("page", PAGES)
def test_prose_has_no_speed(page):
    """What a machine takes is measured where it is read; a figure that was typed in is that of another machine."""
    prose = re.sub(r"^```.*?^```$", "", text(page), flags=re.M | re.S)
    assert re.findall(r"[\d.]+ ?(?:ms|µs|us|seconds|GFLOP|GB/s|times (?:faster|slower|as fast))\b", prose) == []
