"""Maximum over windows. The specification is `fastml._ref.max_pool2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import kernel


@kernel
def loops(
    x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out, indices, n_threads
):
    """The same loops, compiled, a row of windows a task."""
    _, h, w = x.shape
    rows = out.shape[1]
    for task in prange(out.shape[0] * rows):
        p, i = task // rows, task % rows
        top = i * stride_h - pad_top
        for j in range(out.shape[2]):
            left = j * stride_w - pad_left
            best, where = x.dtype.type(-np.inf), -1
            for ky in range(kernel_h):
                y = top + ky * dilation_h
                if y < 0 or y >= h:
                    continue
                for kx in range(kernel_w):
                    z = left + kx * dilation_w
                    if z < 0 or z >= w:
                        continue
                    value = x[p, y, z]
                    if where < 0 or value > best or (value != value and best == best):
                        best, where = value, y * w + z
            out[p, i, j] = best
            if indices.size:
                indices[p, i, j] = where
