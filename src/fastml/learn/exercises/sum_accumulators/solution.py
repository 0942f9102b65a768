"""Eight chains of additions instead of one: while each waits for its last sum, the others go on."""

import numba


@numba.njit
def total(x, out):
    """out[0] = the sum of x; x is float32 (n,), out is float64 (1,)."""
    a = b = c = d = e = f = g = h = 0.0
    whole = x.size // 8 * 8
    for i in range(0, whole, 8):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
        e += x[i + 4]
        f += x[i + 5]
        g += x[i + 6]
        h += x[i + 7]
    for i in range(whole, x.size):  # up to seven are left
        a += x[i]
    out[0] = ((a + b) + (c + d)) + ((e + f) + (g + h))
