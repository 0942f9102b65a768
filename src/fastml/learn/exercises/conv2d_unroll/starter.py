"""The definition: six loops, one output value at a time, and two loads for each multiplication."""

import numba
import numpy as np


@numba.njit
def conv2d(x, weight, out):
    """out[o, i, j] = sum of x[c, i+p, j+q] * weight[o, c, p, q]; x (c, h, w), weight (o, c, 3, 3), all float32."""
    outputs, height, width = out.shape
    for o in range(outputs):
        for i in range(height):
            for j in range(width):
                total = np.float32(0)
                for c in range(x.shape[0]):
                    for p in range(3):
                        for q in range(3):
                            total += x[c, i + p, j + q] * weight[o, c, p, q]
                out[o, i, j] = total
