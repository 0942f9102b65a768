"""Sum of weights, mean and sum of squared deviations. The specification is `fastml._ref.moments`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel

BLOCK = 256  # rows whose shifted sums are taken together
ROW_BLOCK = 1024  # contiguous values
PANEL = 64  # columns at a time: their shifts and sums stay in the first-level cache
TASKS = 64  # fixed, so that the result does not depend on the threads


@kernel
def loops(x, sample_weight, axis, count, mean, m2, n_threads):
    """The definition, compiled: two passes, feature by feature."""
    rows, columns = x.shape
    features, samples = (columns, rows) if axis == 0 else (rows, columns)
    weighted = sample_weight.size > 0
    for j in prange(features):
        total, found = 0.0, 0.0
        for i in range(samples):
            value = x[i, j] if axis == 0 else x[j, i]
            weight = sample_weight[i] if weighted else 1.0
            if value == value and weight > 0:
                total += weight * value
                found += weight
        count[j] = found
        mean[j] = total / found if found > 0 else np.nan
        squares = 0.0
        for i in range(samples if found > 0 else 0):
            value = x[i, j] if axis == 0 else x[j, i]
            weight = sample_weight[i] if weighted else 1.0
            if value == value and weight > 0:
                squares += weight * (value - mean[j]) ** 2
        m2[j] = squares


@inline
def _merge(partial, n, block_mean, block_m2):
    """Merge a block into (count, mean, m2) by Chan's formula; means are relative to an origin that all blocks share."""
    if n == 0:
        return
    delta = block_mean - partial[1]
    if partial[0] == 0:
        partial[1], partial[2] = block_mean, block_m2
    elif not abs(delta) < np.inf:  # infinity in the data; np.isfinite subtracts, which "reassoc" may cancel
        partial[1], partial[2] = partial[1] + block_mean, np.nan
    else:
        share = n / (partial[0] + n)
        partial[1] += delta * share
        partial[2] += block_m2 + delta * delta * partial[0] * share
    partial[0] += n


@inline
def _merge_sums(partial, n, shift, total, squares):
    """Merge a block given as sums of x minus a shift, which is relative to the origin."""
    if n == 0:
        return
    block_m2 = squares - total * (total / n)
    if squares == np.inf:  # squares that overflow stay infinite; infinity in the data makes NaN, as in NumPy
        block_m2 = squares + 0.0 * total
    if block_m2 < 0:  # rounding
        block_m2 = 0.0
    _merge(partial, n, shift + total / n, block_m2)


@inline
def _origin(values, weight, heavy):
    """Without weights, the median of three values; else the finite value of the largest weight, of which `heavy` is the
    index. An outlier in its place would cost digits, and a light one could be far from all that counts."""
    if weight.size == 0:
        a, b, c = values[0], values[values.size // 2], values[values.size - 1]
        middle = max(min(a, b), min(max(a, b), c))
        if abs(a + b + c) < np.inf:
            return np.float64(middle)
    if abs(values[heavy]) < np.inf:
        return np.float64(values[heavy])
    best, most = 0.0, -1.0
    for i in range(values.size):
        w = weight[i] if weight.size else 1.0
        if abs(values[i]) < np.inf and w > most:
            best, most = np.float64(values[i]), w
    return best


@inline
def _column_sums(x, first, last, left, shift, total, squares):
    """Sums of x - shift and of its square down some columns, NaN and all; the inner loop becomes vectors of columns.

    Eight rows a step, because Numba cannot be told to keep `total` and `squares` in registers: they are loaded and
    stored for every eighth row. Unsigned indices, because it looks for negative ones in each step, and that was four
    fifths of the time.
    """
    left, width, whole = np.uint64(left), np.uint64(total.size), last - (last - first) % 8
    for j in range(width):
        total[j], squares[j] = 0.0, 0.0
    for i in range(first, whole, 8):
        for j in range(width):
            s, t, q = shift[j], 0.0, 0.0
            for k in range(8):
                d = x[np.uint64(i + k), left + j] - s
                t += d
                q += d * d
            total[j] += t
            squares[j] += q
    for i in range(np.uint64(whole), np.uint64(last)):
        for j in range(width):
            d = x[i, left + j] - shift[j]
            total[j] += d
            squares[j] += d * d


@inline
def _block_mean(first, total, found):
    """A value to shift by: the mean of a block, from sums around one of its values; of a constant it is that value."""
    mean = first + total / found
    return mean if abs(mean) < np.inf else 0.0


@inline
def _weighted_sums(x, weight, first, last, left, shift, total, squares, found):
    """The same sums by weight, of what is not NaN, in two passes over the block. They are shifted by its mean, because
    one value may weigh little and be far from all that counts, and squares around it would keep few digits."""
    heavy = np.argmax(weight[first:last]) if weight.size else 0
    for j in range(total.size):
        shift[j] = _origin(x[first:last, left + j], weight[first:last], heavy)
    left, width, first, last = np.uint64(left), np.uint64(total.size), np.uint64(first), np.uint64(last)
    for j in range(width):
        total[j], squares[j], found[j] = 0.0, 0.0, 0.0
    for i in range(first, last):
        w = weight[i] if weight.size else 1.0
        for j in range(width):
            valid = x[i, left + j] == x[i, left + j] and w > 0
            d = x[i, left + j] - shift[j] if valid else 0.0
            total[j] += w * d
            found[j] += w if valid else 0.0
    for j in range(width):
        shift[j], total[j] = _block_mean(shift[j], total[j], found[j]), 0.0
    for i in range(first, last):
        w = weight[i] if weight.size else 1.0
        for j in range(width):
            d = x[i, left + j] - shift[j] if x[i, left + j] == x[i, left + j] and w > 0 else 0.0
            total[j] += w * d
            squares[j] += w * d * d


@inline
def _columns(x, weight, start, stop, left, origin, partial):
    """Merge some rows of at most PANEL columns, block by block."""
    width = min(PANEL, x.shape[1] - left)
    shift, total, squares, found = np.empty(width), np.empty(width), np.empty(width), np.empty(width)
    for first in range(start, stop, BLOCK):
        last, plain = min(first + BLOCK, stop), weight.size == 0
        if plain:
            for j in range(width):
                shift[j], found[j] = x[first, left + j], last - first
            _column_sums(x, first, last, left, shift, total, squares)
            for j in range(width):
                plain &= total[j] == total[j]
        if not plain:
            _weighted_sums(x, weight, first, last, left, shift, total, squares, found)
        for j in range(width):
            _merge_sums(partial[left + j], found[j], shift[j] - origin[left + j], total[j], squares[j])


@inline
def _plain_row(values, first, last):
    """Of contiguous values: a shift, and the sums of x - shift and of its square, NaN and all."""
    shift, total, squares = np.float64(values[first]), 0.0, 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        d = values[i] - shift
        total += d
        squares += d * d
    return shift, total, squares


@inline
def _weighted_row(values, weight, first, last):
    """The same by weight, of what is not NaN, and the sum of the weights."""
    total, squares, found = 0.0, 0.0, 0.0
    heavy = np.argmax(weight[first:last]) if weight.size else 0
    start = _origin(values[first:last], weight[first:last], heavy)
    for i in range(np.uint64(first), np.uint64(last)):
        w = weight[i] if weight.size else 1.0
        valid = values[i] == values[i] and w > 0
        d = values[i] - start if valid else 0.0
        total += w * d
        found += w if valid else 0.0
    shift, total = _block_mean(start, total, found), 0.0
    for i in range(np.uint64(first), np.uint64(last)):
        w = weight[i] if weight.size else 1.0
        valid = values[i] == values[i] and w > 0
        d = values[i] - shift if valid else 0.0
        total += w * d
        squares += w * d * d
    return shift, total, squares, found


@inline
def _row(values, weight, start, stop, origin, partial):
    """Merge some contiguous values, block by block, into one feature."""
    for first in range(start, stop, ROW_BLOCK):
        last = min(first + ROW_BLOCK, stop)
        found = float(last - first)
        shift, total, squares = _plain_row(values, first, last if weight.size == 0 else first)
        if weight.size or total != total:
            shift, total, squares, found = _weighted_row(values, weight, first, last)
        _merge_sums(partial, found, shift - origin, total, squares)


@kernel
def blocks(x, sample_weight, axis, count, mean, m2, n_threads):
    """One pass in the order of memory over blocks in cache; NaN is looked for where a sum came out as NaN."""
    rows, columns = x.shape
    features, samples = (columns, rows) if axis == 0 else (rows, columns)
    width, height = (PANEL, BLOCK) if axis == 0 else (1, ROW_BLOCK)  # of what a task has at least
    panels = (features + width - 1) // width
    chunks = min(max(TASKS // panels, 1), (samples + height - 1) // height)
    origin, partial = np.empty(features), np.zeros((chunks, features, 3))
    heavy = np.argmax(sample_weight) if sample_weight.size else 0
    for j in range(features):
        origin[j] = _origin(x[:, j] if axis == 0 else x[j, ::1], sample_weight, heavy)
    for task in prange(chunks * panels):
        chunk, j = task // panels, task % panels * width
        start, stop = samples * chunk // chunks, samples * (chunk + 1) // chunks
        if axis == 0:
            _columns(x, sample_weight, start, stop, j, origin, partial[chunk])
        else:
            _row(x[j], sample_weight, start, stop, origin[j], partial[chunk, j])
    for j in range(features):
        for chunk in range(1, chunks):
            _merge(partial[0, j], partial[chunk, j, 0], partial[chunk, j, 1], partial[chunk, j, 2])
        count[j], m2[j] = partial[0, j, 0], partial[0, j, 2]
        mean[j] = origin[j] + partial[0, j, 1] if count[j] else np.nan
