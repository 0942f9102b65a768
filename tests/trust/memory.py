"""Too little memory, and memory that is not given back. Functions that other interpreters run come first."""

import contextlib
import copy
import gc
import resource
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.trust.figures import Figure
from tests.trust.isolated import Died, deaths, of_peers, outcomes
from tests.trust.work import arrays, calls, operations, peer_calls, peers

MEGABYTE = 2**20
# Nothing is kept by the C library, and no space was set aside for its other threads, which it would take.
NOTHING_KEPT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def written(n_threads: int) -> dict[str, tuple[dict[str, Any], Callable[..., Any]]]:
    """Calls that write into arrays or models of their caller, with these; some are copied before a kernel reads them.

    A call that fails leaves all of them as they were.
    """
    import fastml

    given = arrays(1)
    x, X, weight = given["x"][:, ::-1], np.repeat(given["X"], 2, axis=1)[:, ::2], given["weight"][::-1]
    options: dict[str, Any] = {"n_threads": n_threads}
    pooled, places = np.full((4, 32, 44, 44), 7, np.float32), np.zeros((4, 32, 44, 44), int)
    statistics = {"running_mean": np.zeros(32), "running_var": np.ones(32), "num_batches_tracked": np.array([3])}
    wide, channels = np.repeat(X[:2, :50], 4000, axis=1), 200_000
    many = {"running_mean": np.zeros(channels), "running_var": np.ones(channels), "num_batches_tracked": np.array([3])}

    def in_place(X: np.ndarray) -> Any:
        return fastml.StandardScaler(copy=False).fit_transform(X)

    def partial_fit(model: Any, X: Any) -> Any:
        return model.partial_fit(X)

    return {
        "standardize": ({"X": X, "out": np.full(X.shape, 7, np.float32)},
                        lambda **a: fastml.standardize(**a, **options)),
        "conv2d": ({"x": x, "weight": weight, "out": np.full(x.shape, 7, np.float32)},
                   lambda **a: fastml.conv2d(padding=1, **a, **options)),
        "max_pool2d": ({"x": x, "out": pooled.copy()},
                       lambda **a: fastml.max_pool2d(kernel_size=3, stride=2, return_indices=True, **a, **options)),
        "avg_pool2d": ({"x": x, "out": pooled.copy()},
                       lambda **a: fastml.avg_pool2d(kernel_size=3, stride=2, **a, **options)),
        "batch_norm": ({"x": x, "out": np.full(x.shape, 7, np.float32), **statistics},
                       lambda **a: fastml.batch_norm(training=True, momentum=0.1, **a, **options)),
        "batch_norm of many channels": ({"x": wide, "out": np.full(wide.shape, 7, np.float32), **many},
                                        lambda **a: fastml.batch_norm(training=True, momentum=None, **a, **options)),
        "max_pool2d_backward": ({"grad_out": pooled[:, ::-1], "indices": places,
                                 "out": np.full(x.shape, 7, np.float32)},
                                lambda **a: fastml.max_pool2d_backward(input_shape=x.shape, **a, **options)),
        "avg_pool2d_backward": ({"grad_out": pooled, "out": np.full(x.shape, 7, np.float32)},
                                lambda **a: fastml.avg_pool2d_backward(input_shape=x.shape, kernel_size=3, stride=2,
                                                                       **a, **options)),
        "global_avg_pool2d": ({"x": x, "out": np.full((4, 32, 1, 1), 7, np.float32)},
                              lambda **a: fastml.global_avg_pool2d(**a, **options)),
        "conv2d_backward": ({"grad_out": x, "x": x, "weight": weight},
                            lambda **a: fastml.conv2d_backward(padding=1, **a, **options)),
        "pca": ({"X": X}, lambda **a: fastml.pca(n_components=5, **a, **options)),
        "pca_transform": ({"X": X, "components": X[:5], "out": np.full((len(X), 5), 7, np.float32)},
                          lambda **a: fastml.pca_transform(mean=X[0], **a, **options)),
        "StandardScaler in place": ({"X": X}, in_place),
        "StandardScaler.fit": ({"model": fastml.StandardScaler().fit(X + 1), "X": X}, lambda model, X: model.fit(X)),
        **{f"{kind.__name__}.partial_fit": ({"model": kind().partial_fit(X[:1000] + 1), "X": X}, partial_fit)
           for kind in (fastml.StandardScaler, fastml.IncrementalPCA)},
    }  # fmt: skip


def starved(name: str, megabytes: float, n_threads: int) -> str:
    """What a call does that may take so much more address space than there is in use, and what it has changed."""
    from fastml._core import _memory

    given, run = ready(name, n_threads)
    given = {key: another(value) for key, value in given.items()}
    vars(_memory._kept).clear()  # what kernels worked in
    before = {key: contents(value) for key, value in given.items()}
    gc.collect()
    result = limited(megabytes, lambda: run(**given))
    changed = [key for key in given if contents(given[key]) != before[key]]
    return f"{result}, half-written {changed}" if changed and result != "ok" else result


def starved_peer(name: str, megabytes: float) -> str:
    run = ready_peer(name)
    gc.collect()
    return limited(megabytes, run)


@cache
def ready_peer(name: str) -> Callable[[], np.ndarray]:
    run = peer_calls(arrays(1))[name]
    run()
    return run


def starved_peers(steps: list[float]) -> dict[str, float | str]:
    """How many calls of each peer crash or hang, or raise something else than MemoryError."""
    told: dict[str, float | str] = {}
    for name in peers():
        asked = [[name, float(step)] for step in steps]
        found = outcomes("tests.trust.memory:starved_peer", asked, 60, **NOTHING_KEPT)
        wrong = len(found) - found.count("ok") - found.count("MemoryError")
        told[name] = f"{wrong} of {len(found)}, {deaths(found)} of them crashes or hangs"
    return told


@cache
def ready(name: str, n_threads: int) -> Any:
    """A call that has been made before, so that imports, kernels and threads are there; and its arrays."""
    given, run = written(n_threads)[name]
    run(**{key: copy.deepcopy(value) for key, value in given.items()})
    return given, run


def limited(megabytes: float, action: Callable[[], Any]) -> str:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + int(megabytes * MEGABYTE), most))
    try:
        action()
        return "ok"
    except Exception as error:
        return type(error).__name__.removeprefix("_Array")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def contents(value: Any) -> Any:
    """Of an array its bytes, of a model all that it holds."""
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return {name: contents(part) if isinstance(part, np.ndarray) else part for name, part in vars(value).items()}


def another(array: Any) -> Any:
    """A copy that kernels can read as it is if they can read the array, and not if they cannot; or a model's."""
    if not isinstance(array, np.ndarray) or array.flags.c_contiguous:
        return copy.deepcopy(array)
    view = np.empty([2 * n for n in array.shape], array.dtype)[tuple(slice(None, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def first_threads(megabytes: float) -> str:
    """The first call of a process that is large enough for threads, with so much address space left."""
    import fastml

    given = arrays(1)
    fastml.conv2d(given["x"][:1, :, :9, :9], given["weight"])
    return limited(megabytes, lambda: fastml.conv2d(given["x"], given["weight"], n_threads=4))


def refusals() -> dict[str, Callable[[], Any]]:
    """Calls that raise, some before anything is allocated and some late."""
    import fastml

    given = arrays(0)
    x, X, weight = given["x"], given["X"], given["weight"]
    return {
        "shape": lambda: fastml.conv2d(x, weight[:, :3]),
        "dtype": lambda: fastml.conv2d(x, weight.astype(np.float64)),
        "too large": lambda: fastml.conv2d(x, weight, padding=2**23),
        "out": lambda: fastml.max_pool2d(x[:, ::-1], 2, out=x),
        "copied first": lambda: fastml.standardize(X[:, ::2], mean=np.zeros(3)),
        "indices": lambda: fastml.max_pool2d_backward(x, np.full(x.shape, -5), (*x.shape[:2], 99, 99)),
        "finite": lambda: fastml.PCA().fit(np.full((9, 3), np.nan)),
        "statistics": lambda: fastml.batch_norm(x, np.zeros(32), np.zeros(31)),
        "backend": lambda: fastml.moments(X, backend="none"),
        "n_threads": lambda: fastml.avg_pool2d(x, 2, n_threads=-1),
        "layer": lambda: fastml.Conv2d(weight)(x[:, :5]),
    }


def leaked(library: str, name: str, times: int) -> tuple[float, float, int]:
    """What a call leaves behind: objects of Python, bytes of resident memory, and references to its arguments.

    Of seven rounds the one that leaves least: what a call leaks it leaks each time, and what it keeps for the next one
    it keeps once. Python and the libraries beneath keep some objects, too, fewer and fewer, as they do when
    scikit-learn's own `PCA().fit` refuses NaN.
    """
    given = arrays(0)
    ours = library == "fastml"
    run = (calls(given) if name in operations() else refusals())[name] if ours else peer_calls(given)[name]

    def repeat() -> None:
        for _ in range(times):
            with contextlib.suppress(ValueError, TypeError):
                run()
        gc.collect()

    def references() -> int:
        return sum(map(sys.getrefcount, given.values()))

    readings, before = np.zeros((8, 2)), 0  # made before, as what is counted must not be what counts
    repeat()
    for i in range(len(readings)):
        repeat()
        before = before or references()
        readings[i] = sys.getallocatedblocks(), resident_bytes()
    blocks, resident = np.maximum(np.diff(readings, axis=0).min(axis=0), 0) / times
    return float(blocks), float(resident), references() - before


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def sweep(thorough: bool) -> Iterator[Figure]:
    """Row 39."""
    if sys.platform != "linux":
        return
    steps = [*np.arange(0, 8, 0.25), *range(8, 100, 2)] if thorough else [0, 1, 2, 4, 8, 16, 32, 64, 128]
    asked = [[name, float(step), n] for name in written(1) for n in ((1, 2) if thorough else (2,)) for step in steps]
    results = outcomes("tests.trust.memory:starved", asked, 60, **NOTHING_KEPT)
    wrong = [result for result in results if result not in ("ok", "MemoryError")]
    starving = len(wrong) if {"ok", "MemoryError"} <= {*results} else float("nan")  # else nothing was tried
    counts = f"{results.count('ok')} succeed, {results.count('MemoryError')} raise MemoryError"
    what = f"{len(asked)} calls with little address space left ({counts}): crashes, other errors, half-written arrays"
    yield Figure(39, what, starving, "= 0", "", starved_peers(steps[::4]) if thorough else {})
    asked = [[float(step)] for step in (range(0, 80, 2) if thorough else (0, 8, 16))]
    results = [outcomes("tests.trust.memory:first_threads", [one], 60)[0] for one in asked]
    what = f"{len(asked)} first calls that start 4 threads, with little address space left: processes that end"
    yield Figure(39, what, deaths(results), "= 0")


def leaks(thorough: bool) -> Iterator[Figure]:
    """Row 40."""
    times, errors = (2000 if thorough else 200), list(refusals())
    # What is not the calls' own (a page, which is 2 bytes for each of 2000, or freed objects that Python keeps) counts
    # ten times as much in 200 of them.
    objects, memory = ("< 0.01", "< 8") if thorough else ("< 0.5", "< 100")
    one = {"FASTML_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quick = [name for name in (peers() if thorough else ()) if "KMeans" not in name]
    theirs = of_peers("tests.trust.memory:leaked", {name: ["peer", name, times] for name in quick}, 300, **one)
    for what, names in (("calls", operations()), ("calls that raise", errors)):
        results = outcomes("tests.trust.memory:leaked", [["fastml", name, times] for name in names], 300, **one)
        found = [[float("inf")] * 3 if isinstance(result, Died) else result for result in results]
        where = f"by {len(names)} kinds of {what}, {times} times each"
        most = np.max(found, axis=0).tolist()
        for i, (kind, target, unit) in enumerate((("objects left behind per call", objects, ""),
                                                  ("bytes of resident memory left behind per call", memory, "bytes"),
                                                  ("references to arguments left behind", "= 0", ""))):  # fmt: skip
            same = {name: a if isinstance(a, str) else a[i] for name, a in theirs.items() if what == "calls"}
            yield Figure(40, f"{kind}, {where}", most[i], target, unit, same)
