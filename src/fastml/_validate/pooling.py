"""Arguments of the pooling operations: max_pool2d, avg_pool2d, global_avg_pool2d and their gradients."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastml._validate import windows
from fastml._validate.arrays import Array, output, ready, rectangular, size_fits
from fastml._validate.images import as_images
from fastml._validate.numbers import MOST, flag, integer, is_sequence


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


class MaxPool2dBackward(NamedTuple):
    grad_out: Array
    indices: Array
    grad_x: Array
    wrong: Array

    @property
    def work(self) -> float:
        return float(self.grad_out.size) + float(self.grad_x.size)


class AvgPool2dBackward(NamedTuple):
    grad_out: Array
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    rows: Array
    columns: Array
    grad_x: Array

    @property
    def work(self) -> float:
        return float(self.grad_out.size) * self.kernel_h * self.kernel_w + float(self.grad_x.size)


class Geometry(NamedTuple):
    """Windows along both axes: as they were asked for, and without the taps that only ever see padding."""

    vertical: windows.Axis
    horizontal: windows.Axis
    down: windows.Axis
    across: windows.Axis

    @property
    def arguments(self) -> tuple[int, int, int, int, int, int]:
        """The arguments of kernels: kernel, stride, and the padding before."""
        down, across = self.down, self.across
        return down.kernel, across.kernel, down.stride, across.stride, down.before, across.before

    @property
    def out(self) -> tuple[int, int]:
        return self.down.out, self.across.out


def _geometry(
    size: tuple[int, int], kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> Geometry:
    options = kernel_size, stride, padding, dilation
    work_out = _remembered if all(map(windows.is_key, options)) else _work_out
    return work_out(size, *options, flag(ceil_mode, "ceil_mode"))


def _work_out(
    size: tuple[int, int], kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> Geometry:
    vertical, horizontal = windows.axes(
        size, kernel_size, stride, padding, dilation, pooling=True, ceil_mode=ceil_mode
    )
    return Geometry(vertical, horizontal, windows.trim(vertical), windows.trim(horizontal))


# A network asks for the same few windows at every step; working them out takes longer than pooling a small image.
_remembered = lru_cache(maxsize=256)(_work_out)


def _divisors(geometry: Geometry, count_include_pad: Any, divisor_override: Any) -> tuple[Array, Array]:
    include = flag(count_include_pad, "count_include_pad")
    if divisor_override is not None:
        divisor = integer(divisor_override, "divisor_override", 1)
        return np.full(geometry.vertical.out, float(divisor)), np.ones(geometry.horizontal.out)
    return _divisors_along(geometry.vertical, include), _divisors_along(geometry.horizontal, include)


def _divisors_along(axis: windows.Axis, include: bool) -> Array:
    end = (axis.out - 1) * axis.stride - axis.before + axis.kernel  # of the last window
    whole = end <= axis.size + axis.after if include else axis.before == 0 and end <= axis.size
    return np.full(axis.out, float(axis.kernel)) if whole else windows.divisors(axis, include)


def _planes(batch: Array) -> Array:
    n, channels, h, w = batch.shape
    return batch.reshape((n * channels, h, w))


def _result(out: Any, shape: tuple[int, ...], inputs: dict[str, Array], dtype: Any) -> tuple[Array, Array]:
    """The array for the caller, and the same as planes."""
    size_fits(shape, 8, "the result")
    result = output(out, shape, dtype, inputs)
    return result, np.asarray(result).reshape((-1, *shape[-2:]))


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: Any = False,
    return_indices: Any = False, out: Any = None,
) -> tuple[MaxPool2d, Array, Array | None]:
    array, batch = as_images(x, "x")
    geometry = _geometry((batch.shape[2], batch.shape[3]), kernel_size, stride, padding, dilation, ceil_mode)
    shape = (*array.shape[:-2], *geometry.out)
    result, planes = _result(out, shape, {"x": array}, array.dtype)
    indices = np.empty(shape, np.int64) if flag(return_indices, "return_indices") else None
    flat = np.empty((0, 0, 0), np.int64) if indices is None else indices.reshape(planes.shape)
    dilations = geometry.down.dilation, geometry.across.dilation
    return MaxPool2d(_planes(batch), *geometry.arguments, *dilations, planes, flat), result, indices


def avg_pool2d(
    x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *, ceil_mode: Any = False,
    count_include_pad: Any = True, divisor_override: Any = None, out: Any = None,
) -> tuple[AvgPool2d, Array]:
    array, batch = as_images(x, "x")
    geometry = _geometry((batch.shape[2], batch.shape[3]), kernel_size, stride, padding, 1, ceil_mode)
    shape = (*array.shape[:-2], *geometry.out)
    size_fits(shape, 8, "the result")
    divisors = _divisors(geometry, count_include_pad, divisor_override)
    result, planes = _result(out, shape, {"x": array}, array.dtype)
    return AvgPool2d(_planes(batch), *geometry.arguments, *divisors, planes), result


def global_avg_pool2d(x: Any, *, keepdims: Any = True, out: Any = None) -> tuple[AvgPool2d, Array]:
    """The problem of avg_pool2d with one window, the whole plane."""
    array, batch = as_images(x, "x")
    h, w = batch.shape[2:]
    shape = array.shape[:-2] + ((1, 1) if flag(keepdims, "keepdims") else ())
    result = output(out, shape, array.dtype, {"x": array})
    rows, columns = np.full(1, float(h)), np.full(1, float(w))
    planes = np.asarray(result).reshape((batch.shape[0] * batch.shape[1], 1, 1))
    return AvgPool2d(_planes(batch), h, w, h, w, 0, 0, rows, columns, planes), result


def _shape_of_input(input_shape: Any, grad_out: Array) -> tuple[int, ...]:
    """The shape of the x that was pooled, whose images and channels are those of grad_out."""
    if not is_sequence(input_shape):
        raise TypeError(f"input_shape must be a tuple of integers, got {type(input_shape).__name__}")
    if len(input_shape) != grad_out.ndim:
        raise ValueError(f"input_shape must have {grad_out.ndim} values, as grad_out has dimensions; got {input_shape}")
    least = (0,) * (grad_out.ndim - 3) + (1, 1, 1)
    shape = tuple(integer(input_shape[i], f"input_shape[{i}]", least[i]) for i in range(grad_out.ndim))
    if shape[:-2] != grad_out.shape[:-2]:
        raise ValueError(f"input_shape must begin with {grad_out.shape[:-2]}, as grad_out does; got {shape}")
    return shape


def _indices(indices: Any, grad_out: Array) -> Array:
    """Positions as int64, unchanged in value. Whether they are inside a plane is for the kernel to see."""
    array = rectangular(indices, "indices")
    if array.dtype.kind not in "iu":
        raise TypeError(f"indices must be integers, got {array.dtype}")
    if array.shape != grad_out.shape:
        raise ValueError(f"indices must have the shape of grad_out, {grad_out.shape}; got {array.shape}")
    if array.dtype == np.int64:
        return ready(array, "indices")
    size_fits(array.shape, 8, "indices")
    if array.dtype.kind == "u" and array.size and array.max() > MOST:
        raise ValueError(f"indices must be positions in a plane, or -1; got {array.max()}")
    return np.ascontiguousarray(array, np.int64)


def max_pool2d_backward(
    grad_out: Any, indices: Any, input_shape: Any, *, out: Any = None
) -> tuple[MaxPool2dBackward, Array]:
    array, batch = as_images(grad_out, "grad_out")
    shape = _shape_of_input(input_shape, array)
    where = _indices(indices, array)
    result, planes = _result(out, shape, {"grad_out": array, "indices": where}, array.dtype)
    gradients = _planes(batch)
    wrong = np.zeros(planes.shape[0], np.int64)
    return MaxPool2dBackward(gradients, where.reshape(gradients.shape), planes, wrong), result


def indices_inside(problem: MaxPool2dBackward) -> None:
    """Refuse indices that the kernel has skipped, as they point outside their plane."""
    if problem.wrong.any():
        _, h, w = problem.grad_x.shape
        raise ValueError(
            f"indices must be from -1 to {h * w - 1}, positions in a plane of {h} x {w}; "
            f"{problem.wrong.sum()} of {problem.indices.size} are not"
        )


def avg_pool2d_backward(
    grad_out: Any, input_shape: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, *,
    ceil_mode: Any = False, count_include_pad: Any = True, divisor_override: Any = None, out: Any = None,
) -> tuple[AvgPool2dBackward, Array]:
    array, batch = as_images(grad_out, "grad_out")
    shape = _shape_of_input(input_shape, array)
    geometry = _geometry((shape[-2], shape[-1]), kernel_size, stride, padding, 1, ceil_mode)
    if array.shape[-2:] != geometry.out:
        expected = (*shape[:-2], *geometry.out)
        raise ValueError(f"grad_out must have shape {expected}, as avg_pool2d gives for {shape}; got {array.shape}")
    divisors = _divisors(geometry, count_include_pad, divisor_override)
    result, planes = _result(out, shape, {"grad_out": array}, array.dtype)
    return AvgPool2dBackward(_planes(batch), *geometry.arguments, *divisors, planes), result
