"""Two-dimensional cross-correlation with zero padding, bias, residual and ReLU."""

import numpy as np


def loops(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """The definition: seven loops. A tap in the padding counts as zero times its weight."""
    outputs, channels, kernel_h, kernel_w = weight.shape
    for n in range(out.shape[0]):
        for o in range(outputs):
            first = o // (outputs // groups) * channels
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    total = 0.0
                    for c in range(channels):
                        for ky in range(kernel_h):
                            for kx in range(kernel_w):
                                y = i * stride_h - pad_top + ky * dilation_h
                                z = j * stride_w - pad_left + kx * dilation_w
                                inside = 0 <= y < x.shape[2] and 0 <= z < x.shape[3]
                                total += float(weight[o, c, ky, kx]) * (float(x[n, first + c, y, z]) if inside else 0.0)
                    total += float(bias[o])
                    if residual.size:
                        total += float(residual[n, o, i, j])
                    out[n, o, i, j] = 0.0 if relu and total < 0 else total


@np.errstate(over="ignore", invalid="ignore")  # as the kernels, which do not warn
def im2col(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """All patches copied into a matrix kernel_h * kernel_w times the size of x, then one matrix product a group."""
    outputs, channels, kernel_h, kernel_w = weight.shape
    n, _, out_h, out_w = out.shape
    reach_h = (out_h - 1) * stride_h + (kernel_h - 1) * dilation_h + 1
    reach_w = (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    bottom, right = max(reach_h - pad_top - x.shape[2], 0), max(reach_w - pad_left - x.shape[3], 0)
    padded = np.pad(x, ((0, 0), (0, 0), (pad_top, bottom), (pad_left, right)))[:, :, :reach_h, :reach_w]
    span = ((kernel_h - 1) * dilation_h + 1, (kernel_w - 1) * dilation_w + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, axis=(2, 3))
    windows = windows[:, :, ::stride_h, ::stride_w, ::dilation_h, ::dilation_w]  # (n, c, out_h, out_w, kh, kw)
    for g in range(groups):
        patches = windows[:, g * channels : (g + 1) * channels].transpose(0, 1, 4, 5, 2, 3)
        patches = patches.reshape(n, channels * kernel_h * kernel_w, out_h * out_w)
        rows = slice(g * (outputs // groups), (g + 1) * (outputs // groups))
        matrix = weight[rows].reshape(-1, channels * kernel_h * kernel_w)
        out[:, rows] = np.matmul(matrix, patches).reshape(n, -1, out_h, out_w)
    out += bias[:, np.newaxis, np.newaxis]
    if residual.size:
        out += residual
    if relu:
        np.copyto(out, 0, where=out < 0)
