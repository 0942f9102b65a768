"""Fewer multiplications: two outputs share sums of their inputs (S. Winograd, 1980)."""

import numpy as np

import fastml
from fastml.learn.exercise import SINGLE, Array, Cases, Exercise, normal

# y = A^T ((G g) * (B^T d)): three taps g, four values d, two outputs y.
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
BT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
AT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def oracle(x: Array, weight: Array) -> Array:
    return np.einsum("cnp,ocp->on", np.lib.stride_tricks.sliding_window_view(x, 3, axis=1), weight)


def allowed(x: Array, weight: Array) -> Array:
    """Roundings of the transforms and of the sum over channels, with every sign against us."""
    outputs, n, channels = len(weight), x.shape[1] - 2, len(x)
    padded = np.pad(np.abs(x), ((0, 0), (0, n % 2)))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, 4, axis=1)[:, ::2] @ np.abs(BT).T
    products = np.einsum("ocp,ctp->otp", np.abs(weight) @ np.abs(G).T, tiles)
    return (channels + 8) * SINGLE * (products @ np.abs(AT).T).reshape(outputs, -1)[:, :n]


def problem(channels: int, n: int, outputs: int, seed: int = 0) -> tuple[Array, ...]:
    return normal(channels, n + 2, seed=seed), normal(outputs, channels, 3, seed=seed + 100)


def cases() -> Cases:
    for shape in ((1, 1, 1), (1, 2, 1), (2, 3, 4), (3, 8, 5), (5, 17, 6), (8, 64, 8), (7, 101, 3)):
        yield "{} channels of {}, {} outputs".format(*shape), problem(*shape)
    x, weight = problem(3, 20, 7)
    yield "even integers: nothing is rounded", (np.round(x), 2 * np.round(weight))


def rung(x: Array, weight: Array, out: Array) -> None:
    fastml.conv2d(x[:, np.newaxis], weight[:, :, np.newaxis], out=out[:, np.newaxis], n_threads=1)


EXERCISE = Exercise(
    "conv1d",
    cases,
    oracle,
    allowed,
    timed=lambda seed: problem(64, 1984, 64, seed),
    stars=(0.5, 0.7, 0.89),  # what conv2d_unroll teaches has the first two
    rung=rung,
)
