"""(x - mean) / sqrt(variance + eps) * weight + bias. The specification is `fastml._ref.batch_norm`."""
from cython.parallel cimport prange
from libc.math cimport NAN, sqrt
from libc.string cimport memset

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch_unless
from fastml._core._normalize cimport line_of, normalize, normalize_columns
from fastml._core._simd cimport shifted_sums
from fastml._core._stats cimport PANEL, ROW_BLOCK, Stats, merge_rows, merge_sums, origin_of
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
    cdef Py_ssize_t c, width = PANEL if x.shape[2] == 1 else 1, values = x.shape[0] * x.shape[2] * width
    cdef bint in_place = &out[0, 0, 0] == &x[0, 0, 0] or (residual.shape[0] > 0 and &out[0, 0, 0] == &residual[0, 0, 0])
    cdef Watch watch = start_watch_unless(in_place)
    for c in prange(0, x.shape[1], width, nogil=True, num_threads=n_threads, schedule="static"):
        if interrupted_at(&watch, c // width, values):
            pass
        elif x.shape[2] == 1:
            _panel(x, weight, bias, residual, eps, training, relu, mean, variance, out, c)
        else:
            _channel(x, weight[c], bias[c], residual, eps, training, relu, &mean[c], &variance[c], out, c)
    end_watch(&watch)


cdef void _channel(
    const floating[:, :, ::1] x, double weight, double bias, const floating[:, :, ::1] residual, double eps,
    bint training, bint relu, double* mean, double* variance, floating[:, :, ::1] out, Py_ssize_t c
) noexcept nogil:
    cdef Stats stats = Stats(0, 0, 0)
    cdef floating shift, factor, offset
    if training:
        mean[0] = origin_of(&x[0, c, 0], x.shape[2], 1)
        _measure(x, c, mean[0], &stats)
        _keep(&stats, x.shape[0] * x.shape[2], mean, variance)
    line_of(mean[0], variance[0], weight, bias, eps, &shift, &factor, &offset)
    normalize(x.shape[0], x.shape[1] * x.shape[2], x.shape[2], &x[0, c, 0], shift, factor, offset,
              &residual[0, c, 0] if residual.shape[0] else NULL, relu, &out[0, c, 0])


cdef inline void _measure(const floating[:, :, ::1] x, Py_ssize_t c, double origin, Stats* stats) noexcept nogil:
    """Statistics of a channel: blocks of up to ROW_BLOCK values, of several images where these are small."""
    cdef Py_ssize_t images = x.shape[0], pixels = x.shape[2], n = 0, start, length, together
    cdef double shift
    cdef double sums[2]
    while n < images:
        together = min(max(ROW_BLOCK // pixels, 1), images - n)
        start = 0
        while start < pixels:
            length = min(ROW_BLOCK, pixels - start)
            shift = origin_of(&x[n, c, start], length, 1)
            shifted_sums(together, x.shape[1] * pixels, length, &x[n, c, start], shift, sums)
            merge_sums(stats, together * length, shift - origin, sums[0], sums[1])
            start += length
        n += together


cdef void _panel(
    const floating[:, :, ::1] x, const double[::1] weight, const double[::1] bias,
    const floating[:, :, ::1] residual, double eps, bint training, bint relu, double[::1] mean,
    double[::1] variance, floating[:, :, ::1] out, Py_ssize_t first
) noexcept nogil:
    cdef Py_ssize_t columns = x.shape[1], width = min(PANEL, columns - first), c
    cdef Stats stats[PANEL]
    cdef floating shift[PANEL]
    cdef floating factor[PANEL]
    cdef floating offset[PANEL]
    if training:
        memset(stats, 0, sizeof(stats))
        for c in range(first, first + width):
            mean[c] = origin_of(&x[0, c, 0], x.shape[0], columns)
        merge_rows(stats, &x[0, first, 0], NULL, x.shape[0], 0, columns, width, &mean[first])
        for c in range(width):
            _keep(&stats[c], x.shape[0], &mean[first + c], &variance[first + c])
    for c in range(width):
        line_of(mean[first + c], variance[first + c], weight[first + c], bias[first + c], eps,
                &shift[c], &factor[c], &offset[c])
    normalize_columns(x.shape[0], columns, width, &x[0, first, 0], shift, factor, offset,
                      &residual[0, first, 0] if residual.shape[0] else NULL, relu, &out[0, first, 0])


cdef void _keep(Stats* stats, Py_ssize_t n, double* mean, double* variance) noexcept nogil:
    # Until here, mean held the origin. Unlike moments, batch norm does not leave NaN out: a channel with one is NaN.
    cdef double nan_if_missing = 0 if stats.count == n else NAN
    mean[0] += stats.mean + nan_if_missing
    variance[0] = stats.m2 / n + nan_if_missing
