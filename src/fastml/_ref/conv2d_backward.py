"""Gradients of weight and bias of a two-dimensional cross-correlation.

That of x is a convolution itself, and made of problems of conv2d: `fastml.ops.conv2d_backward`.
"""

import numpy as np


def loops(
    grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight, grad_bias,
    n_threads,
):  # fmt: skip
    """The definition: each weight met a value of x for each gradient. A value in the padding counts as zero."""
    batch, outputs, out_h, out_w = grad_out.shape
    for o in range(grad_weight.shape[0]):
        first = o // (outputs // groups) * grad_weight.shape[1]
        for c, ky, kx in np.ndindex(grad_weight.shape[1:]):
            total = 0.0
            for n in range(batch):
                for i in range(out_h):
                    for j in range(out_w):
                        y = i * stride_h - pad_top + ky * dilation_h
                        z = j * stride_w - pad_left + kx * dilation_w
                        inside = 0 <= y < x.shape[2] and 0 <= z < x.shape[3]
                        total += float(grad_out[n, o, i, j]) * (float(x[n, first + c, y, z]) if inside else 0.0)
            grad_weight[o, c, ky, kx] = total
    for o in range(grad_bias.shape[0]):
        total = 0.0
        for n in range(batch):
            for i in range(out_h):
                for j in range(out_w):
                    total += float(grad_out[n, o, i, j])
        grad_bias[o] = total


def im2col(
    grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight, grad_bias,
    n_threads,
):  # fmt: skip
    """All patches that conv2d saw, copied into a matrix, then one matrix product for each image and group."""
    grad_bias[...] = grad_out.sum(axis=(0, 2, 3), dtype=np.float64)[: grad_bias.size]
    if not grad_weight.size:
        return
    outputs, channels, kernel_h, kernel_w = grad_weight.shape
    out_h, out_w = grad_out.shape[2:]
    reach_h = (out_h - 1) * stride_h + (kernel_h - 1) * dilation_h + 1
    reach_w = (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    bottom, right = max(reach_h - pad_top - x.shape[2], 0), max(reach_w - pad_left - x.shape[3], 0)
    padded = np.pad(x, ((0, 0), (0, 0), (pad_top, bottom), (pad_left, right)))[:, :, :reach_h, :reach_w]
    span = ((kernel_h - 1) * dilation_h + 1, (kernel_w - 1) * dilation_w + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
    windows = windows[:, :, ::stride_h, ::stride_w, ::dilation_h, ::dilation_w]  # (n, c, out_h, out_w, kh, kw)
    grad_weight[...] = 0
    for n in range(grad_out.shape[0]):
        for g in range(groups):
            patches = windows[n, g * channels : (g + 1) * channels].transpose(0, 3, 4, 1, 2)
            rows = slice(g * (outputs // groups), (g + 1) * (outputs // groups))
            gradients = grad_out[n, rows].reshape(-1, out_h * out_w)
            products = gradients @ patches.reshape(channels * kernel_h * kernel_w, out_h * out_w).T
            grad_weight[rows] += products.reshape(-1, channels, kernel_h, kernel_w)
