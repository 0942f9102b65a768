"""What Valgrind counts while it interprets a kernel: instructions, and misses of caches that it simulates.

It needs nothing of the processor, and its counts are the same in each run. But they are of a simple machine: there is a
first and a last cache, the least recently used line leaves, nothing is prefetched, and there are no cycles. Valgrind
knows AVX2 and FMA, but not AVX-512. (It also counts loads, but for a vector that a multiply-add reads from memory as
many as it has values: they are not shown.)

`fastml.learn.counted` is what runs inside Valgrind, and how a kernel's own part is found there.
"""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastml
from fastml.learn import machine
from fastml.learn.hardware import Unavailable

Job = tuple[str, tuple[Any, ...]]  # "module:function" of a kernel, and its arguments without n_threads
SECONDS = 55.0  # for all jobs of a run
LINE, PAGE = 64, 4096  # bytes
WAYS = 16  # of the last cache


def why_not() -> str:
    """Why `count` cannot be used here; empty where it can."""
    return "" if shutil.which("valgrind") else "valgrind is not installed"


def caches() -> str:
    """The caches that are simulated, as this machine's, in powers of two: what `count` counts depends on them."""
    first, last = _simulated()
    return f"{first[0] // 2**10} KiB and {last[0] // 2**20} MiB"


def _simulated() -> tuple[tuple[int, int], tuple[int, int]]:
    """Bytes and ways of the first and the last cache. A way of the first one is a page, as in most processors."""
    sizes = machine.caches()
    way = 1 << (sizes["L3"] // WAYS).bit_length() - 1
    return (max(sizes["L1"] // PAGE, 1) * PAGE, max(sizes["L1"] // PAGE, 1)), (way * WAYS, WAYS)


def count(jobs: Sequence[Job], seconds: float = SECONDS) -> Iterator[dict[str, int]]:
    """What one call of each kernel takes, in the steady state, job after job.

    Raises Unavailable where Valgrind is missing, fails, or has not done a job after `seconds` from the start.
    """
    if why_not():
        raise Unavailable(why_not())
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "jobs").write_bytes(pickle.dumps([*jobs]))
        process = stack.enter_context(_started(folder))
        late = threading.Event()

        def end() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(seconds, end)
        timer.start()
        stack.callback(_end, process)  # also where the caller wants no more
        stack.callback(timer.cancel)
        assert process.stdout
        for _ in jobs:
            pids = process.stdout.readline().split()
            if len(pids) < 2 and late.is_set():
                raise Unavailable(f"valgrind was not done after {seconds:g} s; a smaller case would be")
            if len(pids) < 2:
                raise Unavailable(f"valgrind failed: {_last_line(folder / 'errors')}")
            once, twice = (_read(folder / f"out.{pid}") for pid in pids)
            yield {name: twice[name] - once[name] for name in once}


def _started(folder: Path) -> subprocess.Popen[str]:
    first, last = (f"{size},{ways},{LINE}" for size, ways in _simulated())
    options = ["--tool=cachegrind", "--cache-sim=yes", f"--D1={first}", f"--I1={first}", f"--LL={last}"]
    files = [f"--cachegrind-out-file={folder}/out.%p", f"--log-file={folder}/log.%p"]
    # -S: without `site`, which imports what is installed to be edited.
    python = [sys.executable, "-S", "-m", "fastml.learn.counted", str(folder / "jobs")]
    paths = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (fastml, np))
    # Strings hashed in the same way each time, and no BLAS threads.
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    command = ["valgrind", *options, *files, *python]
    with (folder / "errors").open("w") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, start_new_session=True
        )


def _end(process: subprocess.Popen[str]) -> None:
    """Valgrind's process and its copies, if they run."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_line(path: Path) -> str:
    return (path.read_text(encoding="utf-8").strip() or "it says nothing").splitlines()[-1]


def _read(path: Path) -> dict[str, int]:
    """The sums at the end of a file of cachegrind's."""
    lines = dict(line.split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if ": " in line)
    sums = dict(zip(lines["events"].split(), map(int, lines["summary"].split()), strict=True))
    return {
        "instructions": sums["Ir"],
        "l1_misses": sums["D1mr"] + sums["D1mw"],
        "llc_misses": sums["DLmr"] + sums["DLmw"],
    }
