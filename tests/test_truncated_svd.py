"""fastml.TruncatedSVD against the SVD of float64, and scikit-learn's: the same attributes, results and errors."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD as Theirs
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastml
from fastml import TruncatedSVD
from fastml.estimators import truncated_svd as module
from tests.test_incremental_pca import data, sensitivity
from tests.test_pca_estimator import exploding, name_of, outcome

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TOLERANCE = {np.float32: 5e-6, np.float64: 1e-12}
ARRAYS = ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_")


def expected(X, k):
    """The attributes, by the SVD in float64 and scikit-learn's definitions."""
    X = X.astype(np.float64)
    _, values, vectors = np.linalg.svd(X, full_matrices=False)
    vectors = vectors[:k] * np.sign(vectors[np.arange(k), np.abs(vectors[:k]).argmax(axis=1)])[:, np.newaxis]
    mean = X[0] + (X - X[0]).mean(axis=0)
    variance = (((X - mean) @ vectors.T) ** 2).mean(axis=0)
    total = ((X - mean) ** 2).mean(axis=0).sum()
    return dict(zip(ARRAYS, (vectors, variance, variance / total, values[:k]), strict=True))


def assert_is_svd(model, X, k, tolerance):
    turned = sensitivity(np.linalg.svd(X.astype(np.float64), compute_uv=False))[:k] / 5
    scale = {"components_": turned[:, np.newaxis], "singular_values_": 1}
    for name, value in expected(X, k).items():
        ours = getattr(model, name)
        assert ours.dtype == X.dtype and ours.shape == value.shape, name
        limit = tolerance * np.abs(value).max() * scale.get(name, turned)
        assert (np.abs(ours - value) <= limit).all(), (name, np.abs(ours - value), limit)


@pytest.fixture
def on_kernels(monkeypatch):
    """Nothing is left to scikit-learn's code."""
    monkeypatch.setattr(Theirs, "fit_transform", exploding)


@DTYPES
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("shape", [(200, 10), (30, 25), (9, 9), (12, 40), (9, 200)])
def test_exact_on_every_shape(dtype, order, k, shape, on_kernels):
    X = np.asarray(data(*shape, dtype), order=order)
    model = TruncatedSVD(k)
    result = model.fit_transform(X)
    assert_is_svd(model, X, k, TOLERANCE[dtype])
    assert result.dtype == dtype and model.components_.flags.c_contiguous
    np.testing.assert_array_equal(TruncatedSVD(k).fit(X).transform(X), result)
    truth = X.astype(np.float64) @ model.components_.T.astype(np.float64)
    np.testing.assert_allclose(result, truth, rtol=0, atol=TOLERANCE[dtype] * np.abs(truth).max())


@pytest.mark.parametrize("shape", [(300, 6), (12, 40)])
@pytest.mark.parametrize("dtype, offset, tolerance", [
    # QR in float64 tells singular values apart within 1e-16 of the largest, which is 1e4 or 1e6 times the second;
    # float32 rounds what comes of it
    (np.float32, 1e4, 1e-6), (np.float64, 1e6, 1e-8),
])  # fmt: skip
def test_uncentred_data(shape, dtype, offset, tolerance, on_kernels):
    X = data(*shape, dtype, offset)
    model = TruncatedSVD(3).fit(X)
    assert_is_svd(model, X, 3, tolerance)
    for name in ("singular_values_", "explained_variance_"):
        np.testing.assert_allclose(getattr(model, name), expected(X, 3)[name], rtol=100 * tolerance, err_msg=name)


@DTYPES
@pytest.mark.parametrize("shape", [(300, 12), (12, 300)])
def test_small_singular_values_go_through_qr(dtype, shape, monkeypatch, on_kernels):
    called, svd = [], module._linalg.svd_centred
    monkeypatch.setattr(module._linalg, "svd_centred", lambda *args: called.append(len(args[0])) or svd(*args))
    # over 12 directions singular values fall from 1 to 1e-11, or in float32, where X itself is rounded, to 1e-5
    left, right = (np.linalg.qr(np.random.default_rng(1).normal(size=(n, 12)))[0] for n in shape)
    smallest = 1e-5 if dtype is np.float32 else 1e-11
    X = ((left * np.geomspace(1, smallest, 12)) @ right.T).astype(dtype)
    model = TruncatedSVD(12).fit(X)
    assert called == [shape[0]]
    truth = expected(X, 12)["singular_values_"]
    np.testing.assert_allclose(model.singular_values_, truth, rtol=1e-6 if dtype is np.float32 else 1e-4)
    assert np.abs(model.components_ @ model.components_.T - np.eye(12)).max() < 4 * np.finfo(dtype).eps * 12
    TruncatedSVD(2).fit(X)
    assert len(called) == 1  # large ones do not need it


@DTYPES
def test_scikit_learns_results(dtype):
    X = load_digits().data.astype(dtype)
    ours, theirs = TruncatedSVD(10).fit(X), Theirs(10, algorithm="arpack", random_state=0).fit(X.astype(np.float64))
    for name in ARRAYS:
        value = getattr(theirs, name)
        limit = 20 * TOLERANCE[dtype] * np.abs(value).max()  # gaps of a twentieth between the variances
        np.testing.assert_allclose(getattr(ours, name), value, rtol=0, atol=limit, err_msg=name)
    result = ours.transform(X)
    back = ours.inverse_transform(result)
    assert result.dtype == back.dtype == dtype
    np.testing.assert_allclose(back, theirs.inverse_transform(theirs.transform(X)), rtol=0, atol=4e3 * TOLERANCE[dtype])


def test_where_exact_vectors_cost_no_more():
    def exact(n, p, k, **options):
        return TruncatedSVD(k, **options)._is_exact((n, p))

    assert exact(10**6, 500, 1) and exact(500, 10**6, 1)
    assert exact(10**6, 700, 5) and not exact(10**6, 800, 5)  # 8 * 6 * 15 = 720
    assert exact(10**6, 800, 5, n_iter=7) and exact(10**6, 800, 10) and exact(10**6, 800, 5, n_oversamples=20)
    assert not exact(1000, 700, 5)  # the eigenproblem counts
    assert exact(1000, 700, 80) and exact(700, 1000, 80)
    assert exact(10**5, 4000, 400) and not exact(10**5, 4001, 400)
    assert not exact(30, 20, 21)


@pytest.mark.parametrize("options", [
    {"algorithm": "arpack"}, {"n_components": 12}, {"n_components": 3, "n_iter": 2, "tol": 0.1},
], ids=str)  # fmt: skip
def test_what_runs_on_scikit_learns_code(options, monkeypatch):
    monkeypatch.setattr(module, "scatter", exploding)
    X = data(600, 510) if "n_iter" in options else data(10, 20)
    ours, theirs = (cls(random_state=0, **options) for cls in (TruncatedSVD, Theirs))
    np.testing.assert_array_equal(ours.fit_transform(X), theirs.fit_transform(X))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("convert", [
    sparse.csr_array, sparse.csc_array, sparse.coo_array, lambda X: X.astype(int), lambda X: X.astype(np.float16),
    lambda X: X.astype(int).tolist(),
])  # fmt: skip
def test_other_input_runs_on_scikit_learns_code(convert, monkeypatch):
    monkeypatch.setattr(module, "scatter", exploding)
    X = convert(np.round(data(30, 8) * 4))
    ours, theirs = (outcome(cls, lambda m: m.set_params(random_state=0).fit_transform(X))
                    for cls in (TruncatedSVD, Theirs))  # fmt: skip
    np.testing.assert_array_equal(ours, theirs)


def test_array_api_dispatch_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(module, "left_to_sklearn", lambda model: True)
    monkeypatch.setattr(module, "scatter", exploding)
    X = data(30, 8)
    ours, theirs = (cls(random_state=0).fit(X) for cls in (TruncatedSVD, Theirs))
    np.testing.assert_array_equal(ours.components_, theirs.components_)


@pytest.mark.parametrize("shape", [(6, 3), (4, 4), (3, 5)])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3])
@DTYPES
def test_constant_data(shape, value, dtype):
    X = np.full(shape, value, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = TruncatedSVD(2).fit(X)
    norm = float(X[0, 0]) * np.sqrt(X.size)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(model.singular_values_, [norm, 0], rtol=4 * eps, atol=4 * eps * norm)
    assert np.isfinite(model.explained_variance_ratio_).all()
    np.testing.assert_allclose(model.explained_variance_, 0, atol=(8 * eps * norm) ** 2)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), X, rtol=8 * eps)


@DTYPES
def test_values_whose_squares_overflow_or_underflow(dtype):
    for scale in (1e-25, 1e25) if dtype is np.float32 else (1e-150, 1e170):
        X = data(60, 6, dtype) * dtype(scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variances that are 0 or infinite
            model = TruncatedSVD(2, random_state=0).fit(X)
        truth = np.linalg.svd(X.astype(np.float64) / scale, full_matrices=False)
        rtol = 1e-5 if dtype is np.float32 else 1e-7  # or scikit-learn's random vectors
        np.testing.assert_allclose(model.singular_values_ / dtype(scale), truth[1][:2], rtol=rtol)


@pytest.mark.filterwarnings("error::RuntimeWarning:fastml.*")
def test_a_variance_beyond_float32_is_left_to_scikit_learn():
    X = np.array([[1e19, 0], [-1e19, 0], [0, 1e17]], np.float32) * np.float32(3)
    with fastml.backend("numpy"):  # whose products are float64
        model = TruncatedSVD(1, random_state=0).fit(X)
    assert model.singular_values_ == pytest.approx(3e19 * 2**0.5, rel=1e-5)


BAD = {
    "NaN": lambda p: p.fit([[np.nan, 1.0], [1.0, 2.0], [1.0, 2.0]]),
    "infinity": lambda p: p.fit(np.array([[np.inf, 1.0], [1.0, 2.0]], np.float32)),
    "infinity, wide": lambda p: p.fit_transform(np.array([[np.inf, 1.0, 3.0], [1.0, 2.0, 3.0]])),
    "NaN in transform": lambda p: p.fit(np.eye(2)).transform([[np.nan, 1.0]]),
    "too many": lambda p: p.set_params(n_components=4).fit(np.ones((9, 3))),
    "too many, arpack": lambda p: p.set_params(n_components=3, algorithm="arpack").fit(np.eye(3)),
    "zero": lambda p: p.set_params(n_components=0).fit(np.eye(3)),
    "algorithm": lambda p: p.set_params(algorithm="quick").fit(np.eye(3)),
    "random_state": lambda p: p.set_params(random_state="x").fit(np.eye(3)),
    "one column": lambda p: p.fit(np.ones((4, 1))),
    "features": lambda p: p.fit(np.eye(3)).transform(np.eye(2)),
    "one dimension": lambda p: p.fit(np.ones(3)),
    "no rows": lambda p: p.fit(np.ones((0, 3))),
    "text": lambda p: p.fit([["a", "b"]]),
    "complex": lambda p: p.fit(np.ones((3, 3), complex)),
    "not fitted": lambda p: p.transform(np.eye(2)),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_scikit_learns(name):
    kind, message = outcome(TruncatedSVD, BAD[name])
    assert (kind, message) == outcome(Theirs, BAD[name])
    assert issubclass(kind, Exception) and message


def test_it_is_a_scikit_learn_estimator():
    assert TruncatedSVD().get_params() == Theirs().get_params()
    assert repr(TruncatedSVD(3, n_iter=7)) == repr(Theirs(3, n_iter=7))
    X = data(50, 6)
    given = X.copy()
    given.flags.writeable = False
    model = TruncatedSVD(np.int64(3)).fit(given)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    with pytest.raises(NotFittedError):
        clone(model).transform(X)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdef"), index=range(5, 55))
    result = model.set_output(transform="pandas").fit_transform(frame)
    assert result.columns.tolist() == [f"truncatedsvd{i}" for i in range(3)] and result.index.equals(frame.index)
    assert result.equals(model.transform(frame))
    assert model.feature_names_in_.tolist() == list("abcdef")


# as in test_pca_estimator: every check that scikit-learn has for its own class, on this one
PAIRS = [(TruncatedSVD(**theirs.get_params()), check) for theirs, check in estimator_checks_generator(Theirs())]


@pytest.mark.parametrize("estimator, check", PAIRS, ids=[f"{i}-{name_of(c)}" for i, (_, c) in enumerate(PAIRS)])
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_number_of_checks():
    ours = [name_of(check) for _, check in estimator_checks_generator(TruncatedSVD())]
    assert ours == [name_of(check) for _, check in PAIRS]
    assert len(PAIRS) >= 45


@pytest.mark.parametrize("shape", [(2**40, 3), (4, 2**40)], ids=str)
@pytest.mark.parametrize("method", ["PCA.fit", "PCA.fit_transform", "TruncatedSVD.fit", "IncrementalPCA.partial_fit"])
def test_what_no_memory_holds_is_refused_and_not_read(method, shape):
    """A single value that claims to be 26 or 35 TB; to look for NaN in all of it would take hours."""
    X = np.lib.stride_tricks.as_strided(np.ones(1), shape, (0, 0))
    name, _, fit = method.partition(".")
    with pytest.raises(ValueError, match=r"^X of shape .* takes .* bytes, this machine has"):
        getattr(getattr(fastml, name)(2), fit)(X)


def test_incremental_pca_refuses_many_columns_that_no_memory_holds():
    with pytest.raises(ValueError, match=r"^X of shape .* takes .* bytes, this machine has"):
        fastml.IncrementalPCA(2).fit(np.lib.stride_tricks.as_strided(np.ones(1), (4, 2**40), (0, 0)))
