"""The tests on kernels that report mistakes: what `make asan`, `make ubsan`, `make valgrind` and `make checked` do.

    python -m tests.instrumented asan                        # build, test, and write docs/measured/instrumented.json
    python -m tests.instrumented asan tests/test_memory.py   # other arguments of pytest; nothing is written

A word builds its kernels under build/kernels-asan, with the flags that setup.py has for it, and beside copies of the
Python files in build/asan, which comes first on the path of these tests only. The modules beside the sources stay as
`make build` made them. A run fails if a test fails, or if anything was reported: reports of all processes go into
files, and so do those of a child that a test expects to fail.

There is no word for races. The thread sanitizer does not know libgomp's barriers, which make no use of the functions
that it watches, and reports each loop of OpenMP; a libgomp of one's own, compiled with it, would be needed. That
kernels give the same bits with any number of threads is tested instead.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.etree import ElementTree

from tests import kept
from tests.kept import ROOT
from tests.trust.figures import Figure

KEPT = kept.FOLDER / "instrumented.json"
NUMBA = "not numba"  # sanitizers and Valgrind learn nothing from what no C compiler has seen
# Tests that cannot pass on such kernels: why, and their names as pytest takes them.
OTHER_LOOPS = {
    "compare the compiler's loops and their cost, which are others here": (
        "tests/test_assembly.py::test_the_convolution_has_the_loop_that_its_comments_say",
        "tests/test_assembly.py::test_a_module_has_the_hottest_loop_of_its_functions",
        "tests/test_assembly.py::test_the_command_shows_a_loop_and_refuses",
        "tests/test_counters.py::test_valgrind_counts_fewer_instructions_for_each_rung_of_pooling",
        "tests/test_counters.py::test_valgrind_counts_the_instructions_that_are_in_the_loop",
        "tests/trust/test_trust.py::test_figures_reach_their_targets[threads.lock]",
        "tests/trust/test_isa.py::test_the_better_level_would_not_do_as_the_baseline",
        "tests/trust/test_isa.py::test_levels_differ_in_the_last_bits_and_so_the_comparison_means_something",
    ),
}
NO_PRELOAD = {
    "limit memory or address space, of which the sanitizer reserves terabytes, or measure what a process takes": (
        "tests/test_grader.py", "tests/test_cli.py::test_a_file_is_graded", "tests/test_pca_memory.py",
        "tests/test_mutants.py::test_what_is_noticed_is_told_from_what_is_not",
        "tests/trust/test_fuzzed.py::test_a_crash_and_a_hang_and_a_failure_are_found",
        "tests/test_docs.py::test_examples[fastml.learn.grader]",
        "tests/trust/test_trust.py::test_figures_reach_their_targets[memory.leaks]",
        "tests/trust/test_trust.py::test_figures_reach_their_targets[memory.sweep]",
        "tests/trust/test_trust.py::test_a_leak_is_noticed",
    ),
    "crash on purpose, which the sanitizer would report": (
        "tests/trust/test_trust.py::test_a_crash_and_a_hang_are_noticed_and_the_rest_is_done",
        "tests/trust/test_trust.py::test_one_call_raises_what_it_died_of",
    ),
    "run Python in Valgrind or QEMU, or compare its environment, and the sanitizer is in it": (
        "tests/test_counters.py", "tests/test_ladder_dispatch.py",
        "tests/trust/test_isa.py::test_death_on_an_emulated_processor_is_noticed",
        "tests/trust/test_trust.py::test_figures_reach_their_targets[imports.imports]",
    ),
}  # fmt: skip
NO_C = {"are of Numba's functions, in threads that must meet": ("tests/test_ladder_threads.py",)}
NO_INDEX_ERROR = {
    "expect a mistake in a Numba function to give a wrong number, and here it raises": (
        "tests/test_checking.py::test_a_mistake_is_found_and_named[read outside]",
    ),
}
ONE_THREAD = {
    "expect to get more threads than one, of which Numba's limit is OpenMP's, too, from its first loop on": (
        "tests/test_threads.py::test_set_and_reset", "tests/test_threads.py::test_integers_of_any_kind_are_taken",
        "tests/test_threads.py::test_little_work_takes_one_thread_unless_asked",
        "tests/test_threads.py::test_threadpoolctl_limits_every_setting_but_the_argument",
        "tests/trust/test_neighbours.py::test_other_threads_are_noticed",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Word:
    """`reports` is what begins each of them in a file; `without` is tests that are left out, by the reason."""

    environment: dict[str, str] = field(default_factory=dict)
    libraries: tuple[str, ...] = ()  # of the compiler, to be loaded before all others
    command: tuple[str, ...] = ()  # that Python is run by
    reports: str = ""
    tests: tuple[str, ...] = ()
    without: dict[str, tuple[str, ...]] = field(default_factory=dict)


WORDS = {
    # Addresses outside of an array, or freed. PYTHONMALLOC, so that each object and array has borders of its own.
    # Without libstdc++, exceptions of other libraries' C++ would not find what they are thrown by. Leaks are not
    # looked for: what an interpreter keeps to its end drowns them, and row 40 of docs/reliability.md measures them.
    "asan": Word(
        {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:"
         "max_allocation_size_mb=8192:log_path={reports}/log"},
        ("libasan.so", "libstdc++.so.6"),
        reports="^==[0-9]+==ERROR",
        tests=("-k", NUMBA),
        without=OTHER_LOOPS | NO_C | NO_PRELOAD,
    ),
    # Overflow of signed integers, floats that fit no integer, misaligned and null pointers, indices of C's arrays.
    "ubsan": Word(
        {"UBSAN_OPTIONS": "print_stacktrace=1:log_path={reports}/log"},
        reports="runtime error:",
        tests=("-k", NUMBA),
        without=OTHER_LOOPS | NO_C,
    ),
    # Values that were never written, on the kernels as they are shipped; addresses, too. It is slow: these are the
    # tests that run each of Cython's rungs, and not what is made of them. It knows no AVX-512: OpenBLAS may not use
    # it. The interpreter and NumPy have reports of their own; those without a kernel on the stack do not count.
    "valgrind": Word(
        {"PYTHONMALLOC": "malloc", "OPENBLAS_CORETYPE": "Haswell"},
        command=("valgrind", "--quiet", "--leak-check=no", "--error-limit=no", "--fair-sched=yes", "--xml=yes",
                 "--xml-file={reports}/%p.xml"),
        reports="/fastml/_core/",
        tests=("tests/test_rungs.py", "-k", "cython"),
    ),
    # Cython checks indices and views, C its assertions, Numba indices. Numba does so in functions without
    # parallel=True only, so that there is one thread for it, for which each kernel has a twin of that kind.
    # Cython's overflowcheck cannot compile the constants of an enum (`640 * 1024`): ubsan is for overflow.
    "checked": Word(
        {"NUMBA_BOUNDSCHECK": "1", "NUMBA_NUM_THREADS": "1"},
        tests=("-W", "error::pytest.PytestUnraisableExceptionWarning"),  # as in a function that is noexcept
        without=OTHER_LOOPS | NO_INDEX_ERROR | ONE_THREAD,
    ),
}  # fmt: skip


class Outcome(NamedTuple):
    tests: int
    failed: int
    reports: list[str]

    @property
    def clean(self) -> bool:
        return self.tests > 0 and not self.failed and not self.reports


def build(word: str) -> Path:
    """The folder of the package that a word tests."""
    package = ROOT / "build" / word
    for copy in package.rglob("*.py"):  # of a file that may be gone
        copy.unlink()
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(package)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"FASTML_BUILD": word}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    sources = shutil.ignore_patterns("*.so")  # learn shows them
    shutil.copytree(ROOT / "src" / "fastml" / "_core", package / "fastml" / "_core", ignore=sources, dirs_exist_ok=True)
    return package


def run(word: str, package: Path, tests: list[str]) -> Outcome:
    """Run pytest on a package, and collect what is reported."""
    with TemporaryDirectory() as folder:
        settings = {key: value.format(reports=folder) for key, value in WORDS[word].environment.items()}
        settings["PYTHONPATH"] = os.pathsep.join(map(str, (package, ROOT)))
        if WORDS[word].libraries:
            settings["LD_PRELOAD"] = " ".join(map(library, WORDS[word].libraries))
        command = [part.format(reports=folder) for part in WORDS[word].command]
        command += [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=3600", *tests]
        outcome = kept.tested(command, os.environ | settings)
        found = [report for path in sorted(Path(folder).iterdir()) for report in reports(word, path)]
        return Outcome(outcome.tests, outcome.failed, found)


def library(name: str) -> str:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    return subprocess.check_output([*compiler, f"-print-file-name={name}"], text=True).strip()


def reports(word: str, path: Path) -> Iterator[str]:
    """Those in a file, each with what comes after it."""
    text = path.read_text(errors="replace")
    if path.suffix == ".xml":
        for error in re.findall(r"<error>.*?</error>", text, re.DOTALL):  # a process that dies leaves half a document
            if "<kind>Leak_" not in error and re.search(rf"<obj>.*{WORDS[word].reports}.*</obj>", error):
                yield told(ElementTree.fromstring(error))
    else:
        starts = [match.start() for match in re.finditer(WORDS[word].reports, text, re.MULTILINE)]
        yield from (text[start:end] for start, end in pairwise([*starts, len(text)]))


def told(error: ElementTree.Element) -> str:
    """What Valgrind says as XML, in lines: what happened, and where."""
    lines = [error.findtext("what") or error.findtext("xwhat/text") or ""]
    for part in error:
        if part.tag == "stack":
            places = ((f.findtext("fn"), f.findtext("file") or f.findtext("obj"), f.findtext("line")) for f in part)
            lines += [f"    {name} ({file}:{line})" for name, file, line in places]
        elif part.tag == "auxwhat":
            lines.append(part.text or "")
    return "\n".join(lines)


def figures(path: Path = KEPT) -> Iterator[tuple[Figure, str]]:
    """Row 41: what each word has found when it was last run, and the command. NaN where it never was."""
    for word in WORDS:
        last = kept.read(path).get(word, {})
        bad = last["failed"] + len(last["reports"]) if last else float("nan")
        what = f"{word}: reports, and tests that fail ({kept.when(last, '{tests} tests, ')})"
        yield Figure(41, what, bad, "= 0"), f"make {word}"


def main() -> None:
    parser = argparse.ArgumentParser(description="The tests, on kernels that report mistakes.")
    parser.add_argument("word", choices=WORDS)
    options, tests = parser.parse_known_args()
    word, began = WORDS[options.word], time.monotonic()
    left_out = [f"--deselect={test}" for tests_of in word.without.values() for test in tests_of]
    outcome = run(options.word, build(options.word), [*left_out, *(tests or word.tests)])
    for report in outcome.reports:
        print(report, file=sys.stderr)
    print(f"{options.word}: {outcome.tests} tests, {outcome.failed} failed, {len(outcome.reports)} reports")
    if not tests:
        kept.keep(KEPT, outcome._asdict() | {"seconds": round(time.monotonic() - began)}, options.word)
    sys.exit(not outcome.clean)


if __name__ == "__main__":
    main()
