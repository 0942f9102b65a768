"""Rows in the coordinates of principal components: out = (x - mean) basis^T."""

import numpy as np

BLOCK = 2**15  # values that are centred and multiplied while they are in a cache


def loops(x, mean, basis, out, n_threads):
    """The definition: one product of a centred row and a component after another."""
    for i in range(x.shape[0]):
        for c in range(basis.shape[0]):
            out[i, c] = sum((float(x[i, j]) - mean[j]) * float(basis[c, j]) for j in range(x.shape[1]))


def blocks(x, mean, basis, out, n_threads):
    """Blocks of rows, centred in float64 and rounded once, and products by BLAS: no centred copy, no cancellation."""
    step = max(BLOCK // x.shape[1], 64)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, x.shape[0], step):
            block = (x[start : start + step] - mean).astype(x.dtype, copy=False)
            np.matmul(block, basis.T, out=out[start : start + step])
