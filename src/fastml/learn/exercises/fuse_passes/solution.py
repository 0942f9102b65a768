"""One pass: each value is read once, finished while it is in a register, and written once."""

import numba
import numpy as np


@numba.njit
def normalize_add_relu(x, scale, shift, residual, out):
    """out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN. All float32."""
    rows, columns = x.shape
    zero = np.float32(0)  # 0.0 would make it all float64, at half the values a vector
    for i in range(rows):
        a, b = scale[i], shift[i]
        for j in range(columns):
            value = a * x[i, j] + b + residual[i, j]
            out[i, j] = zero if value < zero else value  # not max: a NaN is not below zero, and stays
