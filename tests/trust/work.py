"""One call of each operation that is large enough for threads to share, for measurements that are about calls as such.

Nothing of fastml is imported before `calls` is called.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np


def arrays(scale: int = 1) -> dict[str, Any]:
    """Images and a matrix of about a million float32 values each, times the scale; 0 for small ones."""
    random, side = np.random.default_rng(0), 90 if scale else 10
    shape = (4 * scale or 1, 32, side, side)
    return {"x": random.normal(size=shape).astype(np.float32),
            "X": random.normal(3, 1, (20_000 * scale or 100, 50)).astype(np.float32),
            "weight": random.normal(size=(32, 32, 3, 3)).astype(np.float32),
            "pixels": random.normal(size=(32, 32, 1, 1)).astype(np.float32),
            "one": np.ones(32), "zero": np.zeros(32),
            "pooled": random.normal(size=(*shape[:2], side // 2, side // 2)).astype(np.float32)}  # fmt: skip


def calls(given: dict[str, Any], **options: Any) -> dict[str, Callable[[], Any]]:
    """By name, a call without arguments for each operation and class; `options` are n_threads and backend."""
    import fastml

    x, X, weight, grad = (given[name] for name in ("x", "X", "weight", "pooled"))
    one, zero, shape = given["one"], given["zero"], given["x"].shape
    size = {"kernel_size": 3, "stride": 2, "padding": 1}
    indices = np.broadcast_to(np.arange(grad[0, 0].size).reshape(grad.shape[2:]), grad.shape)
    found: dict[str, Callable[[], Any]] = {
        "moments": lambda: fastml.moments(X, **options),
        "standardize": lambda: fastml.standardize(X, **options),
        "conv2d": lambda: fastml.conv2d(x, weight, padding=1, **options),
        "conv2d 1x1": lambda: fastml.conv2d(x, given["pixels"], **options),
        "conv2d_backward": lambda: fastml.conv2d_backward(x, x, weight, padding=1, **options),
        "max_pool2d": lambda: fastml.max_pool2d(x, **size, return_indices=True, **options),
        "avg_pool2d": lambda: fastml.avg_pool2d(x, **size, **options),
        "max_pool2d_backward": lambda: fastml.max_pool2d_backward(grad, indices, shape, **options),
        "avg_pool2d_backward": lambda: fastml.avg_pool2d_backward(grad, shape, **size, **options),
        "batch_norm": lambda: fastml.batch_norm(x, training=True, return_stats=True, **options),
        "batch_norm_backward": lambda: fastml.batch_norm_backward(x, x, zero, one, activation="relu", **options),
        "global_avg_pool2d": lambda: fastml.global_avg_pool2d(x, **options),
        "pca": lambda: fastml.pca(X, 5, **options),
        "pca_transform": lambda: fastml.pca_transform(X, X[0], X[:5], **options),
    }
    if not options:
        found |= {
            "fold_batch_norm": lambda: fastml.fold_batch_norm(weight, zero, zero, one),
            "StandardScaler": lambda: fastml.StandardScaler().fit_transform(X),
            "PCA": lambda: fastml.PCA(5).fit_transform(X),
            "IncrementalPCA": lambda: fastml.IncrementalPCA(5).fit_transform(X),
            "TruncatedSVD": lambda: fastml.TruncatedSVD(5).fit_transform(X),
            "Conv2d": lambda: fastml.Conv2d(weight, padding=1)(x),
        }
    return found


def bits(result: Any) -> bytes:
    """All arrays of a result, as bytes."""
    if isinstance(result, np.ndarray):
        return result.tobytes()
    if isinstance(result, tuple):
        return b"".join(bits(part) for part in result if part is not None)
    names = ("count", "mean", "m2", "components", "explained_variance", "singular_values")
    return b"".join(bits(getattr(result, name)) for name in names if hasattr(result, name))


def operations(**options: Any) -> list[str]:
    """The names of all calls, or of those that take the options."""
    return list(calls(arrays(0), **options))


def peer_calls(given: dict[str, Any]) -> dict[str, Callable[[], np.ndarray]]:
    """Calls of other libraries, as far as they are installed."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    X = given["X"]
    found = {"scikit-learn KMeans": lambda: KMeans(8, n_init=1, random_state=0).fit(X).labels_,
             "scikit-learn StandardScaler": lambda: StandardScaler().fit_transform(X),
             "NumPy matmul": lambda: X.T @ X}  # fmt: skip
    if importlib.util.find_spec("torch"):
        import torch

        x, weight = torch.from_numpy(given["x"]), torch.from_numpy(given["weight"])
        found["PyTorch conv2d"] = lambda: torch.nn.functional.conv2d(x, weight, padding=1).numpy()
    return found


def peers() -> list[str]:
    return list(peer_calls(arrays(0)))


def runs(library: str, scale: int = 1, **options: Any) -> dict[str, Callable[[], bytes]]:
    """Calls of fastml or of its peers, "peer", that return the bits of their results."""
    given = arrays(scale)
    there = peer_calls(given) if library == "peer" else calls(given, **options)
    return {name: lambda run=run: bits(run()) for name, run in there.items()}
