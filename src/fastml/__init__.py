"""CPU kernels behind machine learning's everyday operations, as fast as the machine allows, in code a student can read.

The house, layer by layer; each layer calls only those below it:

    estimators/    StandardScaler, PCA, IncrementalPCA, TruncatedSVD: scikit-learn's classes on the operations
    layers/        Conv2d: weights that are prepared once, and used in many calls
    ops/           the public operations, a file each: validate, choose, call, return
    learn/         measuring and learning: roofline, ladders, exercises, the command line; nothing imports it
    _validate/     the only place that raises about arguments
    _needs.py      what a rung needs of a problem, and where it pays
    _dispatch.py   which rung runs          _threads.py  how many threads        _cpu.py  which instruction set
    _linalg.py     LAPACK, for PCA and its like
    _registry.py   the table of rungs: every kernel, in the order of the ladders
    _ref/  _jit/  _core/    the kernels: NumPy (the specification), Numba, Cython; a file for each operation; vectors
                   are in _core/simd.h, normalize.h (for standardize and batch norm), pool.h (for pooling), and for
                   conv2d in tile.h, rows.h, winograd.h, depthwise.h, dots.h and conv2d_backward.h

`fastml.explain("conv2d", x, weight)` follows one call through it; `fastml.show_config()` says what it found here.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "BatchNormGradients": "ops.batch_norm_backward",
    "Conv2d": "layers.conv2d",
    "Conv2dGradients": "ops.conv2d_backward",
    "IncrementalPCA": "estimators.incremental_pca",
    "Moments": "ops.moments",
    "PCA": "estimators.pca",
    "PCAResult": "ops.pca",
    "StandardScaler": "estimators.standard_scaler",
    "TruncatedSVD": "estimators.truncated_svd",
    "avg_pool2d": "ops.avg_pool2d",
    "avg_pool2d_backward": "ops.avg_pool2d_backward",
    "backend": "_dispatch",
    "batch_norm": "ops.batch_norm",
    "batch_norm_backward": "ops.batch_norm_backward",
    "configuration": "ops.explain",
    "conv2d": "ops.conv2d",
    "conv2d_backward": "ops.conv2d_backward",
    "explain": "ops.explain",
    "fold_batch_norm": "ops.fold_batch_norm",
    "get_num_threads": "_threads",
    "global_avg_pool2d": "ops.global_avg_pool2d",
    "max_pool2d": "ops.max_pool2d",
    "max_pool2d_backward": "ops.max_pool2d_backward",
    "moments": "ops.moments",
    "pca": "ops.pca",
    "pca_transform": "ops.pca_transform",
    "set_backend": "_dispatch",
    "set_num_threads": "_threads",
    "show_config": "ops.explain",
    "standardize": "ops.standardize",
}

__all__ = sorted(_HOMES)

# It brings OpenMP's runtime: threadpoolctl limits what it finds, and a limit may come before the first call.
importlib.import_module("fastml._core.baseline._system")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fastml' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastml.{_HOMES[name]}"), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
