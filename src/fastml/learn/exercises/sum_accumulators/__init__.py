"""Latency: a sum is a chain, and each link waits for the one before it."""

import math

import numpy as np

from fastml.learn.exercise import DOUBLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    return np.array([math.fsum(x)])  # rounded once


def allowed(x: Array) -> Array:
    return x.size * DOUBLE * np.abs(x).sum()


def cases() -> Cases:
    yield "no values", (normal(0),)
    for size in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 1009):
        yield f"{size} values", (normal(size, seed=size),)
    yield "200003 values, all positive: float32 would lose digits", (np.abs(normal(200_003)) + np.float32(0.1),)
    yield "a large value and its opposite among small ones", (placed(placed(normal(999), 3, 1e30), 900, -1e30),)
    yield "NaN in the last place", (placed(normal(21), 20, np.nan),)
    yield "infinity in the first", (placed(normal(21), 0, np.inf),)


EXERCISE = Exercise(
    "total",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(100_000, seed=seed),),
    dtype="float64",
    sizes=lambda x, out: (x.size,),
)
