"""Maximum over windows, NaN wins, the first of equals is reported. The specification is `fastml._ref.max_pool2d`."""
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.string cimport memcpy

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch
from fastml._core._pool cimport argmax_row, inner_windows, max_row, rows_of_band
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    LANES = 8  # the most windows in a vector: shorter rows are left to the scalar loop
    EXACT = 1 << 24  # integers up to here are exact as float32


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
        _windows(
            &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w, (task % n_rows) * stride_h - pad_top,
            stride_w, pad_left, dilation_h, dilation_w, &out[task // n_rows, task % n_rows, 0],
            &indices[task // n_rows, task % n_rows, 0] if indices.shape[0] else NULL, 0, out.shape[2],
        )


cdef void _windows(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w,
    floating* out, int64_t* indices, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """The windows from first to last of one row of windows, which starts at row `top` of the image."""
    cdef Py_ssize_t j, ky, kx, y, column, where
    cdef floating best, value
    for j in range(first, last):
        best, where = -INFINITY, -1
        for ky in range(kernel_h):
            y = top + ky * dilation_h
            if not 0 <= y < h:
                continue
            for kx in range(kernel_w):
                column = j * stride_w - pad_left + kx * dilation_w
                if not 0 <= column < w:
                    continue
                value = x[y * w + column]
                # the first tap is taken whatever it is, then a greater value, then the first NaN
                if where < 0 or value > best or (value != value and best == best):
                    best, where = value, y * w + column
        out[j] = best
        if indices is not NULL:
            indices[j] = where


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

    A row of maxima with -inf at both ends stays in the first-level cache, so that no window asks where it is. With
    indices, which a maximum of rows loses, it is one tap of all windows of a row after the other.
    """
    # as far as the last window reaches, or the row itself where the windows leave some of it out
    cdef Py_ssize_t reach = (out.shape[2] - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    cdef Py_ssize_t width = max(reach, pad_left + x.shape[2])
    # the place of a tap within its window is kept as a floating number, next to its value
    cdef bint small = (kernel_h - 1) * dilation_h * x.shape[2] + (kernel_w - 1) * dilation_w < EXACT
    cdef Py_ssize_t task, n_rows = out.shape[1]
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] scratch = working_memory("padded", n_threads, width, dtype, -np.inf)
    cdef floating[:, ::1] places = working_memory("places", n_threads, out.shape[2], dtype)
    cdef Watch watch = start_watch()
    with nogil:
        for task in prange(out.shape[0] * n_rows, num_threads=n_threads, schedule="static"):
            if interrupted_at(&watch, task, x.shape[2]):
                pass
            elif indices.shape[0] and small:
                _one_row_with_places(
                    &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
                    (task % n_rows) * stride_h - pad_top, stride_w, pad_left, dilation_h, dilation_w,
                    &scratch[threadid(), 0], &places[threadid(), 0], &out[task // n_rows, task % n_rows, 0],
                    &indices[task // n_rows, task % n_rows, 0], out.shape[2],
                )
            elif indices.shape[0]:
                _windows(
                    &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
                    (task % n_rows) * stride_h - pad_top, stride_w, pad_left, dilation_h, dilation_w,
                    &out[task // n_rows, task % n_rows, 0], &indices[task // n_rows, task % n_rows, 0], 0, out.shape[2],
                )
            else:
                _one_row(
                    &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
                    (task % n_rows) * stride_h - pad_top, stride_w, pad_left, dilation_h, dilation_w,
                    &scratch[threadid(), 0], &out[task // n_rows, task % n_rows, 0], out.shape[2],
                )
    end_watch(&watch)


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


cdef void _one_row_with_places(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w,
    floating* row, floating* places, floating* out, int64_t* indices, Py_ssize_t out_w
) noexcept nogil:
    cdef Py_ssize_t ky, kx, y, j, down = 0, column
    cdef floating place
    while down < kernel_h and top + down * dilation_h < 0:
        down += 1
    for j in range(out_w):  # the first tap in the image is where a window of -inf has its maximum; EXACT: there is none
        out[j], places[j] = -INFINITY, EXACT
        kx = max((pad_left - j * stride_w + dilation_w - 1) // dilation_w, 0)
        column = j * stride_w - pad_left + kx * dilation_w
        if kx < kernel_w and column < w and down < kernel_h and top + down * dilation_h < h:
            places[j] = <floating>(down * dilation_h * w + kx * dilation_w)
    for ky in range(down, kernel_h):
        y = top + ky * dilation_h
        if y >= h:
            break
        memcpy(row + pad_left, x + y * w, w * sizeof(floating))
        for kx in range(kernel_w):
            place = <floating>(ky * dilation_h * w + kx * dilation_w)
            if stride_w == 2:
                _keep(row + kx * dilation_w, 2, place, places, out, out_w)
            else:
                _keep(row + kx * dilation_w, stride_w, place, places, out, out_w)
    for j in range(out_w):
        indices[j] = -1 if places[j] == EXACT else top * w + j * stride_w - pad_left + <int>places[j]


cdef inline void _keep(
    const floating* row, Py_ssize_t stride, floating place, floating* places, floating* best, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j
    cdef bint take
    for j in range(n):
        take = (row[j * stride] > best[j]) | ((row[j * stride] != row[j * stride]) & (best[j] == best[j]))
        places[j] = place if take else places[j]
        best[j] = row[j * stride] if take else best[j]


def unrolled(
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
    """Kernel and stride known to the compiler: a vector of windows at a time, in registers from image to maximum.

    Serves 2 x 2 and 3 x 3 windows with stride 2. Buys the trips of the row of maxima to the first-level cache and back.
    """
    cdef Py_ssize_t band = rows_of_band(out.shape[0], out.shape[1], n_threads)
    cdef Py_ssize_t bands = (out.shape[1] + band - 1) // band, task, first, last
    cdef Watch watch = start_watch()
    inner_windows(x.shape[2], kernel_w, pad_left, out.shape[2], LANES, &first, &last)
    for task in prange(out.shape[0] * bands, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, task, band * x.shape[2]):
            _band(x, kernel_h, kernel_w, pad_top, pad_left, first, last, out, indices, task // bands,
                  task % bands * band, band)
    end_watch(&watch)


cdef void _band(
    const floating[:, :, ::1] x, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t pad_top, Py_ssize_t pad_left,
    Py_ssize_t first, Py_ssize_t last, floating[:, :, ::1] out, int64_t[:, :, ::1] indices, Py_ssize_t plane,
    Py_ssize_t start, Py_ssize_t band
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(start, min(start + band, out.shape[1])):
        _unrolled_row(
            &x[plane, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w, 2 * i - pad_top, pad_left, first, last,
            &out[plane, i, 0], &indices[plane, i, 0] if indices.shape[0] else NULL, out.shape[2],
        )


cdef inline void _unrolled_row(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t pad_left, Py_ssize_t first, Py_ssize_t last, floating* out, int64_t* indices, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t y = max(top, 0), rows = min(top + kernel_h, h) - max(top, 0)
    if indices is NULL:
        _edge(x + y * w, w, rows, kernel_w, pad_left, out, 0, first)
        _edge(x + y * w, w, rows, kernel_w, pad_left, out, last, n)
    else:
        _windows(x, h, w, kernel_h, kernel_w, top, 2, pad_left, 1, 1, out, indices, 0, first)
        _windows(x, h, w, kernel_h, kernel_w, top, 2, pad_left, 1, 1, out, indices, last, n)
    if last == 0:
        return
    if kernel_w == 2 and rows == 2:
        _vectors(2, 2, x, y, w, 2 * first - pad_left, last - first, out + first, indices, first)
    elif kernel_w == 2:
        _vectors(1, 2, x, y, w, 2 * first - pad_left, last - first, out + first, indices, first)
    elif rows == 3:
        _vectors(3, 3, x, y, w, 2 * first - pad_left, last - first, out + first, indices, first)
    elif rows == 2:
        _vectors(2, 3, x, y, w, 2 * first - pad_left, last - first, out + first, indices, first)
    else:
        _vectors(1, 3, x, y, w, 2 * first - pad_left, last - first, out + first, indices, first)


cdef inline void _edge(
    const floating* x, Py_ssize_t w, Py_ssize_t rows, Py_ssize_t kernel_w, Py_ssize_t pad_left, floating* out,
    Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """The windows from first to last, which may reach beyond the sides of the image; no branch depends on the data."""
    cdef Py_ssize_t j, i, column, left
    cdef floating best
    for j in range(first, last):
        left = max(2 * j - pad_left, 0)
        best = x[left]
        for column in range(left, min(2 * j - pad_left + kernel_w, w)):
            for i in range(rows):
                best = _greater(best, x[i * w + column])
        out[j] = best


cdef inline void _vectors(
    int rows, int taps, const floating* x, Py_ssize_t y, Py_ssize_t w, Py_ssize_t left, Py_ssize_t n, floating* out,
    int64_t* indices, Py_ssize_t first
) noexcept nogil:
    if indices is NULL:
        max_row(rows, taps, w, x + y * w + left, n, out)
    else:
        argmax_row(rows, taps, w, x + y * w + left, n, y * w + left, out, indices + first)
