"""learn/ladders/pca.py: each step against a float64 SVD; and far from zero, where one rung is wrong, all of them."""

import numpy as np
import pytest

from fastml import _dispatch
from fastml.learn.ladders import pca

STEP = pytest.mark.parametrize("step", pca.STEPS, ids=lambda step: step.__name__)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
FAR = pytest.mark.parametrize(("dtype", "offset"), [(np.float32, 1e4), (np.float64, 1e8)])
DIGITS = {np.float32: 1e-4, np.float64: 1e-8}


def data(shape, dtype, offset=0.0):
    """Random rows of variances 9, 4, 1, 1/4, 1/9, ... down to 1/100, far from zero."""
    spread = np.concatenate([[3, 2], 1 / np.linspace(1, 10, shape[1] - 2)])
    return (np.random.default_rng(0).normal(size=shape) * spread + offset).astype(dtype)


def reference(X):
    """Variances and directions from X, centred with more digits than float64 has."""
    X = X.astype(np.longdouble)
    _, values, directions = np.linalg.svd((X - X.mean(axis=0)).astype(np.float64), full_matrices=False)
    return values**2 / (len(X) - 1), directions


@STEP
@DTYPES
@pytest.mark.parametrize("shape", [(300, 12), (40, 90), (30, 30), (2, 5)])
def test_a_step_computes_variances_and_directions(step, dtype, shape):
    k = min(2, shape[0] - 1)
    X = data(shape, dtype)
    before = X.copy()
    variances, directions = step(X, k)
    np.testing.assert_array_equal(X, before)
    expected, basis = reference(X)
    # of few random vectors "randomized" finds the variances to some digits only
    tolerance = 1e-3 if step is pca.randomized else DIGITS[dtype]
    np.testing.assert_allclose(variances, expected[:k], rtol=tolerance)
    assert variances.shape == (k,) and directions.shape == (k, shape[1])
    assert variances.dtype == directions.dtype == dtype
    gram = directions.astype(np.float64) @ directions.T
    np.testing.assert_allclose(gram, np.eye(k), rtol=0, atol=200 * np.finfo(dtype).eps)
    cosines = np.abs(np.sum(directions * basis[:k], axis=1))
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=1e-3 if step is pca.randomized else 1e-5)


@STEP
@FAR
def test_every_step_is_right_far_from_zero(step, dtype, offset):
    X = data((300, 12), dtype, offset)
    np.testing.assert_allclose(step(X, 3)[0], reference(X)[0][:3], rtol=DIGITS[dtype])


@FAR
@pytest.mark.parametrize("rung", _dispatch.rungs("pca"), ids=lambda rung: f"{rung.backend}-{rung.name}")
def test_every_rung_but_the_unshifted_one_is_right_far_from_zero(rung, dtype, offset):
    X = data((300, 12), dtype, offset)
    mean, scatter = np.empty(12), np.empty((12, 12))
    _dispatch.load(rung)(X, mean, scatter, 2)
    error = np.abs(np.linalg.eigvalsh(scatter)[::-1] / (len(X) - 1) / reference(X)[0] - 1).max()
    assert error > 1 if rung.fails else error < DIGITS[dtype]


def test_it_takes_a_gap_to_end_early():
    """Lanczos' method goes on until the residual is small: to the last vector where nothing stands out."""
    products = []

    class Matrix(np.ndarray):
        def __matmul__(self, other):
            products.append(other.shape[1])
            return np.asarray(self) @ other

    for values, few in ((1 / np.arange(1.0, 201) ** 2, True), (np.linspace(0.5, 1, 200), False)):
        products.clear()
        found, vectors = pca.largest(np.diag(values).view(Matrix), 4)
        np.testing.assert_allclose(found, np.sort(values)[::-1][:4], rtol=1e-9)
        np.testing.assert_allclose(np.abs(vectors[np.argsort(values)[::-1][:4], range(4)]), 1, rtol=0, atol=1e-5)
        assert (sum(products) < 100) is few


def test_half_of_the_rungs_digits_are_left_where_products_are_float32():
    """A variance of 1e-8 of the largest: float32 products lose it, float32 data do not, nor does QR."""
    X = np.random.default_rng(1).normal(size=(500, 4)) * [1, 1, 1, 1e-4]
    X = (X @ np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]).astype(np.float32)
    least = reference(X)[0][-1]
    assert np.abs(pca.covariance_eigh(X, 4)[0][-1] / least - 1) > 0.1
    assert np.abs(pca.qr_svd(X, 4)[0][-1] / least - 1) < 0.02
    by_kernel = {}
    for name in ("blocks", "precise"):
        (rung,) = (rung for rung in _dispatch.rungs("pca", "cython") if rung.name == name)
        mean, scatter = np.empty(4), np.empty((4, 4))
        _dispatch.load(rung)(X, mean, scatter, 1)
        by_kernel[name] = np.abs(np.linalg.eigvalsh(scatter)[0] / (len(X) - 1) / least - 1)
    assert by_kernel["precise"] < 1e-6 < 0.1 < by_kernel["blocks"]
