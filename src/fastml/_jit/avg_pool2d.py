"""Mean over windows. The specification is `fastml._ref.avg_pool2d`."""

from numba import prange

from fastml._jit._flags import kernel


@kernel
def loops(x, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, out, n_threads):
    """The same loops, compiled; the bounds are worked out once a window, not at each tap."""
    _, h, w = x.shape
    out_h = out.shape[1]
    for task in prange(out.shape[0] * out_h):
        p, i = task // out_h, task % out_h
        top = i * stride_h - pad_top
        for j in range(out.shape[2]):
            left = j * stride_w - pad_left
            total = 0.0
            for y in range(max(top, 0), min(top + kernel_h, h)):
                for z in range(max(left, 0), min(left + kernel_w, w)):
                    total += x[p, y, z]
            out[p, i, j] = total / (rows[i] * columns[j])
