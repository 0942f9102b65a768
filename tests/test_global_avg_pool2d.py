"""global_avg_pool2d: the mean of a plane, by every backend, and as avg_pool2d gives it."""

import numpy as np
import pytest

import fastml
from fastml._registry import BACKENDS

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERYWHERE = pytest.mark.parametrize("backend", BACKENDS)
SHAPES = pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 7, 7), (3, 5, 1, 67), (2, 2, 33, 31), (4, 65, 9, 2)])


@EVERYWHERE
@DTYPES
@SHAPES
def test_values_are_rounded_once(shape, dtype, backend):
    x = random.normal(3, 1, shape).astype(dtype)
    expected = x.astype(np.longdouble).mean(axis=(-2, -1))
    # a float64 sum in any order, a quotient, and the rounding to the dtype
    n = shape[2] * shape[3]
    error = (n + 1) * np.finfo(np.float64).eps * abs(x).mean(axis=(-2, -1)) + np.finfo(dtype).eps / 2 * abs(expected)
    result = fastml.global_avg_pool2d(x, keepdims=False, backend=backend)
    assert result.dtype == dtype and (abs(result - expected) <= error).all()


@EVERYWHERE
@DTYPES
@SHAPES
def test_it_is_avg_pool2d_with_one_window(shape, dtype, backend):
    x = random.normal(size=shape).astype(dtype)
    result = fastml.global_avg_pool2d(x, backend=backend)
    np.testing.assert_array_equal(result, fastml.avg_pool2d(x, shape[2:], backend=backend))


@EVERYWHERE
def test_whole_numbers(backend):
    x = random.integers(-99, 99, (2, 3, 16, 8)).astype(np.float32)
    expected = x.astype(int).sum(axis=(-2, -1), keepdims=True) / 128
    np.testing.assert_array_equal(fastml.global_avg_pool2d(x, backend=backend), expected.astype(np.float32))


@EVERYWHERE
def test_what_is_not_finite_stays_in_its_plane(backend):
    x = np.ones((1, 4, 5, 33), np.float32)
    x[0, 1, 2, 3], x[0, 2, 4, 32], x[0, 3, :2, 0] = np.nan, np.inf, (3e38, 3e38)
    result = fastml.global_avg_pool2d(x, keepdims=False, backend=backend)[0]
    np.testing.assert_array_equal(result[:3], [1, np.nan, np.inf])
    np.testing.assert_allclose(result[3], 6e38 / 165, rtol=1e-6)  # the sum is larger than float32 holds


def test_shapes():
    x = random.normal(size=(2, 3, 5, 7))
    expected = x.mean(axis=(-2, -1))
    for image, mean in ((x, expected), (x[0], expected[0])):
        for keepdims in (True, False):
            result = fastml.global_avg_pool2d(image, keepdims=keepdims)
            assert result.shape == mean.shape + ((1, 1) if keepdims else ())
            np.testing.assert_allclose(result.reshape(mean.shape), mean, rtol=0, atol=1e-15)
    assert fastml.global_avg_pool2d(x[:0]).shape == (0, 3, 1, 1)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    x = random.normal(size=(2, 3, 5, 7))
    theirs = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), 1).numpy()
    np.testing.assert_allclose(fastml.global_avg_pool2d(x), theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("keepdims", [True, False])
def test_out_is_filled_and_returned(keepdims):
    x = random.normal(size=(2, 3, 5, 7))
    expected = fastml.global_avg_pool2d(x, keepdims=keepdims)
    out = np.full_like(expected, np.nan)
    assert fastml.global_avg_pool2d(x, keepdims=keepdims, out=out) is out
    np.testing.assert_array_equal(out, expected)
