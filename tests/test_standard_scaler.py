"""fastml.StandardScaler against scikit-learn's: the same results, attributes and errors, with less rounding."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler as Theirs
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastml import StandardScaler
from fastml.estimators import standard_scaler as module

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FLAGS = pytest.mark.parametrize("with_mean, with_std", [(True, True), (True, False), (False, True), (False, False)])
ATTRIBUTES = ("mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_")
KERNELS = ("moments", "small", "standardize_into")  # the ways to them
# scikit-learn's own list, for array libraries that are not always installed
EXPECTED = {"check_array_api_same_namespace": "check_same_namespace not yet added"}


def data(dtype=np.float64, rows=203, order="C", nan=False):
    X = random.normal(2, 3, (rows, 7)) * [1e-3, 0.1, 1, 1, 10, 1e3, 1e6]
    X[:, 3] = 5
    if nan:
        X[random.random(X.shape) < 0.2] = np.nan
    return np.asarray(X, dtype=dtype, order=order)


def strided(X):
    return np.repeat(X, 2, axis=1)[:, ::2]


def assert_same_fit(ours, theirs, rtol=1e-12):
    for name in ATTRIBUTES:
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        if b is not None:
            assert np.shape(a) == np.shape(b), name
            np.testing.assert_allclose(a, b, rtol=rtol, err_msg=name)
            if name != "n_samples_seen_":  # scikit-learn documents an integer, and 1.9 gives a float
                assert np.asarray(a).dtype == np.asarray(b).dtype, name


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
@FLAGS
@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, strided], ids=["C", "F", "strided"])
def test_attributes_and_results(dtype, with_mean, with_std, nan, layout):
    X = layout(data(dtype, nan=nan))
    ours, theirs = (cls(with_mean=with_mean, with_std=with_std).fit(X) for cls in (StandardScaler, Theirs))
    assert_same_fit(ours, theirs)
    mean, scale, eps = ours.mean_ if with_mean else 0, ours.scale_ if with_std else 1, np.finfo(dtype).eps
    result = ours.transform(X)
    assert result.dtype == dtype
    assert result.flags.f_contiguous == (layout is np.asfortranarray)
    # a difference, a product with 1 / scale (backend numba may) and that reciprocal: three roundings of eps / 2
    np.testing.assert_allclose(result, (X.astype(np.longdouble) - mean) / scale, rtol=1.5 * eps, atol=0)
    np.testing.assert_array_equal(ours.fit_transform(X), result)
    back = ours.inverse_transform(result)
    assert back.dtype == dtype
    bound = 4 * eps * (np.abs(X) + np.abs(mean))  # of rounding in `result` and here
    assert not (np.abs(back - X) > bound).any() and (np.isnan(back) == np.isnan(X)).all()
    vars(theirs).update(vars(ours))
    assert not (np.abs(back - theirs.inverse_transform(result)) > bound).any()


@pytest.mark.parametrize("X", [
    [[1, 2], [3, 5], [4, 4]], np.arange(12).reshape(4, 3), np.eye(3, dtype=bool), np.eye(3, dtype=">f4"),
    np.eye(4, dtype=np.uint8), np.eye(3).astype(object),
], ids=["list", "int", "bool", "big-endian", "uint8", "object"])  # fmt: skip
def test_what_becomes_float64(X):
    ours, theirs = StandardScaler().fit(X), Theirs().fit(X)
    assert_same_fit(ours, theirs)
    assert ours.transform(X).dtype == theirs.transform(X).dtype == np.float64
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-14, atol=1e-15)


def test_float32_is_right_at_any_offset():
    X = random.normal(1e6, 1, (1000, 3)).astype(np.float32)
    exact = X.astype(np.longdouble)
    exact = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    assert np.abs(StandardScaler().fit_transform(X) - exact).max() < 4e-7
    assert np.abs(Theirs().fit_transform(X) - exact).max() > 1e-3  # what the subclass is for


@DTYPES
def test_constant_and_nearly_constant_features(dtype):
    n = 1000
    noise = random.normal(0, 1, n)
    X = np.column_stack([np.full(n, 0.1), np.full(n, 1e8 / 3), np.zeros(n), 1 + 1e-15 * noise, 1e4 + 0.1 * noise])
    X = X.astype(dtype)
    ours, theirs = StandardScaler().fit(X), Theirs().fit(X)
    np.testing.assert_allclose(ours.scale_, theirs.scale_, rtol=1e-12)
    assert ours.scale_[:4].tolist() == [1, 1, 1, 1] and ours.scale_[4] < 0.2
    rounding = n * np.finfo(np.float64).eps * np.abs(X[0, :3])  # of a mean; the rule for a constant allows as much
    assert (np.abs(ours.transform(X)[:, :3]) <= rounding).all()


def test_a_column_of_nan_is_quiet_and_forgotten():
    X = data()
    X[:100, 2] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = StandardScaler().fit(X[:100])
        assert np.isnan(scaler.transform(X[:100])[:, 2]).all()
    assert scaler.n_samples_seen_.tolist() == [100, 100, 0, 100, 100, 100, 100]
    assert np.isnan([scaler.mean_[2], scaler.var_[2], scaler.scale_[2]]).all()
    scaler.partial_fit(X[100:])
    assert_same_fit(scaler, Theirs().fit(X))


@DTYPES
@FLAGS
@pytest.mark.parametrize("nan", [False, True])
def test_partial_fit_in_pieces(dtype, with_mean, with_std, nan):
    X = data(dtype, nan=nan)
    ours, whole, theirs = (cls(with_mean=with_mean, with_std=with_std) for cls in (StandardScaler, Theirs, Theirs))
    for piece in np.split(X, [1, 2, 70, 199]):
        ours.partial_fit(piece)
    assert_same_fit(ours, whole.fit(X), rtol=1e-11)
    if not nan:
        theirs.partial_fit(X[:90]).partial_fit(X[90:])
        assert_same_fit(ours, theirs, rtol=1e-11)
        assert isinstance(ours.n_samples_seen_, np.int64) and ours.n_samples_seen_ == len(X)
    assert_same_fit(ours.fit(X[:50]), whole.fit(X[:50]))  # fit forgets


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_sparse_runs_on_scikit_learns_code(form, monkeypatch):
    for name in KERNELS:
        monkeypatch.setattr(module, name, exploding)
    X = sparse.random(50, 6, 0.3, form, random_state=0)
    ours, theirs = (cls(with_mean=False).fit(X) for cls in (StandardScaler, Theirs))
    assert_same_fit(ours, theirs, rtol=0)
    for method in ("transform", "inverse_transform"):
        a, b = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert type(a) is type(b) and abs(a - b).max() == 0


def test_dense_after_sparse():
    X = data(rows=60)
    ours, theirs = (cls(with_mean=False).fit(sparse.csr_array(X)) for cls in (StandardScaler, Theirs))
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-14)
    assert_same_fit(ours.partial_fit(X), theirs.partial_fit(X))


def test_dense_runs_on_the_kernels(monkeypatch):
    calls = []
    for name in KERNELS:
        kernel = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, _k=kernel, _n=name, **o: calls.append(_n) or _k(*a, **o))
    scaler = StandardScaler().fit(data())
    assert calls == ["moments"]
    scaler.inverse_transform(scaler.transform(data(np.float32)))
    assert calls[1:] == ["small", "standardize_into"]


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, strided], ids=["C", "F", "strided"])
@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
@DTYPES
def test_copy(layout, method, dtype):
    X = data(dtype)
    scaler = StandardScaler().fit(X)
    expected = getattr(scaler, method)(layout(X))
    given = layout(X.copy())
    given.flags.writeable = False
    np.testing.assert_array_equal(getattr(scaler, method)(given), expected)
    np.testing.assert_array_equal(getattr(scaler, method)(given, copy=False), expected)  # read-only: in a copy, quietly
    np.testing.assert_array_equal(given, X)
    given = layout(X.copy())
    result = getattr(scaler.set_params(copy=False), method)(given)
    assert np.shares_memory(result, given)
    np.testing.assert_array_equal(given, expected)


BAD = {
    "infinity in fit": lambda s: s.fit([[1.0, np.inf], [1.0, 2.0]]),
    "infinity in fit, array": lambda s: s.fit(np.array([[1.0, np.nan], [-np.inf, np.inf]])),
    "infinity in fit, float32": lambda s: s.fit(np.array([[1.0, 2.0], [-np.inf, 0.0]], np.float32)),
    "infinity in partial_fit": lambda s: s.fit(np.eye(2)).partial_fit(np.full((1, 2), np.inf)),
    "infinity in transform": lambda s: s.fit(np.eye(2)).transform(np.full((1, 2), -np.inf, np.float32)),
    "infinity in inverse": lambda s: s.fit(np.eye(2)).inverse_transform(np.full((1, 2), np.inf)),
    "not fitted": lambda s: s.transform(np.eye(2)),
    "not fitted inverse": lambda s: s.inverse_transform(np.eye(2)),
    "not fitted after an error": lambda s: (outcome(lambda: s, lambda s: s.fit([[np.inf]])), s.transform(np.eye(2))),
    "features": lambda s: s.fit(np.eye(3)).transform(np.eye(2)),
    "features in inverse": lambda s: s.fit(np.eye(3)).inverse_transform(np.eye(2)),
    "features in partial_fit": lambda s: s.fit(np.eye(3)).partial_fit(np.eye(2)),
    "one dimension": lambda s: s.fit(np.ones(3)),
    "three dimensions": lambda s: s.fit(np.ones((2, 2, 2))),
    "no rows": lambda s: s.fit(np.ones((0, 2))),
    "no columns": lambda s: s.fit(np.ones((2, 0))),
    "complex": lambda s: s.fit(np.ones((2, 2), complex)),
    "text": lambda s: s.fit([["a", "b"]]),
    "sparse with_mean": lambda s: s.fit(sparse.eye_array(3, format="csr")),
    "sparse transform": lambda s: s.fit(np.eye(3)).transform(sparse.eye_array(3, format="csr")),
    "parameter": lambda s: s.set_params(with_mean="yes").fit(np.eye(2)),
    "with_mean late": lambda s: s.set_params(with_mean=False, with_std=False).fit(np.eye(2)).set_params(
        with_mean=True).transform(np.eye(2)),
    "with_std late": lambda s: s.set_params(with_std=False).fit(np.eye(2)).set_params(with_std=True).partial_fit(
        np.eye(2)),
    "weights": lambda s: s.fit(np.eye(3), sample_weight=[1, 2]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_errors_are_scikit_learns(name):
    kind, message = outcome(StandardScaler, BAD[name])
    assert (kind, message) == outcome(Theirs, BAD[name])
    assert issubclass(kind, Exception) and ("infinity" in message or "infinity" not in name)
    assert kind is NotFittedError or "not fitted" not in name


@pytest.mark.parametrize("dtype", [float, ">f8"])
def test_squares_that_overflow(dtype):
    X = np.array([[1e200, 1.0, 7e-200], [-1e200, 2.0, 5e-200]], dtype)
    scaler = StandardScaler().fit(X)
    np.testing.assert_array_equal(scaler.scale_, [1e200, 0.5, 1])  # squares that underflow make a constant
    assert scaler.var_[0] == np.inf
    np.testing.assert_array_equal(scaler.transform(X)[:, :2], [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(scaler.fit_transform(X)[:, :2], [[1, -1], [-1, 1]])
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(X)), X, rtol=1e-15)


def test_it_is_a_scikit_learn_estimator():
    scaler = StandardScaler(copy=False, with_std=False)
    assert StandardScaler().get_params() == Theirs().get_params()
    assert repr(scaler) == repr(Theirs(copy=False, with_std=False))
    assert clone(scaler).get_params() == scaler.get_params()
    X, y = load_breast_cancer(return_X_y=True)
    fitted = StandardScaler().fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X))
    scores = []
    for cls in (StandardScaler, Theirs):
        pipeline = make_pipeline(cls(), LogisticRegression(max_iter=500))
        grid = {cls.__name__.lower() + "__with_std": [True], "logisticregression__C": [0.1, 1.0]}
        scores.append(GridSearchCV(pipeline, grid, cv=3).fit(X, y).cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data(rows=20), columns=list("abcdefg"), index=range(5, 25))
    ours, theirs = (cls().set_output(transform="pandas").fit(frame) for cls in (StandardScaler, Theirs))
    assert ours.feature_names_in_.tolist() == ours.get_feature_names_out().tolist() == list("abcdefg")
    for method in ("transform", "fit_transform"):
        pandas.testing.assert_frame_equal(getattr(ours, method)(frame), getattr(theirs, method)(frame), atol=1e-12)
    half = frame[["b", "c"]].astype(np.float16)
    bound = 8 * float(np.finfo(np.float16).eps)  # scikit-learn rounds mean and std as well
    pandas.testing.assert_frame_equal(clone(ours).fit_transform(half), clone(theirs).fit_transform(half), atol=bound)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        ours.transform(frame.to_numpy())
    with pytest.raises(ValueError, match="feature names should match"):
        ours.transform(frame[list("gfedcba")])


@pytest.mark.skipif(not hasattr(Theirs, "set_callbacks"), reason="scikit-learn before 1.9")
def test_callbacks_are_called():
    calls = []
    hooks = ["setup", "on_fit_task_begin", "on_fit_task_end", "teardown"]
    members = {hook: lambda self, estimator, context, _hook=hook: calls.append(_hook) for hook in hooks}
    StandardScaler().set_callbacks(type("Recorder", (), members)()).fit(data())
    assert calls == hooks


def test_array_api_dispatch_runs_on_scikit_learns_code():
    code = """if True:
        import numpy as np, sklearn, fastml
        from fastml.estimators import standard_scaler, pca
        standard_scaler.moments = standard_scaler.small = standard_scaler.standardize_into = pca.pca = None
        X = np.arange(12.0).reshape(4, 3) ** 2
        with sklearn.config_context(array_api_dispatch=True):
            assert fastml.StandardScaler().fit_transform(X).shape == (4, 3)
            assert fastml.PCA(2).fit_transform(X).shape == (4, 2)
    """
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "SCIPY_ARRAY_API": "1"}, check=True)


def name_of(check):
    return getattr(check, "func", check).__name__


# scikit-learn checks its own class with some parameters besides the defaults; so all its pairs run, on this class
PAIRS = [(StandardScaler(**theirs.get_params()), check) for theirs, check in estimator_checks_generator(Theirs())]


@pytest.mark.parametrize("estimator, check", PAIRS, ids=[f"{i}-{name_of(c)}" for i, (_, c) in enumerate(PAIRS)])
def test_scikit_learns_checks(estimator, check, request):
    if name_of(check) in EXPECTED:
        request.applymarker(pytest.mark.xfail(reason=EXPECTED[name_of(check)], strict=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_number_of_checks():
    own = {name_of(check) for _, check in estimator_checks_generator(StandardScaler())}
    assert own == {name_of(check) for _, check in PAIRS}
    version = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
    assert len(PAIRS) >= (74 if version >= (1, 9) else 50)


@pytest.mark.parametrize("way", ["fit", "fit_transform", "partial_fit"])
def test_a_fit_that_raises_leaves_what_was_learned(way):
    model = StandardScaler().fit(np.eye(3))
    before = dict(vars(model))
    for wrong in (np.full((4, 3), np.inf), "text", np.empty((0, 3))):
        with pytest.raises(ValueError):
            getattr(model, way)(wrong)
        assert vars(model) == before
