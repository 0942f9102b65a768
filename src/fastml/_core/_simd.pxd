# What simd.h offers. The C macros choose by the type of the pointer; `void` here only says "float or double".
cdef extern from "simd.h" nogil:
    const Py_ssize_t TILE_ROWS
    const Py_ssize_t TILE_COLUMNS_F32
    const Py_ssize_t TILE_COLUMNS_F64
    void multiply_tile(Py_ssize_t depth, const void* a, const void* b, void* tile) noexcept
    void shifted_sums(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, const void* x, double shift, double* out
    ) noexcept
    void shifted_column_sums(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t apart, Py_ssize_t n, const void* x, const double* shift,
        double* total, double* squares
    ) noexcept
    void stream(Py_ssize_t n_bytes, const void* source, void* target) noexcept
