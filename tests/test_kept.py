"""What a command that runs tests has found is counted, kept and told; the words that are timed are those of make."""

import json
import math
import re
import sys

import pytest

from tests import kept
from tests.trust import report

MAKEFILE = (kept.ROOT / "Makefile").read_text(encoding="utf-8")


def printing(*lines, status=0):
    """A command that prints these lines and ends with this status."""
    return [sys.executable, "-c", f"import sys; print(*{lines!r}, sep='\\n'); sys.exit({status})"]


@pytest.mark.parametrize(("lines", "status", "found"), [
    (("..", "3 passed in 0.10s"), 0, (3, 0)),
    (("2 passed, 7 skipped, 1 warning in 0.10s", "== 40 passed in 3723.10s (1:02:03) =="), 0, (42, 0)),
    (("1 failed, 3 passed, 2 errors in 9.10s",), 1, (6, 3)),
    (("tests/test_a.py: 5 passed words", "no tests ran in 0.01s"), 5, (1, 1)),
    (("3 passed in 0.10s", "Segmentation fault"), 139, (4, 1)),
])  # fmt: skip
def test_outcomes_are_counted(lines, status, found):
    outcome = kept.tested(printing(*lines, status=status))
    assert (outcome.tests, outcome.failed, outcome.status) == (*found, status)


def test_an_outcome_is_kept_beside_others_with_its_origin(tmp_path):
    record = tmp_path / "words.json"
    assert kept.run("wheel", printing("3 passed in 0.10s"), record) == 0
    assert kept.run("parallel", printing("1 failed, 3 passed in 0.10s", status=1), record) == 1
    assert kept.run("wheel", printing(status=127), record) == 127  # the shell has found no such command
    found = kept.read(record)
    assert [*found] == ["parallel", "wheel"]
    assert [found["wheel"][key] for key in ("tests", "failed", "seconds")] == [3, 0, 0]
    assert {"date", "commit", "versions"} < found["wheel"].keys()
    figures = {command: figure for figure, command in kept.figures(record)}
    assert [*figures] == [f"make {word}" for word in kept.WORDS]
    assert figures["make wheel"].reached and not figures["make parallel"].reached
    assert f"(4 tests, 0 s, {found['parallel']['date']}, " in figures["make parallel"].what
    assert "never run" in figures["make emulated"].what and math.isnan(figures["make emulated"].value)


def test_a_run_is_told_without_what_was_not_kept():
    last = {"date": "2026-01-02", "commit": "abc1234"}
    assert kept.when({}) == "never run"
    assert kept.when(last) == "2026-01-02, abc1234"
    assert kept.when(last | {"tests": 5, "seconds": 60}, "{tests} tests, ") == "5 tests, 60 s, 2026-01-02, abc1234"


def test_all_words_of_make_trust_are_timed():
    (words,) = re.findall(r"^trust: \.venv/trust ([a-z ]+) ##", MAKEFILE, re.MULTILINE)
    assert {*words.split(), "slow"} == {*report.WORDS} == report.times().keys()
    assert kept.WORDS.keys() <= {*report.WORDS, "aarch64"}
    assert {*re.findall(r"-m tests\.kept (\w+)", MAKEFILE)} == kept.WORDS.keys() - {"parallel"} | {"slow"}


def test_times_are_those_that_were_kept(tmp_path, monkeypatch):
    for module, name, text in (
        (report.instrumented, "KEPT", {"asan": {"seconds": 60}}), (report.covered, "KEPT", {"seconds": 120}),
        (kept, "RECORD", {"slow": {"seconds": 30}, "aarch64": {"seconds": 1000}}), (report.fuzzed, "RECORD", {}),
        (report.mutants, "KEPT", {module: {"seconds": 20} for module in report.mutants.SOURCES}),
    ):  # fmt: skip
        path = tmp_path / f"{module.__name__}.json"
        path.write_text(json.dumps(text))
        monkeypatch.setattr(module, name, path)
    modules = 20 * len(report.mutants.SOURCES)
    found = {word: seconds for word, seconds in report.times().items() if not math.isnan(seconds)}
    assert found == {"asan": 60, "coverage": 120, "mutants": modules, "slow": 30}
    said = report.spent({"asan": 120.0, "fuzz": math.nan, "slow": 3600.0})
    assert said.endswith("62 minutes when it was last run: asan 2, fuzz not timed yet, slow 60.")
