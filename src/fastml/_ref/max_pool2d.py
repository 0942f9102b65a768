"""Maximum over windows: NaN wins, the first of equals is reported, -inf and -1 where a window sees only padding."""

import math

import numpy as np


def loops(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """The definition: every tap of every window."""
    planes, h, w = x.shape
    for p in range(planes):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                best, where = -math.inf, -1
                for ky in range(kernel_h):
                    for kx in range(kernel_w):
                        y, z = i * stride_h - pad_top + ky * dilation_h, j * stride_w - pad_left + kx * dilation_w
                        if not (0 <= y < h and 0 <= z < w):
                            continue
                        value = float(x[p, y, z])
                        if where < 0 or value > best or (math.isnan(value) and not math.isnan(best)):
                            best, where = value, y * w + z
                out[p, i, j] = best
                if indices.size:
                    indices[p, i, j] = where


def windows(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """A view of every window, and one reduction over it; the padding is -inf, which loses to everything."""
    planes, h, w = x.shape
    out_h, out_w = out.shape[1:]
    geometry = out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w
    view = _windows(x, -np.inf, *geometry)
    out[...] = view.max(axis=(3, 4))  # NumPy's maximum lets NaN through, too
    if indices.size:
        where = _windows(np.arange(h * w).reshape(1, h, w), -1, *geometry)
        taps, where = view.reshape(planes, out_h, out_w, -1), where.reshape(out_h, out_w, -1)
        hit = ((taps == out[..., np.newaxis]) | np.isnan(taps)) & (where >= 0)  # -inf in the image, not in the padding
        first = hit.argmax(axis=-1)
        chosen = np.take_along_axis(np.broadcast_to(where, taps.shape), first[..., np.newaxis], axis=-1)[..., 0]
        indices[...] = np.where(hit.any(axis=-1), chosen, -1)


def taps(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """A tap of all windows is a strided part of the image: one maximum of whole arrays for each tap."""
    _, h, w = x.shape
    _, out_h, out_w = out.shape
    place = np.arange(h * w).reshape(h, w)
    out[...], indices[...] = -np.inf, -1
    for ky in range(kernel_h):
        i, y = _inside(ky * dilation_h - pad_top, stride_h, out_h, h)
        for kx in range(kernel_w):
            j, z = _inside(kx * dilation_w - pad_left, stride_w, out_w, w)
            best, value = out[:, i, j], x[:, y, z]
            if indices.size:
                where = indices[:, i, j]
                better = (where < 0) | (~(value <= best) & ~np.isnan(best))  # the first of equals, and the first NaN
                np.copyto(where, place[y, z], where=better)
            np.maximum(best, value, out=best)


def _inside(offset, stride, windows, size):
    """Which windows have a tap in the image, along one axis, and where these taps are: two slices."""
    first = max(-(offset // stride), 0)
    count = max(min((size - 1 - offset) // stride + 1, windows) - first, 0)
    start = offset + first * stride
    return slice(first, first + count), slice(start, start + count * stride, stride)


def _windows(
    x, fill, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w
):
    """(planes, h, w) -> a view (planes, out_h, out_w, kernel_h, kernel_w) of a padded copy."""
    span_h, span_w = (kernel_h - 1) * dilation_h + 1, (kernel_w - 1) * dilation_w + 1
    reach_h, reach_w = (out_h - 1) * stride_h + span_h, (out_w - 1) * stride_w + span_w
    bottom, right = max(reach_h - pad_top - x.shape[1], 0), max(reach_w - pad_left - x.shape[2], 0)
    padded = np.pad(x, ((0, 0), (pad_top, bottom), (pad_left, right)), constant_values=fill)[:, :reach_h, :reach_w]
    view = np.lib.stride_tricks.sliding_window_view(padded, (span_h, span_w), axis=(1, 2))
    return view[:, ::stride_h, ::stride_w, ::dilation_h, ::dilation_w]
