"""Maximum over windows."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def max_pool2d(
    x: ArrayLike,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: Any = 0,
    dilation: int | tuple[int, int] = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> Any:
    """`out[n, c, i, j] = max over ky, kx of x[n, c, i*s + ky*d - p, j*s + kx*d - p]`, taps in the padding left out.

    Parameters
    ----------
    x: (n, channels, h, w), or one image (channels, h, w); float32 or float64, any layout.
    kernel_size, stride, dilation: an integer, or (vertical, horizontal); stride None is kernel_size.
    padding: every form of `conv2d`; a number or pair at most half of the kernel, as in PyTorch; explicit sides less
        than the dilated kernel.
    ceil_mode: round the number of windows up; the last one must start inside the image or the padding before it.
    return_indices: also return where each maximum is, int64, as row * w + column in its plane.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with x.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns the maxima (n, channels, out_h, out_w), or of three dimensions for one image, or (maxima, indices).

    Raises TypeError for dtypes and ValueError for shapes and sizes, each with the argument's name.

    NaN wins over everything; 0 and -0 are equal, and either may be returned. Of equal values (and of several NaN) the
    first, in the order of memory, is reported. A window that sees only padding, which dilation makes possible, gives
    -inf and index -1. Cost: kernel_h + kernel_w comparisons a value, kernel_h * kernel_w with indices; x is read about
    kernel_h / stride_h times, from cache.
    PyTorch: `torch.nn.functional.max_pool2d`, whose index is that of the last NaN.

    >>> import numpy as np, fastml
    >>> fastml.max_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 5.,  7.],
            [13., 15.]]])
    """
    problem, result, indices = _validate.max_pool2d(
        x, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode, return_indices=return_indices, out=out
    )
    kernel = _dispatch.kernel("max_pool2d", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
    return (result, indices) if return_indices else result
