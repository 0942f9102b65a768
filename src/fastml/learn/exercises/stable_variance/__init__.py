"""Digits: what is subtracted in the end should have been subtracted at the beginning."""

import numpy as np

import fastml
from fastml.learn.exercise import DOUBLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    return x.var(axis=0)


def allowed(x: Array) -> Array:
    """What Welford's method needs, or a shift by the first row; the sums of x * x need more where the mean is large."""
    mean, variance = x.mean(axis=0), x.var(axis=0)
    spread = variance + np.sqrt(variance) * np.abs(mean) + (x[0] - mean) ** 2
    return 4 * (len(x) + 3) * DOUBLE * spread + (len(x) * DOUBLE * mean) ** 2


def cases() -> Cases:
    yield "one row: no spread", (normal(1, 7, mean=3),)
    yield "one column", (normal(101, 1),)
    for shape in ((2, 3), (7, 13), (17, 31), (1001, 3)):
        yield "{} x {}".format(*shape), (normal(*shape, seed=shape[0]),)
    yield "a mean of a million", (normal(101, 5, mean=1e6),)
    yield "a mean of minus ten thousand, a spread of 0.01", (normal(307, 3, mean=-1e4, std=0.01),)
    yield "a constant column", (placed(normal(55, 4, mean=1e5), (slice(None), 2), 0.1),)
    yield "a first row that is far off", (placed(normal(101, 3), 0, 1e4),)
    yield "NaN in one column", (placed(normal(9, 5), (4, 2), np.nan),)
    yield "NaN in the first row", (placed(normal(9, 5), (0, 1), np.nan),)
    yield "infinity", (placed(normal(9, 5), (8, 4), np.inf),)
    yield "infinity in the first row", (placed(normal(9, 5), (0, 0), np.inf),)


def rung(x: Array, out: Array) -> None:
    fastml.moments(x, n_threads=1)


EXERCISE = Exercise(
    "variance",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(4000, 256, seed=seed, mean=3),),
    stars=(0.5, 0.65, 0.8),
    dtype="float64",
    rung=rung,
)
