# What pool.h offers, and how its callers divide the work.
# The C macros choose by the type of the pointer; `void` here only says "float or double".
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


cdef enum:
    BAND = 16  # rows of windows in a task, at the most: the division that finds its plane and row is then rare


cdef inline Py_ssize_t rows_of_band(Py_ssize_t planes, Py_ssize_t rows, Py_ssize_t n_threads) noexcept nogil:
    """Few enough for four tasks a thread."""
    return max(min(BAND, planes * rows // (4 * n_threads)), 1)


cdef inline void inner_windows(
    Py_ssize_t w, Py_ssize_t kernel_w, Py_ssize_t pad_left, Py_ssize_t n, Py_ssize_t lanes, Py_ssize_t* first,
    Py_ssize_t* last
) noexcept nogil:
    """The windows of a row, stride 2, that lie inside from left to right; none where they are less than a vector.

    All others, which reach over an end, have at least one row and column in the image: validation sees to that.
    """
    first[0] = (pad_left + 1) // 2
    last[0] = min((w + pad_left - kernel_w) // 2 + 1, n)
    if last[0] - first[0] < lanes:
        first[0] = last[0] = 0
