"""batch_norm_backward against the formula in extended precision, finite differences, and PyTorch's autograd."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml
from fastml._registry import BACKENDS
from tests.test_batch_norm import columns, statistics

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EVERYWHERE = pytest.mark.parametrize("backend", BACKENDS)
SHAPES = pytest.mark.parametrize(
    "shape", [(7, 3), (300, 67), (9, 300), (2, 3, 4, 5), (1, 2, 33, 32), (5, 4, 1, 1), (3, 1, 1, 50)]
)
VARIANTS = pytest.mark.parametrize(("activation", "added"), [(None, 0), (None, 1), ("relu", 0), ("relu", 1)])
TRAINING = pytest.mark.parametrize("training", [False, True])
EPS = np.finfo(np.float64).eps


def plain(grad_out, x, mean, variance, weight, bias, residual, eps, training, relu):
    """Gradients, and the sum of the absolute values that each of them adds up."""
    axes = (0, 2, 3)[: x.ndim - 1]
    deviation = np.sqrt(columns(variance, x) + eps)
    z = (x.astype(np.longdouble) - columns(mean, x)) / deviation
    y = z * columns(weight, x) + columns(bias, x) + residual
    g = np.where(relu & (y <= 0), 0, grad_out.astype(np.longdouble))
    grad_weight, grad_bias = (g * z).sum(axes), g.sum(axes)
    sizes = (abs(g * z).sum(axes), abs(g).sum(axes))
    through = (columns(grad_bias, x) + z * columns(grad_weight, x)) * (training * x.shape[1] / x.size)
    size = abs(g) + (columns(sizes[1], x) + abs(z) * columns(sizes[0], x)) * (training * x.shape[1] / x.size)
    factor = columns(weight, x) / deviation
    return (factor * (g - through), grad_weight, grad_bias, g), (abs(factor) * size, *sizes, 0)


def problem(shape, dtype, offset=1.0, added=True):
    """grad_out, x, mean, variance, weight, bias, residual; the same ones every time, none with a y at 0."""
    random = np.random.default_rng(0)
    g, x, residual = random.normal(size=(3, *shape))
    x = (x + offset).astype(dtype)
    mean, variance = (np.asarray(v, np.float64) for v in statistics(x))
    weight, bias = random.uniform(0.5, 2, shape[1]), random.normal(size=shape[1])
    return g.astype(dtype), x, mean, variance, weight, bias, residual.astype(dtype) if added else None


def check(arguments, dtype, units, *, training=True, activation=None, eps=1e-5, backend=None):
    """Each gradient within so many units in the last place of what it adds up."""
    *others, residual = arguments
    expected, sizes = plain(*others, 0 if residual is None else residual, eps, training, activation == "relu")
    result = fastml.batch_norm_backward(
        *others, residual=residual, training=training, activation=activation, eps=eps, backend=backend, n_threads=2
    )
    if residual is None:
        assert result.grad_residual is None
        result, expected, sizes = result[:3], expected[:3], sizes[:3]
    for name, mine, other, size in zip(fastml.BatchNormGradients._fields, result, expected, sizes, strict=False):
        assert mine.dtype == dtype and mine.shape == other.shape
        assert (abs(mine - other) <= units * np.finfo(dtype).eps * size).all(), name


@EVERYWHERE
@DTYPES
@SHAPES
@VARIANTS
@TRAINING
def test_formula(shape, dtype, activation, added, training, backend):
    """Sums of N float64 values in two ways: N units in the worst case; of float32 data: 6 roundings, and the last."""
    units = 8 if dtype == np.float32 else 8 + np.prod(shape) // shape[1]
    arguments = problem(shape, dtype, added=added)
    check(arguments, dtype, units, training=training, activation=activation, backend=backend)


@EVERYWHERE
@VARIANTS
@pytest.mark.parametrize("shape", [(2000, 3), (4, 3, 20, 25)])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
@TRAINING
def test_float32_is_right_at_any_offset(shape, offset, training, activation, added, backend):
    """The mean has a float64 error of N units of offset: it shifts z, and with it the sum of g * z, by N * offset."""
    arguments = problem(shape, np.float32, offset, added)
    n = np.prod(shape) // shape[1]
    check(
        arguments, np.float32, 8 + n * offset * EPS / np.finfo(np.float32).eps, training=training,
        activation=activation, eps=0.0, backend=backend,
    )  # fmt: skip


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(2, 40), st.integers(1, 300), st.integers(1, 3), st.integers(1, 40), st.booleans(), st.booleans())
def test_any_shape(n, channels, h, w, matrix, relu):
    shape = (n, channels) if matrix else (n, min(channels, 9), h, w)
    check(problem(shape, np.float64), np.float64, 8 + n * h * w, activation="relu" if relu else None, eps=0.1)


@EVERYWHERE
@VARIANTS
@TRAINING
@pytest.mark.parametrize("shape", [(9, 4), (3, 2, 4, 5)])
def test_pytorch_agrees(shape, training, activation, added, backend):
    torch = pytest.importorskip("torch")
    g, x, mean, variance, weight, bias, residual = problem(shape, np.float64, added=added)
    theirs = [torch.from_numpy(v.copy()).requires_grad_() for v in (x, weight, bias)]
    running = [torch.from_numpy(v.copy()) for v in (mean, variance)]
    out = torch.nn.functional.batch_norm(theirs[0], *running, *theirs[1:], training=training)
    if added:
        theirs.append(torch.from_numpy(residual.copy()).requires_grad_())
        out = out + theirs[-1]
    (torch.relu(out) if activation else out).backward(torch.from_numpy(g))
    mine = fastml.batch_norm_backward(
        g, x, mean, variance, weight, bias, training=training, activation=activation, residual=residual,
        backend=backend,
    )  # fmt: skip
    for gradient, other in zip(mine, theirs, strict=False):
        np.testing.assert_allclose(gradient, other.grad.numpy(), rtol=1e-11, atol=1e-12)


@EVERYWHERE
@VARIANTS
@TRAINING
def test_finite_differences(training, activation, added, backend):
    """Central differences of sum(g * batch_norm): h^2 of error, plus rounding over h. No y is near 0."""
    g, x, mean, variance, weight, bias, residual = problem((3, 2, 2, 3), np.float64)
    arrays = {"x": x, "weight": weight, "bias": bias} | ({"residual": residual} if added else {})

    def forward(**changes):
        options = {"training": training, "eps": 0.1, "activation": activation}
        if not training:
            options |= {"running_mean": mean, "running_var": variance}
        return fastml.batch_norm(**{**arrays, **changes}, **options)

    y = forward()
    assert abs(y[y != 0]).min() > 1e-3
    gradients = fastml.batch_norm_backward(
        g, **arrays, mean=mean, variance=variance, training=training, eps=0.1, activation=activation, backend=backend
    )
    for name, array in arrays.items():
        gradient = getattr(gradients, f"grad_{name}")
        for position in np.ndindex(array.shape):
            sides = []
            for step in (1e-5, -1e-5):
                moved = array.copy()
                moved[position] += step
                sides.append((g * forward(**{name: moved})).sum())
            np.testing.assert_allclose(gradient[position], (sides[0] - sides[1]) / 2e-5, rtol=1e-7, atol=1e-8)


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("shape", [(6, 1), (1, 1, 2, 3), (6, 1, 1, 1)])
@pytest.mark.parametrize("added", [False, True])
def test_relu_lets_through_what_is_positive_or_nan(dtype, shape, added, backend):
    x = np.array([-1, 0, 1, np.nan, -0.0, np.inf], dtype).reshape(shape)
    g = np.arange(1, 7).astype(dtype).reshape(shape)
    residual = np.zeros(shape, dtype) if added else None
    result = fastml.batch_norm_backward(
        g, x, 0.0, 1.0, training=False, eps=0.0, activation="relu", residual=residual, backend=backend
    )
    np.testing.assert_array_equal(result.grad_x.ravel(), [0, 0, 3, 4, 0, 6])
    np.testing.assert_array_equal(result.grad_bias, [13])
    if added:
        np.testing.assert_array_equal(result.grad_residual.ravel(), [0, 0, 3, 4, 0, 6])


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("shape", [(64, 3), (4, 3, 4, 4)])
def test_whole_numbers(dtype, shape, backend):
    """Values 1 and -1, as many of both: z is x, and sums over 64 values and their means are exact."""
    signs = np.repeat([1.0, -1.0], 32)
    x = np.stack([random.permutation(signs) for _ in range(3)])  # (channels, values)
    g = random.integers(-9, 9, x.shape)
    order = (lambda a: a.T) if len(shape) == 2 else (lambda a: a.reshape(3, 4, 4, 4).transpose(1, 0, 2, 3))
    result = fastml.batch_norm_backward(
        order(g).astype(dtype), order(x).astype(dtype), np.zeros(3), np.ones(3), [2, 1, 4], eps=0.0, backend=backend
    )
    total, products = g.sum(1), (g * x).sum(1)
    np.testing.assert_array_equal(result.grad_bias, total)
    np.testing.assert_array_equal(result.grad_weight, products)
    expected = np.array([[2], [1], [4]]) * (g - total[:, np.newaxis] / 64 - x * products[:, np.newaxis] / 64)
    np.testing.assert_array_equal(result.grad_x, order(expected))


@EVERYWHERE
def test_the_gradient_of_a_batch_is_orthogonal_to_it(backend):
    """A training step sees no shift and no scale of x: grad_x has no sum, and no product with x."""
    g, x, mean, variance, *_ = problem((50, 4), np.float64)
    grad_x = fastml.batch_norm_backward(g, x, mean, variance, eps=0.0, backend=backend).grad_x
    assert (abs(grad_x.sum(0)) <= 200 * EPS * abs(grad_x).sum(0)).all()
    assert (abs((grad_x * x).sum(0)) <= 200 * EPS * abs(grad_x * x).sum(0)).all()


@EVERYWHERE
@DTYPES
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(50, 4), (3, 4, 5, 7)])
@TRAINING
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite_stays_in_its_channel(dtype, value, shape, training, backend):
    g, x, mean, variance, weight, bias, _ = problem(shape, dtype)
    g[0, 2] = value
    result = fastml.batch_norm_backward(g, x, mean, variance, weight, bias, training=training, backend=backend)
    assert not np.isfinite(result.grad_x[0, 2]).any() and not np.isfinite(result.grad_bias[2])
    for array, axis in ((result.grad_x, 1), (result.grad_weight, 0), (result.grad_bias, 0)):
        assert np.isfinite(np.delete(array, 2, axis)).all()
    if not training:  # only then do values of a channel not see each other
        assert np.isfinite(result.grad_x[1:]).all()


def test_weight_and_bias_are_optional():
    g, x, mean, variance, *_ = problem((5, 3), np.float64)
    without = fastml.batch_norm_backward(g, x, mean, variance, activation="relu")
    ones = fastml.batch_norm_backward(g, x, mean, variance, np.ones(3), np.zeros(3), activation="relu")
    for mine, other in zip(without[:3], ones[:3], strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 5)])
def test_an_empty_batch(shape):
    result = fastml.batch_norm_backward(np.empty(shape), np.empty(shape), np.zeros(3), np.ones(3), training=False)
    assert result.grad_x.shape == shape
    np.testing.assert_array_equal([result.grad_weight, result.grad_bias], np.zeros((2, 3)))


def test_gradients_have_names():
    g, x, mean, variance, *_ = problem((5, 3), np.float64)
    result = fastml.batch_norm_backward(g, x, mean, variance)
    assert isinstance(result, fastml.BatchNormGradients)
    assert result._fields == ("grad_x", "grad_weight", "grad_bias", "grad_residual")


@pytest.mark.parametrize("backend", ("cython", "numba"))
@pytest.mark.parametrize("third", [0, 1 / 3])  # which no float32 is
@DTYPES
def test_an_infinite_gradient_is_infinite_in_the_weight(dtype, third, backend):
    x, grad = np.array([[1.0], [3.0], [5.0 + third]], dtype), np.array([[np.inf], [1.0], [1.0]], dtype)
    _, mean, variance = fastml.batch_norm(x, training=True, return_stats=True)
    result = fastml.batch_norm_backward(grad, x, mean, variance, backend=backend)
    assert result.grad_weight == -np.inf
    np.testing.assert_array_equal(result.grad_x, [[np.nan], [-np.inf if third else np.nan], [np.nan]])
