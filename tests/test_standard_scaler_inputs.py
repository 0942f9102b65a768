"""What fastml.StandardScaler may be given: weights, float16, integers, what is no number; and what memory it takes."""

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler as Theirs

import fastml
from fastml import StandardScaler
from tests.test_standard_scaler import DTYPES, FLAGS, KERNELS, data, exploding, module, outcome, strided
from tests.tolerances import exact_sums, in_tiles

random = np.random.default_rng(0)


def assert_same_fit(ours, theirs, rtol):
    """Attribute by attribute. Of a constant feature scikit-learn may give a variance of some 1e-30, or -1e-30."""
    assert vars(ours).keys() == vars(theirs).keys()
    for name, b in vars(theirs).items():
        a = getattr(ours, name)
        assert np.shape(a) == np.shape(b) and (a is None) == (b is None), name
        if isinstance(b, np.ndarray | np.number):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-20 if name == "var_" else 0, err_msg=name)
            counted = name == "n_samples_seen_" and np.asarray(a).dtype == np.int64  # scikit-learn: floats, from 1.9
            assert counted or np.asarray(a).dtype == np.asarray(b).dtype, name


def quietly(fit, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, for negative variances and empty columns
        return fit(*arguments, **options)


WEIGHTS = {
    "uniform": lambda n: random.random(n),
    "some zero": lambda n: random.random(n) * (random.random(n) < 0.5),
    "integers": lambda n: random.integers(0, 5, n),
    "float32": lambda n: random.random(n).astype(np.float32),
    "list": lambda n: random.random(n).tolist(),
    "number": lambda n: 0.3,
}


@DTYPES
@FLAGS
@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(dtype, with_mean, with_std, nan, kind):
    X, weights = data(dtype, nan=nan), WEIGHTS[kind](203)
    ours, theirs = (
        quietly(cls(with_mean=with_mean, with_std=with_std).fit, X, None, weights) for cls in (StandardScaler, Theirs)
    )
    assert_same_fit(ours, theirs, 1e-12)
    assert ours.n_samples_seen_.dtype == theirs.n_samples_seen_.dtype
    np.testing.assert_array_equal(
        StandardScaler(with_mean=with_mean, with_std=with_std).fit_transform(X, sample_weight=weights),
        ours.transform(X),
    )


@pytest.mark.parametrize("nan", [False, True])
@pytest.mark.parametrize("weighted", [*itertools.product([False, True], repeat=3)], ids=str)
def test_pieces_with_and_without_weights(weighted, nan):
    """A sum of weights is cut to an integer, as scikit-learn does, where a piece without weights follows."""
    X = data(nan=nan)
    ours, theirs = StandardScaler(), Theirs()
    for piece, has_weights in zip(np.split(X, [50, 120]), weighted, strict=True):
        weights = random.random(len(piece)) if has_weights else None
        quietly(ours.partial_fit, piece, sample_weight=weights)
        quietly(theirs.partial_fit, piece, sample_weight=weights)
        assert_same_fit(ours, theirs, 1e-11)


def test_weights_run_on_the_kernels_and_negative_ones_on_scikit_learns_code(monkeypatch):
    X, weights = data(), random.random(203)
    for layout in (np.asarray, np.asfortranarray, strided):
        assert_same_fit(StandardScaler().fit(layout(X), None, weights), Theirs().fit(X, None, weights), 1e-12)
    weights[7] = -0.1
    expected = quietly(Theirs().fit, X, None, weights)
    assert_same_fit(quietly(StandardScaler().fit, X, None, weights), expected, 0)
    for name in KERNELS:
        monkeypatch.setattr(module, name, exploding)
    assert_same_fit(quietly(StandardScaler().fit, X, None, weights), expected, 0)
    weights[7] = 0
    with pytest.raises(AssertionError, match="a kernel of fastml ran"):
        StandardScaler().fit(X, None, weights)


@pytest.mark.filterwarnings("error:.*sqrt:RuntimeWarning:fastml")
def test_a_piece_after_negative_weights_gives_no_warning():
    X = np.array([[0.0], [1.0], [1.0]])
    scaler = quietly(StandardScaler().fit, X, None, [3.0, -1.0, -1.0])
    assert scaler.var_ < 0 < scaler.n_samples_seen_
    scaler.partial_fit(X[:1])
    assert scaler.scale_ == 1


@pytest.mark.filterwarnings("error::RuntimeWarning:fastml.*")
def test_a_variance_that_overflows_is_infinite_in_silence():
    X = np.array([[1e156], [-1e156]])
    assert np.isinf(StandardScaler().fit(X, sample_weight=np.full(2, 1e-5)).var_)


@pytest.mark.filterwarnings("error::RuntimeWarning:fastml.*")
@pytest.mark.parametrize("weights", [[0.3, 0.4, 0.2], [1.5, 0.4, 0.7]], ids=str)
def test_weights_of_values_whose_squares_overflow(weights):
    X = np.array([[1e200, 1.0], [-2e200, 2.0], [3e200, 4.0]])
    scaler, small = (StandardScaler().fit(x, sample_weight=weights) for x in (X, X * [1e-200, 1.0]))
    np.testing.assert_allclose(scaler.mean_, small.mean_ * [1e200, 1], rtol=1e-14)
    np.testing.assert_allclose(scaler.scale_, small.scale_ * [1e200, 1], rtol=1e-14)
    scaler.partial_fit(X)  # counts rows: a sum of weights below 1 is none, as in scikit-learn
    assert scaler.n_samples_seen_ == int(sum(weights)) + 3


@pytest.mark.filterwarnings("error::RuntimeWarning:fastml.*")
def test_weights_beyond_what_integers_hold_stay_as_they_are():
    X = np.array([[1.0], [2.0]])
    scaler = StandardScaler().fit(X, sample_weight=[1e199, 3e199]).partial_fit(X)
    np.testing.assert_allclose([scaler.n_samples_seen_, scaler.mean_[0]], [4e199, 1.75], rtol=1e-15)


def test_after_negative_weights_scikit_learns_code_goes_on(monkeypatch):
    X, weights = data(), -random.random(203)
    ours, theirs = (quietly(cls().partial_fit, X, None, weights) for cls in (StandardScaler, Theirs))
    for name in KERNELS:
        monkeypatch.setattr(module, name, exploding)
    assert_same_fit(quietly(ours.partial_fit, X), quietly(theirs.partial_fit, X), 0)


def test_a_scale_that_cannot_be_inverted_is_scikit_learns():
    X = data()
    for scale in (0.0, np.inf):
        ours, theirs = StandardScaler().fit(X), Theirs().fit(X)
        vars(theirs).update(vars(ours))
        for scaler in (ours, theirs):
            scaler.scale_ = np.full(X.shape[1], scale)
        np.testing.assert_array_equal(ours.inverse_transform(X), theirs.inverse_transform(X))


def test_an_outlier_without_weight_does_not_spread_a_constant():
    X = np.full((300, 1), 0.1)
    X[0] = 1e6
    scaler = StandardScaler().fit(X, sample_weight=np.arange(300) > 0)
    assert scaler.scale_ == 1 and abs(scaler.mean_ - 0.1) < 1e-15


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", [1e-10, 1, 1e10])
@pytest.mark.parametrize("n", [10, 100, 10_000])
@exact_sums
def test_near_constant_features_are_those_of_scikit_learn(n, average, weighted, dtype):
    """Half of the values above the average by 3e-30 to 3e19 and half below: what counts as constant?"""
    scales = 3 * 10.0 ** np.arange(-30, 20)
    X = np.where(np.arange(n)[:, np.newaxis] < n // 2, average + scales, average - scales).astype(dtype)
    weights = np.ones(n) if weighted else None
    ours, theirs = (quietly(cls().fit, X, None, weights) for cls in (StandardScaler, Theirs))
    np.testing.assert_array_equal(ours.scale_ == 1, theirs.scale_ == 1)
    assert 0 < (ours.scale_ == 1).sum() < 50
    spread = ours.scale_ != 1
    exact = np.abs(X[0].astype(float) - X[-1])[spread] / 2
    np.testing.assert_allclose(ours.scale_[spread], exact, rtol=16 * np.finfo(float).eps)


@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("value", [0, 1, 14.62, -1 / 3, 1e5 + 0.1, 1e30, 1e-30])
@pytest.mark.parametrize("n", [1, 10, 100, 10_000])
@exact_sums
def test_constant_features(n, value, weighted, dtype):
    X = np.full((n, 3), value, dtype)
    weights = random.random(n) + 0.1 if weighted else None
    scaler = StandardScaler()
    Z = scaler.fit_transform(X, sample_weight=weights)
    np.testing.assert_array_equal(scaler.scale_, 1)
    np.testing.assert_array_equal(scaler.var_, 0)
    np.testing.assert_array_equal(scaler.mean_, X[0].astype(float))
    np.testing.assert_array_equal(Z, 0)


@pytest.mark.parametrize("offset", [1e2, 1e3, 1e4, 1e5, 1e6, 1e7])
def test_float32_is_within_2_ulp_of_float64(offset):
    """Of y, or of the y that is as small as the error of a float64 mean."""
    X = random.normal(offset, 1, (10_000, 7)).astype(np.float32)
    exact = X.astype(np.longdouble)
    exact = (exact - exact.mean(axis=0)) / exact.std(axis=0)
    floor = offset / X.std(axis=0, dtype=float) * np.finfo(float).eps / np.finfo(np.float32).eps
    ulp = np.spacing(np.maximum(np.abs(exact), floor).astype(np.float32))
    Z = StandardScaler().fit_transform(X)
    assert Z.dtype == np.float32
    assert (np.abs(Z - exact) <= 2 * ulp).all()
    assert (np.abs(Z - StandardScaler().fit_transform(X.astype(float))) <= 2 * ulp).all()


I3 = np.eye(3)
WRONG_WEIGHTS = {
    "short": lambda s: s.fit(I3, sample_weight=[1, 2]),
    "two dimensions": lambda s: s.fit(I3, sample_weight=I3),
    "NaN": lambda s: s.fit(I3, sample_weight=[1, np.nan, 1]),
    "infinity": lambda s: s.fit(I3, sample_weight=[1, np.inf, 1]),
    "text": lambda s: s.fit(I3, sample_weight=["a", "b", "c"]),
    "all zero": lambda s: s.fit(I3, sample_weight=[0, 0, 0]),
    "X is infinite where the weight is 0": lambda s: s.fit([[np.inf], [1.0]], sample_weight=[0, 1]),
    "X is infinite where the weight is 0, array": lambda s: s.fit(np.array([[np.inf], [1.0]]), sample_weight=[0, 1]),
    "X is infinite where the weight is 0, alone in its block": lambda s: s.fit(
        np.concatenate([np.ones((512, 2)), np.full((1, 2), np.inf)]), sample_weight=np.arange(513) < 512),
    "X and weights": lambda s: s.fit(np.array([[np.inf], [1.0]]), sample_weight=[1, 2, 3]),
    "fit_transform": lambda s: s.fit_transform(I3, sample_weight=[1, 2]),
    "later piece": lambda s: s.fit(I3).partial_fit(np.eye(2), sample_weight=[1, 2]),
    "unknown parameter": lambda s: s.fit_transform(I3, sample_weights=[1, 2, 3]),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_errors_with_weights_are_scikit_learns(name):
    kind, message = outcome(StandardScaler, WRONG_WEIGHTS[name])
    assert (kind, message) == outcome(Theirs, WRONG_WEIGHTS[name])
    assert issubclass(kind, Exception)


@FLAGS
def test_float16(with_mean, with_std):
    X = np.asarray(random.normal(100, [1, 30, 0], (5000, 3)), np.float16)
    X[4, 1] = np.nan
    ours = StandardScaler(with_mean=with_mean, with_std=with_std).fit(X)
    assert_same_fit(ours, Theirs(with_mean=with_mean, with_std=with_std).fit(X.astype(float)), 1e-13)
    Z = ours.transform(X)
    assert Z.dtype == np.float16
    exact = (X.astype(float) - (ours.mean_ if with_mean else 0)) / (ours.scale_ if with_std else 1)
    np.testing.assert_array_equal(Z, exact.astype(np.float16))
    np.testing.assert_array_equal(ours.fit_transform(X), Z)
    back = ours.inverse_transform(Z).astype(float)
    error = 2 * np.finfo(np.float16).eps * (np.abs(X.astype(float)) + 100)
    assert back.dtype == float and not (np.abs(back - X) > error).any()
    assert ours.transform(X, copy=False) is X
    np.testing.assert_array_equal(X, Z)


def test_float16_near_the_end_of_its_range():
    X = np.repeat(np.array([[6e4, 65504], [5e4, 65504]], np.float16), 500, axis=0)
    scaler = StandardScaler()
    np.testing.assert_array_equal(scaler.fit_transform(X)[[0, -1]], [[1, 0], [-1, 0]])
    assert scaler.mean_.tolist() == [(X[0, 0].astype(float) + X[-1, 0].astype(float)) / 2, 65504]


NUMBERS = {
    "bool": np.eye(4, dtype=bool),
    "int8": np.arange(12, dtype=np.int8).reshape(4, 3),
    "int64": np.arange(12).reshape(4, 3) * 10**15,
    "uint64": np.arange(12, dtype=np.uint64).reshape(4, 3) + 2**63,
    "longdouble": np.arange(12, dtype=np.longdouble).reshape(4, 3),
    "objects": np.arange(12).reshape(4, 3).astype(object),
    "big-endian integers": np.arange(12, dtype=">i4").reshape(4, 3),
    "big-endian float32": np.arange(12, dtype=">f4").reshape(4, 3),
    "many integers": random.integers(-99, 99, (20_000, 5), np.int16),
    "integers by column": np.asfortranarray(random.integers(-99, 99, (20_000, 5))),
    "integers with strides": random.integers(-99, 99, (4000, 50))[::2, ::3],
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_other_numbers_become_float64(kind):
    X = NUMBERS[kind]
    before = X.copy()
    ours, theirs = StandardScaler(copy=False).fit(X), Theirs().fit(X)
    assert_same_fit(ours.set_params(copy=True), theirs, 1e-12)
    for method in ("transform", "inverse_transform", "fit_transform"):
        for copy in (True, False):
            a, b = (getattr(scaler.set_params(copy=copy), method)(X) for scaler in (ours, theirs))
            assert a.dtype == b.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(X, before)


def test_no_numbers():
    """Row 20 of what can go wrong; the messages are scikit-learn's, compared in test_standard_scaler."""
    for wrong in (np.eye(3) + 0j, [["a"], ["b"]], np.array([["a"], ["b"]]), np.array([[np.inf], [1]]), [[None], [{}]]):
        for action in (lambda s, X=wrong: s.fit(X), lambda s, X=wrong: s.fit(np.ones((3, len(X[0])))).transform(X)):
            ours = outcome(StandardScaler, action)
            assert ours == outcome(Theirs, action) and ours[0] in (ValueError, TypeError)


def peak(action):
    """Bytes that were allocated at a time, beyond what there was before."""
    action()
    tracemalloc.start()
    action()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i1", "?", ">f4"])
@pytest.mark.parametrize("shape", [(200_000, 20), (50, 40_000), (3000, 700)], ids=str)
@in_tiles
def test_memory(shape, dtype, order):
    X = np.asarray(np.ones(shape, dtype), order=order)
    allowed, result = 10**6 + 64 * shape[1], X.size * (X.itemsize if dtype in ("f2", "f4", "f8") else 8)
    scaler = StandardScaler()
    assert peak(lambda: StandardScaler().fit(X)) < allowed < X.nbytes or dtype in ("i1", "?", "f2")
    assert peak(lambda: StandardScaler().fit(X)) < allowed
    weights = np.ones(len(X))
    assert peak(lambda: StandardScaler().fit(X, sample_weight=weights)) < allowed + 16 * len(X)
    assert peak(lambda: scaler.partial_fit(X)) < allowed + 64 * shape[1]
    assert peak(lambda: fastml.moments(X)) < allowed
    for method in (scaler.transform, scaler.inverse_transform, scaler.fit_transform):
        assert peak(lambda method=method: method(X)) < allowed + result


@DTYPES
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, strided], ids=["C", "F", "strided"])
@pytest.mark.parametrize("shape", [(100_000, 20), (50, 40_000)], ids=str)
@in_tiles
def test_in_place_takes_no_memory_of_the_size_of_X(shape, layout, dtype):
    X = layout(np.ones(shape, dtype))
    scaler = StandardScaler(copy=False).fit(X)
    allowed = 10**6 + 64 * shape[1]
    for method in (scaler.transform, scaler.inverse_transform, scaler.fit_transform):
        assert peak(lambda method=method: method(X)) < allowed
    if layout is not strided:
        assert peak(lambda: fastml.standardize(X, out=X)) < allowed
    other = np.empty_like(X, order="C" if layout is np.asfortranarray else "F")  # of the other order
    assert peak(lambda: fastml.standardize(X, out=other)) < allowed
