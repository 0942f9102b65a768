"""Separability: a maximum of maxima, rows after columns; and what a comparison does with NaN."""

import numpy as np

import fastml
from fastml.learn.exercise import Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    return np.lib.stride_tricks.sliding_window_view(x, (5, 5)).max(axis=(2, 3))  # NumPy's maximum keeps NaN


def allowed(x: Array) -> float:
    return 0  # nothing is computed


def cases() -> Cases:
    for shape in ((5, 5), (5, 9), (9, 5), (6, 6), (23, 37), (12, 261)):
        yield "{} x {}".format(*shape), (normal(*shape, seed=shape[1]),)
    yield "all below zero", (-np.abs(normal(11, 14)),)
    yield "all minus infinity", (np.full((8, 9), -np.inf, np.float32),)
    yield "NaN in the middle", (placed(normal(15, 21), (7, 10), np.nan),)
    yield "NaN in the first corner", (placed(normal(9, 11), (0, 0), np.nan),)
    yield "NaN in the last corner", (placed(normal(9, 11), (8, 10), np.nan),)
    yield "NaN beside infinity", (placed(placed(normal(9, 11), (4, 4), np.inf), (4, 5), np.nan),)


def rung(x: Array, out: Array) -> None:
    fastml.max_pool2d(x[np.newaxis], 5, 1, out=out[np.newaxis], n_threads=1)


EXERCISE = Exercise(
    "max_pool",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(400, 404, seed=seed),),
    stars=(0.3, 0.6, 0.8),
    rung=rung,
)
