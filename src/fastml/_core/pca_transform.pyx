"""Rows in the coordinates of principal components. The specification is `fastml._ref.pca_transform`."""
from cython.parallel cimport prange, threadid

import numpy as np

from fastml._core._tile cimport LANES_F32, LANES_F64
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef extern from "project.h" nogil:
    void project(
        Py_ssize_t vectors, Py_ssize_t n, Py_ssize_t rows, const void* x, Py_ssize_t pitch, const void* mean,
        const void* basis, void* sums
    ) noexcept


cdef enum:
    ROWS = 64  # of a task, whose sums stay in the first-level cache
    DEPTH = 512  # columns of x in one go: the basis for them is read by all rows of a task


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] mean,  # IN (columns,)
    const floating[:, ::1] basis,  # IN (k, columns)
    floating[:, ::1] out,  # OUT (rows, k)
    Py_ssize_t n_threads,
):
    """The definition, compiled: one sum after another, in float64."""
    cdef Py_ssize_t i
    for i in prange(x.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        _row(x, mean, basis, out, i)


cdef void _row(
    const floating[:, ::1] x, const double[::1] mean, const floating[:, ::1] basis, floating[:, ::1] out, Py_ssize_t i
) noexcept nogil:
    cdef Py_ssize_t c, j
    cdef double total
    for c in range(basis.shape[0]):
        total = 0
        for j in range(x.shape[1]):
            total += (x[i, j] - mean[j]) * basis[c, j]
        out[i, c] = <floating>total


def tiles(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] mean,  # IN (columns,)
    const floating[:, ::1] basis,  # IN (k, columns)
    floating[:, ::1] out,  # OUT (rows, k)
    Py_ssize_t n_threads,
):
    """4 rows x 3 vectors of components in registers, the mean subtracted on the way: X is read once, and not copied.

    Subtracting mean @ basis from x @ basis afterwards would save the subtractions, and lose what a mean far from zero
    has in front. What the mean loses as float32 is made good: the sums start from (float32(mean) - mean) @ basis.
    """
    cdef Py_ssize_t width = 3 * (LANES_F32 if floating is float else LANES_F64)
    cdef Py_ssize_t columns = x.shape[1], k = basis.shape[0], strips = (k + width - 1) // width, task
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] shift = np.asarray(mean).astype(dtype)
    cdef floating[:, ::1] packed = working_memory("weights", 1, strips * columns * width, dtype)
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, ROWS * width, dtype)
    lost = np.zeros(strips * width, dtype)
    lost[:k] = np.matmul(basis, np.subtract(shift, mean))
    cdef floating[::1] start = lost
    with nogil:
        for task in prange((columns + DEPTH - 1) // DEPTH, num_threads=n_threads, schedule="static"):
            _pack(basis, task * DEPTH, min((task + 1) * DEPTH, columns), width, &packed[0, 0])
        for task in prange((x.shape[0] + ROWS - 1) // ROWS, num_threads=n_threads, schedule="static"):
            _some_rows(x, &shift[0], &packed[0, 0], &start[0], out, task * ROWS, &memory[threadid(), 0])


cdef void _pack(
    const floating[:, ::1] basis, Py_ssize_t first, Py_ssize_t last, Py_ssize_t width, floating* packed
) noexcept nogil:
    """(k, columns) -> (strip, columns, width), for some of the columns; missing components are zero."""
    cdef Py_ssize_t columns = basis.shape[1], strip, c, j
    cdef floating* to
    for strip in range((basis.shape[0] + width - 1) // width):
        for c in range(width):
            to = packed + strip * columns * width + c
            if strip * width + c < basis.shape[0]:
                for j in range(first, last):
                    to[j * width] = basis[strip * width + c, j]
            else:
                for j in range(first, last):
                    to[j * width] = 0


cdef void _some_rows(
    const floating[:, ::1] x, const floating* shift, const floating* packed, const floating* start,
    floating[:, ::1] out, Py_ssize_t first, floating* sums
) noexcept nogil:
    cdef Py_ssize_t columns = x.shape[1], k = out.shape[1], lanes = LANES_F32 if floating is float else LANES_F64
    cdef Py_ssize_t rows = min(ROWS, x.shape[0] - first), strip = 0, width = 3 * lanes, count, i, j, c
    while strip < k:
        count = min(width, k - strip)
        for i in range((rows + 3) // 4 * 4):
            for c in range(width):
                sums[i * width + c] = start[strip + c]
        j = 0
        while j < columns:
            for i in range(0, rows, 4):
                project((count + lanes - 1) // lanes, min(DEPTH, columns - j), min(4, rows - i), &x[first + i, j],
                        columns, shift + j, packed + strip * columns + j * width, sums + i * width)
            j += DEPTH
        for i in range(rows):
            for c in range(count):
                out[first + i, strip + c] = sums[i * width + c]
        strip += width
