"""Arguments of conv2d, and of Conv2d, which holds its weights: first without an image, then of one image."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastml._validate import windows
from fastml._validate.arrays import Array, dimensions, like, output, ready, real, same_dtype, size_fits
from fastml._validate.images import as_batch, as_images, is_relu
from fastml._validate.numbers import integer, pair


class Conv2d(NamedTuple):
    x: Array
    weight: Array
    prepared: Array  # the weights as a rung wants them, laid out once by a layer; size 0: it lays them out itself
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


class Filters(NamedTuple):
    """A convolution that has not seen an image; bias, stride, padding and dilation in any form that conv2d takes."""

    weight: Array
    bias: Any
    stride: Any
    padding: Any
    dilation: Any
    groups: int
    relu: bool


def conv2d(
    x: Any, weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    activation: Any = None, residual: Any = None, algorithm: Any = "auto", out: Any = None,
) -> tuple[Conv2d, Array]:
    array, batch = as_images(x, "x")
    kernels, groups, relu = _of_any_image(weight, groups, activation, algorithm, array)
    layer = Filters(kernels, bias, stride, padding, dilation, groups, relu)
    return _of_one_image(layer, array, batch, residual, out)


def filters(
    weight: Any, bias: Any = None, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    activation: Any = None, algorithm: Any = "auto",
) -> Filters:
    """Copies of all that a convolution is given before it sees an image, which nobody can change."""
    kernels, groups, relu = _of_any_image(weight, groups, activation, algorithm)
    vertical, horizontal = windows.just_fitting(kernels.shape[2:], stride, padding, dilation)
    if not isinstance(padding, str):  # what "same" comes to depends on the image
        windows.check_padding(vertical)
        windows.check_padding(horizontal)
        padding = (vertical.before, vertical.after), (horizontal.before, horizontal.after)
    size_fits(kernels.shape, kernels.itemsize, "weight")
    outputs = kernels.shape[0]
    offsets = np.zeros(outputs, kernels.dtype)
    if bias is not None:
        offsets = like(bias, "bias", kernels, (outputs,), other_name="weight")
    strides, dilations = (vertical.stride, horizontal.stride), (vertical.dilation, horizontal.dilation)
    return Filters(_frozen(kernels), _frozen(offsets), strides, padding, dilations, groups, relu)


def unwritten_image(layer: Filters, input_size: Any) -> Array:
    """A batch of one image such as `layer` takes; memory that is never touched costs nothing."""
    shape = (1, layer.weight.shape[1] * layer.groups, *pair(input_size, "input_size", 1))
    size_fits(shape, layer.weight.itemsize, "an image of input_size")
    return np.empty(shape, layer.weight.dtype)


def convolution(layer: Filters, x: Any, residual: Any = None, out: Any = None) -> tuple[Conv2d, Array]:
    """The problem of `layer` on x, and the array for the caller."""
    array, batch = as_images(x, "x")
    same_dtype(array, "x", layer.weight, "weight")
    return _of_one_image(layer, array, batch, residual, out)


def _of_any_image(
    weight: Any, groups: Any, activation: Any, algorithm: Any, x: Array | None = None
) -> tuple[Array, int, bool]:
    """The weights, of which nothing is copied yet, the groups, and whether ReLU comes last."""
    kernels = real(weight, "weight")
    dimensions(kernels, "weight", (4,), "of shape (outputs, channels / groups, kernel_h, kernel_w)")
    if x is not None:
        same_dtype(kernels, "weight", x, "x")
    if 0 in kernels.shape:
        raise ValueError(f"weight must not be empty, got shape {kernels.shape}")
    groups = integer(groups, "groups", 1)
    if kernels.shape[0] % groups:
        raise ValueError(f"groups must divide the {kernels.shape[0]} outputs of weight, got {groups}")
    relu = is_relu(activation)
    if not isinstance(algorithm, str):
        raise TypeError(f"algorithm must be a string, got {type(algorithm).__name__}")
    return kernels, groups, relu


def _of_one_image(layer: Filters, array: Array, batch: Array, residual: Any, out: Any) -> tuple[Conv2d, Array]:
    (outputs, group, *kernel), groups = layer.weight.shape, layer.groups
    _, channels, h, w = batch.shape
    if channels != group * groups:
        raise ValueError(f"x has {channels} channels, but weight has {group} for each of {groups} groups")
    options = layer.stride, layer.padding, layer.dilation
    work_out = _remembered if all(map(windows.is_key, options)) else _work_out
    out_size, geometry = work_out((h, w), tuple(kernel), *options)
    shape, dtype = (*array.shape[:-3], outputs, *out_size), batch.dtype
    size_fits(shape, array.itemsize, "the result")
    kernels = ready(layer.weight, "weight")
    offsets = np.zeros(outputs, dtype)
    if layer.bias is not None:
        offsets = like(layer.bias, "bias", array, (outputs,), other_name="x")
    absent, added = _ABSENT[dtype.itemsize]
    if residual is not None:
        added = as_batch(like(residual, "residual", array, shape, other_name="x"))
    if out is None:
        result = np.empty(shape, dtype)
    else:
        result = output(out, shape, dtype, {"x": array, "weight": kernels, "bias": offsets, "residual": added})
    plain = as_batch(np.asarray(result))
    return Conv2d(batch, kernels, absent, offsets, added, *geometry, groups, layer.relu, plain), result


def _work_out(
    size: tuple[int, int], kernel: tuple[int, int], stride: Any, padding: Any, dilation: Any
) -> tuple[tuple[int, int], tuple[int, int, int, int, int, int]]:
    """The size of the result; strides, paddings before, and dilations, each along both axes."""
    down, across = windows.axes(size, kernel, stride, padding, dilation, kernel_name="weight")
    windows.check_padding(down)
    windows.check_padding(across)
    # A step that is never made may be as large as an index can be, and sums with it larger: then it is 1.
    stride_h, stride_w = (axis.stride if axis.out > 1 else 1 for axis in (down, across))
    dilation_h, dilation_w = (axis.dilation if axis.kernel > 1 else 1 for axis in (down, across))
    return (down.out, across.out), (stride_h, stride_w, down.before, across.before, dilation_h, dilation_w)


# A network asks for the same few at every step; working them out takes as long as convolving a small image.
_remembered = lru_cache(maxsize=256)(_work_out)

# For each size of an item: nothing prepared, no residual.
_ABSENT = {dtype().itemsize: (np.empty(0, dtype), np.empty((0, 0, 0, 0), dtype)) for dtype in (np.float32, np.float64)}


def _frozen(array: Array) -> Array:
    """A copy in the order of C and in native bytes that cannot be written."""
    copy = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    copy.flags.writeable = False
    return copy
