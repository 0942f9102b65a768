"""The grader: what is wrong is found and named, what is slow is refused, what crashes or hangs is survived."""

import math
import os
import random
import re
import shutil
import sys

import pytest

from fastml.learn import exercises, grader, judge, native

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")

MEANS = "import numpy as np\ndef column_means(x, out):\n"
WRONG = {
    "off by one": ("column_means", MEANS + "    out[:] = x[:-1].sum(axis=0) / len(x)", r"out\[0\] should be 0\.\d+ to"),
    "not written": ("column_means", MEANS + "    out[:-1] = x.mean(axis=0, dtype=float)[:-1]", "never written"),
    "float32 sums": ("column_means", MEANS + "    out[:] = x.mean(axis=0)", r"to within \S+, but is"),
    "input changed": (
        "column_means",
        MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n    x[-1, -1] += 1",
        r"it changed its input: x\[0, 0\] is now 1.1",
    ),
    "written after": (
        "column_means",
        MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n"
        "    np.lib.stride_tricks.as_strided(out, (out.size + 2,))[-1] = 7",
        "it wrote outside out: 8 bytes after its end|it wrote outside out: 1[0-5] bytes after its end",
    ),
    "written before": (
        "column_means",
        "import ctypes\n" + MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n"
        "    ctypes.memset(x.ctypes.data - 3, 1, 1)",
        "it wrote outside x: 3 bytes before its start",
    ),
    "read outside": (
        "sum_accumulators",
        "import numba\n@numba.njit\ndef total(x, out):\n    out[0] = 0.0\n"
        "    for i in range(x.size + 1): out[0] += x[i]",
        r"out\[0\] should be 0 to within \S+, but is nan",
    ),
    "raises": ("column_means", MEANS + "    raise KeyError(3)", "it raised KeyError: 3"),
    "arguments": ("column_means", "def column_means(x): pass", "it raised TypeError: column_means.. takes 1"),
    "no function": ("column_means", "def means(x, out): pass", "does not define a function column_means"),
    "syntax": ("column_means", "def column_means(x, out) pass", "expected ':'"),
    "NaN lost": (
        "max_pool_separable",
        "import numpy as np\ndef max_pool(x, out):\n"
        "    out[:] = np.nanmax(np.lib.stride_tricks.sliding_window_view(x, (5, 5)), axis=(2, 3))",
        r"out\[\d+, \d+\] should be nan, but is \d",
    ),
    "NaN is not below zero": (
        "fuse_passes",
        "import numpy as np\ndef normalize_add_relu(x, scale, shift, residual, out):\n"
        "    out[:] = np.fmax(scale[:, None] * x + shift[:, None] + residual, 0)",
        r"out\[1, 32\] should be nan, but is 0",
    ),
    "unshifted": (
        "stable_variance",
        "import numpy as np\ndef variance(x, out):\n    y = x.astype(float)\n"
        "    out[:] = (y * y).mean(axis=0) - y.mean(axis=0) ** 2",
        r"out\[0\] should be 0\.\d+ to within \S+, but is",
    ),
    "mean rounded": (
        "standardize_fused",
        "import numpy as np\ndef standardize(x, out):\n    y = x.astype(float)\n    std = y.std(axis=0)\n"
        "    out[:] = (x - x.mean(axis=0)) / np.where(std == 0, 1, std)",
        r"out\[\d+, 0\] should be",
    ),
    "keeps its answer": (
        "gemm_microkernel",
        "import numpy as np\nKEPT = {}\ndef matmul(a, b, out):\n    key = a.shape + b.shape\n"
        "    if key != (36, 512, 512, 512) or key not in KEPT: KEPT[key] = np.einsum('mk,kn->mn', a, b)\n"
        "    out[:] = KEPT[key]",
        r"out\[0, 0\] should be",
    ),
}
CASES = {"unshifted": "a mean of a million", "keeps its answer": "timing", "no function": "loading the file"}


def written(tmp_path, name, code):
    path = tmp_path / f"{name}.py"
    path.write_text(code + "\n")
    return path


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_found_and_named(mistake, tmp_path):
    name, code, message = WRONG[mistake]
    verdict = judge.judge(name, written(tmp_path, name, code))
    assert verdict.outcome == "failed"
    assert verdict.stars == 0
    assert re.search(message, verdict.reason), verdict
    assert CASES.get(mistake, verdict.case) == verdict.case


def test_the_input_is_named_where_it_changed(tmp_path):
    code = MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n    if len(x) == 16: x[2, 1] = 3"
    verdict = judge.judge("column_means", written(tmp_path, "column_means", code))
    assert verdict.reason == "it changed its input: x[2, 1] is now 3.0"
    assert verdict.case == "16 x 16"


def test_threads_that_change_the_result_are_found(tmp_path):
    code = (
        "import numpy as np\ndef sum_squares(x, out, n_threads):\n"
        "    out[0] = sum(part.sum() for part in np.array_split(x.astype(float) ** 2, n_threads))"
    )
    verdict = judge.judge("threads_same_bits", written(tmp_path, "x", code))
    assert verdict.outcome == "failed"
    assert re.search(r"out\[0\] has other bits with [23] threads than with 1: \S+ instead of \S+", verdict.reason)


def test_any_right_and_fast_function_passes(tmp_path):
    """NumPy's own, for one: the grader does not ask how."""
    code = "import numpy as np\ndef total(x, out):\n    out[0] = np.add.reduce(x, dtype=np.float64)"
    verdict = judge.judge("sum_accumulators", written(tmp_path, "x", code))
    assert verdict.outcome != "failed" or verdict.case == "timing", verdict


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
    assert verdict.reason == "it raised ModuleNotFoundError: No module named 'nonsense'"


# What another process is for.
ENDS = {
    "import ctypes\ndef column_means(x, out): ctypes.string_at(0)": "it crashed the interpreter: SIGSEGV",
    "def column_means(x, out):\n    while True: pass": "it did not end within 1 seconds of processor time",
    "import time\ndef column_means(x, out): time.sleep(99)": "it did not end within 2 seconds",
    "import sys\ndef column_means(x, out): sys.exit('no more')": "it ended the interpreter with status 1: no more",
}


@pytest.mark.parametrize("code", ENDS, ids=ENDS.values())
def test_a_file_that_ends_the_process_or_does_not_end_is_survived(code, tmp_path):
    patience = 2 if "sleep" in code else 60
    verdict = grader.check("column_means", written(tmp_path, "column_means", code), limit=1, patience=patience)
    assert (verdict.outcome, verdict.reason) == ("failed", ENDS[code])
    assert verdict.case == "one value" or "sleep" in code  # two seconds may not be enough to begin


def test_what_a_file_prints_does_not_disturb(tmp_path, capfd):
    code = "print('hello')\ndef column_means(x, out): print('{\"verdict\": 1}', flush=True)"
    verdict = grader.check("column_means", written(tmp_path, "column_means", code))
    assert (verdict.outcome, verdict.case) == ("failed", "one value")
    assert verdict.reason == "out[0] was never written: it should be 0.125730217"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "arguments", "threads"), [("column_means", "x, out", "1"), ("threads_same_bits", "x, out, n", "7")]
)
def test_there_is_one_thread_unless_the_exercise_is_about_threads(name, arguments, threads, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = f"import os\ndef {exercises.load(name).function}({arguments}): raise OSError(os.environ['OMP_NUM_THREADS'])"
    assert grader.check(name, written(tmp_path, name, code)).reason == f"it raised OSError: {threads}"


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
        (lambda path: grader.check("column_means", path / "x.c"), ValueError, "not in a file like x.c"),
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


def test_the_same_file_gets_the_same_verdict():
    right, slow = (exercises.file("column_means", part, "numba") for part in ("solution", "starter"))
    outcomes = {path: [judge.judge("column_means", path).outcome for _ in range(3)] for path in (right, slow)}
    assert "failed" not in outcomes[right] and "passed" not in outcomes[slow], outcomes
