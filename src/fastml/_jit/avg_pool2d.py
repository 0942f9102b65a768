"""Mean over windows. The specification is `fastml._ref.avg_pool2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import ONE, TWO, U, inline, kernel


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
def _twos(x, a, b, divisor, columns, first, out, at, n):
    """Means of 2 x 2 windows: n results, from `at`, of the rows of x that start at a and b."""
    for j in range(n):
        left = np.float64(x[a + TWO * j]) + x[b + TWO * j]
        right = np.float64(x[a + TWO * j + ONE]) + x[b + TWO * j + ONE]
        out[at + j] = (left + right) / (divisor * columns[first + j])


@inline
def _down_two(x, a, w, row):
    for j in range(U(row.size)):
        row[j] = np.float64(x[a + j]) + x[a + w + j]


@inline
def _down_three(x, a, w, row):
    for j in range(U(row.size)):
        row[j] = np.float64(x[a + j]) + x[a + w + j] + x[a + TWO * w + j]


@inline
def _across_three(row, divisor, columns, first, evens, sums, out, at, n):
    """Means of 3 values with stride 2 in a row of sums, in two steps: LLVM makes shuffles of pairs, not of threes."""
    for j in range(n):
        evens[j] = row[TWO * j]
        sums[j] = row[TWO * j] + row[TWO * j + ONE]
    evens[n] = row[TWO * n]
    for j in range(n):
        out[at + j] = (sums[j] + evens[j + ONE]) / (divisor * columns[first + j])


@inline
def _edges(x, p, upper, lower, kernel, pad_top, pad_left, first, last, rows, columns, out):
    """Windows that reach over an end of the image, one by one."""
    for i in range(upper, lower):
        for j in range(first, last):
            total, top, left = 0.0, max(2 * i - pad_top, 0), max(2 * j - pad_left, 0)
            for y in range(top, min(2 * i - pad_top + kernel, x.shape[1])):
                for z in range(left, min(2 * j - pad_left + kernel, x.shape[2])):
                    total += x[p, y, z]
            out[p, i, j] = total / (rows[i] * columns[j])


@inline
def _planes(x, start, end, kernel, pad_top, pad_left, first, last, rows, columns, out):
    _, h, w = x.shape
    _, out_h, out_w = out.shape
    n, values, results = U(last - first), x.reshape(-1), out.reshape(-1)
    row, evens, sums = np.empty(TWO * n + ONE), np.empty(n + ONE), np.empty(n)
    for p in range(start, end):
        for i in range(out_h):
            top = 2 * i - pad_top
            a, at = U((p * h + max(top, 0)) * w + 2 * first - pad_left), U((p * out_h + i) * out_w + first)
            count = min(top + kernel, h) - max(top, 0)
            if n == 0 or count < 2:
                _edges(x, p, i, i + 1, kernel, pad_top, pad_left, first, last, rows, columns, out)
            elif kernel == 2:
                _twos(values, a, a + U(w), rows[i], columns, U(first), results, at, n)
            else:
                if count == 3:
                    _down_three(values, a, U(w), row)
                else:
                    _down_two(values, a, U(w), row)
                _across_three(row, rows[i], columns, U(first), evens, sums, results, at, n)
        _edges(x, p, 0, out_h, kernel, pad_top, pad_left, 0, first, rows, columns, out)
        _edges(x, p, 0, out_h, kernel, pad_top, pad_left, last, out_w, rows, columns, out)


@kernel
def unrolled(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads):
    """Kernel and stride are constants: LLVM makes shuffles of the strides. For 2 x 2 and 3 x 3 windows, stride 2."""
    planes, _, w = x.shape
    first = (pad_left + 1) // 2  # of the windows that lie inside from left to right
    last = max(min((w + pad_left - kernel_w) // 2 + 1, out.shape[2]), first)
    for task in prange(n_threads):
        start, end = planes * task // n_threads, planes * (task + 1) // n_threads
        _planes(x, start, end, kernel_h, pad_top, pad_left, first, last, rows, columns, out)
