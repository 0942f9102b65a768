"""Mean and scatter matrix, the sums that PCA needs. The specification is `fastml._ref.pca`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t

import numpy as np

from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL, multiply
from fastml._core._types cimport floating


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
    with nogil:
        for j in prange(columns, num_threads=n_threads, schedule="static"):
            mean[j] = _column_mean(x, j)
        for j in prange(columns, num_threads=n_threads, schedule="static"):
            _scatter_row(x, mean, scatter, j)


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


def blocks(
    const floating[:, ::1] x,  # IN (rows, columns)
    double[::1] mean,  # OUT (columns,)
    double[:, ::1] scatter,  # OUT (columns, columns): sum over rows of (x - mean)(x - mean)^T
    Py_ssize_t n_threads,
):
    """One pass over blocks of rows: shift, pack, and multiply the upper half in register tiles of 4 x 3 vectors.

    With s the mean of some rows and d = x - s, the scatter matrix is D'D - n e e' where e is the mean of d. As e is
    small beside the spread of the data, that subtraction loses little; X'X - n m m' loses all at a large mean. A column
    of ones beside D gives the sum of d for free. Symmetry halves the work of a full product.
    """
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], lanes = _tile_columns(&x[0, 0])
    cdef Py_ssize_t panels_a = columns // PANEL + 1, panels_b = columns // lanes + 1  # with the column of ones
    cdef Py_ssize_t size_a = panels_a * PANEL, size_b = panels_b * lanes
    # A small matrix of sums is kept by each chunk of rows; a large one is shared, its tiles being the tasks.
    cdef Py_ssize_t chunks = min(max((1 << 18) // (size_a * size_b), 1), MOST_CHUNKS, (n + DEPTH - 1) // DEPTH)
    cdef Py_ssize_t chunk, start = 0, panel
    dtype = np.float32 if floating is float else np.float64
    with np.errstate(invalid="ignore", over="ignore"):  # infinity is refused when the result shows it
        some = np.asarray(x[:: max(n // DEPTH, 1)][:DEPTH])  # from all over: the first rows may be unlike the others
        provisional_mean = some.mean(axis=0, dtype=np.float64).astype(dtype)
    cdef floating[::1] shift = provisional_mean
    cdef floating[:, ::1] a = np.empty((n_threads, DEPTH * size_a), dtype=dtype)
    cdef floating[:, ::1] b = np.empty((n_threads, DEPTH * size_b), dtype=dtype)
    cdef double[:, :, ::1] sums = np.zeros((chunks, size_a, size_b))
    with nogil:
        if chunks > 1:
            for chunk in prange(chunks, num_threads=n_threads, schedule="static"):
                _chunk(x, n * chunk // chunks, n * (chunk + 1) // chunks, &shift[0], &a[threadid(), 0],
                       &b[threadid(), 0], &sums[chunk, 0, 0], panels_a, panels_b)
        else:
            while start < n:
                for panel in prange(panels_a + panels_b, num_threads=n_threads, schedule="static"):
                    _pack(x, start, min(DEPTH, n - start), &shift[0], &a[0, 0], &b[0, 0], panels_a, panel)
                for panel in prange(panels_a, num_threads=n_threads, schedule="static", chunksize=1):
                    _tiles(min(DEPTH, n - start), &a[0, 0], &b[0, 0], &sums[0, 0, 0], panel, panels_b)
                start += DEPTH
        _finish(sums, n, &shift[0], mean, scatter)


cdef inline Py_ssize_t _tile_columns(const floating* x) noexcept nogil:
    return 3 * (LANES_F32 if floating is float else LANES_F64)


cdef void _chunk(
    const floating[:, ::1] x, Py_ssize_t first, Py_ssize_t last, const floating* shift, floating* a, floating* b,
    double* sums, Py_ssize_t panels_a, Py_ssize_t panels_b
) noexcept nogil:
    cdef Py_ssize_t start = first, panel
    while start < last:
        for panel in range(panels_a + panels_b):
            _pack(x, start, min(DEPTH, last - start), shift, a, b, panels_a, panel)
        for panel in range(panels_a):
            _tiles(min(DEPTH, last - start), a, b, sums, panel, panels_b)
        start += DEPTH


cdef void _pack(
    const floating[:, ::1] x, Py_ssize_t start, Py_ssize_t depth, const floating* shift, floating* a, floating* b,
    Py_ssize_t panels_a, Py_ssize_t panel
) noexcept nogil:
    """One panel of d = x - shift: 4 columns for the left operand, 3 vectors of columns for the right one."""
    cdef Py_ssize_t lanes = _tile_columns(shift)
    if panel < panels_a:
        _pack_columns(x, start, depth, shift, panel * PANEL, PANEL, a + panel * DEPTH * PANEL)
    else:
        panel -= panels_a
        _pack_columns(x, start, depth, shift, panel * lanes, lanes, b + panel * DEPTH * lanes)


cdef inline void _pack_columns(
    const floating[:, ::1] x, Py_ssize_t start, Py_ssize_t depth, const floating* shift, Py_ssize_t first,
    Py_ssize_t width, floating* packed
) noexcept nogil:
    cdef Py_ssize_t columns = x.shape[1], k, j
    cdef const floating* row
    for k in range(depth):
        row = &x[start + k, 0] + first
        if first + width <= columns:
            for j in range(width):
                packed[j] = row[j] - shift[first + j]
        else:
            for j in range(width):  # the last panel: after the columns comes the one, then zeros
                packed[j] = row[j] - shift[first + j] if first + j < columns else first + j == columns
        packed += width


cdef void _tiles(
    Py_ssize_t depth, const floating* a, const floating* b, double* sums, Py_ssize_t panel, Py_ssize_t panels_b
) noexcept nogil:
    """Add one row of tiles, from the diagonal on, to the sums."""
    cdef Py_ssize_t lanes = _tile_columns(a), width = panels_b * lanes, right, i, j
    cdef int32_t offset[DEPTH]
    cdef floating tile[TILE_SIZE]
    cdef double* row
    for i in range(depth):
        offset[i] = i * lanes
    for right in range(panel * PANEL // lanes, panels_b):
        multiply(3, 1, depth, a + panel * DEPTH * PANEL, 0, b + right * DEPTH * lanes, offset, False, tile, lanes)
        for i in range(PANEL):
            row = sums + (panel * PANEL + i) * width + right * lanes
            for j in range(lanes):
                row[j] += tile[i * lanes + j]


cdef void _finish(
    double[:, :, ::1] sums, Py_ssize_t n, const floating* shift, double[::1] mean, double[:, ::1] scatter
) noexcept nogil:
    """Add the chunks in order, correct for the shift, and mirror the upper half."""
    cdef Py_ssize_t columns = mean.shape[0], chunk, i, j
    for chunk in range(1, sums.shape[0]):
        for i in range(sums.shape[1]):
            for j in range(sums.shape[2]):
                sums[0, i, j] += sums[chunk, i, j]
    for i in range(columns):
        mean[i] = shift[i] + sums[0, i, columns] / n
    for i in range(columns):
        for j in range(i, columns):
            scatter[i, j] = sums[0, i, j] - sums[0, i, columns] * (sums[0, j, columns] / n)
            scatter[j, i] = scatter[i, j]
