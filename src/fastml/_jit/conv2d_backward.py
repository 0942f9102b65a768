"""Gradients of a convolution's weights and bias. The specification is `fastml._ref.conv2d_backward`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel

PIXELS = 512  # of a block: lines of 9 taps, and 4 outputs' gradients, are 26 KiB of float32, in the first-level cache
LINES = 12  # taps of a block, at the most


@inline
def _sums(grad_out, grad_bias):
    for o in range(grad_bias.size):
        total = 0.0
        for n in range(grad_out.shape[0]):
            gradients = grad_out[n, o].reshape(-1)
            for j in range(gradients.size):
                total += gradients[j]
        grad_bias[o] = total


@kernel
def loops(
    grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight, grad_bias,
    n_threads,
):  # fmt: skip
    """The definition, compiled, a weight a thread."""
    _sums(grad_out, grad_bias)
    outputs, channels, kernel_h, kernel_w = grad_weight.shape
    for task in prange(outputs * channels):
        o, c = task // channels, task % channels
        first = o // (outputs // groups) * channels
        for ky in range(kernel_h):
            for kx in range(kernel_w):
                total = x.dtype.type(0)
                for n in range(grad_out.shape[0]):
                    for i in range(grad_out.shape[2]):
                        for j in range(grad_out.shape[3]):
                            y = i * stride_h - pad_top + ky * dilation_h
                            z = j * stride_w - pad_left + kx * dilation_w
                            value = x.dtype.type(0)  # in the padding, which counts: 0 times infinity is NaN
                            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                                value = x[n, first + c, y, z]
                            total += grad_out[n, o, i, j] * value
                grad_weight[o, c, ky, kx] = total


@inline
def _line(plane, top, left, stride_h, stride_w, rows, columns, line):
    """What a tap sees in a block of pixels, one after the other."""
    h, w = plane.shape
    first = min(max(0, (-left + stride_w - 1) // stride_w), columns)
    last = max(first, min(columns, (w - left + stride_w - 1) // stride_w))
    for i in range(rows):
        y, to = top + i * stride_h, line[i * columns : (i + 1) * columns]
        if 0 <= y < h and first < last:
            to[:first] = 0
            to[last:] = 0
            source, inside = plane[y, left + first * stride_w :], to[first:last]
            if stride_w == 1:
                for j in range(inside.size):
                    inside[j] = source[j]
            else:
                for j in range(inside.size):
                    inside[j] = source[j * stride_w]
        else:
            to[:] = 0


@inline
def _tile(g0, g1, g2, g3, x0, x1, x2, s0, s1, s2, s3):
    """Four outputs, three taps: 12 sums, vectors as LLVM may reorder them; 7 loads for 12 products."""
    zero = g0.dtype.type(0)
    a0, a1, a2, b0, b1, b2 = zero, zero, zero, zero, zero, zero
    c0, c1, c2, d0, d1, d2 = zero, zero, zero, zero, zero, zero
    for p in range(g0.size):
        x, y, z, a, b, c, d = x0[p], x1[p], x2[p], g0[p], g1[p], g2[p], g3[p]
        a0 += a * x
        a1 += a * y
        a2 += a * z
        b0 += b * x
        b1 += b * y
        b2 += b * z
        c0 += c * x
        c1 += c * y
        c2 += c * z
        d0 += d * x
        d1 += d * y
        d2 += d * z
    s0[0] += a0
    s0[1] += a1
    s0[2] += a2
    s1[0] += b0
    s1[1] += b1
    s1[2] += b2
    s2[0] += c0
    s2[1] += c1
    s2[2] += c2
    s3[0] += d0
    s3[1] += d1
    s3[2] += d2


@inline
def _dot(a, b):
    total = a.dtype.type(0)
    for p in range(a.size):
        total += a[p] * b[p]
    return total


@inline
def _products(gradients, first, last, start, stop, lines, count, sums, tap):
    """Outputs from `first` to `last` with the lines of some taps. Only slices of one row are known to be contiguous."""
    quads, triples = first + (last - first) // 4 * 4, count // 3 * 3
    for o in range(first, quads, 4):
        a, b = gradients[o][start:stop], gradients[o + 1][start:stop]
        c, d = gradients[o + 2][start:stop], gradients[o + 3][start:stop]
        for t in range(0, triples, 3):
            _tile(
                a, b, c, d, lines[t], lines[t + 1], lines[t + 2],
                sums[o][tap + t :], sums[o + 1][tap + t :], sums[o + 2][tap + t :], sums[o + 3][tap + t :],
            )  # fmt: skip
    for o in range(first, last):
        for t in range(triples if o < quads else 0, count):
            sums[o, tap + t] += _dot(gradients[o][start:stop], lines[t])


@kernel
def lines(
    grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight, grad_bias,
    n_threads,
):  # fmt: skip
    """What each tap sees of a block is laid in line once, for the dot products with the gradients of all outputs.

    So any stride and padding is a copy, and what is left is a matrix product, of 4 x 3 dot products at a time.
    """
    _sums(grad_out, grad_bias)
    outputs, channels, kernel_h, kernel_w = grad_weight.shape
    batch, _, out_h, out_w = grad_out.shape
    area, group_outputs = kernel_h * kernel_w, outputs // groups
    columns = min(out_w, PIXELS)
    rows = PIXELS // columns if columns == out_w else 1
    gradients = grad_out.reshape(batch, grad_out.shape[1], out_h * out_w)
    sums = grad_weight.reshape(outputs, channels * area)
    sums[:] = 0
    pieces = (channels * area + LINES - 1) // LINES  # of the taps of a group; cut there, the same three are together
    parts = min((n_threads + groups - 1) // groups, pieces)
    for task in prange(groups * parts):
        group, part = task // parts, task % parts
        line = np.empty((LINES, PIXELS), x.dtype)
        for n in range(batch):
            for i in range(0, out_h, rows):
                for j in range(0, out_w, columns):
                    height, width, start = min(rows, out_h - i), min(columns, out_w - j), i * out_w + j
                    for piece in range(pieces * part // parts, pieces * (part + 1) // parts):
                        tap, count = piece * LINES, min(LINES, channels * area - piece * LINES)
                        for t in range(tap, tap + count):
                            top = i * stride_h - pad_top + t % area // kernel_w * dilation_h
                            left = j * stride_w - pad_left + t % kernel_w * dilation_w
                            plane = x[n, group * channels + t // area]
                            _line(plane, top, left, stride_h, stride_w, height, width, line[t - tap])
                        _products(
                            gradients[n], group * group_outputs, (group + 1) * group_outputs, start,
                            start + height * width, line, count, sums, tap,
                        )  # fmt: skip
