"""The same pass over values less the first row's: what cancels is then no larger than the spread."""

import numba
import numpy as np


@numba.njit
def variance(x, out):
    """out[j] = variance of x[:, j] (divided by rows); x is float32 (rows, columns), out float64 (columns,)."""
    rows, columns = x.shape
    sums, squares = np.zeros(columns), np.zeros(columns)
    shift = x[0].astype(np.float64)
    for i in range(1, rows):  # the first row, less itself, adds nothing
        for j in range(columns):
            value = x[i, j] - shift[j]
            sums[j] += value
            squares[j] += value * value
    for j in range(columns):
        mean = sums[j] / rows
        out[j] = (squares[j] - sums[j] * mean) / rows + (shift[j] - shift[j])  # inf - inf: not 0 for a row of inf
