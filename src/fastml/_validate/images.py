"""Arguments of operations on images: batch_norm and its gradient, fold_batch_norm; and what all of them share.

A batch is (n, channels, h, w); one image is (channels, h, w) and gives a result of three dimensions.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastml._validate.arrays import (
    FLOAT64,
    Array,
    dimensions,
    like,
    output,
    ready,
    real,
    size_fits,
    vector64,
)
from fastml._validate.numbers import choice, flag, number


class BatchNorm(NamedTuple):
    x: Array
    weight: Array
    bias: Array
    residual: Array
    eps: float
    training: bool
    relu: bool
    mean: Array
    variance: Array
    out: Array

    @property
    def work(self) -> float:
        return float(self.x.size)


class BatchNormBackward(NamedTuple):
    grad_out: Array
    x: Array
    weight: Array
    bias: Array
    residual: Array
    mean: Array
    variance: Array
    eps: float
    training: bool
    relu: bool
    grad_x: Array
    grad_weight: Array
    grad_bias: Array
    grad_residual: Array

    @property
    def work(self) -> float:
        return 2 * float(self.x.size)


def as_images(value: Any, name: str) -> tuple[Array, Array]:
    """The user's array, and the same as a batch that a kernel can read."""
    array = real(value, name)
    dimensions(array, name, (3, 4), "a batch (n, channels, h, w) or an image (channels, h, w)")
    if 0 in array.shape[-3:]:
        raise ValueError(f"{name} must have at least one channel, row and column, got shape {array.shape}")
    return array, as_batch(ready(array, name))


def as_batch(array: Array) -> Array:
    return array if array.ndim == 4 else array[np.newaxis]


def is_relu(activation: Any) -> bool:
    return bool(choice(activation, "activation", (None, "relu")) == "relu")


_ABSENT = {dtype().itemsize: np.empty((0, 0, 0), dtype) for dtype in (np.float32, np.float64)}  # no residual


def _channels_of(x: Any) -> Array:
    array = real(x, "x")
    dimensions(array, "x", (2, 4), "(n, channels) or (n, channels, h, w)")
    if 0 in array.shape[1:]:
        raise ValueError(f"x must have at least one channel and value, got shape {array.shape}")
    size_fits((array.shape[1], 4), 8, "the statistics of x")
    return array


def _flat(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(n, channels, pixels)"""
    return shape[0], shape[1], math.prod(shape[2:])


def _enough_values(array: Array) -> None:
    if array.size // array.shape[1] < 2:
        raise ValueError(f"x must have more than one value for each channel when training, got shape {array.shape}")


def _vector(value: Any, name: str, channels: int, default: float | None = None) -> Array:
    """`vector64`, by the short way where there is nothing to broadcast: a layer has four of them."""
    if type(value) is np.ndarray and value.shape == (channels,) and value.dtype.char in "fd":
        return value.astype(FLOAT64)
    return vector64(value, name, channels, default)


def batch_norm(
    x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None, *,
    training: Any = False, momentum: Any = 0.1, eps: Any = 1e-5, activation: Any = None, residual: Any = None,
    return_stats: Any = False, num_batches_tracked: Any = None, out: Any = None,
) -> tuple[BatchNorm, Array]:
    array = _channels_of(x)
    channels = array.shape[1]
    training = flag(training, "training")
    flag(return_stats, "return_stats")
    if momentum is not None:
        number(momentum, "momentum", 0, 1)
    eps, relu = number(eps, "eps", 0), is_relu(activation)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must be given together")
    if training:
        _enough_values(array)
        mean, variance = np.empty(channels), np.empty(channels)
    elif running_mean is None:
        raise ValueError("running_mean and running_var must be given unless training")
    else:
        mean = _vector(running_mean, "running_mean", channels)
        variance = _vector(running_var, "running_var", channels)
    flat = _flat(array.shape)
    added, inputs = _ABSENT[array.dtype.itemsize], {"x": array}
    if residual is not None:
        inputs["residual"] = like(residual, "residual", array, array.shape, other_name="x")
        added = inputs["residual"].reshape(flat)
    scale, shift = _vector(weight, "weight", channels, 1.0), _vector(bias, "bias", channels, 0.0)
    result = output(out, array.shape, array.dtype, inputs, in_place=("x", "residual"))
    if training and running_mean is not None:
        written = inputs if out is None else {**inputs, "out": result}
        _running(running_mean, running_var, num_batches_tracked, momentum, channels, written)
    elif num_batches_tracked is not None:
        _counter(num_batches_tracked)
    batch = ready(array, "x").reshape(flat)
    plain = np.asarray(result).reshape(flat)
    return BatchNorm(batch, scale, shift, added, eps, training, relu, mean, variance, plain), result


def _running(mean: Any, var: Any, batches: Any, momentum: Any, channels: int, others: dict[str, Array]) -> None:
    """Running statistics that training can update in place, and the count of batches where it is given or needed."""
    for name, running in (("running_mean", mean), ("running_var", var)):
        _array_to_update(running, name)
        real(running, name)
        if running.shape != (channels,):
            raise ValueError(f"{name} must have shape ({channels},), got {running.shape}")
    _may_be_written(mean, "running_mean", {**others, "running_var": var})
    _may_be_written(var, "running_var", others)
    if batches is not None:
        _counter(batches)
        if not 0 <= batches.item() < np.iinfo(batches.dtype).max:
            raise ValueError(f"num_batches_tracked must be a count that can grow, got {batches.item()}")
        _may_be_written(batches, "num_batches_tracked", {**others, "running_mean": mean, "running_var": var})
    elif momentum is None:
        raise ValueError("num_batches_tracked must be given when momentum is None: a batch has the share 1 / its count")


def _counter(batches: Any) -> None:
    _array_to_update(batches, "num_batches_tracked")
    if batches.dtype.kind not in "iu":
        raise TypeError(f"num_batches_tracked must be of integers, got {batches.dtype}")
    if batches.shape not in ((), (1,)):
        raise ValueError(f"num_batches_tracked must have shape () or (1,), got {batches.shape}")


def _array_to_update(value: Any, name: str) -> None:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, as training updates it in place; got {type(value).__name__}")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array: a masked array's mask would be lost")


def _may_be_written(array: Array, name: str, others: dict[str, Array]) -> None:
    if not array.flags.writeable:
        raise ValueError(f"{name} must be writeable, as training updates it in place")
    for other, value in others.items():
        if np.may_share_memory(array, value):
            raise ValueError(f"{name} may not share memory with {other}")


def batch_norm_backward(
    grad_out: Any, x: Any, mean: Any, variance: Any, weight: Any = None, bias: Any = None, *, training: Any = True,
    eps: Any = 1e-5, activation: Any = None, residual: Any = None,
) -> tuple[BatchNormBackward, tuple[int, ...]]:
    """The problem, and the shape of x."""
    array = _channels_of(x)
    channels, shape, flat = array.shape[1], array.shape, _flat(array.shape)
    gradient = like(grad_out, "grad_out", array, shape, other_name="x")
    if flag(training, "training"):
        _enough_values(array)
    eps, relu = number(eps, "eps", 0), is_relu(activation)
    added = grad_added = _ABSENT[array.dtype.itemsize]
    if residual is not None:
        added = like(residual, "residual", array, shape, other_name="x").reshape(flat)
        grad_added = np.empty(flat, added.dtype)
    for name, value in (("mean", mean), ("variance", variance)):
        if value is None:
            raise TypeError(f"{name} must be float32 or float64, as batch_norm returned it; got None")
    grad_x = output(None, flat, array.dtype, {}, name="the gradient of x")
    return BatchNormBackward(
        gradient.reshape(flat), ready(array, "x").reshape(flat), _vector(weight, "weight", channels, 1.0),
        _vector(bias, "bias", channels, 0.0), added, _vector(mean, "mean", channels),
        _vector(variance, "variance", channels), eps, training, relu, grad_x, np.zeros(channels), np.zeros(channels),
        grad_added,
    ), shape  # fmt: skip


class Folding(NamedTuple):
    """A layer, and the batch norm behind it, in float64 but for the weight."""

    weight: Array
    bias: Array
    mean: Array
    variance: Array
    factor: Array
    offset: Array
    eps: float


def fold_batch_norm(
    weight: Any, bias: Any, running_mean: Any, running_var: Any, bn_weight: Any = None, bn_bias: Any = None, *,
    eps: Any = 1e-5,
) -> Folding:
    array = real(weight, "weight")
    dimensions(array, "weight", (2, 4), "(outputs, inputs) or (outputs, channels, kernel_h, kernel_w)")
    outputs = array.shape[0]
    size_fits(array.shape, 2 * 8, "weight")
    for name, value in (("running_mean", running_mean), ("running_var", running_var)):
        if value is None:
            raise TypeError(f"{name} must be float32 or float64, got None")
    return Folding(
        array, _vector(bias, "bias", outputs, 0.0), _vector(running_mean, "running_mean", outputs),
        _vector(running_var, "running_var", outputs), _vector(bn_weight, "bn_weight", outputs, 1.0),
        _vector(bn_bias, "bn_bias", outputs, 0.0), number(eps, "eps", 0),
    )  # fmt: skip
