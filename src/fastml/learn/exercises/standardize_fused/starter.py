"""Four passes over x or out: mean, variance, centring, dividing. Two are enough."""

import numba
import numpy as np


@numba.njit
def standardize(x, out):
    """out[:, j] = (x[:, j] - mean) / std, and 0 where std is 0; x and out are float32 (rows, columns)."""
    rows, columns = x.shape
    mean, variance = np.zeros(columns), np.zeros(columns)
    for i in range(rows):
        for j in range(columns):
            mean[j] += x[i, j]
    mean /= rows
    for i in range(rows):
        for j in range(columns):
            variance[j] += (x[i, j] - mean[j]) ** 2
    variance /= rows
    for i in range(rows):
        for j in range(columns):
            out[i, j] = x[i, j] - mean[j]
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 0.0 if variance[j] == 0 else out[i, j] / np.sqrt(variance[j])
