"""One fast pass with a flaw: sums of x and of x * x. Shift it, or the digits cancel where the mean is large."""

import numba
import numpy as np


@numba.njit
def variance(x, out):
    """out[j] = variance of x[:, j] (divided by rows); x is float32 (rows, columns), out float64 (columns,)."""
    rows, columns = x.shape
    sums, squares = np.zeros(columns), np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            value = np.float64(x[i, j])
            sums[j] += value
            squares[j] += value * value
    for j in range(columns):
        mean = sums[j] / rows
        out[j] = squares[j] / rows - mean * mean
