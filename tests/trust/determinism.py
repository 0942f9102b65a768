"""The same bits in every run, for any number of threads, in any batch; and the corners of pooling as in PyTorch."""

import hashlib
import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.trust.figures import Figure, largest
from tests.trust.isolated import call
from tests.trust.work import arrays, bits, calls


def digests(backend: str | None, n_threads: int) -> dict[str, str]:
    """A hash of each operation's results."""
    import fastml

    fastml.set_num_threads(n_threads)
    options = {"backend": backend} if backend else {}
    return {name: hashlib.sha256(bits(run())).hexdigest() for name, run in calls(arrays(), **options).items()}


def peer_digests(n_threads: int) -> dict[str, str]:
    """The same for PyTorch, where it is installed, and scikit-learn."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    given, found = arrays(), {}
    with threadpool_limits(n_threads):
        for estimator in (StandardScaler(), PCA(5)):
            result = estimator.fit_transform(given["X"])
            found[f"scikit-learn {type(estimator).__name__}"] = hashlib.sha256(result.tobytes()).hexdigest()
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(n_threads)
        x, weight, X = (torch.from_numpy(given[name]) for name in ("x", "weight", "X"))
        for name, result in (
            ("conv2d", torch.nn.functional.conv2d(x, weight, padding=1)),
            ("batch_norm", torch.nn.functional.batch_norm(x, None, None, training=True)),
            ("std", X.std(dim=0)),
            ("matmul", X.T @ X),
        ):
            found[f"PyTorch {name}"] = hashlib.sha256(result.numpy().tobytes()).hexdigest()
    return found


def differing(runs: list[dict[str, str]]) -> list[str]:
    return [name for name in runs[0] if len({run[name] for run in runs}) > 1]


def threads(thorough: bool) -> Iterator[Figure]:
    """Row 32: each number of threads in an interpreter of its own, the first twice."""
    counts = (1, 1, 2, 3, 7) if thorough else (1, 3)
    peers: dict[str, float | str] = {}
    if thorough:
        theirs = [call("tests.trust.determinism:peer_digests", n) for n in counts]
        for library in ("scikit-learn", "PyTorch"):
            own = [name for name in theirs[0] if name.startswith(library)]
            if own:
                peers[library] = f"{sum(name.startswith(library) for name in differing(theirs))} of {len(own)}"
    for backend in (None, "numba") if thorough else (None,):
        runs = [call("tests.trust.determinism:digests", backend, n, seconds=300,
                     NUMBA_NUM_THREADS="7", OPENBLAS_NUM_THREADS=str(min(n, 2))) for n in counts]  # fmt: skip
        tried = ", ".join(str(n) for n in sorted(set(counts)))
        what = f"of {len(runs[0])} operations those whose bits change between runs, or with {tried} threads"
        name = f"; backend {backend}" if backend else ""
        yield Figure(32, what + name, len(differing(runs)), "= 0", "", {} if backend else peers)


def unlike_alone(run: Any, x: np.ndarray) -> float:
    """The largest difference between images of a batch, and each of them alone."""
    whole = run(x)
    return largest(*(float(abs(whole[i] - run(x[i : i + 1])[0]).max()) for i in range(len(x))))


def batches(thorough: bool) -> Iterator[Figure]:
    """Row 33: an image has the same bits alone and among others, whatever algorithm its shape chooses."""
    import fastml

    random = np.random.default_rng(0)
    problems = [(16, 8, 14, 3), (64, 64, 7, 3), (3, 16, 30, 7), (32, 32, 9, 1), (256, 64, 1, 1)]
    worst = {"fastml": 0.0}
    for channels, outputs, size, kernel in problems:
        x = random.normal(size=(5, channels, size, size)).astype(np.float32)
        weight = random.normal(size=(outputs, channels, kernel, kernel)).astype(np.float32)
        runs = {"fastml": lambda x, w=weight, k=kernel: fastml.conv2d(x, w, padding=k // 2)}
        if thorough and importlib.util.find_spec("torch"):
            import torch

            runs["PyTorch"] = lambda x, w=weight, k=kernel: torch.nn.functional.conv2d(
                torch.from_numpy(x), torch.from_numpy(w), padding=k // 2
            ).numpy()
        for name, run in runs.items():
            worst[name] = largest(worst.get(name, 0.0), unlike_alone(run, x))
    what = "largest difference between images of a batch of 5 and each alone, conv2d, 5 shapes"
    yield Figure(33, what, worst.pop("fastml"), "= 0", "", dict(worst))


def outcome(function: Any, **arguments: Any) -> Any:
    try:
        return function(**arguments)
    except (ValueError, RuntimeError) as error:
        return type(error)


def pooling_corners(thorough: bool) -> Iterator[Figure]:
    """Row 31: the same windows, sums, maxima and divisors as PyTorch, or an error from both; needs PyTorch."""
    if not importlib.util.find_spec("torch"):
        return
    import torch

    import fastml

    x = np.random.default_rng(0).normal(size=(1, 1, 7, 8))
    asked = {"max_pool2d": 0, "avg_pool2d": 0}
    mismatches = dict(asked)
    sizes, strides = ((1, 2, 3, 4, 7) if thorough else (2, 3)), ((1, 2, 3, 5) if thorough else (1, 2, 3))
    for kernel, stride, padding, ceil in itertools.product(sizes, strides, (0, 1, 2), (False, True)):
        common = {"kernel_size": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil}
        variants = [("max_pool2d", {"dilation": d}) for d in (1, 2, 3)]
        variants += [("avg_pool2d", {"count_include_pad": c, "divisor_override": d}) for c in (False, True)
                     for d in (None, 3)]  # fmt: skip
        for op, options in variants:
            ours = outcome(getattr(fastml, op), x=x, **common, **options)
            theirs = outcome(getattr(torch.nn.functional, op), input=torch.from_numpy(x), **common, **options)
            asked[op] += 1
            if isinstance(ours, type) or isinstance(theirs, type):
                mismatches[op] += isinstance(ours, type) != isinstance(theirs, type)
            else:
                mismatches[op] += ours.shape != theirs.shape or not np.allclose(ours, theirs.numpy(), 1e-14, 1e-14)
    for op in asked:
        yield Figure(31, f"mismatches with PyTorch in {asked[op]} calls of {op}", mismatches[op], "= 0")
