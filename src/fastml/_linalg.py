"""What PCA does around its kernel: LAPACK through SciPy, signs, projection. The only place that imports SciPy."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Array: TypeAlias = NDArray[Any]

# Rows of an eigenproblem for one thread. Measured at 784: two are faster by a quarter (some vectors) to a half (all),
# but spin afterwards; below 256 they are no faster.
SMALL = 1024
PROJECT_BYTES = 1 << 18  # of a block of rows that is centred and multiplied while it is in cache


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # its BLAS must be there to be found  # noqa: F401

    return ThreadpoolController()


_lock = threading.Lock()  # the number of threads is one for the process: two callers would restore each other's limit


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that held the old one is not in the child


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """BLAS threads spin for 0.1 s after their work and slow down the kernels that come next: do without them."""
    with _lock, _controller().limit(limits=1, user_api="blas"):
        yield


def eigh_largest(scatter: Array, k: int) -> tuple[Array, Array]:
    """The k largest eigenvalues, descending, and their eigenvectors as rows. `scatter` may be overwritten."""
    from scipy.linalg import eigh

    p = scatter.shape[0]
    few = 8 * k < p  # measured for p from 50 to 784: below about an eighth, `syevr` for some beats `syevd` for all
    subset, driver = ((p - k, p - 1), "evr") if few else (None, "evd")
    with _one_blas_thread() if p <= SMALL else nullcontext():
        values, vectors = eigh(scatter, subset_by_index=subset, driver=driver, overwrite_a=True, check_finite=False)
    return np.maximum(values[::-1][:k], 0.0), vectors.T[::-1][:k]


def svd_centred(x: Array, mean: Array) -> tuple[Array, Array]:
    """All singular values, descending, and right singular vectors (as rows) of x - mean.

    A tall matrix is first reduced to the R of its QR decomposition, a wide one to L: U is never formed.
    """
    from scipy.linalg import qr, svd

    centred = (x - mean).astype(x.dtype, copy=False)  # subtracted in float64
    if x.shape[0] >= x.shape[1]:
        (r,) = qr(centred, mode="r", overwrite_a=True, check_finite=False)
        _, values, vectors = svd(r[: x.shape[1]], full_matrices=False, overwrite_a=True, check_finite=False)
        return values, vectors
    q, r = qr(centred.T, mode="economic", overwrite_a=True, check_finite=False)  # x' = QR, so x = R'Q'
    left, values, _ = svd(r, full_matrices=False, overwrite_a=True, check_finite=False)
    return values, (q @ left).T


def fix_signs(components: Array) -> Array:
    """Make the entry of largest magnitude of each row positive: scikit-learn's rule, which depends on nothing else."""
    largest = np.argmax(np.abs(components), axis=1)
    signs = np.sign(components[np.arange(components.shape[0]), largest])
    return components * np.where(signs == 0, 1, signs)[:, np.newaxis]


def project(x: Array, mean: Array, components: Array) -> Array:
    """(x - mean) @ components.T, in blocks of rows: no centred copy, and no cancellation."""
    result = np.empty((x.shape[0], components.shape[0]), x.dtype)
    basis = np.ascontiguousarray(components.T, dtype=x.dtype)
    step = max(PROJECT_BYTES // (8 * max(x.shape[1], 1)), 64)
    for start in range(0, x.shape[0], step):
        block = (x[start : start + step] - mean).astype(x.dtype, copy=False)
        np.matmul(block, basis, out=result[start : start + step])
    return result
