"""PCA's product: half of it is enough, centred before it is multiplied, and in the order of memory."""

import numpy as np

from fastml.learn.exercise import DOUBLE, Array, Cases, Exercise, normal, placed


def oracle(x: Array) -> Array:
    centred = x - x.mean(axis=0)
    return np.einsum("ij,ik->jk", centred, centred)


def allowed(x: Array) -> Array:
    """Roundings of products of centred values, or of values less the first row; and of the means."""
    rows, centred = len(x), np.abs(x - x.mean(axis=0))
    means = rows * DOUBLE * np.abs(x).mean(axis=0)
    products = np.einsum("ij,ik->jk", centred, centred) + rows * np.outer(centred[0], centred[0])
    return 4 * ((rows + 4) * DOUBLE * products + rows * np.outer(means, means))


def cases() -> Cases:
    yield "one row", (normal(1, 5),)
    yield "one column", (normal(13, 1),)
    for shape in ((2, 3), (4, 8), (5, 9), (7, 13), (103, 17)):
        yield "{} x {}".format(*shape), (normal(*shape, seed=shape[1]),)
    yield "a mean of a million: centre before you multiply", (normal(57, 6, mean=1e6),)
    yield "a constant column", (placed(normal(31, 5), (slice(None), 3), 0.5),)
    yield "NaN in one column: its row and column of the result", (placed(normal(9, 5), (6, 2), np.nan),)


EXERCISE = Exercise(
    "gram",
    cases,
    oracle,
    allowed,
    timed=lambda seed: (normal(1000, 96, seed=seed, mean=3),),
    stars=(0.3, 0.6, 0.8),
    dtype="float64",
)
