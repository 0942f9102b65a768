"""Functions run in new interpreters, which may crash, hang or end there; what they return comes back as JSON.

    python -m tests.trust.isolated tests.trust.hostile:attempt 5 < arguments.json
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

ROOT = Path(__file__).parents[2]
SILENT = ("FASTML_BACKEND", "FASTML_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MARK = "result: "  # libraries print, too


class Died(Exception):
    """How an interpreter ended that was to return something."""


def outcomes(
    function: str, calls: list[list[Any]], seconds: float = 20, under: tuple[str, ...] = (), **environment: str
) -> list[Any]:
    """Of each call of "module:function" what it returns, or how the interpreter died: `Died`, which is not raised.

    Calls are made one after the other in one interpreter, and in a new one after each death. `under`: a command that
    runs the interpreter, such as an emulator.
    """
    clean = {key: value for key, value in os.environ.items() if key not in SILENT}
    path = os.pathsep.join(filter(None, [clean.get("PYTHONPATH"), str(ROOT / "src"), str(ROOT)]))
    command = [*under, sys.executable, "-m", "tests.trust.isolated", function, str(seconds)]
    found: list[Any] = []
    while len(found) < len(calls):
        rest = calls[len(found) :]
        status, printed, error, paused = finished(command, json.dumps(rest), clean | {"PYTHONPATH": path} | environment)
        found += [json.loads(line[len(MARK) :]) for line in printed.splitlines() if line.startswith(MARK)]
        if len(found) < len(calls) and not (paused and status == -signal.SIGALRM):  # then it is tried again
            found.append(Died(reason(status, error)))
    return found


def finished(command: list[str], given: str, environment: dict[str, str]) -> tuple[int, str, str, bool]:
    """Status and output of a process, and whether everything stood still for seconds, as on a machine that sleeps."""
    with TemporaryFile("w+") as source, TemporaryFile("w+") as printed, TemporaryFile("w+") as error:
        source.write(given)
        source.seek(0)
        process = subprocess.Popen(command, stdin=source, stdout=printed, stderr=error, cwd=ROOT, env=environment)
        paused, last = False, time.monotonic()
        while process.poll() is None:
            time.sleep(0.02)
            paused, last = paused or time.monotonic() - last > 3, time.monotonic()
        for file in (printed, error):
            file.seek(0)
        return process.returncode, printed.read(), error.read(), paused


def reason(status: int, error: str) -> str:
    if status == -signal.SIGALRM:
        return "hangs"
    return signal.Signals(-status).name if status < 0 else f"exit {status}: {error.strip()[-2000:]}"


def call(function: str, *arguments: Any, seconds: float = 60, **environment: str) -> Any:
    """What one call returns in an interpreter of its own; raises Died."""
    (result,) = outcomes(function, [[*arguments]], seconds, **environment)
    if isinstance(result, Died):
        raise result
    return result


def of_peers(function: str, asked: dict[str, list[Any]], seconds: float, **environment: str) -> dict[str, Any]:
    """For each peer what a call with these arguments returns in an interpreter of its own, or in a word how it died."""
    found = {name: outcomes(function, [arguments], seconds, **environment)[0] for name, arguments in asked.items()}
    return {name: str(result).partition(":")[0] if isinstance(result, Died) else result
            for name, result in found.items()}  # fmt: skip


def deaths(results: list[Any]) -> int:
    return sum(isinstance(result, Died) for result in results)


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, whatever it is busy with
    for arguments in json.load(sys.stdin):
        signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
        result = function(*arguments)
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(f"\n{MARK}{json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
