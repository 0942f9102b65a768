"""standardize: values of scikit-learn and NumPy, constants, NaN, offsets, layouts, given statistics."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import datasets
from sklearn.preprocessing import StandardScaler

import fastml
from tests.tolerances import exact_sums

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
AXES = pytest.mark.parametrize("axis", [0, 1])
EPS = np.finfo(np.float64).eps


def close(y, expected):
    """Sums in another order may differ by a few units in the last place of the mean and of the standard deviation."""
    error = 16 * np.finfo(y.dtype).eps
    np.testing.assert_allclose(y, np.asarray(expected, np.float64), rtol=error, atol=error)


def plain(X, axis=0, ddof=0):
    """In extended precision, two passes, NaN left out."""
    X = X.astype(np.longdouble)
    mean, std = np.nanmean(X, axis, keepdims=True), np.nanstd(X, axis, keepdims=True, ddof=ddof)
    return (X - mean) / np.where(std == 0, 1, std)


@pytest.mark.parametrize("load", [datasets.load_wine, datasets.load_breast_cancer, datasets.load_digits])
def test_scikit_learn_agrees(load):
    X = load().data
    np.testing.assert_allclose(fastml.standardize(X), StandardScaler().fit_transform(X), rtol=1e-12, atol=1e-13)


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(1, 300), st.integers(1, 70), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_any_shape(rows, columns, axis, seed):
    X = np.random.default_rng(seed).normal(3, 2, (rows, columns))
    np.testing.assert_allclose(fastml.standardize(X, axis=axis), plain(X, axis).astype(float), rtol=0, atol=1e-12)


@AXES
@pytest.mark.parametrize("offset", [0, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7])
def test_float32_is_rounded_once_at_any_offset(axis, offset):
    """Within 2 ulp of y, or of the y that is as small as the error of a float64 mean: its value times eps."""
    X = random.normal(offset, 1, (1000, 7)).astype(np.float32)
    X[:, 0] = offset + np.arange(1000) % 7
    expected = plain(X)
    result = fastml.standardize(X if axis == 0 else X.T, axis=axis)
    result = result if axis == 0 else result.T
    floor = offset / X.std(0, dtype=np.float64) * EPS / np.finfo(np.float32).eps
    ulp = np.spacing(np.maximum(np.abs(expected), floor).astype(np.float32))
    assert result.dtype == np.float32
    assert (np.abs(result - expected) <= 2 * ulp).all()


def test_float32_output_is_standardized_in_float64():
    """NIST's NumAcc3 in float32, where scikit-learn leaves a mean of 0.3."""
    X = np.array([1000000.2, *([1000000.1, 1000000.3] * 500)], np.float32)[:, np.newaxis]
    y = fastml.standardize(X).astype(np.float64)
    assert abs(y.mean()) < 1e-6 and abs(y.std() - 1) < 1e-6


@DTYPES
@AXES
@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 14.62, 0.1, 1 / 3, -1e5 - 0.1, 1e-30, 1e30])
@pytest.mark.parametrize("samples", [1, 10, 101, 1500])
@exact_sums
def test_constant_features_give_exactly_zero(dtype, axis, value, samples):
    X = np.full((samples, 3), value, dtype)
    y, mean, std = fastml.standardize(X if axis == 0 else X.T, axis=axis, return_stats=True)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(mean, X[0].astype(np.float64))
    np.testing.assert_array_equal(std, 0)


def test_a_constant_near_the_end_of_the_range_gives_zero_quietly():
    np.testing.assert_array_equal(fastml.standardize(np.full((5, 2), 1e200)), 0)


@AXES
@exact_sums
def test_constant_features_with_nan_give_zero_and_nan(axis):
    X = np.full((600, 3), 14.62)
    X[::3] = np.nan
    y = fastml.standardize(X if axis == 0 else X.T, axis=axis)
    np.testing.assert_array_equal(y if axis == 0 else y.T, X - 14.62)


@DTYPES
@pytest.mark.parametrize("average", [1e-10, 1, 1e10])
@exact_sums
def test_near_constant_features(dtype, average):
    """scikit-learn's test of its rule: half of the values at average + scale, half at average - scale."""
    n, scales = 100, np.logspace(-30, 19, 50, dtype=np.float64)
    X = np.repeat([average + scales, average - scales], n // 2, axis=0).astype(dtype)
    y, _, std = fastml.standardize(X, return_stats=True)
    constant = scales**2 <= n * scales**2 * EPS + n**2 * average**2 * EPS**2
    assert (std[constant] == 0).all() and (np.abs(y[:, constant]) <= scales[constant] + average * EPS).all()
    spread = ~constant & (scales > 2 * np.spacing(np.asarray(average, dtype)))
    assert spread.any()
    close(std[spread], X.astype(np.longdouble).std(0)[spread])
    error = 16 * np.finfo(dtype).eps + 2 * EPS * average / scales[spread]  # and that of a float64 mean
    assert (np.abs(y[:, spread] - plain(X)[:, spread]) <= error).all()


@exact_sums
@AXES
@DTYPES
def test_nan_is_ignored_and_kept(axis, dtype):
    X = random.normal(5, 2, (400, 60)).astype(dtype)
    X[random.random(X.shape) < 0.2] = np.nan
    X[0, 0] = X[-1, 1] = np.nan
    y = fastml.standardize(X, axis=axis)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(X))
    close(y, plain(X, axis))


@AXES
def test_features_without_values(axis):
    X = np.eye(4)
    X[:, 1] = X[2] = np.nan
    y, mean, std = fastml.standardize(X, axis=axis, return_stats=True)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(X))
    nan = np.arange(4) == 1 if axis == 0 else np.arange(4) == 2
    np.testing.assert_array_equal(np.isnan(mean), nan)
    np.testing.assert_array_equal(np.isnan(std), nan)
    for shape in ((0, 3), (3, 0), (0, 0)):
        y, mean, std = fastml.standardize(np.empty(shape), axis=axis, return_stats=True)
        assert y.shape == shape and mean.shape == std.shape == (shape[1 - axis],)


def test_infinity_gives_nan_as_in_numpy():
    X = random.normal(size=(9, 3))
    X[4, 0], X[0, 1] = np.inf, -np.inf
    y = fastml.standardize(X)
    assert np.isnan(y[:, :2]).all() and np.isfinite(y[:, 2]).all()


def test_squares_that_overflow():
    np.testing.assert_array_equal(fastml.standardize(np.array([[1e200], [-1e200]])), [[1], [-1]])


def test_squares_that_underflow_make_a_constant():
    X = np.array([[1e-200], [3e-200]])
    np.testing.assert_array_equal(fastml.standardize(X), StandardScaler().fit_transform(X))


@DTYPES
def test_axis_1_is_the_transpose(dtype):
    X = random.normal(2, 3, (37, 90)).astype(dtype)
    expected = fastml.standardize(np.ascontiguousarray(X.T)).T
    np.testing.assert_array_equal(fastml.standardize(X.T).T, fastml.standardize(X, axis=1))
    close(fastml.standardize(X, axis=1), expected)


@DTYPES
@AXES
def test_fortran_order_is_kept_and_changes_no_value(dtype, axis):
    X = random.normal(2, 3, (37, 90)).astype(dtype)
    _, mean, std = fastml.standardize(X, axis=axis, return_stats=True)
    fortran = np.asfortranarray(X)
    y = fastml.standardize(fortran, mean=mean, std=std, axis=axis)
    assert y.flags.f_contiguous and y.dtype == dtype
    reciprocal = fastml.configuration()["backend"] == "numba"  # which may multiply by 1 / std along a row
    np.testing.assert_array_max_ulp(y, fastml.standardize(X, mean=mean, std=std, axis=axis), int(reciprocal))
    computed = fastml.standardize(fortran, axis=axis)
    close(computed, y)


@DTYPES
@AXES
@pytest.mark.parametrize("input_order", "CF")
@pytest.mark.parametrize("out_order", "CF")
def test_out_of_either_order(dtype, axis, input_order, out_order):
    X = np.array(random.normal(size=(37, 9)).astype(dtype), order=input_order)
    out = np.full(X.shape, np.nan, dtype, order=out_order)
    assert fastml.standardize(X, axis=axis, out=out) is out
    close(out, fastml.standardize(X, axis=axis))


@DTYPES
@AXES
@pytest.mark.parametrize("order", "CF")
def test_in_place(dtype, axis, order):
    X = np.array(random.normal(size=(300, 9)).astype(dtype), order=order)
    expected = fastml.standardize(X, axis=axis)
    assert fastml.standardize(X, axis=axis, out=X) is X
    np.testing.assert_array_equal(X, expected)


@DTYPES
@AXES
def test_stats_returned_standardize_other_data_in_the_same_way(dtype, axis):
    X = random.normal(3, 2, (50, 40)).astype(dtype)
    X[:, 5] = X[5] = 14.62
    y, mean, std = fastml.standardize(X, axis=axis, return_stats=True)
    assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == (X.shape[1 - axis],)
    np.testing.assert_array_equal(fastml.standardize(X, mean=mean, std=std, axis=axis), y)
    half = (slice(20), slice(None)) if axis == 0 else (slice(None), slice(20))
    np.testing.assert_array_equal(fastml.standardize(X[half], mean=mean, std=std, axis=axis), y[half])


def test_given_statistics():
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(fastml.standardize(X, mean=[1, 2], std=[2, 0]), [[0, 0], [1, 2]])
    np.testing.assert_array_equal(fastml.standardize(X, mean=1, std=np.float32(2)), [[0, 0.5], [1, 1.5]])
    np.testing.assert_array_equal(fastml.standardize(X, mean=0, std=[1, 1]), X)
    np.testing.assert_array_equal(fastml.standardize(X, mean=0), X / [1, 1])
    np.testing.assert_array_equal(fastml.standardize(X, std=[1, 2]), [[-1, -0.5], [1, 0.5]])


def test_steps_left_out():
    X = random.normal(3, 2, (20, 4))
    y, mean, std = fastml.standardize(X, with_mean=False, return_stats=True)
    np.testing.assert_allclose(y, X / X.std(0), rtol=1e-14)
    np.testing.assert_array_equal(mean, 0)
    y, mean, std = fastml.standardize(X, with_std=False, return_stats=True)
    np.testing.assert_allclose(y, X - X.mean(0), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(std, 1)
    np.testing.assert_array_equal(fastml.standardize(X, with_mean=False, with_std=False), X)


@AXES
@pytest.mark.parametrize("ddof", [0, 1, 1.5, np.float32(1), Fraction(1, 2)])
def test_ddof(axis, ddof):
    X = random.normal(3, 2, (6, 5))
    close(fastml.standardize(X, axis=axis, ddof=ddof), plain(X, axis, float(ddof)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, bool])
def test_integers_give_float64(dtype):
    X = random.integers(0, 2, (20, 3)).astype(dtype)
    y = fastml.standardize(X)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, fastml.standardize(X.astype(np.float64)))


@pytest.mark.parametrize("column", [[1.5e308, -1.5e308, 0.0], [1.2e308, -0.7e308, 0.0], [1e200, -1e200, 0.0]])
def test_values_whose_differences_or_squares_overflow(column):
    small = np.ldexp(np.array(column), -600)
    expected = (small - small.mean()) / small.std()
    X = np.array(column)[:, np.newaxis]
    assert abs(fastml.standardize(X)[:, 0] - expected).max() < 1e-14


@pytest.mark.parametrize("offset", [0, 100])
@AXES
def test_float16_is_rounded_once(axis, offset):
    X = random.normal(offset, 3, (3000, 20)).astype(np.float16)
    X = X if axis == 0 else X.T
    y, mean, std = fastml.standardize(X, axis=axis, return_stats=True)
    exact = plain(X, axis)
    assert y.dtype == np.float16 and mean.dtype == std.dtype == np.float64
    ulp = np.spacing(np.abs(exact).astype(np.float16)).astype(float)
    assert (np.abs(y - exact) <= 0.5001 * ulp).all()
    assert fastml.standardize(X, axis=axis, out=X) is X
    np.testing.assert_array_equal(X, y)


def test_float16_near_the_end_of_its_range():
    X = np.repeat(np.array([[6e4, -6e4, 65504], [5e4, 6e4, 65504]], np.float16), 50, axis=0)
    y = fastml.standardize(X)
    np.testing.assert_array_equal(y[[0, -1]], [[1, -1, 0], [-1, 1, 0]])
    assert np.isinf(fastml.standardize(X, mean=0.0, std=1e-3)).all()  # too large for float16, and quiet


OTHERS = {
    "integers": lambda X: X.round().astype(np.int32),
    "big-endian": lambda X: X.astype(">f8"),
    "strided": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X: X[::-1, ::-1],
    "misaligned": lambda X: np.frombuffer(b"0" + X.tobytes(), offset=1).reshape(X.shape),
}


@AXES
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shape", [(40, 7), (30_000, 5)])
@exact_sums
def test_what_no_kernel_can_read_is_standardized_in_tiles(kind, shape, order, axis):
    X = OTHERS[kind](random.normal(3, 9, shape))
    out = np.full(shape, np.nan, order=order)
    assert fastml.standardize(X, axis=axis, out=out) is out
    close(out, plain(X, axis))
    close(fastml.standardize(X, axis=axis), out)


@AXES
@pytest.mark.parametrize("backend", ["cython", "numba", "numpy"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_denormal_std_does_not_make_nan_of_zero(backend, n_threads, axis):
    x = np.array([[5.0, 7.0]], np.float32)
    mean, std = np.array([5.0, 6.0]), np.array([1e-310, 1.0])
    if axis == 1:
        x = x.T.copy()
    result = fastml.standardize(x, mean=mean, std=std, axis=axis, backend=backend, n_threads=n_threads)
    assert result.ravel().tolist() == [0.0, 1.0]


def test_an_outlier_in_the_first_row_costs_no_digits_of_the_mean():
    x = np.random.default_rng(0).standard_normal(100_000) + 1000
    x[0] = 1e16
    mean = fastml.moments(x[:, np.newaxis], backend="cython").mean[0]
    assert abs(Fraction(mean) / (sum(map(Fraction, x)) / x.size) - 1) < 1e-15
