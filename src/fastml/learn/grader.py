"""The grader: whether a student's file is right and fast, found out in another process, which it may crash or block.

>>> import tempfile
>>> from pathlib import Path
>>> from fastml.learn import grader
>>> file = Path(tempfile.mkdtemp(), "column_means.py")
>>> _ = file.write_text("def column_means(x, out): out[:] = 0")
>>> verdict = grader.check("column_means", file)
>>> verdict.outcome, verdict.case
('failed', 'one value')
"""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from fastml.learn import exercises, native
from fastml.learn.judge import LOADING, Verdict

LIMIT = 20  # seconds of processor time for a case, the first of which compiles: other programs do not shorten it
PATIENCE = 120  # seconds on the clock for all, for a file that waits and uses none
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("NUMBA", "OMP", "OPENBLAS", "MKL", "FASTML")}
TICK = 0.25  # seconds: a clock of such steps stands still while this process does, stopped by a signal or a closed lid


def start(name: str, folder: Path, language: str = "numba") -> Path:
    """Copy the starter of an exercise into a folder, and return where it is.

    Raises ValueError for an exercise, or a language of it, that does not exist; FileExistsError rather than overwrite.
    """
    offered = exercises.languages(name)
    if language not in offered:
        raise ValueError(f"{name} can be done in {', '.join(offered)}; got {language!r}")
    source = exercises.file(name, "starter", language)
    target = folder / f"{name}{source.suffix}"
    if target.exists():
        raise FileExistsError(f"{target.name} is already here; move it away to start again")
    shutil.copyfile(source, target)
    return target


def find(name: str, folder: Path) -> Path:
    """The student's file in a folder; of several languages, the one that was changed last.

    Raises ValueError for an exercise that does not exist, FileNotFoundError where it was not started.
    """
    found = [folder / f"{name}{exercises.SUFFIXES[language]}" for language in exercises.languages(name)]
    found = [path for path in found if path.exists()]
    if not found:
        raise FileNotFoundError(f"there is no {name} here; begin with: fastml learn start {name}")
    return max(found, key=lambda path: path.stat().st_mtime)


def check(name: str, path: Path, limit: float = LIMIT, patience: float = PATIENCE) -> Verdict:
    """Grade a file, within `limit` seconds of processor time for each case, and `patience` on the clock for all.

    Raises ValueError for an exercise that does not exist, FileNotFoundError for a file that does not, and
    `native.Unavailable` where what the file needs is not installed.
    """
    language = {suffix: language for language, suffix in exercises.SUFFIXES.items()}.get(path.suffix, "")
    if language not in exercises.languages(name):
        raise ValueError(f"{name} is done in {', '.join(exercises.languages(name))}, and {path} is none of these")
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    threads = {} if exercises.load(name).threads else ONE_THREAD  # one against one
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **threads, "TMPDIR": folder}  # what a killed process leaves is removed, too
        report, errors = Path(folder, "report"), Path(folder, "errors")
        command = [sys.executable, "-P", "-m", "fastml.learn.judge", name, str(path.resolve()), str(report), str(limit)]
        with errors.open("wb") as output:
            code = _run(command, output, environment, patience)
        lines = _lines(report)
        if lines and "verdict" in lines[-1]:
            return Verdict(**lines[-1]["verdict"])
        if lines and "unavailable" in lines[-1]:
            raise native.Unavailable(lines[-1]["unavailable"])
        case = next((line["case"] for line in reversed(lines) if "case" in line), LOADING)
        reason = f"it did not end within {patience:g} seconds" if code is None else _ended(code, errors, limit)
        return Verdict("failed", reason, case)


def _run(command: list[str], output: IO[bytes], environment: dict[str, str], patience: float) -> int | None:
    """The status of a process when it has ended; None if it had to be ended. What it has started ends with it."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command, stdin=nothing, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        for _ in range(math.ceil(patience / TICK)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(TICK)
        return None
    finally:  # also where the user interrupts
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _lines(report: Path) -> list[dict[str, Any]]:
    """What the judge has written; a line that it could not finish is left out."""
    text = report.read_text(encoding="utf-8") if report.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _ended(code: int, errors: Path, limit: float) -> str:
    """Why a process ended without a verdict."""
    if code == -signal.SIGXCPU:
        return f"it did not end within {limit:g} seconds of processor time"
    if code < 0:
        return f"it crashed the interpreter: {signal.Signals(-code).name}"
    last = errors.read_text(errors="replace").strip()[-500:]
    return f"it ended the interpreter with status {code}{f': {last}' if last else ''}"
