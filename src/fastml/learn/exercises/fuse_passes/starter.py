"""As NumPy does it: an operation at a time, each over all values, and each into a new array."""

import numba
import numpy as np


@numba.njit
def normalize_add_relu(x, scale, shift, residual, out):
    """out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN. All float32."""
    rows, columns = x.shape
    scaled, shifted, added = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for i in range(rows):
        for j in range(columns):
            scaled[i, j] = scale[i] * x[i, j]
    for i in range(rows):
        for j in range(columns):
            shifted[i, j] = scaled[i, j] + shift[i]
    for i in range(rows):
        for j in range(columns):
            added[i, j] = shifted[i, j] + residual[i, j]
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 0.0 if added[i, j] < 0.0 else added[i, j]
