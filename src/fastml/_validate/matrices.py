"""Arguments of the operations on matrices: moments, standardize, pca."""

from typing import Any, NamedTuple

import numpy as np

from fastml._validate.arrays import Array, dimensions, output, ready, real, size_fits, vector64
from fastml._validate.numbers import choice, flag, integer, number


class Moments(NamedTuple):
    x: Array
    axis: int
    count: Array  # type: ignore[assignment]  # tuple.count is not needed
    mean: Array
    m2: Array

    @property
    def work(self) -> float:
        return float(self.x.size)


class Standardize(NamedTuple):
    x: Array
    axis: int
    mean: Array
    scale: Array
    out: Array

    @property
    def work(self) -> float:
        return float(self.x.size)


class Pca(NamedTuple):
    x: Array
    mean: Array
    scatter: Array

    @property
    def work(self) -> float:
        return float(self.x.size) * float(self.x.shape[1]) / 2


def _matrix(X: Any, name: str = "X") -> Array:
    array = real(X, name, integers=True)
    dimensions(array, name, (2,), "a matrix of shape (rows, columns)")
    return array


def _axis(axis: Any) -> int:
    return integer(axis, "axis", 0, 1)


def _rows(array: Array, axis: int) -> tuple[Array, int]:
    """The matrix as a kernel reads it. A Fortran-ordered one is its transpose with the other axis: no copy."""
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        return ready(array.T, "X"), 1 - axis
    return ready(array, "X"), axis


def empty_moments(x: Array, axis: int) -> Moments:
    features = x.shape[1 - axis]
    size_fits((features, 3), 8, "the statistics of X")
    return Moments(x, axis, np.zeros(features, np.int64), np.full(features, np.nan), np.zeros(features))


def moments(X: Any, axis: Any = 0) -> tuple[Moments]:
    x, axis = _rows(_matrix(X), _axis(axis))
    return (empty_moments(x, axis),)


def standardize(
    X: Any, *, mean: Any = None, std: Any = None, axis: Any = 0, with_mean: Any = True, with_std: Any = True,
    ddof: Any = 0, return_stats: Any = False, out: Any = None,
) -> tuple[Standardize, Array]:
    """The problem, with mean and scale filled in where they are given, and the array to return."""
    array, axis = _matrix(X), _axis(axis)
    for name, value in (("with_mean", with_mean), ("with_std", with_std), ("return_stats", return_stats)):
        flag(value, name)
    number(ddof, "ddof", 0)
    features = array.shape[1 - axis]
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    if isinstance(out, np.ndarray):  # the caller's array decides the order, so that the kernel writes it directly
        fortran = out.flags.f_contiguous and not out.flags.c_contiguous
    result = output(out, array.shape, array.dtype, {"X": array}, in_place=("X",), order="F" if fortran else "C")
    size_fits((features, 2), 8, "the statistics of X")
    mean64 = vector64(mean if with_mean else None, "mean", features, 0.0)
    std64 = vector64(std if with_std else None, "std", features, 1.0)
    if (std64 < 0).any():
        raise ValueError("std must not be negative")
    if fortran:
        x, kernel_axis, kernel_out = ready(array.T, "X"), 1 - axis, result.T
    else:
        x, kernel_axis, kernel_out = ready(array, "X"), axis, result
    return Standardize(x, kernel_axis, mean64, np.where(std64 == 0, 1.0, std64), kernel_out), result


def pca(
    X: Any, n_components: Any = None, *, solver: Any = "auto", whiten: Any = False
) -> tuple[Pca, int | float | None]:
    """The problem, and n_components as an integer, a fraction of the variance, or None for all.

    The scatter matrix is empty where no solver will ask for it.
    """
    x = ready(_matrix(X), "X")
    if x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"X must have at least 2 rows and 1 column, got shape {x.shape}")
    choice(solver, "solver", ("auto", "covariance_eigh", "full"))
    flag(whiten, "whiten")
    if n_components is not None:
        if isinstance(n_components, float | np.floating):
            n_components = number(n_components, "n_components", 0)
            if not 0 < n_components < 1:
                raise ValueError(f"n_components must be in (0, 1) when it is a fraction, got {n_components}")
        else:
            n_components = integer(n_components, "n_components", 1, min(x.shape))
    columns = x.shape[1] if solver == "covariance_eigh" or (solver == "auto" and x.shape[0] >= x.shape[1]) else 0
    size_fits((columns, columns), 8, "the scatter matrix of X")
    return Pca(x, np.empty(x.shape[1]), np.empty((columns, columns))), n_components


def rows_of(X: Any, columns: int, name: str) -> Array:
    """Rows to transform with a fitted model."""
    array = ready(_matrix(X, name), name)
    if array.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, got {array.shape[1]}")
    return array


def finite_result(X: Array, result: Array) -> None:
    """Refuse NaN and infinity in X, which is looked at only when the result holds some."""
    if not np.isfinite(result).all():
        if not np.isfinite(X).all():
            raise ValueError("X must be finite, but holds NaN or infinity")
        raise ValueError("X is too large: the squares of its values overflow")
