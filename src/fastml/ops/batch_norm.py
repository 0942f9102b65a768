"""Batch normalization."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def batch_norm(
    x: ArrayLike,
    running_mean: Any = None,
    running_var: Any = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    training: bool = False,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
    residual: ArrayLike | None = None,
    return_stats: bool = False,
    num_batches_tracked: NDArray[Any] | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> Any:
    """`(x - mean) / sqrt(var + eps) * weight + bias`, per channel.

    Parameters
    ----------
    x: (n, channels) or (n, channels, h, w); float32 or float64, any layout.
    running_mean, running_var: (channels,). They normalise unless training; when training they are optional, and arrays
        that are given **are updated in place**: `running = (1 - momentum) * running + momentum * batch`.
    weight, bias: (channels,); 1 and 0 when None.
    training: normalise with the statistics of this batch: the mean, and the biased variance. The unbiased variance is
        what goes to running_var, as in PyTorch.
    momentum: the share of the new batch, from 0 to 1; None for the average of all batches, `1 / num_batches_tracked`.
    eps: added to the variance; not negative.
    activation: None or "relu", applied last.
    residual: like x, added before the activation.
    return_stats: also return the mean and biased variance that were used, float64; `batch_norm_backward` takes them.
    num_batches_tracked: how many batches the running statistics have seen: an integer array of one element, () or
        (1,), **incremented in place** when they are updated. Needed when momentum is None.
    out: C-contiguous, like x; may be x or residual itself.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array like x, or (array, mean, variance).

    Raises TypeError for dtypes and ValueError for shapes, numbers out of range, a batch of one value when training, or
    momentum None without num_batches_tracked.

    Statistics are float64 by one stable pass, and the mean is subtracted before rounding: float32 stays right at
    |mean| / std = 1e6. NaN in a channel makes the whole channel NaN when training. Cost: x is read twice when training
    (the second time from cache where a channel fits), once otherwise, and written once.
    PyTorch: `torch.nn.functional.batch_norm`. S. Ioffe, C. Szegedy (2015), arXiv:1502.03167.

    >>> import numpy as np, fastml
    >>> mean, var = np.zeros(1), np.ones(1)
    >>> fastml.batch_norm(np.array([[1.0], [3.0]]), mean, var, training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    >>> mean, var
    (array([0.2]), array([1.1]))
    """
    problem, result = _validate.batch_norm(
        x, running_mean, running_var, weight, bias, training=training, momentum=momentum, eps=eps,
        activation=activation, residual=residual, return_stats=return_stats,
        num_batches_tracked=num_batches_tracked, out=out,
    )  # fmt: skip
    kernel = _dispatch.kernel("batch_norm", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    scratch = np.empty((3, problem.mean.size if training and running_mean is not None else 0))
    if result.size:
        kernel(*problem, threads)
    if training and running_mean is not None:
        seen = 0 if num_batches_tracked is None else num_batches_tracked.item() + 1
        share = 1 / seen if momentum is None else float(momentum)
        n = problem.x.size // problem.x.shape[1]
        unbiased = share * n / (n - 1)
        statistics = (running_mean, problem.mean, share), (running_var, problem.variance, unbiased)
        _update(*statistics, kept=1 - share, scratch=scratch)
        if num_batches_tracked is not None:
            num_batches_tracked += 1
    return (result, problem.mean, problem.variance) if return_stats else result


@np.errstate(over="ignore", invalid="ignore")  # what overflows is infinite, 0 * infinity NaN: in silence, as in kernels
def _update(
    *statistics: tuple[Any, NDArray[np.float64], float], kept: float, scratch: NDArray[np.float64]
) -> None:
    """kept * running + factor * batch for each (running, batch, factor), in float64 and rounded once.

    Nothing is written before all is computed, in memory that is there. `scratch`: a row for each, and one more.
    """
    for (running, batch, factor), new in zip(statistics, scratch, strict=False):
        new[:] = running
        new *= kept
        new += np.multiply(batch, factor, out=scratch[-1])
    for (running, _, _), new in zip(statistics, scratch, strict=False):
        np.asarray(running)[...] = new  # of a subclass only the memory
