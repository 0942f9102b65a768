"""Calls from many threads at once, in forked children, on few processors; and whether other threads run meanwhile."""

import contextlib
import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.trust.figures import Figure, largest
from tests.trust.isolated import Died, call, of_peers, outcomes
from tests.trust.work import arrays, calls, operations, peer_calls, peers, runs


def concurrent(library: str, names: list[str], rounds: int, backend: str | None = None) -> int:
    """Wrong results and exceptions of 8 threads that call the same operations at once, the first calls included."""
    there = runs(library, **({"backend": backend} if backend else {}))
    gate, found = threading.Barrier(8), {name: [] for name in names}  # type: dict[str, list[bytes]]

    def work() -> None:
        gate.wait()
        for name in names * rounds:
            result = there[name]()
            found[name].append(result)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    right = {name: there[name]() for name in names}
    return sum(8 * rounds - results.count(right[name]) for name, results in found.items())


def after_fork(library: str, name: str) -> float:
    """Seconds until a forked child has done what its parent did with threads, and has got the same bits."""
    op, _, backend = name.partition(" by ")
    options = {"backend": backend} if backend else {}
    run = runs(library, **options)[op]
    if backend:
        runs(library, 0, **options, n_threads=1)[op]()  # a child runs on one thread: that is compiled, too
    expected = run()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)  # its parent is ended where it hangs, and it is not
        start = time.perf_counter()
        same = run() == expected
        os.write(writer, f"{time.perf_counter() - start if same else float('inf')}".encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100).decode()  # a child that hangs is waited for until the alarm, one that dies is silent
    os.waitpid(child, 0)
    return float(answer or "inf")


def started(way: str, library: str = "fastml", name: str = "conv2d") -> int:
    """Threads that a first large call starts, beyond the one that calls, where only one is allowed."""
    if way == "affinity before import":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from threadpoolctl import threadpool_limits

    run = runs(library)[name]
    if way == "affinity after import":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if way == "set_num_threads":
        importlib.import_module("torch" if name.startswith("PyTorch") else library).set_num_threads(1)
    with threadpool_limits(1) if way == "threadpool_limits" else contextlib.nullcontext():
        before = len(os.listdir("/proc/self/task"))  # OpenBLAS starts threads when it is limited
        run()
        return len(os.listdir("/proc/self/task")) - before


def in_loky(workers: int) -> int:
    """The same in a worker of joblib's, of which there are as many as processors: the most of them all."""
    from joblib import Parallel, delayed

    jobs = max(workers, len(os.sched_getaffinity(0)))
    return max(Parallel(n_jobs=jobs)(delayed(started)("worker") for _ in range(jobs)))


def ticks(library: str, name: str, scale: int) -> float:
    """How often another Python thread wakes up per second during calls in one thread, as a share of how often else."""
    given = arrays(scale)
    run = peer_calls(given)[name] if library == "peer" else calls(given, n_threads=1)[name]
    run()
    count, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            time.sleep(0.001)
            count[0] += 1

    def rate(action: Any) -> float:
        before, start = count[0], time.perf_counter()
        while time.perf_counter() - start < 0.1:
            action()
        return (count[0] - before) / (time.perf_counter() - start)

    ticker = threading.Thread(target=tick)
    ticker.start()
    shares = []
    for _ in range(10):  # the best of them: other processes disturb, and who holds the lock does it each time
        idle = rate(lambda: time.sleep(0.1))
        shares.append(rate(run) / idle)
    stop.set()
    ticker.join()
    return max(shares)


def concurrency(thorough: bool) -> Iterator[Figure]:
    """Row 34."""
    rounds, asked, theirs = 1, [(None, operations())], {}
    if thorough:
        rounds = 5
        asked.append(("numba", operations(backend="numba")))
        once = {name: ["peer", [name], 1] for name in peers()}
        found = of_peers("tests.trust.threads:concurrent", once, 200)
        theirs = {name: a if isinstance(a, str) else f"{a} of 8" for name, a in found.items()}
    for backend, names in asked:
        failures = outcomes("tests.trust.threads:concurrent", [["fastml", names, rounds, backend]], 500)[0]
        if isinstance(failures, Died):
            failures = float("inf")
        what = f"failures in {8 * rounds * len(names)} calls from 8 threads at once, the first included"
        by = f"; backend {backend}" if backend else ""
        yield Figure(34, what + by, failures, "= 0", "", {} if backend else theirs)


def forks(thorough: bool) -> Iterator[Figure]:
    """Row 35."""
    names = operations() if thorough else ["conv2d", "pca", "StandardScaler"]
    numba = [f"{name} by numba" for name in (operations(backend="numba") if thorough else ["moments"])]
    results = outcomes("tests.trust.threads:after_fork", [["fastml", name] for name in (*names, *numba)], 60)
    asked = {name: ["peer", name] for name in (peers() if thorough else ())}
    theirs = of_peers("tests.trust.threads:after_fork", asked, 15)
    slowest = largest(*(float("inf") if isinstance(seconds, Died) else seconds for seconds in results))
    what = f"seconds until a forked child answers, the longest of {len(results)} calls"
    yield Figure(35, what, slowest, "< 1", "s", theirs)


def thread_counts(thorough: bool) -> Iterator[Figure]:
    """Row 36."""
    theirs = [name for name in peers() if "KMeans" in name or "PyTorch" in name] if thorough else []
    for way in ("threadpool_limits", "set_num_threads", "affinity before import", "affinity after import"):
        able = [name for name in theirs if way != "set_num_threads" or "PyTorch" in name]
        limited = of_peers("tests.trust.threads:started", {name: [way, "peer", name] for name in able}, 60)
        yield Figure(36, f"threads that a call starts beside its own, limited by {way}",
                     call("tests.trust.threads:started", way), "= 0", "", limited)  # fmt: skip
    yield Figure(36, "the same, in loky workers", call("tests.trust.threads:in_loky", 2), "= 0")


def lock(thorough: bool) -> Iterator[Figure]:
    """Row 38."""
    names = operations(n_threads=1) if thorough else ["conv2d", "moments"]
    shares = {name: call("tests.trust.threads:ticks", "fastml", name, 4) for name in names}
    least = min(shares, key=lambda name: shares[name])
    what = f"wake-ups of another Python thread during calls, as a share of idle, the least of {len(names)}: {least}"
    asked = {name: ["peer", name, 4] for name in (peers() if thorough else ())}
    theirs = of_peers("tests.trust.threads:ticks", asked, 200, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    yield Figure(38, what, shares[least], "> 0.8", "", theirs)
