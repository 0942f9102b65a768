"""Every solver of PCA: `fit_transform`, ARPACK, the number of components by maximum likelihood, condition."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import PCA as Theirs
from sklearn.exceptions import NotFittedError

import fastml
from fastml import PCA, _linalg, _validate
from fastml.estimators import pca as module
from tests.test_pca import agrees, spread
from tests.test_pca_estimator import assert_same_fit, data, exploding

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SOLVERS = ("auto", "full", "covariance_eigh", "randomized", "arpack")


@DTYPES
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("shape", [(200, 12), (12, 200)])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_fit_transform_is_fit_and_transform(dtype, solver, whiten, shape, offset):
    X = data(*shape, dtype, offset)
    one, two = (PCA(3, svd_solver=solver, whiten=whiten, random_state=0) for _ in range(2))
    np.testing.assert_array_equal(one.fit_transform(X), two.fit(X).transform(X))
    assert one.condition_ == two.condition_ and one.svd_solver_ == two.svd_solver_


@pytest.mark.parametrize("solver", SOLVERS)
def test_fit_transform_of_large_matrices_is_fit_and_transform(solver, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 1000)  # "auto" takes random vectors, too
    X = data(1100, 1050, np.float32, 3)
    one, two = (PCA(3, svd_solver=solver, random_state=0) for _ in range(2))
    np.testing.assert_array_equal(one.fit_transform(X), two.fit(X).transform(X))
    assert two.svd_solver_ == ("randomized" if solver == "auto" else solver)


@pytest.mark.parametrize("n_components", ["mle", None, 0, 0.7])
def test_fit_transform_of_other_numbers_of_components(n_components):
    X = data(200, 12)
    one, two = (PCA(n_components) for _ in range(2))
    np.testing.assert_array_equal(one.fit_transform(X), two.fit(X).transform(X))


@pytest.mark.parametrize("solver", ["auto", "arpack", "covariance_eigh"])
def test_fit_transform_of_sparse_matrices(solver):
    X = sparse.random(60, 8, 0.4, "csr", random_state=0)
    one, two = (PCA(3, svd_solver=solver, random_state=0) for _ in range(2))
    np.testing.assert_allclose(one.fit_transform(X), two.fit(X).transform(X), rtol=0, atol=1e-12)


@DTYPES
@pytest.mark.parametrize("shape", [(3000, 12), (12, 3000), (40, 40)])
@pytest.mark.parametrize("offset", [0, 1e4])
@pytest.mark.parametrize("k", [1, 5, None])
def test_arpack_is_as_right_as_a_full_svd(dtype, shape, offset, k):
    X = (spread(*shape) + offset).astype(dtype)
    result = fastml.pca(X, k, solver="arpack", random_state=1)
    assert result.solver == "arpack" and len(result.components) == (k or min(shape) - 1)
    agrees(result, X, len(result.components), 1e-13 if dtype is np.float64 and not offset else 1e-6)
    exact = Theirs(len(result.components), svd_solver="full").fit(X.astype(np.float64))
    np.testing.assert_allclose(result.noise_variance, exact.noise_variance_, rtol=1e-4, atol=1e-9)
    gram = result.components.astype(np.float64) @ result.components.T
    assert np.abs(gram - np.eye(len(gram))).max() < 50 * np.finfo(dtype).eps


@pytest.mark.parametrize("options", [{"n_components": 3}, {"n_components": 3, "copy": False, "whiten": True}, {}])
def test_arpack_agrees_with_scikit_learns(options):
    X = data(60, 8)
    ours, theirs = (cls(svd_solver="arpack", random_state=0, **options).fit(X.copy()) for cls in (PCA, Theirs))
    assert_same_fit(ours, theirs, 1e-10, np.float64)
    assert ours.svd_solver_ == theirs._fit_svd_solver == "arpack"
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=0, atol=1e-9)


def test_arpack_takes_squares_that_underflow_for_zero():
    result = fastml.pca(np.random.default_rng(0).normal(size=(5, 4)) * 1e-310, 2, solver="arpack")
    assert not result.explained_variance.any()
    np.testing.assert_array_equal(result.components @ result.components.T, np.eye(2))


def test_arpack_starts_from_the_seed_and_stops_at_the_tolerance(monkeypatch):
    X = spread(500, 300, 0.5)
    products = []
    blocks = _linalg._centred_lengthwise
    monkeypatch.setattr(_linalg, "_centred_lengthwise", lambda *args: products.append(1) or blocks(*args))
    counts = []
    for tol in (0, 1e-2, 0.3):
        products.clear()
        one, two = (PCA(4, svd_solver="arpack", tol=tol, random_state=seed).fit(X) for seed in (1, 1))
        np.testing.assert_array_equal(one.components_, two.components_)
        other = PCA(4, svd_solver="arpack", tol=tol, random_state=2).fit(X)
        assert not np.array_equal(one.components_, other.components_)
        counts.append(len(products))
    assert counts[0] > counts[1] > counts[2]


def test_arguments_of_arpack():
    X = spread(20, 5)
    for k in (5, 0.5, "mle"):
        with pytest.raises((TypeError, ValueError), match="n_components must be"):
            fastml.pca(X, k, solver="arpack")
    with pytest.raises(ValueError, match="tol must be a finite number from 0"):
        fastml.pca(X, 2, solver="arpack", tol=-1)
    with pytest.raises(ValueError, match="2 columns for solver 'arpack'"):
        fastml.pca(X[:, :1], solver="arpack")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("solver", ["arpack", "randomized"])
@pytest.mark.parametrize("shape", [(1005, 1010), (1010, 1005)])
def test_what_is_not_finite_is_refused(solver, value, shape):
    X = np.ones(shape)
    X[1, 1] = value
    with pytest.raises(ValueError, match=r"^X must be finite, but holds NaN or infinity"):
        fastml.pca(X, 2, solver=solver)
    with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
        PCA(2, svd_solver=solver).fit(X)
    X[1, 1] = 1e200
    with pytest.raises(ValueError, match=r"^X is too large"):
        fastml.pca(X, 2, solver=solver)


@pytest.mark.parametrize("kind", [PCA, fastml.TruncatedSVD])
@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_what_is_refused_changes_nothing(kind, method):
    model, bad = kind(2), np.full((9, 4), np.nan)
    for _ in range(2):
        before = dict(vars(model))
        with pytest.raises(ValueError, match="contains NaN"):
            getattr(model, method)(bad)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())
        if "components_" not in before:
            with pytest.raises(NotFittedError):
                model.transform(np.eye(4))
        model.fit(data(20, 6))


def test_integers_of_any_type_are_parameters():
    X = data(600, 550).astype(np.float32)
    small = dict.fromkeys(("n_components", "n_oversamples"), np.int8(100)) | {"n_iter": np.int8(100)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fastml.TruncatedSVD(**small).fit(X).components_.shape == (100, 550)
        model = PCA(np.int8(3), n_oversamples=True, iterated_power=True, svd_solver="randomized")
        assert model.fit(X).n_components_ == 3


@DTYPES
@pytest.mark.parametrize("value", [0, 0.1, 1e6])
def test_arpack_of_constant_data(dtype, value):
    result = fastml.pca(np.full((30, 4), value, dtype), 2, solver="arpack")
    assert (result.explained_variance <= (value * np.finfo(np.float64).eps) ** 2 * 30).all()
    np.testing.assert_allclose(result.components @ result.components.T, np.eye(2), rtol=0, atol=1e-6)


def test_randomized_without_a_number_keeps_all_components(monkeypatch):
    X = data(60, 8)
    ours, theirs = (cls(svd_solver="randomized", random_state=0).fit(X) for cls in (PCA, Theirs))
    assert_same_fit(ours, theirs, 1e-10, np.float64)


def mixture(rows, columns, directions, dtype, offset):
    """Noise of one variance in all directions, and more in some."""
    random = np.random.default_rng(4)
    scale = [5] * directions + [1] * (columns - directions)
    return (random.normal(size=(rows, columns)) * scale + offset).astype(dtype)


@DTYPES
@pytest.mark.parametrize("solver", ["auto", "full", "covariance_eigh"])
@pytest.mark.parametrize("shape, directions", [((300, 10), 4), ((40, 40), 3), ((100, 2), 1), ((30, 1), 1)])
@pytest.mark.parametrize("whiten", [False, True])
def test_the_number_of_components_by_maximum_likelihood(dtype, solver, shape, directions, whiten, monkeypatch):
    X = mixture(*shape, directions, dtype, 2)
    theirs = Theirs("mle", svd_solver="full", whiten=whiten).fit(X.astype(np.float64))
    monkeypatch.setattr(module.decomposition.PCA, "_fit", exploding)
    ours = PCA("mle", svd_solver=solver, whiten=whiten).fit(X)
    assert_same_fit(ours, theirs, 1e-11 if dtype is np.float64 else 1e-4, dtype)
    assert ours.n_components_ == (directions if shape[1] > 1 else 0)
    limit = 1e-10 if dtype is np.float64 else 1e-3
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X.astype(np.float64)), rtol=0, atol=limit)


def test_maximum_likelihood_is_right_on_uncentred_data():
    X = mixture(300, 10, 4, np.float32, 1e4)
    assert PCA("mle").fit(X).n_components_ == 4


@pytest.mark.parametrize("k", range(7))
def test_the_first_of_all_components(k):
    X = data(50, 6)
    every = fastml.pca(X)
    first = every.first(k)
    expected = Theirs(k, svd_solver="full").fit(X)
    np.testing.assert_allclose(first.components, expected.components_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(first.noise_variance, expected.noise_variance_, rtol=1e-12)
    again = fastml.pca(X, 5).first(min(k, 5))
    np.testing.assert_allclose(again.noise_variance, fastml.pca(X).first(min(k, 5)).noise_variance, rtol=1e-12)
    assert first.transform(X).shape == (50, k) and first.singular_values.shape == (k,)
    for wrong in (-1, 7):
        with pytest.raises(ValueError, match="k must be from 0 to 6"):
            every.first(wrong)


@DTYPES
@pytest.mark.parametrize("condition", [1, 10, 1e3, 1e6])
@pytest.mark.parametrize("shape", [(200, 6), (7, 200), (6, 6)])
@pytest.mark.parametrize("solver", ["auto", "full", "covariance_eigh"])
def test_condition(dtype, condition, shape, solver):
    """That of the centred matrix: a scatter matrix is good for the root of the digits, "full" for all of them."""
    if solver == "covariance_eigh" and condition > (1e2 if dtype is np.float32 else 1e5):
        pytest.skip("beyond what this solver can tell")
    rank = min(shape[0] - 1, shape[1])
    random = np.random.default_rng(1)
    centred = random.normal(size=(shape[0], rank))
    left, right = np.linalg.qr(centred - centred.mean(0))[0], np.linalg.qr(random.normal(size=(shape[1], rank)))[0]
    X = (left * np.geomspace(condition, 1, rank) @ right.T).astype(dtype)
    values = np.linalg.svd((X - X.mean(0, dtype=np.float64)), compute_uv=False)
    model = PCA(rank, svd_solver=solver).fit(X)
    rtol = 1e-3 if dtype is np.float32 else 1e-5
    np.testing.assert_allclose(model.condition_, values[0] / values[rank - 1], rtol=rtol)
    if rank == shape[1]:
        np.testing.assert_allclose(model.condition_, np.linalg.cond(X - X.mean(0)), rtol=1e-2)
    assert model.condition_ == fastml.pca(X, rank, solver=solver).condition == float(model.condition_)


@pytest.mark.parametrize("solver", SOLVERS)
def test_condition_of_what_was_kept(solver):
    X = data(200, 6)
    values = np.linalg.svd(X - X.mean(0), compute_uv=False)
    np.testing.assert_allclose(PCA(3, svd_solver=solver).fit(X).condition_, values[0] / values[2], rtol=1e-10)
    assert PCA(1, svd_solver=solver).fit(X).condition_ == 1


def test_condition_where_there_is_no_variance_or_scikit_learns_code():
    assert fastml.pca(np.ones((4, 3))).condition == np.inf
    rank_deficient = np.repeat(spread(50, 1), 2, axis=1)
    assert PCA().fit(rank_deficient).condition_ > 1e15
    X = sparse.random(60, 8, 0.4, "csr", random_state=0)
    values = np.linalg.svd(X.toarray() - X.toarray().mean(0), compute_uv=False)
    np.testing.assert_allclose(PCA(3, random_state=0).fit(X).condition_, values[0] / values[2], rtol=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one row has no variance
        assert PCA().fit(X.toarray()[:1]).condition_ == np.inf


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("whiten", [False, True])
@pytest.mark.parametrize("n_components", [3, 0.8, None, "mle"])
def test_every_attribute_and_method_of_scikit_learns(solver, whiten, n_components):
    """None is missing, none is new but two, and all agree."""
    if solver in ("randomized", "arpack") and isinstance(n_components, str | float):
        pytest.skip("refused by scikit-learn")
    X = data(80, 6)
    ours, theirs = (cls(n_components, whiten=whiten, svd_solver=solver, random_state=0).fit(X) for cls in (PCA, Theirs))
    fitted = {name for name in vars(theirs) if name.endswith("_")}
    assert {name for name in vars(ours) if name.endswith("_")} == fitted | {"svd_solver_", "condition_"}
    for name in fitted:
        a, b = getattr(ours, name), getattr(theirs, name)
        assert np.shape(a) == np.shape(b) and np.asarray(a).dtype == np.asarray(b).dtype, name
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9, err_msg=name)
    Z, new = theirs.transform(X), data(10, 6)
    for method, argument in (
        ("transform", new), ("inverse_transform", Z), ("score_samples", new), ("score", new), ("get_covariance", None),
        ("get_precision", None),
    ):  # fmt: skip
        a, b = (getattr(model, method)(*([] if argument is None else [argument])) for model in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8, err_msg=method)
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert ours.__sklearn_tags__().transformer_tags == theirs.__sklearn_tags__().transformer_tags
    methods = {name for name in dir(theirs) if not name.startswith("_") and callable(getattr(theirs, name))}
    assert methods == {name for name in dir(ours) if not name.startswith("_") and callable(getattr(ours, name))}


@pytest.mark.parametrize(
    ("solver", "shape"), [("randomized", (1001, 1002)), ("randomized", (1002, 1001)), ("arpack", (9, 5))]
)
def test_solvers_by_products_have_no_scatter_matrix_and_say_so(solver, shape):
    X = np.random.default_rng(0).normal(size=shape)
    problem, keep, _ = _validate.pca(X, 3, solver=solver)
    assert problem.scatter.size == 0 and keep == 3
    text = fastml.explain("pca", X, 3, solver=solver)
    assert f"pca: solver {solver!r}: products of X and vectors" in text and "rung" not in text
    assert fastml.pca(X, 3, solver=solver).solver == solver


def test_few_rows_or_columns_need_no_random_vectors():
    X = np.random.default_rng(0).normal(size=(1200, 20))
    assert _validate.pca(X, 3, solver="randomized")[0].scatter.shape == (20, 20)
    assert "rung 'blocks'" in fastml.explain("pca", X, 3, solver="randomized", backend="cython")
