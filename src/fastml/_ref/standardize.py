"""(x - mean) / scale, computed in float64 and rounded once."""

import numpy as np


def loops(x, axis, mean, scale, out, n_threads):
    """The definition."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            feature = j if axis == 0 else i
            out[i, j] = (float(x[i, j]) - mean[feature]) / scale[feature]


def broadcast(x, axis, mean, scale, out, n_threads):
    """One expression over whole arrays, with two float64 temporaries of the size of x."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity is NaN, as in the kernels
        out[...] = (x - np.expand_dims(mean, axis)) / np.expand_dims(scale, axis)
