"""(x - mean) / scale. The specification is `fastml._ref.standardize`."""

from numba import prange

from fastml._jit._flags import kernel


@kernel
def loops(x, axis, mean, scale, out, n_threads):
    """The same loops, compiled; the inner one runs along memory and becomes vectors. No way to store past the cache."""
    rows, columns = x.shape
    for i in prange(rows):
        if axis == 0:
            for j in range(columns):
                out[i, j] = (x[i, j] - mean[j]) / scale[j]
        else:
            m, s = mean[i], scale[i]
            for j in range(columns):
                out[i, j] = (x[i, j] - m) / s
