"""Two passes: shifted sums for both statistics in one, and the output in one, without a division or a root in it."""

import numba
import numpy as np


@numba.njit
def standardize(x, out):
    """out[:, j] = (x[:, j] - mean) / std, and 0 where std is 0; x and out are float32 (rows, columns)."""
    rows, columns = x.shape
    sums, squares = np.zeros(columns), np.zeros(columns)
    shift = x[0].astype(np.float64)
    for i in range(1, rows):
        for j in range(columns):
            value = x[i, j] - shift[j]
            sums[j] += value
            squares[j] += value * value
    scale = np.zeros(columns)
    for j in range(columns):
        variance = (squares[j] - sums[j] * (sums[j] / rows)) / rows
        shift[j] += sums[j] / rows  # the mean, in float64: rounded to float32, it would cost digits
        if variance > 0:
            scale[j] = 1 / np.sqrt(variance)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = (x[i, j] - shift[j]) * scale[j]
