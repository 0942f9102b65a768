"""conv2d_backward against sums over taps in float64 within a-priori bounds, finite differences, and PyTorch."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastml
from fastml import _dispatch, _validate
from fastml._registry import BACKENDS
from tests.small_cases import SMALL
from tests.test_conv2d import arrays, problems

random = np.random.default_rng(0)
CASES = [case for case in SMALL if case.op == "conv2d_backward"]
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERYWHERE = pytest.mark.parametrize("backend", BACKENDS)
PLAIN = ((0, 0), (0, 0))


def plain(grad_out, x, weight, *, stride=(1, 1), sides=PLAIN, dilation=(1, 1), groups=1):
    """In float64: for each tap, the product of gradients with what it saw, and the gradients given back to there."""
    grad_out, x, weight = (np.asarray(array, np.float64) for array in (grad_out, x, weight))
    padded = np.pad(x, ((0, 0), (0, 0), *sides))
    n, channels, h, w = padded.shape
    grad_padded, grad_weight = np.zeros((n, groups, channels // groups, h, w)), np.zeros_like(weight)
    g = grad_out.reshape(n, groups, -1, *grad_out.shape[2:])
    of_groups = weight.reshape(groups, -1, *weight.shape[1:])
    for ky, kx in np.ndindex(weight.shape[2:]):
        rows, columns = (
            slice(k * d, k * d + (out - 1) * s + 1, s)
            for k, d, s, out in zip((ky, kx), dilation, stride, g.shape[3:], strict=True)
        )
        seen = padded.reshape(grad_padded.shape)[..., rows, columns]
        grad_weight[:, :, ky, kx] = np.einsum("ngoij,ngcij->goc", g, seen).reshape(weight.shape[:2])
        grad_padded[..., rows, columns] += np.einsum("ngoij,goc->ngcij", g, of_groups[..., ky, kx])
    (top, _), (left, _) = sides
    grad_x = grad_padded.reshape(padded.shape)[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return grad_x, grad_weight, grad_out.sum(axis=(0, 2, 3))


def gamma(terms, dtype):
    return terms * np.finfo(dtype).eps / (1 - terms * np.finfo(dtype).eps)


def close(result, grad_out, x, weight, **options):
    """|error| <= gamma * sum of |products|: the bound of test_conv2d, for as many products as each gradient adds."""
    expected = plain(grad_out, x, weight, **options)
    sizes = plain(*(abs(array) for array in (grad_out, x, weight)), **options)
    positions = grad_out.size // grad_out.shape[1]
    terms = (weight[:, 0].size // options.get("groups", 1) + 2, positions + 2, positions + 2)
    for name, mine, other, size, many in zip(result._fields, result, expected, sizes, terms, strict=True):
        assert mine.shape == other.shape and mine.dtype == x.dtype, name
        assert (abs(mine - other) <= gamma(many, x.dtype) * size).all(), (name, abs(mine - other).max())


def problem(x_shape, weight_shape, dtype=np.float64, random=random, **options):
    """grad_out, x, weight."""
    x, weight, _ = arrays(x_shape, weight_shape, dtype, random)
    shape = _validate.conv2d(x, weight, **options)[1].shape
    return random.normal(size=shape).astype(dtype), x, weight


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize(
    ("padding", "sides"),
    [(0, PLAIN), (1, ((1, 1), (1, 1))), (5, ((5, 5), (5, 5))), (((0, 3), (2, 1)), ((0, 3), (2, 1)))],
)
@pytest.mark.parametrize("outputs", [3, 11])
def test_padding_and_stride(outputs, padding, sides, stride, dtype, backend):
    g, x, weight = problem((2, 3, 8, 9), (outputs, 3, 3, 2), dtype, stride=stride, padding=padding)
    result = fastml.conv2d_backward(g, x, weight, stride=stride, padding=padding, backend=backend)
    close(result, g, x, weight, stride=pair(stride), sides=sides)


@EVERYWHERE
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("dilation", [2, 3, 6])
def test_strides_meet_dilations(stride, dilation, backend):
    """Taps that are stride / gcd(stride, dilation) apart see the same pixels."""
    g, x, weight = problem((1, 2, 20, 19), (8, 2, 3, 4), stride=stride, dilation=dilation, padding=3)
    result = fastml.conv2d_backward(g, x, weight, stride=stride, dilation=dilation, padding=3, backend=backend)
    close(result, g, x, weight, stride=pair(stride), dilation=pair(dilation), sides=((3, 3), (3, 3)))


@DTYPES
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("multiplier", [1, 9])
def test_groups_and_depthwise(dtype, groups, multiplier):
    g, x, weight = problem((2, 6, 7, 13), (6 * multiplier, 6 // groups, 3, 3), dtype, groups=groups)
    close(fastml.conv2d_backward(g, x, weight, groups=groups), g, x, weight, groups=groups)


@DTYPES
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "padding"),
    [
        ((2, 31, 37, 41), (33, 31, 3, 3), 1),
        ((1, 200, 40, 41), (8, 200, 3, 3), 1),  # more channels than the scratch of a block holds
        ((1, 1, 70, 90), (8, 1, 40, 50), 20),
        ((2, 31, 37, 41), (3, 31, 3, 3), 1),
        ((1, 3, 3, 3000), (2, 3, 2, 3), 0),
    ],
)
def test_many_taps_and_pixels(x_shape, weight_shape, padding, dtype):
    g, x, weight = problem(x_shape, weight_shape, dtype, padding=padding)
    result = fastml.conv2d_backward(g, x, weight, padding=padding, n_threads=3)
    close(result, g, x, weight, sides=((padding, padding),) * 2)


@settings(max_examples=200, deadline=None, database=None)
@given(problems(), st.sampled_from([np.float32, np.float64]), st.integers(1, 5))
def test_any_problem(drawn, dtype, n_threads):
    x_shape, weight_shape, options, sides, _ = drawn
    g, x, weight = problem(x_shape, weight_shape, dtype, np.random.default_rng(0), padding=sides, **options)
    result = fastml.conv2d_backward(g, x, weight, padding=sides, n_threads=n_threads, **options)
    close(result, g, x, weight, sides=sides, **options)


@settings(max_examples=100, deadline=None, database=None)
@given(problems())
def test_pytorch_agrees(drawn):
    torch = pytest.importorskip("torch")
    x_shape, weight_shape, options, sides, _ = drawn
    assume(all(before == after for before, after in sides))
    g, x, weight = problem(x_shape, weight_shape, padding=sides, **options)
    theirs = [torch.from_numpy(array).requires_grad_() for array in (x, weight, np.zeros(len(weight)))]
    padding = tuple(before for before, _ in sides)
    torch.nn.functional.conv2d(*theirs, padding=padding, **options).backward(torch.from_numpy(g))
    for mine, other in zip(fastml.conv2d_backward(g, x, weight, padding=padding, **options), theirs, strict=True):
        np.testing.assert_allclose(mine, other.grad.numpy(), rtol=0, atol=1e-12)


@EVERYWHERE
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gradient_of_x_in_every_case(case, backend):
    (g, x, weight), options = case.arguments(np.float64)
    if g.size < 1000:
        options = {name: value for name, value in options.items() if not name.startswith("needs_")}
        forward = _validate.conv2d(x, weight, **options)[0]
        stride, dilation = (forward.stride_h, forward.stride_w), (forward.dilation_h, forward.dilation_w)
        axes = zip(g.shape[2:], stride, weight.shape[2:], dilation, (forward.pad_top, forward.pad_left), x.shape[2:],
                   strict=True)  # fmt: skip
        sides = tuple((p, max((out - 1) * s + (k - 1) * d + 1 - p - n, 0)) for out, s, k, d, p, n in axes)
        result = fastml.conv2d_backward(g, x, weight, backend=backend, **options)
        close(result, g, x, weight, sides=sides, groups=forward.groups, stride=stride, dilation=dilation)


@EVERYWHERE
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1, "stride": 2},
        {"dilation": (1, 2), "padding": ((0, 1), (2, 0))},
        {"groups": 2, "stride": (1, 3)},
    ],
    ids=str,
)
@pytest.mark.parametrize("outputs", [2, 8])
def test_finite_differences(outputs, options, backend):
    """Central differences of sum(g * conv2d), which is linear in each argument: rounding over the step is all."""
    g, x, weight = problem((2, 2, 5, 6), (outputs, 2 // options.get("groups", 1), 3, 2), **options)
    inputs = {"x": x, "weight": weight, "bias": random.normal(size=outputs)}
    gradients = fastml.conv2d_backward(g, x, weight, backend=backend, **options)
    for name, array in inputs.items():
        gradient = getattr(gradients, f"grad_{name}")
        for position in np.ndindex(array.shape):
            sides = []
            for step in (1e-3, -1e-3):
                moved = array.copy()
                moved[position] += step
                sides.append((g * fastml.conv2d(**{**inputs, name: moved}, **options)).sum())
            np.testing.assert_allclose(gradient[position], (sides[0] - sides[1]) / 2e-3, rtol=1e-9, atol=1e-9)


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("outputs", [2, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_whole_numbers_are_exact(stride, outputs, dtype, backend):
    g, x, weight = (random.integers(-9, 9, a.shape).astype(dtype)
                    for a in problem((2, 3, 11, 13), (outputs, 3, 3, 5), padding=2, stride=stride))  # fmt: skip
    result = fastml.conv2d_backward(g, x, weight, padding=2, stride=stride, backend=backend)
    for mine, other in zip(result, plain(g, x, weight, sides=((2, 2),) * 2, stride=(stride,) * 2), strict=True):
        np.testing.assert_array_equal(mine, other)


@settings(max_examples=150, deadline=None, database=None)
@given(problems(), st.sampled_from([np.nan, np.inf]), st.sampled_from(BACKENDS[:2]), st.booleans(), st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_reaches_those_that_saw_it(drawn, value, backend, in_x, data):
    x_shape, weight_shape, options, sides, _ = drawn
    g, x, weight = problem(x_shape, weight_shape, np.float32, np.random.default_rng(0), padding=sides, **options)
    spoilt = x if in_x else g
    spoilt.ravel()[data.draw(st.integers(0, spoilt.size - 1))] = value
    result = fastml.conv2d_backward(g, x, weight, padding=sides, backend=backend, **options)
    for mine, other in zip(result, plain(g, x, weight, sides=sides, **options), strict=True):
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(other))


@EVERYWHERE
def test_both_arrays_are_zero_outside(backend):
    """So an infinite gradient over padding is NaN in the weight, as an infinite weight over padding is in conv2d."""
    g, x, weight = problem((1, 1, 3, 3), (8, 1, 3, 3), padding=1)
    g[0, :, 0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        grad_weight = fastml.conv2d_backward(g, x, weight, padding=1, backend=backend).grad_weight
    assert np.isnan(grad_weight[:, 0, 0]).all() and np.isnan(grad_weight[:, 0, :, 0]).all()
    assert np.isinf(grad_weight[:, 0, 1:, 1:]).all()


@EVERYWHERE
@pytest.mark.parametrize("skipped", range(8))
def test_only_what_is_needed(skipped, backend):
    g, x, weight = problem((2, 3, 7, 6), (8, 3, 3, 3), stride=2)
    every = fastml.conv2d_backward(g, x, weight, stride=2, backend=backend)
    needs = {f"needs_{name}": not skipped & (1 << i) for i, name in enumerate(every._fields)}
    some = fastml.conv2d_backward(g, x, weight, stride=2, backend=backend, **needs)
    for name, mine, other in zip(every._fields, some, every, strict=True):
        if needs[f"needs_{name}"]:
            np.testing.assert_array_equal(mine, other)
        else:
            assert mine is None


@EVERYWHERE
def test_an_image_is_a_batch_of_one(backend):
    g, x, weight = problem((3, 6, 7), (8, 3, 3, 3))
    image = fastml.conv2d_backward(g, x, weight, backend=backend)
    batch = fastml.conv2d_backward(g[np.newaxis], x[np.newaxis], weight, backend=backend)
    assert image.grad_x.shape == x.shape
    for mine, other in zip(image, (batch[0][0], *batch[1:]), strict=True):
        np.testing.assert_array_equal(mine, other)


@EVERYWHERE
def test_an_empty_batch(backend):
    g, x, weight = problem((0, 3, 6, 7), (5, 3, 3, 3))
    result = fastml.conv2d_backward(g, x, weight, backend=backend)
    assert result.grad_x.shape == x.shape
    np.testing.assert_array_equal(result.grad_weight, np.zeros_like(weight))
    np.testing.assert_array_equal(result.grad_bias, np.zeros(5))


@EVERYWHERE
@pytest.mark.parametrize("outputs", [2, 8])
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (1, {"stride": 2**63 - 1}),
        (1, {"dilation": 2**63 - 1}),
        (2, {"stride": 2**63 - 1}),
        (2, {"dilation": 300, "padding": 150}),
    ],
)
def test_extreme_sizes(kernel, options, outputs, backend):
    g, x, weight = problem((1, 2, 5, 6), (outputs, 2, kernel, kernel), **options)
    result = fastml.conv2d_backward(g, x, weight, backend=backend, **options)
    sides = (pair(options.get("padding", 0)),) * 2
    close(result, g, x, weight, sides=sides, **{key: pair(options.get(key, 1)) for key in ("stride", "dilation")})


def test_with_relu_the_gradient_is_masked_by_the_output():
    g, x, weight = problem((2, 3, 6, 7), (8, 3, 3, 3), padding=1)
    out = fastml.conv2d(x, weight, padding=1, activation="relu")
    masked = np.where(out <= 0, 0, g)
    assert 0 < np.count_nonzero(masked) < g.size
    gradient = fastml.conv2d_backward(masked, x, weight, padding=1).grad_x
    ascended = fastml.conv2d(x + 1e-6 * gradient, weight, padding=1, activation="relu")
    np.testing.assert_allclose((g * (ascended - out)).sum(), 1e-6 * (gradient**2).sum(), rtol=1e-3)


@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "options"),
    [
        ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
        ((1, 512, 9, 9), (16, 512, 3, 3), {"padding": 1}),
        ((1, 4, 100, 100), (8, 4, 3, 3), {"dilation": 900, "padding": 900}),
        ((1, 4, 20, 20000), (8, 4, 3, 3), {"padding": 1, "stride": 7}),
        ((1, 1, 150, 150), (8, 1, 140, 140), {"padding": 60}),
        ((1, 8, 100, 100), (8, 1, 3, 3), {"dilation": 900, "padding": 900, "groups": 8}),
        ((1, 8, 20, 20000), (8, 1, 3, 3), {"padding": 1, "stride": 7, "groups": 8}),
        ((1, 2, 3000, 300), (2, 1, 3, 3), {"groups": 2}),
    ],
)
@pytest.mark.parametrize("n_threads", [1, 4])
def test_scratch_is_small_whatever_the_shape(x_shape, weight_shape, options, n_threads):
    """A copy of the weights, its panels filled up, a table of taps, and per thread what the docstring says."""
    x, weight, _ = arrays(x_shape, weight_shape, np.float32)
    shape = _validate.conv2d(x, weight, **options)[1].shape
    problem, _, _ = _validate.conv2d_backward(np.zeros(shape, np.float32), x, weight, **options)
    kernel = _dispatch.kernel("conv2d_backward", problem, "cython")
    tracemalloc.start()
    kernel(*problem, n_threads)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taps = weight[0].size
    area = taps // weight.shape[1]
    assert peak <= 2 * weight.nbytes + 8 * taps + n_threads * (max(2**18, 8 * area) + 2**16) + 2**16


def test_explain_names_the_rungs_of_both():
    g, x, weight = problem((2, 3, 9, 9), (8, 3, 3, 3), stride=2)
    text = fastml.explain("conv2d_backward", g, x, weight, stride=2, backend="cython")
    assert "conv2d_backward: cython, rung 'outer'" in text
    assert "  grad_x: 4 problems of conv2d, rung" in text
    assert "grad_x" not in fastml.explain("conv2d_backward", g, x, weight, stride=2, needs_grad_x=False)
    depthwise = fastml.explain("conv2d_backward", g[:, :3], x, weight[:3, :1], groups=3, stride=2, backend="cython")
    assert "rung 'dots'" in depthwise


def test_gradients_have_names():
    result = fastml.conv2d_backward(*problem((1, 1, 3, 3), (1, 1, 2, 2)))
    assert isinstance(result, fastml.Conv2dGradients)
    assert result._fields == ("grad_x", "grad_weight", "grad_bias")
