"""Arguments of the operations on images: conv2d, max_pool2d, avg_pool2d, batch_norm.

A batch is (n, channels, h, w); one image is (channels, h, w) and gives a result of three dimensions.
"""

from typing import Any, NamedTuple

import numpy as np

from fastml._validate import windows
from fastml._validate.arrays import Array, dimensions, like, output, ready, real, same_dtype, size_fits, vector64
from fastml._validate.numbers import choice, flag, integer, number


class Conv2d(NamedTuple):
    x: Array
    weight: Array
    bias: Array
    residual: Array
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    groups: int
    relu: bool
    out: Array

    @property
    def work(self) -> float:
        return float(self.out.size) * float(self.weight[0].size)


class MaxPool2d(NamedTuple):
    x: Array
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    out: Array
    indices: Array

    @property
    def work(self) -> float:
        return float(self.out.size) * self.kernel_h * self.kernel_w


class AvgPool2d(NamedTuple):
    x: Array
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    rows: Array
    columns: Array
    out: Array

    @property
    def work(self) -> float:
        return float(self.out.size) * self.kernel_h * self.kernel_w


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


def _images(x: Any) -> tuple[Array, Array]:
    """The user's array, and the same as a batch that a kernel can read."""
    array = real(x, "x")
    dimensions(array, "x", (3, 4), "a batch (n, channels, h, w) or an image (channels, h, w)")
    if 0 in array.shape[-3:]:
        raise ValueError(f"x must have at least one channel, row and column, got shape {array.shape}")
    return array, _batch(ready(array, "x"))


def _batch(array: Array) -> Array:
    return array if array.ndim == 4 else array[np.newaxis]


def _activation(activation: Any) -> bool:
    return bool(choice(activation, "activation", (None, "relu")) == "relu")


def conv2d(
    x: Any, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    activation: Any = None, residual: Any = None, algorithm: Any = "auto", out: Any = None,
) -> tuple[Conv2d, Array]:
    array, batch = _images(x)
    kernels = real(weight, "weight")
    dimensions(kernels, "weight", (4,), "of shape (outputs, channels / groups, kernel_h, kernel_w)")
    same_dtype(kernels, "weight", array, "x")
    if 0 in kernels.shape:
        raise ValueError(f"weight must not be empty, got shape {kernels.shape}")
    groups = integer(groups, "groups", 1)
    channels, outputs = batch.shape[1], kernels.shape[0]
    if channels != kernels.shape[1] * groups:
        raise ValueError(f"x has {channels} channels, but weight has {kernels.shape[1]} for each of {groups} groups")
    if outputs % groups:
        raise ValueError(f"groups must divide the {outputs} outputs of weight, got {groups}")
    size = (batch.shape[2], batch.shape[3])
    vertical, horizontal = windows.axes(size, kernels.shape[2:], stride, padding, dilation, kernel_name="weight")
    windows.check_padding(vertical)
    windows.check_padding(horizontal)
    relu = _activation(activation)
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, got {type(algorithm).__name__}")
    shape = (*array.shape[:-3], outputs, vertical.out, horizontal.out)
    size_fits(shape, array.itemsize, "the result")
    kernels = ready(kernels, "weight")
    dtype = batch.dtype
    offsets = np.zeros(outputs, dtype) if bias is None else like(bias, "bias", array, (outputs,), other_name="x")
    added = np.empty((0, 0, 0, 0), dtype)
    if residual is not None:
        added = _batch(like(residual, "residual", array, shape, other_name="x"))
    inputs = {"x": array, "weight": kernels, "bias": offsets, "residual": added}
    result = output(out, shape, dtype, inputs)
    return Conv2d(
        batch, kernels, offsets, added, vertical.stride, horizontal.stride, vertical.before, horizontal.before,
        vertical.dilation, horizontal.dilation, groups, relu, _batch(result),
    ), result  # fmt: skip


def _pool(
    x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> tuple[Array, Array, windows.Axis, windows.Axis, tuple[int, ...]]:
    array, batch = _images(x)
    ceil_mode = flag(ceil_mode, "ceil_mode")
    size = (batch.shape[2], batch.shape[3])
    vertical, horizontal = windows.axes(
        size, kernel_size, stride, padding, dilation, pooling=True, ceil_mode=ceil_mode
    )
    shape = (*array.shape[:-2], vertical.out, horizontal.out)
    size_fits(shape, 8, "the result")
    return array, batch.reshape((batch.shape[0] * batch.shape[1], *size)), vertical, horizontal, shape


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: Any = False,
    return_indices: Any = False, out: Any = None,
) -> tuple[MaxPool2d, Array, Array | None]:
    array, planes, vertical, horizontal, shape = _pool(x, kernel_size, stride, padding, dilation, ceil_mode)
    down, across = windows.trim(vertical), windows.trim(horizontal)
    indices = np.empty(shape, np.int64) if flag(return_indices, "return_indices") else None
    result = output(out, shape, array.dtype, {"x": array})
    flat = (planes.shape[0], *shape[-2:])
    return MaxPool2d(
        planes, down.kernel, across.kernel, down.stride, across.stride, down.before, across.before,
        down.dilation, across.dilation, result.reshape(flat),
        np.empty((0, 0, 0), np.int64) if indices is None else indices.reshape(flat),
    ), result, indices  # fmt: skip


def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: Any = False,
    count_include_pad: Any = True, divisor_override: Any = None, out: Any = None,
) -> tuple[AvgPool2d, Array]:
    array, planes, vertical, horizontal, shape = _pool(x, kernel_size, stride, padding, 1, ceil_mode)
    down, across = windows.trim(vertical), windows.trim(horizontal)
    include = flag(count_include_pad, "count_include_pad")
    rows, columns = windows.divisors(vertical, include), windows.divisors(horizontal, include)
    if divisor_override is not None:
        rows, columns = np.full_like(rows, integer(divisor_override, "divisor_override", 1)), np.ones_like(columns)
    result = output(out, shape, array.dtype, {"x": array})
    return AvgPool2d(
        planes, down.kernel, across.kernel, down.stride, across.stride, down.before, across.before, rows, columns,
        result.reshape((planes.shape[0], *shape[-2:])),
    ), result  # fmt: skip


def batch_norm(
    x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None, *,
    training: Any = False, momentum: Any = 0.1, eps: Any = 1e-5, activation: Any = None, residual: Any = None,
    return_stats: Any = False, out: Any = None,
) -> tuple[BatchNorm, Array]:
    array = real(x, "x")
    dimensions(array, "x", (2, 4), "(n, channels) or (n, channels, h, w)")
    if 0 in array.shape[1:]:
        raise ValueError(f"x must have at least one channel and value, got shape {array.shape}")
    channels = array.shape[1]
    size_fits((channels, 4), 8, "the statistics of x")
    training = flag(training, "training")
    flag(return_stats, "return_stats")
    number(momentum, "momentum", 0, 1)
    eps, relu = number(eps, "eps", 0), _activation(activation)
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must be given together")
    if training:
        if array.size // channels < 2:
            raise ValueError(f"x must have more than one value for each channel when training, got shape {array.shape}")
        mean, variance = np.empty(channels), np.empty(channels)
    elif running_mean is None:
        raise ValueError("running_mean and running_var must be given unless training")
    else:
        mean = vector64(running_mean, "running_mean", channels)
        variance = vector64(running_var, "running_var", channels)
    flat = (array.shape[0], channels, array[0, 0].size if array.shape[0] else 1)
    added = np.empty((0, 0, 0), array.dtype.newbyteorder("="))
    inputs = {"x": array}
    if residual is not None:
        inputs["residual"] = like(residual, "residual", array, array.shape, other_name="x")
        added = inputs["residual"].reshape(flat)
    scale, shift = vector64(weight, "weight", channels, 1.0), vector64(bias, "bias", channels, 0.0)
    result = output(out, array.shape, array.dtype, inputs, in_place=("x", "residual"))
    if training and running_mean is not None:
        _updatable(running_mean, "running_mean", channels, {**inputs, "out": result, "running_var": running_var})
        _updatable(running_var, "running_var", channels, {**inputs, "out": result})
    batch = ready(array, "x").reshape(flat)
    return BatchNorm(batch, scale, shift, added, eps, training, relu, mean, variance, result.reshape(flat)), result


def _updatable(running: Any, name: str, channels: int, others: dict[str, Any]) -> None:
    """A running statistic that training can update in place."""
    if not isinstance(running, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, as training updates it in place; got {type(running).__name__}")
    real(running, name)
    if running.shape != (channels,):
        raise ValueError(f"{name} must have shape ({channels},), got {running.shape}")
    if not running.flags.writeable:
        raise ValueError(f"{name} must be writeable, as training updates it in place")
    for other, array in others.items():
        if isinstance(array, np.ndarray) and np.may_share_memory(running, array):
            raise ValueError(f"{name} may not share memory with {other}")
