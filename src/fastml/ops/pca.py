"""Principal component analysis."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _linalg, _threads, _validate
from fastml.ops import moments, pca_transform


@dataclass(frozen=True, slots=True, eq=False)
class PCAResult:
    """Components of a data set; `transform` and `inverse_transform` use them.

    Shapes, with p columns and k components: mean (p,), float64; components (k, p) and the others (k,), of X's dtype.
    """

    mean: NDArray[Any]
    components: NDArray[Any]
    singular_values: NDArray[Any]
    explained_variance: NDArray[Any]
    explained_variance_ratio: NDArray[Any]
    noise_variance: float
    n_samples: int
    whiten: bool
    solver: str  # what was used: "covariance_eigh", "full", "randomized" or "arpack"

    @property
    def condition(self) -> float:
        """The largest singular value over the smallest one kept: the condition number of X - mean, if all were kept.

        Of a scatter matrix it is the square, so a large one is why "auto" computes in float64 or takes "full". Beyond
        1 / eps of X's dtype it is rounding; infinite where the smallest is 0.
        """
        return _linalg.condition(self.singular_values)

    def first(self, k: int) -> "PCAResult":
        """The first k components: what n_components=k gives. Raises ValueError unless 0 <= k <= components."""
        have = len(self.components)
        _validate.integer(k, "k", 0, have)
        rank, variance = min(self.n_samples, self.mean.size), self.explained_variance.astype(np.float64)
        rest = float(variance[k:].sum()) + self.noise_variance * (rank - have)
        return replace(
            self, components=self.components[:k].copy(), singular_values=self.singular_values[:k],
            explained_variance=self.explained_variance[:k],
            explained_variance_ratio=self.explained_variance_ratio[:k],
            noise_variance=rest / (rank - k) if k < rank else 0.0,
        )  # fmt: skip

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """(X - mean) @ components.T, of X's dtype; with `whiten`, divided by the standard deviations."""
        x = _validate.rows_of(X, self.mean.size, "X")
        basis = self.components / self._scale()[:, np.newaxis] if self.whiten else self.components
        return pca_transform.pca_transform(x, self.mean, basis)

    def inverse_transform(self, Z: ArrayLike) -> NDArray[Any]:
        """Back to the original columns: Z @ components + mean."""
        z = _validate.rows_of(Z, self.components.shape[0], "Z")
        with np.errstate(over="ignore", invalid="ignore"):  # as kernels, which do not warn
            scaled = z * self._scale() if self.whiten else z
            result: NDArray[Any] = (scaled @ self.components + self.mean).astype(z.dtype, copy=False)
        return result

    def _scale(self) -> NDArray[Any]:
        """Standard deviations; a direction without variance is not blown up."""
        scale: NDArray[Any] = np.maximum(np.sqrt(self.explained_variance), np.finfo(self.components.dtype).eps)
        return scale


def pca(
    X: ArrayLike,
    n_components: float | None = None,
    *,
    solver: str = "auto",
    whiten: bool = False,
    n_oversamples: int = 10,
    n_iterations: int = 4,
    tol: float = 0.0,
    random_state: int | np.random.RandomState | np.random.Generator = 0,
    n_threads: int | None = None,
    backend: str | None = None,
) -> PCAResult:
    """Principal components: the eigenvectors of the covariance of X's columns, by falling variance.

    Parameters
    ----------
    X: (rows, columns), at least 2 rows; float32 or float64, any layout; integers are computed as float64.
    n_components: how many to keep; or a number in (0, 1), the share of variance to reach; None for all, min(X.shape).
    solver: "covariance_eigh" (the scatter matrix of columns, or of rows if these are fewer, and its eigenvectors);
        "full" (as exact as an SVD: products in float64, and where they lose digits QR, then SVD of the triangle);
        "auto": the first, unless accuracy asks for the second (below); or "randomized": near the largest components in
        a few passes over X, where min(X.shape) > 1000; below that exact ones take less time, and are what it gives; or
        "arpack": products with vectors, as many as it takes; fewer components than min(X.shape).
    whiten: `transform` gives unit variances.
    n_oversamples, n_iterations, random_state: of "randomized": vectors beside n_components, how often X'X is applied to
        them, and the seed, or generator, that they, and the first vector of "arpack", are drawn from.
    tol: how exact singular values are to be, relative. Of "arpack": 0 for as exact as products allow. Of "randomized":
        0 for n_iterations; else more, until none changes a value by more; or exact components, where that takes long.
    n_threads, backend: of the kernel, for this call; None for what `set_num_threads` and `set_backend` say. LAPACK goes
        by the limits of its own threads.

    Returns a `PCAResult` in X's dtype; its `solver` says what was used.

    Raises TypeError for dtypes; ValueError for shapes, NaN or infinity, and n_components out of range.

    A scatter matrix holds squares, of which an eigenvalue far below the largest loses digits. Where one that was asked
    for, or the sum of the others, is below 1e-3 of the largest, "auto" computes products of float32 in float64; below
    1e-6, or 1e-11 where X is float32, it takes QR and SVD in float64; "full" does so below 1e-2, or 1e-11. So variances
    are right to about 1e-4 for float32 and 1e-8 for float64. The mean is subtracted before anything is rounded, so the
    result is right on uncentred data. Signs: the largest entry of each component is positive.

    Cost: rows * columns * min(X.shape) flops in one pass over X, and an eigenproblem; QR takes twice as many. Memory:
    blocks, and a few square matrices of the lesser of rows and columns; no centred copy. What is not C-contiguous,
    aligned and a float is copied once. scikit-learn: `PCA(n_components).fit(X)`.
    K. Pearson (1901), Philosophical Magazine 2.

    >>> import numpy as np, fastml
    >>> cross = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]]) + 1e6
    >>> result = fastml.pca(cross, 1)
    >>> result.components.round(6), result.explained_variance.round(3)
    (array([[0.6, 0.8]]), array([66.667]))
    """
    problem, keep, random = _validate.pca(
        X, n_components, solver=solver, whiten=whiten, n_oversamples=n_oversamples, n_iterations=n_iterations,
        tol=tol, random_state=random_state,
    )
    at_most = keep if isinstance(keep, int) else min(problem.x.shape)
    if _validate.by_products(problem.x, keep, solver):
        arpack = partial(_linalg.arpack, tolerance=tol, random=random)
        krylov = partial(_linalg.krylov, extra=n_oversamples, steps=n_iterations, tolerance=tol, random=random)
        method = arpack if solver == "arpack" else krylov
        found = _by_products(problem, at_most, whiten, solver, method, n_threads, backend)
        return found or pca(problem.x, at_most, whiten=whiten, n_threads=n_threads, backend=backend)
    wanted = partial(_result, problem, keep, whiten)
    for precise in _precisions(problem.x, solver):
        squares, components, total = _eigen(problem, at_most, precise, n_threads, backend)
        result = wanted(squares, components, total, solver if solver == "full" else "covariance_eigh")
        if solver == "covariance_eigh" or not _lost_digits(result, 1e-2 if solver == "full" else 1e-6, precise):
            return result
    return wanted(*_svd(problem, at_most), "full")


class Scatter(NamedTuple):
    """What principal components of a stream need of the rows so far: their number, mean (p,) and scatter matrix (p, p).

    `matrix` is the sum over rows of (x - mean)(x - mean)^T; all is float64, whatever X was. `merge` is associative and
    commutative up to rounding, so rows may be cut into pieces anywhere.

    >>> import numpy as np
    >>> from fastml.ops.pca import scatter
    >>> X = np.array([[1.0, 2.0], [3.0, 2.0], [5.0, 8.0]])
    >>> pieces = scatter(X[:2]).merge(scatter(X[2:]))
    >>> pieces.count, pieces.mean, pieces.matrix
    (3, array([3., 4.]), array([[ 8., 12.],
           [12., 24.]]))
    """

    count: int  # type: ignore[assignment]  # tuple.count is not needed
    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def merge(self, other: Self) -> Self:
        """The scatter of both sets of rows together, by Chan's formula. Cost: 3 p^2 flops, a new matrix.

        The mean moves from that of the larger side, as in `Moments.merge`. Raises ValueError for another number of
        columns.
        """
        if self.mean.size != other.mean.size:
            raise ValueError(f"other must have {self.mean.size} columns, got {other.mean.size}")
        more, fewer = (self, other) if self.count >= other.count else (other, self)
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):  # the callers refuse what is not finite
            delta = fewer.mean - more.mean
            weighted = delta * np.sqrt(more.count * (fewer.count / count))
            matrix = np.multiply.outer(weighted, weighted)  # of one vector with itself: symmetric to the last bit
            matrix += more.matrix
            matrix += fewer.matrix
            return type(self)(count, more.mean + delta * (fewer.count / count), matrix)


def scatter(X: ArrayLike, n_threads: int | None = None, backend: str | None = None) -> Scatter:
    """The `Scatter` of the rows of X, one or more, by the kernel of `pca`. For the estimators.

    Raises TypeError for dtypes; ValueError for shapes, NaN or infinity, and values whose squares overflow. Where those
    of float32 underflow, X is computed as float64. Cost: rows * columns^2 flops in one pass over X.
    """
    x = _validate.rows_of(X, np.shape(X)[-1], "X")
    if x.shape[0] == 1:
        _validate.finite_result(x, x)
        return Scatter(1, x[0].astype(np.float64), np.zeros((x.shape[1], x.shape[1])))
    problem = _validate.scatter(x)
    kernel = _dispatch.kernel("pca", problem, backend)
    kernel(*problem, _threads.count(n_threads, problem.work))
    _validate.finite_result(x, problem.scatter)
    dtype = np.finfo(x.dtype)
    if x.dtype == np.float32 and problem.scatter.trace() < dtype.tiny / dtype.eps * x.shape[0]:
        return scatter(x.astype(np.float64), n_threads, backend)
    return Scatter(x.shape[0], problem.mean, problem.scatter)


def _precisions(x: NDArray[Any], solver: str) -> tuple[bool, ...]:
    """Whether to compute the products of a scatter matrix in float64; first this, and if digits are lost, that."""
    if x.dtype == np.float64:
        return (True,)
    return {"covariance_eigh": (False,), "full": (True,)}.get(solver, (False, True))


def _lost_digits(result: PCAResult, smallest: float, precise: bool) -> bool:
    """Whether the smallest variance kept, or all that was left out, is too small for a matrix of squares to tell.

    `smallest` is its share of the largest in float64. Of float32, which is to be right to 1e-4, it is 1e-3, or 1e-11 if
    products are computed in float64.
    """
    variance = result.explained_variance
    dtype = np.finfo(variance.dtype)
    if variance[0] < dtype.tiny / dtype.eps:  # products underflowed
        return not precise or dtype.dtype == np.float64
    if dtype.dtype == np.float32:
        smallest = 1e-11 if precise else 1e-3
    left_out = min(result.n_samples - 1, result.mean.size) - variance.size  # centred rows have a direction less
    least = smallest * float(variance[0])
    return bool(variance[-1] < least or (left_out and result.noise_variance * left_out < least))


def _eigen(
    problem: Any, at_most: int, precise: bool, n_threads: int | None, backend: str | None
) -> tuple[Any, Any, float]:
    """Squares of singular values, components and the sum of all squares, from the smaller scatter matrix."""
    x, dtype = problem.x, np.float64 if precise else problem.x.dtype
    if problem.scatter.size:
        double = x.dtype == np.float32 and precise
        kernel = _precise(problem, backend) if double else _dispatch.kernel("pca", problem, backend)
        kernel(*problem, _threads.count(n_threads, problem.work))
        scatter = problem.scatter
    else:
        # by NumPy: its BLAS comes next, and threads of a kernel would still be waiting for work beside those
        with np.errstate(invalid="ignore", over="ignore"):
            problem.mean[:] = x.mean(axis=0, dtype=np.float64)
        scatter = _linalg.dual_scatter(x, problem.mean, dtype)
    _validate.finite_result(x, scatter)
    total = float(scatter.trace())
    product = None if precise else partial(_product, n_threads, backend)
    squares, vectors = _linalg.eigh_largest(scatter, at_most, product)
    return squares, vectors if problem.scatter.size else _linalg.from_dual(x, problem.mean, vectors, dtype), total


def _product(n_threads: int | None, backend: str | None, a: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """a @ columns, by the kernel of `pca_transform`, on all threads, while BLAS is held to one."""
    return pca_transform.pca_transform(a, np.zeros(len(a)), columns.T, n_threads=n_threads, backend=backend)


def _precise(problem: Any, backend: str | None) -> Any:
    """The kernel that computes products of float32 in float64; those of NumPy and Numba all do."""
    backend = _dispatch.current_backend(backend)
    return _dispatch.kernel("pca", problem, backend, "precise" if backend == "cython" else "auto")


def _by_products(
    problem: Any, k: int, whiten: bool, solver: str, method: Callable[[Any, Any, int], Any], n_threads: int | None,
    backend: str | None,
) -> PCAResult | None:
    """By a method that takes products of X - mean with vectors instead of a scatter matrix; None where it gives up."""
    stats = moments.compute(_validate.moments(problem.x)[0], n_threads, backend)
    _validate.finite_result(problem.x, np.where(stats.count == len(problem.x), stats.m2, np.nan))  # NaN is not counted
    problem.mean[:] = stats.mean
    found = method(problem.x, problem.mean, k)
    if found is None:
        return None
    values, components = found
    squares = np.square(values, dtype=np.float64)
    return _result(problem, k, whiten, squares, components, float(stats.m2.sum()), solver)


def _svd(problem: Any, at_most: int) -> tuple[Any, Any, float]:
    """What `_eigen` returns, with all squares, and not from squares. It set the mean, and refused NaN and infinity."""
    values, components = _linalg.svd_centred(problem.x, problem.mean, at_most)
    squares = np.square(values)
    return squares, components, float(squares.sum())


def _result(
    problem: Any, keep: Any, whiten: bool, squares: Any, components: Any, total: float, solver: str
) -> PCAResult:
    n, dtype, rank = problem.x.shape[0], problem.x.dtype, min(problem.x.shape)
    with np.errstate(over="ignore"):
        variance = (squares / (n - 1)).astype(dtype)
    _validate.finite_result(problem.x, variance)
    ratio = squares / total if total > 0 else np.zeros_like(squares)
    k = keep or rank
    if isinstance(keep, float):
        k = min(int(np.searchsorted(np.cumsum(ratio), keep, side="right")) + 1, rank)
    rest = float(squares[k:].sum()) if squares.size == rank else max(total - float(squares[:k].sum()), 0.0)
    noise = rest / (rank - k) / (n - 1) if k < rank else 0.0
    return PCAResult(
        mean=problem.mean,
        components=_linalg.fix_signs(components[:k].astype(dtype, order="C")),
        singular_values=np.sqrt(squares[:k]).astype(dtype),
        explained_variance=variance[:k],
        explained_variance_ratio=ratio[:k].astype(dtype),
        noise_variance=noise,
        n_samples=n,
        whiten=whiten,
        solver=solver,
    )
