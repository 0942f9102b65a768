# What normalize.h offers. The C macros choose by the type of the pointer; `void` here only says "float or double".
from libc.math cimport isfinite, sqrt

from fastml._core._types cimport floating


cdef extern from "normalize.h" nogil:
    void normalize(
        Py_ssize_t images, Py_ssize_t stride, Py_ssize_t n, const void* x, double shift, double factor, double offset,
        const void* residual, bint relu, void* out
    ) noexcept
    void normalize_columns(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, const void* x, const void* shift, const void* factor,
        const void* offset, const void* residual, bint relu, void* out
    ) noexcept
    void gradient_sums(
        Py_ssize_t images, Py_ssize_t stride, Py_ssize_t n, const void* grad, const void* x, double shift,
        double factor, double offset, const void* residual, bint relu, double* sum, double* product
    ) noexcept
    void gradient_sums_columns(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, const void* grad, const void* x, const void* shift,
        const void* factor, const void* offset, const void* residual, bint relu, double* sum, double* product
    ) noexcept
    void gradient(
        Py_ssize_t images, Py_ssize_t stride, Py_ssize_t n, const void* grad, const void* x, double shift,
        double factor, double offset, double curve, double rest, const void* residual, bint relu, bint training,
        void* grad_x, void* grad_residual
    ) noexcept
    void gradient_columns(
        Py_ssize_t rows, Py_ssize_t stride, Py_ssize_t n, const void* grad, const void* x, const void* shift,
        const void* factor, const void* offset, const void* curve, const void* rest, const void* residual, bint relu,
        bint training, void* grad_x, void* grad_residual
    ) noexcept
    void standardize_columns(
        Py_ssize_t n, const void* x, const double* mean, const double* scale, void* out
    ) noexcept
    void standardize_row(Py_ssize_t n, const void* x, double mean, double scale, void* out) noexcept


cdef inline void line_of(
    double mean, double variance, double weight, double bias, double eps, floating* shift, floating* factor,
    floating* offset
) noexcept nogil:
    """y = (x - shift) * factor + offset, with a shift that float32 can hold and the rest of the mean in the offset.

    So nothing is lost at |mean| / std = 1e6, where x * factor + offset would cancel, and all of it is float32. The
    backward pass computes the ReLU's mask from the very same line.
    """
    cdef double slope = weight / sqrt(variance + eps)
    cdef floating rest
    shift[0] = <floating>mean
    factor[0] = <floating>slope
    rest = <floating>((mean - shift[0]) * slope)
    offset[0] = <floating>(bias - (mean - shift[0]) * slope if isfinite(rest) else bias)  # infinite mean or weight
