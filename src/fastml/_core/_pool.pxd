# What pool.h offers. The C macros choose by the type of the pointer; `void` here only says "float or double".
from libc.stdint cimport int64_t


cdef extern from "pool.h" nogil:
    void max_row(int rows, int taps, Py_ssize_t width, const void* x, Py_ssize_t n, void* out) noexcept
    void argmax_row(
        int rows, int taps, Py_ssize_t width, const void* x, Py_ssize_t n, int64_t base, void* out, int64_t* indices
    ) noexcept
    void mean_row(
        int rows, int taps, Py_ssize_t width, const void* x, Py_ssize_t n, double divisor, const double* columns,
        void* out
    ) noexcept
