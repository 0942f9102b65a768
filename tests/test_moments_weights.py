"""Statistics of values that count by weights."""

from fractions import Fraction

import numpy as np
import pytest

import fastml
from fastml._registry import BACKENDS
from tests.test_moments import AXES, DTYPES, correct_digits, exact
from tests.tolerances import exact_sums

random = np.random.default_rng(0)


@DTYPES
@AXES
@pytest.mark.parametrize("samples", [3, 300, 3001])
@exact_sums
def test_weights_against_rational_arithmetic(dtype, axis, samples):
    X = random.normal(1e4, 1, (samples, 3)).astype(dtype)
    X[1, 2] = np.nan
    weights = random.random(samples) * (np.arange(samples) % 5 > 0)  # a fifth of them 0
    stats = fastml.moments(X if axis == 0 else X.T, axis, sample_weight=weights)
    for j in range(3):
        kept = ~np.isnan(X[:, j])
        mean, m2 = exact(X[kept, j], weights[kept])
        assert correct_digits(stats.count[j], sum(Fraction(w) for w in weights[kept])) >= 14
        assert correct_digits(stats.mean[j], mean) >= 14.5
        assert abs(Fraction(stats.m2[j]) - m2) <= Fraction(1, 10**13) * max(m2, Fraction(1, 100))


@AXES
def test_integer_weights_repeat_values(axis):
    X, weights = random.normal(3, 2, (400, 70)), random.integers(0, 4, 400)
    X[random.random(X.shape) < 0.1] = np.nan
    repeated = np.repeat(X, weights, axis=0)
    stats, whole = (fastml.moments(x if axis == 0 else x.T, axis, sample_weight=w)
                    for x, w in ((X, weights), (repeated, None)))
    assert stats.count.dtype == np.float64 and whole.count.dtype == np.int64
    np.testing.assert_array_equal(stats.count, whole.count)
    np.testing.assert_allclose(stats.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(stats.var(ddof=1), whole.var(ddof=1), rtol=1e-13)
    np.testing.assert_allclose(stats.std(), whole.std(), rtol=1e-13)


@AXES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("light", [0, 1e-30])
def test_values_without_weight_cost_no_digits(axis, backend, light):
    """As shifts of the sums they would: what is left of their squares would pass for the spread of a constant."""
    X = np.full((600, 2), 0.1)
    X[:, 1] += np.arange(600) % 2 * 1e-3
    weights = np.ones(600)
    X[::100], weights[::100] = 1e5, light
    stats = fastml.moments(X if axis == 0 else X.T, axis, sample_weight=weights, backend=backend)
    mean, m2 = exact(X[:, 1], weights)
    assert correct_digits(stats.mean[1], mean) >= 14 and correct_digits(stats.m2[1], m2) >= 11
    assert stats.m2[0] <= 600 * (light * 1e10 + (60 * np.finfo(float).eps) ** 2)
    assert stats.std()[0] == 0 or light


@AXES
@DTYPES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("samples", [1, 2, 7, 300, 3001])
@pytest.mark.parametrize("far", [np.inf, 1e26, 3e38])
def test_what_has_no_weight_is_not_there(axis, dtype, backend, samples, far):
    """Be it infinite or large, alone in a block or beside values that count, first or last."""
    X = random.normal(3, 2, (samples, 5)).astype(dtype)
    weights = np.ones(samples)
    for row in {0, samples // 2, samples - 1, samples // 256 * 256, samples // 1024 * 1024} - {samples}:
        weights[row] = 0
        X[row] = far, -far, np.nan, far, 1
    kept = weights > 0
    stats, alone = (fastml.moments(x if axis == 0 else x.T, axis, sample_weight=w, backend=backend)
                    for x, w in ((X, weights), (X[kept], weights[kept])))
    np.testing.assert_array_equal(stats.count, alone.count)
    np.testing.assert_allclose(stats.mean, alone.mean, rtol=1e-13)
    np.testing.assert_allclose(stats.m2, alone.m2, rtol=1e-13)


@AXES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", [0.1, np.nan])
@pytest.mark.parametrize("samples", [2, 5, 700])
def test_one_heavy_value_among_many_light_ones(axis, backend, first, samples):
    """As the origin of all means a light one would cost digits, if it is far away."""
    X = random.normal(1e6, 1, (samples + 2, 1))
    X[:3, 0] = first, 0.1, 0.2  # the heaviest of all, and what is heaviest without it
    weights = np.full(samples + 2, 1e-15)
    weights[:3] = 1, 0.5, 0.25
    stats = fastml.moments(X if axis == 0 else X.T, axis, sample_weight=weights, backend=backend)
    there = ~np.isnan(X[:, 0])
    mean, _ = exact(X[there, 0], weights[there])
    assert correct_digits(stats.mean[0], mean) >= 14


@AXES
def test_features_without_weight_are_empty(axis):
    X = np.array([[1.0, np.nan], [np.nan, 2.0], [np.nan, 3.0]])
    stats = fastml.moments(X if axis == 0 else X.T, axis, sample_weight=[0, 0.5, 0])
    np.testing.assert_array_equal(stats.count, [0, 0.5])
    np.testing.assert_array_equal(stats.mean, [np.nan, 2])
    np.testing.assert_array_equal(stats.m2, [0, 0])
    none = fastml.moments(np.empty((0, 2)), sample_weight=[])
    assert none.count.dtype == np.float64 and (none.count == 0).all()


@pytest.mark.parametrize(("wrong", "error", "message"), [
    ([1.0], ValueError, r"^sample_weight must have shape \(4,\), got \(1,\)"),
    (1.0, ValueError, r"^sample_weight must have shape \(4,\), got \(\)"),
    ([1, 1, 1, -1], ValueError, "^sample_weight must be finite and not negative, got -1.0 to 1.0"),
    ([1, 1, np.inf, 1], ValueError, "^sample_weight must be finite and not negative, got 1.0 to inf"),
    ([1, np.nan, 1, 1], ValueError, "^sample_weight must be finite and not negative, got nan"),
    ([1, 1j, 1, 1], TypeError, "^sample_weight must be float32 or float64, got complex128"),
])  # fmt: skip
def test_wrong_weights_are_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        fastml.moments(np.eye(4), sample_weight=wrong)
