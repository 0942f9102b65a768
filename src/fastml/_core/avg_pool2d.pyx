"""Mean over windows. The specification is `fastml._ref.avg_pool2d`."""
from cython.parallel cimport prange, threadid

import numpy as np

from fastml._core._types cimport floating


cdef enum:
    GAP = 64  # values between the scratch rows of two threads, so that they share no cache line


def loops(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """The definition, compiled: every tap of every window, bounds checked at each."""
    cdef Py_ssize_t p
    for p in prange(out.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        _loops_plane(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, p)


cdef void _loops_plane(
    const floating[:, :, ::1] x, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t pad_top, Py_ssize_t pad_left, const double[::1] rows, const double[::1] columns,
    floating[:, :, ::1] out, Py_ssize_t p
) noexcept nogil:
    cdef Py_ssize_t i, j, ky, kx, y, column
    cdef double total
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            total = 0
            for ky in range(kernel_h):
                y = i * stride_h - pad_top + ky
                if not 0 <= y < x.shape[1]:
                    continue
                for kx in range(kernel_w):
                    column = j * stride_w - pad_left + kx
                    if 0 <= column < x.shape[2]:
                        total += x[p, y, column]
            out[p, i, j] = <floating>(total / (rows[i] * columns[j]))


def rows_first(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """Sums of whole rows first, then across: kernel_h + kernel_w additions a value, vectorised, in float64."""
    cdef Py_ssize_t reach = (out.shape[2] - 1) * stride_w + kernel_w  # where the last window ends
    cdef Py_ssize_t width = max(reach, pad_left + x.shape[2]) + GAP
    cdef Py_ssize_t task, n_rows = out.shape[1]
    cdef double[:, ::1] padded = np.zeros((n_threads, width))  # zeros at both ends: windows need not ask where they are
    cdef double[:, ::1] sums = np.empty((n_threads, out.shape[2] + GAP))
    for task in prange(out.shape[0] * n_rows, nogil=True, num_threads=n_threads, schedule="static"):
        _one_row(
            &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
            (task % n_rows) * stride_h - pad_top, stride_w, pad_left, rows[task % n_rows], &columns[0],
            &padded[threadid(), 0], &sums[threadid(), 0], &out[task // n_rows, task % n_rows, 0], out.shape[2],
        )


cdef void _one_row(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, double rows, const double* columns, double* padded, double* sums,
    floating* out, Py_ssize_t out_w
) noexcept nogil:
    cdef Py_ssize_t y, j
    cdef double* inside = padded + pad_left
    cdef const floating* source
    for j in range(w):
        inside[j] = 0
    for y in range(max(top, 0), min(top + kernel_h, h)):
        source = x + y * w
        for j in range(w):
            inside[j] += source[j]
    if stride_w == 1:
        _across(padded, kernel_w, 1, sums, out_w)
    elif stride_w == 2:  # a constant stride becomes shuffles, an unknown one would be read value by value
        _across(padded, kernel_w, 2, sums, out_w)
    else:
        _across(padded, kernel_w, stride_w, sums, out_w)
    for j in range(out_w):
        out[j] = <floating>(sums[j] / (rows * columns[j]))


cdef inline void _across(
    const double* padded, Py_ssize_t kernel, Py_ssize_t stride, double* sums, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j, k
    for j in range(n):
        sums[j] = 0
    for k in range(kernel):
        for j in range(n):
            sums[j] += padded[j * stride + k]
