"""The grader's half that runs a student's code: is it right, and is it fast? `fastml.learn.grader` starts it.

Every result is asked for in an array full of one NaN, between two zones that must stay as they are; inputs lie between
NaN and are compared with what they were; then each value is compared with float64. Who is right is timed.
"""

import inspect
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastml.learn import exercises, native, timing
from fastml.learn.exercise import Array, Exercise

ZONE = 4096  # bytes before and after each array
# One NaN that no computation gives.
POISON: dict[str, Any] = {"float32": np.uint32(0x7FC0DEAD), "float64": np.uint64(0x7FF800000000DEAD)}
REPEATS = 4  # with several threads: a race does not always show
BLOCK = 0.012  # seconds; a block is the best of its calls
ROUNDS, MOST_ROUNDS = 15, 45  # pairs of blocks; more only where 15 leave doubt
LOADING, TIMING = "loading the file", "timing"

Function = Callable[..., Any]


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


class Wrong(Exception):
    """What is wrong with a result."""


def judge(name: str, path: Path, watch: Callable[[str], None] = lambda case: None) -> Verdict:
    """The verdict on a file; `watch` is told each case before it is run. Raises `native.Unavailable`."""
    exercise = exercises.load(name)
    case = LOADING
    with tempfile.TemporaryDirectory() as folder:
        try:
            watch(case)
            function = native.load(path, exercise, Path(folder))
            for case, inputs in exercise.cases():
                watch(case)
                _check_threads(exercise, function, inputs)
            case = TIMING
            watch(case)
            solution = exercises.solution_for(name, path.suffix)
            return _race(exercise, function, native.load(solution, exercise, Path(folder)))
        except (Wrong, SyntaxError) as error:
            return Verdict("failed", str(error), case)
        except native.Unavailable:
            raise
        except Exception as error:  # the student's
            return Verdict("failed", f"it raised {type(error).__name__}: {_short(str(error))}", case)


def _short(text: str) -> str:
    """Numba's messages fill pages; what is wrong stands at the beginning, and where at the end."""
    return text if len(text) < 1500 else f"{text[:1000]}\n...\n{text[-400:]}"


class Held:
    """An array between two zones, and what it and they were."""

    def __init__(self, values: Array, mark: Any):
        size, kind = values.nbytes, values.dtype
        self.buffer = np.zeros(2 * ZONE + size + 64, np.uint8)
        self.start = ZONE + -(self.buffer.ctypes.data + ZONE) % 64  # aligned as fastml's own arrays mostly are
        self.array: Array = np.ndarray(values.shape, kind, self.buffer, self.start)
        before = self.buffer[self.start - ZONE : self.start].view(mark.dtype)
        before[:] = mark
        self.buffer[self.start + size :][: ZONE - 64].view(np.uint8)[:] = np.resize(before.view(np.uint8), ZONE - 64)
        self.array[...] = values
        self.was = self.buffer.copy()

    def changed(self) -> Array:
        """Bytes that are others, counted from the first of the array."""
        return np.flatnonzero(self.buffer != self.was) - self.start

    def outside(self) -> str:
        """Where something was written that is not the array's; nothing if nowhere."""
        changed, size = self.changed(), self.array.nbytes
        if (after := changed[changed >= size]).size:
            return f"{after[0] - size} bytes after its end"
        if (before := changed[changed < 0]).size:
            return f"{-before[-1]} bytes before its start"
        return ""


def _check_threads(exercise: Exercise, function: Function, inputs: tuple[Any, ...]) -> None:
    """Check a case, with each number of threads if the function takes one: the same bits from all."""
    if not exercise.threads:
        _check(exercise, function, inputs)
        return
    bits = POISON[exercise.dtype].dtype
    first = _check(exercise, function, inputs, exercise.threads[0])
    for n_threads in exercise.threads[1:]:
        for _ in range(REPEATS):
            again = _check(exercise, function, inputs, n_threads)
            other = np.argwhere(again.view(bits) != first.view(bits))
            if other.size:
                index, threads = tuple(other[0]), f"{n_threads} threads than with {exercise.threads[0]}"
                values = f"{float(again[index])!r} instead of {float(first[index])!r}"
                raise Wrong(f"out[{_index(index)}] has other bits with {threads}: {values}")


def _check(exercise: Exercise, function: Function, inputs: tuple[Any, ...], *n_threads: int) -> Array:
    """Run one case; raise Wrong unless the result is right and nothing else was written."""
    names = [*inspect.signature(exercise.oracle).parameters]
    wide = [value.astype(np.float64) if isinstance(value, np.ndarray) else value for value in inputs]
    with np.errstate(all="ignore"):
        expected, allowed = exercise.oracle(*wide), exercise.allowed(*wide)
    poison = POISON[exercise.dtype]
    out = Held(np.full(expected.shape, poison).view(exercise.dtype), np.uint8(0xA5))
    held = {name: Held(value, value.dtype.type(np.nan)) for name, value in zip(names, inputs, strict=True)}
    function(*(each.array for each in held.values()), out.array, *n_threads)
    for name, each in [*held.items(), ("out", out)]:
        if where := each.outside():
            raise Wrong(f"it wrote outside {name}: {where}")
        if name != "out" and each.changed().size:
            index = np.unravel_index(each.changed()[0] // each.array.itemsize, each.array.shape)
            raise Wrong(f"it changed its input: {name}[{_index(index)}] is now {each.array[index]!s}")
    _compare(out.array, expected, allowed, poison)
    return out.array.copy()


def _compare(got: Array, expected: Array, allowed: Any, poison: Any) -> None:
    limits = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        off = np.abs(got - expected)
        most = allowed + limits.eps / 2 * np.abs(expected) + float(limits.smallest_subnormal)  # the result is rounded
        right = (off <= most) | (got == expected) | (np.isnan(got) & np.isnan(expected))
    unwritten = got.view(poison.dtype) == poison
    wrong = unwritten | ~right
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = f"; of {wrong.size} values, {wrong.sum()} are wrong" if wrong.size > 1 else ""
    if unwritten[index]:
        raise Wrong(f"out[{_index(index)}] was never written: it should be {expected[index]:.9g}{count}")
    bound = np.broadcast_to(most, got.shape)[index]
    reach = f" to within {bound:.1e}" if np.isfinite(expected[index]) else ""
    raise Wrong(f"out[{_index(index)}] should be {expected[index]:.9g}{reach}, but is {got[index]:.9g}{count}")


def _index(index: Sequence[Any]) -> str:
    return ", ".join(str(int(i)) for i in index)


def _race(exercise: Exercise, function: Function, solution: Function) -> Verdict:
    """Time it against the solution, and what fastml ships, in alternating blocks; then look at its result again."""
    problems = [exercise.timed(seed) for seed in (1, 2)]  # two that take turns: an answer that is kept is wrong
    extra = (min(2, os.cpu_count() or 1),) if exercise.threads else ()
    wide = [[v.astype(np.float64) if isinstance(v, np.ndarray) else v for v in inputs] for inputs in problems]
    outs = [np.full(exercise.oracle(*inputs).shape, np.nan, exercise.dtype) for inputs in wide]

    def block(run: Function, *more: int) -> Callable[[], float]:
        calls = [lambda p=inputs, o=out: run(*p, o, *more) for inputs, out in zip(problems, outs, strict=True)]
        return lambda: timing.best(calls, BLOCK)

    blocks = [block(function, *extra), block(solution, *extra)]
    if exercise.rung:
        blocks.append(block(exercise.rung))
    verdict = _raced(lambda rounds, first: timing.alternate(blocks, rounds, first), exercise.stars)
    _check_threads(exercise, function, exercise.timed(3))
    return verdict


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


def main(name: str, path: str, report: str, limit: str) -> None:
    """Write a line of JSON for each case, and one for the verdict; a case may take `limit` seconds of processor."""
    with open(report, "w", encoding="utf-8") as file:

        def say(**what: Any) -> None:
            file.write(json.dumps(what) + "\n")
            file.flush()

        def watch(case: str) -> None:
            used, (_, hard) = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + float(limit)) + 1, hard))
            say(case=case)

        try:
            say(verdict=asdict(judge(name, Path(path), watch)))
        except native.Unavailable as missing:
            say(unavailable=str(missing))


if __name__ == "__main__":
    main(*sys.argv[1:])
