"""Sum of weights, mean and sum of squared deviations along an axis, NaN left out, in float64. No weights: all are 1."""

import math

import numpy as np


def loops(x, sample_weight, axis, count, mean, m2, n_threads):
    """The definition: the mean of what is not NaN, then the sum of squared deviations from it, each by its weight.

    A value without weight is not there, be it infinite.
    """
    weights = sample_weight.tolist() or [1.0] * x.shape[axis]
    for j in range(x.shape[1 - axis]):
        column = x[:, j] if axis == 0 else x[j]
        values = [(w, float(v)) for w, v in zip(weights, column, strict=True) if w > 0 and not math.isnan(v)]
        count[j] = sum(w for w, v in values)
        mean[j] = sum(w * v for w, v in values) / count[j] if count[j] > 0 else math.nan
        m2[j] = sum(w * ((v - mean[j]) * (v - mean[j])) for w, v in values) if count[j] > 0 else 0.0


def two_pass(x, sample_weight, axis, count, mean, m2, n_threads):
    """Whole columns at once. NaN becomes a zero of weight 0; float64 copies of x are made on the way."""
    valid = ~np.isnan(x) & (np.expand_dims(sample_weight > 0, 1 - axis) if sample_weight.size else True)
    weight = np.where(valid, np.expand_dims(sample_weight, 1 - axis), 0.0) if sample_weight.size else valid
    count[:] = weight.sum(axis=axis, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # no values: no mean; infinity: no deviation
        mean[:] = (np.where(valid, x, 0) * weight).sum(axis=axis, dtype=np.float64) / count
        deviation = np.where(valid, x - np.expand_dims(mean, axis), 0)
        m2[:] = np.where(count > 0, (weight * (deviation * deviation)).sum(axis=axis), 0.0)
