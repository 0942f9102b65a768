"""Mean and scatter matrix of the columns, in float64: scatter = sum over rows of (x - mean)(x - mean)^T."""

import numpy as np

BLOCK_BYTES = 1 << 18  # of a block, which a second-level cache holds


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


def unshifted(x, mean, scatter, n_threads):
    """X'X - n m m', in the dtype of x, as textbooks and libraries have it: wrong where the mean is large.

    Both terms grow with the square of the mean, and their roundings with them; their difference does not.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean[:] = x.mean(axis=0, dtype=np.float64)
        scatter[:] = x.T @ x - len(x) * np.outer(mean, mean)


def shifted(x, mean, scatter, n_threads):
    """The same formula for d = x - s, s being near the mean: what is subtracted is small now, as is its rounding."""
    with np.errstate(invalid="ignore", over="ignore"):
        shift = _some_rows(x).mean(axis=0, dtype=np.float64).astype(x.dtype)
        deviation = x - shift
        rest = deviation.mean(axis=0, dtype=np.float64)
        mean[:] = shift + rest
        scatter[:] = deviation.T @ deviation - len(x) * np.outer(rest, rest)


def blocks(x, mean, scatter, n_threads):
    """The same without a copy of x: a block of rows is shifted and multiplied in cache, and added up in float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        shift = _some_rows(x).mean(axis=0, dtype=np.float64).astype(x.dtype)
        rest = np.zeros_like(mean)
        scatter[:] = 0
        rows = max(BLOCK_BYTES // x[0].nbytes, 256)
        for start in range(0, len(x), rows):
            deviation = x[start : start + rows] - shift
            rest += deviation.sum(axis=0, dtype=np.float64) / len(x)
            scatter += deviation.T @ deviation
        mean[:] = shift + rest
        scatter -= len(x) * np.outer(rest, rest)


def _some_rows(x):
    """256 rows from all over: the first ones may be unlike the others."""
    return x[:: max(len(x) // 256, 1)][:256]
