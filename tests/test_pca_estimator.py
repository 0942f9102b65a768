"""fastml.PCA against scikit-learn's: the same results, attributes and errors, and right where data are uncentred."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA as Theirs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastml
from fastml import PCA
from fastml.estimators import pca as module

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
WHITEN = pytest.mark.parametrize("whiten", [False, True])
ARRAYS = ("mean_", "components_", "explained_variance_", "explained_variance_ratio_", "singular_values_")
NUMBERS = ("noise_variance_", "n_components_", "n_samples_", "n_features_in_")
# scikit-learn's own list, for array libraries that are not always installed
EXPECTED = {
    "check_array_api_mixed_inputs": "mixed array API input support not added yet",
    "check_array_api_input": "`linalg.inv` fails because input is singular",
}


def data(rows, columns, dtype=np.float64, offset=1.0):
    """Standard deviations from 3 to 0.3 in random directions: no two close, none lost in float32."""
    rank = min(rows, columns)
    left, right = (np.linalg.qr(random.normal(size=(n, rank)))[0] for n in (rows, columns))
    return ((left * np.geomspace(3, 0.3, rank) * rows**0.5) @ right.T + offset).astype(dtype)


def assert_same_fit(ours, theirs, tolerance, dtype):
    """Equal within `tolerance`, relative to the largest entry of each attribute."""
    variance = theirs.explained_variance_
    for name in ARRAYS:
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.dtype == dtype and a.shape == b.shape, name
        if name == "components_":  # centred wide data have one without variance, which may point anywhere
            a, b = (components[variance > 1e-20] for components in (a, b))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max(initial=0), err_msg=name)
    for name in NUMBERS:
        scale = variance.max(initial=1) if name == "noise_variance_" else 1
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=tolerance * scale)


def outcome(cls, action):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return action(cls())
        except Exception as error:
            return type(error), str(error)


def exploding(*args, **kwargs):
    raise AssertionError("a kernel of fastml ran")


@DTYPES
@WHITEN
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_components", [None, 1, 3, 0.6])
@pytest.mark.parametrize("shape, solver", [
    ((200, 10), "auto"), ((200, 10), "full"), ((200, 10), "covariance_eigh"), ((30, 25), "auto"), ((9, 9), "full"),
    ((12, 40), "auto"), ((12, 40), "full"), ((50, 1), "auto"),
])  # fmt: skip
def test_attributes_and_results(dtype, whiten, order, n_components, shape, solver):
    if shape[1] == 1 and n_components == 3:
        n_components = 1
    X = np.asarray(data(*shape, dtype), order=order)
    exact = Theirs(n_components, whiten=whiten, svd_solver="full").fit(X.astype(np.float64))
    ours = PCA(n_components, whiten=whiten, svd_solver=solver).fit(X)
    tolerance = 1e-11 if dtype is np.float64 else 2e-5
    assert_same_fit(ours, exact, tolerance, dtype)
    assert ours.svd_solver_ == ours._fit_svd_solver and ours.components_.flags.c_contiguous
    lost = shape[0] < shape[1] and n_components is None  # the last direction of centred rows has no variance
    assert ours.svd_solver_ == (solver if solver != "auto" else "full" if lost else "covariance_eigh")
    result, expected = ours.transform(X), exact.transform(X.astype(np.float64))
    assert result.dtype == dtype
    # the last direction of a centred square or wide matrix has no variance, and whitening divides by it
    real = exact.explained_variance_ > 1e-6
    limit = 20 * tolerance * np.abs(expected[:, real]).max()
    np.testing.assert_allclose(result[:, real], expected[:, real], rtol=0, atol=limit)
    np.testing.assert_array_equal(PCA(n_components, whiten=whiten, svd_solver=solver).fit_transform(X), result)
    np.testing.assert_allclose(ours.inverse_transform(result), exact.inverse_transform(expected), rtol=0, atol=limit)


@DTYPES
def test_digits_and_their_share_of_variance(dtype):
    X = load_digits().data.astype(dtype)
    for n_components in (0.5, 0.9, 0.99, 10, 40):
        ours, theirs = (cls(n_components, svd_solver="full").fit(X) for cls in (PCA, Theirs))
        assert ours.n_components_ == theirs.n_components_
        auto = PCA(n_components).fit(X)
        for name in ("explained_variance_", "components_"):
            limit = 1e-9 if dtype is np.float64 else 1e-3 * np.abs(getattr(theirs, name)).max()
            np.testing.assert_allclose(getattr(auto, name), getattr(theirs, name), rtol=0, atol=limit)


@pytest.mark.parametrize("offset", [1e3, 1e4, 1e5])
def test_uncentred_data(offset):
    X = (random.normal(size=(2000, 5)) * [5, 4, 3, 2, 1] + offset).astype(np.float32)
    exact = Theirs(svd_solver="full").fit(X.astype(np.float64))
    ours, theirs = PCA().fit(X), Theirs().fit(X)
    np.testing.assert_allclose(ours.explained_variance_, exact.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(ours.components_, exact.components_, rtol=0, atol=1e-5)
    spacing = np.spacing(np.float32(offset))  # of the data themselves, and of the mean in float32
    assert np.abs(ours.transform(X) - exact.transform(X.astype(np.float64))).max() < 2 * spacing
    assert np.abs(theirs.explained_variance_ / exact.explained_variance_ - 1).max() > 0.1  # what the subclass is for


@pytest.mark.parametrize("options", [
    {"n_components": 0}, {"n_components": 0, "svd_solver": "full", "copy": False, "whiten": True},
    {"n_components": 0, "svd_solver": "covariance_eigh"},
], ids=str)  # fmt: skip
def test_what_runs_on_scikit_learns_code(options, monkeypatch):
    monkeypatch.setattr(module, "pca", exploding)
    X = data(60, 8)
    ours, theirs = (cls(random_state=0, **options).fit(X.copy()) for cls in (PCA, Theirs))
    assert_same_fit(ours, theirs, 0, np.float64)
    assert ours.svd_solver_ == ours._fit_svd_solver == theirs._fit_svd_solver
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=0, atol=1e-12)
    ours, theirs = (cls(random_state=0, **options).fit_transform(X.copy()) for cls in (PCA, Theirs))
    np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(PCA(**options).fit(X).condition_)


def test_auto_on_large_matrices(monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1100)
    X = data(1200, 1300, np.float32)
    assert PCA(3).fit(X).svd_solver_ == PCA(3).fit(X.T).svd_solver_ == "randomized"
    assert PCA(3).fit(X[:1000]).svd_solver_ == "covariance_eigh"
    assert PCA(1000).fit(X).svd_solver_ in ("covariance_eigh", "full")  # no few of 1200
    assert PCA(0.5).fit(X.T).svd_solver_ in ("covariance_eigh", "full")


@DTYPES
@pytest.mark.parametrize("falling", [1.0, 0.999, 0.98, 0.9])
def test_auto_on_large_matrices_is_exact(monkeypatch, dtype, falling):
    """Slowly falling variances need many steps, or exact components."""
    X = np.random.default_rng(0).normal(size=(1300, 1200)) @ np.diag(falling ** np.arange(1200)) + 3
    exact = PCA(5, svd_solver="covariance_eigh").fit(X).explained_variance_
    monkeypatch.setattr(module, "LARGE", 1100)
    model = PCA(5).fit(X.astype(dtype))
    np.testing.assert_allclose(model.explained_variance_, exact, rtol=1e-4 if dtype is np.float32 else 1e-8)
    assert model.svd_solver_ == "randomized" or falling > 0.99


def test_randomized_takes_scikit_learns_parameters():
    X = data(1100, 1010, np.float32)
    one, two = (PCA(5, svd_solver="randomized", random_state=seed, iterated_power=0).fit(X) for seed in (1, 2))
    assert one.svd_solver_ == "randomized"
    assert not np.array_equal(one.components_, two.components_)
    again = PCA(5, svd_solver="randomized", random_state=1, iterated_power=0).fit(X)
    np.testing.assert_array_equal(one.components_, again.components_)
    more = PCA(5, svd_solver="randomized", random_state=1, iterated_power=0, n_oversamples=40).fit(X)
    best, theirs = (cls(5, svd_solver="randomized", random_state=1).fit(X) for cls in (PCA, Theirs))
    sums = [model.explained_variance_.sum() for model in (one, more, theirs, best)]
    assert sums == sorted(sums)


def test_dense_runs_on_the_kernels(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "pca", lambda *a, **o: calls.append(o["solver"]) or fastml.pca(*a, **o))
    for solver in ("auto", "full", "covariance_eigh"):
        PCA(2, svd_solver=solver).fit_transform(data(30, 5))
    assert calls == ["auto", "full", "covariance_eigh"]


@pytest.mark.parametrize("X", [np.arange(20).reshape(5, 4) ** 2, [[1, 2], [3, 5], [4, 4]], np.eye(4, dtype=bool)])
def test_what_becomes_float64(X):
    ours, theirs = (cls(2, svd_solver="full").fit(X) for cls in (PCA, Theirs))
    np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-12)
    assert ours.transform(X).dtype == ours.components_.dtype == np.float64


@pytest.mark.parametrize("fit_dtype, dtype", [(np.float64, np.float32), (np.float32, np.float64)])
def test_dtypes_mix_as_in_scikit_learn(fit_dtype, dtype):
    X = data(50, 6)
    ours, theirs = (cls(3).fit(X.astype(fit_dtype)).transform(X.astype(dtype)) for cls in (PCA, Theirs))
    assert ours.dtype == theirs.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@DTYPES
@WHITEN
@pytest.mark.parametrize("n_components", [None, 2])
def test_the_probabilistic_model(dtype, whiten, n_components):
    X = data(100, 6, dtype)
    ours, theirs = (cls(n_components, whiten=whiten).fit(X) for cls in (PCA, Theirs))
    rtol = 1e-9 if dtype is np.float64 else 2e-3
    for method in ("get_covariance", "get_precision"):
        a, b = getattr(ours, method)(), getattr(theirs, method)()
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())
    np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=rtol)
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=rtol)
    if n_components is None and not whiten:
        np.testing.assert_allclose(ours.get_covariance(), np.cov(X.T), rtol=0, atol=rtol * 9)


@DTYPES
@pytest.mark.parametrize("solver", ["auto", "full", "covariance_eigh"])
def test_whitening(dtype, solver):
    X = data(100, 6, dtype)
    X[:, 5] = X[:, 0] + X[:, 1]  # a direction without variance
    model = PCA(whiten=True, svd_solver=solver)
    result = model.fit_transform(X)
    np.testing.assert_allclose(result[:, :5].std(axis=0, ddof=1), 1, rtol=1e-3)
    assert np.isfinite(result).all()
    assert np.abs(result[:, 5]).max() < 100
    np.testing.assert_allclose(model.inverse_transform(result), X, rtol=0, atol=1e-5 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("X", [np.full((6, 3), 0.1), np.zeros((4, 4)), np.full((3, 5), 1e8 / 3, np.float32)])
@pytest.mark.parametrize("solver", ["auto", "full", "covariance_eigh"])
def test_constant_data(X, solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PCA(2, svd_solver=solver).fit(X)
        result = model.transform(X)
    np.testing.assert_allclose(result, 0, atol=np.spacing(X).max() * 4)
    assert np.isfinite([*model.explained_variance_ratio_, *model.explained_variance_, model.noise_variance_]).all()
    np.testing.assert_allclose(model.inverse_transform(result), X, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn")
def test_one_row():
    X = np.array([[1.0, 2.0, 3.0]])
    ours, theirs = PCA().fit(X), Theirs().fit(X)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    assert ours.svd_solver_ == "full"


BAD = {
    "NaN": lambda p: p.fit([[np.nan, 1.0], [1.0, 2.0], [1.0, 2.0]]),
    "infinity": lambda p: p.fit(np.array([[np.inf, 1.0], [1.0, 2.0]], np.float32)),
    "NaN in transform": lambda p: p.fit(np.eye(2)).transform([[np.nan, 1.0]]),
    "too many": lambda p: p.set_params(n_components=4).fit(np.ones((3, 5))),
    "too many, full": lambda p: p.set_params(n_components=4, svd_solver="full").fit(np.ones((3, 5))),
    "too many, covariance": lambda p: p.set_params(n_components=6, svd_solver="covariance_eigh").fit(np.ones((9, 5))),
    "too many, large": lambda p: p.set_params(n_components=6).fit_transform(np.ones((600, 5))),
    "negative": lambda p: p.set_params(n_components=-1).fit(np.eye(3)),
    "fraction of one": lambda p: p.set_params(n_components=1.0).fit(np.eye(3)),
    "mle of wide data": lambda p: p.set_params(n_components="mle").fit(np.ones((3, 5))),
    "mle with randomized": lambda p: p.set_params(n_components="mle", svd_solver="randomized").fit(np.eye(3)),
    "all with arpack": lambda p: p.set_params(n_components=3, svd_solver="arpack").fit(np.eye(3)),
    "a share with arpack": lambda p: p.set_params(n_components=0.5, svd_solver="arpack").fit(np.eye(3)),
    "a share with randomized": lambda p: p.set_params(n_components=0.5, svd_solver="randomized").fit(np.eye(3)),
    "arpack of one column": lambda p: p.set_params(svd_solver="arpack").fit(np.ones((5, 1))),
    "mle with arpack": lambda p: p.set_params(n_components="mle", svd_solver="arpack").fit(np.eye(3)),
    "solver": lambda p: p.set_params(svd_solver="quick").fit(np.eye(3)),
    "features": lambda p: p.fit(np.eye(3)).transform(np.eye(2)),
    "features in inverse": lambda p: p.fit(np.eye(3)).inverse_transform(np.eye(2)),
    "not fitted": lambda p: p.transform(np.eye(2)),
    "one dimension": lambda p: p.fit(np.ones(3)),
    "no rows": lambda p: p.fit(np.ones((0, 3))),
    "text": lambda p: p.fit([["a", "b"]]),
    "complex": lambda p: p.fit(np.ones((3, 3), complex)),
    "sparse full": lambda p: p.set_params(svd_solver="full").fit(sparse.eye_array(3, format="csr")),
    "parameter": lambda p: p.set_params(whiten="yes").fit_transform(np.eye(3)),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_scikit_learns(name):
    kind, message = outcome(PCA, BAD[name])
    assert (kind, message) == outcome(Theirs, BAD[name])
    assert issubclass(kind, Exception) and message


@pytest.mark.parametrize("solver", ["auto", "arpack", "covariance_eigh"])
def test_sparse_runs_on_scikit_learns_code(solver, monkeypatch):
    monkeypatch.setattr(module, "pca", exploding)
    X = sparse.random(60, 8, 0.4, "csr", random_state=0)
    ours, theirs = (cls(3, svd_solver=solver, random_state=0).fit(X) for cls in (PCA, Theirs))
    np.testing.assert_array_equal(ours.components_, theirs.components_)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    np.testing.assert_allclose(ours.transform(X.toarray()), theirs.transform(X), rtol=0, atol=1e-12)
    assert ours.svd_solver_ == ("arpack" if solver == "auto" else solver)


def test_the_input_is_left_alone():
    X = data(40, 5)
    given = X.copy()
    PCA(2, copy=False, svd_solver="full").fit_transform(given)
    np.testing.assert_array_equal(given, X)
    given.flags.writeable = False
    np.testing.assert_array_equal(PCA(2).fit_transform(given), PCA(np.int64(2)).fit_transform(X))


def test_it_is_a_scikit_learn_estimator():
    assert PCA().get_params() == Theirs().get_params()
    model = PCA(3, whiten=True)
    assert repr(model) == repr(Theirs(3, whiten=True))
    assert clone(model).get_params() == model.get_params()
    X, y = load_breast_cancer(return_X_y=True)
    model.fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), model.transform(X))
    scores = []
    for cls in (PCA, Theirs):
        pipeline = make_pipeline(fastml.StandardScaler(), cls(svd_solver="full"), LogisticRegression())
        scores.append(GridSearchCV(pipeline, {"pca__n_components": [2, 5]}, cv=3).fit(X, y).cv_results_)
    np.testing.assert_array_equal(*(score["mean_test_score"] for score in scores))


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data(20, 4), columns=list("abcd"), index=range(5, 25))
    for options in ({"svd_solver": "full"}, {"svd_solver": "arpack"}):
        ours, theirs = (cls(2, random_state=0, **options).set_output(transform="pandas") for cls in (PCA, Theirs))
        for method in ("fit_transform", "transform"):
            a, b = getattr(ours, method)(frame), getattr(theirs, method)(frame)
            pandas.testing.assert_frame_equal(a, b, atol=1e-12)
            assert a.columns.tolist() == ["pca0", "pca1"] and a.index.equals(frame.index)
        assert ours.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        ours.transform(frame[list("dcba")])


def name_of(check):
    return getattr(check, "func", check).__name__


# scikit-learn may check its own class with some parameters besides the defaults; so all its pairs run, on this class
PAIRS = [(PCA(**theirs.get_params()), check) for theirs, check in estimator_checks_generator(Theirs())]


@pytest.mark.parametrize("estimator, check", PAIRS, ids=[f"{i}-{name_of(c)}" for i, (_, c) in enumerate(PAIRS)])
def test_scikit_learns_checks(estimator, check, request):
    if name_of(check) in EXPECTED:
        request.applymarker(pytest.mark.xfail(reason=EXPECTED[name_of(check)], strict=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_number_of_checks():
    assert [name_of(check) for _, check in estimator_checks_generator(PCA())] == [name_of(check) for _, check in PAIRS]
    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    assert len(PAIRS) >= (67 if version >= (1, 9) else 45)
