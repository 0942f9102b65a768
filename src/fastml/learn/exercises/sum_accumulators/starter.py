"""One accumulator: every addition waits for the one before it. Give it independent ones to do meanwhile."""

import numba


@numba.njit
def total(x, out):
    """out[0] = the sum of x; x is float32 (n,), out is float64 (1,)."""
    result = 0.0
    for i in range(x.size):
        result += x[i]
    out[0] = result
