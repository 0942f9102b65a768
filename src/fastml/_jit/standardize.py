"""(x - mean) / scale. The specification is `fastml._ref.standardize`."""

import numpy as np
from numba import prange

from fastml._jit._flags import kernel

LARGEST = np.finfo(np.float64).max


@kernel
def loops(x, axis, mean, scale, out, n_threads):
    """The same loops, compiled, the inner one along memory; one division a feature, then vectors of multiplications.

    Of a denormal scale 1 / scale is infinite, and 0 times that would be NaN.
    """
    rows, columns = x.shape
    factor = 1 / scale if axis == 0 else scale
    finite = not np.any(factor == np.inf)
    for i in prange(rows):
        if axis == 0 and finite:
            for j in range(columns):
                out[i, j] = (x[i, j] - mean[j]) * factor[j]
        elif axis == 0:
            for j in range(columns):
                out[i, j] = (x[i, j] - mean[j]) / scale[j]
        else:
            m, f = mean[i], 1 / scale[i]
            if f == np.inf:
                f = LARGEST
            for j in range(columns):
                out[i, j] = (x[i, j] - m) * f
