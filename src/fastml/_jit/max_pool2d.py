"""Maximum over windows. The specification is `fastml._ref.max_pool2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel

EXACT = 1 << 24  # integers up to here are exact as float32


@inline
def _windows(
    x, kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w, out, indices
):
    """A row of windows, tap by tap."""
    h, w = x.shape
    for j in range(out.size):
        left = j * stride_w - pad_left
        best, where = x.dtype.type(-np.inf), -1
        for ky in range(kernel_h):
            y = top + ky * dilation_h
            if y < 0 or y >= h:
                continue
            for kx in range(kernel_w):
                z = left + kx * dilation_w
                if z < 0 or z >= w:
                    continue
                value = x[y, z]
                if where < 0 or value > best or (value != value and best == best):
                    best, where = value, y * w + z
        out[j] = best
        if indices.size:
            indices[j] = where


@kernel
def loops(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """The same loops, compiled, a plane a task."""
    for p in prange(x.shape[0]):
        for i in range(out.shape[1]):
            _windows(
                x[p], kernel_h, kernel_w, i * stride_h - pad_top, stride_w, pad_left, dilation_h, dilation_w,
                out[p, i], indices[p, i] if indices.size else np.empty(0, np.int64),
            )  # fmt: skip


@inline
def _greater(a, b):
    """NaN in either is NaN. No `or`: it would be a branch, and the loop around it no vectors."""
    return a if (a >= b) | (a != a) else b


@inline
def _across(row, taps, stride, dilation, out):
    for j in range(out.size):
        out[j] = row[j * stride]
    for k in range(1, taps):
        for j in range(out.size):
            out[j] = _greater(out[j], row[j * stride + k * dilation])


@inline
def _maxima(plane, padded, kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w, out):
    """A row of windows: the maximum of whole rows in `padded`, whose ends are -inf, then across."""
    h, w = plane.shape
    inside = padded[pad_left : pad_left + w]
    inside[:] = -np.inf
    for ky in range(kernel_h):
        y = top + ky * dilation_h
        if 0 <= y < h:
            source = plane[y]
            for j in range(w):
                inside[j] = _greater(inside[j], source[j])
    if stride_w == 2:  # a constant stride becomes shuffles
        _across(padded, kernel_w, 2, dilation_w, out)
    else:
        _across(padded, kernel_w, stride_w, dilation_w, out)


@inline
def _keep(row, stride, place, places, best):
    for j in range(best.size):
        value = row[j * stride]
        take = (value > best[j]) | ((value != value) & (best[j] == best[j]))
        places[j] = place if take else places[j]
        best[j] = value if take else best[j]


@inline
def _maxima_with_places(
    plane, padded, places, kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w, out, indices
):
    """One tap of all windows of a row after the other; the place of a maximum in its window is kept next to it."""
    h, w = plane.shape
    down = 0
    while down < kernel_h and top + down * dilation_h < 0:
        down += 1
    for j in range(out.size):  # where a window of -inf has its maximum; EXACT: it has no tap in the image
        out[j], places[j] = -np.inf, EXACT
        kx = max((pad_left - j * stride_w + dilation_w - 1) // dilation_w, 0)
        column = j * stride_w - pad_left + kx * dilation_w
        if kx < kernel_w and column < w and down < kernel_h and top + down * dilation_h < h:
            places[j] = down * dilation_h * w + kx * dilation_w
    for ky in range(down, kernel_h):
        y = top + ky * dilation_h
        if y >= h:
            break
        padded[pad_left : pad_left + w] = plane[y]
        for kx in range(kernel_w):
            place = plane.dtype.type(ky * dilation_h * w + kx * dilation_w)
            if stride_w == 2:
                _keep(padded[kx * dilation_w :], 2, place, places, out)
            else:
                _keep(padded[kx * dilation_w :], stride_w, place, places, out)
    for j in range(out.size):
        place = np.int32(places[j])
        indices[j] = -1 if place == EXACT else top * w + j * stride_w - pad_left + place


@kernel
def rows(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """Maximum of whole rows first, then across, both in vectors; with indices, tap by tap.

    Numba has no arrays in registers and no shuffles of its own: a row of maxima goes through the first-level cache, and
    what becomes of a stride is LLVM's to choose. Places that float32 cannot hold are found tap by tap.
    """
    w = x.shape[2]
    reach = (out.shape[2] - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    small = (kernel_h - 1) * dilation_h * w + (kernel_w - 1) * dilation_w < EXACT
    for p in prange(x.shape[0]):
        padded = np.full(max(reach, pad_left + w), x.dtype.type(-np.inf))
        places = np.empty(out.shape[2] if indices.size else 0, x.dtype)
        for i in range(out.shape[1]):
            top = i * stride_h - pad_top
            if indices.size and not small:
                _windows(
                    x[p], kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w, out[p, i], indices[p, i]
                )
            elif indices.size:
                _maxima_with_places(
                    x[p], padded, places, kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w,
                    out[p, i], indices[p, i],
                )  # fmt: skip
            else:
                _maxima(x[p], padded, kernel_h, kernel_w, top, stride_w, pad_left, dilation_h, dilation_w, out[p, i])


@inline
def _twos(a, b, out):
    """Windows of 2 x 2 in two rows. Counted from 0: where an index may be negative, LLVM makes no vectors."""
    for j in range(out.size):
        out[j] = _greater(_greater(a[2 * j], b[2 * j]), _greater(a[2 * j + 1], b[2 * j + 1]))


@inline
def _threes(a, b, c, evens, odds, out):
    """Windows of 3 x 3 in three rows: down, even and odd columns apart, then across. LLVM shuffles pairs only."""
    n = out.size
    for j in range(n):
        evens[j] = _greater(_greater(a[2 * j], b[2 * j]), c[2 * j])
        odds[j] = _greater(_greater(a[2 * j + 1], b[2 * j + 1]), c[2 * j + 1])
    evens[n] = _greater(_greater(a[2 * n], b[2 * n]), c[2 * n])
    for j in range(n):
        out[j] = _greater(_greater(evens[j], odds[j]), evens[j + 1])


@inline
def _better(best, where, value, place):
    """The first of equals, and the first NaN."""
    take = (value > best) | ((value != value) & (best == best))
    return (value if take else best), (place if take else where)


@inline
def _twos_with_places(a, b, below, base, out, indices):
    for j in range(out.size):
        best, where = _better(a[2 * j], np.int32(0), a[2 * j + 1], np.int32(1))
        best, where = _better(best, where, b[2 * j], below)
        best, where = _better(best, where, b[2 * j + 1], below + np.int32(1))
        out[j] = best
        indices[j] = base + 2 * j + where


@inline
def _across_three(row, evens, odds, best, places):
    n = best.size
    for j in range(n):
        evens[j], odds[j] = row[2 * j], row[2 * j + 1]
    evens[n] = row[2 * n]
    for j in range(n):
        value, where = _better(evens[j], np.int32(0), odds[j], np.int32(1))
        best[j], places[j] = _better(value, where, evens[j + 1], np.int32(2))


@inline
def _threes_with_places(rows, places, second, third, base, out, indices):
    """Across each row first, so that of equals the first in the order of memory is found; then down."""
    for j in range(out.size):
        best, where = _better(rows[0, j], places[0, j], rows[1, j], places[1, j] + second)
        best, where = _better(best, where, rows[2, j], places[2, j] + third)
        out[j] = best
        indices[j] = base + 2 * j + where


@inline
def _edge(x, kernel, top, pad_left, first, last, out, indices):
    """Windows that reach over an end of the rows, one by one."""
    h, w = x.shape
    for j in range(first, last):
        best, where = x.dtype.type(-np.inf), -1
        for y in range(max(top, 0), min(top + kernel, h)):
            for z in range(max(2 * j - pad_left, 0), min(2 * j - pad_left + kernel, w)):
                value = x[y, z]
                if where < 0 or value > best or (value != value and best == best):
                    best, where = value, y * w + z
        out[j] = best
        if indices.size:
            indices[j] = where


@inline
def _plane(x, kernel, pad_top, pad_left, first, last, out, indices):
    """One plane. A window with fewer rows, at the upper or lower end, has one of them twice: no maximum changes."""
    h = x.shape[0]
    left, n = 2 * first - pad_left, last - first
    evens, odds = np.empty(n + 1, x.dtype), np.empty(n, x.dtype)
    for i in range(out.shape[0]):
        top = max(2 * i - pad_top, 0)
        bottom = min(2 * i - pad_top + kernel, h) - 1
        middle = min(top + 1, bottom)
        if bottom < top:  # ceil_mode: windows below the image
            out[i, first:last] = -np.inf
        elif kernel == 2:
            _twos(x[top, left:], x[bottom, left:], out[i, first:last])
        else:
            _threes(x[top, left:], x[middle, left:], x[bottom, left:], evens, odds, out[i, first:last])
        if n < out.shape[1]:
            _edge(x, kernel, 2 * i - pad_top, pad_left, 0, first, out[i], indices)
            _edge(x, kernel, 2 * i - pad_top, pad_left, last, out.shape[1], out[i], indices)


@inline
def _plane_with_places(x, kernel, pad_top, pad_left, first, last, out, indices):
    h, w = x.shape
    left, n = 2 * first - pad_left, last - first
    rows, places = np.empty((3, n), x.dtype), np.empty((3, n), np.int32)
    evens, odds = np.empty(n + 1, x.dtype), np.empty(n, x.dtype)
    for i in range(out.shape[0]):
        top = max(2 * i - pad_top, 0)
        bottom = min(2 * i - pad_top + kernel, h) - 1
        middle = min(top + 1, bottom)
        base, second, third = top * w + left, np.int32((middle - top) * w), np.int32((bottom - top) * w)
        if bottom < top:
            out[i, first:last] = -np.inf
            indices[i, first:last] = -1
        elif kernel == 2:
            _twos_with_places(x[top, left:], x[bottom, left:], third, base, out[i, first:last], indices[i, first:last])
        else:
            _across_three(x[top, left:], evens, odds, rows[0], places[0])
            _across_three(x[middle, left:], evens, odds, rows[1], places[1])
            _across_three(x[bottom, left:], evens, odds, rows[2], places[2])
            _threes_with_places(rows, places, second, third, base, out[i, first:last], indices[i, first:last])
        if n < out.shape[1]:
            _edge(x, kernel, 2 * i - pad_top, pad_left, 0, first, out[i], indices[i])
            _edge(x, kernel, 2 * i - pad_top, pad_left, last, out.shape[1], out[i], indices[i])


@kernel
def unrolled(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """Kernel and stride are constants: LLVM makes shuffles of the strides. For 2 x 2 and 3 x 3 windows with stride 2.

    What Numba cannot do: rows of less than a vector, which Cython's rung covers by one that overlaps the one before.
    """
    first = (pad_left + 1) // 2  # of the windows that lie inside from left to right
    last = max(min((x.shape[2] + pad_left - kernel_w) // 2 + 1, out.shape[2]), first)
    for p in prange(x.shape[0]):
        if indices.size:
            _plane_with_places(x[p], kernel_h, pad_top, pad_left, first, last, out[p], indices[p])
        else:
            _plane(x[p], kernel_h, pad_top, pad_left, first, last, out[p], np.empty(0, np.int64))
