"""Maximum over windows. The specification is `fastml._ref.max_pool2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import ONE, TWO, U, inline, kernel

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
    """NaN in either is NaN. The first line is one instruction, which returns a where either is NaN."""
    more = b if b > a else a
    return more if b == b else b


@inline
def _across(row, taps, stride, dilation, out):
    """Stride and dilation are unsigned: vectors where the stride is 1, and single loads elsewhere, not gathers."""
    n = U(out.size)
    for j in range(n):
        out[j] = row[j * stride]
    for k in range(ONE, U(taps)):
        for j in range(n):
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
    _across(padded, kernel_w, U(stride_w), U(dilation_w), out)


@inline
def _keep(row, stride, place, places, best):
    for j in range(U(best.size)):
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
            if stride_w == 2:  # signed and constant: gathers, which here are faster than branches
                _keep(padded[kx * dilation_w :], 2, place, places, out)
            else:
                _keep(padded[kx * dilation_w :], U(stride_w), place, places, out)
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
def _twos(x, a, b, out, at, n):
    """Windows of 2 x 2: n results, from `at`, of the rows of x that start at a and b."""
    for j in range(n):
        out[at + j] = _greater(
            _greater(x[a + TWO * j], x[b + TWO * j]), _greater(x[a + TWO * j + ONE], x[b + TWO * j + ONE])
        )


@inline
def _threes(x, a, b, c, row, evens, out, at, n):
    """Windows of 3 x 3 in three rows: down, then across, in two steps as LLVM shuffles pairs, not threes."""
    for j in range(TWO * n + ONE):
        row[j] = _greater(_greater(x[a + j], x[b + j]), x[c + j])
    for j in range(n):
        evens[j] = row[TWO * j]
        out[at + j] = _greater(row[TWO * j], row[TWO * j + ONE])
    evens[n] = row[TWO * n]
    for j in range(n):
        out[at + j] = _greater(out[at + j], evens[j + ONE])


@inline
def _better(best, where, value, place):
    """The first of equals, and the first NaN."""
    take = (not (value <= best)) & (best == best)
    return (value if take else best), (place if take else where)


@inline
def _twos_with_places(x, a, b, below, best, places, at, n):
    for j in range(n):
        value, where = _better(x[a + TWO * j], np.int32(0), x[a + TWO * j + ONE], np.int32(1))
        value, where = _better(value, where, x[b + TWO * j], below)
        best[at + j], places[j] = _better(value, where, x[b + TWO * j + ONE], below + np.int32(1))


@inline
def _across_three(x, a, evens, odds, best, places, at, n):
    """The best of three neighbours and its place among them, with stride 2 along the row that starts at a."""
    for j in range(n):
        evens[j], odds[j] = x[a + TWO * j], x[a + TWO * j + ONE]
    evens[n] = x[a + TWO * n]
    for j in range(n):
        value, where = _better(evens[j], np.int32(0), odds[j], np.int32(1))
        best[at + j], places[at + j] = _better(value, where, evens[j + ONE], np.int32(2))


@inline
def _down_three(rows, columns, a, b, c, second, third, best, places, at, n):
    """From the best of each row at a, b and c: so that of equals the first in the order of memory is found."""
    for j in range(n):
        value, where = _better(rows[a + j], columns[a + j], rows[b + j], columns[b + j] + second)
        best[at + j], places[j] = _better(value, where, rows[c + j], columns[c + j] + third)


@inline
def _widen(places, base, indices, at, n):
    """From places in the window to indices in the plane."""
    for j in range(n):
        indices[at + j] = base + np.int64(TWO * j) + places[j]


@inline
def _edges(x, p, kernel, pad_top, pad_left, first, last, out):
    """Columns of windows from first to last, which reach over an end of the rows, one by one."""
    _, h, w = x.shape
    for i in range(out.shape[1]):
        for j in range(first, last):
            best = x.dtype.type(-np.inf)
            for y in range(max(2 * i - pad_top, 0), min(2 * i - pad_top + kernel, h)):
                for z in range(max(2 * j - pad_left, 0), min(2 * j - pad_left + kernel, w)):
                    best = _greater(best, x[p, y, z])
            out[p, i, j] = best


@inline
def _edges_with_places(x, p, kernel, pad_top, pad_left, first, last, out, indices):
    """As `_windows`, without a slice for each row."""
    _, h, w = x.shape
    for i in range(out.shape[1]):
        for j in range(first, last):
            best, where = x.dtype.type(-np.inf), -1
            for y in range(max(2 * i - pad_top, 0), min(2 * i - pad_top + kernel, h)):
                for z in range(max(2 * j - pad_left, 0), min(2 * j - pad_left + kernel, w)):
                    value = x[p, y, z]
                    if where < 0 or value > best or (value != value and best == best):
                        best, where = value, y * w + z
            out[p, i, j], indices[p, i, j] = best, where


@inline
def _planes(x, start, end, kernel, pad_top, pad_left, first, last, out):
    """Planes from start to end. A window that reaches above or below the image has a row twice: no maximum changes."""
    _, h, w = x.shape
    _, out_h, out_w = out.shape
    n, values, results = U(last - first), x.reshape(-1), out.reshape(-1)
    row, evens = np.empty(TWO * n + ONE, x.dtype), np.empty(n + ONE, x.dtype)
    for p in range(start, end):
        corner = p * h * w + 2 * first - pad_left
        for i in range(out_h if n > 0 else 0):
            top = max(2 * i - pad_top, 0)
            bottom = min(2 * i - pad_top + kernel, h) - 1
            a, b, at = U(corner + top * w), U(corner + bottom * w), U((p * out_h + i) * out_w + first)
            if kernel == 2:
                _twos(values, a, b, results, at, n)
            else:
                _threes(values, a, U(corner + min(top + 1, bottom) * w), b, row, evens, results, at, n)
        _edges(x, p, kernel, pad_top, pad_left, 0, first, out)
        _edges(x, p, kernel, pad_top, pad_left, last, out_w, out)


@inline
def _planes_with_places(x, start, end, kernel, pad_top, pad_left, first, last, out, indices):
    """Of 3 x 3 windows, the best across each row is kept in `rows`: a window's last row is the next one's first."""
    _, h, w = x.shape
    _, out_h, out_w = out.shape
    n, values, results, widened = U(last - first), x.reshape(-1), out.reshape(-1), indices.reshape(-1)
    rows, columns = np.empty(U(3) * n, x.dtype), np.empty(U(3) * n, np.int32)  # row y of the image: place y % 3
    evens, odds, places = np.empty(n + ONE, x.dtype), np.empty(n, x.dtype), np.empty(n, np.int32)
    for p in range(start, end):
        corner, left, done = p * h * w + 2 * first - pad_left, 2 * first - pad_left, 0
        for i in range(out_h if n > 0 else 0):
            top = max(2 * i - pad_top, 0)
            bottom = min(2 * i - pad_top + kernel, h) - 1
            middle = min(top + 1, bottom)
            second, third = np.int32((middle - top) * w), np.int32((bottom - top) * w)
            at = U((p * out_h + i) * out_w + first)
            if kernel == 2:
                _twos_with_places(values, U(corner + top * w), U(corner + bottom * w), third, results, places, at, n)
            else:
                for y in range(max(top, done), bottom + 1):
                    _across_three(values, U(corner + y * w), evens, odds, rows, columns, U(y % 3) * n, n)
                done = bottom + 1
                _down_three(
                    rows, columns, U(top % 3) * n, U(middle % 3) * n, U(bottom % 3) * n, second, third, results,
                    places, at, n,
                )  # fmt: skip
            _widen(places, top * w + left, widened, at, n)
        _edges_with_places(x, p, kernel, pad_top, pad_left, 0, first, out, indices)
        _edges_with_places(x, p, kernel, pad_top, pad_left, last, out_w, out, indices)


@kernel
def unrolled(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """Kernel and stride are constants: LLVM makes shuffles of the strides. For 2 x 2 and 3 x 3 windows with stride 2.

    A thread takes its planes in one go, with the same scratch rows. Numba cannot let the last vector of a row overlap
    the one before, as Cython's rung does: what is left over is done value by value.
    """
    planes, _, w = x.shape
    first = (pad_left + 1) // 2  # of the windows that lie inside from left to right
    last = max(min((w + pad_left - kernel_w) // 2 + 1, out.shape[2]), first)
    for task in prange(n_threads):
        start, end = planes * task // n_threads, planes * (task + 1) // n_threads
        if indices.size:
            _planes_with_places(x, start, end, kernel_h, pad_top, pad_left, first, last, out, indices)
        else:
            _planes(x, start, end, kernel_h, pad_top, pad_left, first, last, out)
