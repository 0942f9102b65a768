"""Which branches of the Python layer, and which lines of compiled kernels, tests run: what `make coverage` does.

    python -m tests.covered                          # build, test, write docs/measured/coverage.json
    python -m tests.covered tests/test_moments.py    # other arguments of pytest; nothing is written

Kernels are built as in `tests/instrumented.py`, without optimization and without threads, whose functions gcov leaves
out. It says how often each line of C ran, for both levels. Comments of Cython's say which line of a .pyx it was made
of, which counts as run if any of them did, in any specialization. (Cython can trace lines, too, but not while the lock
is released.) A macro is one line, where it is used. `learn` is not measured, nor are Numba's kernels, which Python does
not run, and processes that tests start. A test that fails is no failure here: some are about threads, or the
compiler's loops.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import kept
from tests.instrumented import ROOT, build
from tests.trust.figures import Figure

KEPT = kept.FOLDER / "coverage.json"
CORE = ROOT / "src" / "fastml" / "_core"
REFERENCE = "_ref/"
# Tests of what is not measured, and those that run in other processes.
ELSEWHERE = ("assembly", "checking", "cli", "counters", "docs", "docs_site", "exercises", "grader", "instrumented",
             "interview", "ladder*", "learn_ladder", "packaging", "page", "report")  # fmt: skip
LEFT_OUT = ("--ignore=tests/trust", "--ignore=tests/site",
            *(f"--ignore-glob=tests/test_{name}.py" for name in ELSEWHERE))  # fmt: skip
RUNS: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
    ({}, ("tests", *LEFT_OUT, "-k", "not (test_rungs and numba)")),
    ({"FASTML_ISA": "baseline"}, ("tests/test_rungs.py", "tests/test_memory.py", "-k", "cython or memory")),
)
SETTINGS = """
[run]
branch = True
parallel = True
source_pkgs = fastml
omit =
    */fastml/learn/*
    */fastml/_jit/*
    */fastml/__main__.py
"""


def run(package: Path, runs: tuple[tuple[dict[str, str], tuple[str, ...]], ...]) -> tuple[int, dict[str, Any]]:
    """Whether a test failed in a run, and what `coverage json` says of the package's Python files."""
    failed = 0
    with TemporaryDirectory() as folder:
        (settings := Path(folder, "settings")).write_text(SETTINGS + f"data_file = {folder}/data\n")
        coverage = [sys.executable, "-m", "coverage"]
        path = os.pathsep.join(filter(None, [str(package), str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": path, "COVERAGE_RCFILE": str(settings)}
        for more, tests in runs:
            command = [*coverage, "run", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=3600", *tests]
            failed |= subprocess.run(command, cwd=ROOT, env=environment | more).returncode
        for word in ("combine", "json"):
            command = [*coverage, word, "--quiet", *(["-o", f"{folder}/report"] if word == "json" else [])]
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return failed, json.loads(Path(folder, "report").read_text())["files"]


def python(files: dict[str, Any], package: Path) -> dict[str, Any]:
    """Of each file the branches, those taken, and the others as "line to line"; below 0 is out of a function."""
    found = {}
    for path, file in files.items():
        name = str((ROOT / path).relative_to(package / "fastml"))
        missing = [f"{start} to {end}" for start, end in file["missing_branches"]]
        summary = file["summary"]
        found[name] = {"all": summary["num_branches"], "run": summary["covered_branches"], "missing": missing}
        found[name]["lines"] = file["missing_lines"]
    return found


def counts(root: Path) -> Iterator[tuple[Path, dict[int, int]]]:
    """Each file that was compiled, generated ones included, and how often its lines ran: once for each level."""
    for path in sorted((root / "build" / "kernels-coverage").rglob("*.gcno")):
        command = ["gcov", "--json-format", "--stdout", str(path)]
        for file in json.loads(subprocess.check_output(command, cwd=root, stderr=subprocess.DEVNULL))["files"]:
            lines: dict[int, int] = defaultdict(int)
            for line in file["lines"]:  # several times, where several functions are made of it
                lines[line["line_number"]] += line["count"]
            yield root / file["file"], lines


def origins(generated: Path) -> Iterator[tuple[str, int] | None]:
    """Of each line of C that Cython has generated the file and the line that it is for, by the comments before it."""
    place = None
    for line in generated.read_text().splitlines():
        if mark := re.match(r'\s*/\* "(?:src/)?fastml/_core/([\w.]+)":(\d+)$', line):
            place = mark[1], int(mark[2])
        elif re.match(r'\s*/\* (".*":\d+$|function exit code)', line):
            place = None
        yield place


def kernels(root: Path = ROOT) -> dict[str, Any]:
    """Of each file of Cython and C the lines that are compiled into something, those that ran, and the others."""
    ran: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for path, lines in counts(root):
        if path.suffix == ".c":
            for number, place in enumerate(origins(path), 1):
                if place and number in lines:
                    ran[place[0]][place[1]] += lines[number]
        elif (CORE / path.name).exists():  # a header: Cython has put a copy beside what it has generated
            for number, count in lines.items():
                ran[path.name][number] += count
    return {name: {"all": len(lines), "run": sum(map(bool, lines.values())),
                   "missing": sorted(line for line, count in lines.items() if not count)}
            for name, lines in sorted(ran.items())}  # fmt: skip


def share(files: dict[str, Any], part: str | None = None) -> tuple[int, int]:
    """How many there are, and how many ran, in NumPy's kernels or in all other files."""
    chosen = [file for name, file in files.items() if part is None or name.startswith(REFERENCE) == (part == REFERENCE)]
    return sum(file["all"] for file in chosen), sum(file["run"] for file in chosen)


def figures(path: Path = KEPT) -> Iterator[tuple[Figure, str]]:
    """Row 42: what `make coverage` has found when it was last run. NaN where it never was."""
    last = kept.read(path)
    found, where = {"python": {}, "kernels": {}} | last, kept.when(last)
    for what, (there, ran) in {
        "branches of the Python layer": share(found["python"], ""),
        "branches of NumPy's kernels": share(found["python"], REFERENCE),
        "lines of compiled kernels": share(found["kernels"]),
    }.items():
        percent = 100 * ran / there if there else float("nan")
        yield Figure(42, f"{what} that tests run, of {there} ({where})", percent, ">= 95", "%"), "make coverage"


def table(files: dict[str, Any]) -> Iterator[str]:
    for name, file in sorted(files.items()):
        if file["missing"]:
            yield f"{name}: {file['run']} of {file['all']}; never: {', '.join(map(str, file['missing']))}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What tests run of the Python layer and of compiled kernels.")
    tests = parser.parse_known_args()[1]
    began, package = time.monotonic(), build("coverage")
    for path in (ROOT / "build" / "kernels-coverage").rglob("*.gcda"):  # of an earlier run
        path.unlink()
    failed, files = run(package, (({}, tuple(tests)),) if tests else RUNS)
    found = {"python": python(files, package), "kernels": kernels()}
    print(*(line for part in found.values() for line in table(part)), sep="\n")
    print(*(f"{part}: {share(files)[1]} of {share(files)[0]}" for part, files in found.items()), sep="\n")
    if not tests:
        kept.keep(KEPT, found | {"failed": failed, "seconds": round(time.monotonic() - began)})
    sys.exit(not found["kernels"])


if __name__ == "__main__":
    main()
