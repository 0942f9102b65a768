"""Mean over windows: the sum of what lies in the image, over rows[i] * columns[j]."""

import numpy as np


def loops(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads
):
    """The definition: every tap of every window."""
    planes, h, w = x.shape
    for p in range(planes):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                total = 0.0
                for y in range(i * stride_h - pad_top, i * stride_h - pad_top + kernel_h):
                    for z in range(j * stride_w - pad_left, j * stride_w - pad_left + kernel_w):
                        if 0 <= y < h and 0 <= z < w:
                            total += float(x[p, y, z])
                out[p, i, j] = total / (rows[i] * columns[j])


def windows(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads
):
    """A view of every window of a padded copy, and one reduction over it, in float64."""
    padded = _padded(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, out)
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel_h, kernel_w), axis=(1, 2))
    sums = view[:, ::stride_h, ::stride_w].sum(axis=(3, 4), dtype=np.float64)
    out[...] = sums / (rows[:, np.newaxis] * columns)


def taps(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads
):
    """A tap of all windows is a strided part of the padded copy: one addition of whole arrays for each tap."""
    padded = _padded(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, out)
    sums = np.zeros(out.shape)
    for ky in range(kernel_h):
        for kx in range(kernel_w):
            sums += padded[:, ky::stride_h, kx::stride_w][:, : out.shape[1], : out.shape[2]]
    out[...] = sums / (rows[:, np.newaxis] * columns)


def _padded(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, out):
    """Zeros around the planes, as far as the windows reach."""
    reach_h = (out.shape[1] - 1) * stride_h + kernel_h
    reach_w = (out.shape[2] - 1) * stride_w + kernel_w
    bottom, right = max(reach_h - pad_top - x.shape[1], 0), max(reach_w - pad_left - x.shape[2], 0)
    return np.pad(x, ((0, 0), (pad_top, bottom), (pad_left, right)))[:, :reach_h, :reach_w]
