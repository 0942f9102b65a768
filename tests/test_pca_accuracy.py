"""PCA of matrices that are hard to tell apart from simpler ones, by each exact solver, against SVD in long double."""

import numpy as np
import pytest

import fastml
from fastml import PCA
from tests.test_pca import spread

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EXACT = ("auto", "full", "covariance_eigh", "arpack")
random = np.random.default_rng(8)


def centred_svd(X):
    """Singular values, descending, and right singular vectors as rows, of X - mean, by one-sided Jacobi rotations.

    In long double, of 64 bits: columns are made orthogonal in pairs, which squares nothing. Wide X is turned.
    """
    X = X.astype(np.longdouble)
    columns = X - X.mean(axis=0)
    wide = columns.shape[0] < columns.shape[1]
    columns = columns.T.copy() if wide else columns
    turned, p = np.eye(columns.shape[1], dtype=np.longdouble), columns.shape[1]
    for _ in range(12):  # sweeps: it converges quadratically
        for i in range(p - 1):
            for j in range(i + 1, p):
                a, b = columns[:, i], columns[:, j]
                angle = np.arctan2(2 * (a @ b), a @ a - b @ b) / 2
                rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
                columns[:, [i, j]] = columns[:, [i, j]] @ rotation
                turned[:, [i, j]] = turned[:, [i, j]] @ rotation
    values = np.sqrt((columns**2).sum(axis=0))
    order = np.argsort(values)[::-1]
    vectors = columns / np.where(values > 0, values, 1) if wide else turned
    return values[order], vectors[:, order].T


def lauchli(n, small):
    return np.vstack([np.ones(n), small * np.eye(n), -np.ones(n), -small * np.eye(n)])


CASES = {
    "offset 0": lambda dtype: spread(40, 6),
    "offset 1e2": lambda dtype: spread(40, 6) + 1e2,
    "offset 1e4": lambda dtype: spread(40, 6) + 1e4,
    "offset 1e6": lambda dtype: spread(40, 6) + (1e6 if dtype is np.float64 else 1e3),
    "condition 1e3": lambda dtype: spread(40, 6, 1e-3),
    "condition 1e6": lambda dtype: spread(40, 6, 1e-6),
    "condition 1e9": lambda dtype: spread(40, 6, 1e-9),
    "condition 1e12": lambda dtype: spread(40, 6, 1e-12),
    "condition 1e3, offset": lambda dtype: spread(40, 6, 1e-3) + 1e2,
    "scales of columns from 1 to 1e-12": lambda dtype: random.normal(size=(40, 6)) * np.geomspace(1, 1e-12, 6),
    "lauchli, root of eps": lambda dtype: lauchli(4, np.sqrt(np.finfo(dtype).eps) / 4),
    "lauchli, eps": lambda dtype: lauchli(4, np.finfo(dtype).eps),
    "of rank 2": lambda dtype: random.normal(size=(40, 2)) @ random.normal(size=(2, 6)),
    "two constant columns": lambda dtype: spread(40, 6) * [1, 0, 1, 1, 0, 1] + 14.62,
    "each column twice": lambda dtype: np.repeat(spread(40, 3), 2, axis=1),
    "each column twice, offset": lambda dtype: np.repeat(spread(40, 3), 2, axis=1) + 1e3,
    "two rows": lambda dtype: random.normal(size=(2, 5)),
    "two rows, one column": lambda dtype: np.array([[1.0], [4.0]]),
    "one column": lambda dtype: random.normal(size=(40, 1)) + 1e2,
    "as many rows as columns": lambda dtype: spread(7, 7),
    "wide": lambda dtype: spread(6, 40),
    "wide, condition 1e6, offset": lambda dtype: spread(6, 40, 1e-6) + 10,
    "wide, condition 1e12": lambda dtype: spread(6, 40, 1e-12),
}


def fit(name, dtype, solver):
    """The data, all components that have a variance, or the solver can have, and what they should be."""
    X = CASES[name](dtype).astype(dtype)
    rank = min(X.shape[0] - 1, X.shape[1], min(X.shape) - (solver == "arpack"))
    if not rank:
        pytest.skip("ARPACK finds fewer components than there are columns")
    values, vectors = centred_svd(X)
    return X, fastml.pca(X, rank, solver=solver), values, vectors


@DTYPES
@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("name", CASES)
def test_values_and_vectors(dtype, solver, name):
    """Singular values as an SVD has them, or but for `auto`'s tolerance; vectors to the angle that the gap allows."""
    X, result, values, vectors = fit(name, dtype, solver)
    eps, double = float(np.finfo(dtype).eps), float(np.finfo(np.float64).eps)
    k, largest = len(result.components), values[0]
    error = np.abs(result.singular_values - values[:k])
    noise = 20 * double * largest + 4 * double * np.abs(X).max() * np.sqrt(X.size)  # the second is that of the mean
    if solver == "covariance_eigh":  # it has squares, in the dtype
        bound = np.minimum(20 * eps * largest**2 / np.maximum(values[:k], 1e-300), np.sqrt(20 * eps) * largest) + noise
        uncertain = 20 * eps * largest**2
        gaps = np.abs(np.diff(values**2, prepend=np.inf, append=0 if len(values) < X.shape[1] else -np.inf))
    else:
        digits = {"auto": 0.5e-4 if dtype is np.float32 else 0.5e-8}.get(solver, 4 * eps)
        if solver == "arpack":  # whose vectors come from squares
            digits = 1e-9 + 4 * eps
        bound = digits * values[:k] + noise
        uncertain = (2 * eps if solver == "full" else digits) * largest + noise
        gaps = np.abs(np.diff(values, prepend=np.inf, append=0 if len(values) < X.shape[1] else -np.inf))
    assert (error <= bound).all()
    gap = np.minimum(gaps[:-1], gaps[1:])[:k]
    angle = np.minimum(np.linalg.norm(result.components - vectors[:k], axis=1),
                       np.linalg.norm(result.components + vectors[:k], axis=1))  # fmt: skip
    assert (angle <= 4 * uncertain / np.maximum(gap, 1e-300) + 20 * eps)[gap > 0].all()


@DTYPES
@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("name", CASES)
def test_components_are_orthonormal_and_their_signs_follow_the_rule(dtype, solver, name):
    X, result, *_ = fit(name, dtype, solver)
    every = result if solver == "arpack" else fastml.pca(X, solver=solver)  # those without variance, too
    for components in (result.components, every.components):
        gram = components.astype(np.float64) @ components.T.astype(np.float64)
        assert np.abs(gram - np.eye(len(gram))).max() <= 50 * np.finfo(dtype).eps
        largest = np.abs(components).argmax(axis=1)
        assert (components[np.arange(len(largest)), largest] > 0).all()
    again = fastml.pca(X.copy(), solver=solver, n_threads=1)
    np.testing.assert_array_equal(again.components[: len(every.components)], every.components)
    np.testing.assert_array_equal(again.explained_variance[: len(every.components)], every.explained_variance)
    assert np.isfinite(every.explained_variance_ratio).all() and np.isfinite(every.noise_variance)
    assert (np.diff(every.explained_variance) <= 0).all() and (every.explained_variance >= 0).all()


@DTYPES
@pytest.mark.parametrize("solver", [*EXACT, "randomized"])
def test_one_row(dtype, solver):
    """The class leaves it to scikit-learn's code, which has no variance for it, or an error."""
    X = np.array([[1, 2, 3]], dtype)
    with pytest.raises(ValueError, match=r"^X must have at least 2 rows"):
        fastml.pca(X, 1, solver=solver)
    if solver in ("auto", "full", "randomized"):
        with np.errstate(all="ignore"):
            model = PCA(1, svd_solver=solver).fit(X)
        np.testing.assert_array_equal(model.transform(X), [[0]])


@DTYPES
@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
@pytest.mark.parametrize("shape", [(1050, 1005), (1005, 1050)])
def test_random_vectors_far_from_zero(dtype, offset, shape):
    """Variances as of the data in float64: the gaps are wide, so random vectors find the same."""
    if dtype is np.float32 and offset > 1e4:
        pytest.skip("float32 has no digits left for the spread")
    X = (spread(*shape, 1e-100) + offset).astype(dtype)
    result = fastml.pca(X, 5, solver="randomized")
    assert result.solver == "randomized"
    exact = np.linalg.eigvalsh(np.cov(X.astype(np.float64), rowvar=False))[: -6 : -1]  # of the largest all digits
    np.testing.assert_allclose(result.explained_variance, exact, rtol=1e-4 if dtype is np.float32 else 1e-8)


def test_the_reference():
    """Of matrices whose singular values are known: rotations of diagonal ones."""
    values = np.array([1, 1e-3, 1e-6, 1e-9])
    left = np.vstack([np.eye(4), -np.eye(4)]) / np.sqrt(2)  # columns of mean 0
    found, vectors = centred_svd((left * values) @ np.eye(4)[[2, 0, 3, 1]])
    np.testing.assert_allclose(found.astype(float), values, rtol=1e-15)
    np.testing.assert_allclose(np.abs(vectors).astype(float), np.eye(4)[[2, 0, 3, 1]], atol=1e-15)
    X = spread(30, 5)
    np.testing.assert_allclose(
        centred_svd(X)[0].astype(float), np.linalg.svd(X - X.mean(0), compute_uv=False), rtol=1e-13
    )
