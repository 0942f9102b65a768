"""Two-dimensional cross-correlation. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef struct Geometry:
    Py_ssize_t h, w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out_w


def loops(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN the weights as the rung wants them, or (0,)
    const floating[::1] bias,  # IN (o,)
    const floating[:, :, :, ::1] residual,  # IN like out, or (0, 0, 0, 0) for none
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    bint relu,
    floating[:, :, :, ::1] out,  # OUT (n, o, out_h, out_w)
    Py_ssize_t n_threads,
):
    """The definition, compiled: seven loops, one sum at a time, which waits 4 cycles for each addition."""
    cdef Py_ssize_t plane, outputs = out.shape[1]
    cdef Watch watch = start_watch()
    for plane in prange(out.shape[0] * outputs, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted(&watch):
            _loops_plane(
                x, weight, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
                outputs // groups, relu, out, plane // outputs, plane % outputs,
            )
    end_watch(&watch)


cdef void _loops_plane(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t group_outputs, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t o
) noexcept nogil:
    cdef Py_ssize_t first = o // group_outputs * weight.shape[1], i, j, c, ky, kx, y, column
    cdef floating total, value
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            total = 0
            for c in range(weight.shape[1]):
                for ky in range(weight.shape[2]):
                    for kx in range(weight.shape[3]):
                        y = i * stride_h - pad_top + ky * dilation_h
                        column = j * stride_w - pad_left + kx * dilation_w
                        value = 0  # a tap in the padding counts: 0 times an infinite weight is NaN
                        if 0 <= y < x.shape[2] and 0 <= column < x.shape[3]:
                            value = x[n, first + c, y, column]
                        total += weight[o, c, ky, kx] * value
            total += bias[o]
            if residual.shape[0]:
                total += residual[n, o, i, j]
            out[n, o, i, j] = 0 if relu and total < 0 else total


def rows(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN the weights as the rung wants them, or (0,)
    const floating[::1] bias,  # IN (o,)
    const floating[:, :, :, ::1] residual,  # IN like out, or (0, 0, 0, 0) for none
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    bint relu,
    floating[:, :, :, ::1] out,  # OUT (n, o, out_h, out_w)
    Py_ssize_t n_threads,
):
    """A row of outputs at a time: for each tap, one weight times a whole padded row, vectorised along the row.

    Buys the vector length, and no waiting, since the values of a row do not depend on each other. Loads and stores two
    vectors for each multiplication: right for the few channels of depthwise convolution, too slow for many.
    """
    cdef Geometry g = Geometry(
        x.shape[2], x.shape[3], weight.shape[2], weight.shape[3], stride_h, stride_w, pad_top, pad_left,
        dilation_h, dilation_w, out.shape[3],
    )
    cdef Py_ssize_t reach = (g.out_w - 1) * stride_w + (g.kernel_w - 1) * dilation_w + 1  # where the last window ends
    cdef Py_ssize_t task, outputs = out.shape[1], out_h = out.shape[2]
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] scratch = working_memory("padded", n_threads, max(reach, pad_left + g.w), dtype, 0)
    cdef Watch watch = start_watch()
    for task in prange(out.shape[0] * outputs * out_h, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted(&watch):
            _one_row(
                &g, x, weight, bias, residual, outputs // groups, relu, &scratch[threadid(), 0], out,
                task // (outputs * out_h), task // out_h % outputs, task % out_h,
            )
    end_watch(&watch)


cdef void _one_row(
    Geometry* g, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t group_outputs, bint relu, floating* padded,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t o, Py_ssize_t i
) noexcept nogil:
    cdef Py_ssize_t first = o // group_outputs * weight.shape[1], c, ky, kx, y, j
    cdef const floating* w
    cdef floating* row = &out[n, o, i, 0]
    for j in range(g.out_w):
        row[j] = bias[o]
    for c in range(weight.shape[1]):
        for ky in range(g.kernel_h):
            y = i * g.stride_h - g.pad_top + ky * g.dilation_h
            if 0 <= y < g.h:
                memcpy(padded + g.pad_left, &x[n, first + c, y, 0], g.w * sizeof(floating))
            else:
                memset(padded + g.pad_left, 0, g.w * sizeof(floating))
            w = &weight[o, c, ky, 0]
            for kx in range(g.kernel_w):
                if g.stride_w == 1:
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, 1, g.out_w)
                elif g.stride_w == 2:  # a constant stride becomes shuffles, an unknown one is read value by value
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, 2, g.out_w)
                else:
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, g.stride_w, g.out_w)
    for j in range(g.out_w):
        if residual.shape[0]:
            row[j] += residual[n, o, i, j]
        row[j] = 0 if relu and row[j] < 0 else row[j]


cdef inline void _add_scaled(
    floating* row, floating weight, const floating* x, Py_ssize_t stride, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        row[j] += weight * x[j * stride]
