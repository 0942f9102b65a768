"""Gradient of batch normalization, in float64. With ReLU, grad_out counts where the result before it is not <= 0."""

import math

import numpy as np


def loops(
    grad_out, x, weight, bias, residual, mean, variance, eps, training, relu, grad_x, grad_weight, grad_bias,
    grad_residual, n_threads,
):  # fmt: skip
    """The definition, channel by channel: both sums, then the gradient of x."""
    n, channels, pixels = x.shape
    for c in range(channels):
        deviation = math.sqrt(variance[c] + eps)
        grad_weight[c] = grad_bias[c] = 0.0
        for i in range(n):
            for j in range(pixels):
                z = (float(x[i, c, j]) - mean[c]) / deviation
                y = z * weight[c] + bias[c] + (float(residual[i, c, j]) if residual.size else 0.0)
                g = 0.0 if relu and y <= 0 else float(grad_out[i, c, j])
                grad_weight[c] += g * z
                grad_bias[c] += g
        for i in range(n):
            for j in range(pixels):
                z = (float(x[i, c, j]) - mean[c]) / deviation
                y = z * weight[c] + bias[c] + (float(residual[i, c, j]) if residual.size else 0.0)
                g = 0.0 if relu and y <= 0 else float(grad_out[i, c, j])
                through = (grad_bias[c] + z * grad_weight[c]) / (n * pixels) if training else 0.0
                grad_x[i, c, j] = (g - through) * weight[c] / deviation
                if grad_residual.size:
                    grad_residual[i, c, j] = g


def passes(
    grad_out, x, weight, bias, residual, mean, variance, eps, training, relu, grad_x, grad_weight, grad_bias,
    grad_residual, n_threads,
):  # fmt: skip
    """Whole arrays: one or two passes for each step of the formula, and float64 temporaries as large as x."""
    deviation = np.sqrt(variance + eps)[:, np.newaxis]
    z = (x - mean[:, np.newaxis]) / deviation
    g = grad_out
    if relu:
        y = z * weight[:, np.newaxis] + bias[:, np.newaxis]
        if residual.size:
            y += residual
        g = np.where(y <= 0, 0, grad_out)
    grad_bias[:] = g.sum(axis=(0, 2), dtype=np.float64)
    grad_weight[:] = (g * z).sum(axis=(0, 2))
    if grad_residual.size:
        grad_residual[...] = g
    if training:
        count = x.shape[0] * x.shape[2]
        g = g - (grad_bias[:, np.newaxis] + z * grad_weight[:, np.newaxis]) / count
    grad_x[...] = g * (weight[:, np.newaxis] / deviation)
