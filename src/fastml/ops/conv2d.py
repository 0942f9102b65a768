"""Two-dimensional convolution, as machine learning calls cross-correlation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate
from fastml._validate import READABLE

MOST_PLANS = 256  # plain calls whose way to the kernel is remembered


class Plan(NamedTuple):
    """All but the arrays of a plain call: one that differs from another in numbers alone takes the same way."""

    kernel: Callable[..., None]
    prepared: NDArray[Any]
    no_bias: NDArray[Any]
    no_residual: NDArray[Any]
    scalars: tuple[Any, ...]
    shape: tuple[int, ...]  # of the result
    work: float


_plans: dict[tuple[Any, ...] | None, Plan] = {}


def conv2d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: Any = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    activation: str | None = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> NDArray[Any]:
    """`out[n, o, i, j] = bias[o] + sum(weight[o, c, ky, kx] * x[n, c, i*s + ky*d - p, j*s + kx*d - p])` over c, ky, kx.

    Parameters
    ----------
    x: (n, channels, h, w), or one image (channels, h, w); float32 or float64, any layout.
    weight: (outputs, channels / groups, kernel_h, kernel_w), of x's dtype.
    bias: (outputs,), or None.
    stride, dilation: an integer, or (vertical, horizontal); at least 1.
    padding: zeros around the image: an integer, (vertical, horizontal), ((top, bottom), (left, right)), "valid" (none),
        "same" (out = ceil(in / stride), what is odd goes to the bottom and right) or "same_lower" (top and left).
    groups: channels and outputs are cut into this many independent convolutions; both are divisible by it.
    activation: None or "relu", applied last.
    residual: of the result's shape, added before the activation.
    algorithm: "auto", or the name of a rung of the backend in use, of those below.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with an input.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array (n, outputs, out_h, out_w), or of three dimensions for one image.

    Raises TypeError for dtypes and ValueError for shapes, sizes and names, each with the argument's name.

    Algorithms of the backend "cython"; "auto" takes the first that fits, for which it looks at one image's shape and
    the weights' shape only, and `fastml.explain` says which, and why (docs/ladder/conv2d.md has the conditions):

    ============  ======================================================================================================
    dots          up to 16 pixels (4 for 1 x 1 kernels) of 64 or more taps, for 16 or more outputs a group; or a window
                  that is the image, as in a fully connected layer: dot products with the weights as they are
    winograd      3 x 3 kernels, stride and dilation 1, up to 1024 channels a group: F(4x4, 3x3), 36 multiplications for
                  144. Not for small maps, nor where channels * outputs < 5 * channels + 4 * outputs (of a group)
    winograd_2x2  the same for small maps: F(2x2, 3x3), 16 multiplications for 36
    depthwise     one output a group, of fewer than 12 channels; or up to 3, of one channel
    gemm          1 x 1 kernels, stride 1, no padding: a matrix product
    first         up to 160 taps (channels * kernel_h * kernel_w) and rows that fill vectors, as in a first layer
    direct        all others of which a padded copy is smaller than all patches: sums in registers
    im2col        the rest, and everything: patches packed in pieces that the caches hold
    loops, rows   to learn from: the definition compiled, and a row at a time
    ============  ======================================================================================================

    Others: "numba" has loops, rows and unroll_and_jam, which it takes; "numpy" loops, im2col, which it takes, and
    winograd_row, winograd_2x2, winograd_4x4 and winograd_points. One that cannot serve the problem raises ValueError.

    Exactly as if the image were padded with zeros: an infinite weight over padding gives NaN. NaN and infinity spread
    as far as the formula says and no further, with Winograd's algorithm, too, which computes tiles that are not finite
    again, directly. Sums are in x's dtype, in an order that depends on the shapes alone: the result for an image does
    not depend on the batch it comes in, nor on the number of threads. Integers of which all sums are exact in the dtype
    give exact results, but for Winograd's algorithms, which round more: docs/conv2d_errors.md measures all of them, and
    algorithm="direct" or "im2col" avoids them. They are taken for float64, too.

    Cost: 2 * weight.size / outputs flops a value of the result, and in each call the weights are laid out for the
    algorithm, which `Conv2d` does once. These weights take as much as weight, rounded up to 4 outputs a group; 16 / 9
    of it for winograd_2x2, 4 times as much for winograd; nothing for dots, depthwise, loops and rows. Beside them,
    scratch of Cython is less than 8 MiB a thread, mostly less than 1, whatever the shapes are. What it works in is kept
    for the next call, by the thread that calls: up to 32 MiB for each of four uses. Numba takes less than 1 MiB a
    thread, but for huge kernels and dilations; NumPy copies all patches. PyTorch:
    `torch.nn.functional.conv2d`. A. Lavin, S. Gray (2016), Fast algorithms for convolutional neural networks.

    >>> import numpy as np, fastml
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> fastml.conv2d(x, np.ones((1, 1, 2, 2)))
    array([[[ 8., 12.],
            [20., 24.]]])
    """
    key = None
    if residual is None and out is None:
        key = _key(x, weight, bias, (stride, padding, dilation, groups), (activation, algorithm), backend)
    plan = _plans.get(key)
    if plan is not None:  # the checks below take longer than convolving a small image
        threads = _threads.count(n_threads, plan.work)
        result = np.empty(plan.shape, x.dtype)  # type: ignore[union-attr]  # _key is of arrays
        offsets = plan.no_bias if bias is None else bias
        plan.kernel(x, weight, plan.prepared, offsets, plan.no_residual, *plan.scalars, result, threads)
        return result
    problem, result = _validate.conv2d(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation,
        residual=residual, algorithm=algorithm, out=out,
    )  # fmt: skip
    kernel = _dispatch.kernel("conv2d", problem, backend, algorithm)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
        if key is not None and problem.x is x and problem.weight is weight:  # their bytes are native
            _remember(key, problem, kernel)
    return result


def _key(
    x: Any, weight: Any, bias: Any, numbers: tuple[Any, ...], names: tuple[Any, ...], backend: str | None
) -> tuple[Any, ...] | None:
    """What the way of a plain call depends on; None where arrays need a copy, or numbers are anything but integers."""
    if not (_is_readable(x) and _is_readable(weight) and x.ndim == 4 and x.dtype == weight.dtype):
        return None
    if bias is not None and not (_is_readable(bias) and bias.shape == weight.shape[:1] and bias.dtype == x.dtype):
        return None
    stride, padding, dilation, groups = numbers
    if not type(stride) is type(padding) is type(dilation) is type(groups) is int:  # True equals 1, but is refused
        return None
    activation, algorithm = names
    if type(algorithm) is not str or (activation is not None and type(activation) is not str):
        return None
    return x.shape, weight.shape, x.dtype, numbers, names, _dispatch.current_backend(backend)


def _is_readable(array: Any) -> bool:
    return type(array) is np.ndarray and array.flags.num & READABLE == READABLE


def _remember(key: tuple[Any, ...], problem: Any, kernel: Callable[..., None]) -> None:
    if len(_plans) >= MOST_PLANS:
        _plans.clear()
    _plans[key] = Plan(
        _dispatch.of_type(kernel, problem.x.dtype.char), problem.prepared, np.zeros_like(problem.bias),
        problem.residual, problem[5:-1], problem.out.shape, problem.work,
    )  # fmt: skip
