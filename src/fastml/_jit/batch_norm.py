"""Batch normalization. The specification is `fastml._ref.batch_norm`."""

import math

import numpy as np
from numba import prange

from fastml._jit._flags import if_finite, inline, kernel

PANEL = 128  # channels of a matrix that a task works on


@kernel
def loops(x, weight, bias, residual, eps, training, relu, mean, variance, out, n_threads):
    """The same loops, compiled: sums become vectors, and a channel that fits stays in cache for the next pass."""
    n, channels, pixels = x.shape
    for c in prange(channels):
        if training:
            total = 0.0
            for i in range(n):
                for j in range(pixels):
                    total += x[i, c, j]
            mean[c] = total / (n * pixels)
            squares = 0.0
            for i in range(n):
                for j in range(pixels):
                    d = x[i, c, j] - mean[c]
                    squares += d * d
            variance[c] = squares / (n * pixels)
        centre, factor, offset = mean[c], weight[c] / math.sqrt(variance[c] + eps), bias[c]
        for i in range(n):
            for j in range(pixels):
                y = (x[i, c, j] - centre) * factor + offset
                if residual.size:
                    y += residual[i, c, j]
                out[i, c, j] = 0.0 if relu and y < 0 else y


@inline
def _channel(x, weight, bias, residual, eps, training, relu, mean, variance, out, c):
    n, _, pixels = x.shape
    if training:
        total, squares = 0.0, 0.0
        for i in range(n):
            for j in range(pixels):
                total += x[i, c, j]
        centre = total / (n * pixels)
        for i in range(n):
            for j in range(pixels):
                squares += (x[i, c, j] - centre) * (x[i, c, j] - centre)
        mean[c], variance[c] = centre, squares / (n * pixels)
    slope = weight[c] / math.sqrt(variance[c] + eps)
    shift, factor, zero = x.dtype.type(mean[c]), x.dtype.type(slope), x.dtype.type(0)
    offset = x.dtype.type(bias[c] - if_finite((mean[c] - shift) * slope))
    for i in range(n):
        for j in range(pixels):
            y = (x[i, c, j] - shift) * factor + offset
            if residual.size:
                y += residual[i, c, j]
            out[i, c, j] = zero if relu and y < 0 else y


@inline
def _statistics(x, first, last, mean, variance):
    n = x.shape[0]
    mean[:], variance[:] = 0.0, 0.0
    for i in range(n):
        row = x[i, first:last]
        for c in range(row.size):
            mean[c] += row[c]
    for c in range(mean.size):
        mean[c] /= n
    for i in range(n):
        row = x[i, first:last]
        for c in range(row.size):
            variance[c] += (row[c] - mean[c]) * (row[c] - mean[c])
    for c in range(mean.size):
        variance[c] /= n


@inline
def _panel(x, weight, bias, residual, eps, training, relu, mean, variance, out, first, last):
    """Some channels of a matrix: the inner loops run along the channels, which are what is contiguous.

    Slices count from 0: an index that may be negative, and then count from the end, keeps LLVM from making vectors.
    """
    zero = x.dtype.type(0)
    width = last - first
    shift, factor, offset = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(width, x.dtype)
    if training:
        _statistics(x, first, last, mean[first:last], variance[first:last])
    for c in range(width):
        slope = weight[first + c] / math.sqrt(variance[first + c] + eps)
        shift[c], factor[c] = mean[first + c], slope
        offset[c] = bias[first + c] - if_finite((mean[first + c] - shift[c]) * slope)
    for i in range(x.shape[0]):
        row, result = x[i, first:last], out[i, first:last]
        if residual.size:  # which may be `out` itself
            added = residual[i, first:last]
            for c in range(row.size):
                result[c] = (row[c] - shift[c]) * factor[c] + offset[c] + added[c]
        else:
            for c in range(row.size):
                result[c] = (row[c] - shift[c]) * factor[c] + offset[c]
        if relu:
            for c in range(row.size):
                result[c] = zero if result[c] < 0 else result[c]


@kernel
def channels(x, weight, bias, residual, eps, training, relu, mean, variance, out, n_threads):
    """The output in the type of x; a matrix is worked on along its channels.

    Three passes over a channel instead of Cython's two: blocks of shifted sums would need arrays that Numba makes anew
    for each. The second and third are served by the cache.
    """
    n, channels, pixels = x.shape
    if pixels == 1:
        for panel in prange((channels + PANEL - 1) // PANEL):
            _panel(
                x.reshape(n, channels), weight, bias, residual.reshape(residual.shape[0], residual.shape[1]), eps,
                training, relu, mean, variance, out.reshape(n, channels), panel * PANEL,
                min(panel * PANEL + PANEL, channels),
            )  # fmt: skip
    else:
        for c in prange(channels):
            _channel(x, weight, bias, residual, eps, training, relu, mean, variance, out, c)
