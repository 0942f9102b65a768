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
def _merge(count, mean, m2, j, n, block_mean, block_m2):
    """Merge a block into feature j by Chan's formula; means are relative to an origin that all blocks share."""
    if n == 0:
        return
    delta = block_mean - mean[j]
    if count[j] == 0:
        mean[j], m2[j] = block_mean, block_m2
    elif not abs(delta) < np.inf:  # infinity in the data; np.isfinite subtracts, which "reassoc" may cancel
        mean[j], m2[j] = mean[j] + block_mean, np.nan
    else:
        share = n / (count[j] + n)
        mean[j] += delta * share
        m2[j] += block_m2 + delta * delta * count[j] * share
    count[j] += n


@inline
def _merge_sums(count, mean, m2, j, n, shift, total, squares):
    """Merge a block given as sums of x minus a shift, which is relative to the origin."""
    if n == 0:
        return
    block_m2 = squares - total * (total / n)
    if squares == np.inf:  # squares that overflow stay infinite; infinity in the data makes NaN, as in NumPy
        block_m2 = squares + 0.0 * total
    if block_m2 < 0:  # rounding
        block_m2 = 0.0
    _merge(count, mean, m2, j, n, shift + total / n, block_m2)


@inline
def _first_finite(values):
    """A value to shift by."""
    for value in values:
        if abs(value) < np.inf:
            return float(value)
    return 0.0


@inline
def _columns(x, first, last, origin, count, mean, m2):
    """Merge a block of rows, all columns: the inner loop runs along memory and becomes vectors, NaN masked in them."""
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
        _merge_sums(count, mean, m2, j, int(found[j]), shift[j] - origin[j], total[j], squares[j])


@inline
def _row(values, origin, count, mean, m2, j):
    """Merge contiguous values, block by block, into feature j."""
    for first in range(0, values.size, BLOCK):
        block = values[first : first + BLOCK]
        shift = _first_finite(block)
        total, squares, found = 0.0, 0.0, 0.0
        for value in block:
            valid = value == value
            d = value - shift if valid else 0.0
            total += d
            squares += d * d
            found += 1.0 if valid else 0.0
        _merge_sums(count, mean, m2, j, int(found), shift - origin, total, squares)


@kernel
def blocks(x, axis, count, mean, m2, n_threads):
    """One pass in the order of memory. Numba cannot be told to keep sums in registers; they stay in the L1 cache."""
    rows, columns = x.shape
    features = columns if axis == 0 else rows
    chunks = 1 if axis == 1 else min(CHUNKS, (rows + BLOCK - 1) // BLOCK)
    origin, counts = np.empty(features), np.zeros((chunks, features), np.int64)
    means, squares = np.zeros((chunks, features)), np.zeros((chunks, features))
    for j in range(features):
        origin[j] = _first_finite(x[:, j] if axis == 0 else x[j, ::1])
    if axis == 1:
        for j in prange(features):
            _row(x[j], origin[j], counts[0], means[0], squares[0], j)
    else:
        for chunk in prange(chunks):
            start, stop = rows * chunk // chunks, rows * (chunk + 1) // chunks
            for first in range(start, stop, BLOCK):
                _columns(x, first, min(first + BLOCK, stop), origin, counts[chunk], means[chunk], squares[chunk])
    for j in range(features):
        for chunk in range(1, chunks):
            _merge(counts[0], means[0], squares[0], j, counts[chunk, j], means[chunk, j], squares[chunk, j])
        count[j], m2[j] = counts[0, j], squares[0, j]
        mean[j] = origin[j] + means[0, j] if count[j] else np.nan
