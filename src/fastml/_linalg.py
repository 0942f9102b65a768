"""What PCA does around its kernel: LAPACK through SciPy, signs, projection. The only place that imports SciPy."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Array: TypeAlias = NDArray[Any]
Product: TypeAlias = Callable[[Array, Array], Array]

# Rows of an eigenproblem for one thread. Measured at 784: two are faster by a quarter (some vectors) to a half (all),
# but spin afterwards; below 256 they are no faster.
SMALL = 1024
QUIET = 32  # rows up to which BLAS wakes no other thread (measured): to forbid it takes 20 us
MOST_ALONE = 256  # columns up to which one thread decomposes blocks in its cache as fast as two
TINY = 64  # rows up to which NumPy's way to LAPACK takes less time than SciPy's; it needs more memory
BLOCK_BYTES = 1 << 20  # of a block that is centred and multiplied while it is in cache
LANCZOS = 1200  # rows of an eigenproblem from which on, in float32, Lanczos' method beats LAPACK's reduction
LANCZOS_BLOCK = 8  # vectors that share a pass over the matrix: with 16 it takes more of them than that saves (measured)


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
    p = scatter.shape[0]
    if multiply and p >= LANCZOS and 40 * k <= p:
        with _one_blas_thread():
            found = _lanczos(scatter.astype(np.float32), k, multiply)
        if found is not None:
            return found
    few = 8 * k < p  # measured for p from 50 to 784: below about an eighth, `syevr` for some beats `syevd` for all
    with _one_blas_thread() if QUIET < p <= SMALL else nullcontext():
        if p <= TINY and not few:
            values, vectors = np.linalg.eigh(scatter)
        else:
            from scipy.linalg import eigh

            subset, driver = ((p - k, p - 1), "evr") if few else (None, "evd")
            a = scatter.T  # the same, and in LAPACK's order, so that it works in place
            values, vectors = eigh(a, subset_by_index=subset, driver=driver, overwrite_a=True, check_finite=False)
    return np.maximum(values[::-1][:k], 0.0), vectors.T[::-1][:k]


def _lanczos(a: Array, k: int, multiply: Product) -> tuple[Array, Array] | None:
    """The k largest eigenvalues of a float32 matrix, and vectors, to a residual of 1e-5; None if that takes too long.

    Block Lanczos, each block orthogonalised against all before it, twice (G. Golub, C. Van Loan, Matrix Computations,
    10.3). The largest eigenvalues come out long before the others, as fast as gaps between them allow. Where a block
    has nothing new, as for a matrix of low rank, rounding takes its place, and goes on as a random start would.
    """
    from scipy.linalg import eigh

    p, b = a.shape[0], LANCZOS_BLOCK
    most, check = p // 4, 4 * k  # vectors; and when to look whether they are enough
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
        block, border = np.linalg.qr(new)
        sizes = abs(border.diagonal())
        if sizes.min() <= 1e-2 * max(sizes.max(), projected.diagonal().max()):  # a column lost digits
            block = np.linalg.qr(block - known @ (known.T @ block))[0]
        basis[:, m : m + b] = block
        if m >= check:
            check = m * 5 // 4
            values, vectors = eigh(projected[:m, :m], subset_by_index=(m - k, m - 1), driver="evr")
            values, vectors = values[::-1], vectors[:, ::-1]
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


def from_dual(x: Array, mean: Array, vectors: Array, dtype: Any) -> Array:
    """Components (k, p) of x - mean, orthonormal, from eigenvectors (k, n) of its dual scatter matrix.

    Products are computed in `dtype`. The largest come first, so making them orthonormal leaves them as they are.
    """
    components = np.empty((x.shape[1], len(vectors)))
    turned = vectors.T.astype(dtype, order="C")
    step = _columns(x)
    for start in range(0, x.shape[1], step):
        block = x[:, start : start + step].astype(dtype)
        block -= mean[start : start + step].astype(dtype)
        components[start : start + step] = block.T @ turned
    return np.linalg.qr(components)[0].T


def _columns(x: Array) -> int:
    """How many columns of x make a block that a cache holds."""
    return int(max(BLOCK_BYTES // (x.itemsize * x.shape[0]), 256))


def krylov(
    x: Array, mean: Array, k: int, extra: int, steps: int, tolerance: float, random: Any
) -> tuple[Array, Array] | None:
    """The k largest singular values of x - mean, nearly, and right singular vectors as rows; x is not copied.

    From `extra` more random vectors than k, a block Krylov space: what `steps` power iterations go through, all of it
    instead of the last (C. Musco, C. Musco, Randomized block Krylov methods, 2015). 2 * (steps + 1) passes over x. With
    a tolerance it goes on until a step changes no value by more than that share; None if it would take too long. By
    NumPy alone: threads of its BLAS and of SciPy's would spin beside each other, and all take twice as long (measured).
    """
    mean = mean.astype(x.dtype)
    size = min(k + extra, *x.shape)
    steps = max(min(steps, min(x.shape) // size - 1), 0)
    most = max(min(x.shape) // 4 // size, steps + 1) if tolerance else steps + 1
    left = np.empty((x.shape[0], most * size), x.dtype, order="F")
    right = np.empty((x.shape[1], most * size), x.dtype, order="F")
    start = random.standard_normal((x.shape[1], size)).astype(x.dtype)
    before = None
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
        if first >= (steps - bool(tolerance)) * size:
            basis, triangle = np.linalg.qr(right[:, : first + size])
            vectors, values, _ = np.linalg.svd(triangle)
            if not tolerance or (before is not None and (abs(values[:k] - before) <= tolerance * values[:k]).all()):
                return values[:k], (basis @ vectors[:, :k]).T
            before = values[:k]
    return None


def _centred_blocks(x: Array, mean: Array) -> Iterator[tuple[slice, Array]]:
    """Blocks of rows of x - mean, each in a cache while it is needed."""
    step = max(BLOCK_BYTES // (x.itemsize * x.shape[1]), 64)
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        yield rows, x[rows] - mean


def arpack(x: Array, mean: Array, k: int, tolerance: float, random: Any) -> tuple[Array, Array]:
    """The k largest singular values of x - mean, descending, and right singular vectors as rows, by ARPACK.

    It finds eigenvectors of the scatter matrix, of columns or of rows if these are fewer, from products with vectors,
    for each of which x is centred block by block in float64. Values are then computed without squares.
    """
    from scipy.linalg import svd
    from scipy.sparse.linalg import LinearOperator, eigsh

    p = min(x.shape)
    rows = max(BLOCK_BYTES // (8 * p), 64)
    smallest = np.finfo(np.float64).tiny ** 0.5
    if not any((abs(block) > smallest).any() for block in _centred_lengthwise(x, mean, rows)):
        return np.zeros(k), np.eye(k, x.shape[1])  # of constants, or squares that underflow, ARPACK raises an error

    def scatter_times(vector: Array) -> Any:
        return sum(block.T @ (block @ vector) for block in _centred_lengthwise(x, mean, rows))

    options: dict[str, Any] = {"v0": random.uniform(-1, 1, p), "tol": tolerance**2}
    if "rng" in signature(eigsh).parameters:  # since SciPy 1.17: where it finds no more directions, it draws some
        options["rng"] = np.random.default_rng(0)
    with _one_blas_thread():  # ARPACK uses SciPy's BLAS, the products NumPy's: their threads would spin side by side
        _, basis = eigsh(LinearOperator((p, p), scatter_times, dtype=np.float64), k, **options)
        basis = np.linalg.qr(basis)[0]
        triangle = _triangle((block @ basis for block in _centred_lengthwise(x, mean, rows)), k)
        _, values, turn = svd(triangle)
    vectors = turn @ basis.T
    return values, vectors if x.shape[1] == p else from_dual(x, mean, vectors, np.float64)


def svd_centred(x: Array, mean: Array, k: int) -> tuple[Array, Array]:
    """All singular values of x - mean, descending, and k right singular vectors as rows, in float64 whatever x is.

    Those of the triangle R in x - mean = QR: neither Q nor a centred copy is made. Where x is wide, R is that of its
    transposed and has the left singular vectors u; a pass over x turns them into v = (x - mean)'u / sigma. Rounding
    turns v by eps * sigma_1 / sigma, which is what the gap between sigma and zero allows.
    """
    from scipy.linalg import svd

    n, p = max(x.shape), min(x.shape)
    rows = max(p, min(2 * p, n // 16), 2**13 // p)  # twice as many as columns is fastest (measured), if memory allows
    with _one_blas_thread() if p <= MOST_ALONE else nullcontext():
        triangle = _triangle(_centred_lengthwise(x, mean, rows), p)
        _, values, vectors = svd(triangle, overwrite_a=True, check_finite=False)
    return values, vectors[:k] if x.shape[1] == p else from_dual(x, mean, vectors[:k], np.float64)


def _centred_lengthwise(x: Array, mean: Array, rows: int) -> Iterator[Array]:
    """Blocks of rows of x - mean, or of its transposed where x is wide, in float64."""
    for start in range(0, max(x.shape), rows):
        piece = slice(start, start + rows)
        yield x[piece] - mean if x.shape[0] >= x.shape[1] else (x[:, piece] - mean[piece]).T


def _triangle(blocks: Iterable[Array], columns: int) -> Array:
    """R of the QR decomposition of a matrix whose blocks of rows join R one after another, each while it is in cache.

    J. Demmel et al. (2012), SIAM J. Sci. Comput. 34: TSQR.
    """
    from scipy.linalg.lapack import dtpqrt

    panel = min(16 if columns <= MOST_ALONE else 32, columns)  # measured
    triangle = np.zeros((columns, columns), order="F")
    for block in blocks:
        triangle = dtpqrt(0, panel, triangle, block, overwrite_a=True, overwrite_b=True)[0]
    return triangle


def condition(singular_values: Array) -> float:
    """The largest over the smallest of singular values, infinite where that is zero, NaN where there are none."""
    if not singular_values.size:
        return float("nan")
    smallest = float(singular_values[-1])
    return float(singular_values[0]) / smallest if smallest else float("inf")


def fix_signs(components: Array) -> Array:
    """Make the entry of largest magnitude of each row positive: scikit-learn's rule, which depends on nothing else."""
    largest = np.argmax(np.abs(components), axis=1)
    signs = np.sign(components[np.arange(components.shape[0]), largest])
    return components * np.where(signs == 0, 1, signs)[:, np.newaxis]
