"""Column against column, all of them: strided, twice too much, and one sum at a time."""

import numba
import numpy as np


@numba.njit
def gram(x, out):
    """out = c.T @ c, c being x less the means of its columns; x is float32 (rows, columns), out is float64."""
    rows, columns = x.shape
    mean = np.zeros(columns)
    for j in range(columns):
        for i in range(rows):
            mean[j] += x[i, j] / rows
    for j in range(columns):
        for k in range(columns):
            total = 0.0
            for i in range(rows):
                total += (x[i, j] - mean[j]) * (x[i, k] - mean[k])
            out[j, k] = total
