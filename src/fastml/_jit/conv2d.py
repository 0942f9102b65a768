"""Two-dimensional cross-correlation. The specification is `fastml._ref.conv2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel


@kernel
def loops(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """The seven loops, compiled."""
    outputs, channels, kernel_h, kernel_w = weight.shape
    for plane in prange(out.shape[0] * outputs):
        n, o = plane // outputs, plane % outputs
        first = o // (outputs // groups) * channels
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                total = x.dtype.type(0)
                for c in range(channels):
                    for ky in range(kernel_h):
                        for kx in range(kernel_w):
                            y = i * stride_h - pad_top + ky * dilation_h
                            z = j * stride_w - pad_left + kx * dilation_w
                            value = x.dtype.type(0)  # a tap in the padding counts: 0 times infinity is NaN
                            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                                value = x[n, first + c, y, z]
                            total += weight[o, c, ky, kx] * value
                total += bias[o]
                if residual.size:
                    total += residual[n, o, i, j]
                out[n, o, i, j] = x.dtype.type(0) if relu and total < 0 else total


@inline
def _row(padded, kernel_w, stride_w, dilation_w, weights, row):
    """Add the taps of one input row to one output row."""
    for kx in range(kernel_w):
        w, source = weights[kx], padded[kx * dilation_w :]
        for j in range(row.size):
            row[j] += w * source[j * stride_w]


@inline
def _four_rows(padded, kernel_w, dilation_w, w0, w1, w2, w3, r0, r1, r2, r3):
    """The same for four outputs that read the same input: each value loaded serves four multiplications."""
    for kx in range(kernel_w):
        a, b, c, d = w0[kx], w1[kx], w2[kx], w3[kx]
        source = padded[kx * dilation_w :]
        for j in range(r0.size):
            value = source[j]
            r0[j] += a * value
            r1[j] += b * value
            r2[j] += c * value
            r3[j] += d * value


@kernel
def rows(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """A row of outputs at a time, four outputs at once, vectors along the row.

    Numba has no arrays that live in registers, so every multiplication loads and stores its sum in the L1 cache: that,
    and not the arithmetic, is the limit of this rung.
    """
    outputs, channels, kernel_h, kernel_w = weight.shape
    batch, _, out_h, out_w = out.shape
    group_outputs = outputs // groups
    quads = (group_outputs + 3) // 4
    reach = (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    for task in prange(batch * groups * quads * out_h):
        n, group = task // (groups * quads * out_h), task // (quads * out_h) % groups
        first_output, i = group * group_outputs + task // out_h % quads * 4, task % out_h
        width = min(4, (group + 1) * group_outputs - first_output)
        padded = np.zeros(max(reach, pad_left + x.shape[3]), x.dtype)
        for o in range(first_output, first_output + width):
            out[n, o, i, :] = bias[o]
        for c in range(channels):
            for ky in range(kernel_h):
                y = i * stride_h - pad_top + ky * dilation_h
                if 0 <= y < x.shape[2]:
                    padded[pad_left : pad_left + x.shape[3]] = x[n, group * channels + c, y]
                else:
                    padded[:] = 0
                w, o = weight[:, c, ky], first_output
                if width == 4 and stride_w == 1:
                    _four_rows(
                        padded, kernel_w, dilation_w, w[o], w[o + 1], w[o + 2], w[o + 3],
                        out[n, o, i], out[n, o + 1, i], out[n, o + 2, i], out[n, o + 3, i],
                    )  # fmt: skip
                else:
                    for o in range(first_output, first_output + width):
                        _row(padded, kernel_w, stride_w, dilation_w, w[o], out[n, o, i])
        for o in range(first_output, first_output + width):
            for j in range(out_w):
                total = out[n, o, i, j]
                if residual.size:
                    total += residual[n, o, i, j]
                out[n, o, i, j] = x.dtype.type(0) if relu and total < 0 else total
