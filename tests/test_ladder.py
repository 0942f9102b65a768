"""docs/ladder/: what a chapter names exists; benches/ladder.py: the file that its tables are made of."""

import importlib
import importlib.util
import json
import re
import statistics
import sys
from pathlib import Path

import pytest

from benches import ladder
from fastml import _dispatch
from fastml._registry import OPS
from fastml.learn import stages

DOCS = Path(__file__).parents[1] / "docs"
CHAPTERS = sorted(page for page in (DOCS / "ladder").glob("*.md") if page.stem != "index")
EVERY_CHAPTER = pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
MEASURED = json.loads((DOCS / "measured" / "ladders.json").read_text(encoding="utf-8"))


def steps(name):
    """Names of the algorithms that a ladder has beside its kernels, or instead of them."""
    module = f"fastml.learn.ladders.{name}"
    found = importlib.util.find_spec(module)
    return [step.__name__ for step in importlib.import_module(module).STEPS] if found else []


def test_pca_has_steps_and_others_need_not():
    assert len(steps("pca")) == 6 and steps("conv2d") == []


@EVERY_CHAPTER
def test_a_chapter_is_that_of_a_ladder(page):
    assert page.stem in stages.names()


@EVERY_CHAPTER
def test_every_rung_has_a_section_in_the_order_of_the_table(page):
    headings = re.findall(r"^### `(\w+) (\w+)`", page.read_text(), re.MULTILINE)
    assert headings == [(rung.backend, rung.name) for rung in _dispatch.rungs(page.stem)]


@EVERY_CHAPTER
def test_every_step_has_a_section_in_order(page):
    assert re.findall(r"^### `(\w+)`$", page.read_text(), re.MULTILINE) == steps(page.stem)


@EVERY_CHAPTER
def test_every_section_of_a_rung_asks_before_it_shows(page):
    """Predict, run, investigate, modify."""
    sections = re.split(r"^(?=###? )", page.read_text(), flags=re.MULTILINE)
    rungs = [section for section in sections if section.startswith("### `")]
    parts = ("**Predict.**", "**Run.**", "**Investigate.**", "**Modify.**")
    for section in rungs:
        places = [section.find(part) for part in parts]
        assert places == sorted(places) and min(places) > 0, section.partition("\n")[0]
    titles = [section.partition("\n")[0] for section in sections if section.startswith("## ")]
    assert titles[0] == "## The floor" and {"## Times", "## What failed", "## Exercises"} <= set(titles)


@EVERY_CHAPTER
def test_its_figures_are_those_of_every_rung_that_is_shown(page):
    """Of all that `{measured}` makes tables of, nothing is missing, and nothing is there that no chapter shows."""
    found = MEASURED[page.stem]["stages"]
    assert [rows[0]["case"] for rows in found] == [shown.case for shown in stages.chapter(page.stem)]
    for shown, rows in zip(stages.chapter(page.stem), found, strict=True):
        named = [(row["backend"], row["rung"]) for row in rows]
        if shown.rungs:
            assert named == [(backend, rung) for backend, rungs in shown.rungs.items() for rung in rungs]
        elif shown.op != "pca" and page.stem in OPS:
            assert named == [(rung.backend, rung.name) for rung in _dispatch.rungs(page.stem)]
        assert all("seconds" in row or row["note"] for row in rows)
    assert f"```{{measured}} {page.stem}\n```" in page.read_text()
    assert f"```{{roofline}} {page.stem}\n" in page.read_text()


@EVERY_CHAPTER
def test_links_lead_to_files_that_hold_what_they_name(page):
    links = re.findall(r"\[([^]]+)\]\(([^)#:]+)\)", page.read_text())
    assert len(links) > 5
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
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})
        assert capsys.readouterr().out


@EVERY_CHAPTER
def test_commands_name_ladders_and_rungs_that_exist(page):
    commands = re.findall(r"^fastml ladder (\w+)(.*)$", page.read_text(), re.MULTILINE)
    assert commands
    for name, options in commands:
        part = re.findall(r'--case "?([^"\n]+?)"?(?= --|$)', options)
        for shown in stages.find(name, *part):
            rungs = {f"{rung.backend} {rung.name}" for rung in _dispatch.rungs(name)} if name in OPS else set()
            rungs |= {f"step {step}" for step in steps(name)}
            assert set(re.findall(r'--rung "([^"]+)"', options)) <= rungs, shown


def test_figures_of_ladders_agree_with_those_of_benches():
    """Both time what users call, on the same machine: the median of ratios has no business to be far from 1."""
    benches = json.loads((DOCS / "measured" / "benches.json").read_text(encoding="utf-8"))["benchmarks"]
    rows = {
        (bench["extra_info"]["op"], bench["extra_info"]["case"]): bench["stats"]["median"]
        for bench in benches
        if (bench["extra_info"]["dtype"], bench["extra_info"]["contender"]) == (stages.DTYPE, "fastml cython")
    }
    ratios = []
    for name in (name for name in MEASURED if name in OPS):
        for shown, found in zip(stages.chapter(name), MEASURED[name]["stages"], strict=True):
            ships = [row["seconds"] for row in found if row["ships"] and row["backend"] in ("cython", "fastml")]
            if (shown.op, shown.case) in rows:
                ratios += [seconds / rows[shown.op, shown.case] for seconds in ships]
    assert len(ratios) > 20
    assert 0.85 < statistics.median(ratios) < 1.15


def test_the_file_is_written_ladder_by_ladder(tmp_path, monkeypatch):
    file = tmp_path / "ladders.json"
    file.write_text('{"conv2d": 1, "pca": 2}')
    monkeypatch.setattr(sys, "argv", ["ladder", "conv2d", "moments", "--rounds", "1", "--write", str(file)])
    monkeypatch.setattr(ladder.machine, "rates", lambda fresh: {"rates": [fresh]})
    monkeypatch.setattr(ladder.machine, "origin", lambda: "here")
    monkeypatch.setattr(ladder.ladder, "measure", lambda name, shown, rounds: [name, shown.case, rounds])
    ladder.main()
    found = json.loads(file.read_text())
    assert list(found) == ["conv2d", "pca", "moments"] and found["pca"] == 2
    assert found["moments"] == {
        "origin": "here",
        "rates": [True],
        "stages": [["moments", shown.case, 1] for shown in stages.LADDERS["moments"]],
    }
    monkeypatch.setattr(sys, "argv", ["ladder", "nonsense"])
    with pytest.raises(ValueError, match="there is no ladder of 'nonsense'"):
        ladder.main()


def test_chapters_are_in_the_order_of_ladders(monkeypatch):
    assert ladder.chapters() == [name for name in stages.names() if name in {page.stem for page in CHAPTERS}]
