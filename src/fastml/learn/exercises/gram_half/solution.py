"""In the order of memory, the upper half only, four rows at a time: a sum is loaded once for four products."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning


@numba.njit(fastmath=FAST)
def gram(x, out):
    """out = c.T @ c, c being x less the means of its columns; x is float32 (rows, columns), out is float64."""
    rows, columns = x.shape
    mean, block = np.zeros(columns), np.zeros((4, columns))
    for i in range(rows):
        for j in range(columns):
            mean[j] += x[i, j]
    mean /= rows
    out[:] = 0.0
    for start in range(0, rows, 4):
        last = min(start + 4, rows)
        block[:] = 0.0  # rows that do not exist add nothing
        for i in range(start, last):
            for j in range(columns):
                block[i - start, j] = x[i, j] - mean[j]  # centred before it is multiplied: nothing cancels
        b0, b1, b2, b3 = block[0], block[1], block[2], block[3]
        for j in range(columns):
            a0, a1, a2, a3, row = b0[j], b1[j], b2[j], b3[j], out[j]
            for k in range(j, columns):
                row[k] += a0 * b0[k] + a1 * b1[k] + a2 * b2[k] + a3 * b3[k]
    for j in range(columns):
        for k in range(j):
            out[j, k] = out[k, j]
