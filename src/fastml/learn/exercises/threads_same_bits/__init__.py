"""Threads: who adds what may depend on their number; what is added to what may not."""

import math

import numpy as np

from fastml.learn.exercise import DOUBLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    return np.array([math.fsum(x * x)])  # the square of a float32 is exact in float64


def allowed(x: Array) -> Array:
    return (x.size + 1) * DOUBLE * (x * x).sum()


def cases() -> Cases:
    yield "no values", (normal(0),)
    for size in (1, 2, 5, 31, 4095, 4096, 4097, 8191, 100_003):
        yield f"{size} values", (normal(size, seed=size),)
    yield "NaN in the last place", (placed(normal(9_001), 9_000, np.nan),)
    yield "values of very different sizes", (normal(50_021) * np.float32(10) ** normal(50_021, seed=1, std=3),)


EXERCISE = Exercise(
    "sum_squares",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(2_000_000, seed=seed),),
    stars=(0.6, 0.7, 0.8),  # one thread has half the speed of two
    dtype="float64",
    threads=(1, 2, 3),
)
