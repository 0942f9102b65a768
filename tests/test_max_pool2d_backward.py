"""max_pool2d_backward: each gradient to the pixel its index names, whatever the windows and whatever the indices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml
from fastml import _dispatch
from fastml._registry import BACKENDS
from tests.test_max_pool2d import GRID, pytorch_size

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERYWHERE = pytest.mark.parametrize("backend", BACKENDS)
WRONG = [-2, -3, -(2**31), -(2**32) + 1, -(2**63), 30, 31, 2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1]


def plain(grad_out, indices, size):
    """For each pixel, all the windows that name it."""
    result = np.zeros((*grad_out.shape[:-2], size[0] * size[1]))
    for k in range(size[0] * size[1]):
        result[..., k] = np.where(indices == k, grad_out, 0).sum(axis=(-2, -1))
    return result.reshape(*grad_out.shape[:-2], *size)


def permuted(*shape):
    """Different whole numbers in any order: no ties."""
    return random.permutation(int(np.prod(shape))).reshape(shape).astype(np.float64)


def pooled(x, *args, **options):
    """Indices, and a gradient of small whole numbers, sums of which are exact."""
    indices = fastml.max_pool2d(x, *args, return_indices=True, **options)[1]
    return random.integers(-9, 9, indices.shape).astype(x.dtype), indices


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("size", [(5, 8), (7, 4)])
def test_whole_numbers_on_the_grid(size, dtype, backend):
    x = permuted(1, 2, *size).astype(dtype)
    for kernel, stride, padding, dilation, ceil in GRID:
        if min(pytorch_size(n, kernel, stride, padding, dilation, ceil) for n in size) < 1:
            continue
        g, indices = pooled(x, kernel, stride, padding, dilation, ceil_mode=ceil)
        result = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
        assert result.shape == x.shape and result.dtype == dtype
        np.testing.assert_array_equal(result, plain(g, indices, size))


@DTYPES
def test_pytorch_agrees(dtype):
    torch = pytest.importorskip("torch")
    x = permuted(2, 3, 9, 11).astype(dtype)
    for kernel, stride, padding, dilation, ceil in GRID:
        g, indices = pooled(x, kernel, stride, padding, dilation, ceil_mode=ceil)
        theirs = torch.from_numpy(x.copy()).requires_grad_()
        torch.nn.functional.max_pool2d(theirs, kernel, stride, padding, dilation, ceil).backward(torch.from_numpy(g))
        np.testing.assert_array_equal(fastml.max_pool2d_backward(g, indices, x.shape), theirs.grad.numpy())


@EVERYWHERE
def test_finite_differences(backend):
    """The loss is linear where no maximum moves: differences are exact, but for rounding."""
    x = permuted(1, 2, 6, 7)
    out, indices = fastml.max_pool2d(x, 3, 2, 1, return_indices=True)
    g = random.normal(size=out.shape)
    gradient = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
    for position in np.ndindex(x.shape):
        shifted = x.copy()
        shifted[position] += 0.25
        difference = ((fastml.max_pool2d(shifted, 3, 2, 1) - out) * g).sum() / 0.25
        np.testing.assert_allclose(gradient[position], difference, rtol=1e-13, atol=1e-13)


@EVERYWHERE
def test_windows_that_share_a_maximum_add_up(backend):
    x = np.zeros((1, 5, 5))
    x[0, 2, 2] = 1
    g, indices = pooled(x, 3, 1)
    result = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
    assert result[0, 2, 2] == g.sum() and (result != 0).sum() <= 1


@EVERYWHERE
@pytest.mark.parametrize(("big", "dtype"), [(1e8, np.float32), (1e17, np.float64)])
def test_sums_are_in_the_order_of_the_windows(big, dtype, backend):
    """Both ones are lost in the large value; in another order one of them would be left."""
    g = np.array([[[1, big, 1, -big]]], dtype)
    result = fastml.max_pool2d_backward(g, np.zeros(g.shape, int), (1, 1, 1), backend=backend)
    assert result[0, 0, 0] == 0


@EVERYWHERE
def test_a_window_of_padding_alone_passes_nothing_on(backend):
    x = np.ones((1, 2, 2))
    indices = fastml.max_pool2d(x, 2, 1, 1, 3, return_indices=True)[1]
    assert (indices == -1).any()
    g = random.integers(1, 9, indices.shape).astype(np.float64)
    result = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
    np.testing.assert_array_equal(result, plain(g, indices, (2, 2)))
    nothing = fastml.max_pool2d_backward(np.ones((2, 3, 4)), np.full((2, 3, 4), -1), (2, 3, 3), backend=backend)
    np.testing.assert_array_equal(nothing, np.zeros((2, 3, 3)))


@EVERYWHERE
def test_what_is_not_finite_stays_in_its_pixel(backend):
    x = permuted(1, 4, 6)
    g, indices = pooled(x, 2)
    g[0, 0, 1], g[0, 1, 2] = np.nan, np.inf
    result = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
    np.testing.assert_array_equal(result, plain(g, indices, (4, 6)))
    assert np.isnan(result).sum() == 1 and np.isinf(result).sum() == 1


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("value", WRONG)
def test_an_index_outside_its_plane_is_refused_and_not_followed(value, dtype, backend):
    g, indices = pooled(permuted(3, 2, 5, 6).astype(dtype), 2)
    indices[1, 1, 1, 0] = indices[2, 0, 0, 2] = value
    out = np.full((3, 2, 5, 6), np.nan, dtype)
    with pytest.raises(ValueError, match=r"^indices must be from -1 to 29, .* 5 x 6; 2 of 36 are not$"):
        fastml.max_pool2d_backward(g, indices, out.shape, out=out, backend=backend, n_threads=2)
    np.testing.assert_array_equal(out, plain(g, indices, (5, 6)))  # all the others were


@st.composite
def any_indices(draw):
    planes, out_h, out_w, h, w = (draw(st.integers(1, 4)) for _ in range(5))
    near = st.integers(-3, h * w + 2)
    index = st.one_of(near, near, near, st.integers(-(2**63), 2**63 - 1))
    flat = draw(st.lists(index, min_size=planes * out_h * out_w, max_size=planes * out_h * out_w))
    return np.array(flat, np.int64).reshape(planes, out_h, out_w), (h, w)


@settings(max_examples=200, deadline=None, database=None)
@given(any_indices())
def test_any_indices(problem):
    """Rungs of every backend between fences: what is right is added, what is wrong is counted, nothing else happens."""
    indices, (h, w) = problem
    planes = indices.shape[0]
    g = np.arange(1.0, indices.size + 1).reshape(indices.shape)
    outside = ((indices < -1) | (indices >= h * w)).sum(axis=(1, 2))
    for rung in _dispatch.rungs("max_pool2d_backward"):
        fenced = np.full(planes * h * w + 200, -77.0)
        grad_x, wrong = fenced[100:-100].reshape(planes, h, w), np.full(planes, -77)
        _dispatch.load(rung)(g, indices, grad_x, wrong, 2)
        np.testing.assert_array_equal(wrong, outside, rung.kernel)
        np.testing.assert_array_equal(grad_x, plain(g, indices, (h, w)), rung.kernel)
        assert (fenced[:100] == -77).all() and (fenced[-100:] == -77).all(), rung.kernel


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i4", ">i4", ">i8", "<u8"])
def test_integers_of_any_kind(dtype):
    g, indices = pooled(permuted(2, 5, 6), 2)
    expected = fastml.max_pool2d_backward(g, indices, (2, 5, 6))
    np.testing.assert_array_equal(fastml.max_pool2d_backward(g, indices.astype(dtype), (2, 5, 6)), expected)
    np.testing.assert_array_equal(fastml.max_pool2d_backward(g, indices.tolist(), [2, 5, np.int32(6)]), expected)


@EVERYWHERE
def test_an_image_is_a_batch_of_one(backend):
    x = permuted(3, 7, 6)
    g, indices = pooled(x, 3, 2, 1)
    image = fastml.max_pool2d_backward(g, indices, x.shape, backend=backend)
    batch = fastml.max_pool2d_backward(g[np.newaxis], indices[np.newaxis], (1, *x.shape), backend=backend)
    np.testing.assert_array_equal(image, batch[0])


def test_an_empty_batch():
    indices = np.empty((0, 3, 4, 4), int)
    assert fastml.max_pool2d_backward(np.empty((0, 3, 4, 4)), indices, (0, 3, 8, 8)).shape == (0, 3, 8, 8)


def test_out_is_filled_and_returned():
    x = permuted(1, 2, 6, 6)
    g, indices = pooled(x, 2)
    out = np.full(x.shape, np.nan)
    assert fastml.max_pool2d_backward(g, indices, x.shape, out=out) is out
    np.testing.assert_array_equal(out, fastml.max_pool2d_backward(g, indices, x.shape))
