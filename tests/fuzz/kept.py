"""What is kept of fuzzing: inputs that together reach all that was reached, and the figures of the last run."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastml
from tests import kept
from tests.trust.figures import Figure

CORPUS = Path(__file__).parent / "corpus.txt"
RECORD = kept.FOLDER / "fuzz.json"
PACKAGE = Path(fastml.__file__).parent
TRACED = tuple(str(PACKAGE / part) for part in ("_validate", "ops", "estimators", "layers", "_dispatch", "_needs"))
MOST, SLOW = 400, 0.2  # inputs, and seconds of one


def corpus(path: Path = CORPUS) -> list[bytes]:
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def covered(check: Callable[[bytes], None], data: bytes) -> set[object]:
    """Steps from line to line in the modules that look at arguments, and kernels by the dtype of their first array."""
    from tests.fuzz.checks import Watched

    arcs: set[object] = set()

    def enter(frame: Any, event: str, _: Any) -> Any:
        code, before = frame.f_code, 0
        if code is Watched.__call__.__code__:
            arcs.add((frame.f_locals["self"].rung, frame.f_locals["arguments"][0].dtype))
        if not code.co_filename.startswith(TRACED):
            return None

        def step(frame: Any, event: str, _: Any) -> Any:
            nonlocal before
            if event == "line":
                arcs.add((code, before, frame.f_lineno))
                before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return arcs


def minimal(inputs: list[bytes]) -> list[bytes]:
    """Of inputs that pass, the shorter first, each that adds something."""
    from tests.fuzz import checks

    chosen, seen = [], set[object]()
    with checks.watching():
        for data in sorted(set(inputs), key=lambda data: (len(data), data)):
            start = time.perf_counter()
            try:
                arcs = covered(checks.check, data)
            except checks.Failed:
                continue
            if not arcs <= seen and time.perf_counter() - start < SLOW:
                seen |= arcs
                chosen.append(data)
    return chosen[:MOST]


def keep(inputs: list[bytes], totals: dict[str, Any]) -> None:
    CORPUS.write_text("".join(f"{data.hex()}\n" for data in minimal(inputs)))
    kept.keep(RECORD, totals)


def figures(record: Path = RECORD) -> Iterator[tuple[Figure, str]]:
    """Row 42: what the last run that was kept has found. NaN where there was none."""
    last = kept.read(record)
    where = kept.when(last, "{inputs} inputs, {engine}, {cpu_seconds} s of processors, ")
    for name, what in (("crashes", "crashes and hangs"), ("failed", "kinds of failed checks")):
        yield Figure(42, f"{what} of fuzzed calls ({where})", last.get(name, float("nan")), "= 0"), "make fuzz"
