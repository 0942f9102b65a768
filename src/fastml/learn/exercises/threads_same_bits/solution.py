"""Blocks that do not depend on the number of threads, a sum for each, and these added in order."""

import numba
import numpy as np

BLOCK = 4096  # values: long enough for four chains of additions to pay, short enough for threads to share them out


@numba.njit
def sum_of_block(x, start, end):
    a = b = c = d = 0.0
    whole = start + (end - start) // 4 * 4
    for i in range(start, whole, 4):
        a += np.float64(x[i]) * x[i]
        b += np.float64(x[i + 1]) * x[i + 1]
        c += np.float64(x[i + 2]) * x[i + 2]
        d += np.float64(x[i + 3]) * x[i + 3]
    for i in range(whole, end):
        a += np.float64(x[i]) * x[i]
    return (a + b) + (c + d)


@numba.njit(parallel=True)
def sum_squares(x, out, n_threads):
    """out[0] = sum of x[i] ** 2; x is float32 (n,), out is float64 (1,)."""
    blocks = (x.size + BLOCK - 1) // BLOCK
    partial = np.empty(blocks)
    for task in numba.prange(n_threads):
        for k in range(blocks * task // n_threads, blocks * (task + 1) // n_threads):
            partial[k] = sum_of_block(x, k * BLOCK, min((k + 1) * BLOCK, x.size))
    total = 0.0
    for k in range(blocks):  # by one thread, from the first to the last
        total += partial[k]
    out[0] = total
