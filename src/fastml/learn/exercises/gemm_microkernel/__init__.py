"""Registers: a block of the product stays in them, and each load is shared by a row or a column of it."""

import numpy as np

from fastml.learn.exercise import SINGLE, Array, Cases, Exercise, normal, placed


def oracle(a: Array, b: Array) -> Array:
    return np.einsum("mk,kn->mn", a, b)  # no BLAS: it would spread a NaN as it likes


def allowed(a: Array, b: Array) -> Array:
    return (len(b) + 1) * SINGLE * (np.abs(a) @ np.abs(b))


def problem(m: int, k: int, n: int, seed: int = 0) -> tuple[Array, ...]:
    return normal(m, k, seed=seed), normal(k, n, seed=seed + 100)


def cases() -> Cases:
    for shape in ((1, 1, 1), (4, 4, 4), (6, 3, 16), (5, 3, 7), (13, 17, 19), (7, 33, 31), (12, 5, 33), (3, 64, 2)):
        yield "{0} x {1} by {1} x {2}".format(*shape), problem(*shape)
    yield "nothing to add: k = 0", problem(3, 0, 5)
    a, b = problem(9, 6, 18)
    yield "small integers: no rounding", (np.round(a), np.round(b))
    yield "NaN in one row of a", (placed(a, (8, 5), np.nan), b)
    yield "infinity in one column of b", (a, placed(b, (0, 17), np.inf))


EXERCISE = Exercise(
    "matmul",
    cases,
    oracle,
    allowed,
    timed=lambda seed: problem(36, 512, 512, seed),
    stars=(0.72, 0.8, 0.88),
    sizes=lambda a, b, out: (*a.shape, b.shape[1]),
)
