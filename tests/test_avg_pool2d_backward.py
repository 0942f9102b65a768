"""avg_pool2d_backward is the adjoint of avg_pool2d: the same matrix, transposed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml
from fastml._registry import BACKENDS
from tests.test_avg_pool2d import GRID, problems
from tests.test_max_pool2d import pytorch_size

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERYWHERE = pytest.mark.parametrize("backend", BACKENDS)
EPS = np.finfo(np.float64).eps


def plain(grad_out, size, *args, **options):
    """With the matrix of avg_pool2d, a column a pixel, read from what it makes of images with a single 1."""
    pixels = size[0] * size[1]
    matrix = fastml.avg_pool2d(np.eye(pixels).reshape(pixels, 1, *size), *args, **options).reshape(pixels, -1)
    flat = grad_out.reshape(-1, matrix.shape[1]).astype(np.longdouble)
    return (flat @ matrix.T).reshape(*grad_out.shape[:-2], *size)


@EVERYWHERE
@pytest.mark.parametrize("size", [(5, 8), (7, 4)])
def test_whole_numbers_on_the_grid(size, backend):
    """With a divisor of 1 the gradient is a sum, exact for whole numbers."""
    for kernel, stride, padding, ceil, include in GRID:
        shape = [pytorch_size(n, kernel, stride, padding, 1, ceil) for n in size]
        if min(shape) < 1:
            continue
        g = random.integers(-99, 99, (1, 2, *shape)).astype(np.float32)
        options = {"ceil_mode": ceil, "count_include_pad": include, "divisor_override": 1}
        result = fastml.avg_pool2d_backward(g, (1, 2, *size), kernel, stride, padding, **options, backend=backend)
        assert result.shape == (1, 2, *size) and result.dtype == np.float32
        np.testing.assert_array_equal(result, plain(g, size, kernel, stride, padding, **options))


@EVERYWHERE
@DTYPES
def test_pytorch_agrees(dtype, backend):
    torch = pytest.importorskip("torch")
    for kernel, stride, padding, ceil, include in GRID:
        for override in (None, 7):
            theirs = torch.zeros((2, 2, 9, 11), dtype=getattr(torch, np.dtype(dtype).name), requires_grad=True)
            out = torch.nn.functional.avg_pool2d(theirs, kernel, stride, padding, ceil, include, override)
            g = random.integers(1, 99, out.shape).astype(dtype)
            out.backward(torch.from_numpy(g))
            mine = fastml.avg_pool2d_backward(
                g, theirs.shape, kernel, stride, padding, ceil_mode=ceil, count_include_pad=include,
                divisor_override=override, backend=backend,
            )  # fmt: skip
            error = (kernel**2 + 3) * np.finfo(dtype).eps  # theirs: a quotient and a sum for each window, all positive
            np.testing.assert_allclose(mine, theirs.grad.numpy(), rtol=error)


@settings(max_examples=100, deadline=None, database=None)
@given(problems(), st.sampled_from(BACKENDS))
def test_adjoint(problem, backend):
    """<pool(x), g> = <x, pool_backward(g)>, and exactly where no window divides."""
    size, kernel, stride, padding, include, override = problem
    options = {"count_include_pad": include, "divisor_override": override}
    x = np.random.default_rng(0).integers(-99, 99, (2, *size)).astype(np.float64)
    y = fastml.avg_pool2d(x, kernel, stride, padding, **options)
    g = np.random.default_rng(1).integers(-99, 99, y.shape).astype(np.float64)
    back = fastml.avg_pool2d_backward(g, x.shape, kernel, stride, padding, **options, backend=backend)
    terms = (abs(y) * abs(g)).sum() + (abs(x) * abs(back)).sum()
    error = 0 if override == 1 else 2 * (x.size + y.size + 30) * EPS * terms
    assert abs((y * g).sum() - (x * back).sum()) <= error
    assert (abs(back - plain(g, x.shape[1:], kernel, stride, padding, **options)) <= 60 * EPS * 99).all()


@EVERYWHERE
@DTYPES
def test_real_values_are_rounded_once(dtype, backend):
    g = random.normal(size=(2, 3, 9, 10)).astype(dtype)
    expected = plain(g, (17, 19), 3, 2, 1, count_include_pad=False)
    # sums of 4 quotients in float64, in two ways, and the rounding to the dtype
    error = 20 * EPS * np.abs(g).max() + np.finfo(dtype).eps / 2 * np.abs(expected)
    result = fastml.avg_pool2d_backward(g, (2, 3, 17, 19), 3, 2, 1, count_include_pad=False, backend=backend)
    assert result.dtype == dtype and (np.abs(result - expected) <= error).all()


@EVERYWHERE
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_is_large_or_not_finite_stays_in_its_window(stride, backend):
    for value in (1e300, np.inf, np.nan):
        y = fastml.avg_pool2d(np.ones((1, 6, 40)), 3, stride)
        g = np.ones_like(y)
        g[0, 1, 4] = value
        result = fastml.avg_pool2d_backward(g, (1, 6, 40), 3, stride, backend=backend)
        expected = fastml.avg_pool2d_backward(np.ones_like(y), (1, 6, 40), 3, stride, backend=backend)
        window = np.zeros((1, 6, 40), bool)
        window[0, stride : stride + 3, 4 * stride : 4 * stride + 3] = True
        np.testing.assert_array_equal(result[~window], expected[~window])
        np.testing.assert_allclose(result[window], value / 9, rtol=1e-15)


@EVERYWHERE
def test_pixels_that_no_window_sees(backend):
    result = fastml.avg_pool2d_backward(np.ones((1, 2, 2)), (1, 6, 7), 2, 3, divisor_override=1, backend=backend)
    expected = np.zeros((6, 7))
    expected[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])] = 1
    np.testing.assert_array_equal(result[0], expected)


@EVERYWHERE
@pytest.mark.parametrize("padding", ["same", "same_lower", ((1, 0), (0, 3))])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_padding_of_any_form(padding, stride, backend):
    shape = fastml.avg_pool2d(np.ones((1, 7, 8)), 4, stride, padding).shape
    g = random.integers(-9, 9, shape).astype(np.float64)
    result = fastml.avg_pool2d_backward(g, (1, 7, 8), 4, stride, padding, divisor_override=1, backend=backend)
    np.testing.assert_array_equal(result, plain(g, (7, 8), 4, stride, padding, divisor_override=1))


@EVERYWHERE
def test_windows_of_any_size(backend):
    """Windows of 2**60 + 3 rows, and strides that no image has."""
    g, options = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1), {"count_include_pad": False, "backend": backend}
    result = fastml.avg_pool2d_backward(g, (1, 5, 1), (2**60 + 3, 1), 1, ((2**60, 0), (0, 0)), **options)
    np.testing.assert_allclose(result[0, :, 0], [1 / 3 + 0.5 + 0.8] * 3 + [1.3, 0.8], rtol=1e-15)
    result = fastml.avg_pool2d_backward(np.array([[[6.0]]]), (1, 3, 4), 2, 2**40, **options)
    np.testing.assert_array_equal(result[0], [[1.5, 1.5, 0, 0], [1.5, 1.5, 0, 0], [0] * 4])


@EVERYWHERE
def test_an_image_is_a_batch_of_one(backend):
    g = random.normal(size=(3, 4, 3))
    image = fastml.avg_pool2d_backward(g, (3, 7, 6), 3, 2, 1, backend=backend)
    batch = fastml.avg_pool2d_backward(g[np.newaxis], (1, 3, 7, 6), 3, 2, 1, backend=backend)
    np.testing.assert_array_equal(image, batch[0])


def test_an_empty_batch():
    assert fastml.avg_pool2d_backward(np.empty((0, 3, 4, 4)), (0, 3, 8, 8), 2).shape == (0, 3, 8, 8)


def test_out_is_filled_and_returned():
    g, out = random.normal(size=(1, 2, 3, 3)), np.full((1, 2, 6, 6), np.nan)
    assert fastml.avg_pool2d_backward(g, out.shape, 2, out=out) is out
    np.testing.assert_array_equal(out, fastml.avg_pool2d_backward(g, out.shape, 2))
