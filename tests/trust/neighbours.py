"""Libraries with threads of their own in one process with fastml: imported before and after it, called in turns."""

import contextlib
import hashlib
import importlib.util
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.trust.figures import Figure
from tests.trust.isolated import Died, call, outcomes

Call = Callable[[], Any]


def kmeans() -> Call:
    import numpy as np
    from sklearn.cluster import KMeans

    X = np.random.default_rng(0).normal(size=(20_000, 10))
    return lambda: KMeans(8, n_init=1, random_state=0, max_iter=5).fit(X)


def numba_sum() -> Call:
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def total(x: Any) -> float:
        found = 0.0
        for i in numba.prange(x.size):
            found += x[i]
        return found

    x = np.ones(1_000_000)
    return lambda: total(x)


def torch_matmul() -> Call:
    import torch

    x = torch.ones(600, 600)
    return lambda: torch.relu(x @ x)


def fastml_calls() -> Call:
    import fastml  # noqa: F401
    from tests.trust.work import arrays, calls

    runs = calls(arrays())
    return lambda: [runs[name]() for name in ("moments", "conv2d", "pca")]  # the classes would import scikit-learn


LIBRARIES = {"fastml": fastml_calls, "sklearn": kmeans, "numba": numba_sum, "torch": torch_matmul}


def called(order: list[str]) -> dict[str, Call]:
    """A call of each library, imported and called for the first time in an order."""
    runs = {}
    for name in order:
        runs[name] = LIBRARIES[name]()
        runs[name]()
    return runs


def digests() -> dict[str, str]:
    """Of the results of all calls of fastml."""
    from tests.trust.work import arrays, bits, calls

    return {name: hashlib.sha256(bits(run())).hexdigest() for name, run in calls(arrays()).items()}


def other_bits(runs: dict[str, Call], alone: dict[str, str]) -> list[str]:
    """Calls of fastml whose results are not those without neighbours, after calls of theirs and during them."""
    found = {}
    for name in runs.keys() - {"fastml"}:
        runs[name]()
        found[f"after {name}"] = digests()
        over = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            theirs = pool.submit(repeated, runs[name], over)
            found[f"during {name}"] = digests()
            over.set()
            theirs.result()
    return [f"{name} {when}" for when, results in found.items() for name in alone if results[name] != alone[name]]


def repeated(run: Call, over: threading.Event) -> None:
    while not over.is_set():
        run()


def others() -> dict[str, tuple[bool, int]]:
    """Of each thread of this process, but the one that asks: whether it sleeps, and how often it was given a processor.

    And not how long it has run: where the host of a virtual machine takes its processors away, that may stand still.
    """
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended just now
            sleeps = (task / "stat").read_text().rpartition(") ")[2].startswith("S")
            found[task.name] = sleeps, int((task / "schedstat").read_text().split()[2])
    found.pop(str(threading.get_native_id()))
    return found


def at_rest() -> dict[str, tuple[bool, int]]:
    """The same, once they all sleep: a thread that has just worked spins for a while."""
    last, now = {}, others()
    while now != last or not all(sleeps for sleeps, _ in now.values()):
        time.sleep(0.1)
        last, now = now, others()
    return now


def at_work(run: Call) -> int:
    """Threads that run during a call, with the one that calls."""
    before = at_rest()
    run()
    return 1 + sum(turns > before.get(task, (True, 0))[1] for task, (_, turns) in at_rest().items())


def other_threads(runs: dict[str, Call]) -> list[str]:
    """Where fastml runs on more or fewer threads than it was told, or threadpoolctl was, after calls of neighbours."""
    from threadpoolctl import threadpool_limits

    import fastml
    from fastml._core.baseline import _system
    from tests.trust.work import arrays, calls

    wrong = []
    work = calls(arrays())
    for name, neighbour in runs.items():
        for n_threads in (2, 3) if _system.has_openmp() else (1,):
            fastml.set_num_threads(n_threads)
            neighbour()
            found = at_work(work["conv2d"]), fastml.get_num_threads()
            wrong += [f"{found} threads of {n_threads} after {name}"] if set(found) != {n_threads} else []
        fastml.set_num_threads(None)
        with threadpool_limits(1):
            neighbour()
            found = at_work(lambda: [run() for run in work.values()]), fastml.get_num_threads()
            wrong += [f"{found} threads, limited to 1, after {name}"] if set(found) != {1} else []
    return wrong


def tried(order: list[str], alone: dict[str, str]) -> dict[str, list[str]]:
    runs = called(order)
    return {"bits": other_bits(runs, alone), "threads": other_threads(runs)}


def limited_before_numba() -> int:
    """Threads of a call within a limit of one, where Numba starts its own ones within that limit, too."""
    from threadpoolctl import threadpool_limits

    run = called(["fastml"])["fastml"]
    with threadpool_limits(1):
        called(["numba"])
        return at_work(run)


def runtimes(library: str) -> list[str]:
    """Copies of OpenMP's runtime that a library loads."""
    from threadpoolctl import threadpool_info

    def loaded() -> set[str]:
        return {Path(pool["filepath"]).name for pool in threadpool_info() if pool["user_api"] == "openmp"}

    before = loaded()
    called([library])
    return sorted(loaded() - before)


def orders(thorough: bool) -> Iterator[Figure]:
    """Rows 34 and 36."""
    there = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    asked = [[*order] for order in itertools.permutations(there)] if thorough else [there, there[::-1]]
    alone = call("tests.trust.neighbours:digests")
    results = outcomes("tests.trust.neighbours:tried", [[order, alone] for order in asked], 200)
    of = f"of {len(asked)} orders to import {', '.join(there)} in, those in which"
    for row, kind, what in (
        (34, "bits", "calls in turns and at once fail or hang, or fastml gives other bits"),
        (36, "threads", "fastml runs on another number of threads than `set_num_threads` or `threadpool_limits` says"),
    ):
        said = {" ".join(order): str(result).splitlines()[-1] if isinstance(result, Died) else ", ".join(result[kind])
                for order, result in zip(asked, results, strict=True)}  # fmt: skip
        wrong = [f"; {order}: {text}" for order, text in said.items() if text]
        yield Figure(row, f"{of} {what}{''.join(wrong)}", len(wrong), "= 0")
    loaded = {name: ", ".join(call("tests.trust.neighbours:runtimes", name)) or "none" for name in there}
    yield Figure(36, "copies of OpenMP's runtime that fastml loads",
                 0 if loaded["fastml"] == "none" else 1 + loaded["fastml"].count(","), "<= 1", "", loaded)  # fmt: skip
    if "numba" in there:
        yield Figure(36, "threads of a call within `threadpool_limits(1)`, in which Numba starts its own, too",
                     call("tests.trust.neighbours:limited_before_numba"), "= 1")  # fmt: skip
