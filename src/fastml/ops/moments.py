"""Count, mean and sum of squared deviations, in one stable pass."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate
from fastml._validate.arrays import readable
from fastml._validate.matrices import TILE, converted, tiles

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """All that has to be kept of a stream of data, or sent between the workers of a distributed job.

    Of each feature, arrays of shape (features,): `count`, how many values there were that are not NaN (int64), or with
    weights the sum of theirs (float64); `mean`, NaN where count is 0; `m2`, the sum of squared deviations from the
    mean. `merge` is associative and commutative up to rounding, so pieces may be measured anywhere and in any order;
    `moments` of no rows is where to start. Three plain arrays: it can be pickled, sent, and reduced as it is.

    >>> import functools, pickle
    >>> import numpy as np, fastml
    >>> X = np.arange(24.0).reshape(8, 3)
    >>> state = fastml.moments(X[:0])
    >>> for piece in (X[:5], X[5:6], X[6:]):  # a stream
    ...     state = state.merge(fastml.moments(piece))
    >>> state.count, state.mean, state.var()
    (array([8, 8, 8]), array([10.5, 11.5, 12.5]), array([47.25, 47.25, 47.25]))
    >>> sent = [pickle.dumps(fastml.moments(piece)) for piece in (X[:3], X[3:])]  # by workers
    >>> functools.reduce(fastml.Moments.merge, map(pickle.loads, sent)).mean
    array([10.5, 11.5, 12.5])
    """

    count: NDArray[Any]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def merge(self, other: Self) -> Self:
        """The moments of both sets of data together, by Chan's formula: exact in count, stable in mean and m2.

        The mean moves from that of the larger side: what is added is then at most half of the difference, and no mean
        far away, of few values, costs digits. Raises ValueError for another number of features.

        >>> import numpy as np, fastml
        >>> X = np.arange(12.0).reshape(6, 2)
        >>> both = fastml.moments(X[:4]).merge(fastml.moments(X[4:]))
        >>> bool(np.allclose(both.mean, X.mean(axis=0))), bool(np.allclose(both.var(), X.var(axis=0)))
        (True, True)
        """
        if not isinstance(other, type(self)):
            raise TypeError(f"other must be Moments, got {type(other).__name__}")
        if self.count.shape != other.count.shape:
            raise ValueError(f"other must have {self.count.size} features, got {other.count.size}")
        count = self.count + other.count
        first = self.count >= other.count
        fewer = np.where(first, other.count, self.count)
        more_mean, fewer_mean = np.where(first, (self.mean, other.mean), (other.mean, self.mean))
        share = np.divide(fewer, count, out=np.zeros(count.shape), where=fewer > 0)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite means, or differences that overflow
            delta = np.where(fewer > 0, fewer_mean - more_mean, 0.0)  # an empty side has a mean of NaN
            m2 = self.m2 + other.m2 + delta * delta * ((count - fewer) * share)
            mean = np.where(np.isfinite(delta), more_mean + delta * share, more_mean + fewer_mean)
        return type(self)(count, mean, m2)

    def var(self, ddof: float = 0) -> NDArray[np.float64]:
        """m2 / (count - ddof), or NaN where that is not positive. With weights, `ddof` counts as frequencies do."""
        freedom, variance = self.count - ddof, np.full(self.m2.shape, np.nan)
        np.divide(self.m2, freedom, out=variance, where=freedom > 0)
        return variance

    def std(self, ddof: float = 0) -> NDArray[np.float64]:
        """The square root of `var`; 0 for a constant feature, so that rounding is not taken for spread.

        A feature is constant when its variance is what rounding alone may leave: var <= n eps var + (n mean eps)^2, the
        rule of scikit-learn's StandardScaler, with eps of float64. So is one whose squares underflow, [1e-200, 3e-200].
        """
        variance = self.var(ddof)
        same = constant(self.count, self.mean, self.var() if ddof else variance)
        np.sqrt(variance, out=variance)
        variance[same & (self.count > ddof)] = 0.0
        return variance


def constant(count: Any, mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each feature is constant by the rule of `Moments.std`, from its biased variance; infinite, it is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        bound = count * EPS
        rounding = mean * bound
        rounding *= rounding
        rounding += bound * variance
        same: NDArray[np.bool_] = (variance <= rounding) & (variance < np.inf)
    return same


def moments(
    X: ArrayLike,
    axis: int = 0,
    *,
    sample_weight: ArrayLike | None = None,
    n_threads: int | None = None,
    backend: str | None = None,
) -> Moments:
    """Count, mean and sum of squared deviations of each column (axis=0) or row (axis=1), NaN left out.

    Parameters
    ----------
    X: (rows, columns), float32 or float64; also float16, integers and booleans. Any layout.
    axis: 0 for statistics of columns, 1 of rows.
    sample_weight: (rows,) with axis=0, (columns,) with axis=1; finite and not negative. Then count is the sum of the
        weights, mean the weighted mean, and m2 the weighted sum of squares. A value of weight 0 is not counted.
    n_threads, backend: for this call; None for what `set_num_threads` and `set_backend` say.

    Returns `Moments`, float64 whatever the dtype of X; `count` is int64 without weights.

    Raises TypeError for another dtype and ValueError for anything but a matrix, another axis, or wrong weights.

    One pass of shifted sums over blocks, merged by Chan's formula (Chan, Golub and LeVeque, 1983): the error of the
    variance does not grow with the offset of the data. Reads X once, about 4 flops a value; scratch of at most 1 MB
    and 24 bytes a feature: what a kernel cannot read as it is (integers, float16, strides, another byte order) is
    converted 256 KiB at a time. The same bits for any number of threads. NumPy: `np.nanmean(X, axis,
    dtype=np.float64)` and `np.nanvar(...)`.

    >>> import numpy as np, fastml
    >>> stats = fastml.moments(np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0]]))
    >>> stats.count, stats.mean, stats.var()
    (array([3, 2]), array([ 3., 20.]), array([  2.66666667, 100.        ]))
    >>> fastml.moments(np.array([[1.0], [4.0]]), sample_weight=[2, 1]).mean
    array([2.])
    """
    (problem,) = _validate.moments(X, axis, sample_weight=sample_weight)
    return compute(problem, n_threads, backend, weighted=sample_weight is not None)


def compute(
    problem: Any, n_threads: int | None, backend: str | None, *, weighted: bool = False, exponent: int = 0
) -> Moments:
    """The moments of a validated problem; with `exponent`, those of x times that power of two."""
    whole = readable(problem.x) and not exponent
    threads = _threads.count(n_threads, problem.work if whole else TILE)
    kernel = _dispatch.kernel("moments", problem, backend)
    if not problem.x.size:
        problem.mean[:] = np.nan
    elif whole:
        kernel(*problem, threads)
    else:
        _tile_by_tile(problem, exponent, threads, backend)
    count = problem.count if weighted else problem.count.astype(np.int64)
    return Moments(count, problem.mean, problem.m2)


def _tile_by_tile(problem: Any, exponent: int, threads: int, backend: str | None) -> None:
    """Convert what a kernel cannot read, a tile at a time, and merge the moments of the tiles into the problem's.

    Where there are several tiles of a feature, the mean of the first that holds a value is subtracted from all: merged
    at the offset of the data itself, the differences of their means would be rounded.
    """
    x, axis, samples = problem.x, problem.axis, problem.x.shape[problem.axis]
    origin = np.zeros(problem.mean.size)

    def measure(tile: Any, piece: tuple[slice, slice]) -> Moments:
        part = _validate.empty_moments(tile, axis, problem.sample_weight[piece[axis]])
        _dispatch.kernel("moments", part, backend)(*part, threads)
        return Moments(part.count, part.mean, part.m2)

    for piece in tiles(x, axis):
        some, features = piece[axis], piece[1 - axis]
        several = some.start > 0 or some.stop < samples
        tile = converted(x[piece], single=x.dtype.char in "ef" and not several)
        if exponent:
            np.ldexp(tile, exponent, out=tile)
        empty = problem.count[features] == 0
        if several and empty.any():
            mean = measure(np.compress(empty, tile, 1 - axis), piece).mean
            origin[features][empty] = np.where(np.isfinite(mean), mean, 0.0)
        if several:
            with np.errstate(over="ignore"):  # infinite squares are known to the callers
                tile -= np.expand_dims(origin[features], axis)
        stats = measure(tile, piece)
        if some.start:
            stats = Moments(problem.count[features], problem.mean[features], problem.m2[features]).merge(stats)
        problem.count[features], problem.mean[features], problem.m2[features] = stats.count, stats.mean, stats.m2
    problem.mean[:] += origin
