"""Calls from many threads at once, in forked children, on few processors; and whether other threads run meanwhile."""

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.trust.figures import Figure
from tests.trust.isolated import Died, call, outcomes
from tests.trust.work import operations


def concurrent(backend: str | None, names: list[str], rounds: int) -> int:
    """Wrong results and exceptions of 8 threads that call the same operations at once, the first calls included."""
    from tests.trust.work import arrays, bits, calls

    runs = calls(arrays(), **({"backend": backend} if backend else {}))
    gate, found = threading.Barrier(8), {name: [] for name in names}  # type: dict[str, list[bytes]]

    def work() -> None:
        gate.wait()
        for name in names * rounds:
            result = bits(runs[name]())
            found[name].append(result)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    right = {name: bits(runs[name]()) for name in names}
    return sum(8 * rounds - results.count(right[name]) for name, results in found.items())


def after_fork(library: str, name: str) -> float:
    """Seconds until a forked child has done what its parent did with threads, and has got the same bits."""
    run = peer_calls()[name] if library != "fastml" else None
    if run is None:
        from tests.trust.work import arrays, bits, calls

        op, _, backend = name.partition(" by ")
        options = {"backend": backend} if backend else {}
        operation = calls(arrays(), **options)[op]
        if backend:
            calls(arrays(0), **options, n_threads=1)[op]()  # a child runs on one thread: that is compiled, too

        def run() -> bytes:
            return bits(operation())

    expected = run()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        start = time.perf_counter()
        same = run() == expected
        os.write(writer, f"{time.perf_counter() - start if same else float('nan')}".encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100).decode()  # a child that hangs is waited for until the alarm, one that dies is silent
    os.waitpid(child, 0)
    return float(answer or "inf")


def peer_calls() -> dict[str, Any]:
    """Calls of other libraries that use threads."""
    from sklearn.cluster import KMeans

    from tests.trust.work import arrays

    given = arrays()
    found = {"scikit-learn KMeans": lambda: KMeans(8, n_init=1, random_state=0).fit(given["X"]).labels_.tobytes(),
             "NumPy matmul": lambda: (given["X"].T @ given["X"]).tobytes()}  # fmt: skip
    if importlib.util.find_spec("torch"):
        import torch

        x, weight = torch.from_numpy(given["x"]), torch.from_numpy(given["weight"])
        found["PyTorch conv2d"] = lambda: torch.nn.functional.conv2d(x, weight, padding=1).numpy().tobytes()
    return found


def started(way: str) -> int:
    """Threads that a first large call starts, beyond the one that calls, where only one is allowed."""
    if way == "affinity before import":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from threadpoolctl import threadpool_limits

    import fastml
    from tests.trust.work import arrays, calls

    run = calls(arrays())["conv2d"]
    if way == "affinity after import":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if way == "set_num_threads":
        fastml.set_num_threads(1)
    with threadpool_limits(1) if way == "threadpool_limits" else contextlib.nullcontext():
        before = len(os.listdir("/proc/self/task"))  # OpenBLAS starts threads when it is limited
        run()
        return len(os.listdir("/proc/self/task")) - before


def in_loky(workers: int) -> int:
    """The same in a worker of joblib's, of which there are as many as processors: the most of them all."""
    from joblib import Parallel, delayed

    jobs = max(workers, len(os.sched_getaffinity(0)))
    return max(Parallel(n_jobs=jobs)(delayed(started)("worker") for _ in range(jobs)))


def ticks(name: str, scale: int) -> float:
    """How often another Python thread wakes up per second during calls in one thread, as a share of how often else."""
    from tests.trust.work import arrays, calls

    run = calls(arrays(scale), n_threads=1)[name]
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
    asked = [(None, operations())]
    if thorough:
        asked.append(("numba", [name for name in operations() if name[0].islower()]))
    for backend, names in asked:
        rounds = 5 if thorough else 1
        failures = outcomes("tests.trust.threads:concurrent", [[backend, names, rounds]], 500)[0]
        if isinstance(failures, Died):
            failures = float("inf")
        what = f"failures in {8 * rounds * len(names)} calls from 8 threads at once, the first included"
        yield Figure(34, what + (f"; backend {backend}" if backend else ""), failures, "= 0")


def forks(thorough: bool) -> Iterator[Figure]:
    """Row 35."""
    names = operations() if thorough else ["conv2d", "pca", "StandardScaler"]
    numba = [f"{name} by numba" for name in (names if thorough else ["moments"]) if name[0].islower()]
    results = outcomes("tests.trust.threads:after_fork", [["fastml", name] for name in (*names, *numba)], 60)
    peers: dict[str, float | str] = {}
    if thorough:
        theirs = list(peer_calls())
        found = outcomes("tests.trust.threads:after_fork", [["peer", name] for name in theirs], 15)
        peers = {name: str(a).partition(":")[0] if isinstance(a, Died) else a
                 for name, a in zip(theirs, found, strict=True)}  # fmt: skip
    slowest = max(float("inf") if isinstance(seconds, Died) else seconds for seconds in results)
    what = f"seconds until a forked child answers, the longest of {len(results)} calls"
    yield Figure(35, what, slowest, "< 1", "s", peers)


def thread_counts(thorough: bool) -> Iterator[Figure]:
    """Row 36."""
    for way in ("threadpool_limits", "set_num_threads", "affinity before import", "affinity after import"):
        yield Figure(36, f"threads that a call starts beside its own, limited by {way}",
                     call("tests.trust.threads:started", way), "= 0")  # fmt: skip
    yield Figure(36, "the same, in loky workers", call("tests.trust.threads:in_loky", 2), "= 0")


def lock(thorough: bool) -> Iterator[Figure]:
    """Row 38."""
    names = operations()[:12] if thorough else ["conv2d", "moments"]
    shares = {name: call("tests.trust.threads:ticks", name, 4) for name in names}
    least = min(shares, key=lambda name: shares[name])
    what = f"wake-ups of another Python thread during calls, as a share of idle, the least of {len(names)}: {least}"
    yield Figure(38, what, shares[least], "> 0.8")
