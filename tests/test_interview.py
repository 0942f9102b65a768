"""The interview questions: every page has its parts, and every cell runs and finds what the text says (by asserts)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "interview"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
SECTIONS = ("Short answer", "Experiment", "Why", "Follow-ups", "Traps", "Further")
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A(---\n.*?^---\n|(:[^\n]*\n)+)", re.MULTILINE | re.DOTALL)


def stem(path):
    return path.stem


def cells(page):
    """(first line, code) of every cell, without its options."""
    text = page.read_text()
    for cell in CELL.finditer(text):
        code = OPTIONS.sub(lambda options: "\n" * options[0].count("\n"), cell[1])
        yield text.count("\n", 0, cell.start(1)), code


def program(page):
    """All cells, each on the lines it has in the page, so that a traceback names the page's line."""
    lines = []
    for first, code in cells(page):
        lines += [""] * (first - len(lines)) + code.split("\n")[:-1]
    return "\n".join(lines)


def section(page, title):
    """The text of the first section whose heading begins so, as in `## Why: the gradient`."""
    found = re.search(rf"^## {title}\b.*?(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no {title!r}"
    return found[0]


RUN = "import sys; exec(compile(open(sys.argv[1]).read(), sys.argv[2], 'exec'), {'__name__': '__main__'})"


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_the_cells_of_a_page_run_and_find_what_it_says(page, tmp_path):
    (tmp_path / "cells.py").write_text(program(page))
    command = [sys.executable, "-c", RUN, tmp_path / "cells.py", page]
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_a_page_has_its_sections_in_order(page):
    text = page.read_text()
    assert text.startswith("---\nfile_format: mystnb\n")
    assert len(re.findall(r"^# .+$", CELL.sub("", text), re.MULTILINE)) == 1
    places = [text.index(section(page, title)) for title in SECTIONS]
    assert places == sorted(places)


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_a_page_asks_first_shows_a_picture_and_checks_itself(page):
    text = page.read_text()
    assert text.index("{admonition} Predict") < text.rindex("{code-cell}")
    assert text.count("{dropdown} Answer") == text.count("{admonition} Predict")
    assert 4 <= section(page, "Follow-ups").count("{dropdown}") <= 7
    code = program(page)
    assert re.search(r"^\s*assert ", code, re.MULTILINE)
    pictures = [cell for _, cell in cells(page) if "plt.subplots" in cell or "plt.figure" in cell]
    assert pictures and len(pictures) == len(re.findall(r"^    alt: .{30,}$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=stem)
def test_no_speed_is_typed_into_a_page(page):
    prose = CELL.sub("", page.read_text())
    speed = r"\d(?:\.\d+)?\s*(?:ms|µs|G?FLOP/s|GB/s|times (?:as fast|faster|slower)|% (?:faster|slower))\b"
    assert re.findall(speed, prose) == []


def test_the_index_lists_every_page_once_and_says_what_it_asks():
    index = (FOLDER / "index.md").read_text()
    toctree = re.search(r"^```\{toctree\}\n(?::[^\n]*\n)*(.*?)^```", index, re.MULTILINE | re.DOTALL)
    listed = toctree[1].split()
    assert len(listed) == len(set(listed))
    assert {page.stem for page in PAGES} <= set(listed)
    assert re.findall(r"^\d+\. \[.+\]\((\w+)\.md\)", index, re.MULTILINE) == listed
