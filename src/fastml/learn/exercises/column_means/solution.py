"""All columns at once, row by row, in the order of memory: whole cache lines, and additions that do not wait."""

import numba


@numba.njit
def column_means(x, out):
    """out[j] = mean of x[:, j]; x is float32 (rows, columns) with rows >= 1, out is float64 (columns,)."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = 0.0  # whatever was there before
    for i in range(rows):
        for j in range(columns):
            out[j] += x[i, j]
    for j in range(columns):
        out[j] /= rows
