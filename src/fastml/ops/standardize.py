"""(X - mean) / std."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate
from fastml._validate.arrays import FLOAT64, readable
from fastml._validate.matrices import TILE, Standardize, converted, tiles
from fastml.ops import moments

HUGE = 600  # the square of any float64 / 2^600 is finite
FLOAT32 = np.dtype(np.float32)
SMALL = 2**13  # values; a larger matrix takes longer than its validation


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
    X: (rows, columns), float32 or float64, or float16; integers and booleans are computed as float64. Any layout.
    mean, std: (features,) or one number; computed from X when None. A std of 0 divides by 1.
    axis: 0 for statistics of columns, 1 of rows.
    with_mean, with_std: False leaves that step out.
    ddof: the variance is divided by count - ddof.
    return_stats: also return mean and std, float64, so that other data can be standardized in the same way.
    out: like X; may be X itself.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns the standardized array, of X's dtype and order, or (array, mean, std): what was subtracted and divided by.

    Raises TypeError for dtypes, ValueError for shapes, a negative std, or an `out` that overlaps X.

    Constant columns are divided by 1, not by noise (the rule is in `Moments.std`); the std returned for them is 0. NaN
    is left out of the statistics and stays where it is. Statistics are float64 and the mean is subtracted before
    rounding, so that float32 output is right at any offset; [1e200, -1e200], whose squares overflow, gives [1, -1], and
    [1e-200, 3e-200], whose squares underflow, is a constant. Cost: X is read twice and written once; what a kernel
    cannot read (integers, float16, strides) is converted 256 KiB at a time, on one thread unless n_threads says more.
    NumPy: `(X - X.mean(0)) / X.std(0)`.

    >>> import numpy as np, fastml
    >>> fastml.standardize(np.array([[1.0, 7.0], [3.0, 7.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    if (
        type(axis) is type(ddof) is int and axis == ddof == 0
        and with_mean is with_std is True and return_stats is False
        and out is None and n_threads is None
        and is_plain(X, mean, std) and std.item(std.argmin()) > 0  # type: ignore[union-attr]  # `least`, without the call
    ):
        return small(X, mean, std, backend)
    problem, result = _validate.standardize(
        X, mean=mean, std=std, axis=axis, with_mean=with_mean, with_std=with_std, ddof=ddof,
        return_stats=return_stats, out=out,
    )  # fmt: skip
    used = problem.scale
    if (with_mean and mean is None) or (with_std and std is None):
        data_mean, data_std = statistics(problem.x, problem.axis, float(ddof), n_threads, backend)
        if with_mean and mean is None:
            problem.mean[:] = data_mean
        if with_std and std is None:
            used = data_std
            problem.scale[:] = np.where(used == 0, 1.0, used)
    apply(problem, n_threads, backend)
    return (result, problem.mean, used) if return_stats else result


def is_plain(x: Any, mean: Any, scale: Any) -> bool:
    """Whether these are a small matrix and vectors of its width that the kernel can take as they are.

    The door for a few rows at a time: this takes 1 us, and what it lets pass is found in order by validation as well,
    which takes 15 us, ten times as long as the kernel. `carray`: C-contiguous, aligned and writeable.
    """
    return (
        type(x) is type(mean) is type(scale) is np.ndarray
        and (x.dtype is FLOAT32 or x.dtype is FLOAT64)
        and mean.dtype is scale.dtype and (mean.dtype is FLOAT64 or mean.dtype is FLOAT32)
        and x.flags.carray and mean.flags.carray and scale.flags.carray
        and x.ndim == 2 and 0 < x.size <= SMALL and mean.shape == scale.shape == x.shape[1:]
    )


def small(x: Any, mean: Any, scale: Any, backend: str | None = None) -> NDArray[Any]:
    """(x - mean) / scale of what `is_plain`."""
    if mean.dtype is FLOAT32:
        mean, scale = mean.astype(FLOAT64), scale.astype(FLOAT64)
    dtype = x.dtype
    out = np.empty(x.shape, dtype)
    _dispatch.common_kernel("standardize", "f" if dtype is FLOAT32 else "d", backend)(
        x, 0, mean, scale, out, 1
    )
    return out


def apply(problem: Any, n_threads: int | None = None, backend: str | None = None) -> None:
    """Run the kernel on a validated problem, or tile by tile where it cannot read x or write out as they are."""
    x, axis, mean, scale, out = problem
    whole = readable(x) and readable(out)
    threads = _threads.count(n_threads, problem.work if whole else TILE)
    kernel = _dispatch.kernel("standardize", problem, backend)
    if whole:
        if x.size:
            kernel(*problem, threads)
        return
    with np.errstate(over="ignore"):  # float16 has no number above 65504
        for piece in tiles(x, axis):
            tile, features = converted(x[piece], out.dtype.char == "f"), piece[1 - axis]
            part = Standardize(tile, axis, mean[features], scale[features], tile)
            _dispatch.kernel("standardize", part, backend)(*part, threads)
            out[piece] = tile


def standardize_into(X: NDArray[Any], mean: Any, scale: Any, in_place: bool) -> NDArray[Any]:
    """(X - mean) / scale of columns; in X itself, whatever its strides, if asked and if it is of floats."""
    fortran = X.flags.f_contiguous and not X.flags.c_contiguous
    floats = X.dtype.char in "efd" and X.dtype.isnative
    out = X if in_place and floats else np.empty(X.shape, X.dtype if floats else np.float64, "F" if fortran else "C")
    apply(Standardize(X.T, 1, mean, scale, out.T) if fortran else Standardize(X, 0, mean, scale, out))
    return out


def statistics(
    x: NDArray[Any], axis: int, ddof: float = 0, n_threads: int | None = None, backend: str | None = None, *,
    sample_weight: Any = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std of each feature; right also where squares overflow, as those of [1e200, -1e200] do."""
    def measured(exponent: int) -> moments.Moments:
        problem = _validate.empty_moments(x, axis, sample_weight)
        return moments.compute(problem, n_threads, backend, weighted=sample_weight is not None, exponent=exponent)

    stats = measured(0)
    mean, std = stats.mean, stats.std(ddof)
    huge = ~np.isfinite(stats.m2) | np.isinf(mean)
    if huge.any() and x.dtype.itemsize == 8:  # a power of two changes no digit
        small = measured(-HUGE)
        mean = np.where(huge, np.ldexp(small.mean, HUGE), mean)
        std = np.where(huge, np.ldexp(small.std(ddof), HUGE), std)
    return mean, std
