"""Count, mean and sum of squared deviations, NaN left out. The specification is `fastml._ref.moments`."""
from cython.parallel cimport prange
from libc.math cimport NAN
from libc.stdint cimport int64_t

import numpy as np

from fastml._core._stats cimport PANEL, Stats, merge, merge_row, merge_rows, origin_of
from fastml._core._types cimport floating


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: a mean for each column; 1: for each row
    int64_t[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """The definition, compiled: the mean of each feature, then its squared deviations. Reads columns with a stride."""
    cdef Py_ssize_t features = x.shape[1 - axis], samples = x.shape[axis]
    cdef Py_ssize_t feature_step = 1 if axis == 0 else x.shape[1], sample_step = x.shape[1] if axis == 0 else 1
    cdef Py_ssize_t j
    for j in prange(features, nogil=True, num_threads=n_threads, schedule="static"):
        _two_passes(&x[0, 0] + j * feature_step, samples, sample_step, &count[j], &mean[j], &m2[j])


cdef void _two_passes(
    const floating* x, Py_ssize_t n, Py_ssize_t step, int64_t* count, double* mean, double* m2
) noexcept nogil:
    cdef double total = 0, d
    cdef Py_ssize_t i
    count[0] = 0
    for i in range(n):
        if x[i * step] == x[i * step]:
            total += x[i * step]
            count[0] += 1
    mean[0] = total / count[0] if count[0] else NAN
    m2[0] = 0
    for i in range(n):
        if x[i * step] == x[i * step]:
            d = x[i * step] - mean[0]
            m2[0] += d * d


def blocks(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: a mean for each column; 1: for each row
    int64_t[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """One pass, in the order of memory: shifted sums of blocks in cache, merged by Chan's formula in a fixed order.

    Buys a factor of two in bytes (one pass instead of two) and, for axis 0, a cache line used whole instead of 4 bytes
    of it. Work is cut by the shape alone, so that any number of threads gives the same bits.
    """
    cdef Py_ssize_t rows = x.shape[0], columns = x.shape[1], features = x.shape[1 - axis]
    cdef Py_ssize_t panels = (columns + PANEL - 1) // PANEL
    # about 64 tasks; a wide matrix has enough panels, a narrow one is cut into chunks of rows as well
    cdef Py_ssize_t chunks = 1 if axis == 1 else min(max(64 // panels, 1), (rows + PANEL - 1) // PANEL)
    cdef double[:, :, ::1] scratch = np.zeros((chunks, features, 3))
    cdef Stats* partial = <Stats*>&scratch[0, 0, 0]
    cdef Py_ssize_t task, j, chunk
    with nogil:
        if axis == 1:
            for j in prange(rows, num_threads=n_threads, schedule="static"):
                mean[j] = origin_of(&x[j, 0], columns, 1)
                merge_row(&partial[j], &x[j, 0], columns, mean[j])
        else:
            for j in range(columns):
                mean[j] = origin_of(&x[0, j], rows, columns)
            for task in prange(chunks * panels, num_threads=n_threads, schedule="static"):
                _one_panel(&x[0, 0], rows, columns, task // panels, chunks, task % panels, &mean[0], partial)
        for j in range(features):
            for chunk in range(1, chunks):
                merge(&partial[j], partial[chunk * features + j].count,
                      partial[chunk * features + j].mean, partial[chunk * features + j].m2)
            count[j] = <int64_t>partial[j].count
            mean[j] = mean[j] + partial[j].mean if count[j] else NAN
            m2[j] = partial[j].m2


cdef void _one_panel(
    const floating* x, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t chunk, Py_ssize_t chunks, Py_ssize_t panel,
    const double* origin, Stats* partial,
) noexcept nogil:
    cdef Py_ssize_t first = rows * chunk // chunks, last = rows * (chunk + 1) // chunks
    cdef Py_ssize_t column = panel * PANEL
    merge_rows(&partial[chunk * columns + column], x + first * columns + column, last - first, columns,
               min(PANEL, columns - column), origin + column)
