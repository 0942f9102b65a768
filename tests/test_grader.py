"""The grader: what is wrong is found and named, what is slow is refused, what crashes or hangs is survived."""

import math
import os
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fastml.learn import exercises, grader, judge, native
from tests.test_exercises import once

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


def written(tmp_path, name, code):
    path = tmp_path / f"{name}.py"
    path.write_text(code + "\n")
    return path


@needs_compiler
def test_a_file_in_c_that_writes_outside_is_found(tmp_path):
    path = tmp_path / "total.c"
    path.write_text("void total(const float *x, double *out, long n) { out[0] = 0; out[1] = n; }")
    assert judge.judge("sum_accumulators", path).reason == "it wrote outside out: 0 bytes after its end"


@needs_compiler
def test_messages_of_the_compiler_are_passed_on(tmp_path):
    path = tmp_path / "total.c"
    path.write_text("void total(const float *x, double *out, long n) { out[0] = y; }")
    verdict = judge.judge("sum_accumulators", path)
    assert re.match(r"total\.c does not compile:\n.*error: \W+y\W+ undeclared", verdict.reason, re.DOTALL)
    path.write_text("void sum(void) { }")
    assert "does not define a function total" in judge.judge("sum_accumulators", path).reason


def test_without_a_compiler_the_file_is_not_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda command: None)
    with pytest.raises(native.Unavailable, match=r"needs a C compiler, and none is installed"):
        judge.judge("sum_accumulators", exercises.file("sum_accumulators", "starter", "c"))
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(native.Unavailable, match="needs Cython: pip install cython"):
        judge.judge("threads_same_bits", exercises.file("threads_same_bits", "starter", "cython"))


def test_without_numba_the_file_is_not_judged(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(native.Unavailable, match=r"needs Numba: pip install 'fastml-kernels\[learn\]'"):
        judge.judge("column_means", exercises.file("column_means", "starter", "numba"))
    verdict = judge.judge("column_means", written(tmp_path, "x", "import nonsense"))
    assert verdict.reason.startswith("it imports nonsense in line 1")


# What another process is for.
ENDS = {
    "import ctypes\ndef column_means(x, out): ctypes.string_at(0)": "it crashed the interpreter: SIGSEGV",
    "def column_means(x, out):\n    while True: pass": "it did not end within 1 seconds of processor time",
    "import time\ndef column_means(x, out): time.sleep(99)": "it did not end within 2 seconds",
    "import sys\ndef column_means(x, out): sys.exit('no more')": "it raised SystemExit in line 2: no more",
    "import os\ndef column_means(x, out): os._exit(0)": "it ended the interpreter with status 0",
    "import os\ndef column_means(x, out):\n    os.write(2, b'sorry')\n    os._exit(7)": "it ended the interpreter with "
    "status 7: sorry",
    "import numpy as np\ndef column_means(x, out): np.empty(5 * 2**30, np.uint8)": "it raised MemoryError in line 2: "
    "Unable to allocate 5.00 GiB for an array with shape (5368709120,) and data type uint8",
    "def column_means(x, out):\n    while True: print('x' * 10**6)": "it raised OSError in line 2: [Errno 27] File too "
    "large",
}


@pytest.mark.parametrize("code", ENDS, ids=ENDS.values())
def test_a_file_that_ends_the_process_or_does_not_end_is_survived(code, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    patience = 2 if "sleep" in code else 60
    path = written(tmp_path, "column_means", code)
    verdict = grader.check("column_means", path, limit=1, patience=patience)
    assert [*tmp_path.iterdir()] == [path]  # nothing is left behind
    assert (verdict.outcome, verdict.reason) == ("failed", ENDS[code])
    assert verdict.case == "one value" or "sleep" in code  # two seconds may not be enough to begin


def test_what_a_file_prints_does_not_disturb(tmp_path, capfd):
    code = "print('hello')\ndef column_means(x, out): print('{\"verdict\": 1}', flush=True)"
    verdict = grader.check("column_means", written(tmp_path, "column_means", code))
    assert (verdict.outcome, verdict.case) == ("failed", "one value")
    assert verdict.reason == "out[0] was never set, or only added to: it should be 0.125730217"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "arguments", "threads"), [("column_means", "x, out", "1"), ("threads_same_bits", "x, out, n", "7")]
)
def test_there_is_one_thread_unless_the_exercise_is_about_threads(name, arguments, threads, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = f"import os\ndef {exercises.load(name).function}({arguments}): raise OSError(os.environ['OMP_NUM_THREADS'])"
    assert grader.check(name, written(tmp_path, name, code)).reason == f"it raised OSError in line 2: {threads}"


def test_what_a_file_has_started_ends_with_it(tmp_path):
    code = (
        "import pathlib, subprocess\ndef column_means(x, out):\n"
        "    child = subprocess.Popen(['sleep', '99'])\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))"
    )
    assert grader.check("column_means", written(tmp_path, "column_means", code)).outcome == "failed"
    stat = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    pytest.fail("it still runs")


def test_a_missing_compiler_is_told_from_the_other_process(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "nonsense")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(native.Unavailable, match="needs a C compiler"):
        grader.check("sum_accumulators", exercises.file("sum_accumulators", "starter", "c"))


def test_the_starter_is_copied_once(tmp_path):
    path = grader.start("sum_accumulators", tmp_path)
    assert path == tmp_path / "sum_accumulators.py" == grader.find("sum_accumulators", tmp_path)
    assert path.read_bytes() == exercises.file("sum_accumulators", "starter", "numba").read_bytes()
    path.write_text("my work")
    with pytest.raises(FileExistsError, match=r"sum_accumulators\.py is already here"):
        grader.start("sum_accumulators", tmp_path)
    assert path.read_text() == "my work"


def test_of_several_languages_the_last_one_changed_is_found(tmp_path):
    paths = [grader.start("sum_accumulators", tmp_path, language) for language in ("numba", "c")]
    for path, seconds in zip(paths, (2_000_000_000, 1_000_000_000), strict=True):
        os.utime(path, (seconds, seconds))
    assert grader.find("sum_accumulators", tmp_path) == paths[0]
    os.utime(paths[1], (3_000_000_000, 3_000_000_000))
    assert grader.find("sum_accumulators", tmp_path) == paths[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda path: grader.start("nonsense", path), ValueError, "there is no exercise 'nonsense'"),
        (lambda path: grader.start("column_means", path, "c"), ValueError, "can be done in numba; got 'c'"),
        (lambda path: grader.find("column_means", path), FileNotFoundError, "fastml learn start column_means"),
        (lambda path: grader.check("nonsense", path / "x.py"), ValueError, "there is no exercise 'nonsense'"),
        (lambda path: grader.check("column_means", path / "x.c"), ValueError, r"x\.c is none of these"),
        (lambda path: grader.check("column_means", path / "x.py"), FileNotFoundError, "there is no .*x.py"),
    ],
)
def test_errors_say_what_to_do(call, error, message, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path)


# The verdict on times that are known.
def noisy(speed, spread, seed, outliers=0.0):
    """Times of a file and a solution on a machine that is disturbed, `outliers` being how often badly."""
    generator = random.Random(seed)

    def disturbed(seconds):
        return seconds * math.exp(generator.gauss(0, spread)) * (1 + 9 * (generator.random() < outliers))

    return lambda rounds, first: [(disturbed(1 / speed), disturbed(1.0)) for _ in range(rounds)]


STARS = (0.5, 0.7, 0.85)


@pytest.mark.parametrize(
    ("speed", "outcome", "stars"),
    [(0.3, "failed", 0), (0.45, "failed", 0), (0.6, "passed", 1), (0.77, "passed", 2), (1.0, "passed", 3)],
)
def test_verdicts_are_the_same_ten_times(speed, outcome, stars):
    verdicts = [judge._raced(noisy(speed, 0.03, seed, outliers=0.15), STARS) for seed in range(100)]
    same = sum((verdict.outcome, verdict.stars) == (outcome, stars) for verdict in verdicts)
    assert same >= 90
    assert all(verdict.low <= verdict.speed <= verdict.high for verdict in verdicts)


def test_too_noisy_is_neither_passed_nor_failed():
    verdict = judge._raced(noisy(0.5, 1.0, 0), STARS)
    assert (verdict.outcome, verdict.stars) == ("noisy", 0)
    assert re.search("too noisy to say how fast: somewhere from .* and 0.5 are needed", verdict.reason)


def test_more_rounds_are_run_only_in_doubt():
    for speed, rounds in ((1.0, judge.ROUNDS), (0.3, judge.ROUNDS), (0.5, judge.MOST_ROUNDS)):
        asked = []
        times = noisy(speed, 0.02, 1)
        judge._raced(lambda n, first: asked.append((n, first)) or times(n, first), STARS)  # noqa: B023
        assert sum(n for n, _ in asked) == rounds
        assert [first for _, first in asked] == [*range(0, rounds, judge.ROUNDS)]


def test_the_speed_of_what_ships_is_told():
    assert judge._raced(lambda rounds, first: [(2.0, 2.0, 0.5)] * rounds, STARS).of_rung == 0.25
    assert judge._raced(lambda rounds, first: [(2.0, 2.0)] * rounds, STARS).of_rung == 0


def test_the_same_file_gets_the_same_verdict(tmp_path, monkeypatch):
    right, slow = (exercises.file("column_means", part, "numba") for part in ("solution", "starter"))
    monkeypatch.setattr(native, "load", once(native.load, tmp_path))
    outcomes = {path: [judge.judge("column_means", path).outcome for _ in range(3)] for path in (right, slow)}
    assert "failed" not in outcomes[right] and "passed" not in outcomes[slow], outcomes
