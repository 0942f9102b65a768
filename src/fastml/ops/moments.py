"""Count, mean and sum of squared deviations, in one stable pass."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What a stream of data or a distributed job needs to keep: count, mean and m2 of each feature.

    `m2` is the sum of squared deviations from the mean. All three have shape (features,); NaN was left out, `mean` is
    NaN where `count` is 0.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    def merge(self, other: Self) -> Self:
        """The moments of both sets of data together, by Chan's formula: exact in count, stable in mean and m2.

        >>> import numpy as np, fastml
        >>> X = np.arange(12.0).reshape(6, 2)
        >>> both = fastml.moments(X[:4]).merge(fastml.moments(X[4:]))
        >>> bool(np.allclose(both.mean, X.mean(axis=0))), bool(np.allclose(both.var(), X.var(axis=0)))
        (True, True)
        """
        if self.count.shape != other.count.shape:
            raise ValueError(f"other must have {self.count.size} features, got {other.count.size}")
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        # an empty side has a mean of NaN, which must not spread
        mean = np.where(self.count == 0, other.mean, self.mean)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite means, or differences that overflow
            delta = np.where((self.count == 0) | (other.count == 0), 0.0, other.mean - mean)
            m2 = self.m2 + other.m2 + delta * delta * (self.count * share)
            merged = np.where(np.isfinite(delta), mean + delta * share, mean + other.mean)
            return type(self)(count, merged, m2)

    def var(self, ddof: float = 0) -> NDArray[np.float64]:
        """m2 / (count - ddof), or NaN where that is not positive."""
        freedom = self.count - ddof
        return np.where(freedom > 0, self.m2 / np.where(freedom > 0, freedom, 1), np.nan)

    def std(self, ddof: float = 0) -> NDArray[np.float64]:
        """The square root of `var`; 0 for a constant feature, so that rounding is not taken for spread.

        A feature is constant when its variance is what rounding alone may leave: var <= n eps var + (n mean eps)^2, the
        rule of scikit-learn's StandardScaler, with eps of float64.
        """
        bound = self.count * np.finfo(np.float64).eps
        population = self.m2 / np.maximum(self.count, 1)
        with np.errstate(over="ignore"):
            constant = (population <= bound * population + (self.mean * bound) ** 2) & np.isfinite(population)
        return np.where(constant & (self.count > ddof), 0.0, np.sqrt(self.var(ddof)))


def moments(
    X: ArrayLike, axis: int = 0, *, n_threads: int | None = None, backend: str | None = None
) -> Moments:
    """Count, mean and sum of squared deviations of each column (axis=0) or row (axis=1), NaN left out.

    Parameters: `X` (rows, columns), float32, float64, or integers (computed as float64), any layout; `axis` 0 or 1.
    `n_threads` and `backend` as everywhere. Returns `Moments`, float64 whatever the dtype of X.

    Raises TypeError for another dtype and ValueError for anything but a matrix or for another axis.

    One pass of shifted sums over blocks, merged by Chan's formula (Chan, Golub and LeVeque, 1983): the error of the
    variance does not grow with the offset of the data. Reads X once, about 4 flops a value; scratch of at most 100 KB
    and 24 bytes a feature. The same bits for any number of threads. NumPy: `np.nanmean(X, axis, dtype=np.float64)` and
    `np.nanvar(...)`.

    >>> import numpy as np, fastml
    >>> stats = fastml.moments(np.array([[1.0, 10.0], [3.0, np.nan], [5.0, 30.0]]))
    >>> stats.count, stats.mean, stats.var()
    (array([3, 2]), array([ 3., 20.]), array([  2.66666667, 100.        ]))
    """
    (problem,) = _validate.moments(X, axis)
    return compute(problem, n_threads, backend)


def compute(problem: Any, n_threads: int | None, backend: str | None) -> Moments:
    """Run the kernel on a validated problem."""
    kernel = _dispatch.kernel("moments", problem, backend)
    threads = _threads.count(n_threads, problem.work)
    if problem.x.size:
        kernel(*problem, threads)
    return Moments(problem.count, problem.mean, problem.m2)
