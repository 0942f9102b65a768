"""fold_batch_norm: a convolution or a linear layer with the batch norm behind it, in one."""

import numpy as np
import pytest

import fastml

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
STATISTICS = {"running_mean": np.zeros(3), "running_var": np.ones(3)}


def vectors(outputs, dtype=np.float64):
    """bias, running mean and variance, weight and bias of the batch norm."""
    made = [random.normal(size=outputs) for _ in range(4)]
    return [v.astype(dtype) for v in (*made[:2], random.uniform(0.5, 2, outputs), *made[2:])]


def exact(weight, bias, mean, var, bn_weight, bn_bias, eps=1e-5):
    """In extended precision."""
    arrays = [np.asarray(v, np.longdouble) for v in (weight, bias, mean, var, bn_weight, bn_bias)]
    weight, bias, mean, var, bn_weight, bn_bias = arrays
    factor = bn_weight / np.sqrt(var + eps)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + bn_bias


@DTYPES
@pytest.mark.parametrize("shape", [(5, 4, 3, 3), (6, 1, 3, 2), (1, 1, 1, 1), (7, 4)])
def test_values_are_rounded_once(dtype, shape):
    weight, others = random.normal(size=shape).astype(dtype), vectors(shape[0], dtype)
    folded, bias = fastml.fold_batch_norm(weight, *others)
    assert folded.dtype == bias.dtype == dtype and folded.flags.c_contiguous
    expected, (bias64, mean, var, *bn) = exact(weight, *others), others
    few, rounding = 5 * np.finfo(np.float64).eps, np.finfo(dtype).eps / 2
    assert (abs(folded - expected[0]) <= (few + rounding) * abs(expected[0])).all()
    _, terms = exact(weight, abs(bias64), -abs(mean), var, *map(abs, bn))
    assert (abs(bias - expected[1]) <= few * terms + rounding * abs(expected[1])).all()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_one_convolution_does_both(groups):
    x, weight = random.normal(size=(2, 4, 7, 8)), random.normal(size=(8, 4 // groups, 3, 3))
    bias, mean, var, bn_weight, bn_bias = vectors(8)
    options = {"stride": 2, "padding": 1, "groups": groups}
    for given in (bias, None):
        both = fastml.batch_norm(fastml.conv2d(x, weight, given, **options), mean, var, bn_weight, bn_bias)
        one = fastml.conv2d(x, *fastml.fold_batch_norm(weight, given, mean, var, bn_weight, bn_bias), **options)
        np.testing.assert_allclose(one, both, rtol=0, atol=1e-13)


def test_one_linear_layer_does_both():
    x, weight = random.normal(size=(9, 5)), random.normal(size=(3, 5))
    bias, mean, var, bn_weight, bn_bias = vectors(3)
    both = fastml.batch_norm(x @ weight.T + bias, mean, var, bn_weight, bn_bias, eps=0.1)
    folded, offset = fastml.fold_batch_norm(weight, bias, mean, var, bn_weight, bn_bias, eps=0.1)
    np.testing.assert_allclose(x @ folded.T + offset, both, rtol=0, atol=1e-14)


def test_what_is_left_out():
    weight, (_, mean, var, _, _) = random.normal(size=(3, 5)), vectors(3)
    explicit = fastml.fold_batch_norm(weight, np.zeros(3), mean, var, np.ones(3), np.zeros(3))
    for mine, other in zip(fastml.fold_batch_norm(weight, None, mean, var), explicit, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_pytorch_agrees():
    torch = pytest.importorskip("torch")
    weight, (bias, mean, var, bn_weight, bn_bias) = random.normal(size=(5, 4, 3, 3)), vectors(5)
    theirs = torch.nn.utils.fusion.fuse_conv_bn_weights(
        *map(torch.from_numpy, (weight, bias, mean, var)), 1e-3, *map(torch.from_numpy, (bn_weight, bn_bias))
    )
    mine = fastml.fold_batch_norm(weight, bias, mean, var, bn_weight, bn_bias, eps=1e-3)
    for array, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(array, other.detach().numpy(), rtol=1e-13, atol=1e-14)


def test_a_channel_without_variance():
    """As batch_norm: infinite, and nothing is said about it."""
    weight, bias = fastml.fold_batch_norm(np.ones((2, 1)), None, [0.0, 1.0], [0.0, 1.0], eps=0.0)
    np.testing.assert_array_equal(weight, [[np.inf], [1]])
    assert np.isnan(bias[0]) and bias[1] == -1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"weight": np.ones(3)}, ValueError, "weight must be .outputs, inputs. or .*, got 1 dimensions"),
        ({"weight": np.ones((3, 2, 2))}, ValueError, "weight must be .*, got 3 dimensions"),
        ({"weight": np.ones((3, 2), int)}, TypeError, "weight must be float32 or float64, got int64"),
        ({"weight": None}, TypeError, "weight must be float32"),
        ({"running_mean": None}, TypeError, "running_mean must be float32 or float64, got None"),
        ({"running_var": None}, TypeError, "running_var must be float32 or float64, got None"),
        *(
            ({name: np.ones(4)}, ValueError, rf"{name} must have shape \(3,\), got \(4,\)")
            for name in ("bias", "running_mean", "running_var", "bn_weight", "bn_bias")
        ),
        *(
            ({name: np.ones(3, complex)}, TypeError, f"{name} must be float32 or float64, got complex128")
            for name in ("bias", "running_mean", "running_var", "bn_weight", "bn_bias")
        ),
        ({"eps": -1}, ValueError, "eps must be a finite number from 0"),
        ({"eps": None}, TypeError, "eps must be a number, got NoneType"),
        (
            {"weight": np.lib.stride_tricks.as_strided(np.zeros(1), (3, 2**50), (0, 0))},
            ValueError,
            "weight of shape .* takes .* bytes",
        ),
    ],
)
def test_what_is_refused(changes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        fastml.fold_batch_norm(**({"weight": np.ones((3, 2)), "bias": None, **STATISTICS} | changes))
