"""Three passes over memory, for one multiplication, two additions and a comparison."""

import numba


@numba.njit
def normalize_add_relu(x, scale, shift, residual, out):
    """out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN. All float32."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = scale[i] * x[i, j] + shift[i]
    for i in range(rows):
        for j in range(columns):
            out[i, j] += residual[i, j]
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 0.0 if out[i, j] < 0.0 else out[i, j]
