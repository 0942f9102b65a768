"""Fewer multiplications in two dimensions: F(2, 3) of F(2, 3) (A. Lavin and S. Gray, 2016)."""

import numpy as np

import fastml
from fastml.learn.exercise import SINGLE, Array, Cases, Exercise
from fastml.learn.exercises.conv2d_unroll import oracle, problem, shapes
from fastml.learn.exercises.winograd_1d import AT, BT, G


def allowed(x: Array, weight: Array) -> Array:
    """Roundings of the transforms and of the sum over channels, with every sign against us."""
    channels, height, width = len(x), x.shape[1] - 2, x.shape[2] - 2
    g, bt, at = np.abs(G), np.abs(BT), np.abs(AT)
    padded = np.pad(np.abs(x), ((0, 0), (0, height % 2), (0, width % 2)))
    tiles = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))[:, ::2, ::2]
    u = np.einsum("pi,ocij,qj->ocpq", g, np.abs(weight), g)
    v = np.einsum("pi,cyxij,qj->cyxpq", bt, tiles, bt)
    out = np.einsum("ap,oyxpq,bq->oyaxb", at, np.einsum("ocpq,cyxpq->oyxpq", u, v), at)
    return (channels + 16) * SINGLE * out.reshape(len(weight), 2 * tiles.shape[1], -1)[:, :height, :width]


def cases() -> Cases:
    yield from shapes()
    x, weight = problem(3, 9, 12, 7)
    yield "multiples of four: nothing is rounded", (np.round(x), 4 * np.round(weight))


def rung(x: Array, weight: Array, out: Array) -> None:
    fastml.conv2d(x, weight, out=out, algorithm="winograd_2x2", n_threads=1)


EXERCISE = Exercise(
    "conv2d",
    cases,
    oracle,
    allowed,
    timed=lambda seed: problem(64, 58, 58, 64, seed),
    stars=(0.5, 0.8, 0.87),  # a very good direct convolution has the first
    rung=rung,
)
