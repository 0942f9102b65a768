"""pca_transform against float64, at means far from zero."""

import numpy as np
import pytest

import fastml

random = np.random.default_rng(0)
BACKENDS = ("cython", "numba", "numpy")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 0), (np.float32, 1e4), (np.float64, 1e9)])
def test_the_mean_is_subtracted_first(backend, dtype, offset):
    X = (random.normal(size=(70, 33)) + offset).astype(dtype)
    mean = X.mean(axis=0, dtype=np.float64) + 1e-9 * offset  # not a number of the dtype
    components = np.linalg.qr(random.normal(size=(33, 7)))[0].T.astype(dtype)
    result = fastml.pca_transform(X, mean, components, backend=backend)
    expected = (X.astype(np.float64) - mean) @ components.T.astype(np.float64)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=0, atol=64 * np.finfo(dtype).eps * 5)


def test_out_lists_and_nothing():
    out = np.empty((2, 1))
    assert fastml.pca_transform([[3.0, 4.0], [0.0, 5.0]], [0.0, 5.0], [[0.6, -0.8]], out=out) is out
    np.testing.assert_allclose(out, [[2.6], [0.0]], atol=1e-15)
    assert fastml.pca_transform(np.empty((0, 3)), np.zeros(3), np.ones((2, 3))).shape == (0, 2)
    for backend in BACKENDS:
        result = fastml.pca_transform(np.empty((3, 0)), [], np.empty((2, 0)), backend=backend)
        np.testing.assert_array_equal(result, np.zeros((3, 2)))
    assert fastml.pca_transform(np.ones((2, 3), int), np.zeros(3), np.ones((1, 3))).dtype == np.float64


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_columns_sums_are_zero(backend):
    out = np.full((2, 3), np.nan)
    result = fastml.pca_transform(np.empty((2, 0)), np.empty(0), np.empty((3, 0)), out=out, backend=backend)
    assert result is out and (result == 0).all()


@pytest.mark.filterwarnings("error")
def test_components_beyond_float32_are_infinite_in_silence():
    result = fastml.pca_transform(np.ones((1, 2), np.float32), np.zeros(2), [[1e300, 0.0], [1.0, 1.0]])
    assert result[0, 1] == 2 and not np.isfinite(result[0, 0])


def test_nan_stays_in_its_row():
    X = random.normal(size=(9, 5))
    X[4, 2] = np.nan
    result = fastml.pca_transform(X, np.zeros(5), np.eye(5)[:3])
    assert np.isnan(result[4]).all() and np.isfinite(np.delete(result, 4, axis=0)).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", ["mean", "components", "X"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_gives_what_the_definition_gives(backend, dtype, place, value):
    values = {"X": random.normal(size=(30, 37)), "mean": random.normal(size=37), "components": np.ones((5, 37))}
    np.atleast_2d(values[place])[-2:, 11] = value
    values["X"], values["components"] = values["X"].astype(dtype), values["components"].astype(dtype)
    result = fastml.pca_transform(**values, backend=backend)
    expected = (values["X"].astype(np.float64) - values["mean"]) @ values["components"].astype(np.float64).T
    np.testing.assert_array_equal(result[~np.isfinite(expected)], expected[~np.isfinite(expected)])
    assert (np.isfinite(result) == np.isfinite(expected)).all() and not np.isfinite(expected).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_fit_float32_becomes_infinite_without_a_warning(backend):
    X = np.ones((3, 2), np.float32)
    assert (fastml.pca_transform(X, [0.0, 1e300], [[0.0, 1.0]], backend=backend) == -np.inf).all()
    assert (fastml.pca_transform(X, [0.0, 0.0], [[1.0, 1e300]], backend=backend) == np.inf).all()


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (([[1.0, 2.0]], [0.0], [[1.0, 0.0]]), ValueError, "^mean must"),
    (([[1.0, 2.0]], [0.0, 0.0], [[1.0, 0.0, 0.0]]), ValueError, "^components must have 2 columns"),
    (([1.0, 2.0], [0.0, 0.0], [[1.0, 0.0]]), ValueError, "^X must be"),
    (([["a", "b"]], [0.0, 0.0], [[1.0, 0.0]]), TypeError, "^X must"),
])  # fmt: skip
def test_what_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastml.pca_transform(*arguments)
