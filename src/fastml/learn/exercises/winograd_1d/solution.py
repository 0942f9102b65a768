"""F(2, 3): transform the filters, transform the signal, four products of matrices, and transform back."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning


@numba.njit(fastmath=FAST)
def filters(weight):
    """(o, c, 3) -> (4, c, o), for whole fours of channels and outputs: filters at the points 0, 1, -1, infinity."""
    outputs, channels, _ = weight.shape
    u = np.zeros((4, (channels + 3) // 4 * 4, (outputs + 3) // 4 * 4), np.float32)
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
    padded = np.zeros(((channels + 3) // 4 * 4, 2 * tiles + 2), np.float32)  # whole fours of channels, pairs of outputs
    for c in range(channels):
        for i in range(length):  # padded[:channels, :length] = x takes Numba seconds to compile
            padded[c, i] = x[c, i]
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
def block(u, v0, v1, v2, v3, m0, m1, m2, m3):
    """Add four channels to four outputs: sixteen multiplications for four loads of v, and four sums."""
    a0, a1, a2, a3 = u[0, 0], u[1, 0], u[2, 0], u[3, 0]
    b0, b1, b2, b3 = u[0, 1], u[1, 1], u[2, 1], u[3, 1]
    c0, c1, c2, c3 = u[0, 2], u[1, 2], u[2, 2], u[3, 2]
    d0, d1, d2, d3 = u[0, 3], u[1, 3], u[2, 3], u[3, 3]
    for t in range(m0.size):
        w, x, y, z = v0[t], v1[t], v2[t], v3[t]
        m0[t] += a0 * w + a1 * x + a2 * y + a3 * z
        m1[t] += b0 * w + b1 * x + b2 * y + b3 * z
        m2[t] += c0 * w + c1 * x + c2 * y + c3 * z
        m3[t] += d0 * w + d1 * x + d2 * y + d3 * z


@numba.njit(fastmath=FAST)
def four_rows(u, v, m):
    """m = four columns of u, transposed, times v, whose rows are whole fours."""
    m[:] = 0
    for c in range(0, v.shape[0], 4):
        block(u[c : c + 4], v[c], v[c + 1], v[c + 2], v[c + 3], m[0], m[1], m[2], m[3])


@numba.njit(fastmath=FAST)
def conv1d(x, weight, out):
    """out[o, i] = sum of x[c, i+p] * weight[o, c, p]; x (c, n + 2), weight (o, c, 3), out (o, n), all float32."""
    outputs, n = out.shape
    tiles = (n + 1) // 2
    u, v = filters(weight), signals(x, tiles)
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
