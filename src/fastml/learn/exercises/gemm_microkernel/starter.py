"""Rows of the product, in the order of memory, yet each multiplication loads and stores its sum."""

import numba
import numpy as np


@numba.njit
def matmul(a, b, out):
    """out = a @ b; a is (m, k), b is (k, n), all float32."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.float32(0)
        for p in range(a.shape[1]):
            for j in range(out.shape[1]):
                out[i, j] += a[i, p] * b[p, j]
