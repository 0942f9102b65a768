"""The one thread policy, and NumPy's copy on as many threads.

From the strongest: the argument `n_threads`; `set_num_threads`; FASTML_NUM_THREADS, though never more than the
processors that this thread may run on; and else the least of these, of what OpenMP would use (OMP_NUM_THREADS), and of
the cgroup's quota. All but the argument obey limits set by threadpoolctl and give small inputs one thread. After a
fork the child has one thread: the OpenMP runtime does not survive a fork. So has a call for which the system lets no
more threads start.
"""

import _thread
import math
import operator
import os
import threading
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastml._core.baseline import _copy, _system

MOST_THREADS = 1024  # a typing mistake should not start a million threads
SMALL_WORK = 100_000  # values or multiplications, tens of microseconds: less is over before threads are awake
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_chosen: int | None = None
_forked = False
_team = threading.local()  # .size: the most threads that this one has been seen to get
_openmp_at_import = _system.openmp_max_threads()  # what threadpoolctl lowers, when it does


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _positive(value: object, name: str) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {type(value).__name__}") from None
    if not 1 <= number <= MOST_THREADS:
        raise ValueError(f"{name} must be from 1 to {MOST_THREADS}, got {number}")
    return number


@cache
def _cgroup_quota() -> float:
    """Processors this control group may use, as a number that may be infinite (Linux, version 2 of cgroups)."""
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return math.inf if quota == "max" else max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _processors() -> float:
    """Processors this thread may run on now; what OpenMP would use goes by those that there were at the import."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else math.inf


@cache
def _environment() -> int | None:
    text = os.environ.get("FASTML_NUM_THREADS")
    if not text:
        return None
    try:
        return _positive(int(text), "FASTML_NUM_THREADS")
    except ValueError:
        raise ValueError(f"FASTML_NUM_THREADS must be from 1 to {MOST_THREADS}, got {text!r}") from None


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads fastml uses when a call does not say; None returns to the default.

    Raises TypeError for anything but an integer and ValueError outside 1 to 1024.

    >>> import fastml
    >>> fastml.set_num_threads(1)
    >>> fastml.get_num_threads()
    1
    >>> fastml.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n_threads is None else _positive(n_threads, "n_threads")


def get_num_threads() -> int:
    """How many threads a call on a large input would use now.

    >>> import fastml
    >>> fastml.get_num_threads() >= 1
    True
    """
    if _forked or not _system.has_openmp():
        return 1
    openmp = _system.openmp_max_threads()
    chosen = _chosen or int(min(_environment() or min(openmp, _cgroup_quota()), _processors()))
    return min(chosen, openmp) if openmp < _openmp_at_import else chosen


def count(n_threads: int | None, work: float) -> int:
    """Threads for one call: the argument if given, else one for little `work` (values or multiplications), else all.

    One, too, where the system does not let so many start.
    """
    if n_threads is not None:
        asked = _positive(n_threads, "n_threads")
        return 1 if _forked else _startable(asked)
    return 1 if work < SMALL_WORK else _startable(get_num_threads())


def _startable(n: int) -> int:
    """n, or 1 where not so many threads can start now.

    For want of memory, say, or where the number of processes is limited. OpenMP ends the process then, and Python
    raises an exception; so Python is asked first, by each thread that asks for more than before, as each has its own
    team of OpenMP's. The C library keeps stacks of threads that have ended for the next ones.
    """
    if n <= getattr(_team, "size", 1):
        return n
    gate, passed = threading.Event(), threading.Semaphore(0)

    def helper() -> None:
        gate.wait()
        passed.release()

    try:
        for _ in range(n - 1):
            _thread.start_new_thread(helper, ())  # `Thread.start` waits for ever for one without memory to begin with
    except (RuntimeError, MemoryError):
        return 1
    finally:
        gate.set()
    if not all(passed.acquire(timeout=1) for _ in range(n - 1)):
        return 1
    _team.size = n
    return n


def copy(source: NDArray[Any], to: NDArray[Any], n_threads: int | None) -> None:
    """to[...] = source, for 5 axes of any strides, the last one rather long: NumPy does this in one thread."""
    _copy.copy(source, to, count(n_threads, 2 * source.size))
