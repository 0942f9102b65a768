"""Rows in the coordinates of principal components. The specification is `fastml._ref.pca_transform`."""
from cython.parallel cimport prange, threadid
from libc.math cimport isfinite

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport LANES_F32, LANES_F64
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef extern from "project.h" nogil:
    const Py_ssize_t PITCH
    void project(
        Py_ssize_t vectors, Py_ssize_t rows, Py_ssize_t n, const void* x, const void* basis, void* sums,
        Py_ssize_t width, const void* next, Py_ssize_t apart
    ) noexcept


cdef enum:
    ROWS = 24  # of a task: PITCH columns of them, centred, are 12 KiB of float32 in the first-level cache


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] mean,  # IN (columns,)
    const floating[:, ::1] basis,  # IN (k, columns)
    floating[:, ::1] out,  # OUT (rows, k)
    Py_ssize_t n_threads,
):
    """The definition, compiled: one sum after another, in float64."""
    cdef Py_ssize_t i
    cdef Watch watch = start_watch()
    for i in prange(x.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted(&watch):
            _row(x, mean, basis, out, i)
    end_watch(&watch)


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
    """Pieces of rows, centred in the first-level cache, times strips of components: 12 vectors of sums in registers.

    Subtracting mean @ basis from x @ basis afterwards would save the subtractions, and lose what a mean far from zero
    has in front. What the mean loses as float32 is made good: the sums start from (float32(mean) - mean) @ basis,
    where that is finite.
    """
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64
    cdef Py_ssize_t columns = x.shape[1], width = (basis.shape[0] + lanes - 1) // lanes * lanes, task, c
    dtype = np.float32 if floating is float else np.float64
    with np.errstate(over="ignore"):
        shift = np.asarray(mean).astype(dtype)
    rounding, nothing = np.zeros(columns), np.zeros(max(columns, width), dtype)
    np.subtract(shift, mean, out=rounding, where=np.isfinite(shift))
    cdef floating[::1] center = shift, zeros = nothing
    cdef floating[:, ::1] lost = rounding.astype(dtype)[np.newaxis]
    cdef floating[:, ::1] start = np.zeros((1, width), dtype)
    cdef floating[:, ::1] packed = working_memory("weights", 1, columns * width, dtype)
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, ROWS * (PITCH + width), dtype, 0)
    cdef Watch watch = start_watch()
    with nogil:
        for task in prange((columns + PITCH - 1) // PITCH, num_threads=n_threads, schedule="static"):
            _pack(basis, task * PITCH, min((task + 1) * PITCH, columns), lanes, &packed[0, 0])
        if floating is float:
            _some_rows(lost, 0, &zeros[0], &packed[0, 0], &zeros[0], width, start, &memory[0, 0])
            for c in range(width):
                if not isfinite(start[0, c]):
                    start[0, c] = 0
        for task in prange((x.shape[0] + ROWS - 1) // ROWS, num_threads=n_threads, schedule="static"):
            if not interrupted(&watch):
                _some_rows(x, task * ROWS, &center[0], &packed[0, 0], &start[0, 0], width, out, &memory[threadid(), 0])
    end_watch(&watch)


cdef Py_ssize_t _strip(Py_ssize_t vectors) noexcept nogil:
    """How many of the vectors that are left make the next strip: 3, but rather 2 and 2 than 3 and 1."""
    return 3 if vectors > 4 or vectors == 3 else min(vectors, 2)


cdef void _pack(
    const floating[:, ::1] basis, Py_ssize_t first, Py_ssize_t last, Py_ssize_t lanes, floating* packed
) noexcept nogil:
    """(k, columns) -> (strip, columns, vectors of components), for some of the columns; missing components are zero."""
    cdef Py_ssize_t columns = basis.shape[1], k = basis.shape[0], done = 0, width, c, j
    while done < k:
        width = _strip((k - done + lanes - 1) // lanes) * lanes
        for c in range(width):
            for j in range(first, last):
                packed[j * width + c] = basis[done + c, j] if done + c < k else 0
        packed += columns * width
        done += width


cdef void _some_rows(
    const floating[:, ::1] x, Py_ssize_t first, const floating* shift, const floating* packed, const floating* start,
    Py_ssize_t width, floating[:, ::1] out, floating* centred
) noexcept nogil:
    """PITCH columns after another, each times all strips."""
    cdef Py_ssize_t columns = x.shape[1], lanes = LANES_F32 if floating is float else LANES_F64
    cdef Py_ssize_t rows = min(ROWS, x.shape[0] - first), j = 0, n, i, c, done, vectors
    cdef floating* sums = centred + ROWS * PITCH
    cdef const floating* next
    for i in range(rows):
        for c in range(width):
            sums[i * width + c] = start[c]
    while j < columns:
        n = min(PITCH, columns - j)
        for i in range(rows):
            for c in range(n):
                centred[i * PITCH + c] = x[first + i, j + c] - shift[j + c]
        # what is needed after these: the next columns, or the next rows
        next = &x[first, 0] + (j + PITCH if j + PITCH < columns else ROWS * columns)
        done = 0
        while done < width:
            vectors = _strip((width - done) // lanes)
            project(vectors, rows, n, centred, packed + columns * done + j * vectors * lanes, sums + done, width, next,
                    columns if done == 0 else 0)
            done += vectors * lanes
        j += PITCH
    for i in range(rows):
        for c in range(out.shape[1]):
            out[first + i, c] = sums[i * width + c]
