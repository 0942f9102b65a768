"""Each figure reaches its target, and what measures it notices when it does not."""

import itertools
import os
import re
import signal
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.trust import accuracy, determinism, isolated, memory, report, rows
from tests.trust.figures import Figure, shown
from tests.trust.isolated import Died, outcomes

SLOW = {"isa.emulated": pytest.mark.slow}
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and limits the address space")


@linux
@pytest.mark.parametrize("measure", [pytest.param(measure, marks=SLOW.get(report.name_of(measure), ()))
                                     for measure in rows.MEASURED], ids=report.name_of)  # fmt: skip
def test_figures_reach_their_targets(measure):
    figures = list(measure(False))
    if not figures:
        pytest.skip("needs what is not installed here")
    assert {figure.row for figure in figures} <= rows.THREATS.keys()
    assert [(figure.what, figure.value, figure.target) for figure in figures if report.missed(figure)] == []


def behave(how):
    """A child's part."""
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        time.sleep(60)
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "raise":
        raise LookupError("nothing is there")
    print(how)  # which is no result
    return [how, os.getpid()]


def test_a_crash_and_a_hang_are_noticed_and_the_rest_is_done():
    asked = [["a"], ["crash"], ["b"], ["hang"], ["raise"], ["c"], ["d"]]
    found = outcomes("tests.trust.test_trust:behave", asked, 2)
    assert [str(found[i]).partition(":")[0] for i in (1, 3, 4)] == ["SIGSEGV", "hangs", "exit 1"]
    assert "nothing is there" in str(found[4])
    assert isolated.deaths(found) == 3
    assert [found[i][0] for i in (0, 2, 5, 6)] == ["a", "b", "c", "d"]
    assert found[5][1] == found[6][1] != found[2][1] != found[0][1]


def test_one_call_raises_what_it_died_of():
    with pytest.raises(Died, match="SIGSEGV"):
        isolated.call("tests.trust.test_trust:behave", "crash")


@linux
def test_a_leak_is_noticed(monkeypatch):
    kept = []
    monkeypatch.setattr(memory, "refusals", lambda: {"leaks": lambda: kept.append(object()), "does not": object})
    assert memory.leaked("fastml", "leaks", 500)[0] > 0.9 > 0.5 > memory.leaked("fastml", "does not", 500)[0]


@linux
def test_a_leak_in_few_of_the_calls_is_noticed(monkeypatch):
    kept, made = [], itertools.count()
    monkeypatch.setattr(memory, "refusals", lambda: {"rarely": lambda: next(made) % 60 or kept.append(object())})
    assert memory.leaked("fastml", "rarely", 2000)[0] > 0.01


@linux
def test_a_half_written_array_is_noticed(monkeypatch):
    def write_and_fail(X, out):
        out[0] = X[0]
        raise MemoryError

    def allocate(X, out):
        out[:] = X
        return np.empty(2**26)

    X = np.ones(3)
    made = {"fails": ({"X": X, "out": 2 * X}, write_and_fail), "allocates": ({"X": X, "out": 2 * X}, allocate)}
    monkeypatch.setattr(memory, "ready", lambda name, n_threads: made[name])
    assert memory.starved("fails", 1000, 1) == "MemoryError, half-written ['out']"
    assert memory.starved("allocates", 1000, 1) == "ok"
    assert memory.starved("allocates", 100, 1) == "MemoryError, half-written ['out']"


class Counter:
    """A model that counts a batch before it has read it."""

    def __init__(self):
        self.rows, self.mean = 0, np.zeros(3)

    def partial_fit(self, X):
        self.rows += len(X)
        raise MemoryError


@linux
def test_a_half_updated_model_is_noticed(monkeypatch):
    given = {"model": Counter(), "X": np.ones((5, 3))}
    monkeypatch.setattr(memory, "ready", lambda name, n_threads: (given, lambda model, X: model.partial_fit(X)))
    assert memory.starved("counts", 1000, 1) == "MemoryError, half-written ['model']"
    assert given["model"].rows == 0  # the next call begins afresh


def test_what_an_import_changes_is_noticed(monkeypatch, tmp_path):
    (tmp_path / "meddler.py").write_text("import os, numpy\nos.environ['MEDDLED'] = '1'\nnumpy.seterr(over='ignore')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert isolated.call("tests.trust.imports:changed_by", "meddler", False) == ["environment", "np.errstate"]


def test_right_digits():
    assert accuracy.digits(3.14, 3.140314) == pytest.approx(4, abs=1e-3)
    assert accuracy.digits(0.1, 0.1) == accuracy.MOST_DIGITS > 15.9
    assert accuracy.digits(float("nan"), 1) == accuracy.digits(5, 1) == 0
    mean, deviation = accuracy.exact(np.array([1.0, 2.0, 4.0]))
    assert (mean, deviation) == (Fraction(7, 3), pytest.approx(np.sqrt(7 / 3), rel=1e-16))


def test_the_reference_data_are_those_of_nist():
    """scipy's own tests have the files of SmLs; the means and deviations of NumAcc are certified."""
    for X, mean, deviation in zip(accuracy.numacc(), (10000002, 1.2, 1000000.2, 10000000.2), (1, 0.1, 0.1, 0.1),
                                  strict=True):  # fmt: skip
        found = accuracy.exact(X[:, 0])
        assert float(found[0]) == mean and found[1] == pytest.approx(deviation, rel=1e-7)
    folder = Path(pytest.importorskip("scipy.stats").__file__).parent / "tests" / "data" / "nist_anova"
    if not folder.exists():
        pytest.skip("scipy was installed without its tests")
    for number, X in enumerate([*accuracy.smls(True)][::2], 1):
        table = np.loadtxt(folder / f"SmLs{number:02}.dat", skiprows=60)
        np.testing.assert_array_equal(table[:, 1].reshape(9, -1).T, X)


@pytest.mark.parametrize(("target", "values"), [
    ("= 0", {0: True, 1: False}), ("< 1", {0.5: True, 1: False}), ("<= 1", {1: True, 1.1: False}),
    (">= 15", {15: True, 14.9: False}), ("> 0.8", {0.9: True, 0.8: False}), ("", {1: True}),
])  # fmt: skip
def test_a_target_is_a_comparison(target, values):
    assert {value: Figure(1, "", value, target).reached for value in values} == values
    assert Figure(1, "", float("nan"), target).reached == (not target)


def test_how_numbers_are_shown():
    values = (0, 3.0, 1980, 0.123456, 1.5e-9, 14.435, "2 of 3", float("nan"), float("inf"))
    assert [*map(shown, values)] == ["0", "3", "1980", "0.123", "1.5e-09", "14.4", "2 of 3", "nan", "inf"]


PAGE = (isolated.ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
TABLE = PAGE.partition(report.BEGIN)[2].partition(report.END)[0]


def test_every_threat_is_met_or_the_page_says_why_not():
    listed = {int(line.split("|")[1]) for line in TABLE.splitlines() if re.match(r"\| \d+ \|", line)}
    said = {int(line[2:].partition(",")[0]) for line in TABLE.splitlines() if line.startswith("* ")}
    assert listed | said == rows.THREATS.keys()
    known = {*rows.TESTED, *rows.NOT_REACHED, *(row for row, *_ in (*rows.MISSED, *rows.SET))}
    assert known <= rows.THREATS.keys()
    answers = re.findall(r"^\* ([\d, ]+): ", PAGE.partition(report.END)[2], re.MULTILINE)
    assert [int(row) for numbers in answers for row in numbers.split(", ")] == [*rows.THREATS]


def test_commands_of_the_table_are_those_of_the_report():
    assert [command for command in report.commands() if f"`{command}` |" not in TABLE] == []
    for _, _, arguments in report.suites():
        assert all((isolated.ROOT / path).exists() for path in arguments if path.endswith(".py"))


def test_a_figure_that_is_no_number_is_said_to_be_none():
    unknown = [line for line in TABLE.splitlines() if re.search(r"\| nan\b", line)]
    assert [line for line in unknown if "not reached: not measured yet" not in line] == []


def test_the_report_of_one_measurement(monkeypatch, capsys):
    monkeypatch.setattr(report, "MEASURED", (measured,))
    monkeypatch.setattr(report, "MISSED", {(12, ">= 15"): (">= 1", "it says why")})
    monkeypatch.setattr(sys, "argv", ["report", "--only", "measured"])
    report.main()  # what is known to be missed is no failure
    printed, said = capsys.readouterr()
    cells = "| 12 | Accuracy of mean and variance, float64 | a \\| b | 2 s | >= 15 | not reached: it says why |"
    assert cells in printed
    assert "| NumPy 3; X 0.25 | `python -m tests.trust.report --only test_trust.measured` |" in printed
    assert "NOT REACHED" in said


@pytest.mark.parametrize("known", [{}, {(12, ">= 15"): (">= 3", "it does not hold either")}])
def test_a_missed_target_is_an_error_and_shown_all_the_same(known, monkeypatch, capsys):
    monkeypatch.setattr(report, "MEASURED", (measured,))
    monkeypatch.setattr(report, "MISSED", known)
    monkeypatch.setattr(sys, "argv", ["report", "--only", "measured"])
    with pytest.raises(SystemExit) as ended:
        report.main()
    assert ended.value.code == 1 and "| 2 s | >= 15 | not reached" in capsys.readouterr().out


@pytest.mark.parametrize(("only", "status", "said"), [
    ("nonsense", 2, "--only nonsense is part of no measurement's name: hostile.attributes, "),
    ("pooling_corners", 1, "nothing was measured"),
    ("tests of row 6", 1, "nothing was measured"),  # which --quick leaves out
])  # fmt: skip
def test_to_measure_nothing_is_an_error(only, status, said, monkeypatch, capsys):
    monkeypatch.setattr(determinism.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["report", "--quick", "--only", only])
    with pytest.raises(SystemExit) as ended:
        report.main()
    printed, error = capsys.readouterr()
    code, message = (1, ended.value.code) if isinstance(ended.value.code, str) else (ended.value.code, error)
    assert (code, printed) == (status, "") and said in message


@pytest.mark.parametrize("options", [[], ["--only", "measured"], ["--quick"]])
def test_a_table_is_written_whole_or_not_at_all(options, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(before := f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "lines", lambda only, thorough: [(figure, "it") for figure in measured(thorough)])
    monkeypatch.setattr(sys, "argv", ["report", *options, "--write", str(page)])
    with pytest.raises(SystemExit):
        report.main()
    if options:
        assert page.read_text() == before
    else:  # its figure misses the target
        text = page.read_text()
        assert text.startswith(f"before\n{report.BEGIN}\n20") and text.endswith(f"\n{report.END}\nafter\n")
        assert "old" not in text
        assert "Measured in 0.0 minutes.\nWhat else `make trust` runs took" in text


def measured(thorough):
    yield Figure(12, "a | b", 2.0, ">= 15", "s", {"NumPy": 3, "X": 0.25})


def suite(tmp_path, text):
    path = tmp_path / "test_it.py"
    path.write_text("import atexit, os, pytest\n" + text)
    return report.suite((str(path),), {})


def test_a_suite_without_tests_is_no_success():
    assert not Figure(6, *report.suite(("tests/test_house.py", "-k", "no_such_test"), {}), "= 0").reached
    assert not Figure(6, *report.suite(("tests/no_such_file.py",), {}), "= 0").reached
    what, failed = report.suite(("tests/test_cli.py", "-k", "info"), {"PYTHONOPTIMIZE": "2"})
    assert failed == 0 and int(what.rpartition(" ")[2]) > 0


@pytest.mark.parametrize(("text", "tests", "failed"), [
    ("def test_a(): 0 / 0\n", 1, 1),
    ("def test_a(): 0 / 0\ndef test_b(nothing): 0\ndef test_c(nothing): 0\ndef test_d(): 0\n", 4, 3),
    ("0 / 0\n", 1, 1),  # it cannot be imported
    ("atexit.register(os._exit, 3)\ndef test_a(): 0\n", 1, 1),  # it dies after its tests
    ("def test_a(): 0\n@pytest.mark.xfail\ndef test_b(): 0 / 0\n", 2, 0),
])  # fmt: skip
def test_what_fails_in_a_suite_is_counted(tmp_path, text, tests, failed):
    what, found = suite(tmp_path, text)
    assert what.startswith(f"tests that fail, of {tests}") and found == failed
