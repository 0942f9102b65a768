"""Passes over memory: what is in a register need not be fetched again."""

import numpy as np

import fastml
from fastml.learn.exercise import SINGLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array, scale: Array, shift: Array, residual: Array) -> Array:
    value = scale[:, np.newaxis] * x + shift[:, np.newaxis] + residual
    return np.where(value < 0, 0, value)


def allowed(x: Array, scale: Array, shift: Array, residual: Array) -> Array:
    return 3 * SINGLE * (np.abs(scale[:, np.newaxis] * x) + np.abs(shift[:, np.newaxis]) + np.abs(residual))


def problem(rows: int, columns: int, seed: int = 0) -> tuple[Array, ...]:
    x, residual = normal(rows, columns, seed=seed), normal(rows, columns, seed=seed + 100)
    return x, normal(rows, seed=seed + 200), normal(rows, seed=seed + 300), residual


def cases() -> Cases:
    for shape in ((1, 1), (1, 17), (13, 1), (3, 7), (8, 64), (5, 1009)):
        yield "{} x {}".format(*shape), problem(*shape)
    x, scale, shift, residual = problem(4, 33)
    yield "NaN, which is not below zero", (placed(x, (1, 32), np.nan), scale, shift, residual)
    yield "NaN in the residual", (x, scale, shift, placed(residual, (0, 0), np.nan))
    yield "infinities", (placed(placed(x, (0, 5), np.inf), (3, 6), -np.inf), scale, shift, residual)
    yield "nothing is positive", (np.abs(x), -np.abs(scale), -np.abs(shift), -np.abs(residual))


def rung(x: Array, scale: Array, shift: Array, residual: Array, out: Array) -> None:
    """Batch norm by given statistics, with a residual and ReLU, is this operation."""
    mean, variance = np.zeros_like(scale), np.ones_like(scale)
    shape = (1, len(x), -1, 1)
    fastml.batch_norm(x.reshape(shape), mean, variance, scale, shift, eps=1e-12, n_threads=1,
                      activation="relu", residual=residual.reshape(shape), out=out.reshape(shape))  # fmt: skip


EXERCISE = Exercise(
    "normalize_add_relu",
    cases,
    oracle,
    allowed,
    timed=lambda seed: problem(64, 56 * 56 * 16, seed),
    stars=(0.6, 0.77, 0.87),  # two passes have the first
    rung=rung,
    sizes=lambda x, scale, shift, residual, out: x.shape,
)
