"""Arguments that nobody gives in good faith, and arrays that claim to be huge or have nothing in them."""

import importlib.util
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from tests.trust.figures import Figure
from tests.trust.isolated import Died, deaths, outcomes

ACCEPTED = (ValueError, TypeError, MemoryError, OverflowError)
EDGES = (-(2**63), -(2**31), -1, 0, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 5, 2**63 - 1, 2**63, 2**64, 10**30)
NO_INTEGERS = (None, "a", 1.5, float("nan"), True, [], [1, 1, 1], [[0, 1], [1]], {"a": 1})
WINDOWS = ("kernel_size", "stride", "padding", "dilation")
ATTRIBUTES = {  # those of one topic together
    "pooling": {
        "max_pool2d": WINDOWS,
        "avg_pool2d": ("kernel_size", "stride", "padding", "divisor_override"),
        "max_pool2d_backward": ("input_shape",),
        "avg_pool2d_backward": ("kernel_size", "stride", "padding", "divisor_override", "input_shape"),
        "global_avg_pool2d": ("keepdims",),
    },
    "convolution": {
        "conv2d": (*WINDOWS[1:], "groups"),
        "conv2d_backward": (*WINDOWS[1:], "groups"),
        "Conv2d": (*WINDOWS[1:], "groups", "input_size"),
    },
    "the rest": {
        "moments": ("axis",),
        "standardize": ("axis", "ddof"),
        "pca": ("n_components", "tol", "n_oversamples", "n_iterations", "random_state"),
        "batch_norm": ("momentum", "eps"),
        "batch_norm_backward": ("eps",),
        "fold_batch_norm": ("eps",),
        "pca_transform": ("n_threads",),
        "StandardScaler": ("with_mean", "copy"),
        "PCA": ("n_components", "tol", "n_oversamples", "iterated_power", "random_state"),
        "IncrementalPCA": ("n_components", "batch_size"),
        "TruncatedSVD": ("n_components", "n_iter", "n_oversamples"),
    },
}
TORCH = {"pooling": ("max_pool2d", "avg_pool2d"), "convolution": ("conv2d",)}  # which have the same attributes
ESTIMATORS = ("StandardScaler", "PCA", "IncrementalPCA", "TruncatedSVD")
PEERS = {"PyTorch": ("torch", ("max_pool2d", "avg_pool2d", "conv2d")), "scikit-learn": ("sklearn", ESTIMATORS)}
HUGE = (2**40, 2**58)  # values along an axis: 4 TB of float32 at the least, which no machine here holds


@cache
def valid() -> dict[str, dict[str, Any]]:
    """Arguments that are accepted, by operation or class."""
    from tests.test_validate import VALID, WEIGHT, X

    mean, variance = np.zeros(len(WEIGHT)), np.ones(len(WEIGHT))
    more = {"Conv2d": {"weight": WEIGHT, "x": VALID["conv2d"]["x"]},
            "fold_batch_norm": {"weight": WEIGHT, "bias": mean, "running_mean": mean, "running_var": variance},
            "pca_transform": {"X": X, "mean": X[0], "components": X[:2]}}  # fmt: skip
    return {**VALID, **more, **{name: {"X": X} for name in ESTIMATORS}}


def perform(library: str, op: str, arguments: dict[str, Any]) -> Any:
    """Call an operation; make a layer or an estimator and use it."""
    if library == "torch":
        import torch

        tensors = {key: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for key, v in arguments.items()}
        tensors["input"] = tensors.pop("x")
        return getattr(torch.nn.functional, op)(**tensors)
    if library == "sklearn":
        from sklearn import decomposition, preprocessing

        X = arguments.pop("X")
        return getattr(preprocessing if op == "StandardScaler" else decomposition, op)(**arguments).fit_transform(X)
    import fastml

    if op == "Conv2d":
        x = arguments.pop("x")
        return fastml.Conv2d(**arguments)(x)
    if op[0].isupper():
        X = arguments.pop("X")
        return getattr(fastml, op)(**arguments).fit_transform(X)
    return getattr(fastml, op)(**arguments)


@cache
def warm(library: str, op: str) -> None:
    """Imports are not what calls are timed for."""
    perform(library, op, dict(valid()[op]))


def tried(library: str, op: str, arguments: dict[str, Any]) -> tuple[str, bool, float]:
    """The result's kind, whether a caller may expect it, and seconds."""
    warm(library, op)
    start = time.perf_counter()
    try:
        perform(library, op, arguments)
        kind, expected = "result", True
    except Exception as error:
        kind, expected = f"{type(error).__name__}: {error}"[:200], isinstance(error, ACCEPTED)
    return kind, expected, time.perf_counter() - start


def attempt(library: str, op: str, changes: dict[str, Any]) -> tuple[str, bool, float]:
    """A call with some arguments changed. No more than 8 GiB are there to be taken."""
    import resource

    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which reserves terabytes, and has a limit of its own
        resource.setrlimit(resource.RLIMIT_AS, (2**33, resource.getrlimit(resource.RLIMIT_AS)[1]))
    changes = {key: tuple(v) if isinstance(v, list) else v for key, v in changes.items()}
    return tried(library, op, {**valid()[op], **changes})


def pretended(library: str, op: str, name: str, axis: int, size: int) -> tuple[str, bool, float]:
    """A call with an array that has `size` values along an axis, or along all of them: -1, in the memory of one."""
    array = np.asarray(valid()[op][name])
    shape = [size if axis in (-1, i) else n for i, n in enumerate(array.shape)]
    try:
        fake = np.lib.stride_tricks.as_strided(np.zeros(1, array.dtype), shape, (0,) * len(shape))
    except ValueError:  # more than NumPy can count
        return "not made", True, 0.0
    return tried(library, op, {**valid()[op], name: fake})


def hollow(library: str, op: str, name: str, axis: int) -> tuple[str, bool, float]:
    """A call with an array without values: one of its axes has none."""
    array = np.asarray(valid()[op][name])
    return tried(library, op, {**valid()[op], name: np.delete(array, slice(None), axis)})


def attribute_calls(topic: str, library: str, thorough: bool) -> list[list[Any]]:
    """Each attribute with each value, alone and for one of two axes; thoroughly, two attributes at a time as well."""
    calls = []
    for op, names in ATTRIBUTES[topic].items():
        if library == "torch" and op not in TORCH[topic]:
            continue
        for name, value in itertools.product(names, (*EDGES, *NO_INTEGERS)):
            calls += [[library, op, {name: value}]]
            if name in (*WINDOWS, "input_size"):
                calls += [[library, op, {name: pair}] for pair in ([value, 1], [1, value])]
        backends = (None, "numba", "numpy") if thorough and library == "fastml" and op[0].islower() else ()
        for (one, other), backend in itertools.product(itertools.combinations(names, 2), backends):
            calls += [[library, op, {one: a, other: b, "backend": backend}] for a in EDGES for b in EDGES]
    return calls


def array_arguments(ops: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    for op in ops:
        for name, value in valid()[op].items():
            if isinstance(value, np.ndarray):
                yield op, name, value.ndim


def huge_calls(library: str, ops: Iterable[str], sizes: Iterable[int]) -> list[list[Any]]:
    return [[library, op, name, axis, size] for op, name, ndim in array_arguments(ops) for axis in range(-1, ndim)
            for size in sizes if not batches_of_rows(op, axis)]  # fmt: skip


def empty_calls(library: str, ops: Iterable[str]) -> list[list[Any]]:
    return [[library, op, name, axis] for op, name, ndim in array_arguments(ops) for axis in range(ndim)]


def batches_of_rows(op: str, axis: int) -> bool:
    """IncrementalPCA reads as many rows as there are, a batch at a time, and may be interrupted between them."""
    return op == "IncrementalPCA" and axis == 0


def unexpected(results: list[Any]) -> int:
    return sum(not isinstance(result, Died) and not result[1] for result in results)


def made(results: list[Any]) -> list[Any]:
    return [result for result in results if isinstance(result, Died) or result[0] != "not made"]


def computed(results: list[Any]) -> int:
    return sum(not isinstance(result, Died) and result[0] == "result" for result in results)


def installed() -> list[tuple[str, str, tuple[str, ...]]]:
    """Each peer, its module, and what it has of the operations and classes."""
    return [(name, library, ops) for name, (library, ops) in PEERS.items() if importlib.util.find_spec(library)]


def told(died: int, others: int, calls: int) -> str:
    return f"{died + others} of {calls}, {died} of them crashes or hangs"


def slowest(results: list[Any]) -> float:
    return max(result[2] for result in results if not isinstance(result, Died) and result[0] != "result")


def attributes(thorough: bool) -> Iterator[Figure]:
    """Rows 1, 2 and 4: crashes and hangs, and exceptions that a caller would not catch."""
    surprises = {"fastml": 0}
    asked, wait = 0, 0.0
    for row, topic in ((1, "pooling"), (2, "convolution"), (4, "the rest")):
        calls = attribute_calls(topic, "fastml", thorough)
        results = outcomes("tests.trust.hostile:attempt", calls)
        peers: dict[str, float | str] = {}
        if thorough and topic in TORCH and importlib.util.find_spec("torch"):
            theirs = outcomes("tests.trust.hostile:attempt", attribute_calls(topic, "torch", thorough))
            peers = {"PyTorch": f"{deaths(theirs)} of {len(theirs)}"}
            surprises["PyTorch"] = surprises.get("PyTorch", 0) + unexpected(theirs)
        yield Figure(row, f"crashes and hangs in {len(calls)} calls: {topic}", deaths(results), "= 0", "", peers)
        asked, surprises["fastml"] = asked + len(calls), surprises["fastml"] + unexpected(results)
        wait = max(wait, slowest(results))
    what = f"other exceptions than {', '.join(error.__name__ for error in ACCEPTED)} in these {asked} calls"
    yield Figure(4, what, surprises.pop("fastml"), "= 0", "", dict(surprises))
    yield Figure(4, "longest time to refuse one of them", wait, "< 1", "s")


def huge_arrays(thorough: bool) -> Iterator[Figure]:
    """Row 3: arrays of up to 2**58 values along an axis, made with strides of 0."""
    sizes = HUGE if thorough else HUGE[:1]
    results = made(outcomes("tests.trust.hostile:pretended", huge_calls("fastml", valid(), sizes)))
    peers = {}
    for name, library, ops in installed() if thorough else ():
        theirs = made(outcomes("tests.trust.hostile:pretended", huge_calls(library, ops, HUGE[:1]), 5))
        peers[name] = told(deaths(theirs), unexpected(theirs) + computed(theirs), len(theirs))
    what = f"crashes, hangs, other exceptions and results in {len(results)} calls with arrays larger than memory"
    yield Figure(3, what, deaths(results) + unexpected(results) + computed(results), "= 0", "", peers)
    yield Figure(3, "longest time to refuse one of them", slowest(results), "< 1", "s")


def empty_arrays(thorough: bool) -> Iterator[Figure]:
    """Row 5: each axis of each array argument of each operation without values."""
    results = outcomes("tests.trust.hostile:hollow", empty_calls("fastml", valid()))
    peers = {}
    for name, library, ops in installed() if thorough else ():
        theirs = outcomes("tests.trust.hostile:hollow", empty_calls(library, ops))
        peers[name] = told(deaths(theirs), unexpected(theirs), len(theirs))
    what = f"crashes, hangs and other exceptions in {len(results)} calls with arrays without values"
    yield Figure(5, what, deaths(results) + unexpected(results), "= 0", "", peers)
