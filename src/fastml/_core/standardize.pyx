"""(x - mean) / scale. The specification is `fastml._ref.standardize`."""
from cython.parallel cimport prange, threadid
from libc.float cimport DBL_MAX

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch_unless
from fastml._core._normalize cimport standardize_columns, standardize_row
from fastml._core._simd cimport stream
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    CHUNK = 16384  # values a task works on: 64 or 128 KiB
    FEW = 256  # columns whose factors need no array to be made
    FEW_TASKS = 64  # so many take a millisecond
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
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], i, task
    cdef Py_ssize_t step = max(CHUNK // columns, 1), tasks = (n + step - 1) // step
    cdef double few[FEW]
    cdef double* factor = few
    cdef double[::1] many
    if axis == 0 and columns > FEW:
        many = np.empty(columns)
        factor = &many[0]
    if axis == 0:
        _factors(columns, &scale[0], factor, <floating>0)
    cdef Watch watch = start_watch_unless(&x[0, 0] == &out[0, 0])
    if n_threads == 1 and tasks < FEW_TASKS:  # to open a region of threads takes as long as a short row
        with nogil:
            _some_rows(&x[0, 0], n, columns, axis, &mean[0], &scale[0], factor, &out[0, 0])
        return
    for task in prange(tasks, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted(&watch):
            i = task * step
            _some_rows(&x[i, 0], min(step, n - i), columns, axis, &mean[0 if axis == 0 else i],
                       &scale[0 if axis == 0 else i], factor, &out[i, 0])
    end_watch(&watch)


cdef void _factors(Py_ssize_t columns, const double* scale, double* factor, floating dtype) noexcept nogil:
    """What standardize_columns takes: 1 / scale for float32, scale for float64."""
    cdef Py_ssize_t j
    for j in range(columns):
        # no infinity for a denormal scale: 0 times it would be NaN
        factor[j] = min(1 / scale[j], DBL_MAX) if floating is float else scale[j]


cdef void _some_rows(
    const floating* x, Py_ssize_t rows, Py_ssize_t columns, int axis, const double* mean, const double* scale,
    const double* factor, floating* out
) noexcept nogil:
    # The mean is subtracted in float64, before anything is rounded to float32: at |mean| / std = 1e6 the difference
    # still has all its digits.
    cdef Py_ssize_t i
    cdef double one
    for i in range(rows):
        if axis == 0:
            standardize_columns(columns, x + i * columns, mean, factor, out + i * columns)
        else:
            _factors(1, scale + i, &one, <floating>0)
            standardize_row(columns, x + i * columns, mean[i], one, out + i * columns)


def streamed(
    const floating[:, ::1] x,  # IN (rows, columns)
    int axis,  # 0: mean and scale of each column; 1: of each row
    const double[::1] mean,  # IN (features,)
    const double[::1] scale,  # IN (features,), no zero
    floating[:, ::1] out,  # OUT (rows, columns); may be x itself
    Py_ssize_t n_threads,
):
    """Past the caches: a plain store is said to read the line that it writes to, a quarter of all bytes that then move.

    Such stores want whole lines, so rows of any length go through a buffer, which costs more than they save: this takes
    up to twice the time of plain stores (AMD, Zen 4). So it does not ship.
    """
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], task
    cdef Py_ssize_t step = max(BUFFER // columns, 1), tasks = (n + step - 1) // step
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] buffer = working_memory("rows", n_threads, BUFFER, dtype)
    cdef double[::1] factor = np.empty(columns)
    if axis == 0:
        _factors(columns, &scale[0], &factor[0], <floating>0)
    for task in prange(tasks, nogil=True, num_threads=n_threads, schedule="static"):
        _streamed_rows(x, axis, mean, scale, task * step, step, &factor[0], &buffer[threadid(), 0], out)


cdef void _streamed_rows(
    const floating[:, ::1] x, int axis, const double[::1] mean, const double[::1] scale, Py_ssize_t first,
    Py_ssize_t step, const double* factor, floating* buffer, floating[:, ::1] out
) noexcept nogil:
    """Some rows that fit into the buffer, or one row, which may take several."""
    cdef Py_ssize_t rows = min(step, x.shape[0] - first), width = min(BUFFER, x.shape[1]), j = 0
    while j < x.shape[1]:
        width = min(width, x.shape[1] - j)
        _some_rows(&x[first, j], rows, width, axis, &mean[j if axis == 0 else first],
                   &scale[j if axis == 0 else first], factor + j, buffer)
        stream(rows * width * sizeof(floating), buffer, &out[first, j])
        j += width
