"""moments against exact rational arithmetic, and Chan's formula against the whole."""

import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastml
from fastml._validate import matrices
from tests.tolerances import exact_sums

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
AXES = pytest.mark.parametrize("axis", [0, 1])


def around(centre, n=1001):
    """NIST's NumAcc2 to 4 and the treatments of SmLs: the centre, then 0.1 below and above it by turns."""
    return np.array([centre, *((centre - 0.1, centre + 0.1) * (n // 2))])


NIST_STYLE = {
    "NumAcc1": np.array([10000001.0, 10000003.0, 10000002.0]),
    "NumAcc2": around(1.2),
    "NumAcc3": around(1000000.2),
    "NumAcc4": around(10000000.2),
    "SmLs07": around(1e12 + 0.4, 21),
    "SmLs09": around(1e12 + 0.4, 2001),
}


def exact(values, weights=None):
    """Mean and sum of squared deviations of what is stored, as rationals."""
    rationals = [Fraction(float(v)) for v in values]
    shares = [Fraction(1 if weights is None else float(weights[i])) for i in range(len(rationals))]
    mean = sum(w * v for w, v in zip(shares, rationals, strict=True)) / sum(shares)
    return mean, sum(w * (v - mean) ** 2 for w, v in zip(shares, rationals, strict=True))


def correct_digits(value, truth):
    """The log relative error, at most 15 as NIST counts it."""
    error = abs(Fraction(float(value)) - truth) / abs(truth)
    return 15.0 if error == 0 else min(15.0, -float(np.log10(float(error))))


def root(rational):
    return Fraction(math.isqrt(int(rational * 10**60)), 10**30)


def along(values, axis, copies=3):
    """The same data in every feature."""
    X = np.repeat(values[:, np.newaxis], copies, axis=1)
    return X if axis == 0 else X.T.copy()


@DTYPES
@AXES
@pytest.mark.parametrize("name", NIST_STYLE)
@exact_sums
def test_digits_against_rational_arithmetic(name, dtype, axis):
    values = NIST_STYLE[name].astype(dtype)
    mean, m2 = exact(values)
    stats = fastml.moments(along(values, axis), axis)
    assert (stats.count == values.size).all()
    assert min(correct_digits(v, mean) for v in stats.mean) == 15
    if m2 == 0:  # float32 cannot tell these values apart
        assert (stats.m2 == 0).all()
    else:
        std = root(m2 / (values.size - 1))
        assert min(correct_digits(v, std) for v in np.sqrt(stats.var(ddof=1))) == 15


@DTYPES
@AXES
@pytest.mark.parametrize("offset", [0, 1e4, 1e7])
def test_the_error_does_not_grow_with_the_offset(dtype, axis, offset):
    values = random.normal(offset, 1, 3001).astype(dtype)
    mean, m2 = exact(values)
    stats = fastml.moments(along(values, axis), axis)
    for j in range(3):
        assert abs(Fraction(stats.mean[j]) - mean) <= 4 * np.finfo(np.float64).eps * max(abs(offset), 1)
        assert correct_digits(stats.m2[j], m2) >= 13


@settings(max_examples=80, deadline=None, database=None)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 70)), elements=st.integers(-9, 9).map(float)),
    st.integers(0, 1),
    st.integers(0, 40),
)
def test_merge_equals_the_whole(X, axis, cut):
    whole = fastml.moments(X, axis)
    np.testing.assert_allclose(whole.mean, X.mean(axis), rtol=0, atol=1e-14)
    np.testing.assert_allclose(whole.var(), X.var(axis), rtol=1e-13, atol=1e-14)
    first, second = (X[:cut], X[cut:]) if axis == 0 else (X[:, :cut], X[:, cut:])
    merged = fastml.moments(first, axis).merge(fastml.moments(second, axis))
    np.testing.assert_array_equal(merged.count, whole.count)
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=0, atol=1e-14)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-13, atol=1e-12)


@AXES
def test_merge_of_many_parts(axis):
    """The mean that is kept between merges is rounded to float64, and that is all that the offset may cost."""
    X = random.normal(1e8, 1, (5000, 3))
    stats = fastml.moments(X[:1] if axis == 0 else X[:1].T, axis)
    for part in np.array_split(X[1:], 37):
        stats = stats.merge(fastml.moments(part if axis == 0 else part.T, axis))
    for j in range(3):
        mean, m2 = exact(X[:, j])
        assert correct_digits(stats.mean[j], mean) >= 14.5
        assert abs(Fraction(stats.m2[j]) - m2) <= 2 * np.finfo(np.float64).eps * 1e8 * m2


@AXES
def test_merge_with_nothing(axis):
    X = random.normal(size=(6, 4))
    empty = fastml.moments(np.empty((0, 4) if axis == 0 else (6, 0)), axis)
    stats = fastml.moments(X, axis)
    np.testing.assert_array_equal(empty.count, np.zeros(stats.count.size))
    assert np.isnan(empty.mean).all() and (empty.m2 == 0).all() and np.isnan(empty.var()).all()
    for merged in (stats.merge(empty), empty.merge(stats)):
        for name in ("count", "mean", "m2"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(stats, name))
    assert np.isnan(empty.merge(empty).mean).all()


def test_merge_moves_from_the_mean_of_the_larger_side():
    """One value far away, of which a mean that starts there would keep the rounding."""
    far, near = fastml.moments(np.array([[1e16]])), fastml.moments(random.normal(1, 1, (10**6, 1)))
    for merged in (far.merge(near), near.merge(far)):
        mean = (Fraction(10**16) + Fraction(float(near.mean[0])) * 10**6) / (10**6 + 1)
        assert correct_digits(merged.mean[0], mean) == 15
    assert far.merge(near).mean == near.merge(far).mean


def test_merge_counts_exactly():
    many = fastml.Moments(np.array([2**53]), np.zeros(1), np.zeros(1))
    one = fastml.moments(np.array([[0.0]]))
    assert many.merge(one).merge(one).count == 2**53 + 2
    assert one.merge(many).merge(one).count.dtype == np.int64
    assert one.merge(fastml.moments(np.array([[3.0]]), sample_weight=[0.5])).count.dtype == np.float64


def test_merge_of_other_features_is_refused():
    with pytest.raises(ValueError, match="other must have 4 features, got 3"):
        fastml.moments(np.eye(4)).merge(fastml.moments(np.eye(3)))
    with pytest.raises(TypeError, match="other must be Moments, got tuple"):
        fastml.moments(np.eye(4)).merge((4, 0.25, 0.75))


@DTYPES
@AXES
@pytest.mark.parametrize("samples", [3, 300])
def test_nan_is_left_out(dtype, axis, samples):
    X = random.normal(1e4, 1, (samples, 5)).astype(dtype)
    X[random.random(X.shape) < 0.3] = np.nan
    X[0, 0] = X[-1, 1] = np.nan
    X[:, 2] = np.nan
    X[:, 4] = 3
    stats = fastml.moments(X if axis == 0 else X.T, axis)
    kept = ~np.isnan(X)
    np.testing.assert_array_equal(stats.count, kept.sum(0))
    for j in (0, 1, 3, 4):
        if kept[:, j].any():
            mean, m2 = exact(X[kept[:, j], j])
            assert correct_digits(stats.mean[j], mean) == 15
            assert stats.m2[j] == m2 or correct_digits(stats.m2[j], m2) >= 13
    assert np.isnan(stats.mean[2]) and stats.m2[2] == 0 and np.isnan(stats.var()[2]) and np.isnan(stats.std()[2])


@DTYPES
@AXES
@pytest.mark.parametrize("where", [0, 1, 299])
def test_infinity_behaves_as_in_numpy(dtype, axis, where):
    X = random.normal(size=(300, 4)).astype(dtype)
    X[where, 0], X[where, 1] = np.inf, -np.inf
    X[where, 2], X[150, 2] = np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        mean, var = X.mean(0, dtype=np.float64), X.var(0, dtype=np.float64)
    stats = fastml.moments(X if axis == 0 else X.T, axis)
    np.testing.assert_array_equal(stats.mean[:3], mean[:3])
    np.testing.assert_array_equal(stats.var()[:3], var[:3])
    np.testing.assert_array_equal(stats.std()[:3], np.nan)
    assert np.isfinite(stats.mean[3]) and np.isfinite(stats.m2[3])


def test_merge_of_infinities_is_quiet():
    infinite = fastml.moments(np.array([[np.inf, -np.inf]]))
    merged = infinite.merge(infinite)
    np.testing.assert_array_equal(merged.count, [2, 2])
    assert np.isnan(merged.m2).all()


def test_ddof():
    X = random.normal(size=(3, 2))
    stats = fastml.moments(X)
    for ddof in (0, 1, 1.5):
        np.testing.assert_allclose(stats.var(ddof), X.var(0, ddof=ddof), rtol=1e-14)
        np.testing.assert_allclose(stats.std(ddof), X.std(0, ddof=ddof), rtol=1e-14)
    for ddof in (3, 4):
        assert np.isnan(stats.var(ddof)).all() and np.isnan(stats.std(ddof)).all()


KINDS = (np.int8, np.uint64, np.int64, bool, np.float16, ">f4", ">f8", ">i2")


@AXES
@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("order", "CF")
def test_what_no_kernel_can_read_is_converted_in_tiles(axis, dtype, order, monkeypatch):
    monkeypatch.setattr(matrices, "TILE", 60)
    monkeypatch.setattr(matrices, "WIDTH", 7)
    X = np.array(random.normal(50, 20, (83, 17)), dtype, order=order)
    if X.dtype.kind == "f":
        X[:15, 3] = X[40, 5] = X[:, 6] = np.nan
    for weights in (None, random.random(X.shape[axis])):
        whole, tiled = (fastml.moments(x, axis, sample_weight=weights) for x in (X.astype(float), X))
        assert tiled.count.dtype == whole.count.dtype
        np.testing.assert_allclose(tiled.count, whole.count, rtol=1e-14)
        np.testing.assert_allclose(tiled.mean, whole.mean, rtol=1e-14)
        np.testing.assert_allclose(tiled.m2, whole.m2, rtol=1e-13)


def test_tiles_cost_no_digits():
    """Thirty merges at an offset of 1e9, of whose spread a rounded mean would leave eleven digits."""
    X = random.integers(10**9, 10**9 + 100, (50_000, 20))
    stats = fastml.moments(X)
    for j in (0, 19):
        mean, m2 = exact(X[:, j])
        assert correct_digits(stats.mean[j], mean) == 15 and correct_digits(stats.m2[j], m2) >= 14


def test_tiles_cost_no_digits_where_the_first_are_empty():
    X = random.normal(1e10, 1, (50_000, 40))[:, ::20]
    X[:30_000, 1] = np.nan
    stats = fastml.moments(X)
    mean, m2 = exact(X[30_000:, 1])
    assert correct_digits(stats.mean[1], mean) == 15 and correct_digits(stats.m2[1], m2) >= 14


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 40000), (40000, 3), (300, 301)])
@AXES
def test_tiles_cover_a_matrix_once(shape, axis):
    seen = np.zeros(shape, int)
    for piece in matrices.tiles(seen, axis):
        seen[piece] += 1
        assert seen[piece].size <= matrices.TILE
    assert (seen == 1).all()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
@AXES
def test_empty_matrices(shape, axis):
    stats = fastml.moments(np.empty(shape), axis)
    assert stats.count.shape == stats.mean.shape == stats.m2.shape == (shape[1 - axis],)
    assert (stats.count == 0).all() and stats.count.dtype == np.int64


def test_merging_infinite_means():
    infinite, finite = fastml.moments(np.array([[1.0], [np.inf]])), fastml.moments(np.array([[2.0], [3.0]]))
    for merged in (infinite.merge(finite), finite.merge(infinite)):
        assert merged.mean == np.inf and np.isnan(merged.var())


@AXES
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int32])
def test_the_bits_do_not_depend_on_threads(axis, dtype):
    X = random.normal(30, 9, (3000, 90)).astype(dtype)
    for weights in (None, random.random(X.shape[axis])):
        one, *others = (fastml.moments(X, axis, sample_weight=weights, n_threads=n) for n in (1, 2, 3, 7, None))
        for other in others:
            for name in ("count", "mean", "m2"):
                assert getattr(other, name).tobytes() == getattr(one, name).tobytes()


def test_pickling():
    stats = fastml.moments(random.normal(size=(20, 3)), sample_weight=random.random(20))
    again = pickle.loads(pickle.dumps(stats))
    for name in ("count", "mean", "m2"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stats, name))
