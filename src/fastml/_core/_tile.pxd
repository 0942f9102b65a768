# What tile.h offers. The C macros choose by the type of the pointer; `void` here only says "float or double".
from libc.stdint cimport int32_t


cdef extern from "tile.h" nogil:
    const Py_ssize_t PANEL
    const Py_ssize_t LANES_F32
    const Py_ssize_t LANES_F64
    void multiply(
        Py_ssize_t vectors, Py_ssize_t panels, Py_ssize_t depth, const void* a, Py_ssize_t next, const void* b,
        const int32_t* offset, bint add, void* sums, Py_ssize_t pitch
    ) noexcept
    void multiply_and_finish(
        Py_ssize_t n, Py_ssize_t depth, const void* a, const void* b, const int32_t* offset, int outputs,
        const void* bias, const void* residual, bint relu, void* out, Py_ssize_t plane
    ) noexcept
