"""Count, mean and sum of squared deviations. The specification is `fastml._ref.moments`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel

BLOCK = 256  # rows or values whose shifted sums are taken together
CHUNKS = 64  # tasks; fixed, so that the result does not depend on the threads


@kernel
def loops(x, axis, count, mean, m2, n_threads):
    """The definition, compiled: two passes, feature by feature."""
    rows, columns = x.shape
    features, samples = (columns, rows) if axis == 0 else (rows, columns)
    for j in prange(features):
        total, found = 0.0, 0
        for i in range(samples):
            value = x[i, j] if axis == 0 else x[j, i]
            if value == value:
                total += value
                found += 1
        count[j] = found
        mean[j] = total / found if found else np.nan
        squares = 0.0
        for i in range(samples):
            value = x[i, j] if axis == 0 else x[j, i]
            if value == value:
                squares += (value - mean[j]) ** 2
        m2[j] = squares


@inline
def _merge(count, mean, m2, j, n, shift, total, squares):
    """Merge a block, given as sums of x - shift, into feature j by Chan's formula."""
    if n == 0:
        return
    block_mean = shift + total / n
    block_m2 = squares - total * (total / n)
    if squares == np.inf:  # squares that overflow stay infinite; infinity in the data makes NaN, as in NumPy
        block_m2 = squares + 0.0 * total
    if block_m2 < 0:  # rounding
        block_m2 = 0.0
    if count[j] == 0:
        mean[j], m2[j] = block_mean, block_m2
    else:
        share = n / (count[j] + n)
        delta = block_mean - mean[j]
        mean[j] += delta * share
        m2[j] += block_m2 + delta * delta * count[j] * share
    count[j] += n


@inline
def _first_finite(values):
    """A value to shift by."""
    for value in values:
        if np.isfinite(value):
            return float(value)
    return 0.0


@inline
def _rows(x, first, last, count, mean, m2):
    """One block of rows, all columns: the inner loop runs along memory and becomes vectors, NaN masked out in them."""
    columns = x.shape[1]
    shift, total, squares = np.empty(columns), np.zeros(columns), np.zeros(columns)
    found = np.zeros(columns)
    for j in range(columns):
        shift[j] = _first_finite(x[first:last, j])
    for i in range(first, last):
        for j in range(columns):
            valid = x[i, j] == x[i, j]
            d = x[i, j] - shift[j] if valid else 0.0
            total[j] += d
            squares[j] += d * d
            found[j] += 1.0 if valid else 0.0
    for j in range(columns):
        _merge(count, mean, m2, j, int(found[j]), shift[j], total[j], squares[j])


@kernel
def blocks(x, axis, count, mean, m2, n_threads):
    """One pass in the order of memory. Numba cannot be told to keep sums in registers; they stay in the L1 cache."""
    rows, columns = x.shape
    if axis == 1:
        for j in prange(rows):
            count[j], mean[j], m2[j] = 0, np.nan, 0.0
            for first in range(0, columns, BLOCK):
                shift = _first_finite(x[j, first : first + BLOCK])
                total, squares, found = 0.0, 0.0, 0.0
                for i in range(first, min(first + BLOCK, columns)):
                    valid = x[j, i] == x[j, i]
                    d = x[j, i] - shift if valid else 0.0
                    total += d
                    squares += d * d
                    found += 1.0 if valid else 0.0
                _merge(count, mean, m2, j, int(found), shift, total, squares)
        return
    chunks = min(CHUNKS, (rows + BLOCK - 1) // BLOCK)
    counts = np.zeros((chunks, columns), np.int64)
    means, squares = np.full((chunks, columns), np.nan), np.zeros((chunks, columns))
    for chunk in prange(chunks):
        start, stop = rows * chunk // chunks, rows * (chunk + 1) // chunks
        for first in range(start, stop, BLOCK):
            _rows(x, first, min(first + BLOCK, stop), counts[chunk], means[chunk], squares[chunk])
    for j in range(columns):
        count[j], mean[j], m2[j] = counts[0, j], means[0, j], squares[0, j]
        for chunk in range(1, chunks):
            n = counts[chunk, j]
            _merge(count, mean, m2, j, n, means[chunk, j], 0.0, squares[chunk, j])
