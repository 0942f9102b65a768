"""Passes and digits at once: two readings of x, one writing of the result, and a mean of a million."""

import numpy as np

import fastml
from fastml.learn.exercise import DOUBLE, SINGLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.where((x == x[0]).all(axis=0), 0, z)  # the mean of equal values may be rounded, and std not be 0


def allowed(x: Array) -> Array:
    """Errors of the variance as in `stable_variance`, of the mean, and three roundings to float32."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    z, rows = np.abs(oracle(x)), len(x)
    of_variance = 2 * (rows + 3) * DOUBLE * (1 + np.abs(mean) / std + ((x[0] - mean) / std) ** 2)
    bound = z * (of_variance + 3 * SINGLE) + 2 * rows * DOUBLE * np.abs(x).mean(axis=0) / std
    return np.where((x == x[0]).all(axis=0), 0, bound)


def cases() -> Cases:
    yield "one row", (normal(1, 7, mean=3),)
    yield "one column", (normal(101, 1),)
    for shape in ((2, 3), (7, 13), (17, 31), (1001, 3)):
        yield "{} x {}".format(*shape), (normal(*shape, seed=shape[0]),)
    yield "a mean of a million: it must not be rounded to float32", (normal(101, 5, mean=1e6),)
    yield "a mean of minus ten thousand, a spread of 0.01", (normal(307, 3, mean=-1e4, std=0.01),)
    yield "a constant column", (placed(normal(55, 4, mean=1e5), (slice(None), 2), 0.5),)
    yield "NaN in one column", (placed(normal(9, 5), (4, 2), np.nan),)


def rung(x: Array, out: Array) -> None:
    fastml.standardize(x, out=out, n_threads=1)


EXERCISE = Exercise(
    "standardize",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(4000, 256, seed=seed, mean=3),),
    stars=(0.4, 0.6, 0.8),
    rung=rung,
)
