"""batch_norm against the formula in extended precision, and PyTorch's rules for the running statistics."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = pytest.mark.parametrize(
    "shape", [(7, 3), (300, 67), (2, 3, 4, 5), (1, 2, 33, 32), (5, 4, 1, 1), (3, 1, 1, 50)]
)
EPS = np.finfo(np.float64).eps


def columns(vector, x):
    """A value for each channel, to broadcast against x."""
    return np.asarray(vector, np.longdouble).reshape(-1, *[1] * (x.ndim - 2))


def statistics(x):
    axes = (0, 2, 3)[: x.ndim - 1]
    x = x.astype(np.longdouble)
    return x.mean(axes), x.var(axes)


def plain(x, mean, variance, weight=1.0, bias=0.0, eps=1e-5):
    scale = columns(weight, x) / np.sqrt(columns(variance, x) + eps)
    return (x.astype(np.longdouble) - columns(mean, x)) * scale + columns(bias, x)


def vectors(channels, dtype=np.float64):
    """Running mean and variance, weight, bias."""
    made = random.normal(size=channels), random.uniform(0.5, 2, channels), random.normal(size=channels)
    return *(v.astype(dtype) for v in made), random.normal(size=channels).astype(dtype)


def close(y, expected, units=16):
    error = units * np.finfo(y.dtype).eps
    np.testing.assert_allclose(y, np.asarray(expected, np.float64), rtol=error, atol=error)


@DTYPES
@SHAPES
def test_inference(dtype, shape):
    x = random.normal(1, 2, shape).astype(dtype)
    mean, var, weight, bias = vectors(shape[1], dtype)
    copies = mean.copy(), var.copy()
    y, used_mean, used_var = fastml.batch_norm(x, mean, var, weight, bias, return_stats=True)
    assert y.dtype == dtype and y.shape == shape
    close(y, plain(x, mean, var, weight, bias))
    close(fastml.batch_norm(x, mean, var, eps=0.5), plain(x, mean, var, eps=0.5))
    for array, copy, used in zip((mean, var), copies, (used_mean, used_var), strict=True):
        np.testing.assert_array_equal(array, copy)
        np.testing.assert_array_equal(used, copy.astype(np.float64))


@DTYPES
@SHAPES
def test_training(dtype, shape):
    x = random.normal(1, 2, shape).astype(dtype)
    running_mean, running_var, weight, bias = vectors(shape[1], dtype)
    mean, variance = statistics(x)
    n = x.size // shape[1]
    expected_mean = 0.7 * running_mean.astype(np.float64) + 0.3 * mean
    expected_var = 0.7 * running_var.astype(np.float64) + 0.3 * variance * n / (n - 1)
    y, used_mean, used_var = fastml.batch_norm(
        x, running_mean, running_var, weight, bias, training=True, momentum=0.3, return_stats=True
    )
    close(y, plain(x, mean, variance, weight, bias))
    assert used_mean.dtype == used_var.dtype == np.float64
    close(used_mean, mean)
    close(used_var, variance)
    assert running_mean.dtype == dtype
    close(running_mean, expected_mean, 2 if dtype == np.float32 else 16)
    close(running_var, expected_var, 2 if dtype == np.float32 else 16)


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(2, 40), st.integers(1, 70), st.integers(1, 3), st.integers(1, 9), st.booleans())
def test_any_shape(n, channels, h, w, matrix):
    x = np.random.default_rng(n).normal(1, 2, (n, channels) if matrix else (n, channels, h, w))
    close(fastml.batch_norm(x, training=True, eps=0.1), plain(x, *statistics(x), eps=0.1), 64)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    x = random.normal(1, 2, (4, 3, 5, 6))
    mine = vectors(3)
    theirs = [torch.from_numpy(v.copy()) for v in mine]
    for training in (True, False):
        y = fastml.batch_norm(x, *mine, training=training, momentum=0.2)
        other = torch.nn.functional.batch_norm(torch.from_numpy(x), *theirs, training=training, momentum=0.2)
        np.testing.assert_allclose(y, other.numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(mine[0], theirs[0].numpy(), rtol=1e-13)
        np.testing.assert_allclose(mine[1], theirs[1].numpy(), rtol=1e-13)


def test_running_statistics_that_overflow_are_infinite_in_silence():
    mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    fastml.batch_norm(np.array([[1e30, 1e150], [-1e30, -1e150]]), mean, var, training=True)
    np.testing.assert_array_equal(mean, [0, 0])
    np.testing.assert_array_equal(var, [np.inf, np.inf])


@pytest.mark.parametrize("momentum", [0, 0.0, 1, 1.0, np.float32(0.5), np.float64(0.25)])
def test_momentum(momentum):
    x = random.normal(size=(9, 3))
    running = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    before = [array.copy() for array in running]
    fastml.batch_norm(x, *running, training=True, momentum=momentum)
    for array, old, new in zip(running, before, (x.mean(0), x.var(0, ddof=1)), strict=True):
        np.testing.assert_allclose(array, (1 - momentum) * old + momentum * new, rtol=0, atol=1e-14)
    if momentum == 0:
        np.testing.assert_array_equal(running, before)


def test_a_momentum_that_is_a_fraction():
    running = np.zeros(1), np.ones(1)
    fastml.batch_norm(np.array([[1.0], [3.0]]), *running, training=True, momentum=Fraction(1, 2))
    np.testing.assert_array_equal(running, [[1], [1.5]])


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_running_arrays_of_any_layout_are_updated_in_place(dtype):
    x = random.normal(size=(9, 3)).astype(np.float32)
    storage = np.zeros((2, 3, 2), dtype)
    fastml.batch_norm(x, storage[0, ::-1, 1], storage[1, :, 1], training=True, momentum=1)
    np.testing.assert_allclose(storage[0, ::-1, 1], x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(storage[1, :, 1], x.var(0, ddof=1, dtype=np.float64), rtol=1e-6)
    assert (storage[..., 0] == 0).all()


@pytest.mark.parametrize("shape", [(2000, 3), (4, 3, 20, 25)])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("training", [False, True])
def test_float32_is_rounded_once_at_any_offset(shape, offset, training):
    """Within 2 ulp of y, or of the y that is as small as the error of a float64 mean: its value times eps."""
    x = random.normal(offset, 1, shape).astype(np.float32)
    mean, variance = statistics(x)
    given = () if training else (mean.astype(np.float64), variance.astype(np.float64))
    y = fastml.batch_norm(x, *given, training=training, eps=0.0)
    expected = plain(x, mean, variance, eps=0.0)
    floor = offset * EPS / np.finfo(np.float32).eps
    ulp = np.spacing(np.maximum(np.abs(expected), floor).astype(np.float32))
    assert y.dtype == np.float32 and (np.abs(y - expected) <= 2 * ulp).all()


@DTYPES
@SHAPES
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("target", ["x", "residual"])
def test_in_place(dtype, shape, training, target):
    arrays = {"x": random.normal(size=shape).astype(dtype), "residual": random.normal(size=shape).astype(dtype)}
    mean, var, weight, bias = vectors(shape[1])

    def call(**options):
        return fastml.batch_norm(
            **arrays, running_mean=mean.copy(), running_var=var.copy(), weight=weight, bias=bias,
            training=training, activation="relu", **options,
        )  # fmt: skip

    expected = call()
    assert call(out=arrays[target]) is arrays[target]
    np.testing.assert_array_equal(arrays[target], expected)


@DTYPES
@SHAPES
def test_residual_then_relu(dtype, shape):
    x, residual = random.normal(size=(2, *shape)).astype(dtype)
    expected = plain(x, *statistics(x)) + residual
    close(fastml.batch_norm(x, training=True, residual=residual), expected, 64)
    relu = fastml.batch_norm(x, training=True, residual=residual, activation="relu")
    close(relu, np.maximum(expected, 0), 64)
    assert (relu[expected < -1e-3] == 0).all() and (relu >= 0).all()


@DTYPES
def test_out_is_filled_and_returned(dtype):
    x, out = random.normal(size=(4, 3)).astype(dtype), np.full((4, 3), np.nan, dtype)
    assert fastml.batch_norm(x, training=True, out=out) is out
    np.testing.assert_array_equal(out, fastml.batch_norm(x, training=True))
    y, _, _ = fastml.batch_norm(x, training=True, out=out, return_stats=True)
    assert y is out


@DTYPES
@pytest.mark.parametrize("shape", [(50, 4), (3, 4, 5, 7)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("training", [False, True])
def test_what_is_not_finite_stays_in_its_channel(dtype, shape, value, training):
    x = random.normal(size=shape).astype(dtype)
    x[0, 2] = value
    y, mean, var = fastml.batch_norm(x, np.zeros(4), np.ones(4), training=training, return_stats=True)
    if training:
        assert np.isnan(y[:, 2]).all() and np.isnan(var[2])
        np.testing.assert_array_equal(mean[2], value)
    else:
        np.testing.assert_array_equal(y[0, 2], np.broadcast_to(value, shape[2:]))
        assert np.isfinite(y[1:]).all()
    assert np.isfinite(np.delete(y, 2, axis=1)).all() and np.isfinite(np.delete(mean, 2)).all()


@pytest.mark.parametrize("backend", ["cython", "numba", "numpy"])
@DTYPES
@pytest.mark.parametrize("name", ["running_mean", "weight"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_mean_or_weight_that_is_not_finite_gives_what_the_formula_gives(backend, dtype, name, value):
    x = random.normal(size=(20, 4)).astype(dtype)
    given = {"running_mean": np.full(4, 0.1), "running_var": np.ones(4), "weight": np.full(4, 0.7), "bias": np.ones(4)}
    given[name][1] = value
    mean, var, weight, bias = given.values()
    right = (x.astype(np.float64) - mean) / np.sqrt(var + 1e-5) * weight + bias
    np.testing.assert_allclose(fastml.batch_norm(x, **given, backend=backend), right, rtol=1e-5, atol=1e-6)
    assert not np.isfinite(right[:, 1]).any()


@DTYPES
def test_relu_keeps_nan(dtype):
    x = np.array([[np.nan], [-1.0]], dtype)
    np.testing.assert_array_equal(fastml.batch_norm(x, 0.0, 1.0, eps=0.0, activation="relu"), [[np.nan], [0]])


def test_one_value_has_no_variance():
    for shape in ((1, 3), (1, 3, 1, 1)):
        with pytest.raises(ValueError, match="x must have more than one value"):
            fastml.batch_norm(np.ones(shape), training=True)
        assert (fastml.batch_norm(np.ones(shape), np.ones(3), np.ones(3)) == 0).all()


@DTYPES
@pytest.mark.parametrize("value", [0.0, 14.62, -1e6])
def test_constant_channels_give_the_bias(dtype, value):
    x = np.full((300, 2, 1, 3), value, dtype)
    y = fastml.batch_norm(x, bias=[1, 2], training=True)
    error = 900 * EPS * (abs(value) / np.sqrt(1e-5) + 1)  # that of a sum of 900 values
    assert (np.abs(y - [[[[1]], [[2]]]]) <= error).all()


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 5)])
def test_an_empty_batch(shape):
    assert fastml.batch_norm(np.empty(shape), np.zeros(3), np.ones(3)).shape == shape


@pytest.mark.parametrize("other", ["x", "out", "residual", "running_var"])
def test_running_arrays_must_not_share_memory(other):
    """They are written to after the output, so that it, or an input, would silently change."""
    arrays = {name: random.normal(size=(4, 3)) for name in ("x", "out", "residual")}
    arrays |= {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    arrays["running_mean"] = arrays[other][0] if other != "running_var" else arrays[other]
    before = {name: array.copy() for name, array in arrays.items()}
    with pytest.raises(ValueError, match=r"running_mean|running_var"):
        fastml.batch_norm(**arrays, training=True)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_statistics_are_optional_when_training():
    x = random.normal(size=(6, 2))
    np.testing.assert_array_equal(
        fastml.batch_norm(x, training=True), fastml.batch_norm(x, np.zeros(2), np.ones(2), training=True)
    )


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("dtype", ["i8", "i4", "u1", ">i8"])
def test_momentum_none_averages_all_batches(shape, dtype):
    """As torch.nn.BatchNorm2d(momentum=None): the first batch replaces what was there, every batch counts the same."""
    mean, var, batches = np.full(3, 7.0), np.full(3, 7.0), np.zeros(shape, dtype)
    x = random.normal(size=(6, 4, 3, 2, 5)) * np.arange(1, 7).reshape(6, 1, 1, 1, 1)
    for count, batch in enumerate(x, 1):
        fastml.batch_norm(batch, mean, var, training=True, momentum=None, num_batches_tracked=batches)
        assert batches.item() == count and batches.dtype == dtype and batches.shape == shape
        np.testing.assert_allclose(mean, x[:count].mean(axis=(1, 3, 4)).mean(axis=0), rtol=0, atol=1e-13)
        np.testing.assert_allclose(var, x[:count].var(axis=(1, 3, 4), ddof=0).mean(0) * 40 / 39, rtol=0, atol=1e-12)


@pytest.mark.parametrize("momentum", [None, 0.25])
def test_pytorch_modules_count_batches(momentum):
    torch = pytest.importorskip("torch")
    module = torch.nn.BatchNorm2d(3, momentum=momentum, affine=False, dtype=torch.float64)
    state = np.zeros(3), np.ones(3)
    batches = np.array(0)
    for batch in random.normal(2, 3, (5, 4, 3, 5, 6)):
        y = fastml.batch_norm(batch, *state, training=True, momentum=momentum, num_batches_tracked=batches)
        np.testing.assert_allclose(y, module(torch.from_numpy(batch)).numpy(), rtol=0, atol=1e-12)
        np.testing.assert_allclose(state[0], module.running_mean.numpy(), rtol=1e-13)
        np.testing.assert_allclose(state[1], module.running_var.numpy(), rtol=1e-13)
        assert batches == module.num_batches_tracked.item()


def test_batches_are_counted_when_running_statistics_are_updated_and_only_then():
    x, state, batches = random.normal(size=(6, 2)), (np.zeros(2), np.ones(2)), np.array([5])
    fastml.batch_norm(x, *state, num_batches_tracked=batches)
    fastml.batch_norm(x, *state, momentum=None, num_batches_tracked=batches)
    fastml.batch_norm(x, training=True, momentum=None)
    fastml.batch_norm(x, training=True, momentum=None, num_batches_tracked=batches)
    for wrong in ({"backend": "gpu"}, {"n_threads": 0}, {"eps": -1}, {"residual": x[:1]}):
        with pytest.raises(ValueError):
            fastml.batch_norm(x, *state, training=True, num_batches_tracked=batches, **wrong)
    assert batches == 5
    np.testing.assert_array_equal(state, ([0, 0], [1, 1]))
    fastml.batch_norm(x, *state, training=True, momentum=0, num_batches_tracked=batches)
    assert batches == 6


@pytest.mark.parametrize("other", ["x", "out", "residual", "running_mean", "running_var"])
def test_the_count_must_not_share_memory(other):
    arrays = {name: random.normal(size=(4, 3)) for name in ("x", "out", "residual")}
    arrays |= {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    batches = arrays[other].reshape(-1)[2:3].view(np.int64)
    batches[:] = 1
    with pytest.raises(ValueError, match=f"^num_batches_tracked may not share memory with {other}"):
        fastml.batch_norm(**arrays, training=True, num_batches_tracked=batches)


def test_infinite_running_statistics_follow_the_formula_in_silence():
    mean, var = np.array([np.inf, 1.0], np.float32), np.array([np.inf, 1.0], np.float32)
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastml.batch_norm(x, mean, var, training=True, momentum=1)
    np.testing.assert_array_equal(mean, [np.nan, 3])
    np.testing.assert_array_equal(var, [np.nan, 2])


def test_statistics_that_no_machine_can_hold_are_refused():
    with pytest.raises(ValueError, match="statistics of x"):
        fastml.batch_norm(np.broadcast_to(np.float32(1), (2, 2**50)), training=True)
