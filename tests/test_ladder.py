"""docs/ladder/: what a chapter names exists; benches/ladder.py: the table that is written into it."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from benches import ladder
from fastml import _dispatch
from fastml.learn import costs, versus

CHAPTERS = sorted((Path(__file__).parents[1] / "docs" / "ladder").glob("*.md"))
EVERY_CHAPTER = pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
SMALL = ladder.Stage("Conv2d", "1x8x8x8 to 8, k3", {"numpy": ("loops", "im2col"), "cython": ("rows", "direct")})


@EVERY_CHAPTER
def test_every_rung_has_a_section_in_the_order_of_the_table(page):
    headings = re.findall(r"^### `(\w+) (\w+)`", page.read_text(), re.MULTILINE)
    assert headings == [(rung.backend, rung.name) for rung in _dispatch.rungs(page.stem)]


def steps(op):
    """Names of the algorithms that a ladder has beside its kernels."""
    module = f"fastml.learn.ladders.{op}"
    found = importlib.util.find_spec(module)
    return [step.__name__ for step in importlib.import_module(module).STEPS] if found else []


def test_pca_has_steps_and_others_need_not():
    assert len(steps("pca")) == 6 and steps("conv2d") == []


@EVERY_CHAPTER
def test_every_step_has_a_section_in_order(page):
    assert re.findall(r"^### `(\w+)`$", page.read_text(), re.MULTILINE) == steps(page.stem)


@EVERY_CHAPTER
def test_the_table_shows_every_rung_that_is_not_slow(page):
    table = page.read_text().partition(ladder.BEGIN)[2].partition(ladder.END)[0]
    stages = ladder.LADDERS[page.stem]
    shown = [row[:2] for stage in stages for row in ladder.ladder(page.stem, stage, slow=False)]
    assert re.findall(r"^\| (\w+) (\w+) \|", table, re.MULTILINE) == shown


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
    for op, stages in ladder.LADDERS.items():
        shown = [(row[:2], stage) for stage in stages for row in ladder.ladder(op, stage, slow=True)]
        rungs = {(rung.backend, rung.name): rung for rung in _dispatch.rungs(op)}
        others = {("step", step) for step in steps(op)}
        assert {row for row, _ in shown} - {("fastml", "cython")} == {*rungs, *others}
        for row, stage in shown:
            case = ladder.case_of(stage.op, stage.case)
            assert ladder.DTYPE in case.dtypes
            assert row not in rungs or _dispatch.serves(rungs[row], case.problem(ladder.DTYPE))


def test_the_table_has_a_row_for_each_rung_and_compares_within_a_backend(monkeypatch):
    times = iter([8.0, 2.0, 3.0, 1.5])
    monkeypatch.setattr(ladder, "seconds", lambda call, rounds: next(times))
    monkeypatch.setattr(ladder, "least_seconds", lambda *_: 0.75)
    case = ladder.case_of("Conv2d", SMALL.case)
    rows = [line.strip("| ").split(" | ") for line in ladder.table("conv2d", case, SMALL, 1, True, 1)[2:]]
    assert [row[0] for row in rows] == ["numpy loops", "numpy im2col", "cython rows", "cython direct"]
    assert [row[1] for row in rows] == ["8000", "2000", "3000", "1500"]
    assert [row[3:5] for row in rows] == [["9.38", ""], ["37.5", "4.00"], ["25.0", ""], ["50.0", "2.00"]]
    assert costs.cost(case, "float32").flops == 2 * 8 * 8 * 8 * 8 * 9
    quick = [name for _, name, _ in ladder.ladder("conv2d", SMALL, slow=False)]
    assert quick == ["im2col", "rows", "direct"]


@pytest.mark.parametrize(("wrong", "fails"), [("unshifted", False), ("shifted", True)])
def test_a_wrong_answer_is_not_timed_and_only_a_rung_that_is_there_to_fail_may_give_one(monkeypatch, wrong, fails):
    stage = ladder.Stage("scatter", "5000x20, offset 1e4", {"numpy": ("centred", wrong)})
    monkeypatch.setattr(ladder, "seconds", lambda call, rounds: 2.0)
    monkeypatch.setattr(ladder, "least_seconds", lambda *_: 1.0)
    case = ladder.case_of(stage.op, stage.case)
    monkeypatch.setattr(ladder, "accepted", lambda contender, dtype: 1.0 if contender.name.endswith("centred") else 0.0)
    if fails:
        with pytest.raises(AssertionError, match="numpy shifted is wrong"):
            ladder.table("pca", case, stage, 1, True, 1)
    else:
        rows = [line.strip("| ").split(" | ") for line in ladder.table("pca", case, stage, 1, True, 1)[2:]]
        assert rows[0][:2] == ["numpy centred", "2000"] and rows[1][:2] == ["numpy unshifted", "wrong"]


def test_what_takes_long_is_called_once(monkeypatch):
    calls = []
    monkeypatch.setattr(versus, "PAUSE", 0)
    monkeypatch.setattr(versus, "BLOCK", 0)
    assert versus.block(lambda: calls.append(1)) < 1
    assert len(calls) == 2
    monkeypatch.setattr(versus, "PATIENCE", -1)
    assert versus.block(lambda: calls.append(1)) < 1
    assert len(calls) == 3
    times = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(ladder, "block", lambda call: next(times))
    assert ladder.seconds(None, 3) == 3.0
    monkeypatch.setattr(ladder, "PATIENCE", 4)
    assert ladder.seconds(None, 3) == 1.5


def test_it_is_written_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{ladder.BEGIN}\nold\n{ladder.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["ladder", "conv2d", "--write", str(page)])
    monkeypatch.setitem(ladder.LADDERS, "conv2d", (SMALL,))
    monkeypatch.setattr(ladder, "table", lambda *_: ["| rows |"])
    ladder.main()
    text = page.read_text()
    assert text.startswith(f"before\n{ladder.BEGIN}\n") and text.endswith(f"| rows |\n{ladder.END}\nafter\n")
    assert f"**{SMALL.case}**" in text and "threads" in text and "old" not in text
