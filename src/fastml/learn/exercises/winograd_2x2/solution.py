"""F(2x2, 3x3): F(2, 3) down the columns and across. Sixteen products of matrices, a tile being a column of them."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning
ROWS = 14  # of tiles at a time: long vectors, and what is transformed is still near when it is multiplied


@numba.njit(fastmath=FAST)
def filters(weight):
    """(o, c, 3, 3) -> (4, 4, c, o), for whole fours of channels and of outputs: G g G^T."""
    outputs, channels = weight.shape[:2]
    u = np.zeros((4, 4, (channels + 3) // 4 * 4, (outputs + 3) // 4 * 4), np.float32)
    half, rows = np.float32(0.5), np.empty((4, 3), np.float32)
    for o in range(outputs):
        for c in range(channels):
            g = weight[o, c]
            for q in range(3):
                rows[0, q], rows[3, q] = g[0, q], g[2, q]
                rows[1, q] = (g[0, q] + g[1, q] + g[2, q]) * half
                rows[2, q] = (g[0, q] - g[1, q] + g[2, q]) * half
            for p in range(4):
                u[p, 0, c, o], u[p, 3, c, o] = rows[p, 0], rows[p, 2]
                u[p, 1, c, o] = (rows[p, 0] + rows[p, 1] + rows[p, 2]) * half
                u[p, 2, c, o] = (rows[p, 0] - rows[p, 1] + rows[p, 2]) * half
    return u


@numba.njit(fastmath=FAST)
def across(row, v0, v1, v2, v3):
    """The four sums of F(2, 3) of every pair of neighbours in a row."""
    for t in range(v0.size):
        d0, d1, d2, d3 = row[2 * t], row[2 * t + 1], row[2 * t + 2], row[2 * t + 3]
        v0[t], v1[t], v2[t], v3[t] = d0 - d2, d1 + d2, d2 - d1, d1 - d3


@numba.njit(fastmath=FAST)
def images(padded, i, v):
    """Four rows of all channels -> (4, 4, c, tiles): down the columns first, then across: B^T d B."""
    down = np.empty((4, padded.shape[2]), np.float32)
    for c in range(padded.shape[0]):
        r0, r1, r2, r3 = padded[c, i], padded[c, i + 1], padded[c, i + 2], padded[c, i + 3]
        for j in range(r0.size):
            down[0, j], down[1, j], down[2, j], down[3, j] = r0[j] - r2[j], r1[j] + r2[j], r2[j] - r1[j], r1[j] - r3[j]
        for p in range(4):
            across(down[p], v[p, 0, c], v[p, 1, c], v[p, 2, c], v[p, 3, c])


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
def back(m, two):
    """(4, 4, tiles) sums -> two rows of outputs, which have room for whole tiles: A^T m A."""
    first, second = two[0], two[1]
    for t in range(m.shape[2]):
        a, b, c, d = m[0, 0, t], m[0, 1, t], m[0, 2, t], m[0, 3, t]
        e, f, g, h = m[1, 0, t], m[1, 1, t], m[1, 2, t], m[1, 3, t]
        p, q, r, s = m[2, 0, t], m[2, 1, t], m[2, 2, t], m[2, 3, t]
        w, x, y, z = m[3, 0, t], m[3, 1, t], m[3, 2, t], m[3, 3, t]
        a, b, c, d, e, f, g, h = a + e + p, b + f + q, c + g + r, d + h + s, e - p - w, f - q - x, g - r - y, h - s - z
        first[2 * t], first[2 * t + 1] = a + b + c, b - c - d
        second[2 * t], second[2 * t + 1] = e + f + g, f - g - h


@numba.njit(fastmath=FAST)
def conv2d(x, weight, out):
    """out[o, i, j] = sum of x[c, i+p, j+q] * weight[o, c, p, q]; x (c, h, w), weight (o, c, 3, 3), all float32."""
    outputs, height, width = out.shape
    channels, tiles = x.shape[0], (width + 1) // 2
    u = filters(weight)
    strips = (height + 2 * ROWS - 1) // (2 * ROWS)
    padded = np.zeros((u.shape[2], 2 * ROWS * strips + 2, 2 * tiles + 2), np.float32)  # whole tiles, fours of channels
    for c in range(channels):
        for i in range(height + 2):
            for j in range(width + 2):
                padded[c, i, j] = x[c, i, j]
    v = np.empty((4, 4, u.shape[2], ROWS * tiles), np.float32)
    m = np.empty((4, 4, 4, ROWS * tiles), np.float32)
    two = np.empty((2, 2 * tiles), np.float32)
    for top in range(0, 2 * ROWS * strips, 2 * ROWS):
        for s in range(ROWS):
            images(padded, top + 2 * s, v[:, :, :, s * tiles : (s + 1) * tiles])
        for start in range(0, outputs, 4):
            for p in range(4):
                for q in range(4):
                    four_rows(u[p, q, :, start : start + 4], v[p, q], m[p, q])
            for o in range(start, min(start + 4, outputs)):
                for s in range(ROWS):
                    back(m[:, :, o - start, s * tiles : (s + 1) * tiles], two)
                    for i in range(top + 2 * s, min(top + 2 * s + 2, height)):
                        for j in range(width):
                            out[o, i, j] = two[i % 2, j]
