"""How fast this machine reads, writes, copies and multiplies at best: the limits that kernels are judged by.

Each thread goes over its own part of the arrays `repeats` times, so that what it costs to start threads does not count.
"""
from cython.parallel cimport prange
from libc.stdint cimport int32_t
from libc.string cimport memcpy

import numpy as np

from fastml._core._simd cimport stream
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL
from fastml._core._tile cimport multiply as multiply_tile
from fastml._core._types cimport floating

cdef extern from *:
    """
    /* A compiler must not find out that the same memory is read, or written, again and again. */
    static inline void forget_memory(void) { __asm__ volatile("" ::: "memory"); }
    """
    void forget_memory() noexcept nogil

cdef enum:
    DEPTH = 256  # two panels this deep fit into a first-level cache of 32 KB
    BLOCK = 512  # values that are moved at a time: 4 KB


def read(
    const Py_ssize_t[::1] x,  # IN (values,)
    Py_ssize_t repeats,
    Py_ssize_t n_threads,
):
    """Every bit that is set in some value of x. Integers, as their OR may be taken in any order, thus in vectors."""
    cdef Py_ssize_t n = x.shape[0], total = 0, part
    with nogil:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            total |= _read(&x[0], n * part // n_threads, n * (part + 1) // n_threads, repeats)
    return total


cdef Py_ssize_t _read(const Py_ssize_t* x, Py_ssize_t first, Py_ssize_t last, Py_ssize_t repeats) noexcept nogil:
    """Four places at a time: one chain of ORs would read 32 bytes a cycle from the first-level cache, which has 64."""
    cdef Py_ssize_t a = 0, b = 0, c = 0, d = 0, quarter = (last - first) // 4, i, _repeat
    x += first
    for _repeat in range(repeats):
        for i in range(quarter):
            a |= x[i]
            b |= x[i + quarter]
            c |= x[i + 2 * quarter]
            d |= x[i + 3 * quarter]
        for i in range(4 * quarter, last - first):
            a |= x[i]
        forget_memory()
    return a | b | c | d


def write(
    bint streaming,
    Py_ssize_t repeats,
    double[::1] out,  # OUT (values,)
    Py_ssize_t n_threads,
):
    """Ones everywhere, through the caches or past them."""
    cdef Py_ssize_t n = out.shape[0], part
    with nogil:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            _write(&out[0], n * part // n_threads, n * (part + 1) // n_threads, streaming, repeats)


cdef void _write(
    double* out, Py_ssize_t first, Py_ssize_t last, bint streaming, Py_ssize_t repeats
) noexcept nogil:
    cdef double ones[BLOCK]
    cdef Py_ssize_t quarter = (last - first) // 4, i, _repeat
    for i in range(BLOCK):
        ones[i] = 1
    for _repeat in range(repeats):
        if streaming:
            i = first
            while i < last:
                _move(min(BLOCK, last - i), ones, out + i, True)
                i += BLOCK
        else:
            for i in range(first, first + quarter):  # four places, as above
                out[i] = 1
                out[i + quarter] = 1
                out[i + 2 * quarter] = 1
                out[i + 3 * quarter] = 1
            for i in range(first + 4 * quarter, last):
                out[i] = 1
        forget_memory()


def copy(
    const double[::1] x,  # IN (values,)
    bint streaming,
    Py_ssize_t repeats,
    double[::1] out,  # OUT (values,)
    Py_ssize_t n_threads,
):
    """x, written through the caches or past them."""
    cdef Py_ssize_t n = x.shape[0], part
    with nogil:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            _copy(&x[0], &out[0], n * part // n_threads, n * (part + 1) // n_threads, streaming, repeats)


cdef void _copy(
    const double* x, double* out, Py_ssize_t first, Py_ssize_t last, bint streaming, Py_ssize_t repeats
) noexcept nogil:
    cdef Py_ssize_t i, _repeat
    for _repeat in range(repeats):
        i = first
        while i < last:
            _move(min(BLOCK, last - i), x + i, out + i, streaming)
            i += BLOCK
        forget_memory()


cdef inline void _move(Py_ssize_t values, const double* source, double* target, bint streaming) noexcept nogil:
    """Small pieces by memcpy, which would else decide for itself what is large enough to go past the caches."""
    if streaming:
        stream(values * sizeof(double), source, target)
    else:
        memcpy(target, source, values * sizeof(double))


def multiply(
    Py_ssize_t repeats,
    floating[:, ::1] tiles,  # OUT (n_threads, at least the values of a tile)
    Py_ssize_t n_threads,
):
    """Products of panels in the first-level cache, in register tiles; returns how many flops these were."""
    cdef Py_ssize_t columns = 3 * (LANES_F32 if floating is float else LANES_F64), part
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] a = np.ones(DEPTH * PANEL, dtype), b = np.ones(DEPTH * columns, dtype)
    cdef int32_t[::1] offset = np.arange(0, DEPTH * columns, columns, dtype=np.int32)
    with nogil:
        for part in prange(n_threads, num_threads=n_threads, schedule="static"):
            _multiply(&a[0], &b[0], &offset[0], &tiles[part, 0], repeats, columns)
    return 2.0 * DEPTH * PANEL * columns * repeats * n_threads


cdef void _multiply(
    const floating* a, const floating* b, const int32_t* offset, floating* tile, Py_ssize_t repeats, Py_ssize_t columns
) noexcept nogil:
    cdef Py_ssize_t _repeat
    for _repeat in range(repeats):
        multiply_tile(3, 1, DEPTH, a, 0, b, offset, False, tile, columns)
        forget_memory()
