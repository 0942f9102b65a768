"""Unroll and jam: rows of four outputs at once, so that each value that is loaded serves four multiplications."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning


@numba.njit(fastmath=FAST)
def four_rows(source, w0, w1, w2, w3, r0, r1, r2, r3):
    """Three taps of one row of the input, added to a row of four outputs each."""
    a0, a1, a2 = w0[0], w0[1], w0[2]
    b0, b1, b2 = w1[0], w1[1], w1[2]
    c0, c1, c2 = w2[0], w2[1], w2[2]
    d0, d1, d2 = w3[0], w3[1], w3[2]
    for j in range(r0.size):
        x, y, z = source[j], source[j + 1], source[j + 2]
        r0[j] += a0 * x + a1 * y + a2 * z
        r1[j] += b0 * x + b1 * y + b2 * z
        r2[j] += c0 * x + c1 * y + c2 * z
        r3[j] += d0 * x + d1 * y + d2 * z


@numba.njit(fastmath=FAST)
def conv2d(x, weight, out):
    """out[o, i, j] = sum of x[c, i+p, j+q] * weight[o, c, p, q]; x (c, h, w), weight (o, c, 3, 3), all float32."""
    outputs, height, width = out.shape
    sums = np.empty((4, width), np.float32)
    r0, r1, r2, r3 = sums[0], sums[1], sums[2], sums[3]
    for first in range(0, outputs, 4):
        # The last four may begin with outputs that were done already, or repeat one where there are fewer than four.
        o0 = max(min(first, outputs - 4), 0)
        o1, o2, o3 = min(o0 + 1, outputs - 1), min(o0 + 2, outputs - 1), min(o0 + 3, outputs - 1)
        for i in range(height):
            sums[:] = 0
            for c in range(x.shape[0]):
                for p in range(3):
                    four_rows(x[c, i + p], weight[o0, c, p], weight[o1, c, p], weight[o2, c, p], weight[o3, c, p],
                              r0, r1, r2, r3)  # fmt: skip
            out[o0, i], out[o1, i], out[o2, i], out[o3, i] = r0, r1, r2, r3
