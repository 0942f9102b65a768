"""Mean over a whole plane."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def global_avg_pool2d(
    x: ArrayLike,
    *,
    keepdims: bool = True,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> NDArray[Any]:
    """`out[n, c] = mean of x[n, c]`, what stands before the last layer of most networks.

    Parameters
    ----------
    x: (n, channels, h, w), or one image (channels, h, w); float32 or float64, any layout.
    keepdims: whether the result has two axes of length 1 at its end.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with x.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array (n, channels, 1, 1), or (n, channels) without keepdims; no n for one image.

    Raises TypeError for dtypes and ValueError for shapes, each with the argument's name.

    It is `avg_pool2d` with one window, as large as the plane: the sum is float64, rounded once. Cost: x is read once.
    PyTorch: `torch.nn.functional.adaptive_avg_pool2d(x, 1)`; NumPy: `x.mean(axis=(-2, -1), dtype=np.float64)`.

    >>> import numpy as np, fastml
    >>> fastml.global_avg_pool2d(np.arange(8.0).reshape(1, 2, 2, 2), keepdims=False)
    array([[1.5, 5.5]])
    """
    problem, result = _validate.global_avg_pool2d(x, keepdims=keepdims, out=out)
    kernel = _dispatch.kernel("avg_pool2d", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if result.size:
        kernel(*problem, threads)
    return result
