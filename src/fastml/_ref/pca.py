"""Mean and scatter matrix of the columns, in float64: scatter = sum over rows of (x - mean)(x - mean)^T."""

import numpy as np


def loops(x, mean, scatter, n_threads):
    """The definition: the mean, then every product of two centred columns."""
    n, columns = x.shape
    for j in range(columns):
        mean[j] = sum(float(v) for v in x[:, j]) / n
    for a in range(columns):
        for b in range(columns):
            scatter[a, b] = sum((float(x[i, a]) - mean[a]) * (float(x[i, b]) - mean[b]) for i in range(n))


def centred(x, mean, scatter, n_threads):
    """A centred float64 copy and one matrix product, which BLAS does at the processor's speed."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is refused when the result shows it
        mean[:] = x.mean(axis=0, dtype=np.float64)
        deviation = x - mean
        np.matmul(deviation.T, deviation, out=scatter)
