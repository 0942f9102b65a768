"""Four rows by four steps of the sum: sixteen multiplications for four loads of b, and four sums loaded and stored."""

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}  # a * b + c in one instruction; NaN and infinity keep their meaning


@numba.njit(fastmath=FAST)
def block(a, i, p, b0, b1, b2, b3, r0, r1, r2, r3):
    """Add a[i:i+4, p:p+4] @ b[p:p+4] to four rows; the sixteen values of a stay in registers."""
    a00, a01, a02, a03 = a[i, p], a[i, p + 1], a[i, p + 2], a[i, p + 3]
    a10, a11, a12, a13 = a[i + 1, p], a[i + 1, p + 1], a[i + 1, p + 2], a[i + 1, p + 3]
    a20, a21, a22, a23 = a[i + 2, p], a[i + 2, p + 1], a[i + 2, p + 2], a[i + 2, p + 3]
    a30, a31, a32, a33 = a[i + 3, p], a[i + 3, p + 1], a[i + 3, p + 2], a[i + 3, p + 3]
    for j in range(r0.size):
        w, x, y, z = b0[j], b1[j], b2[j], b3[j]
        r0[j] += a00 * w + a01 * x + a02 * y + a03 * z
        r1[j] += a10 * w + a11 * x + a12 * y + a13 * z
        r2[j] += a20 * w + a21 * x + a22 * y + a23 * z
        r3[j] += a30 * w + a31 * x + a32 * y + a33 * z


@numba.njit(fastmath=FAST)
def rows(a, b, first, start, out):
    """What is left over: rows from `first` on, steps from `start` on."""
    for i in range(first, out.shape[0]):
        row = out[i]
        for p in range(start, a.shape[1]):
            factor, source = a[i, p], b[p]
            for j in range(row.size):
                row[j] += factor * source[j]


@numba.njit(fastmath=FAST)
def matmul(a, b, out):
    """out = a @ b; a is (m, k), b is (k, n), all float32."""
    out[:] = np.float32(0)
    whole_m, whole_k = out.shape[0] // 4 * 4, a.shape[1] // 4 * 4
    for i in range(0, whole_m, 4):
        for p in range(0, whole_k, 4):
            block(a, i, p, b[p], b[p + 1], b[p + 2], b[p + 3], out[i], out[i + 1], out[i + 2], out[i + 3])
    rows(a, b, whole_m, 0, out)
    rows(a, b, 0, whole_k, out[:whole_m])
