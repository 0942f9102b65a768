"""pca against scikit-learn's full solver and NumPy's SVD of data centred in float64."""

import os
import signal

import numpy as np
import pytest
from sklearn import datasets
from sklearn.decomposition import PCA

import fastml
from fastml import _linalg

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SOLVERS = pytest.mark.parametrize("solver", ["covariance_eigh", "full"])


def spread(rows, columns, lowest=0.1, seed=0):
    """Random data whose singular values fall from 1 to `lowest` times the square root of rows."""
    random = np.random.default_rng(seed)
    k = min(rows, columns)
    left, right = (np.linalg.qr(random.normal(size=(n, k)))[0] for n in (rows, columns))
    return left * np.geomspace(1, lowest, k) * np.sqrt(rows) @ right.T


def svd(X):
    """Variances and components with scikit-learn's signs, from the matrix centred in float64."""
    X = X.astype(np.float64)
    values, components = np.linalg.svd(X - X.mean(0), full_matrices=False)[1:]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, np.newaxis], axis=1)
    return values**2 / (len(X) - 1), components * np.sign(largest)


def agrees(result, X, k, tolerance):
    """Variances within the tolerance of the largest; each component within it over the gap to its neighbours."""
    variance, components = svd(X)
    assert (np.abs(result.explained_variance[:k] - variance[:k]) <= tolerance * variance[0]).all()
    gaps = np.abs(np.diff(variance, append=0, prepend=np.inf))
    gap = np.minimum(gaps[:-1], gaps[1:])[:k] / variance[0]
    assert (np.linalg.norm(result.components[:k] - components[:k], axis=1) <= tolerance / gap).all()


@DTYPES
@SOLVERS
@pytest.mark.parametrize("shape", [(2, 1), (7, 5), (300, 17), (40, 16), (1000, 64), (9, 30)])
def test_svd_agrees(dtype, solver, shape):
    X = spread(*shape).astype(dtype)
    rank = min(shape[0] - 1, shape[1])
    result = fastml.pca(X, rank, solver=solver)
    agrees(result, X, rank, 64 * np.finfo(dtype).eps)
    assert result.solver == solver and result.n_samples == shape[0]
    assert result.components.dtype == result.explained_variance.dtype == result.singular_values.dtype == dtype
    np.testing.assert_allclose(result.mean, X.mean(0, dtype=np.float64), rtol=0, atol=4 * np.finfo(dtype).eps)


@SOLVERS
@pytest.mark.parametrize("n_components", [None, 1, 4, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("load", [datasets.load_wine, datasets.load_iris])
def test_scikit_learn_agrees(solver, n_components, load):
    X = load().data
    mine, theirs = fastml.pca(X, n_components, solver=solver), PCA(n_components, svd_solver="full").fit(X)
    np.testing.assert_allclose(mine.components, theirs.components_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(mine.mean, theirs.mean_, rtol=1e-14)
    for name in ("explained_variance", "explained_variance_ratio", "singular_values"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name + "_"), rtol=1e-8)
    np.testing.assert_allclose(mine.noise_variance, theirs.noise_variance_, rtol=1e-8)
    np.testing.assert_allclose(mine.transform(X), theirs.transform(X), rtol=0, atol=1e-8)


@SOLVERS
@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"), [(np.float32, 1e3, 1e-4), (np.float32, 1e4, 1e-4), (np.float64, 1e6, 1e-8)]
)
def test_uncentred_data(solver, dtype, offset, tolerance):
    """Where scikit-learn's default solver is wrong by factors of 2 to 1000."""
    X = (spread(2000, 12) + offset).astype(dtype)
    result = fastml.pca(X, solver=solver)
    variance, _ = svd(X)
    np.testing.assert_allclose(result.explained_variance, variance, rtol=tolerance)
    agrees(result, X, 12, 1e2 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 1e3), (np.float32, 1e4), (np.float64, 1e6)])
def test_scores_of_uncentred_data(dtype, offset):
    """Their error is that of a product in the dtype, and of a float64 mean."""
    X = (spread(2000, 12) + offset).astype(dtype)
    result = fastml.pca(X)
    scores = (X - X.mean(0, dtype=np.longdouble)) @ result.components.T.astype(np.longdouble)
    error = 32 * np.finfo(dtype).eps + 12 * offset * np.finfo(np.float64).eps
    np.testing.assert_allclose(result.transform(X), scores.astype(np.float64), rtol=0, atol=error)


@pytest.mark.parametrize("n_components", [1e-9, 0.2, 0.5, 0.9, 0.99999999])
def test_a_share_of_the_variance(n_components):
    X = spread(300, 9)
    result = fastml.pca(X, n_components)
    ratio = np.cumsum(svd(X)[0]) / svd(X)[0].sum()
    k = len(result.components)
    assert ratio[k - 1] >= n_components and (k == 1 or ratio[k - 2] < n_components)
    np.testing.assert_allclose(np.cumsum(result.explained_variance_ratio), ratio[:k], rtol=1e-12)


def test_solver_is_chosen_by_shape_and_accuracy():
    assert fastml.pca(spread(50, 10)).solver == "covariance_eigh"
    assert fastml.pca(spread(9, 10), 8).solver == "covariance_eigh"
    assert fastml.pca(spread(9, 10)).solver == "full"  # the ninth direction of 9 centred rows has no variance
    for dtype, lowest in ((np.float32, 1e-6), (np.float64, 1e-12)):
        X = spread(500, 8, lowest).astype(dtype)
        result = fastml.pca(X)
        assert result.solver == "full"
        assert fastml.pca(X, 1).solver == "covariance_eigh"  # what was asked for is large
        singular = np.sqrt(svd(X)[0] * 499)
        error = np.abs(result.singular_values - singular)
        assert (error <= 10 * np.finfo(dtype).eps * singular[0]).all()
    X = spread(500, 8, 1e-4).astype(np.float32)
    assert fastml.pca(X).solver == "covariance_eigh"  # with products in float64


@DTYPES
@SOLVERS
@pytest.mark.parametrize("shape", [(200, 12), (9, 30)])
def test_invariants(dtype, solver, shape):
    X = (spread(*shape) + 3).astype(dtype)
    eps = np.finfo(dtype).eps
    result = fastml.pca(X, solver=solver)
    gram = result.components.astype(np.float64) @ result.components.T.astype(np.float64)
    assert np.abs(gram - np.eye(len(gram))).max() <= 50 * eps * max(shape)
    largest = np.abs(result.components).argmax(axis=1)
    assert (result.components[np.arange(len(largest)), largest] > 0).all()
    np.testing.assert_allclose(result.explained_variance_ratio.sum(), 1, rtol=8 * eps)
    np.testing.assert_allclose(result.singular_values**2 / (shape[0] - 1), result.explained_variance, rtol=8 * eps)
    again = fastml.pca(X.copy(), solver=solver)
    np.testing.assert_array_equal(again.components, result.components)


@DTYPES
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("shape", [(200, 12), (9, 30)])
def test_transform_and_back(dtype, whiten, shape):
    X = (spread(*shape) + 5).astype(dtype)
    result = fastml.pca(X, min(shape[0] - 1, shape[1]), whiten=whiten)
    Z = result.transform(X)
    assert Z.dtype == dtype and result.inverse_transform(Z).dtype == dtype
    scores = Z.astype(np.float64)
    expected = np.eye(len(result.components)) if whiten else np.diag(svd(X)[0][: len(result.components)])
    np.testing.assert_allclose(np.cov(scores.T), expected, rtol=0, atol=500 * np.finfo(dtype).eps)
    np.testing.assert_allclose(result.inverse_transform(Z), X, rtol=0, atol=100 * np.finfo(dtype).eps)


def test_transform_of_integers_lists_and_nothing():
    result = fastml.pca(spread(20, 3), 2)
    np.testing.assert_array_equal(result.transform([[1, 2, 3]]), result.transform(np.array([[1.0, 2.0, 3.0]])))
    assert result.transform(np.empty((0, 3))).shape == (0, 2)
    assert result.inverse_transform(np.empty((0, 2))).shape == (0, 3)


@pytest.mark.parametrize("solver", ["auto", "covariance_eigh", "full"])
@pytest.mark.parametrize("value", [0.0, 14.62, -1e6])
def test_constant_data(solver, value):
    result = fastml.pca(np.full((300, 3), value), solver=solver)
    error = 300 * np.finfo(float).eps * abs(value)  # that of a sum of 300 values
    np.testing.assert_allclose(result.mean, value, rtol=0, atol=error)
    np.testing.assert_allclose(result.explained_variance, 0, rtol=0, atol=3 * error**2)
    assert (result.explained_variance_ratio >= 0).all() and (result.explained_variance_ratio <= 1).all()
    np.testing.assert_allclose(result.components @ result.components.T, np.eye(3), rtol=0, atol=1e-14)


@SOLVERS
def test_constant_and_dependent_columns(solver):
    X = spread(100, 6)
    X[:, 1] = 14.62
    X[:, 4] = X[:, 2] - 2 * X[:, 3]
    result = fastml.pca(X, solver=solver)
    agrees(result, X, 4, 64 * np.finfo(float).eps)
    assert (result.explained_variance[4:] <= 1e-15).all()
    assert np.abs(result.components[:4, 1]).max() <= 1e-12
    np.testing.assert_allclose(result.inverse_transform(result.transform(X)), X, rtol=0, atol=1e-13)


def test_whitening_does_not_blow_up_what_has_no_variance():
    X = np.repeat(spread(50, 1), 3, axis=1)
    assert np.abs(fastml.pca(X, whiten=True).transform(X)).max() < 10


def test_two_rows_and_one_column():
    result = fastml.pca(np.array([[1.0], [4.0]]))
    assert result.components == 1 and result.explained_variance == 4.5 and result.noise_variance == 0


@DTYPES
def test_very_wide_data_needs_no_matrix_of_columns_by_columns(dtype):
    X = random.normal(size=(5, 200_000)).astype(dtype)
    result = fastml.pca(X, 2)
    assert result.components.shape == (2, 200_000) and result.solver == "covariance_eigh"


def close(result, X, k, eps):
    """Variances to 1e-4 of each, or 1e-8, and orthonormal components."""
    variance, _ = svd(X)
    np.testing.assert_allclose(result.explained_variance[:k], variance[:k], rtol=1e-4 if eps > 1e-10 else 1e-8)
    components = result.components.astype(np.float64)
    assert np.abs(components @ components.T - np.eye(len(components))).max() < 50 * eps


@DTYPES
@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (64, 64)])
@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e6])
def test_auto_is_right_to_the_digits_that_it_promises(dtype, shape, condition, offset):
    """Every component of graded matrices, tall, wide and square, far from zero."""
    if dtype is np.float32 and offset > 1e4:
        pytest.skip("float32 has no digits left for the spread")
    X = (spread(*shape, 1 / condition) * 3 + offset).astype(dtype)
    rank = min(shape[0] - 1, shape[1])
    close(fastml.pca(X, rank), X, rank, np.finfo(dtype).eps)


@DTYPES
def test_lauchli_matrices_lose_nothing(dtype):
    """Columns that differ by less than sqrt(eps): their scatter matrix in the dtype would be singular."""
    small = np.sqrt(np.finfo(dtype).eps) / 4
    X = np.vstack([np.ones(3), small * np.eye(3), -np.ones(3), -small * np.eye(3)]).astype(dtype)
    result = fastml.pca(X)
    expected = np.sqrt(svd(X)[0])
    np.testing.assert_allclose(np.sqrt(result.explained_variance), expected, rtol=1e-6, atol=0)


@DTYPES
def test_many_columns_are_a_problem_for_lanczos_too(dtype, monkeypatch):
    """float32 takes the method by itself from 1200 columns on."""
    found = []
    lanczos = _linalg._lanczos
    monkeypatch.setattr(_linalg, "_lanczos", lambda *args: found.append(lanczos(*args)) or found[-1])
    X = (spread(1300, 1250, 1e-3) + 3).astype(dtype)
    result = fastml.pca(X, 7)
    agrees(result, X, 7, 64 * np.finfo(dtype).eps if dtype is np.float64 else 1e-5)
    assert len(found) == (dtype is np.float32) and all(found)
    flat = np.diag(np.linspace(0.5, 1, 1250, dtype=np.float32))  # nothing stands out: it gives up
    assert lanczos(flat, 5, np.matmul) is None


@pytest.mark.parametrize(("giant", "k"), [(30, 1), (100, 1), (100, 10), (1000, 1), (1000, 10)])
def test_lanczos_beside_one_giant_component(giant, k):
    """Most of each block is rounding, which must not come out parallel to the blocks before."""
    random = np.random.default_rng(3)
    turn = np.linalg.qr(random.standard_normal((1200, 1200)))[0]
    a = ((np.r_[giant**2, random.uniform(0.99, 1.01, 1199)] * turn) @ turn.T).astype(np.float32)
    values, vectors = _linalg._lanczos(a, k, np.matmul)
    residuals = a.astype(np.float64) @ vectors.T - values * vectors.T
    assert np.linalg.norm(residuals, axis=0).max() <= 1.1e-5 * values[0]
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), rtol=0, atol=50 * np.finfo(np.float32).eps)


@DTYPES
@pytest.mark.parametrize("shape", [(1100, 1500), (1500, 1100)])
def test_random_components_of_large_matrices(dtype, shape):
    X = (spread(*shape, 1e-30) + 5).astype(dtype)
    result = fastml.pca(X, 10, solver="randomized")
    assert result.solver == "randomized"
    agrees(result, X, 10, 1e-4)
    again = fastml.pca(X, 10, solver="randomized", n_threads=1)
    np.testing.assert_allclose(again.components, result.components, rtol=0, atol=1e-3)
    more = fastml.pca(X, 10, solver="randomized", n_iterations=0, random_state=np.random.RandomState(3))
    assert more.explained_variance.sum() < result.explained_variance.sum()
    exact = PCA(10, svd_solver="full").fit(X.astype(np.float64))
    np.testing.assert_allclose(result.noise_variance, exact.noise_variance_, rtol=1e-3)


def test_random_components_of_small_matrices_are_exact():
    X = spread(200, 30)
    assert fastml.pca(X, 3, solver="randomized").solver == "covariance_eigh"


@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e-18), (np.float32, 1e-23), (np.float64, 1e-165)])
def test_small_values_have_the_same_components(dtype, scale):
    X = spread(100, 4).astype(dtype)
    small = fastml.pca((X * scale).astype(dtype))
    np.testing.assert_allclose(small.components, fastml.pca(X).components, rtol=0, atol=1e-3)


@pytest.mark.parametrize("solver", ["auto", "covariance_eigh", "full"])
@pytest.mark.parametrize(("dtype", "scale"), [(np.float32, 1e22), (np.float64, 1e200)])
def test_values_whose_squares_overflow_are_refused(solver, dtype, scale):
    with pytest.raises(ValueError, match="X is too large"):
        fastml.pca(spread(100, 4).astype(dtype) * dtype(scale), solver=solver)


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_comes_back_in_silence():
    result = fastml.pca(spread(100, 4), 2, whiten=True)
    back = result.inverse_transform([[np.inf, -np.inf], [1e308, 1e308], [1.0, np.nan]])
    assert back.shape == (3, 4) and np.isnan(back[2]).all()


def test_integers_are_computed_as_float64():
    X = random.integers(0, 9, (30, 4))
    np.testing.assert_array_equal(fastml.pca(X).components, fastml.pca(X.astype(float)).components)


@pytest.mark.parametrize("solver", ["auto", "covariance_eigh", "full"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(9, 3), (3, 9)])
def test_what_is_not_finite_is_refused(solver, value, shape):
    X = np.ones(shape)
    X[1, 1], X[2, 1] = value, -value
    with pytest.raises(ValueError, match=r"^X must be finite, but holds NaN or infinity"):
        fastml.pca(X, solver=solver)


def test_transforms_of_other_columns_are_refused():
    X = spread(20, 3)
    result = fastml.pca(X, 2)
    with pytest.raises(ValueError, match=r"^X must have 3 columns, got 2"):
        result.transform(X[:, :2])
    with pytest.raises(ValueError, match=r"^Z must have 2 columns, got 3"):
        result.inverse_transform(X)
    with pytest.raises(TypeError, match=r"^X must be float32"):
        result.transform(X.astype(complex))


def test_first_rows_unlike_the_others_do_not_spoil_the_shift():
    X = random.normal(size=(20_000, 4)) * [1, 0.5, 0.2, 0.1] * 20 + 1000
    X[:256] = 0
    X = X.astype(np.float32)
    exact = np.linalg.eigvalsh(np.cov(X.astype(np.float64), rowvar=False))[::-1]
    result = fastml.pca(X, 2)
    np.testing.assert_allclose(result.explained_variance, exact[:2], rtol=3e-4)


def test_a_fork_during_an_eigenproblem_leaves_the_child_working():
    """A thread holds the lock on BLAS threads when the process forks; the child must not wait for it."""
    X = random.normal(size=(50, 5))
    fastml.pca(X)
    with _linalg._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that hangs
            fastml.pca(X)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_results_can_be_compared_and_kept_in_sets():
    result = fastml.pca(random.normal(size=(9, 3)))
    assert result == result and len({result, result}) == 1
