"""Mean over windows."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def avg_pool2d(
    x: ArrayLike,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: Any = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> NDArray[Any]:
    """`out[n, c, i, j] = (sum over ky, kx of x[n, c, i*s + ky - p, j*s + kx - p]) / divisor`.

    Parameters
    ----------
    x: (n, channels, h, w), or one image (channels, h, w); float32 or float64, any layout.
    kernel_size, stride: an integer, or (vertical, horizontal); stride None is kernel_size.
    padding: as in `max_pool2d`.
    ceil_mode: round the number of windows up; the last one must start inside the image or the padding before it.
    count_include_pad: whether zeros of the padding count as values. What ceil_mode adds beyond it never does.
    divisor_override: divide every sum by this integer instead.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with x.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array (n, channels, out_h, out_w), or of three dimensions for one image.

    Raises TypeError for dtypes and ValueError for shapes and sizes, each with the argument's name.

    Sums are float64 and rounded once. A window without values gives 0. Cost: kernel_h + kernel_w additions a value.
    PyTorch: `torch.nn.functional.avg_pool2d`.

    >>> import numpy as np, fastml
    >>> fastml.avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """
    problem, result = _validate.avg_pool2d(
        x, kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
        divisor_override=divisor_override, out=out,
    )  # fmt: skip
    kernel = _dispatch.kernel("avg_pool2d", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
    return result
