"""Rows in the coordinates of principal components. The specification is `fastml._ref.pca_transform`."""

import numpy as np
from numba import prange

from fastml._jit._flags import kernel


@kernel
def rows(x, mean, basis, out, n_threads):
    """A value of a row after the other, times a row of basis^T: sums of all components at once, in float64."""
    n, columns = x.shape
    k = basis.shape[0]
    turned = np.empty((columns, k))
    for j in range(columns):
        for c in range(k):
            turned[j, c] = basis[c, j]
    for i in prange(n):
        sums = np.zeros(k)
        for j in range(columns):
            d = x[i, j] - mean[j]
            for c in range(k):
                sums[c] += d * turned[j, c]
        for c in range(k):
            out[i, c] = sums[c]
