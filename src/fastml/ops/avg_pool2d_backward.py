"""The gradient of avg_pool2d."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def avg_pool2d_backward(
    grad_out: ArrayLike,
    input_shape: tuple[int, ...],
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
    """`grad_x[n, c, y, z] = sum of grad_out[n, c, i, j] / divisor over the windows (i, j) that see (y, z)`.

    Parameters
    ----------
    grad_out: the gradient of what `avg_pool2d` returned, of the shape it has for input_shape and the options below;
        float32 or float64, any layout.
    input_shape: the shape of the x that was pooled.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override: as given to `avg_pool2d`.
    out: C-contiguous, of shape input_shape and grad_out's dtype, sharing no memory with grad_out.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns the gradient of x, of shape input_shape.

    Raises TypeError for dtypes and ValueError for shapes and sizes, each with the argument's name.

    Sums are float64 and rounded once. Where no window looked, the gradient is 0. Cost: grad_out is read about
    kernel_h / stride_h times, from cache, grad_x is written once. PyTorch: the backward of
    `torch.nn.functional.avg_pool2d`.

    >>> import numpy as np, fastml
    >>> fastml.avg_pool2d_backward(np.array([[[4.0, 8.0]]]), (1, 2, 3), 2, stride=1)
    array([[[1., 3., 2.],
            [1., 3., 2.]]])
    """
    problem, result = _validate.avg_pool2d_backward(
        grad_out, input_shape, kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
        divisor_override=divisor_override, out=out,
    )  # fmt: skip
    kernel = _dispatch.kernel("avg_pool2d_backward", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
    return result
