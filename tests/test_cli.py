"""The command line: what it prints for people, for programs, and when something is wrong or missing."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import typer.testing
from rich.console import Console

import fastml
from fastml.learn import exercises, grader, ladder, machine, native, roofline, stages, versus
from fastml.learn.cli import app, show
from fastml.learn.judge import Verdict
from tests.test_dispatch import python

VERDICTS = {
    "passed": Verdict("passed", "right, and 1.1 times the speed", "", 3, 0.002, 1.1, 1.0, 1.2, 0.8),
    "failed": Verdict("failed", "out[0] should be 1, but is 2", "one value"),
    "noisy": Verdict("noisy", "too noisy to say", "timing", 0, 0.002, 1.1, 0.1, 9.0),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder, and return (status, what it printed)."""
    monkeypatch.chdir(tmp_path)

    def command(*words, status=0):
        done = typer.testing.CliRunner().invoke(app, words)
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.output

    return command


@pytest.fixture
def rates(tmp_path, monkeypatch):
    """Rates that are known at once, and a cache that is empty; the list has what was measured."""
    measured = []

    def rate(*what):
        measured.append(what)
        return 1e9 * what[-1]

    monkeypatch.setattr(machine.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(machine, "counts", lambda: [1, 2])
    monkeypatch.setattr(roofline, "flops", rate)
    monkeypatch.setattr(roofline, "bandwidth", rate)
    return measured


def test_info_tells_what_was_found(run):
    found = json.loads(run("info", "--json"))
    assert found["versions"] == fastml.configuration()["versions"] and found["isa"] == fastml.configuration()["isa"]
    assert {"internal_api", "num_threads", "version"} <= found["blas"][0].keys()
    text = run("info")
    assert all(word in text for word in (found["fastml"], found["machine"], found["blas"][0]["version"], "numpy"))


def test_the_roofline_is_measured_once_and_kept(run, rates):
    found = json.loads(run("roofline", "--json"))
    assert len(rates) == len(found["rates"]) == 2 * (2 + 4 * 3)
    assert {row["threads"] for row in found["rates"]} == {1, 2}
    assert Path(found["file"]).is_relative_to(Path.cwd() / "cache")
    text = run("roofline")
    assert len(rates) == len(found["rates"])
    assert "float64" in text and "memory" in text and "1.0" in text and "2.0" in text and "other programs" not in text
    run("roofline", "--fresh")
    assert len(rates) == 2 * len(found["rates"])


def test_another_processor_or_build_is_measured_by_itself(monkeypatch):
    names = {machine.kept_at()}
    monkeypatch.setattr(machine, "processor", lambda: "another")
    names.add(machine.kept_at())
    monkeypatch.setattr(machine, "_build", lambda: {"isa": "another"})
    assert len({*names, machine.kept_at()}) == 3


def test_a_disturbed_measurement_says_so(run, rates, monkeypatch):
    monkeypatch.setattr(roofline, "flops", lambda dtype, n_threads: 1e9 / n_threads)
    assert "Measure again, with --fresh" in run("roofline")


def test_caches_are_those_of_the_system_or_typical_ones(monkeypatch):
    assert all(2**12 <= size <= 2**30 for size in machine.caches().values())
    texts = {"level": "2", "size": "512K", "type": "Unified"}
    monkeypatch.setattr(machine, "_text", lambda path: texts[path.name])
    if any(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        assert machine.caches() == {**machine.TYPICAL, "L2": 2**19}
    monkeypatch.setattr(machine, "_text", lambda path: "")
    assert machine.caches() == machine.TYPICAL
    assert machine.processor()


def test_a_cache_that_is_broken_or_cannot_be_written_is_no_obstacle(run, rates, monkeypatch):
    run("roofline")
    (kept,) = Path("cache", "fastml").iterdir()
    kept.write_text(kept.read_text()[:99])
    assert "kept in" in run("roofline") and len(rates) == 2 * len(json.loads(kept.read_text())["rates"])
    Path("a file").touch()
    monkeypatch.setattr(machine.platformdirs, "user_cache_path", lambda name: Path("a file", name))
    text = run("roofline")
    assert "cannot be written" in text and "memory" in text


def test_exercises_are_listed(run):
    assert [row["name"] for row in json.loads(run("learn", "list", "--json"))] == [*exercises.NAMES]
    text = run("learn", "list")
    assert all(exercises.title(name) in text for name in exercises.NAMES)


def test_an_exercise_is_started_once(run):
    assert "fastml learn check sum_accumulators" in run("learn", "start", "sum_accumulators")
    path = Path("sum_accumulators.py")
    assert path.read_bytes() == exercises.file("sum_accumulators", "starter", "numba").read_bytes()
    assert "fastml: sum_accumulators.py is already here" in run("learn", "start", "sum_accumulators", status=2)
    run("learn", "start", "sum_accumulators", "--language", "c")
    assert Path("sum_accumulators.c").exists()


@pytest.mark.parametrize(("outcome", "status"), [("passed", 0), ("failed", 1), ("noisy", 3)])
def test_a_verdict_is_shown_and_is_the_status(run, monkeypatch, outcome, status):
    graded = []
    monkeypatch.setattr(grader, "check", lambda *file: graded.append(file) or VERDICTS[outcome])
    run("learn", "start", "column_means")
    text = run("learn", "check", "column_means", status=status)
    assert outcome in text and VERDICTS[outcome].reason in text
    assert ("★★★" in text) is ("0.80 times the speed of the kernel that fastml ships" in text) is (outcome == "passed")
    assert ("in the case: one value" in text) is (outcome == "failed")
    found = json.loads(run("learn", "check", "column_means", "--file", "other.py", "--json", status=status))
    assert found["outcome"] == outcome and found["file"] == "other.py"
    assert graded == [("column_means", Path("column_means.py")), ("column_means", Path("other.py"))]


def test_a_file_is_graded(run):
    run("learn", "start", "stable_variance")
    assert "a mean of a million" in run("learn", "check", "stable_variance", status=1)


def test_hints_are_given_one_after_the_other(run):
    hints = exercises.hints("column_means")
    assert json.loads(run("learn", "check", "column_means", "--hint", "2", "--json")) == hints[:2]
    text = run("learn", "check", "column_means", "--hint", "1")
    assert "Hint 1" in text and "Hint 2" not in text


@pytest.mark.parametrize("columns", [40, 160])
def test_solutions_are_shown_whole(run, columns, monkeypatch):
    monkeypatch.setattr(show, "console", lambda: Console(width=columns))
    code = exercises.file("sum_accumulators", "solution", "c").read_text()
    assert run("learn", "solution", "sum_accumulators", "--language", "c") == code


def test_nothing_is_lost_in_a_narrow_terminal(run, compared, monkeypatch):
    monkeypatch.setattr(show, "console", lambda: Console(width=60))
    text = run("versus", "max_pool2d", "--case", "1x8x8x8", "--peer", "NumPy")
    assert all(number in text for number in ("1.000", "0.500", "0.50")) and "…" not in text
    assert "…" not in run("info") + run("learn", "list")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("start", "nonsense"), "there is no exercise 'nonsense'"),
        (("check", "nonsense"), "there is no exercise 'nonsense'"),
        (("check", "column_means"), "there is no column_means here; begin with: fastml learn start column_means"),
        (("check", "column_means", "--file", "missing.py"), "there is no file missing.py"),
        (("check", "column_means", "--hint", "4"), "--hint"),
        (("check", "column_means", "--file", "."), "column_means is done in numba, and . is none of these"),
        (("solution", "column_means", "--language", "c"), "column_means can be done in numba; got 'c'"),
    ],
)
def test_mistakes_are_named_and_are_status_2(run, words, message):
    assert message in run("learn", *words, status=2)


def test_a_folder_that_cannot_be_written_is_named(run, monkeypatch):
    def refused(*paths):
        raise PermissionError(13, "Permission denied", "column_means.py")

    monkeypatch.setattr(grader.shutil, "copyfile", refused)
    assert "Permission denied: 'column_means.py'" in run("learn", "start", "column_means", status=2)


def test_what_is_not_installed_is_named(run, monkeypatch):
    def missing(*file):
        raise native.Unavailable("this file needs Numba")

    monkeypatch.setattr(grader, "check", missing)
    assert "fastml: this file needs Numba" in run("learn", "check", "column_means", "--file", "x.py", status=2)


@pytest.mark.parametrize("package", ["typer", "rich", "platformdirs"])
def test_without_the_extra_it_says_how_to_get_it(package):
    done = python(f"import sys; sys.modules['{package}'] = None; from fastml import __main__; __main__.main()")
    assert done.returncode == 1
    needed = "the command line needs more packages: pip install 'fastml-kernels[learn]'"
    assert (done.stdout, done.stderr) == ("", f"fastml: {needed}\n")


def test_another_missing_module_is_an_error():
    done = python("import sys; sys.modules['fastml.learn.judge'] = None; from fastml import __main__; __main__.main()")
    assert "ModuleNotFoundError: import of fastml.learn.judge halted" in done.stderr


def test_the_module_runs():
    done = subprocess.run([sys.executable, "-m", "fastml", "learn", "list"], capture_output=True, text=True)
    assert done.returncode == 0 and "winograd_2x2" in done.stdout and done.stderr == ""
    script = Path(sysconfig.get_path("scripts"), "fastml")
    if script.exists():  # of an installation made after the command was
        assert "winograd_2x2" in subprocess.check_output([script, "learn", "list"], text=True, env=os.environ)


ROW = {"op": "moments", "case": "100x20", "dtype": "float32", "threads": 2, "idea": "an idea", "fails": "",
       "ships": False, "note": "", "unit": "B/s", "bytes": 8e3, "flops": 8e3, "error": 2e-7}  # fmt: skip
ROWS = [
    {**ROW, "backend": "numpy", "rung": "loops", "note": "takes minutes here"},
    {**ROW, "backend": "cython", "rung": "loops", "seconds": 0.004, "rate": 2e9, "share": 0.25},
    {**ROW, "backend": "cython", "rung": "blocks", "ships": True, "fails": "by mistake", "seconds": 0.002, "rate": 4e9,
     "share": 0.5, "gain": 2.0},
]  # fmt: skip


@pytest.fixture
def measured(monkeypatch):
    """Ladders that are known at once; the list has what was asked for."""
    asked = []
    monkeypatch.setattr(ladder, "measure", lambda op, case, *more: asked.append((op, case.case, more[0])) or ROWS)
    return asked


def test_a_ladder_is_shown_with_ideas_and_gains(run, measured):
    lines = run("ladder", "moments").splitlines()
    assert "moments: 100x20, float32, 2 threads" in lines[0]
    (shipped,) = [line for line in lines if "cython blocks ●" in line]
    assert all(word in shipped for word in ("an idea; fails: by mistake", "2.00", "4.00", "50.0", "2e-07"))
    assert "an idea; takes minutes here" in next(line for line in lines if "numpy loops" in line)
    assert json.loads(run("ladder", "moments", "--case", "100x20", "--rounds", "5", "--json")) == ROWS
    assert measured == [("moments", stages.LADDERS["moments"][0].case, 3), ("moments", "100x20", 5)]


@pytest.mark.parametrize("words", ["ladder nonsense", "ladder pca --case nonsense", "versus nonsense"])
def test_operations_and_cases_that_do_not_exist_are_named(run, words):
    message = run(*words.split(), status=2)
    assert re.search(r"^fastml: (there is no .*'nonsense'; |pca has no case with 'nonsense')", message)


@pytest.fixture
def compared(monkeypatch):
    """Comparisons that are known at once: fastml loses against NumPy on small inputs."""
    asked = []

    def compare(case, dtype, own, peer, rounds):
        asked.append((case.op, case.name, dtype, own, peer, rounds))
        ratio = 0.5 if case.small and peer == "NumPy" else 2.0
        row = {"op": case.op, "case": case.name, "dtype": dtype, "fastml": own, "against": peer}
        return {**row, "ours": 0.001, "peer": 0.001 * ratio, "ratio": ratio, "low": ratio, "high": ratio}

    monkeypatch.setattr(versus, "compare", compare)
    return asked


def test_comparisons_say_where_fastml_loses(run, compared, monkeypatch):
    text = run("versus", "max_pool2d", "--peer", "NumPy", "--rounds", "3")
    assert "max_pool2d, 1x8x8x8, k2 s2, float32: NumPy, 0.50" in text.partition("Where fastml loses:")[2]
    assert {(op, peer, rounds) for op, _, _, _, peer, rounds in compared} == {("max_pool2d", "NumPy", 3)}
    assert len(compared) > 3
    text = run("versus", "max_pool2d", "--case", "k3 s2 p1", "--peer", "NumPy")
    assert "Here fastml loses nowhere." in text and "2.00" in text
    rows = json.loads(run("versus", "max_pool2d", "--case", "1x8x8x8", "--peer", "fastml numba", "--json"))
    assert [(row["against"], row["ratio"], row["threads"]) for row in rows] == [
        ("fastml numba", 2.0, fastml.get_num_threads())
    ]
    message = run("versus", "moments", "--peer", "nonsense", status=2)
    assert "there is no 'nonsense' to compare; here are fastml cython, " in message
    assert "there is no 'nonsense'" in run("versus", "moments", "--fastml", "nonsense", status=2)
    assert "no case has 'nonsense' in its name" in run("versus", "moments", "--case", "nonsense", status=2)
    monkeypatch.setattr(versus, "peers", lambda *case: [])
    assert "nobody to compare with" in run("versus", "moments", status=2)


def test_of_all_operations_one_case_each_is_compared(run, compared):
    run("versus", "--peer", "NumPy", "--json")
    ops = [op for op, *_ in compared]
    assert len(ops) == len(set(ops)) > 5


def test_a_report_is_one_page(run, rates, measured, compared):
    assert "Written: fastml-report.html" in run("report")
    assert [op for op, *_ in measured] == [*stages.names()]
    text = Path("fastml-report.html").read_text()
    assert text.count("<caption>moments: 100x20, float32") == len(stages.names()) and "Roofline" in text
    assert {(op, case, dtype) for op, case, dtype, *_ in compared} == {("moments", "100x20", "float32")}
    assert "In pairs, just now." in text and "<td>NumPy</td>" in text
    found = json.loads(run("report", "--op", "pca", "--output", "other.html", "--json"))
    assert found["page"] == "other.html" and found["ladders"] == [ROWS] and Path("other.html").exists()


def test_a_report_of_a_benchmark_file_compares(run, rates, measured, compared):
    info = {"op": "conv2d", "case": "8x8", "dtype": "float32", "flops": 1e9, "bytes": 1e6, "small": False}
    rows = [{"extra_info": {**info, "contender": name}, "stats": {"median": seconds}}
            for name, seconds in (("fastml cython", 0.02), ("PyTorch", 0.01))]  # fmt: skip
    Path("x.json").write_text(json.dumps({"datetime": "2026-01-02T03:04", "benchmarks": rows}))
    run("report", "x.json")
    assert measured == compared == []
    text = Path("fastml-report.html").read_text()
    assert "From x.json, 2026-01-02." in text and "1 comparisons; fastml loses 1" in text
    assert "fastml: " in run("report", "missing.json", status=2)
    for text in ("{}", "no JSON", "[]"):
        Path("x.json").write_text(text)
        assert "fastml: x.json is not what `make bench` leaves: " in run("report", "x.json", status=2)


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(run, rates, measured, compared):
    for output in (".", "missing/page.html"):
        assert f"fastml: {output} cannot be written" in run("report", "--output", output, status=2)
    assert rates == measured == compared == []
