"""Gradients of batch normalization. The specification is `fastml._ref.batch_norm_backward`."""
from cython.parallel cimport prange
from libc.math cimport isfinite, sqrt
from libc.string cimport memset

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch
from fastml._core._normalize cimport gradient, gradient_columns, gradient_sums, gradient_sums_columns, line_of
from fastml._core._stats cimport PANEL
from fastml._core._types cimport floating


def loops(
    const floating[:, :, ::1] grad_out,  # IN (n, channels, pixels)
    const floating[:, :, ::1] x,  # IN like grad_out
    const double[::1] weight,  # IN (channels,)
    const double[::1] bias,  # IN (channels,)
    const floating[:, :, ::1] residual,  # IN like x, or (0, 0, 0) for none
    const double[::1] mean,  # IN (channels,)
    const double[::1] variance,  # IN (channels,), biased
    double eps,
    bint training,
    bint relu,
    floating[:, :, ::1] grad_x,  # OUT like x
    double[::1] grad_weight,  # OUT (channels,)
    double[::1] grad_bias,  # OUT (channels,)
    floating[:, :, ::1] grad_residual,  # OUT like residual
    Py_ssize_t n_threads,
):
    """The definition, compiled: per channel a pass for each of two sums, one for the output."""
    cdef Py_ssize_t c, n, i
    cdef double g, slope
    for c in prange(x.shape[1], nogil=True, num_threads=n_threads, schedule="static"):
        grad_bias[c] = _loops_sum(grad_out, x, weight, bias, residual, mean, variance, eps, relu, c, False)
        grad_weight[c] = _loops_sum(grad_out, x, weight, bias, residual, mean, variance, eps, relu, c, True)
        slope = weight[c] / sqrt(variance[c] + eps)
        for n in range(x.shape[0]):
            for i in range(x.shape[2]):
                g = _passed(grad_out, x, weight, bias, residual, mean, variance, eps, relu, n, c, i)
                if residual.shape[0]:
                    grad_residual[n, c, i] = <floating>g
                if training:
                    g = g - (grad_bias[c] + grad_weight[c] * (x[n, c, i] - mean[c]) / sqrt(variance[c] + eps)) / (
                        x.shape[0] * x.shape[2]
                    )
                grad_x[n, c, i] = <floating>(slope * g)


cdef double _loops_sum(
    const floating[:, :, ::1] grad_out, const floating[:, :, ::1] x, const double[::1] weight, const double[::1] bias,
    const floating[:, :, ::1] residual, const double[::1] mean, const double[::1] variance, double eps, bint relu,
    Py_ssize_t c, bint times_x
) noexcept nogil:
    cdef Py_ssize_t n, i
    cdef double total = 0, g
    for n in range(x.shape[0]):
        for i in range(x.shape[2]):
            g = _passed(grad_out, x, weight, bias, residual, mean, variance, eps, relu, n, c, i)
            total += g * (x[n, c, i] - mean[c]) / sqrt(variance[c] + eps) if times_x else g
    return total


cdef inline double _passed(
    const floating[:, :, ::1] grad_out, const floating[:, :, ::1] x, const double[::1] weight, const double[::1] bias,
    const floating[:, :, ::1] residual, const double[::1] mean, const double[::1] variance, double eps, bint relu,
    Py_ssize_t n, Py_ssize_t c, Py_ssize_t i
) noexcept nogil:
    """The gradient behind the ReLU."""
    cdef double y
    if relu:
        y = (x[n, c, i] - mean[c]) * (weight[c] / sqrt(variance[c] + eps)) + bias[c]
        if residual.shape[0]:
            y += residual[n, c, i]
        if y <= 0:
            return 0
    return grad_out[n, c, i]


def channels(
    const floating[:, :, ::1] grad_out,  # IN (n, channels, pixels)
    const floating[:, :, ::1] x,  # IN like grad_out
    const double[::1] weight,  # IN (channels,)
    const double[::1] bias,  # IN (channels,)
    const floating[:, :, ::1] residual,  # IN like x, or (0, 0, 0) for none
    const double[::1] mean,  # IN (channels,)
    const double[::1] variance,  # IN (channels,), biased
    double eps,
    bint training,
    bint relu,
    floating[:, :, ::1] grad_x,  # OUT like x
    double[::1] grad_weight,  # OUT (channels,)
    double[::1] grad_bias,  # OUT (channels,)
    floating[:, :, ::1] grad_residual,  # OUT like residual
    Py_ssize_t n_threads,
):
    """Both sums in one pass of vectors; the output, in x's dtype, while the channel is in cache.

    The ReLU's mask is computed again from x, as the forward pass did: cheaper than to read one from memory.
    """
    cdef Py_ssize_t c, width = PANEL if x.shape[2] == 1 else 1, values = x.shape[0] * x.shape[2] * width
    cdef Watch watch = start_watch()
    for c in prange(0, x.shape[1], width, nogil=True, num_threads=n_threads, schedule="static"):
        if interrupted_at(&watch, c // width, values):
            pass
        elif x.shape[2] == 1:
            _panel(grad_out, x, weight, bias, residual, mean, variance, eps, training, relu, grad_x, grad_weight,
                   grad_bias, grad_residual, c)
        else:
            _channel(grad_out, x, weight[c], bias[c], residual, mean[c], variance[c], eps, training, relu, grad_x,
                     &grad_weight[c], &grad_bias[c], grad_residual, c)
    end_watch(&watch)


cdef inline void _curve(
    double mean, double variance, double weight, double eps, Py_ssize_t n, floating shift, double* grad_weight,
    double* grad_bias, floating* curve, floating* rest
) noexcept nogil:
    """From the sums of g and g * (x - shift): the gradients, and what mean and variance, which depend on x, take."""
    cdef double inverse = 1 / sqrt(variance + eps)
    cdef double bend
    grad_weight[0] -= _if_finite((mean - shift) * grad_bias[0])
    grad_weight[0] *= inverse
    bend = weight * inverse * inverse * grad_weight[0] / n
    curve[0] = <floating>bend
    rest[0] = <floating>(_if_finite((mean - shift) * bend) - weight * inverse * grad_bias[0] / n)


cdef inline double _if_finite(double lost) noexcept nogil:
    """What rounding the mean to `shift` has lost, if it means something: not of an infinite gradient or value."""
    return lost if isfinite(lost) else 0


cdef void _channel(
    const floating[:, :, ::1] grad_out, const floating[:, :, ::1] x, double weight, double bias,
    const floating[:, :, ::1] residual, double mean, double variance, double eps, bint training, bint relu,
    floating[:, :, ::1] grad_x, double* grad_weight, double* grad_bias, floating[:, :, ::1] grad_residual, Py_ssize_t c
) noexcept nogil:
    cdef Py_ssize_t images = x.shape[0], pixels = x.shape[2], stride = x.shape[1] * pixels
    cdef const floating* added = &residual[0, c, 0] if residual.shape[0] else NULL
    cdef floating shift, factor, offset, curve, rest
    line_of(mean, variance, weight, bias, eps, &shift, &factor, &offset)
    gradient_sums(images, stride, pixels, &grad_out[0, c, 0], &x[0, c, 0], shift, factor, offset, added, relu,
                  grad_bias, grad_weight)
    _curve(mean, variance, weight, eps, images * pixels, shift, grad_weight, grad_bias, &curve, &rest)
    gradient(images, stride, pixels, &grad_out[0, c, 0], &x[0, c, 0], shift, factor, offset, curve, rest, added, relu,
             training, &grad_x[0, c, 0], &grad_residual[0, c, 0] if added is not NULL else NULL)


cdef void _panel(
    const floating[:, :, ::1] grad_out, const floating[:, :, ::1] x, const double[::1] weight, const double[::1] bias,
    const floating[:, :, ::1] residual, const double[::1] mean, const double[::1] variance, double eps, bint training,
    bint relu, floating[:, :, ::1] grad_x, double[::1] grad_weight, double[::1] grad_bias,
    floating[:, :, ::1] grad_residual, Py_ssize_t first
) noexcept nogil:
    cdef Py_ssize_t rows = x.shape[0], width = min(PANEL, x.shape[1] - first), c
    cdef const floating* added = &residual[0, first, 0] if residual.shape[0] else NULL
    cdef floating shift[PANEL]
    cdef floating factor[PANEL]
    cdef floating offset[PANEL]
    cdef floating curve[PANEL]
    cdef floating rest[PANEL]
    memset(&grad_weight[first], 0, width * sizeof(double))
    memset(&grad_bias[first], 0, width * sizeof(double))
    for c in range(width):
        line_of(mean[first + c], variance[first + c], weight[first + c], bias[first + c], eps,
                &shift[c], &factor[c], &offset[c])
    gradient_sums_columns(rows, x.shape[1], width, &grad_out[0, first, 0], &x[0, first, 0], shift, factor, offset,
                          added, relu, &grad_bias[first], &grad_weight[first])
    for c in range(width):
        _curve(mean[first + c], variance[first + c], weight[first + c], eps, rows, shift[c], &grad_weight[first + c],
               &grad_bias[first + c], &curve[c], &rest[c])
    gradient_columns(rows, x.shape[1], width, &grad_out[0, first, 0], &x[0, first, 0], shift, factor, offset, curve,
                     rest, added, relu, training, &grad_x[0, first, 0],
                     &grad_residual[0, first, 0] if added is not NULL else NULL)
