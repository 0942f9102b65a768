# What simd.h offers. The C macros choose by the type of the pointer; `void` here only says "float or double".
cdef extern from "simd.h" nogil:
    void shifted_sums(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, const void* x, double shift, double* out
    ) noexcept
    void shifted_column_sums(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t apart, Py_ssize_t n, const void* x, const double* shift,
        double* total, double* squares
    ) noexcept
    void stream(Py_ssize_t n_bytes, const void* source, void* target) noexcept
