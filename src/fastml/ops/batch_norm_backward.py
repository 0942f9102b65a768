"""The gradient of batch normalization."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


class BatchNormGradients(NamedTuple):
    """What `batch_norm_backward` returns: gradients of x, of weight and bias, and of the residual, or None without.

    >>> import numpy as np, fastml
    >>> x = np.array([[1.0], [3.0]])
    >>> fastml.batch_norm_backward(x, x, mean=[2.0], variance=[1.0]).grad_bias
    array([4.])
    """

    grad_x: NDArray[Any]
    grad_weight: NDArray[Any]
    grad_bias: NDArray[Any]
    grad_residual: NDArray[Any] | None


def batch_norm_backward(
    grad_out: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    training: bool = True,
    eps: float = 1e-5,
    activation: str | None = None,
    residual: ArrayLike | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> BatchNormGradients:
    """Gradients of `batch_norm`: of x, weight, bias and residual, from that of its result.

    With `z = (x - mean) / sqrt(variance + eps)` and g the gradient behind the activation, per channel of N values:
    `grad_bias = sum(g)`, `grad_weight = sum(g * z)`, `grad_residual = g`, and
    `grad_x = weight / sqrt(variance + eps) * (g - grad_bias / N - z * grad_weight / N)`; the last two terms, through
    which x acts on its own statistics, only when training.

    Parameters
    ----------
    grad_out: like x, the gradient of what `batch_norm` returned.
    x: (n, channels) or (n, channels, h, w), as given to `batch_norm`; float32 or float64, any layout.
    mean, variance: (channels,), as `batch_norm(..., return_stats=True)` returned them; the variance is the biased one.
    weight, bias, eps, activation, residual: as given to `batch_norm`. With "relu", g is grad_out where the result
        before it is positive or NaN, and 0 elsewhere; that result is computed again, as nobody stored it.
    training: whether mean and variance were computed from x.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns `BatchNormGradients(grad_x, grad_weight, grad_bias, grad_residual)`, of the dtype of x.

    Raises TypeError for dtypes and ValueError for shapes, numbers out of range, or a batch of one value when training.

    Products are formed about the mean, so that float32 stays right at |mean| / std = 1e6; Cython adds four at a time in
    the dtype of x, and float64 from there on, the other backends all in float64. grad_x is computed in the dtype of x.
    Cost: grad_out and x (and residual, with "relu") are read twice, the second
    time from cache where a channel fits, and grad_x is written once. PyTorch: the backward of
    `torch.nn.functional.batch_norm`.

    >>> import numpy as np, fastml
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> y, mean, variance = fastml.batch_norm(x, training=True, eps=1 / 3, return_stats=True)
    >>> gradients = fastml.batch_norm_backward(np.array([[0.0], [6.0], [0.0]]), x, mean, variance, eps=1 / 3)
    >>> gradients.grad_bias, gradients.grad_x.ravel()
    (array([6.]), array([-2.,  4., -2.]))
    """
    problem, shape = _validate.batch_norm_backward(
        grad_out, x, mean, variance, weight, bias, training=training, eps=eps, activation=activation, residual=residual
    )
    kernel = _dispatch.kernel("batch_norm_backward", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if problem.x.size:
        kernel(*problem, threads)
    grad_weight, grad_bias = _rounded(problem.x.dtype, problem.grad_weight, problem.grad_bias)
    return BatchNormGradients(
        problem.grad_x.reshape(shape), grad_weight, grad_bias,
        None if residual is None else problem.grad_residual.reshape(shape),
    )  # fmt: skip


@np.errstate(over="ignore")  # sums that only float64 holds
def _rounded(dtype: np.dtype[Any], *sums: NDArray[np.float64]) -> list[NDArray[Any]]:
    return [array.astype(dtype) for array in sums]
