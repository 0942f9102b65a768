"""Gradient of batch normalization. The specification is `fastml._ref.batch_norm_backward`."""

import math

import numpy as np
from numba import prange

from fastml._jit._flags import if_finite, inline, kernel

PANEL = 256  # channels of a matrix that are taken together: along a row they are what lies in memory


@inline
def _sums(g, x, mean, i, c):
    total, products = 0.0, 0.0
    for j in range(x.shape[2]):
        total += g[i, c, j]
        products += g[i, c, j] * (x[i, c, j] - mean)
    return total, products


@inline
def _masked(grad_out, x, mean, high, factor, offset, g, i, c):
    """The sums of what ReLU let through, which is kept. With a residual it is another loop, so that neither asks."""
    total, products = 0.0, 0.0
    for j in range(x.shape[2]):
        value = grad_out.dtype.type(0) if (x[i, c, j] - high) * factor + offset <= 0 else grad_out[i, c, j]
        g[i, c, j] = value
        total += value
        products += value * (x[i, c, j] - mean)
    return total, products


@inline
def _masked_sum(grad_out, x, residual, mean, high, factor, offset, g, i, c):
    total, products = 0.0, 0.0
    for j in range(x.shape[2]):
        y = (x[i, c, j] - high) * factor + offset + residual[i, c, j]
        value = grad_out.dtype.type(0) if y <= 0 else grad_out[i, c, j]
        g[i, c, j] = value
        total += value
        products += value * (x[i, c, j] - mean)
    return total, products


@inline
def _gradient(g, x, high, factor, slope, level, training, grad_x, c):
    for i in range(x.shape[0]):
        if training:
            for j in range(x.shape[2]):
                grad_x[i, c, j] = factor * g[i, c, j] + (level - (x[i, c, j] - high) * slope)
        else:
            for j in range(x.shape[2]):
                grad_x[i, c, j] = factor * g[i, c, j]


@inline
def _gradient_in_place(g, x, high, factor, slope, level, training, c):
    """The same where g is kept in grad_x: LLVM takes two names of one array for an overlap, and makes no vectors."""
    for i in range(x.shape[0]):
        if training:
            for j in range(x.shape[2]):
                g[i, c, j] = factor * g[i, c, j] + (level - (x[i, c, j] - high) * slope)
        else:
            for j in range(x.shape[2]):
                g[i, c, j] *= factor


@inline
def _channel(
    grad_out, x, weight, bias, residual, mean, variance, training, relu, grad_x, grad_weight, grad_bias,
    grad_residual, c,
):  # fmt: skip
    """One channel. What ReLU leaves of grad_out is kept, from the first pass to the second, where an output will be.

    Both passes compute in the dtype of x, from numbers that were worked out in float64.
    """
    n, _, pixels = x.shape
    cast = x.dtype.type
    factor64, high = weight / math.sqrt(variance), cast(mean)
    factor, offset = cast(factor64), cast(bias - if_finite((mean - high) * factor64))
    total, products = 0.0, 0.0
    for i in range(n):
        if relu and residual.size:
            sums = _masked_sum(grad_out, x, residual, mean, high, factor, offset, grad_residual, i, c)
        elif relu:
            sums = _masked(grad_out, x, mean, high, factor, offset, grad_x, i, c)
        else:
            sums = _sums(grad_out, x, mean, i, c)
        total += sums[0]
        products += sums[1]
    grad_bias[c], grad_weight[c] = total, products / math.sqrt(variance)
    slope64 = factor64 * products / variance / (n * pixels)
    slope, level = cast(slope64), cast(if_finite((mean - high) * slope64) - factor64 * total / (n * pixels))
    if relu and residual.size:
        _gradient(grad_residual, x, high, factor, slope, level, training, grad_x, c)
    elif relu:
        _gradient_in_place(grad_x, x, high, factor, slope, level, training, c)
    else:
        _gradient(grad_out, x, high, factor, slope, level, training, grad_x, c)
        for i in range(n if residual.size else 0):
            for j in range(pixels):
                grad_residual[i, c, j] = grad_out[i, c, j]


@inline
def _finite(lost):
    for c in range(lost.size):
        lost[c] = if_finite(lost[c])
    return lost


@inline
def _row_sums(g, x, mean, total, products):
    for j in range(x.size):
        total[j] += g[j]
        products[j] += g[j] * (x[j] - mean[j])


@inline
def _row_gradient(g, x, high, factor, slope, level, training, grad_x):
    if training:
        for j in range(x.size):
            grad_x[j] = factor[j] * g[j] + (level[j] - (x[j] - high[j]) * slope[j])
    else:
        for j in range(x.size):
            grad_x[j] = factor[j] * g[j]


@inline
def _row_gradient_in_place(g, x, high, factor, slope, level, training):
    if training:
        for j in range(x.size):
            g[j] = factor[j] * g[j] + (level[j] - (x[j] - high[j]) * slope[j])
    else:
        for j in range(x.size):
            g[j] *= factor[j]


@inline
def _row_masked(grad_out, x, high, factor, offset, g):
    for j in range(x.size):
        g[j] = grad_out.dtype.type(0) if (x[j] - high[j]) * factor[j] + offset[j] <= 0 else grad_out[j]


@inline
def _row_masked_sum(grad_out, x, residual, high, factor, offset, g):
    for j in range(x.size):
        y = (x[j] - high[j]) * factor[j] + offset[j] + residual[j]
        g[j] = grad_out.dtype.type(0) if y <= 0 else grad_out[j]


@inline
def _panel(
    grad_out, x, weight, bias, residual, mean, variance, training, relu, grad_x, grad_weight, grad_bias,
    grad_residual, part,
):  # fmt: skip
    """`_channel` for neighbouring columns of matrices: row by row, the sums of all of them side by side."""
    n, dtype = x.shape[0], x.dtype
    mean, deviation = mean[part], np.sqrt(variance[part])
    factor64, high = weight[part] / deviation, mean.astype(dtype)
    factor, offset = factor64.astype(dtype), (bias[part] - _finite((mean - high) * factor64)).astype(dtype)
    total, products = np.zeros(mean.size), np.zeros(mean.size)
    for i in range(n):
        if relu and residual.size:
            kept = grad_residual[i, part]
            _row_masked_sum(grad_out[i, part], x[i, part], residual[i, part], high, factor, offset, kept)
            _row_sums(kept, x[i, part], mean, total, products)
        elif relu:
            _row_masked(grad_out[i, part], x[i, part], high, factor, offset, grad_x[i, part])
            _row_sums(grad_x[i, part], x[i, part], mean, total, products)
        else:
            _row_sums(grad_out[i, part], x[i, part], mean, total, products)
    grad_bias[part], grad_weight[part] = total, products / deviation
    slope64 = factor64 * products / variance[part] / n
    slope, level = slope64.astype(dtype), (_finite((mean - high) * slope64) - factor64 * total / n).astype(dtype)
    for i in range(n):
        if relu and residual.size:
            kept = grad_residual[i, part]
            _row_gradient(kept, x[i, part], high, factor, slope, level, training, grad_x[i, part])
        elif relu:
            _row_gradient_in_place(grad_x[i, part], x[i, part], high, factor, slope, level, training)
        else:
            _row_gradient(grad_out[i, part], x[i, part], high, factor, slope, level, training, grad_x[i, part])
            for j in range(mean.size if residual.size else 0):
                grad_residual[i, part.start + j] = grad_out[i, part.start + j]


@kernel
def channels(
    grad_out, x, weight, bias, residual, mean, variance, eps, training, relu, grad_x, grad_weight, grad_bias,
    grad_residual, n_threads,
):  # fmt: skip
    """Both sums in one pass, the gradient in a second, a channel a thread, and each row a loop that becomes vectors.

    Numba cannot write past the cache, which would spare reading the output before it is written, nor keep the sums of
    a matrix's columns in registers over some rows: they are read and written in the first-level cache for each row.
    """
    n, count, pixels = x.shape
    if pixels > 1:
        for c in prange(count):
            _channel(
                grad_out, x, weight[c], bias[c], residual, mean[c], variance[c] + eps, training, relu, grad_x,
                grad_weight, grad_bias, grad_residual, c,
            )  # fmt: skip
    else:
        flat = residual.shape[0], residual.shape[1]
        for panel in prange((count + PANEL - 1) // PANEL):
            _panel(
                grad_out.reshape((n, count)), x.reshape((n, count)), weight, bias, residual.reshape(flat), mean,
                variance + eps, training, relu, grad_x.reshape((n, count)), grad_weight, grad_bias,
                grad_residual.reshape(flat), slice(panel * PANEL, min((panel + 1) * PANEL, count)),
            )  # fmt: skip
