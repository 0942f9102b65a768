"""fastml.IncrementalPCA: PCA of all rows however they are cut, batch by batch."""

import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import IncrementalPCA as Theirs
from sklearn.exceptions import NotFittedError

import fastml
from fastml import IncrementalPCA
from fastml.estimators import incremental_pca as module
from fastml.ops.pca import scatter

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# float32: products are rounded in it, and summed so over 256 rows; float64: 1e-16 times the rows
TOLERANCE = {np.float32: 5e-6, np.float64: 1e-12}
CUTS = {
    "one": [120], "two": [60, 60], "uneven": [7, 100, 13], "first row apart": [1, 119], "last row apart": [119, 1],
    "rows": [1] * 120,
}  # fmt: skip


def data(rows, columns, dtype=np.float64, offset=1.0, seed=0):
    """Standard deviations from 3 to 0.3 in random directions, the same in every call."""
    random, rank = np.random.default_rng(seed), min(rows, columns)
    left, right = (np.linalg.qr(random.normal(size=(n, rank)))[0] for n in (rows, columns))
    return ((left * np.geomspace(3, 0.3, rank) * rows**0.5) @ right.T + offset).astype(dtype)


def sensitivity(values):
    """By how much rounding, beside the largest eigenvalue, may turn each vector: that one over the gap to the next."""
    squares = np.concatenate([[np.inf], values**2, [-np.inf]])
    gaps = np.minimum(squares[:-2] - squares[1:-1], squares[1:-1] - squares[2:])
    return np.maximum(squares[1] / np.maximum(gaps, np.finfo(float).tiny), 1)


def pieces(X, cut):
    return np.split(X, np.cumsum(cut)[:-1])


def stream(model, parts):
    for part in parts:
        model.partial_fit(part)
    return model


def exact(X):
    """Mean, standard deviations and components by the SVD of centred rows, in float64."""
    X = X.astype(np.float64)
    centred = X - X[0]  # nothing is rounded here, of data that are close to each other
    mean = centred.mean(axis=0)
    _, values, vectors = np.linalg.svd(centred - mean, full_matrices=False)
    signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)])
    return X[0] + mean, values, vectors * signs[:, np.newaxis]


def assert_is_pca(model, X, tolerance):
    """Every attribute is that of all rows, within `tolerance` of its largest entry."""
    mean, values, vectors = exact(X)
    n, k = len(X), model.n_components_
    variance = values**2 / (n - 1)
    expected = {
        "components_": vectors[:k],
        "explained_variance_": variance[:k],
        "explained_variance_ratio_": variance[:k] / variance.sum(),
        "singular_values_": values[:k],
        "noise_variance_": variance[k:].mean() if k < len(variance) else 0.0,
        "var_": np.var(X.astype(np.float64) - mean, axis=0),
    }
    scale = {"noise_variance_": variance[0], "components_": sensitivity(values)[:k, np.newaxis] / 5}
    for name, value in expected.items():
        limit = tolerance * scale.get(name, np.abs(value).max(initial=0))
        difference = np.abs(getattr(model, name) - value)
        assert (difference <= limit).all(), (name, difference, limit)
    np.testing.assert_allclose(model.mean_, mean, rtol=0, atol=tolerance * np.abs(X).max())
    assert (model.n_samples_seen_, model.n_features_in_) == X.shape


def attributes(model):
    names = (*sorted(module.SOLVED), "mean_", "var_", "n_components_", "n_samples_seen_", "n_features_in_")
    return {name: np.array(getattr(model, name)) for name in names}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@DTYPES
@pytest.mark.parametrize("k", [None, 1, 6])
@pytest.mark.parametrize("cut", CUTS)
def test_however_rows_are_cut_the_result_is_pca_of_all(cut, k, dtype):
    X = data(120, 12, dtype)
    model = stream(IncrementalPCA(k), pieces(X, CUTS[cut]))
    assert model.components_.shape == (k or 12, 12) and model.n_components_ == (k or 12)
    assert_is_pca(model, X, TOLERANCE[dtype])
    assert {getattr(model, name).dtype for name in module.SOLVED} == {np.dtype(dtype)}
    assert model.mean_.dtype == model.var_.dtype == np.float64


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("dtype, offset, tolerance", [
    # the deviations from the mean are exact in float32, and all sums are float64
    (np.float32, 1e4, TOLERANCE[np.float32]),
    # a mean is rounded by 1e-10, beside standard deviations of 1, and up to 120 are merged
    (np.float64, 1e6, 1e-9),
])  # fmt: skip
def test_uncentred_data(cut, dtype, offset, tolerance):
    X = data(120, 6, dtype, offset)
    model = stream(IncrementalPCA(4), pieces(X, CUTS[cut]))
    mean, _, vectors = exact(X)
    for name in ("components_", "explained_variance_", "explained_variance_ratio_", "noise_variance_", "var_"):
        reference = getattr(fastml.PCA(4).fit(X.astype(np.float64) - mean), name, X.astype(np.float64).var(axis=0))
        limit = tolerance * max(np.abs(reference).max(), 1)
        np.testing.assert_allclose(getattr(model, name), reference, rtol=0, atol=limit, err_msg=name)
    expected = (X.astype(np.float64) - mean) @ vectors[:4].T
    np.testing.assert_allclose(model.transform(X), expected, rtol=0, atol=10 * tolerance)


@DTYPES
@pytest.mark.parametrize("whiten", [False, True])
def test_scikit_learns_results(dtype, whiten):
    """One batch, where scikit-learn has forgotten nothing; and its own dtype, float64, for the reference."""
    X = load_digits().data.astype(dtype)
    ours, theirs = (cls(10, whiten=whiten, batch_size=1797).fit(X.astype(kind))
                    for cls, kind in ((IncrementalPCA, dtype), (Theirs, np.float64)))  # fmt: skip
    tolerance = 20 * TOLERANCE[dtype]  # gaps of a twentieth between variances
    for name in (*module.SOLVED, "mean_", "var_"):
        expected = getattr(theirs, name)
        limit = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(getattr(ours, name), expected, rtol=0, atol=limit, err_msg=name)
    for name in ("n_components_", "n_samples_seen_", "n_features_in_", "batch_size_"):
        assert getattr(ours, name) == getattr(theirs, name)
    expected = theirs.transform(X.astype(np.float64))
    result = ours.transform(X)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    back = ours.inverse_transform(result)
    assert back.dtype == dtype
    np.testing.assert_allclose(back, theirs.inverse_transform(expected), rtol=0, atol=tolerance * 16)
    np.testing.assert_allclose(ours.get_covariance(), theirs.get_covariance(), rtol=0, atol=tolerance * 200)


@pytest.mark.parametrize("batch_size", [None, 1, 3, 50, 1000])
def test_fit_cuts_by_itself_and_starts_afresh(batch_size):
    X = data(203, 7)
    model = IncrementalPCA(3, batch_size=batch_size).partial_fit(data(9, 5)).fit(X)
    assert_is_pca(model, X, 1e-12)
    assert model.batch_size_ == (batch_size or 35)
    assert_is_pca(model.fit(X[:90]), X[:90], 1e-12)
    assert_is_pca(model.partial_fit(X[90:]), X, 1e-12)


def test_fewer_rows_than_components_so_far():
    X = data(8, 5)
    model = IncrementalPCA(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n, rows in enumerate(X, 1):
            model.partial_fit(rows[np.newaxis])
            assert model.n_components_ == len(model.components_) == min(n, 3)
            assert np.isfinite(model.transform(X)).all()
            if n == 1:
                assert (model.explained_variance_ == 0).all() and (model.explained_variance_ratio_ == 0).all()
    assert_is_pca(model, X, 1e-12)
    wide = data(6, 9)
    model = stream(IncrementalPCA(), pieces(wide, [4, 2]))
    assert model.n_components_ == 6
    np.testing.assert_allclose(model.inverse_transform(model.transform(wide)), wide, rtol=0, atol=1e-12)


def test_the_eigenproblem_is_solved_when_it_is_asked_for(monkeypatch):
    solved, solve = [], IncrementalPCA._solve
    monkeypatch.setattr(IncrementalPCA, "_solve", lambda self: solved.append(1) or solve(self))
    X = data(90, 4)
    model = stream(IncrementalPCA(2), pieces(X, [30, 30, 30]))
    assert not solved and model.n_components_ == 2
    model.components_, model.noise_variance_, model.transform(X)
    assert len(solved) == 1
    model.partial_fit(X)
    assert model.explained_variance_.size == 2 and len(solved) == 2
    with pytest.raises(AttributeError, match="'IncrementalPCA' object has no attribute 'components'"):
        model.components  # noqa: B018
    with pytest.raises(AttributeError, match="components_"):
        IncrementalPCA().components_  # noqa: B018


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
@pytest.mark.parametrize("rows", [1, 20])
def test_a_refused_batch_changes_nothing(bad, rows):
    X = data(40, 4)
    model = IncrementalPCA(2).fit(X)
    before = attributes(model)
    batch = X[:rows].copy()
    batch[-1, 2] = bad
    message = "too large" if bad == 1e200 else "^Input X contains " + ("NaN" if np.isnan(bad) else "infinity")
    for refuse in (model.partial_fit, model.fit) if rows > 1 else (model.partial_fit,):
        with pytest.raises(ValueError, match=message):
            refuse(batch)
        assert_equal(attributes(model), before)
    with pytest.raises(ValueError, match=message):
        model.set_params(batch_size=1).fit(np.vstack([X[:, :3]] * 3 + [batch[:, 1:]] * 20))  # late, other columns
    assert_equal(attributes(model), before)
    fresh = IncrementalPCA(2)
    with pytest.raises(ValueError, match=message):
        fresh.partial_fit(np.vstack([X, batch]))
    with pytest.raises(NotFittedError):
        fresh.transform(X)
    assert_is_pca(model.partial_fit(X[:7] + 1), np.vstack([X, X[:7] + 1]), 1e-12)


def test_tiny_float32_whose_squares_underflow():
    X = data(120, 5).astype(np.float32) * np.float32(1e-25)
    model = stream(IncrementalPCA(2), pieces(X, [50, 70]))
    _, values, vectors = exact(X)
    np.testing.assert_allclose(model.components_, vectors[:2], rtol=0, atol=5e-6)
    np.testing.assert_allclose(model.singular_values_, values[:2], rtol=5e-6)


@DTYPES
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_read_batch_by_batch(tmp_path, dtype, order):
    rows, columns = 40_000, 20
    X = np.memmap(tmp_path / "X", dtype, "w+", shape=(rows, columns), order=order)
    X[:] = data(rows, columns, dtype)
    X.flush()
    X = np.memmap(tmp_path / "X", dtype, "r", shape=(rows, columns), order=order)
    model = IncrementalPCA(3, batch_size=500)
    model.fit(X[:600])  # what is loaded once
    tracemalloc.start()
    try:
        model.fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a batch, packed for two threads beside it, and a few matrices of 20 x 20: far below the 3 or 6 MB of X
    assert peak < 600_000 < X.nbytes / 4
    assert_is_pca(model, np.asarray(X), 1e-5 if dtype is np.float32 else 1e-11)


class Stored:
    """Rows that are elsewhere, as an HDF5 data set's: a shape, a dtype, slices, and no array of the whole."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, []

    def __getitem__(self, rows):
        self.read.append(rows.stop - rows.start if rows.start is not None else rows.stop)
        return self.array[rows]


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, np.int16, bool])
def test_what_has_slices_is_read_in_slices(kind):
    X = data(200, 4) * 8 > 8 if kind is bool else (data(200, 4) * 8).astype(kind)
    stored = Stored(X)
    model = IncrementalPCA(2, batch_size=30).fit(stored)
    assert max(stored.read) == 30 and sum(stored.read) == 201  # one row first, for its width
    assert model.components_.dtype == (np.float32 if kind is np.float32 else np.float64)
    assert_is_pca(model, X.astype(np.float64), 1e-5 if kind is np.float32 else 1e-11)


@pytest.mark.parametrize("values, batch_size, expected", [
    (100, None, 25), (40, None, 20), (100, 2, 4), (100, 7, 7), (100, 500, 200),
])  # fmt: skip
def test_how_many_rows_are_read_at_a_time(monkeypatch, values, batch_size, expected):
    monkeypatch.setattr(module, "VALUES", values)
    stored = Stored(data(200, 4))
    assert_is_pca(IncrementalPCA(2, batch_size=batch_size).fit(stored), stored.array, 1e-12)
    assert stored.read[1] == max(stored.read) == expected


def test_rows_of_both_dtypes_and_lists():
    X = data(60, 4)
    model = stream(IncrementalPCA(2), (X[:30].astype(np.float32), X[30:50], X[50:].tolist()))
    assert model.components_.dtype == np.float64
    np.testing.assert_allclose(model.explained_variance_, fastml.PCA(2).fit(X).explained_variance_, rtol=1e-6)
    given = X.copy()
    given.flags.writeable = False
    assert_is_pca(IncrementalPCA(2, copy=False).fit(given), X, 1e-12)


@DTYPES
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_solving_between_batches_changes_nothing(columns, dtype):
    """LAPACK may overwrite the matrix it is given, and does where its order of rows and columns is the same: 1 x 1."""
    X = data(30, columns, dtype)
    parts = pieces(X, [10, 10, 10])
    asked = IncrementalPCA()
    for part in parts:
        assert asked.partial_fit(part).components_.shape == (columns, columns)
    assert_equal(attributes(asked), attributes(stream(IncrementalPCA(), parts)))
    assert_is_pca(asked, X, TOLERANCE[dtype])


def test_a_batch_that_is_not_checked():
    X = data(60, 4)
    model = IncrementalPCA(2).partial_fit(X[:30], check_input=False)
    model.n_features_in_ = 4  # what scikit-learn's validation would have set
    before = attributes(model)
    with pytest.raises(ValueError, match="must have 4 columns, got 1"):
        model.set_params(n_components=None).partial_fit(X[:30, :1], check_input=False)
    model.set_params(n_components=2)
    assert_equal(attributes(model), before)
    assert_is_pca(model.partial_fit(X[30:], check_input=False), X, 1e-12)


def test_scatter_is_merged_and_refuses():
    X = data(30, 4)
    whole = scatter(X)
    for parts in (pieces(X, [29, 1]), pieces(X, [1, 29]), pieces(X, [15, 15])):
        merged = scatter(parts[0]).merge(scatter(parts[1]))
        assert merged.count == 30
        np.testing.assert_array_equal(merged.matrix, merged.matrix.T)
        np.testing.assert_allclose(merged.matrix, whole.matrix, rtol=0, atol=1e-12 * np.abs(whole.matrix).max())
        np.testing.assert_allclose(merged.mean, whole.mean, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match="other must have 4 columns, got 3"):
        whole.merge(scatter(X[:, :3]))
    with pytest.raises(ValueError, match="finite"):
        scatter(np.array([[1.0, np.nan]]))
    with pytest.raises(TypeError, match="float32 or float64"):
        scatter(np.ones((2, 2), complex))


@pytest.mark.parametrize("when", [0, 1, 2])
def test_pickles_and_copies_go_on(when):
    X = data(90, 5)
    parts = pieces(X, [40, 30, 20])
    model = stream(IncrementalPCA(2), parts[:when])
    if when == 2:
        model.transform(X)  # solved, not stale
    copy = pickle.loads(pickle.dumps(model))
    assert_equal(attributes(stream(copy, parts[when:])), attributes(stream(model, parts[when:])))
    assert_equal(attributes(pickle.loads(pickle.dumps(model))), attributes(model))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params() and not {*vars(fresh)} & module.FITTED
