"""docs/ladder/: what a chapter names exists; benches/ladder.py: the table that is written into it."""

import re
import sys
from pathlib import Path

import pytest

from benches import ladder
from fastml import _dispatch
from fastml._registry import RUNGS
from fastml.learn import cases

CHAPTERS = sorted((Path(__file__).parents[1] / "docs" / "ladder").glob("*.md"))
EVERY_CHAPTER = pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
SMALL = ladder.Stage("1x8x8x8 to 8, k3", {"numpy": ("loops", "im2col"), "cython": ("rows", "direct")})


@EVERY_CHAPTER
def test_every_rung_has_a_section_in_the_order_of_the_table(page):
    headings = re.findall(r"^### `(\w+) (\w+)`", page.read_text(), re.MULTILINE)
    assert headings == [(rung.backend, rung.name) for rung in _dispatch.rungs(page.stem)]


@EVERY_CHAPTER
def test_links_lead_to_files_that_hold_what_they_name(page):
    links = re.findall(r"\[([^]]+)\]\(([^)#:]+)\)", page.read_text())
    assert len(links) > 20
    for text, target in links:
        path = (page.parent / target).resolve()
        assert path.exists(), target
        for name in re.findall(r"`(\w+)`", text):
            assert re.search(rf"\b{name}(_(##)?SUFFIX)?\b|\b{name}_(##)", path.read_text()), f"{name} in {target}"


@EVERY_CHAPTER
def test_conditions_of_the_choice_are_those_of_the_table(page):
    text = page.read_text()
    shipping = [rung for rung in _dispatch.rungs(page.stem, "cython") if rung.ships]
    rows = re.findall(r"^\| `(\w+)` \| ([^|\n]*) \| ([^|\n]*) \|[^|\n]*\|$", text, re.MULTILINE)
    assert rows == [(r.name, r.needs or "nothing", r.pays or "wherever it can") for r in reversed(shipping)]


@EVERY_CHAPTER
def test_examples_run(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_every_rung_is_timed_on_a_case_that_it_serves():
    for op, (_, stages) in ladder.LADDERS.items():
        shown = [(rung, stage) for stage in stages for rung, _ in ladder.ladder(op, stage, slow=True)]
        assert {rung for rung, _ in shown} == {rung for rung in RUNGS if rung.op == op}
        for rung, stage in shown:
            assert _dispatch.serves(rung, ladder.case_of(op, stage.case).problem(ladder.DTYPE))


def test_the_table_has_a_row_for_each_rung_and_compares_within_a_backend(monkeypatch):
    times = iter([8.0, 2.0, 3.0, 1.5])
    monkeypatch.setattr(ladder, "seconds", lambda call, rounds: next(times))
    monkeypatch.setattr(ladder, "least_seconds", lambda *_: 0.75)
    case = ladder.case_of("Conv2d", SMALL.case)
    rows = [line.strip("| ").split(" | ") for line in ladder.table("conv2d", case, SMALL, 1, True, 1)[2:]]
    assert [row[0] for row in rows] == ["numpy loops", "numpy im2col", "cython rows", "cython direct"]
    assert [row[1] for row in rows] == ["8000", "2000", "3000", "1500"]
    assert [row[3:5] for row in rows] == [["9.38", ""], ["37.5", "4.00"], ["25.0", ""], ["50.0", "2.00"]]
    assert cases.cost(case, "float32").flops == 2 * 8 * 8 * 8 * 8 * 9
    quick = [rung.name for rung, _ in ladder.ladder("conv2d", SMALL, slow=False)]
    assert quick == ["im2col", "rows", "direct"]


def test_what_takes_long_is_called_once(monkeypatch):
    monkeypatch.setattr(ladder, "block", lambda call: 7.0)
    calls = []
    assert ladder.seconds(lambda: calls.append(1), 3) == 7
    monkeypatch.setattr(ladder, "PATIENCE", -1)
    assert ladder.seconds(lambda: calls.append(1), 3) < 1
    assert len(calls) == 2


def test_it_is_written_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{ladder.BEGIN}\nold\n{ladder.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["ladder", "conv2d", "--write", str(page)])
    monkeypatch.setitem(ladder.LADDERS, "conv2d", ("Conv2d", (SMALL,)))
    monkeypatch.setattr(ladder, "table", lambda *_: ["| rows |"])
    ladder.main()
    text = page.read_text()
    assert text.startswith(f"before\n{ladder.BEGIN}\n") and text.endswith(f"| rows |\n{ladder.END}\nafter\n")
    assert f"**{SMALL.case}**" in text and "threads" in text and "old" not in text
