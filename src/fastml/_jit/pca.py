"""Mean and scatter matrix. The specification is `fastml._ref.pca`."""

import numpy as np
from numba import prange

from fastml._jit._flags import kernel

BLOCK = 128  # rows that are centred together, as columns, so that products run along memory


@kernel
def loops(x, mean, scatter, n_threads):
    """The same loops, compiled, over blocks of rows that are centred and transposed while they are in cache."""
    n, columns = x.shape
    for j in range(columns):
        mean[j] = 0.0
    for i in range(n):
        for j in range(columns):
            mean[j] += x[i, j]
    for j in range(columns):
        mean[j] /= n
    scatter[:] = 0.0
    block = np.empty((columns, BLOCK))
    for first in range(0, n, BLOCK):
        length = min(BLOCK, n - first)
        for j in prange(columns):
            for i in range(length):
                block[j, i] = x[first + i, j] - mean[j]
        for a in prange(columns):
            for b in range(a, columns):
                total = 0.0
                for i in range(length):
                    total += block[a, i] * block[b, i]
                scatter[a, b] += total
    for a in range(columns):
        for b in range(a):
            scatter[a, b] = scatter[b, a]
