"""Batch normalization: (x - mean) / sqrt(variance + eps) * weight + bias, then residual and ReLU, in float64."""

import math

import numpy as np


def loops(x, weight, bias, residual, eps, training, relu, mean, variance, out, n_threads):
    """The definition, channel by channel."""
    n, channels, pixels = x.shape
    for c in range(channels):
        if training:
            values = [float(v) for v in x[:, c].flat]
            mean[c] = sum(values) / len(values)
            variance[c] = sum((v - mean[c]) * (v - mean[c]) for v in values) / len(values)
        for i in range(n):
            for j in range(pixels):
                y = (float(x[i, c, j]) - mean[c]) / math.sqrt(variance[c] + eps) * weight[c] + bias[c]
                if residual.size:
                    y += float(residual[i, c, j])
                out[i, c, j] = 0.0 if relu and y < 0 else y


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # infinity minus infinity is NaN, as in the kernels
def passes(x, weight, bias, residual, eps, training, relu, mean, variance, out, n_threads):
    """Whole arrays: a pass for the mean, three for the variance, one or two for each step of the formula."""
    if training:
        mean[:] = x.mean(axis=(0, 2), dtype=np.float64)
        deviation = x - mean[:, np.newaxis]
        variance[:] = (deviation * deviation).mean(axis=(0, 2))
    factor = weight / np.sqrt(variance + eps)
    y = (x - mean[:, np.newaxis]) * factor[:, np.newaxis] + bias[:, np.newaxis]
    if residual.size:
        y += residual
    if relu:
        np.copyto(y, 0, where=y < 0)
    out[...] = y
