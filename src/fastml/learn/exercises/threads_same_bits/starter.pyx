# cython: boundscheck=False, wraparound=False, cdivision=True
"""A share for each thread: another number of threads adds in another order, and gives other last digits."""

from cython.parallel cimport prange
import numpy as np


cdef double sum_of_share(const float[::1] x, Py_ssize_t start, Py_ssize_t end) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(start, end):
        total += <double> x[i] * x[i]
    return total


def sum_squares(const float[::1] x, double[::1] out, int n_threads):
    """out[0] = sum of x[i] ** 2."""
    cdef double[::1] partial = np.zeros(n_threads)
    cdef Py_ssize_t task, n = x.shape[0]
    for task in prange(n_threads, nogil=True, num_threads=n_threads, schedule="static"):
        partial[task] = sum_of_share(x, n * task // n_threads, n * (task + 1) // n_threads)
    out[0] = np.sum(partial)
