"""A share for each thread: another number of threads adds in another order, and gives other last digits."""

import numba
import numpy as np


@numba.njit(parallel=True)
def sum_squares(x, out, n_threads):
    """out[0] = sum of x[i] ** 2; x is float32 (n,), out is float64 (1,)."""
    partial = np.zeros(n_threads)
    for task in numba.prange(n_threads):
        total = 0.0
        for i in range(x.size * task // n_threads, x.size * (task + 1) // n_threads):
            total += np.float64(x[i]) * x[i]
        partial[task] = total
    out[0] = partial.sum()
