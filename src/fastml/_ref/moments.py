"""Count, mean and sum of squared deviations along an axis, NaN left out, in float64."""

import math

import numpy as np


def loops(x, axis, count, mean, m2, n_threads):
    """The definition: the mean of what is not NaN, then the sum of squared deviations from it."""
    for j in range(x.shape[1 - axis]):
        values = [float(v) for v in (x[:, j] if axis == 0 else x[j]) if not math.isnan(v)]
        count[j] = len(values)
        mean[j] = sum(values) / len(values) if values else math.nan
        m2[j] = sum((v - mean[j]) * (v - mean[j]) for v in values)


def two_pass(x, axis, count, mean, m2, n_threads):
    """Whole columns at once. NaN becomes a zero that is not counted; two float64 copies of x are made on the way."""
    valid = ~np.isnan(x)
    count[:] = valid.sum(axis=axis)
    with np.errstate(divide="ignore", invalid="ignore"):  # a column of NaN has no mean; infinity has no deviation
        mean[:] = np.where(valid, x, 0).sum(axis=axis, dtype=np.float64) / count
        deviation = np.where(valid, x - np.expand_dims(mean, axis), 0)
        m2[:] = (deviation * deviation).sum(axis=axis)
