"""Down one column after the other: each value comes from another cache line, of which the rest goes to waste."""

import numba


@numba.njit
def column_means(x, out):
    """out[j] = mean of x[:, j]; x is float32 (rows, columns) with rows >= 1, out is float64 (columns,)."""
    rows, columns = x.shape
    for j in range(columns):
        total = 0.0
        for i in range(rows):
            total += x[i, j]
        out[j] = total / rows
