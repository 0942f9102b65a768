"""(x - mean) / scale. The specification is `fastml._ref.standardize`."""
from cython.parallel cimport prange, threadid

import numpy as np

from fastml._core._simd cimport stream
from fastml._core._types cimport floating


cdef enum:
    CHUNK = 16384  # values a task works on: 64 or 128 KiB
    BUFFER = 2048  # values that are computed before they are written out: 8 or 16 KiB of the first-level cache


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: mean and scale of each column; 1: of each row
    const double[::1] mean,  # IN (features,)
    const double[::1] scale,  # IN (features,), no zero
    floating[:, ::1] out,  # OUT (rows, columns); may be x itself
    Py_ssize_t n_threads,
):
    """The definition, compiled: feature by feature, so with axis=0 one value of every cache line at a time."""
    cdef Py_ssize_t features = x.shape[1 - axis], samples = x.shape[axis], i, j
    for j in prange(features, nogil=True, num_threads=n_threads, schedule="static"):
        for i in range(samples):
            if axis == 0:
                out[i, j] = <floating>((x[i, j] - mean[j]) / scale[j])
            else:
                out[j, i] = <floating>((x[j, i] - mean[j]) / scale[j])


def rows(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: mean and scale of each column; 1: of each row
    const double[::1] mean,  # IN (features,)
    const double[::1] scale,  # IN (features,), no zero
    floating[:, ::1] out,  # OUT (rows, columns); may be x itself
    Py_ssize_t n_threads,
):
    """In the order of memory, a vector of columns at a time. Limited by memory: one read and one write of x."""
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], i
    cdef Py_ssize_t step = max(CHUNK // columns, 1)
    for i in prange(0, n, step, nogil=True, num_threads=n_threads, schedule="static"):
        if axis == 0:
            _columns(&x[i, 0], min(step, n - i), columns, &mean[0], &scale[0], &out[i, 0])
        else:
            _features(&x[i, 0], min(step, n - i), columns, &mean[i], &scale[i], &out[i, 0])


cdef void _columns(
    const floating* x, Py_ssize_t rows, Py_ssize_t columns, const double* mean, const double* scale, floating* out
) noexcept nogil:
    # The mean is subtracted in float64, before anything is rounded to float32: at |mean| / std = 1e6 the difference
    # still has all its digits. The division costs nothing here, memory is slower.
    cdef Py_ssize_t i, j
    for i in range(rows):
        for j in range(columns):
            out[i * columns + j] = <floating>((x[i * columns + j] - mean[j]) / scale[j])


cdef void _features(
    const floating* x, Py_ssize_t rows, Py_ssize_t columns, const double* mean, const double* scale, floating* out
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef double m, s
    for i in range(rows):
        m, s = mean[i], scale[i]
        for j in range(columns):
            out[i * columns + j] = <floating>((x[i * columns + j] - m) / s)


def streamed(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: mean and scale of each column; 1: of each row
    const double[::1] mean,  # IN (features,)
    const double[::1] scale,  # IN (features,), no zero
    floating[:, ::1] out,  # OUT (rows, columns); not x itself
    Py_ssize_t n_threads,
):
    """Past the caches, and from the last row to the first.

    A plain store reads the line it writes to: without that, three bytes move instead of four for each byte of x,
    statistics included. And the rows that the statistics read last are still in the cache: read them first.
    """
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], task
    cdef Py_ssize_t step = max(BUFFER // columns, 1), tasks = (n + step - 1) // step
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] buffer = np.empty((n_threads, BUFFER), dtype=dtype)
    for task in prange(tasks, nogil=True, num_threads=n_threads, schedule="static"):
        _streamed_rows(x, axis, mean, scale, (tasks - 1 - task) * step, step, &buffer[threadid(), 0], out)


cdef void _streamed_rows(
    const floating[:, ::1] x, int axis, const double[::1] mean, const double[::1] scale, Py_ssize_t first,
    Py_ssize_t step, floating* buffer, floating[:, ::1] out
) noexcept nogil:
    """Some rows that fit into the buffer, or one row, which may take several."""
    cdef Py_ssize_t rows = min(step, x.shape[0] - first), width = min(BUFFER, x.shape[1]), j = 0
    while j < x.shape[1]:
        width = min(width, x.shape[1] - j)
        if axis == 0:
            _columns(&x[first, j], rows, width, &mean[j], &scale[j], buffer)
        else:
            _features(&x[first, j], rows, width, &mean[first], &scale[first], buffer)
        stream(rows * width * sizeof(floating), buffer, &out[first, j])
        j += width
