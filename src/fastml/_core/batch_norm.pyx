"""(x - mean) / sqrt(variance + eps) * weight + bias. The specification is `fastml._ref.batch_norm`."""
from cython.parallel cimport prange
from libc.math cimport NAN, sqrt

import numpy as np

from fastml._core._stats cimport PANEL, Stats, merge_row, merge_rows, origin_of
from fastml._core._types cimport floating


def loops(
    const floating[:, :, ::1] x,  # IN (n, channels, pixels)
    const double[::1] weight,  # IN (channels,)
    const double[::1] bias,  # IN (channels,)
    const floating[:, :, ::1] residual,  # IN like x, or (0, 0, 0) for none
    double eps,
    bint training,
    bint relu,
    double[::1] mean,  # IN (channels,); OUT when training
    double[::1] variance,  # IN (channels,), biased; OUT when training
    floating[:, :, ::1] out,  # OUT like x
    Py_ssize_t n_threads,
):
    """The definition, compiled: per channel a pass for the mean, one for the variance, one for the output."""
    cdef Py_ssize_t c
    for c in prange(x.shape[1], nogil=True, num_threads=n_threads, schedule="static"):
        _loops_channel(x, weight[c], bias[c], residual, eps, training, relu, &mean[c], &variance[c], out, c)


cdef void _loops_channel(
    const floating[:, :, ::1] x, double weight, double bias, const floating[:, :, ::1] residual, double eps,
    bint training, bint relu, double* mean, double* variance, floating[:, :, ::1] out, Py_ssize_t c
) noexcept nogil:
    cdef Py_ssize_t n, i
    cdef double total = 0, squares = 0, y
    if training:
        for n in range(x.shape[0]):
            for i in range(x.shape[2]):
                total += x[n, c, i]
        mean[0] = total / (x.shape[0] * x.shape[2])
        for n in range(x.shape[0]):
            for i in range(x.shape[2]):
                squares += (x[n, c, i] - mean[0]) * (x[n, c, i] - mean[0])
        variance[0] = squares / (x.shape[0] * x.shape[2])
    for n in range(x.shape[0]):
        for i in range(x.shape[2]):
            y = (x[n, c, i] - mean[0]) * (weight / sqrt(variance[0] + eps)) + bias
            if residual.shape[0]:
                y += residual[n, c, i]
            out[n, c, i] = <floating>(0 if relu and y < 0 else y)


def channels(
    const floating[:, :, ::1] x,  # IN (n, channels, pixels)
    const double[::1] weight,  # IN (channels,)
    const double[::1] bias,  # IN (channels,)
    const floating[:, :, ::1] residual,  # IN like x, or (0, 0, 0) for none
    double eps,
    bint training,
    bint relu,
    double[::1] mean,  # IN (channels,); OUT when training
    double[::1] variance,  # IN (channels,), biased; OUT when training
    floating[:, :, ::1] out,  # OUT like x
    Py_ssize_t n_threads,
):
    """One stable pass for the statistics, then the output while the channel is still in cache; vectorised throughout.

    Buys one read of x of three, and the wait for each addition of a running sum. A matrix (pixels == 1) is worked on
    across its channels instead, which are then what is contiguous.
    """
    cdef Py_ssize_t c, width = PANEL if x.shape[2] == 1 else 1
    cdef double[::1] factor = np.empty(x.shape[1])
    for c in prange(0, x.shape[1], width, nogil=True, num_threads=n_threads, schedule="static"):
        if x.shape[2] == 1:
            _panel(x, weight, bias, residual, eps, training, relu, mean, variance, out, c, factor)
        else:
            _channel(x, weight[c], bias[c], residual, eps, training, relu, &mean[c], &variance[c], out, c)


cdef void _channel(
    const floating[:, :, ::1] x, double weight, double bias, const floating[:, :, ::1] residual, double eps,
    bint training, bint relu, double* mean, double* variance, floating[:, :, ::1] out, Py_ssize_t c
) noexcept nogil:
    cdef Py_ssize_t n
    cdef Stats stats = Stats(0, 0, 0)
    cdef const floating* r = NULL
    if training:
        mean[0] = origin_of(&x[0, c, 0], 1, 1)
        for n in range(x.shape[0]):
            merge_row(&stats, &x[n, c, 0], x.shape[2], mean[0])
        _keep(&stats, x.shape[0] * x.shape[2], mean, variance)
    for n in range(x.shape[0]):
        if residual.shape[0]:
            r = &residual[n, c, 0]
        _plane(&x[n, c, 0], x.shape[2], mean[0], weight / sqrt(variance[0] + eps), bias, r, relu, &out[n, c, 0])


cdef void _plane(
    const floating* x, Py_ssize_t n, double mean, double factor, double bias, const floating* residual, bint relu,
    floating* out
) noexcept nogil:
    # Constants: with a condition inside, the vector loop computes masks that cost more than the arithmetic (measured).
    if residual is NULL and relu:
        _write(x, n, mean, factor, bias, residual, False, True, out)
    elif residual is NULL:
        _write(x, n, mean, factor, bias, residual, False, False, out)
    elif relu:
        _write(x, n, mean, factor, bias, residual, True, True, out)
    else:
        _write(x, n, mean, factor, bias, residual, True, False, out)


cdef inline void _write(
    const floating* x, Py_ssize_t n, double mean, double factor, double bias, const floating* residual, bint add,
    bint relu, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    cdef double y
    for i in range(n):
        y = (x[i] - mean) * factor + bias  # in float64: float32 x at |mean| / std = 1e6 keeps its digits
        if add:
            y = y + residual[i]
        if relu:
            y = 0 if y < 0 else y  # NaN stays NaN
        out[i] = <floating>y


cdef void _panel(
    const floating[:, :, ::1] x, const double[::1] weight, const double[::1] bias,
    const floating[:, :, ::1] residual, double eps, bint training, bint relu, double[::1] mean,
    double[::1] variance, floating[:, :, ::1] out, Py_ssize_t first, double[::1] factor
) noexcept nogil:
    cdef Py_ssize_t columns = x.shape[1], last = min(first + PANEL, columns), n, c
    cdef Stats stats[PANEL]
    cdef double y
    if training:
        for c in range(PANEL):
            stats[c] = Stats(0, 0, 0)
        for c in range(first, last):
            mean[c] = origin_of(&x[0, c, 0], 1, 1)
        merge_rows(stats, &x[0, first, 0], x.shape[0], columns, last - first, &mean[first])
        for c in range(first, last):
            _keep(&stats[c - first], x.shape[0], &mean[c], &variance[c])
    for c in range(first, last):
        factor[c] = weight[c] / sqrt(variance[c] + eps)
    for n in range(x.shape[0]):
        for c in range(first, last):
            y = (x[n, c, 0] - mean[c]) * factor[c] + bias[c]
            if residual.shape[0]:
                y = y + residual[n, c, 0]
            if relu:
                y = 0 if y < 0 else y
            out[n, c, 0] = <floating>y


cdef void _keep(Stats* stats, Py_ssize_t n, double* mean, double* variance) noexcept nogil:
    # Until here, mean held the origin. Unlike moments, batch norm does not leave NaN out: a channel with one is NaN.
    cdef double nan_if_missing = 0 if stats.count == n else NAN
    mean[0] += stats.mean + nan_if_missing
    variance[0] = stats.m2 / n + nan_if_missing
