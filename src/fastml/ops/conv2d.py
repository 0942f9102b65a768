"""Two-dimensional convolution, as machine learning calls cross-correlation."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


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
    algorithm: "auto", or the name of a rung of the backend in use; `fastml.explain` says what "auto" takes.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with an input.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array (n, outputs, out_h, out_w), or of three dimensions for one image.

    Raises TypeError for dtypes and ValueError for shapes, sizes and names, each with the argument's name.

    Exactly as if the image were padded with zeros: an infinite weight over padding gives NaN. Sums are in x's dtype, in
    an order that depends on the shapes alone: the result for an image does not depend on the batch it comes in, nor on
    the number of threads. Cost: 2 * weight.size / outputs flops a value of the result; scratch is a copy of the weights
    and 128 KiB or a padded row a thread. PyTorch: `torch.nn.functional.conv2d`.

    >>> import numpy as np, fastml
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> fastml.conv2d(x, np.ones((1, 1, 2, 2)))
    array([[[ 8., 12.],
            [20., 24.]]])
    """
    problem, result = _validate.conv2d(
        x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation,
        residual=residual, algorithm=algorithm, out=out,
    )  # fmt: skip
    kernel = _dispatch.kernel("conv2d", problem, backend, algorithm)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
    return result
