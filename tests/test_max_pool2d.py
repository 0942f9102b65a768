"""max_pool2d against the definition, written as: which rows and columns of the image does a window see?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
GRID = [
    (kernel, stride, padding, dilation, ceil)
    for kernel in (1, 2, 3)
    for stride in (1, 2, 4)
    for dilation in (1, 2, 3)
    for padding in range(kernel // 2 + 1)
    for ceil in (False, True)
]


def pytorch_size(size, kernel, stride, padding, dilation, ceil):
    """`pooling_output_shape` of PyTorch: a last window that would start in the padding after the image is dropped."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


def seen(size, kernel, stride, before, dilation, window):
    """Where in the image the taps of a window fall."""
    taps = ((y, y + before - window * stride) for y in range(size))
    return [y for y, distance in taps if distance % dilation == 0 and 0 <= distance // dilation < kernel]


def plain(x, shape, kernel, stride, before, dilation):
    """Maxima and indices, each axis with its own parameters; argmax takes the first NaN, else the first maximum."""
    values, indices = np.full((*x.shape[:-2], *shape), -np.inf), np.full((*x.shape[:-2], *shape), -1)
    positions = np.arange(x.shape[-2] * x.shape[-1]).reshape(x.shape[-2:])
    for i, j in np.ndindex(*shape):
        rows = seen(x.shape[-2], kernel[0], stride[0], before[0], dilation[0], i)
        columns = seen(x.shape[-1], kernel[1], stride[1], before[1], dilation[1], j)
        if not rows or not columns:
            continue
        taps = x[..., rows, :][..., columns].reshape(*x.shape[:-2], -1)
        best = taps.argmax(axis=-1)
        values[..., i, j] = np.take_along_axis(taps, best[..., np.newaxis], -1)[..., 0]
        indices[..., i, j] = positions[rows][:, columns].ravel()[best]
    return values, indices


def check(x, result, kernel, stride, before, dilation):
    values, indices = result
    expected, where = plain(x, values.shape[-2:], kernel, stride, before, dilation)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(indices, where)
    assert values.dtype == x.dtype and indices.dtype == np.int64


def both(x, *args, **kwargs):
    """The result with indices, whose maxima must be those without indices: another path computes them."""
    values, indices = fastml.max_pool2d(x, *args, return_indices=True, **kwargs)
    np.testing.assert_array_equal(fastml.max_pool2d(x, *args, **kwargs), values)
    return values, indices


@pytest.mark.parametrize("size", [(5, 8), (7, 4)])
def test_sizes_and_values_on_the_grid(size):
    x = random.integers(0, 9, (1, 2, *size)).astype(np.float64)
    for kernel, stride, padding, dilation, ceil in GRID:
        shape = tuple(pytorch_size(n, kernel, stride, padding, dilation, ceil) for n in size)
        if min(shape) < 1:
            with pytest.raises(ValueError, match="kernel_size"):
                fastml.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode=ceil)
            continue
        result = both(x, kernel, stride, padding, dilation, ceil_mode=ceil)
        assert result[0].shape == (1, 2, *shape), (kernel, stride, padding, dilation, ceil)
        check(x, result, (kernel,) * 2, (stride,) * 2, (padding,) * 2, (dilation,) * 2)


@DTYPES
def test_pytorch_agrees(dtype):
    torch = pytest.importorskip("torch")
    x = random.integers(0, 9, (2, 2, 9, 11)).astype(dtype)
    for kernel, stride, padding, dilation, ceil in GRID:
        theirs = torch.nn.functional.max_pool2d(
            torch.from_numpy(x), kernel, stride, padding, dilation, ceil_mode=ceil, return_indices=True
        )
        for mine, other in zip(both(x, kernel, stride, padding, dilation, ceil_mode=ceil), theirs, strict=True):
            np.testing.assert_array_equal(mine, other.numpy())


def sides(draw, span):
    return draw(st.integers(0, span - 1)), draw(st.integers(0, span - 1))


@st.composite
def problems(draw):
    pairs = [(draw(st.integers(1, 4)), draw(st.integers(1, 4))) for _ in range(3)]
    kernel, stride, dilation = pairs
    padding = tuple(sides(draw, (k - 1) * d + 1) for k, d in zip(kernel, dilation, strict=True))
    size = tuple(
        draw(st.integers(max(1, (k - 1) * d + 1 - sum(p)), 16))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    values = st.sampled_from([np.nan, -np.inf, np.inf, -0.0, 0.0, 1.0, 2.0])
    planes = draw(st.integers(1, 2))
    x = draw(st.lists(values, min_size=planes * size[0] * size[1], max_size=planes * size[0] * size[1]))
    return np.array(x).reshape(planes, *size), kernel, stride, padding, dilation


@settings(max_examples=100, deadline=None, database=None)
@given(problems())
def test_any_problem(problem):
    x, kernel, stride, padding, dilation = problem
    check(x, both(x, kernel, stride, padding, dilation), kernel, stride, [side[0] for side in padding], dilation)


@DTYPES
@pytest.mark.parametrize("position", [(y, z) for y in range(3) for z in range(3)])
def test_nan_wins_from_every_position(dtype, position):
    x = random.normal(size=(1, 1, 9, 9)).astype(dtype)
    x[0, 0, 3 + position[0], 3 + position[1]] = np.nan
    values, indices = both(x, 3)
    assert np.isnan(values[0, 0, 1, 1]) and np.isnan(values).sum() == 1
    assert indices[0, 0, 1, 1] == (3 + position[0]) * 9 + 3 + position[1]


def test_first_of_equals_and_of_nans_is_reported():
    x = np.zeros((1, 4, 4))
    x[0, :2, 2:] = [[1, np.nan], [np.nan, 2]]
    values, indices = both(x, 2)
    np.testing.assert_array_equal(values, [[[0, np.nan], [0, 0]]])
    np.testing.assert_array_equal(indices, [[[0, 3], [8, 10]]])


@DTYPES
def test_minus_infinity_is_a_value_with_an_index(dtype):
    x = np.full((1, 1, 4, 4), -np.inf, dtype)
    values, indices = both(x, 3, 2, 1)
    assert (values == -np.inf).all()
    np.testing.assert_array_equal(indices, [[[[0, 1], [4, 5]]]])


def test_a_window_of_padding_alone():
    values, indices = both(np.ones((1, 2, 2)), 2, 1, 1, 3)
    check(np.ones((1, 2, 2)), (values, indices), (2, 2), (1, 1), (1, 1), (3, 3))
    values, indices = both(np.ones((1, 1, 1)), 2, 1, ((3, 3), (3, 3)), 4)
    assert values[0, 0, 0] == -np.inf and indices[0, 0, 0] == -1


@DTYPES
def test_an_image_is_a_batch_of_one(dtype):
    x = random.normal(size=(3, 7, 6)).astype(dtype)
    for image, batch in zip(both(x, 3, 2, 1), both(x[np.newaxis], 3, 2, 1), strict=True):
        assert image.ndim == 3
        np.testing.assert_array_equal(image, batch[0])


def test_an_empty_batch():
    values, indices = both(np.empty((0, 3, 8, 8)), 2)
    assert values.shape == indices.shape == (0, 3, 4, 4)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [2, 3])
def test_same_padding_gives_ceil_of_size_over_stride(stride, kernel):
    x = random.normal(size=(1, 7, 8))
    for padding, lower in (("same", False), ("same_lower", True)):
        totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (7, 8)]
        before = [total - total // 2 if lower else total // 2 for total in totals]
        values, indices = both(x, kernel, stride, padding)
        assert values.shape == (1, -(-7 // stride), -(-8 // stride))
        check(x, (values, indices), (kernel,) * 2, (stride,) * 2, before, (1, 1))
    assert fastml.max_pool2d(x, kernel, stride, "valid").shape == fastml.max_pool2d(x, kernel, stride).shape


def test_out_is_filled_and_returned():
    x, out = random.normal(size=(1, 2, 6, 6)), np.full((1, 2, 3, 3), np.nan)
    assert fastml.max_pool2d(x, 2, out=out) is out
    values, _ = fastml.max_pool2d(x, 2, out=out, return_indices=True)
    assert values is out
    np.testing.assert_array_equal(out, fastml.max_pool2d(x, 2))


def test_window_of_a_trillion_taps_sees_the_whole_image():
    x = random.normal(size=(1, 6, 5))
    values, indices = both(x, 2**40, 1, ((2**40 - 6, 0), (2**40 - 5, 0)))
    assert values.shape == (1, 1, 1) and values[0, 0, 0] == x.max() and indices[0, 0, 0] == x.argmax()


@pytest.mark.parametrize("backend", ("cython", "numba"))
def test_indices_in_images_too_wide_for_float32_to_hold_a_place(backend):
    x = np.zeros((1, 3, 2**23 + 101), np.float32)
    x[0, 2, 1::2], x[0, 2, ::2] = 1, 2
    out, indices = fastml.max_pool2d(x, 3, stride=(1, 4001), return_indices=True, backend=backend)
    assert (x.ravel()[indices] == out).all()
