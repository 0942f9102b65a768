"""Mean and scatter matrix. The specification is `fastml._ref.pca`."""

import numpy as np
from numba import prange

from fastml._jit._flags import U, inline, kernel

BLOCK = 128  # rows that are centred together, as columns, so that products run along memory
SCRATCH = 1 << 21  # float64 of all the chunks' matrices
DEPTH = 256  # rows of a block of `tiles`, at whose end sums leave the registers
STRIP = U(DEPTH)  # from one column of such a block to the next
TILE = 12  # columns are filled up to a multiple of 4 and 3


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


@inline
def _tile(block, length, a, b, sums):
    """Add the products of 4 columns from `a` with 3 from `b`: 12 sums in registers, and 7 loads for 12 products."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = 0.0
    for k in range(length):
        i, j = a * STRIP + U(k), b * STRIP + U(k)
        x, y, z = block[j], block[j + STRIP], block[j + STRIP + STRIP]
        value = block[i]
        s00, s01, s02 = s00 + value * x, s01 + value * y, s02 + value * z
        value = block[i + STRIP]
        s10, s11, s12 = s10 + value * x, s11 + value * y, s12 + value * z
        value = block[i + STRIP + STRIP]
        s20, s21, s22 = s20 + value * x, s21 + value * y, s22 + value * z
        value = block[i + STRIP + STRIP + STRIP]
        s30, s31, s32 = s30 + value * x, s31 + value * y, s32 + value * z
    for i, (x, y, z) in enumerate(((s00, s01, s02), (s10, s11, s12), (s20, s21, s22), (s30, s31, s32))):
        sums[a + U(i), b] += x
        sums[a + U(i), b + U(1)] += y
        sums[a + U(i), b + U(2)] += z


@inline
def _add_tiles(x, first, last, shift, sums):
    """Add the products of rows first to last, less the shift, and of a column of ones, to the upper half of sums."""
    columns, padded = x.shape[1], sums.shape[0]
    block = np.zeros(padded * DEPTH)
    block[columns * DEPTH : (columns + 1) * DEPTH] = 1
    for start in range(first, last, DEPTH):
        length = min(DEPTH, last - start)
        for j in range(columns):
            for i in range(length):
                block[j * DEPTH + i] = x[start + i, j] - shift[j]
        for a in range(0, padded, 4):
            for b in range(a // 3 * 3, padded, 3):
                _tile(block, length, U(a), U(b), sums)


@inline
def _provisional_mean(x, shift):
    """The mean of some 256 rows from all over."""
    step = max(x.shape[0] // 256, 1)
    rows = (x.shape[0] + step - 1) // step
    for i in range(rows):
        for j in range(x.shape[1]):
            shift[j] += x[i * step, j] / rows


@kernel
def tiles(x, mean, scatter, n_threads):
    """One pass: deviations from a provisional mean, whose own mean is made good in the end; 12 sums in registers."""
    n, columns = x.shape
    shift = np.zeros(columns)
    _provisional_mean(x, shift)
    padded = (columns // TILE + 1) * TILE  # with the column of ones
    chunks = max(2, min(16, SCRATCH // (padded * padded)))
    sums = np.zeros((chunks, padded, padded))
    for chunk in prange(chunks):
        _add_tiles(x, n * chunk // chunks, n * (chunk + 1) // chunks, shift, sums[chunk])
    total = sums[0]
    for chunk in range(1, chunks):
        total += sums[chunk]
    for a in range(columns):
        mean[a] = shift[a] + total[a, columns] / n
        for b in range(a, columns):
            scatter[a, b] = scatter[b, a] = total[a, b] - total[a, columns] * (total[b, columns] / n)
