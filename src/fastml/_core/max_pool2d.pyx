"""Maximum over windows, NaN wins, the first of equals is reported. The specification is `fastml._ref.max_pool2d`."""
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memcpy

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
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    int64_t[:, :, ::1] indices,  # OUT like out, or (0, 0, 0) for none
    Py_ssize_t n_threads,
):
    """The definition, compiled: every tap of every window, bounds checked at each."""
    cdef Py_ssize_t task, n_rows = out.shape[1]
    for task in prange(out.shape[0] * n_rows, nogil=True, num_threads=n_threads, schedule="static"):
        _windows_of_row(
            x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices,
            task // n_rows, task % n_rows,
        )


cdef void _windows_of_row(
    const floating[:, :, ::1] x, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t pad_top, Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w,
    floating[:, :, ::1] out, int64_t[:, :, ::1] indices, Py_ssize_t p, Py_ssize_t i
) noexcept nogil:
    cdef Py_ssize_t j, ky, kx, y, column, where
    cdef floating best, value
    for j in range(out.shape[2]):
        best, where = -INFINITY, -1
        for ky in range(kernel_h):
            y = i * stride_h - pad_top + ky * dilation_h
            if not 0 <= y < x.shape[1]:
                continue
            for kx in range(kernel_w):
                column = j * stride_w - pad_left + kx * dilation_w
                if not 0 <= column < x.shape[2]:
                    continue
                value = x[p, y, column]
                # the first tap is taken whatever it is, then a greater value, then the first NaN
                if where < 0 or value > best or (value != value and best == best):
                    best, where = value, y * x.shape[2] + column
        out[p, i, j] = best
        if indices.shape[0]:
            indices[p, i, j] = where


def rows(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    int64_t[:, :, ::1] indices,  # OUT like out, or (0, 0, 0) for none
    Py_ssize_t n_threads,
):
    """Maximum of whole rows first, then across: kernel_h + kernel_w comparisons a value, and vectors of them.

    A row of maxima with -inf at both ends stays in the first-level cache, so that no window asks where it is. Indices
    still take the loops: a maximum of rows does not say where it came from.
    """
    # as far as the last window reaches, or the row itself where the windows leave some of it out
    cdef Py_ssize_t reach = (out.shape[2] - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    cdef Py_ssize_t width = max(reach, pad_left + x.shape[2]) + GAP
    cdef Py_ssize_t task, n_rows = out.shape[1]
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] scratch = np.full((n_threads, width), -np.inf, dtype=dtype)
    with nogil:
        for task in prange(out.shape[0] * n_rows, num_threads=n_threads, schedule="static"):
            if indices.shape[0]:
                _windows_of_row(
                    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices,
                    task // n_rows, task % n_rows,
                )
            else:
                _one_row(
                    &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
                    (task % n_rows) * stride_h - pad_top, stride_w, pad_left, dilation_h, dilation_w,
                    &scratch[threadid(), 0], &out[task // n_rows, task % n_rows, 0], out.shape[2],
                )


cdef void _one_row(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w,
    floating* row, floating* out, Py_ssize_t out_w
) noexcept nogil:
    cdef Py_ssize_t ky, y, j
    cdef floating* inside = row + pad_left
    cdef const floating* source
    cdef bint first = True
    for ky in range(kernel_h):
        y = top + ky * dilation_h
        if 0 <= y < h:
            source = x + y * w
            if first:
                memcpy(inside, source, w * sizeof(floating))
            else:
                for j in range(w):
                    inside[j] = _greater(inside[j], source[j])
            first = False
    if first:  # a dilated window may step over a small image
        for j in range(w):
            inside[j] = -INFINITY
    if stride_w == 1:
        _across(row, kernel_w, 1, dilation_w, out, out_w)
    elif stride_w == 2:  # a constant stride becomes shuffles, an unknown one would be read value by value
        _across(row, kernel_w, 2, dilation_w, out, out_w)
    else:
        _across(row, kernel_w, stride_w, dilation_w, out, out_w)


cdef inline void _across(
    const floating* row, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t dilation, floating* out, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j, k
    for j in range(n):
        out[j] = row[j * stride]
    for k in range(1, kernel):
        for j in range(n):
            out[j] = _greater(out[j], row[j * stride + k * dilation])


cdef inline floating _greater(floating a, floating b) noexcept nogil:
    # NaN in either is NaN: against NaN in b the comparison is false, NaN in a is kept. No `or`: it would be a branch.
    return a if (a >= b) | (a != a) else b
