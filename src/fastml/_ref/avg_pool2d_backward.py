"""Gradient of average pooling: each gradient, over rows[i] * columns[j], goes to every pixel that its window sees."""

import numpy as np


def loops(
    grad_out, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, grad_x, n_threads
):
    """The definition: every tap of every window, as in `avg_pool2d`, and the other way."""
    planes, h, w = grad_x.shape
    for p in range(planes):
        total = np.zeros((h, w))
        for i in range(grad_out.shape[1]):
            for j in range(grad_out.shape[2]):
                for y in range(i * stride_h - pad_top, i * stride_h - pad_top + kernel_h):
                    for z in range(j * stride_w - pad_left, j * stride_w - pad_left + kernel_w):
                        if 0 <= y < h and 0 <= z < w:
                            total[y, z] += float(grad_out[p, i, j]) / (rows[i] * columns[j])
        grad_x[p] = total


def taps(
    grad_out, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, grad_x, n_threads
):
    """A tap of all windows is a strided part of the padded image: one addition of whole arrays for each tap."""
    planes, h, w = grad_x.shape
    out_h, out_w = grad_out.shape[1:]
    reach_h, reach_w = (out_h - 1) * stride_h + 1, (out_w - 1) * stride_w + 1  # from the first window to the last
    padded = np.zeros((planes, max(reach_h + kernel_h, pad_top + h), max(reach_w + kernel_w, pad_left + w)))
    share = grad_out / (rows[:, np.newaxis] * columns)
    for ky in range(kernel_h):
        for kx in range(kernel_w):
            padded[:, ky : ky + reach_h : stride_h, kx : kx + reach_w : stride_w] += share
    grad_x[...] = padded[:, pad_top : pad_top + h, pad_left : pad_left + w]
