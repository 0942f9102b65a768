"""Small mistakes: all that there should be are made, and the tests that notice one are told from those that do not."""

import json
import math
import os
import subprocess
import sys

import pytest

from tests import kept, mutants
from tests.equivalent_mutants import EQUIVALENT
from tests.kept import ROOT
from tests.mistakes import mutants as mutants_of
from tests.mutants import SOURCES, Tried

CODE = '''
"""Words."""
LEAST: int = 1

@property
def limited(x: int | None, name="x", *, whole=True) -> int:
    """More words."""
    check(x, "the words")
    if not x < LEAST and whole:
        raise ValueError(f"{name} must be {'less'}")
    try:
        x = number(x, name, most=2)
    except (TypeError, ValueError):
        return None
    return x * 2.5 if x in (3, "four") else -x
'''
EXPECTED = """
2: 1 -> 2 | 2: 1 -> 0
5: 'x' -> 'x_' | 5: True -> False
7: check(x, 'the words') -> pass | 7: check(x, 'the words') -> x
8: not x < LEAST and whole -> True | 8: not x < LEAST and whole -> False
8: not x < LEAST and whole -> not x < LEAST or whole
8: not x < LEAST and whole -> whole | 8: not x < LEAST and whole -> not x < LEAST
8: not x < LEAST -> x < LEAST | 8: x < LEAST -> x <= LEAST | 8: x < LEAST -> x >= LEAST
10: try: -> its body | 11: x = number(x, name, most=2) -> pass
11: number(x, name, most=2) -> number(x, name) | 11: number(x, name, most=2) -> x | 11: 2 -> 3 | 11: 2 -> 1
12: (TypeError, ValueError) -> (ValueError,) | 12: (TypeError, ValueError) -> (TypeError,)
13: return None -> pass | 14: return x * 2.5 if x in (3, 'four') else -x -> return None
14: x * 2.5 if x in (3, 'four') else -x -> x * 2.5 | 14: x * 2.5 if x in (3, 'four') else -x -> -x
14: x in (3, 'four') -> x not in (3, 'four')
14: (3, 'four') -> ('four',) | 14: (3, 'four') -> (3,) | 14: 3 -> 4 | 14: 3 -> 2 | 14: 'four' -> 'four_'
14: x * 2.5 -> x // 2.5 | 14: 2.5 -> 3.5 | 14: 2.5 -> 1.5 | 14: -x -> x
"""


def test_a_function_has_the_mutants_that_it_should(tmp_path):
    path = tmp_path / "small.py"
    path.write_text(CODE[1:])
    found = mutants_of(path)
    expected = [f"small.py:{text}" for line in EXPECTED.strip().splitlines() for text in line.split(" | ")]
    assert sorted(mutant.text for mutant in found) == sorted(expected)
    assert len({mutant.name for mutant in found}) == len({mutant.code for mutant in found}) == len(found)
    assert {mutant.lines for mutant in found if mutant.text.startswith("small.py:8")} == {range(8, 9)}


SMALL = """
def sign(x):
    if x < 0:
        return -1
    while x is None:
        x = 1
    return 1
"""
TESTS = """
from small import sign

def test_negative():
    assert sign(-3) == -1

def test_positive():
    assert sign(3) == 1
"""
RUN = """
import json, pytest
from pathlib import Path
from tests.mutants import Examination
from tests.mistakes import mutants

examination = Examination("small", mutants(Path("small.py")), start=0.1)
pytest.main(["-s", "test_small.py"], plugins=[examination])
Path("outcomes").write_text(json.dumps({mutant.text: outcome for mutant, outcome in examination.tried}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_what_is_noticed_is_told_from_what_is_not(tmp_path):
    (tmp_path / "small.py").write_text(SMALL[1:])
    (tmp_path / "test_small.py").write_text(TESTS)
    path = os.pathsep.join(map(str, (ROOT, *sys.path)))
    command = [sys.executable, "-c", RUN]
    run = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = json.loads((tmp_path / "outcomes").read_text())
    found = {text.removeprefix("small.py:"): outcome for text, outcome in outcomes.items()}
    survived = {text for text, outcome in found.items() if outcome == "survived"}
    boundaries = {"2: x < 0 -> x <= 0", "2: 0 -> 1", "2: 0 -> -1"}
    assert survived == boundaries | {"4: x is None -> False", "5: x = 1 -> pass", "5: 1 -> 2", "5: 1 -> 0"}
    assert found["2: x < 0 -> False"] == found["6: 1 -> 2"] == "killed"
    assert found["4: x is None -> True"] == "timed_out"


def test_mutants_that_change_nothing_are_still_there():
    assert {mutant.name for path in SOURCES.values() for mutant in mutants_of(path)} >= EQUIVALENT


def test_the_figure_is_of_all_modules_or_none(tmp_path):
    path = tmp_path / "mutants.json"
    ((figure, command),) = mutants.figures(path)
    assert math.isnan(figure.value) and not figure.reached and command == "make mutants"
    counts = {"killed": 18, "timed_out": 1, "survived": 1, "total": 20, "equivalent": 2}
    counts |= {"date": "2026-01-02", "commit": "abc1234"}
    path.write_text(json.dumps(dict.fromkeys([*SOURCES][1:], counts)))
    assert math.isnan(next(mutants.figures(path))[0].value)
    path.write_text(json.dumps(dict.fromkeys(SOURCES, counts)))
    ((figure, _),) = mutants.figures(path)
    assert figure.value == 95 and "cannot be noticed; 2026-01-02, abc1234)" in figure.what


def test_survivors_that_are_tried_again_change_no_time_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "KEPT", tmp_path / "mutants.json")
    one, other, *_ = mutants_of(SOURCES["windows"])
    alive, dead = Tried(one, "survived"), Tried(other, "killed")
    mutants.keep("windows", [alive, dead], 2, 60.2)
    first = kept.read(mutants.KEPT)["windows"]
    assert [first[key] for key in ("killed", "survived", "total", "seconds")] == [1, 1, 2, 60]
    mutants.keep("windows", [Tried(alive.mutant, "killed")], 2, 5)
    again = kept.read(mutants.KEPT)["windows"]
    assert [again[key] for key in ("killed", "survived", "total", "seconds")] == [2, 0, 2, 60]
