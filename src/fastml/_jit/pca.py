"""Mean and scatter matrix. The specification is `fastml._ref.pca`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel

BLOCK = 128  # rows that are centred together, as columns, so that products run along memory
SCRATCH = 1 << 21  # float64 of all the chunks' matrices


@inline
def _add_products(x, first, last, mean, scatter):
    """Add the products of rows first to last to the upper half of a scatter matrix."""
    columns = x.shape[1]
    block = np.empty((columns, BLOCK))
    for start in range(first, last, BLOCK):
        length = min(BLOCK, last - start)
        for j in range(columns):
            for i in range(length):
                block[j, i] = x[start + i, j] - mean[j]
        for a in range(columns):
            for b in range(a, columns):
                total = 0.0
                for i in range(length):
                    total += block[a, i] * block[b, i]
                scatter[a, b] += total


@kernel
def loops(x, mean, scatter, n_threads):
    """The same loops, compiled, over blocks of rows that are centred and transposed while they are in cache."""
    n, columns = x.shape
    mean[:] = 0.0
    for i in range(n):
        for j in range(columns):
            mean[j] += x[i, j]
    for j in range(columns):
        mean[j] /= n
    chunks = max(2, min(16, SCRATCH // (columns * columns)))  # by the shape alone: the same bits for any threads
    sums = np.zeros((chunks, columns, columns))
    for chunk in prange(chunks):
        _add_products(x, n * chunk // chunks, n * (chunk + 1) // chunks, mean, sums[chunk])
    for a in range(columns):
        for b in range(a, columns):
            total = 0.0
            for chunk in range(chunks):
                total += sums[chunk, a, b]
            scatter[a, b] = scatter[b, a] = total
