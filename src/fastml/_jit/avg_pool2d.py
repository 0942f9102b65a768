"""Mean over windows. The specification is `fastml._ref.avg_pool2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel


@kernel
def loops(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads):
    """The same loops, compiled; the bounds are worked out once a window, not at each tap."""
    _, h, w = x.shape
    out_h = out.shape[1]
    for task in prange(out.shape[0] * out_h):
        p, i = task // out_h, task % out_h
        top = i * stride_h - pad_top
        for j in range(out.shape[2]):
            left = j * stride_w - pad_left
            total = 0.0
            for y in range(max(top, 0), min(top + kernel_h, h)):
                for z in range(max(left, 0), min(left + kernel_w, w)):
                    total += x[p, y, z]
            out[p, i, j] = total / (rows[i] * columns[j])


@inline
def _down(x, top, kernel, row):
    """The rows of a window, added up in float64."""
    row[: x.shape[1]] = 0.0
    for y in range(max(top, 0), min(top + kernel, x.shape[0])):
        source = x[y]
        for j in range(source.size):
            row[j] += source[j]


@inline
def _across(row, taps, stride, sums):
    for j in range(sums.size):
        sums[j] = 0.0
    for k in range(taps):
        for j in range(sums.size):
            sums[j] += row[j * stride + k]


@kernel
def rows_first(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads):
    """Sums of whole rows first, in float64, then across: both loops become vectors.

    Numba has no arrays in registers, so that every sum goes through the first-level cache.
    """
    w = x.shape[2]
    reach = (out.shape[2] - 1) * stride_w + kernel_w
    for p in prange(x.shape[0]):
        padded, sums = np.zeros(max(reach, pad_left + w)), np.empty(out.shape[2])
        for i in range(out.shape[1]):
            _down(x[p], i * stride_h - pad_top, kernel_h, padded[pad_left:])
            if stride_w == 2:  # a constant stride becomes shuffles
                _across(padded, kernel_w, 2, sums)
            else:
                _across(padded, kernel_w, stride_w, sums)
            row = out[p, i]
            for j in range(sums.size):
                row[j] = sums[j] / (rows[i] * columns[j])


@inline
def _twos(a, b, divisor, columns, out):
    """Means of 2 x 2 windows. Counted from 0: an index that may be negative would keep LLVM from making vectors."""
    for j in range(out.size):
        total = (np.float64(a[2 * j]) + b[2 * j]) + (np.float64(a[2 * j + 1]) + b[2 * j + 1])
        out[j] = total / (divisor * columns[j])


@inline
def _threes(a, b, c, divisor, columns, evens, odds, out):
    """Means of 3 x 3 windows: down, even and odd columns apart, then across. LLVM shuffles pairs, not threes."""
    n = out.size
    for j in range(n):
        evens[j] = np.float64(a[2 * j]) + b[2 * j] + c[2 * j]
        odds[j] = np.float64(a[2 * j + 1]) + b[2 * j + 1] + c[2 * j + 1]
    evens[n] = np.float64(a[2 * n]) + b[2 * n] + c[2 * n]
    for j in range(n):
        out[j] = (evens[j] + odds[j] + evens[j + 1]) / (divisor * columns[j])


@inline
def _edge(x, kernel, top, pad_left, first, last, divisor, columns, out):
    """Windows that reach over an end of the image, one by one."""
    for j in range(first, last):
        total = 0.0
        for y in range(max(top, 0), min(top + kernel, x.shape[0])):
            for z in range(max(2 * j - pad_left, 0), min(2 * j - pad_left + kernel, x.shape[1])):
                total += x[y, z]
        out[j] = total / (divisor * columns[j])


@inline
def _plane(x, kernel, pad_top, pad_left, first, last, rows, columns, out):
    left = 2 * first - pad_left
    evens, odds = np.empty(last - first + 1), np.empty(last - first)
    for i in range(out.shape[0]):
        top = 2 * i - pad_top
        start, end = first, last
        if top < 0 or top + kernel > x.shape[0]:
            start = end = out.shape[1]
        elif kernel == 2:
            _twos(x[top, left:], x[top + 1, left:], rows[i], columns[first:last], out[i, first:last])
        else:
            _threes(x[top, left:], x[top + 1, left:], x[top + 2, left:], rows[i], columns[first:last], evens, odds,
                    out[i, first:last])  # fmt: skip
        if end - start < out.shape[1]:
            _edge(x, kernel, top, pad_left, 0, start, rows[i], columns, out[i])
            _edge(x, kernel, top, pad_left, end, out.shape[1], rows[i], columns, out[i])


@kernel
def unrolled(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads):
    """Kernel and stride are constants: LLVM makes shuffles of the strides. For 2 x 2 and 3 x 3 windows, stride 2."""
    first = (pad_left + 1) // 2  # of the windows that lie inside from left to right
    last = max(min((x.shape[2] + pad_left - kernel_w) // 2 + 1, out.shape[2]), first)
    for p in prange(x.shape[0]):
        _plane(x[p], kernel_h, pad_top, pad_left, first, last, rows, columns, out[p])
