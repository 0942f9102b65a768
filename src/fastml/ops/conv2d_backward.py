"""The gradients of conv2d. That of x is itself a convolution, with strides several: conv2d's kernels compute it."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


class Conv2dGradients(NamedTuple):
    """What `conv2d_backward` returns: gradients of x, weight and bias, or None for those that were not needed.

    >>> import numpy as np, fastml
    >>> fastml.conv2d_backward(np.ones((1, 2, 2)), np.eye(3)[np.newaxis], np.ones((1, 1, 2, 2))).grad_bias
    array([4.])
    """

    grad_x: NDArray[Any] | None
    grad_weight: NDArray[Any] | None
    grad_bias: NDArray[Any] | None


def conv2d_backward(
    grad_out: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int | tuple[int, int] = 1,
    padding: Any = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    needs_grad_x: bool = True,
    needs_grad_weight: bool = True,
    needs_grad_bias: bool = True,
    n_threads: int | None = None,
    backend: str | None = None,
) -> Conv2dGradients:
    """Gradients of `conv2d`: of x, weight and bias, from that of its result.

    With stride s, dilation d and padding p along each axis, `grad_bias[o] = sum(grad_out[n, o, i, j])` over n, i, j;
    `grad_weight[o, c, ky, kx] = sum(grad_out[n, o, i, j] * x[n, c, i*s + ky*d - p, j*s + kx*d - p])` over n, i, j; and
    `grad_x[n, c, y, z] = sum(weight[o, c, ky, kx] * grad_out[n, o, i, j])` over o and all ky, kx, i, j for which
    `i*s + ky*d - p` is y and `j*s + kx*d - p` is z. Outside, both arrays count as zero.

    Parameters
    ----------
    grad_out: the gradient of what `conv2d` returned, of its shape; of x's dtype, any layout.
    x: (n, channels, h, w), or one image (channels, h, w), as given to `conv2d`; float32 or float64, any layout.
    weight: (outputs, channels / groups, kernel_h, kernel_w), of x's dtype.
    stride, padding, dilation, groups: as given to `conv2d`.
    needs_grad_x, needs_grad_weight, needs_grad_bias: whether to compute it. A network's first layer needs no gradient
        of x, a layer that is not trained none of weight and bias.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns `Conv2dGradients(grad_x, grad_weight, grad_bias)`, of the shapes of x, weight and bias, and x's dtype.

    Raises TypeError for dtypes and ValueError for shapes and sizes, each with the argument's name.

    Where `conv2d` was given activation="relu", pass `np.where(out <= 0, 0, grad_out)`, out being what it returned; this
    is also the gradient of its residual.

    grad_x is made of up to stride_h * stride_w convolutions of grad_out with weights turned by 180 degrees, each with
    the taps that see every stride-th pixel: no zeros are put between gradients, and all algorithms of `conv2d` serve.
    Sums are in x's dtype, for grad_weight block by block (Cython: of 384 pixels, or with fewer than 8 outputs a group
    2048), those for grad_bias in float64. Nothing depends on the number of threads, nor grad_x of an image on its
    batch. Cost: as many flops for grad_x and for grad_weight as for `conv2d`. Scratch: a copy of the weights, with
    strides one of a part of grad_x, and what `conv2d` takes; Cython takes 300 KiB a thread for grad_weight, more only
    for kernels of more than 32768 taps. PyTorch: the backward of `torch.nn.functional.conv2d`.

    >>> import numpy as np, fastml
    >>> x, weight = np.arange(9.0).reshape(1, 3, 3), np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> gradients = fastml.conv2d_backward(np.array([[[0.0, 1.0], [0.0, 0.0]]]), x, weight)
    >>> gradients.grad_weight[0, 0]
    array([[1., 2.],
           [4., 5.]])
    >>> gradients.grad_x
    array([[[0., 1., 2.],
            [0., 3., 4.],
            [0., 0., 0.]]])
    """
    problem, forward, shape = _validate.conv2d_backward(
        grad_out, x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups,
        needs_grad_x=needs_grad_x, needs_grad_weight=needs_grad_weight, needs_grad_bias=needs_grad_bias,
    )  # fmt: skip
    kernel = _dispatch.kernel("conv2d_backward", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if problem.grad_out.size and (needs_grad_weight or needs_grad_bias):
        kernel(*problem, threads)
    return Conv2dGradients(
        _gradient_of_x(forward, problem.grad_out, n_threads, backend).reshape(shape) if needs_grad_x else None,
        problem.grad_weight if needs_grad_weight else None,
        problem.grad_bias if needs_grad_bias else None,
    )


def _gradient_of_x(forward: Any, grad_out: NDArray[Any], n_threads: int | None, backend: str | None) -> NDArray[Any]:
    grad_x: NDArray[Any] = np.empty_like(forward.x)
    for part, pixels in convolutions(forward, grad_out, grad_x, n_threads):
        _dispatch.kernel("conv2d", part, backend)(*part, _threads.count(n_threads, part.work))
        if part.out is not pixels:
            _threads.copy(part.out[:, :, np.newaxis], pixels[:, :, np.newaxis], n_threads)
    return grad_x


def convolutions(
    forward: Any, grad_out: NDArray[Any], grad_x: NDArray[Any], n_threads: int | None = None
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Problems of conv2d that make up the gradient of x, and the pixels of grad_x that each is for; the rest is 0."""
    (_, channels, h, w), (kernel_h, kernel_w) = forward.x.shape, forward.weight.shape[2:]
    bias = np.zeros(channels, grad_out.dtype)
    down = list(_phases(h, kernel_h, forward.stride_h, forward.pad_top, forward.dilation_h, grad_out.shape[2]))
    across = list(_phases(w, kernel_w, forward.stride_w, forward.pad_left, forward.dilation_w, grad_out.shape[3]))
    if any(sum(len(range(size)[one.pixels]) for one in phases) < size for size, phases in ((h, down), (w, across))):
        grad_x[...] = 0
    for rows in down:
        for columns in across:
            pixels = grad_x[:, :, rows.pixels, columns.pixels]
            if pixels.size:
                yield forward._replace(
                    x=np.ascontiguousarray(grad_out[:, :, rows.windows, columns.windows]),
                    weight=_turned(forward.weight[:, :, rows.taps, columns.taps], forward.groups, n_threads), bias=bias,
                    stride_h=1, stride_w=1, pad_top=rows.pad, pad_left=columns.pad, dilation_h=rows.dilation,
                    dilation_w=columns.dilation,
                    out=pixels if pixels.flags.c_contiguous else np.empty(pixels.shape, pixels.dtype),
                ), pixels  # fmt: skip


class _Phase(NamedTuple):
    """Along one axis: every stride-th pixel, and the convolution with stride 1 that gives its gradient."""

    pixels: slice
    windows: slice
    taps: slice
    pad: int  # before the windows
    dilation: int


def _phases(size: int, kernel: int, stride: int, pad: int, dilation: int, out: int) -> Iterator[_Phase]:
    """Window i sees pixel y by tap t where `i * stride + t * dilation = y + pad`.

    So taps that are stride / gcd(stride, dilation) apart see the same pixels, every stride-th, and these by windows
    that are dilation / gcd(stride, dilation) apart. Pixels that no tap sees are of no phase.
    """
    common = math.gcd(stride, dilation)
    for first in range(min(kernel, stride // common)):
        taps = range(first, kernel, stride // common)
        pixels = range((first * dilation - pad) % stride, size, stride)
        latest = (pixels.start + pad - first * dilation) // stride  # the window of the first pixel, by tap `first`
        earliest = latest - (len(taps) - 1) * dilation // common
        windows = range(max(earliest, 0), min(latest + len(pixels), out))
        if pixels and windows:
            yield _Phase(
                slice(pixels.start, size, stride), slice(windows.start, windows.stop), slice(first, kernel, taps.step),
                max(-earliest, 0), dilation // common if len(taps) > 1 else 1,
            )  # fmt: skip


def _turned(weight: NDArray[Any], groups: int, n_threads: int | None) -> NDArray[Any]:
    """(outputs, channels / groups, ...) as (channels, outputs / groups, ...), each kernel turned by 180 degrees."""
    outputs, channels, kernel_h, kernel_w = weight.shape
    of_groups = weight.reshape(groups, outputs // groups, channels, kernel_h, kernel_w)[..., ::-1, ::-1]
    turned: NDArray[Any] = np.empty((groups, channels, outputs // groups, kernel_h, kernel_w), weight.dtype)
    _threads.copy(of_groups.transpose(0, 2, 3, 4, 1), turned.transpose(0, 1, 3, 4, 2), n_threads)
    return turned.reshape(groups * channels, outputs // groups, kernel_h, kernel_w)
