"""Rows in the coordinates of principal components."""

from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


def pca_transform(
    X: ArrayLike,
    mean: ArrayLike,
    components: ArrayLike,
    *,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> NDArray[Any]:
    """`(X - mean) @ components.T`, the mean subtracted first, and X read once.

    Parameters
    ----------
    X: (rows, columns), float32 or float64, any layout; integers are computed as float64.
    mean: (columns,), used as float64.
    components: (k, columns), used in X's dtype; with whitening, divided by the standard deviations before.
    out: C-contiguous, of the result's shape and dtype, sharing no memory with an input.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns an array (rows, k) of X's dtype.

    Raises TypeError for dtypes and ValueError for shapes, each with the argument's name.

    `X @ components.T - mean @ components.T` would be the same, and loses what both have in common: with a mean of 1e4
    times the spread, float32 has 3 digits left. Cost: 2 * X.size * k flops. scikit-learn: `PCA.transform`.

    >>> import numpy as np, fastml
    >>> fastml.pca_transform([[3.0, 4.0], [0.0, 5.0]], [0.0, 5.0], [[0.6, -0.8]])
    array([[2.6],
           [0. ]])
    """
    problem, result = _validate.pca_transform(X, mean, components, out=out)
    if not problem.x.size:  # no columns: sums of nothing
        result[...] = 0
    elif result.size:
        _dispatch.kernel("pca_transform", problem, backend)(*problem, _threads.count(n_threads, problem.work))
    return result
