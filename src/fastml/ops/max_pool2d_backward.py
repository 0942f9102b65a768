"""The gradient of max_pool2d."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def max_pool2d_backward(
    grad_out: ArrayLike,
    indices: ArrayLike,
    input_shape: tuple[int, ...],
    *,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> NDArray[Any]:
    """`grad_x[n, c, k] = sum of grad_out[n, c, i, j] where indices[n, c, i, j] == k`, k = row * w + column.

    Parameters
    ----------
    grad_out: (n, channels, out_h, out_w), or (channels, out_h, out_w) for one image; float32 or float64, any layout:
        the gradient of what `max_pool2d` returned.
    indices: integers of the same shape, as `max_pool2d(..., return_indices=True)` gave them. -1, a window that saw only
        padding, passes nothing on.
    input_shape: the shape of the x that was pooled.
    out: C-contiguous, of shape input_shape and grad_out's dtype, sharing no memory with grad_out or indices.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns the gradient of x, of shape input_shape.

    Raises TypeError for dtypes and ValueError for shapes, each with the argument's name, and ValueError for indices
    outside their plane. Those are found on the way and never followed; `out` has been written by then.

    Gradients of windows that share a maximum are added in the order of the windows. Cost: grad_out and indices are read
    once and grad_x is written once; a plane is filled while it is in cache, by one thread, so that windows which
    overlap need no locks. PyTorch: the backward of `torch.nn.functional.max_pool2d`.

    >>> import numpy as np, fastml
    >>> x = np.array([[[1.0, 5.0, 2.0], [3.0, 4.0, 0.0]]])
    >>> y, indices = fastml.max_pool2d(x, 2, stride=1, return_indices=True)
    >>> fastml.max_pool2d_backward(np.array([[[10.0, 20.0]]]), indices, x.shape)
    array([[[ 0., 30.,  0.],
            [ 0.,  0.,  0.]]])
    """
    problem, result = _validate.max_pool2d_backward(grad_out, indices, input_shape, out=out)
    kernel = _dispatch.kernel("max_pool2d_backward", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
        _validate.indices_inside(problem)
    return result
