"""What PCA does around its kernel: LAPACK through SciPy, signs, projection. The only place that imports SciPy."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Array: TypeAlias = NDArray[Any]
Product: TypeAlias = Callable[[Array, Array], Array]

# Rows of an eigenproblem for one thread. Measured at 784: two are faster by a quarter (some vectors) to a half (all),
# but spin afterwards; below 256 they are no faster.
SMALL = 1024
BLOCK_BYTES = 1 << 20  # of a block that is centred and multiplied while it is in cache
LANCZOS = 1200  # rows of an eigenproblem from which on, in float32, Lanczos' method beats LAPACK's reduction
LANCZOS_BLOCK = 4  # vectors that share a pass over the matrix: with more it takes more of them in all (measured)


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


def eigh_largest(scatter: Array, k: int, multiply: Product | None = None) -> tuple[Array, Array]:
    """The k largest eigenvalues, descending, and their eigenvectors as rows. `scatter` may be overwritten.

    Where as exact as float32 is enough, `multiply` is given: the product of a float32 matrix and a few columns.
    """
    from scipy.linalg import eigh

    p = scatter.shape[0]
    if multiply and p >= LANCZOS and 40 * k <= p:
        with _one_blas_thread():
            found = _lanczos(scatter.astype(np.float32), k, multiply)
        if found is not None:
            return found
    few = 8 * k < p  # measured for p from 50 to 784: below about an eighth, `syevr` for some beats `syevd` for all
    subset, driver = ((p - k, p - 1), "evr") if few else (None, "evd")
    with _one_blas_thread() if p <= SMALL else nullcontext():
        values, vectors = eigh(scatter, subset_by_index=subset, driver=driver, overwrite_a=True, check_finite=False)
    return np.maximum(values[::-1][:k], 0.0), vectors.T[::-1][:k]


def _lanczos(a: Array, k: int, multiply: Product) -> tuple[Array, Array] | None:
    """The k largest eigenvalues of a float32 matrix, and vectors, to a residual of 1e-5; None if that takes too long.

    Block Lanczos, each block orthogonalised against all before it, twice (G. Golub, C. Van Loan, Matrix Computations,
    10.3). The largest eigenvalues come out long before the others, as fast as gaps between them allow.
    """
    p, b = a.shape[0], LANCZOS_BLOCK
    most, check = p // 4, 6 * k  # vectors; and when to look whether they are enough
    basis, projected = np.empty((p, most + b), a.dtype, order="F"), np.zeros((most, most))
    basis[:, :b] = np.linalg.qr(np.random.default_rng(0).standard_normal((p, b), np.float32))[0]
    for m in range(b, most + 1, b):
        known, new = basis[:, :m], multiply(a, basis[:, m - b : m])
        overlap = known.T @ new
        new -= known @ overlap
        again = known.T @ new
        new -= known @ again
        projected[:m, m - b : m] = overlap + again
        projected[m - b : m, :m] = projected[:m, m - b : m].T
        basis[:, m : m + b], border = np.linalg.qr(new)
        if m >= check:
            check = m * 5 // 4
            values, vectors = np.linalg.eigh(projected[:m, :m])
            values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
            if np.linalg.norm(border @ vectors[-b:], axis=0).max() <= 1e-5 * values[0]:
                return np.maximum(values, 0.0), (known @ vectors.astype(a.dtype)).T
    return None


def dual_scatter(x: Array, mean: Array, dtype: Any) -> Array:
    """(x - mean) @ (x - mean).T, for wide x, in float64; products of blocks of columns are computed in `dtype`."""
    n, p = x.shape
    scatter = np.zeros((n, n))
    step = _columns(x)
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is refused when the result shows it
        for start in range(0, p, step):
            block = x[:, start : start + step].astype(dtype)
            block -= mean[start : start + step].astype(dtype)
            scatter += block @ block.T
        scatter -= scatter.mean(axis=0)  # what rounding the mean has left
        scatter -= scatter.mean(axis=1)[:, np.newaxis]
    return scatter


def from_dual(x: Array, mean: Array, vectors: Array) -> Array:
    """Components (k, p) of x - mean, orthonormal, from eigenvectors (k, n) of its dual scatter matrix."""
    components = np.empty((x.shape[1], len(vectors)), x.dtype)
    turned = vectors.T.astype(x.dtype, order="C")
    step = _columns(x)
    for start in range(0, x.shape[1], step):
        block = x[:, start : start + step] - mean[start : start + step].astype(x.dtype)
        np.matmul(block.T, turned, out=components[start : start + step])
    return np.linalg.qr(components.astype(np.float64))[0].T


def _columns(x: Array) -> int:
    """How many columns of x make a block that a cache holds."""
    return int(max(BLOCK_BYTES // (x.itemsize * x.shape[0]), 256))


def krylov(x: Array, mean: Array, k: int, extra: int, steps: int, random: Any) -> tuple[Array, Array]:
    """The k largest singular values of x - mean, nearly, and right singular vectors as rows; x is not copied.

    From `extra` more random vectors than k, a block Krylov space: what `steps` power iterations go through, all of it
    instead of the last (C. Musco, C. Musco, Randomized block Krylov methods, 2015). 2 * (steps + 1) passes over x. By
    NumPy alone: threads of its BLAS and of SciPy's would spin beside each other, and all take twice as long (measured).
    """
    mean = mean.astype(x.dtype)
    size = min(k + extra, *x.shape)
    steps = max(min(steps, min(x.shape) // size - 1), 0)
    left = np.empty((x.shape[0], (steps + 1) * size), x.dtype, order="F")
    right = np.empty((x.shape[1], (steps + 1) * size), x.dtype, order="F")
    start = random.standard_normal((x.shape[1], size)).astype(x.dtype)
    for first in range(0, left.shape[1], size):
        block, known = slice(first, first + size), left[:, :first]
        new = np.empty((x.shape[0], size), x.dtype)
        for rows, centred in _centred_blocks(x, mean):
            np.matmul(centred, start, out=new[rows])
        for _ in range(2):
            new -= known @ (known.T @ new)
        left[:, block] = np.linalg.qr(new)[0]
        right[:, block] = 0
        for rows, centred in _centred_blocks(x, mean):
            right[:, block] += centred.T @ left[rows, block]
        start = np.linalg.qr(right[:, block])[0]
    basis, triangle = np.linalg.qr(right)
    vectors, values, _ = np.linalg.svd(triangle)
    return values[:k], (basis @ vectors[:, :k]).T


def _centred_blocks(x: Array, mean: Array) -> Iterator[tuple[slice, Array]]:
    """Blocks of rows of x - mean, each in a cache while it is needed."""
    step = max(BLOCK_BYTES // (x.itemsize * x.shape[1]), 64)
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        yield rows, x[rows] - mean


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
