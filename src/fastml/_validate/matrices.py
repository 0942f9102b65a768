"""Arguments of the operations on matrices: moments, standardize, pca."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastml._validate.arrays import (
    Array,
    convertible,
    dimensions,
    least,
    most,
    output,
    ready,
    real,
    size_fits,
    vector64,
)
from fastml._validate.numbers import choice, flag, integer, number

EXACT = 1000  # rows or columns, the fewer of them, up to which exact components take less time than random ones
TILE = 2**15  # values converted at a time: as float64 they are 256 KiB, which stay in the second-level cache
WIDTH = 2**11  # features of a tile, at the most where there are samples to fill it


class Moments(NamedTuple):
    x: Array  # where no kernel can read it, `moments.compute` hands it out in tiles
    sample_weight: Array
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


class PcaTransform(NamedTuple):
    x: Array
    mean: Array
    basis: Array
    out: Array

    @property
    def work(self) -> float:
        return float(self.x.size) * float(self.basis.shape[0])


def _matrix(X: Any, name: str = "X") -> Array:
    array = real(X, name, integers=True)
    dimensions(array, name, (2,), "a matrix of shape (rows, columns)")
    return array


def _axis(axis: Any) -> int:
    return integer(axis, "axis", 0, 1)


def _numbers(X: Any) -> Array:
    array = convertible(X, "X")
    dimensions(array, "X", (2,), "a matrix of shape (rows, columns)")
    return array


def _fortran(array: Array) -> bool:
    """Whether its transpose is what a kernel reads, with the other axis."""
    return array.flags.f_contiguous and not array.flags.c_contiguous


def _weights(sample_weight: Any, samples: int) -> Array | None:
    """Float64 weights, or None."""
    if sample_weight is None:
        return None
    array = real(sample_weight, "sample_weight", integers=True)
    if array.shape != (samples,):
        raise ValueError(f"sample_weight must have shape ({samples},), got {array.shape}")
    if samples and not (least(array) >= 0 and most(array) < np.inf):
        raise ValueError(f"sample_weight must be finite and not negative, got {least(array)} to {most(array)}")
    return np.require(array, np.float64, ["C", "A"])


def tiles(x: Array, axis: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of pieces of at most TILE values, sample after sample for some features, then for the next."""
    features, samples = x.shape[1 - axis], x.shape[axis]
    width = min(features, max(WIDTH, TILE // max(samples, 1)))
    length = TILE // max(width, 1)
    for feature in range(0, features, width or 1):
        for sample in range(0, samples, length):
            piece = slice(sample, sample + length), slice(feature, feature + width)
            yield piece if axis == 0 else piece[::-1]


def converted(tile: Array, single: bool) -> Array:
    """A copy of a part of X that a kernel can read, float32 or float64."""
    return np.array(tile, np.float32 if single else np.float64, order="C")


def empty_moments(x: Array, axis: int, sample_weight: Array | None = None) -> Moments:
    features = x.shape[1 - axis]
    size_fits((features, 3), 8, "the statistics of X")
    weight = np.empty(0) if sample_weight is None else sample_weight
    return Moments(x, weight, axis, np.zeros(features), np.zeros(features), np.zeros(features))


def moments(X: Any, axis: Any = 0, *, sample_weight: Any = None) -> tuple[Moments]:
    x, axis = _numbers(X), _axis(axis)
    weight = _weights(sample_weight, x.shape[axis])
    return (empty_moments(x.T, 1 - axis, weight) if _fortran(x) else empty_moments(x, axis, weight),)


def standardize(
    X: Any, *, mean: Any = None, std: Any = None, axis: Any = 0, with_mean: Any = True, with_std: Any = True,
    ddof: Any = 0, return_stats: Any = False, out: Any = None,
) -> tuple[Standardize, Array]:
    """The problem, with mean and scale filled in where they are given, and the array to return."""
    array, axis = _numbers(X), _axis(axis)
    for name, value in (("with_mean", with_mean), ("with_std", with_std), ("return_stats", return_stats)):
        flag(value, name)
    number(ddof, "ddof", 0)
    features = array.shape[1 - axis]
    # the caller's array decides the order, so that the kernel writes it directly
    fortran = _fortran(out if isinstance(out, np.ndarray) else array)
    dtype = array.dtype if array.dtype.kind == "f" else np.float64
    result = output(out, array.shape, dtype, {"X": array}, in_place=("X",), order="F" if fortran else "C")
    size_fits((features, 2), 8, "the statistics of X")
    mean64 = vector64(mean if with_mean else None, "mean", features, 0.0)
    std64 = vector64(std if with_std else None, "std", features, 1.0)
    if (std64 < 0).any():
        raise ValueError("std must not be negative")
    scale = np.where(std64 == 0, 1.0, std64)
    if fortran:
        return Standardize(array.T, 1 - axis, mean64, scale, np.asarray(result).T), result
    return Standardize(array, axis, mean64, scale, np.asarray(result)), result


def pca(
    X: Any, n_components: Any = None, *, solver: Any = "auto", whiten: Any = False, n_oversamples: Any = 10,
    n_iterations: Any = 4, tol: Any = 0.0, random_state: Any = 0,
) -> tuple[Pca, int | float | None, Any]:
    """The problem; n_components as an integer, a fraction of the variance, or None for all; and a generator.

    The scatter matrix is empty where a wide X has a smaller one, of rows by rows, and where none is needed.
    """
    x = ready(_matrix(X), "X")
    if x.shape[0] < 2 or x.shape[1] < 1:
        raise ValueError(f"X must have at least 2 rows and 1 column, got shape {x.shape}")
    choice(solver, "solver", ("auto", "covariance_eigh", "full", "randomized", "arpack"))
    flag(whiten, "whiten")
    integer(n_oversamples, "n_oversamples", 1)
    integer(n_iterations, "n_iterations", 0)
    number(tol, "tol", 0)
    random = random_state
    if not isinstance(random, np.random.RandomState | np.random.Generator):
        seed = integer(random, "random_state", 0)
        random = np.random.default_rng(seed) if solver in ("randomized", "arpack") else None  # it takes time to make
    if solver == "arpack":
        if min(x.shape) < 2:
            raise ValueError(f"X must have at least 2 rows and 2 columns for solver 'arpack', got shape {x.shape}")
        n_components = min(x.shape) - 1 if n_components is None else n_components
        n_components = integer(n_components, "n_components", 1, min(x.shape) - 1)
    elif n_components is not None:
        if isinstance(n_components, float | np.floating):
            n_components = number(n_components, "n_components", 0)
            if not 0 < n_components < 1:
                raise ValueError(f"n_components must be in (0, 1) when it is a fraction, got {n_components}")
        else:
            n_components = integer(n_components, "n_components", 1, min(x.shape))
    wide = x.shape[0] < x.shape[1]
    columns = 0 if wide or by_products(x, n_components, solver) else x.shape[1]
    return Pca(x, np.empty(x.shape[1]), np.empty((columns, columns))), n_components, random


def by_products(x: Array, n_components: Any, solver: str) -> bool:
    """Whether `pca` is to multiply X with vectors, and does without a scatter matrix."""
    few = isinstance(n_components, int) and min(x.shape) > EXACT
    return solver == "arpack" or (solver == "randomized" and few)


def scatter(x: Array) -> Pca:
    """The problem for rows that are ready, of which there may be fewer than columns."""
    columns = x.shape[1]
    size_fits((columns, columns), 8, "the scatter matrix of X")
    return Pca(x, np.empty(columns), np.empty((columns, columns)))


def rows_of(X: Any, columns: int, name: str) -> Array:
    """Rows to transform with a fitted model."""
    array = ready(_matrix(X, name), name)
    if array.shape[1] != columns:
        raise ValueError(f"{name} must have {columns} columns, got {array.shape[1]}")
    return array


def pca_transform(X: Any, mean: Any, components: Any, *, out: Any = None) -> tuple[PcaTransform, Array]:
    """The problem and its result."""
    x = ready(_matrix(X), "X")
    basis = ready(_matrix(components, "components"), "components")
    if basis.shape[1] != x.shape[1]:
        raise ValueError(f"components must have {x.shape[1]} columns, as X has, got {basis.shape[1]}")
    with np.errstate(over="ignore"):  # infinite in float32
        basis = basis.astype(x.dtype, copy=False)
    mean64 = vector64(mean, "mean", x.shape[1], 0.0)
    result = output(out, (x.shape[0], basis.shape[0]), x.dtype, {"X": x, "components": basis})
    return PcaTransform(x, mean64, basis, np.asarray(result)), result


def finite_result(X: Array, result: Array) -> None:
    """Refuse NaN and infinity in X, which is looked at only when the result holds some."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = result.sum()  # needs no memory; finite values whose sum is not are looked at one by one
    if not (np.isfinite(total) or np.isfinite(result).all()):
        if not np.isfinite(X).all():
            raise ValueError("X must be finite, but holds NaN or infinity")
        raise ValueError("X is too large: the squares of its values overflow")
