"""The definition: each value of the product is a row of a times a column of b, which is not in the order of memory."""

import numba
import numpy as np


@numba.njit
def matmul(a, b, out):
    """out = a @ b; a is (m, k), b is (k, n), all float32."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = np.float32(0)
            for p in range(a.shape[1]):
                total += a[i, p] * b[p, j]
            out[i, j] = total
