"""Batch normalization. The specification is `fastml._ref.batch_norm`."""

import math

from numba import prange

from fastml._jit._flags import kernel


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
