"""The grader's half that runs a student's code: is it right, and is it fast? `fastml.learn.grader` starts it.

A file is loaded, checked case by case (`fastml.learn.checking`), and, if it is right, timed against the solution.
"""

import json
import os
import resource
import secrets
import statistics
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastml.learn import checking, exercises, native, timing
from fastml.learn.checking import Function, Wrong
from fastml.learn.exercise import Exercise

BLOCK = 0.012  # seconds; a block is the best of its calls
ROUNDS, MOST_ROUNDS = 15, 45  # pairs of blocks; more only where 15 leave doubt
LOADING, LARGE, TIMING = "loading the file", "the problem that is timed", "timing"
# What a file may use of the machine: bytes of memory, of a file that it writes, and of what a crash leaves behind.
LIMITS = {resource.RLIMIT_DATA: 4 * 2**30, resource.RLIMIT_FSIZE: 64 * 2**20, resource.RLIMIT_CORE: 0}


@dataclass(frozen=True)
class Verdict:
    """`outcome` is "passed", "failed" or "noisy": too noisy to say whether it is fast enough.

    Speeds are shares of that of the solution in the same language; `of_rung`, of the kernel that fastml ships.
    """

    outcome: str
    reason: str
    case: str = ""
    stars: int = 0
    seconds: float = 0.0  # a call on the problem that is timed
    speed: float = 0.0  # the median
    low: float = 0.0  # the true speed lies between these two
    high: float = 0.0
    of_rung: float = 0.0  # 0 where fastml ships nothing for the same


def judge(name: str, path: Path, watch: Callable[[str], None] = lambda case: None) -> Verdict:
    """The verdict on a file; `watch` is told each case before it is run. Raises `native.Unavailable`."""
    exercise = exercises.load(name)
    case = LOADING
    with tempfile.TemporaryDirectory() as folder:
        try:
            watch(case)
            checking.of_ones_own(path)
            function = native.load(path, exercise, Path(folder))
            for case, inputs in (*exercise.cases(), (LARGE, exercise.timed(_seed()))):
                watch(case)
                checking.check(exercise, function, inputs)
            case = TIMING
            watch(case)
            solution = native.load(exercises.solution_for(name, path.suffix), exercise, Path(folder))
            return _race(exercise, function, solution)
        except (Wrong, SyntaxError) as error:
            return Verdict("failed", str(error), case)
        except native.Unavailable:
            raise
        except (Exception, SystemExit) as error:  # the student's
            return Verdict("failed", _raised(error, path), case)


def _seed() -> int:
    """Of a problem that nobody has seen before."""
    return secrets.randbelow(2**20)


def _raised(error: BaseException, path: Path) -> str:
    """What a file raised, and in which of its lines. Numba's messages fill pages: how they begin and end will do."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where, text = f" in line {lines[-1]}" if lines else "", str(error)
    short = text if len(text) < 1500 else f"{text[:1000]}\n...\n{text[-400:]}"
    return f"it raised {type(error).__name__}{where}: {short}"


def _race(exercise: Exercise, function: Function, solution: Function) -> Verdict:
    """Time it against the solution, and what fastml ships, in alternating blocks.

    Two problems take turns, and change places before each block of the student's, whose results are looked at after it:
    an answer that is kept is wrong.
    """
    problems = [exercise.timed(_seed()) for _ in range(2)]
    answers = [checking.right_answer(exercise, inputs) for inputs in problems]
    outs = [checking.poisoned(exercise, expected) for expected, _ in answers]
    n_threads = (min(2, os.cpu_count() or 1),) if exercise.threads else ()
    for n in n_threads:
        checking.use_threads(n)

    def block(run: Function, *more: int) -> float:
        calls = [lambda p=inputs, o=out: run(*p, o, *more) for inputs, out in zip(problems, outs, strict=True)]
        return timing.best(calls, BLOCK)

    def students() -> float:
        for one, other in zip(*problems, strict=True):
            one[...], other[...] = other.copy(), one.copy()
        answers.reverse()
        for out, (expected, _) in zip(outs, answers, strict=True):
            out[...] = checking.poisoned(exercise, expected)
        seconds = block(function, *n_threads)
        for out, answer in zip(outs, answers, strict=True):
            checking.compare(out, *answer)
        return seconds

    blocks = [students, lambda: block(solution, *n_threads)]
    if rung := exercise.rung:
        blocks.append(lambda: block(rung))
    return _raced(lambda rounds, first: timing.alternate(blocks, rounds, first), exercise.stars)


def _raced(measure: Callable[[int, int], list[tuple[float, ...]]], stars: Sequence[float]) -> Verdict:
    """The verdict of as many rounds as it takes to say it, and of no more than MOST_ROUNDS."""
    times: list[tuple[float, ...]] = []
    while len(times) < MOST_ROUNDS:
        times += measure(ROUNDS, len(times))
        speed, low, high = timing.interval([row[1] / row[0] for row in times])
        if not any(low < star <= high for star in stars):  # more rounds would not change the verdict
            break
    seconds = statistics.median(row[0] for row in times)
    known: dict[str, Any] = {"seconds": seconds, "speed": speed, "low": low, "high": high}
    if len(times[0]) > 2:
        known["of_rung"] = statistics.median(row[2] / row[0] for row in times)
    reached = f"{speed:.2f} times the speed of the solution"
    if high < stars[0]:
        return Verdict("failed", f"right, but too slow: {reached}, of which {stars[0]:g} are needed", TIMING, **known)
    if low < stars[0]:
        doubt = f"somewhere from {low:.2f} to {high:.2f} times the speed of the solution, and {stars[0]:g} are needed"
        return Verdict("noisy", f"right, but this machine is too noisy to say how fast: {doubt}", TIMING, **known)
    return Verdict("passed", f"right, and {reached}", stars=sum(low >= star for star in stars), **known)


def _limit(what: int, most: int) -> None:
    """Set a limit of this process, as far as it is its own to set."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(name: str, path: str, report: str, limit: str) -> None:
    """Write a line of JSON for each case, and one for the verdict; a case may take `limit` seconds of processor."""
    for what, most in LIMITS.items():
        _limit(what, most)
    with open(report, "w", encoding="utf-8") as file:

        def say(**what: Any) -> None:
            file.write(json.dumps(what) + "\n")
            file.flush()

        def watch(case: str) -> None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + float(limit)) + 1)
            say(case=case)

        try:
            say(verdict=asdict(judge(name, Path(path), watch)))
        except native.Unavailable as missing:
            say(unavailable=str(missing))


if __name__ == "__main__":
    main(*sys.argv[1:])
