"""Mean and scatter matrix, the sums that PCA needs. The specification is `fastml._ref.pca`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL, multiply
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


ctypedef fused value:  # of X; `floating` is what products are computed in
    float
    double


cdef enum:
    DEPTH = 256  # rows of a block: products of float32 are summed in float32 over these, then in float64
    MOST_CHUNKS = 16
    TILE_SIZE = 256  # values that a tile of any vector length fits into


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """The definition, compiled: the mean of each column, then one product of two centred columns after another."""
    cdef Py_ssize_t j, columns = x.shape[1]
    cdef Watch watch = start_watch()
    with nogil:
        for j in prange(columns, num_threads=n_threads, schedule="static"):
            mean[j] = _column_mean(x, j)
        for j in prange(columns, num_threads=n_threads, schedule="static"):
            if not interrupted(&watch):
                _scatter_row(x, mean, scatter, j)
    end_watch(&watch)


cdef double _column_mean(const floating[:, ::1] x, Py_ssize_t j) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        total += x[i, j]
    return total / x.shape[0]


cdef void _scatter_row(
    const floating[:, ::1] x, const double[::1] mean, double[:, ::1] scatter, Py_ssize_t a
) noexcept nogil:
    cdef double total
    cdef Py_ssize_t i, b
    for b in range(x.shape[1]):
        total = 0
        for i in range(x.shape[0]):
            total += (x[i, a] - mean[a]) * (x[i, b] - mean[b])
        scatter[a, b] = total


def rows(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """A value times the row of x that it is in, added to a row of sums: in the order of memory, and in vectors.

    Each product loads a sum and stores it, and x is read once for each of its columns.
    """
    cdef Py_ssize_t i, j, columns = x.shape[1]
    cdef Watch watch = start_watch()
    with nogil:
        for j in range(columns):
            mean[j] = 0
        for i in range(x.shape[0]):
            for j in range(columns):
                mean[j] += x[i, j]
        for j in range(columns):
            mean[j] /= x.shape[0]
        for j in prange(columns, num_threads=n_threads, schedule="static"):
            if not interrupted(&watch):
                _rows_of_products(x, mean, scatter, j)
    end_watch(&watch)


cdef void _rows_of_products(
    const floating[:, ::1] x, const double[::1] mean, double[:, ::1] scatter, Py_ssize_t a
) noexcept nogil:
    cdef double value
    cdef Py_ssize_t i, b
    for b in range(x.shape[1]):
        scatter[a, b] = 0
    for i in range(x.shape[0]):
        value = x[i, a] - mean[a]
        for b in range(x.shape[1]):
            scatter[a, b] += value * (x[i, b] - mean[b])


def square(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """One pass over blocks of rows, shifted by a provisional mean and packed in strips; a tile of sums in registers.

    With s the mean of some rows and d = x - s, the scatter matrix is D'D - n e e' where e is the mean of d. As e is
    small beside the spread of the data, that subtraction loses little; X'X - n m m' loses all at a large mean. A column
    of ones beside D gives the sum of d for free. By one thread.
    """
    cdef floating[::1] shift = _provisional_mean(np.asarray(x))
    _scatter(x, shift, mean, scatter, False, 1)


def half(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """As `square`, without the tiles below the diagonal: a scatter matrix is symmetric. By one thread."""
    cdef floating[::1] shift = _provisional_mean(np.asarray(x))
    _scatter(x, shift, mean, scatter, True, 1)


def blocks(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """As `half`, by threads: each takes chunks of rows, or rows of tiles of a matrix too large to have one for each."""
    cdef floating[::1] shift = _provisional_mean(np.asarray(x))
    _scatter(x, shift, mean, scatter, True, n_threads)


def precise(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """As `blocks`, but float32 becomes float64 on its way into the strips: a product of two float32 is exact there.

    Half the speed for float32, and 8 more digits: small eigenvalues come out as well as from an SVD in float32.
    """
    cdef double[::1] shift = _provisional_mean(np.asarray(x)).astype(np.float64)
    _scatter(x, shift, mean, scatter, True, n_threads)


def _provisional_mean(x):
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is refused when the result shows it
        some = x[:: max(x.shape[0] // DEPTH, 1)][:DEPTH]  # from all over: the first rows may be unlike the others
        return some.mean(axis=0, dtype=np.float64).astype(x.dtype)


cdef _scatter(
    const value[:, ::1] x, const floating[::1] shift, double[::1] mean, double[:, ::1] scatter, bint half,
    Py_ssize_t n_threads,
):
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], width = _width(&shift[0])
    cdef Py_ssize_t panels = (columns + PANEL - 1) // PANEL
    cdef Py_ssize_t strips = columns // width + 1  # with the column of ones
    cdef Py_ssize_t pitch = strips * width
    # A small matrix of sums is kept by each chunk of rows; a large one is shared, its rows of tiles being the tasks.
    cdef Py_ssize_t chunks = min(max((1 << 18) // (columns * columns), 1), MOST_CHUNKS, (n + DEPTH - 1) // DEPTH)
    cdef Py_ssize_t chunk, start = 0, depth, task
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads if chunks > 1 else 1, DEPTH * pitch, dtype)
    cdef double[:, ::1] totals = np.zeros((chunks, columns))  # of d
    cdef double[:, :, ::1] others = np.zeros((chunks - 1, columns, columns))  # what all chunks but the first add
    cdef Watch watch = start_watch()
    with nogil:
        memset(&scatter[0, 0], 0, columns * columns * sizeof(double))
        if chunks > 1:
            for chunk in prange(chunks, num_threads=n_threads, schedule="static"):
                _chunk(&watch, x, n * chunk // chunks, n * (chunk + 1) // chunks, &shift[0], half,
                       &memory[threadid(), 0], &totals[chunk, 0], &others[chunk - 1, 0, 0] if chunk else &scatter[0, 0])
        else:
            while start < n and not interrupted(&watch):
                depth = min(DEPTH, n - start)
                for task in prange(strips, num_threads=n_threads, schedule="static"):
                    _pack(x, start, depth, task * width, &shift[0], &memory[0, 0] + task * DEPTH * width)
                for task in prange(panels, num_threads=n_threads, schedule="static", chunksize=1):
                    _tiles(depth, &memory[0, 0], &totals[0, 0], &scatter[0, 0], task, columns, half)
                start += DEPTH
        _finish(totals, others, n, &shift[0], mean, scatter)
    end_watch(&watch)


cdef inline Py_ssize_t _width(const floating* shift) noexcept nogil:
    """Columns of a strip, a constant."""
    return 3 * (LANES_F32 if floating is float else LANES_F64)


cdef void _chunk(
    Watch* watch, const value[:, ::1] x, Py_ssize_t start, Py_ssize_t last, const floating* shift, bint half,
    floating* strips, double* totals, double* sums
) noexcept nogil:
    cdef Py_ssize_t columns = x.shape[1], width = _width(shift), depth, task
    while start < last and not interrupted(watch):
        depth = min(DEPTH, last - start)
        for task in range(columns // width + 1):
            _pack(x, start, depth, task * width, shift, strips + task * DEPTH * width)
        for task in range((columns + PANEL - 1) // PANEL):
            _tiles(depth, strips, totals, sums, task, columns, half)
        start += DEPTH


cdef void _pack(
    const value[:, ::1] x, Py_ssize_t start, Py_ssize_t depth, Py_ssize_t first, const floating* shift,
    floating* strip
) noexcept nogil:
    """d = x - shift, a strip of its columns; after the last column comes the one, then zeros."""
    cdef Py_ssize_t columns = x.shape[1], width = _width(shift), k, j
    cdef const value* row
    for k in range(depth):
        row = &x[start + k, 0] + first
        if first + width <= columns:
            for j in range(width):
                strip[j] = <floating>row[j] - shift[first + j]
        else:
            for j in range(columns - first):
                strip[j] = <floating>row[j] - shift[first + j]
            strip[columns - first] = 1
            for j in range(columns - first + 1, width):
                strip[j] = 0
        strip += width


cdef void _tiles(
    Py_ssize_t depth, const floating* strips, double* totals, double* sums, Py_ssize_t panel, Py_ssize_t columns,
    bint half
) noexcept nogil:
    """Add a row of tiles, 4 columns with all, or half of them, from the diagonal on, to the sums."""
    cdef Py_ssize_t width = _width(strips), lanes = width // 3, pitch = (columns // width + 1) * width
    cdef Py_ssize_t first = panel * PANEL, vector = first // lanes if half else 0, last = columns // lanes + 1
    cdef Py_ssize_t vectors, i, j, k, rest
    cdef const floating* own
    cdef int32_t offset[DEPTH]
    cdef floating a[DEPTH * PANEL]
    cdef floating tile[TILE_SIZE]
    cdef double* row
    own = strips + first // width * DEPTH * width + first % width
    for k in range(depth):
        offset[k] = <int32_t>(k * width)
        for i in range(PANEL):
            a[k * PANEL + i] = own[k * width + i] if width % PANEL == 0 else 0
    if width % PANEL:  # strips of 6: 4 columns may lie in two of them, or beyond the last one
        for i in range(min(PANEL, pitch - first)):
            own = strips + (first + i) // width * DEPTH * width + (first + i) % width
            for k in range(depth):
                a[k * PANEL + i] = own[k * width]
    while vector < last:
        vectors = min(3 - vector % 3, last - vector)
        multiply(vectors, 1, depth, &a[0], 0, strips + vector // 3 * DEPTH * width + vector % 3 * lanes, offset, False,
                 tile, width)
        rest = columns - vector * lanes
        for i in range(min(PANEL, columns - first)):
            row = sums + (first + i) * columns + vector * lanes
            for j in range(min(vectors * lanes, rest)):
                row[j] += tile[i * width + j]
            if rest < vectors * lanes:
                totals[first + i] += tile[i * width + rest]
        vector += vectors


cdef void _finish(
    const double[:, ::1] totals, const double[:, :, ::1] others, Py_ssize_t n, const floating* shift,
    double[::1] mean, double[:, ::1] scatter
) noexcept nogil:
    """Add the chunks in order, correct for the shift, and mirror the upper half."""
    cdef Py_ssize_t columns = mean.shape[0], chunk, i, j
    for i in range(columns):
        mean[i] = 0
        for chunk in range(totals.shape[0]):
            mean[i] += totals[chunk, i]
        mean[i] = mean[i] / n  # of d
    for chunk in range(others.shape[0]):
        for i in range(columns):
            for j in range(i, columns):
                scatter[i, j] += others[chunk, i, j]
    for i in range(columns):
        for j in range(i, columns):
            scatter[i, j] -= n * mean[i] * mean[j]
            scatter[j, i] = scatter[i, j]
    for i in range(columns):
        mean[i] += shift[i]
