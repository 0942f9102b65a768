"""avg_pool2d: sums over what a window sees, and PyTorch's divisors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml
from tests.test_max_pool2d import pytorch_size, seen

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
GRID = [
    (kernel, stride, padding, ceil, include)
    for kernel in (1, 2, 3, 5)
    for stride in (1, 2, 4)
    for padding in range(kernel // 2 + 1)
    for ceil in (False, True)
    for include in (False, True)
]


def plain(x, shape, kernel, stride, before, after, include, override=None):
    """Each axis has its own parameters. Padding counts if `include`; what ceil_mode adds after it never does."""
    result = np.empty((*x.shape[:-2], *shape))
    for i, j in np.ndindex(*shape):
        taps, counted = [], 1
        for axis, window in enumerate((i, j)):
            size, start = x.shape[axis - 2], window * stride[axis] - before[axis]
            taps.append(seen(size, kernel[axis], stride[axis], before[axis], 1, window))
            counted *= min(kernel[axis], size + after[axis] - start) if include else len(taps[axis])
        total = x[..., taps[0], :][..., taps[1]].sum(axis=(-2, -1), dtype=np.float64)
        result[..., i, j] = total / (override or max(counted, 1))
    return result


@pytest.mark.parametrize("size", [(5, 8), (7, 4)])
def test_sizes_divisors_and_values_on_the_grid(size):
    x = random.integers(0, 99, (1, 2, *size)).astype(np.float64)
    for kernel, stride, padding, ceil, include in GRID:
        shape = tuple(pytorch_size(n, kernel, stride, padding, 1, ceil) for n in size)
        options = {"ceil_mode": ceil, "count_include_pad": include}
        if min(shape) < 1:
            with pytest.raises(ValueError, match="kernel_size"):
                fastml.avg_pool2d(x, kernel, stride, padding, **options)
            continue
        result = fastml.avg_pool2d(x, kernel, stride, padding, **options)
        pad = (padding, padding)
        expected = plain(x, shape, (kernel,) * 2, (stride,) * 2, pad, pad, include)
        np.testing.assert_array_equal(result, expected)  # sums of integers are exact
        override = fastml.avg_pool2d(x, kernel, stride, padding, **options, divisor_override=3)
        np.testing.assert_array_equal(override, plain(x, shape, (kernel,) * 2, (stride,) * 2, pad, pad, include, 3))


@DTYPES
def test_pytorch_agrees(dtype):
    torch = pytest.importorskip("torch")
    x = random.integers(0, 99, (2, 2, 9, 11)).astype(dtype)
    for kernel, stride, padding, ceil, include in GRID:
        for override in (None, 7):
            theirs = torch.nn.functional.avg_pool2d(
                torch.from_numpy(x), kernel, stride, padding, ceil, include, override
            ).numpy()
            mine = fastml.avg_pool2d(
                x, kernel, stride, padding, ceil_mode=ceil, count_include_pad=include, divisor_override=override
            )
            np.testing.assert_allclose(mine, theirs, rtol=2 * np.finfo(dtype).eps)


@st.composite
def problems(draw):
    kernel, stride = ((draw(st.integers(1, 5)), draw(st.integers(1, 5))) for _ in range(2))
    padding = tuple(draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1))) for k in kernel)
    size = tuple(draw(st.integers(max(1, k - sum(p)), 12)) for k, p in zip(kernel, padding, strict=True))
    return size, kernel, stride, padding, draw(st.booleans()), draw(st.sampled_from([None, 1, 10]))


@settings(max_examples=100, deadline=None, database=None)
@given(problems())
def test_any_problem(problem):
    size, kernel, stride, padding, include, override = problem
    x = np.random.default_rng(0).integers(-99, 99, (2, *size)).astype(np.float64)
    result = fastml.avg_pool2d(x, kernel, stride, padding, count_include_pad=include, divisor_override=override)
    before, after = zip(*padding, strict=True)
    shape = [(n + sum(p) - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True)]
    expected = plain(x, shape, kernel, stride, before, after, include, override)
    np.testing.assert_array_equal(result, expected)


@DTYPES
def test_real_values_are_rounded_once(dtype):
    x = random.normal(size=(2, 3, 17, 19)).astype(dtype)
    expected = plain(x.astype(np.longdouble), (9, 10), (3, 3), (2, 2), (1, 1), (1, 1), False)
    # a sum of 9 values in float64, and the rounding to the dtype
    error = 9 * np.finfo(np.float64).eps * np.abs(x).max() + np.finfo(dtype).eps / 2 * np.abs(expected)
    result = fastml.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    assert result.dtype == dtype and (np.abs(result - expected) <= error).all()


@DTYPES
def test_large_values_leave_no_trace_in_other_windows(dtype):
    big = 1e30 if dtype == np.float32 else 1e300
    x = np.ones((1, 1, 9), dtype)
    x[0, 0, 3] = big
    np.testing.assert_array_equal(fastml.avg_pool2d(x, (1, 2), 1)[0, 0, [0, 1, 4, 5, 6, 7]], 1)
    x[0, 0, 3:5] = np.nan, np.inf
    result = fastml.avg_pool2d(x, (1, 2), 1)[0, 0]
    np.testing.assert_array_equal(result, [1, 1, np.nan, np.nan, np.inf, 1, 1, 1])


@DTYPES
def test_an_image_is_a_batch_of_one(dtype):
    x = random.normal(size=(3, 7, 6)).astype(dtype)
    image = fastml.avg_pool2d(x, 3, 2, 1)
    assert image.shape == (3, 4, 3)
    np.testing.assert_array_equal(image, fastml.avg_pool2d(x[np.newaxis], 3, 2, 1)[0])


def test_an_empty_batch():
    assert fastml.avg_pool2d(np.empty((0, 3, 8, 8)), 2).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_ceil_of_size_over_stride(stride):
    x = np.ones((1, 7, 8))
    for padding in ("same", "same_lower"):
        result = fastml.avg_pool2d(x, 4, stride, padding, count_include_pad=False)
        assert result.shape == (1, -(-7 // stride), -(-8 // stride))
        np.testing.assert_array_equal(result, 1)
    corner = np.zeros((1, 4, 4))
    corner[0, 0, 0] = 4
    assert fastml.avg_pool2d(corner, 2, 1, "same")[0, 0, 0] == 1  # nothing before, a row and a column after
    assert fastml.avg_pool2d(corner, 2, 1, "same_lower")[0, 1, 1] == 1


def test_out_is_filled_and_returned():
    x, out = random.normal(size=(1, 2, 6, 6)), np.full((1, 2, 3, 3), np.nan)
    assert fastml.avg_pool2d(x, 2, out=out) is out
    np.testing.assert_array_equal(out, fastml.avg_pool2d(x, 2))


@pytest.mark.parametrize("padding", [2**20, 2**60])
def test_divisors_of_huge_windows(padding):
    """Windows of 2**60 + 3 rows, all but three, four and five of them in the padding."""
    x = np.arange(5.0).reshape(1, 5, 1)
    result = fastml.avg_pool2d(x, (padding + 3, 1), 1, ((padding, 0), (0, 0)), count_include_pad=False)
    np.testing.assert_array_equal(result[0, :, 0], [1, 1.5, 2])
