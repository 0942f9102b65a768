"""conv2d against scipy.signal.correlate2d, channel by channel, within the a-priori bound of the rounding error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate2d

import fastml

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def plain(x, weight, bias=None, *, stride=(1, 1), sides=((0, 0), (0, 0)), dilation=(1, 1), groups=1):
    """In float64: pad, spread the weights out, correlate every channel, add, take every stride-th."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    outputs, channels, kernel_h, kernel_w = weight.shape
    spread = np.zeros((outputs, channels, (kernel_h - 1) * dilation[0] + 1, (kernel_w - 1) * dilation[1] + 1))
    spread[..., :: dilation[0], :: dilation[1]] = weight
    result = []
    for image in x:
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            planes = [correlate2d(image[first + c], spread[o, c], mode="valid") for c in range(channels)]
            result.append(sum(planes)[:: stride[0], :: stride[1]])
    result = np.reshape(result, (x.shape[0], outputs, *result[0].shape))
    return result if bias is None else result + np.asarray(bias, np.float64)[:, np.newaxis, np.newaxis]


def close(result, x, weight, bias=None, **options):
    """|error| <= gamma * sum |x| |w|: N. J. Higham (2002), Accuracy and Stability of Numerical Algorithms, eq. 3.5."""
    expected = plain(x, weight, bias, **options)
    assert result.shape == expected.shape and result.dtype == x.dtype
    terms = weight[0].size + 2
    gamma = terms * np.finfo(x.dtype).eps / (1 - terms * np.finfo(x.dtype).eps)
    bound = gamma * plain(np.abs(x), np.abs(weight), None if bias is None else np.abs(bias), **options)
    assert (np.abs(result - expected) <= bound).all(), np.abs(result - expected).max()


def arrays(x_shape, weight_shape, dtype=np.float64, random=random):
    bias = random.normal(size=weight_shape[0]).astype(dtype)
    return random.normal(size=x_shape).astype(dtype), random.normal(size=weight_shape).astype(dtype), bias


@DTYPES
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize(
    ("padding", "sides"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ((1, 0), ((1, 1), (0, 0))),
        (((0, 3), (2, 1)), ((0, 3), (2, 1))),
        ("valid", ((0, 0), (0, 0))),
    ],
)
def test_padding_and_stride(dtype, stride, padding, sides):
    x, weight, bias = arrays((2, 3, 8, 9), (5, 3, 3, 2), dtype)
    result = fastml.conv2d(x, weight, bias, stride=stride, padding=padding)
    close(result, x, weight, bias, stride=stride if isinstance(stride, tuple) else (stride,) * 2, sides=sides)


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding(stride, kernel, dilation):
    x, weight, _ = arrays((1, 2, 7, 10), (4, 2, kernel, kernel))
    totals = [max((-(-n // stride) - 1) * stride + (kernel - 1) * dilation + 1 - n, 0) for n in (7, 10)]
    for padding in ("same", "same_lower"):
        result = fastml.conv2d(x, weight, padding=padding, stride=stride, dilation=dilation)
        assert result.shape == (1, 4, -(-7 // stride), -(-10 // stride))
        halves = [(total // 2, total - total // 2) for total in totals]
        sides = halves if padding == "same" else [half[::-1] for half in halves]
        close(result, x, weight, stride=(stride,) * 2, sides=sides, dilation=(dilation,) * 2)


@DTYPES
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("multiplier", [1, 4])
def test_groups_and_depthwise(dtype, groups, multiplier):
    x, weight, bias = arrays((2, 6, 7, 6), (6 * multiplier, 6 // groups, 3, 3), dtype)
    result = fastml.conv2d(x, weight, bias, groups=groups, padding=1)
    close(result, x, weight, bias, groups=groups, sides=((1, 1), (1, 1)))


@DTYPES
@pytest.mark.parametrize("outputs", [2, 13])
def test_many_taps_and_pixels(dtype, outputs):
    x, weight, bias = arrays((1, 31, 37, 41), (outputs, 31, 3, 3), dtype)
    close(fastml.conv2d(x, weight, bias), x, weight, bias)


@DTYPES
@pytest.mark.parametrize("outputs", [2, 7])
def test_residual_then_relu(dtype, outputs):
    x, weight, bias = arrays((2, 3, 6, 7), (outputs, 3, 3, 3), dtype)
    plainly = fastml.conv2d(x, weight, bias, padding=1)
    residual = random.normal(size=plainly.shape).astype(dtype)
    added = fastml.conv2d(x, weight, bias, padding=1, residual=residual)
    np.testing.assert_allclose(added, plainly + residual, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(plainly).max())
    relu = fastml.conv2d(x, weight, bias, padding=1, residual=residual, activation="relu")
    np.testing.assert_array_equal(relu, np.maximum(added, 0))
    assert (relu == 0).any() and (relu > 0).any()


@DTYPES
def test_an_image_is_a_batch_of_one(dtype):
    x, weight, bias = arrays((3, 6, 7), (4, 3, 3, 3), dtype)
    image = fastml.conv2d(x, weight, bias, residual=np.ones((4, 4, 5), dtype))
    assert image.shape == (4, 4, 5)
    batch = fastml.conv2d(x[np.newaxis], weight, bias, residual=np.ones((1, 4, 4, 5), dtype))
    np.testing.assert_array_equal(image, batch[0])


def test_an_empty_batch():
    assert fastml.conv2d(np.empty((0, 3, 8, 8)), np.ones((5, 3, 3, 3)), padding=1).shape == (0, 5, 8, 8)


@pytest.mark.parametrize("outputs", [1, 8])
def test_out_is_filled_and_returned(outputs):
    x, weight, bias = arrays((2, 3, 6, 7), (outputs, 3, 3, 3))
    out = np.full((2, outputs, 4, 5), np.nan)
    assert fastml.conv2d(x, weight, bias, out=out) is out
    np.testing.assert_array_equal(out, fastml.conv2d(x, weight, bias))


@DTYPES
@pytest.mark.parametrize("outputs", [1, 6, 9])
@pytest.mark.parametrize("groups", [1, 3])
def test_integers_are_exact(dtype, outputs, groups):
    x = random.integers(-9, 9, (2, 6, 11, 13)).astype(dtype)
    weight = random.integers(-9, 9, (outputs * groups, 6 // groups, 3, 5)).astype(dtype)
    bias = random.integers(-9, 9, outputs * groups).astype(dtype)
    result = fastml.conv2d(x, weight, bias, padding=2, groups=groups)
    np.testing.assert_array_equal(result, plain(x, weight, bias, sides=((2, 2), (2, 2)), groups=groups))


@DTYPES
@pytest.mark.parametrize("outputs", [1, 7])
def test_an_infinite_weight_over_padding_is_nan(dtype, outputs):
    weight = np.zeros((outputs, 1, 3, 3), dtype)
    weight[:, :, 0, 0] = np.inf
    result = fastml.conv2d(np.ones((1, 5, 6), dtype), weight, padding=1)
    assert np.isnan(result[:, 0]).all() and np.isnan(result[:, :, 0]).all()
    assert (result[:, 1:, 1:] == np.inf).all()


@DTYPES
@pytest.mark.parametrize("outputs", [1, 7])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_local(dtype, outputs, value):
    x, weight = np.ones((2, 2, 9, 21), dtype), np.ones((outputs, 2, 3, 3), dtype)
    x[1, 1, 4, 11] = value
    result = fastml.conv2d(x, weight, padding=1)
    reached = np.zeros(result.shape, bool)
    reached[1, :, 3:6, 10:13] = True
    np.testing.assert_array_equal(~np.isfinite(result), reached)
    np.testing.assert_array_equal(result[reached], value)


def test_relu_of_nan_is_nan():
    x = np.full((1, 2, 2), np.nan)
    assert np.isnan(fastml.conv2d(x, np.ones((1, 1, 1, 1)), activation="relu")).all()


@st.composite
def problems(draw):
    small = st.integers(1, 4)
    groups, stride, dilation = draw(st.integers(1, 3)), draw(st.tuples(small, small)), draw(st.tuples(small, small))
    sides = draw(st.tuples(*[st.tuples(st.integers(0, 5), st.integers(0, 5))] * 2))
    weight = (groups * draw(st.integers(1, 8)), draw(small), draw(st.integers(1, 3)), draw(st.integers(1, 5)))
    spans = [(k - 1) * d + 1 for k, d in zip(weight[2:], dilation, strict=True)]
    size = [draw(st.integers(max(1, span - sum(side)), 20)) for span, side in zip(spans, sides, strict=True)]
    shape = (draw(st.integers(1, 2)), weight[1] * groups, *size)
    return shape, weight, {"stride": stride, "dilation": dilation, "groups": groups}, sides, draw(st.booleans())


@settings(max_examples=150, deadline=None, database=None)
@given(problems(), st.sampled_from([np.float32, np.float64]))
def test_any_problem(problem, dtype):
    x_shape, weight_shape, options, sides, with_bias = problem
    x, weight, bias = arrays(x_shape, weight_shape, dtype, np.random.default_rng(0))
    bias = bias if with_bias else None
    close(fastml.conv2d(x, weight, bias, padding=sides, **options), x, weight, bias, sides=sides, **options)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    x, weight, bias = arrays((2, 6, 9, 10), (8, 3, 3, 2))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 3), "groups": 2}
    theirs = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, weight, bias)), **options).numpy()
    np.testing.assert_allclose(fastml.conv2d(x, weight, bias, **options), theirs, rtol=0, atol=1e-13)
