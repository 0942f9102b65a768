"""(X - mean) / std."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate
from fastml.ops import moments

HUGE = 600  # the square of any float64 / 2^600 is finite


def standardize(
    X: ArrayLike,
    *,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    axis: int = 0,
    with_mean: bool = True,
    with_std: bool = True,
    ddof: float = 0,
    return_stats: bool = False,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> Any:
    """Standardize each column (axis=0) or row (axis=1): `(X - mean) / std`.

    Parameters
    ----------
    X: (rows, columns), float32 or float64, any layout; integers are computed as float64.
    mean, std: (features,) or one number; computed from X when None. A std of 0 divides by 1.
    axis: 0 for statistics of columns, 1 of rows.
    with_mean, with_std: False leaves that step out.
    ddof: the variance is divided by count - ddof.
    return_stats: also return mean and std, float64, so that other data can be standardized in the same way.
    out: like X; may be X itself.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns the standardized array, of X's dtype and order, or (array, mean, std): what was subtracted and divided by.

    Raises TypeError for dtypes, ValueError for shapes, a negative std, or an `out` that overlaps X.

    Constant columns give 0, not noise (the rule is in `Moments.std`); the std returned for them is 0. NaN is left out
    of the statistics and stays where it is. Statistics are float64 and the mean is subtracted before rounding, so that
    float32 output is right at any offset. Cost: X is read twice and written once. NumPy: `(X - X.mean(0)) / X.std(0)`.

    >>> import numpy as np, fastml
    >>> fastml.standardize(np.array([[1.0, 7.0], [3.0, 7.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    problem, result = _validate.standardize(
        X, mean=mean, std=std, axis=axis, with_mean=with_mean, with_std=with_std, ddof=ddof,
        return_stats=return_stats, out=out,
    )  # fmt: skip
    used = problem.scale
    if (with_mean and mean is None) or (with_std and std is None):
        data_mean, data_std = _statistics(problem, float(ddof), n_threads, backend)
        if with_mean and mean is None:
            problem.mean[:] = data_mean
        if with_std and std is None:
            used = data_std
            problem.scale[:] = np.where(used == 0, 1.0, used)
    kernel = _dispatch.kernel("standardize", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if problem.x.size:
        kernel(*problem, threads)
    return (result, problem.mean, used) if return_stats else result


def _statistics(problem: Any, ddof: float, n_threads: int | None, backend: str | None) -> tuple[Any, Any]:
    stats = moments.compute(_validate.empty_moments(problem.x, problem.axis), n_threads, backend)
    mean, std = stats.mean, stats.std(ddof)
    huge = (~np.isfinite(stats.m2)) | np.isinf(mean)
    if huge.any():  # squares, or differences, overflowed; a power of two changes no digit
        smaller = _validate.empty_moments(np.ldexp(problem.x, -HUGE), problem.axis)
        stats = moments.compute(smaller, n_threads, backend)
        mean = np.where(huge, np.ldexp(stats.mean, HUGE), mean)
        std = np.where(huge, np.ldexp(stats.std(ddof), HUGE), std)
    return mean, std
