"""Do the tests notice a wrong validation? Small mistakes are put into it, one at a time, and tests run: `make mutants`.

    python -m tests.mutants                          # all modules; writes docs/measured/mutants.json, module by module
    python -m tests.mutants windows --share 0.1      # a tenth of one module's; nothing is written
    python -m tests.mutants windows --survivors      # again those that survived last; the rest is kept

Tests are collected once. They are run once without mistakes, and have to pass; which of them run which lines is noted,
and how long they take. Each mutant has a process of its own, forked from that one, in which its code is put into the
functions of the module, and the tests that run its line are run, up to the first that fails. It is killed if one does,
which is then run alone, without a mistake, and has to pass; it has timed out after five times what those tests took.

That takes a tenth of a second for most. Neither of the libraries that there are would do: mutmut leaves out constants
of modules and functions with decorators, and cosmic-ray starts an interpreter for each mutant.
"""

import argparse
import contextlib
import gc
import importlib
import itertools
import math
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from tests import kept
from tests.equivalent_mutants import EQUIVALENT
from tests.kept import ROOT
from tests.mistakes import Mutant, mutants
from tests.trust.figures import Figure

KEPT = kept.FOLDER / "mutants.json"
SOURCES = {
    path.stem: path
    for path in [*sorted((ROOT / "src/fastml/_validate").glob("[a-z]*.py")), ROOT / "src/fastml/_dispatch.py"]
}
# Tests of each module, in order. Those that compile with Numba are left out: they take too long.
CHECKS = ("validate_pieces", "validate_sizes", "validate_values", "validate", "validate_images")
TESTS = {
    "arrays": CHECKS,
    "convolutions": (*CHECKS, "conv2d_layer"),
    "gradients": CHECKS,
    "images": (*CHECKS, "batch_norm"),
    "matrices": (*CHECKS, "moments"),
    "numbers": CHECKS,
    "pooling": (*CHECKS, "global_avg_pool2d", "avg_pool2d"),
    "windows": (*CHECKS, "avg_pool2d"),
    "_dispatch": ("dispatch_rungs", "dispatch", "doors"),
}
LEFT_OUT = "not numba"
CHOSEN = 3.0  # seconds of tests for one mutant, at the most
MEMORY = 6 * 2**30  # a mutant may ask for all there is


class Tried(NamedTuple):
    mutant: Mutant
    outcome: str  # "killed", "survived" or "timed_out"


class Notes:
    """Of a run without mistakes: the tests that run a line of some files, and the seconds of each test."""

    def __init__(self, files: set[str]) -> None:
        self.files = files
        self.tests: dict[tuple[str, int], set[int]] = defaultdict(set)
        self.seconds: list[float] = []
        self.failed = ""

    def called(self, frame: Any, event: str, argument: Any) -> Any:
        return self.line if frame.f_code.co_filename in self.files else None

    def line(self, frame: Any, event: str, argument: Any) -> Any:
        self.tests[frame.f_code.co_filename, frame.f_lineno].add(len(self.seconds))
        return self.line

    def run(self, items: list[Any], failure: Callable[[Any], str]) -> int:
        for item in items:
            began = time.process_time()
            sys.settrace(self.called)
            if failed := failure(item):
                self.failed = f"{item.nodeid} fails without a mutant: {failed}"
                return 1
            sys.settrace(None)
            self.seconds.append(time.process_time() - began)
        return 0

    def chosen(self, mutant: Mutant, path: str) -> list[int]:
        """The fastest tests that run a mutant's line, in order; of all tests for what runs on import only."""
        found = {test for line in mutant.lines for test in self.tests.get((path, line), ())}
        fastest = sorted(found or range(len(self.seconds)), key=lambda test: (self.seconds[test], test))
        sums = itertools.accumulate(self.seconds[test] for test in fastest)
        return sorted(test for test, total in zip(fastest, sums, strict=True) if total <= CHOSEN)


def install(module: ModuleType, mutant: Mutant) -> bool:
    """Put a mutant's code and constants where those of a module are, if it can be imported; forget what was kept."""
    new = ModuleType(module.__name__)
    new.__dict__.update(__file__=module.__file__, __package__=module.__package__)
    sys.modules[module.__name__] = new  # a class looks there for its module
    try:
        exec(mutant.code, new.__dict__)
    except Exception:
        return False
    sys.modules[module.__name__] = module
    others = [other for name, other in [*sys.modules.items()] if name.startswith(("fastml", "tests"))]
    for name, old in [*vars(module).items()]:
        replacement = new.__dict__.get(name, old)
        if getattr(old, "__module__", None) != module.__name__:
            for other in others if not name.startswith("__") and not isinstance(old, ModuleType | type) else ():
                if vars(other).get(name, other) is old:
                    setattr(other, name, replacement)
        for inner, other in zip(functions(old), functions(replacement), strict=True):
            inner.__code__, inner.__defaults__ = other.__code__, other.__defaults__
            inner.__kwdefaults__ = other.__kwdefaults__
    for other in others:
        getattr(other, "_plans", {}).clear()
        for remembered in [value for value in vars(other).values() if hasattr(value, "cache_clear")]:
            remembered.cache_clear()
    return True


def functions(value: Any) -> list[Any]:
    """The function that there is below decorators; those of a class."""
    if isinstance(value, type):
        inside = [value.__new__, *(part.fget for part in vars(value).values() if isinstance(part, property))]
        return [function for function in inside if hasattr(function, "__code__")]
    value = getattr(value, "__wrapped__", value)
    return [value] if hasattr(value, "__code__") else []


def forked(work: Callable[[], int], limit: int) -> int:
    """The process that does `work`, and whose exit status is what it returns; quiet, and with limits."""
    if pid := os.fork():
        return pid
    status = 3
    with contextlib.suppress(BaseException):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        time.perf_counter = time.process_time  # tests that limit a time: others may need the processor
        if threads := sys.modules.get("fastml._threads"):
            vars(threads)["_forked"] = False  # collecting tests has started no others, which a fork would lose
        settings.register_profile("mutants", database=None, derandomize=True, deadline=None)
        settings.load_profile("mutants")
        status = work()
    os._exit(status)


def outcome(status: int) -> str:
    if os.WIFSIGNALED(status):
        return "timed_out" if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL) else "killed"
    return {0: "survived", 1: "killed"}[os.WEXITSTATUS(status)]


class Examination:
    """A plugin of pytest: it runs the tests that are found for each mutant of a module, and has then `tried` them.

    `start` are seconds that a process may take before its first test.
    """

    def __init__(self, module: str, found: list[Mutant], *, at_once: int = 2, start: float = 3) -> None:
        self.module, self.found, self.at_once, self.start = module, found, at_once, start

    def pytest_runtestloop(self, session: Any) -> bool:
        self.items = session.items
        gc.freeze()
        module = importlib.import_module(self.module)
        self.notes = self.first_run({str(module.__file__)})
        self.tried = list(self.examine(module, self.found))
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed += str(report.longrepr) or "no reason given"

    def failure(self, item: Any) -> str:
        """Run a test: why it fails, if it does."""
        self.failed = ""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.failed

    def first_run(self, files: set[str]) -> Notes:
        with tempfile.NamedTemporaryFile() as file:
            notes = Notes(files)

            def work() -> int:
                status = notes.run(self.items, self.failure)
                Path(file.name).write_bytes(pickle.dumps(({**notes.tests}, notes.seconds, notes.failed)))
                return status

            os.waitpid(forked(work, 3600), 0)
            notes.tests, notes.seconds, notes.failed = pickle.loads(Path(file.name).read_bytes())
        if notes.failed:
            pytest.exit(notes.failed, 1)
        return notes

    def examine(self, module: ModuleType, found: list[Mutant]) -> Iterator[Tried]:
        running: dict[int, tuple[Mutant, float, int]] = {}
        waiting, killers = iter(found), set()
        while True:
            for mutant in itertools.islice(waiting, self.at_once - len(running)):
                tests = self.notes.chosen(mutant, str(module.__file__))
                limit = math.ceil(5 * (self.start + sum(self.notes.seconds[test] for test in tests)))
                mine, its = os.pipe()
                work = lambda mutant=mutant, tests=tests, its=its: self.attempt(module, mutant, tests, its)  # noqa: E731
                running[forked(work, limit)] = mutant, time.monotonic() + 20 * limit, mine  # it may be kept waiting
                os.close(its)
            if not running:
                break
            for pid in [*running]:
                if time.monotonic() > running[pid][1]:
                    os.kill(pid, signal.SIGKILL)
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    mutant, _, mine = running.pop(pid)
                    killers |= {int(number) for number in os.read(mine, 9).split()}
                    os.close(mine)
                    yield Tried(mutant, outcome(status))
            time.sleep(0.005)
        for test in killers:
            if os.waitpid(forked(lambda test=test: bool(self.failure(self.items[test])), 60), 0)[1]:
                pytest.exit(f"fails alone, without a mutant: {self.items[test].nodeid}", 1)

    def attempt(self, module: ModuleType, mutant: Mutant, tests: list[int], pipe: int) -> int:
        """In a process of its own: 0 if all tests pass; else the pipe says which of them did not."""
        if not install(module, mutant):
            return 1
        for test in tests:
            if self.failure(self.items[test]):
                os.write(pipe, str(test).encode())
                return 1
        return 0


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def share_of(counts: dict[str, Any]) -> float:
    """Percent of mutants that a test notices."""
    return 100 * (counts["killed"] + counts["timed_out"]) / counts["total"]


def keep(name: str, tried: list[Tried], total: int, seconds: float) -> None:
    """Write down a module's outcomes. Of its `total` of mutants, those that are not tried again were killed before."""
    timed_out = sum(outcome == "timed_out" for _, outcome in tried)
    time_of_all = {"seconds": round(seconds)}
    if len(tried) < total:
        before = kept.read(KEPT)[name]
        timed_out += before["timed_out"]
        time_of_all = {key: before[key] for key in time_of_all if key in before}
    survivors = [mutant.text for mutant, outcome in tried if outcome == "survived"]
    outcomes = {
        "killed": total - timed_out - len(survivors), "timed_out": timed_out, "survived": len(survivors),
        "total": total,
        "equivalent": sum(mutant.partition(".")[0] == name for mutant in EQUIVALENT),
        "survivors": survivors,
    }  # fmt: skip
    kept.keep(KEPT, outcomes | time_of_all, name)


def figures(path: Path = KEPT) -> Iterator[tuple[Figure, str]]:
    """Row 42: the share of all modules, as they were last run, and the command. NaN if one never was."""
    found = kept.read(path)
    total = Counter({"killed": 0})
    for counts in found.values():
        total.update({key: counts[key] for key in ("killed", "timed_out", "total", "equivalent")})
    runs = "; ".join(sorted({"{date}, {commit}".format(**counts) for counts in found.values()}))
    where = "of {total}; {equivalent} more cannot be noticed; ".format(**total) + runs if found else "never run"
    share = share_of(total) if SOURCES.keys() <= found.keys() else float("nan")
    what = f"mutants of the validation and of the choice of kernels that a test notices ({where})"
    yield Figure(42, what, share, ">= 95", "%"), "make mutants"


def main() -> None:
    parser = argparse.ArgumentParser(description="Mistakes in the validation, and whether a test notices them.")
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(SOURCES)}; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of each module's mutants, drawn at random")
    parser.add_argument("--survivors", action="store_true", help="those alone that survived when they were last run")
    parser.add_argument("--at-once", type=int, default=2, help="processes")
    options = parser.parse_args()
    modules = options.modules or [*SOURCES]
    if unknown := {*modules} - SOURCES.keys():
        parser.error(f"unknown modules: {', '.join(unknown)}")
    os.chdir(ROOT)
    for name in modules:
        every = [mutant for mutant in mutants(SOURCES[name]) if mutant.name not in EQUIVALENT]
        found = every
        if options.survivors:
            survivors = kept.read(KEPT)[name]["survivors"]
            found = [mutant for mutant in found if mutant.text in survivors]
        found = random.Random(0).sample(found, round(options.share * len(found)))
        examination = Examination(module_of(SOURCES[name]), found, at_once=options.at_once)
        tests, began = [f"tests/test_{test}.py" for test in TESTS[name]], time.monotonic()
        arguments = ["-q", "-s", "-p", "no:cacheprovider", "-k", LEFT_OUT, *tests]
        if status := pytest.main(arguments, plugins=[examination]):
            sys.exit(status)
        for mutant, outcome in examination.tried:
            if outcome != "killed":
                print(outcome, mutant.text, f"[{mutant.name}]")
        counts = Counter(outcome for _, outcome in examination.tried)
        print(f"{name}: {len(examination.tried)} mutants, {dict(counts)}", flush=True)
        if options.share == 1:
            keep(name, examination.tried, len(every), time.monotonic() - began)


if __name__ == "__main__":
    main()
