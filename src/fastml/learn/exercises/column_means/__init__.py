"""The order of memory: a cache line is fetched whole, and should be used whole."""

import numpy as np

from fastml.learn.exercise import DOUBLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    return x.mean(axis=0)


def allowed(x: Array) -> Array:
    return 2 * (len(x) + 1) * DOUBLE * np.abs(x).mean(axis=0)  # twice: NumPy rounds, too


def cases() -> Cases:
    yield "one value", (normal(1, 1),)
    yield "one row", (normal(1, 19),)
    yield "one column", (normal(1009, 1),)
    for shape in ((2, 3), (7, 13), (16, 16), (17, 31), (1001, 3), (64, 257)):
        yield "{} x {}".format(*shape), (normal(*shape, seed=shape[0]),)
    yield "a mean of a million: float32 would lose digits", (normal(5003, 5, mean=1e6),)
    yield "NaN in one column", (placed(normal(9, 5), (4, 2), np.nan),)
    yield "infinity in the last value", (placed(normal(9, 5), (8, 4), np.inf),)


EXERCISE = Exercise(
    "column_means",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(4000, 256, seed=seed),),
    dtype="float64",
)
