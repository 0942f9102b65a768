# cython: boundscheck=False, wraparound=False, cdivision=True
"""Blocks that do not depend on the number of threads, a sum for each, and these added in order."""

from cython.parallel cimport prange
import numpy as np

BLOCK = 4096  # values: long enough for four chains of additions to pay, short enough for threads to share them out


cdef double sum_of_block(const float[::1] x, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    cdef double a = 0, b = 0, c = 0, d = 0
    cdef Py_ssize_t i = start
    while i + 4 <= end:
        a += <double> x[i] * x[i]
        b += <double> x[i + 1] * x[i + 1]
        c += <double> x[i + 2] * x[i + 2]
        d += <double> x[i + 3] * x[i + 3]
        i += 4
    while i < end:
        a += <double> x[i] * x[i]
        i += 1
    return (a + b) + (c + d)


def sum_squares(const float[::1] x, double[::1] out, int n_threads):
    """out[0] = sum of x[i] ** 2."""
    cdef Py_ssize_t k, n = x.shape[0], block = BLOCK, blocks = (n + block - 1) // block
    cdef double[::1] partial = np.zeros(blocks)
    cdef double total = 0
    for k in prange(blocks, nogil=True, num_threads=n_threads, schedule="static"):
        partial[k] = sum_of_block(x, k * block, min((k + 1) * block, n))
    for k in range(blocks):  # by one thread, from the first to the last
        total += partial[k]
    out[0] = total
