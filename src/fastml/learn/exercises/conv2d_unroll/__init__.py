"""Registers: a value that was loaded should serve several outputs."""

import numpy as np

import fastml
from fastml.learn.exercise import SINGLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array, weight: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("chwpq,ocpq->ohw", windows, weight)


def allowed(x: Array, weight: Array) -> Array:
    return (9 * len(x) + 1) * SINGLE * oracle(np.abs(x), np.abs(weight))


def problem(channels: int, height: int, width: int, outputs: int, seed: int = 0) -> tuple[Array, ...]:
    return normal(channels, height, width, seed=seed), normal(outputs, channels, 3, 3, seed=seed + 100)


def shapes() -> Cases:
    """Channels, height, width, outputs: one of everything, then what no block divides."""
    for shape in ((1, 3, 3, 1), (1, 3, 4, 1), (2, 4, 3, 4), (2, 5, 7, 3), (3, 8, 11, 5), (5, 13, 17, 6), (4, 6, 35, 8)):
        yield "{} channels of {} x {}, {} outputs".format(*shape), problem(*shape)


def cases() -> Cases:
    yield from shapes()
    x, weight = problem(3, 9, 12, 7)
    yield "small integers: no rounding", (np.round(x), np.round(weight))
    yield "NaN in one pixel, which nine outputs of each map see", (placed(x, (1, 4, 6), np.nan), weight)
    yield "infinity in the last pixel", (placed(x, (2, 8, 11), np.inf), weight)


def rung(x: Array, weight: Array, out: Array) -> None:
    fastml.conv2d(x, weight, out=out, n_threads=1)


EXERCISE = Exercise(
    "conv2d",
    cases,
    oracle,
    allowed,
    timed=lambda seed: problem(16, 10, 502, 16, seed),
    stars=(0.3, 0.6, 0.8),
    rung=rung,
)
