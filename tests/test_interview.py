"""The interview questions: every page has its parts. Its cells check what it says, when the site is built."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "interview"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "index.md")
SECTIONS = ("Short answer", "Experiment", "Why", "Follow-ups", "Traps", "Further")
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stem(path):
    return path.stem


def section(page, title):
    """The text of the first section whose heading begins so, as in `## Why: the gradient`."""
    found = re.search(rf"^## {title}\b.*?(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no {title!r}"
    return found[0]


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
    cells = CELL.findall(text)
    assert re.search(r"^\s*assert ", "".join(cells), re.MULTILINE)
    pictures = [cell for cell in cells if "plt.subplots" in cell or "plt.figure" in cell]
    assert pictures and len(pictures) == len(re.findall(r"^    alt: .{30,}$", text, re.MULTILINE))


def test_the_index_lists_every_page_once_and_says_what_it_asks():
    index = (FOLDER / "index.md").read_text()
    toctree = re.search(r"^```\{toctree\}\n(?::[^\n]*\n)*(.*?)^```", index, re.MULTILINE | re.DOTALL)
    listed = toctree[1].split()
    assert len(listed) == len(set(listed))
    assert {page.stem for page in PAGES} <= set(listed)
    assert re.findall(r"^\d+\. \[.+\]\((\w+)\.md\)", index, re.MULTILINE) == listed
