"""F(2, 3): transform the filters, transform the signal, four products of matrices, and transform back."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning


@numba.njit(fastmath=FAST)
def filters(weight):
    """(o, c, 3) -> (4, c, o): the filter at the points 0, 1, -1 and infinity."""
    outputs, channels, _ = weight.shape
    u = np.empty((4, channels, outputs), np.float32)
    half = np.float32(0.5)
    for o in range(outputs):
        for c in range(channels):
            g0, g1, g2 = weight[o, c, 0], weight[o, c, 1], weight[o, c, 2]
            u[0, c, o] = g0
            u[1, c, o] = (g0 + g1 + g2) * half
            u[2, c, o] = (g0 - g1 + g2) * half
            u[3, c, o] = g2
    return u


@numba.njit(fastmath=FAST)
def signals(x, tiles):
    """(c, n + 2) -> (4, c, tiles): four sums of the four values that each pair of outputs sees."""
    channels, length = x.shape
    padded = np.zeros((channels + channels % 2, 2 * tiles + 2), np.float32)  # whole pairs of channels and of outputs
    padded[:channels, :length] = x
    v = np.empty((4, padded.shape[0], tiles), np.float32)
    for c in range(padded.shape[0]):
        row, v0, v1, v2, v3 = padded[c], v[0, c], v[1, c], v[2, c], v[3, c]
        for t in range(tiles):
            d0, d1, d2, d3 = row[2 * t], row[2 * t + 1], row[2 * t + 2], row[2 * t + 3]
            v0[t] = d0 - d2
            v1[t] = d1 + d2
            v2[t] = d2 - d1
            v3[t] = d1 - d3
    return v


@numba.njit(fastmath=FAST)
def four_rows(u, v, m):
    """m = four columns of u, transposed, times v: a value of v serves four multiplications, a sum two channels."""
    m[:] = 0
    m0, m1, m2, m3 = m[0], m[1], m[2], m[3]
    for c in range(0, v.shape[0], 2):  # their number is even
        y, z = v[c], v[c + 1]
        a0, a1, a2, a3 = u[c, 0], u[c, 1], u[c, 2], u[c, 3]
        b0, b1, b2, b3 = u[c + 1, 0], u[c + 1, 1], u[c + 1, 2], u[c + 1, 3]
        for t in range(m0.size):
            m0[t] += a0 * y[t] + b0 * z[t]
            m1[t] += a1 * y[t] + b1 * z[t]
            m2[t] += a2 * y[t] + b2 * z[t]
            m3[t] += a3 * y[t] + b3 * z[t]


@numba.njit(fastmath=FAST)
def conv1d(x, weight, out):
    """out[o, i] = sum of x[c, i+p] * weight[o, c, p]; x (c, n + 2), weight (o, c, 3), out (o, n), all float32."""
    outputs, n = out.shape
    tiles = (n + 1) // 2
    v = signals(x, tiles)
    u = np.zeros((4, v.shape[1], outputs + 3), np.float32)  # the last four outputs may be fewer
    u[:, : x.shape[0], :outputs] = filters(weight)
    m = np.empty((4, 4, tiles), np.float32)
    for first in range(0, outputs, 4):
        for point in range(4):
            four_rows(u[point, :, first : first + 4], v[point], m[point])
        for o in range(first, min(first + 4, outputs)):
            m0, m1, m2, m3 = m[0, o - first], m[1, o - first], m[2, o - first], m[3, o - first]
            row = out[o]
            for t in range(n // 2):
                row[2 * t] = m0[t] + m1[t] + m2[t]
                row[2 * t + 1] = m1[t] - m2[t] - m3[t]
            if n % 2:
                row[n - 1] = m0[tiles - 1] + m1[tiles - 1] + m2[tiles - 1]
