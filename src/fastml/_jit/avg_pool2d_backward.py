"""Gradient of average pooling. The specification is `fastml._ref.avg_pool2d_backward`.

Every inner loop runs from 0 over slices: LLVM makes no vectors of `a[start + m]` with a signed `start`.
"""

import numpy as np
from numba import prange

from fastml._jit._flags import inline, kernel


@inline
def _over_windows(gradients, first, last, rows, columns, sums):
    """Down: what the windows that see a row pass on to each pixel of it."""
    same = True
    for i in range(first, last):
        same &= rows[i] == rows[first]
    if same and last - first == 1:
        one = gradients[first]
        for j in range(sums.size):
            sums[j] = one[j] / (rows[first] * columns[j])
    elif same and last - first == 2:
        one, two = gradients[first], gradients[first + 1]
        for j in range(sums.size):
            sums[j] = (np.float64(one[j]) + two[j]) / (rows[first] * columns[j])
    else:
        sums[:] = 0.0
        for i in range(first, last):
            _add(gradients[i], rows[i], columns, same, sums)
        if same and first < last:
            for j in range(sums.size):
                sums[j] /= rows[first] * columns[j]


@inline
def _add(gradient, divisor, columns, later, sums):
    """Add a row of windows, divided, or to be divided later."""
    if later:
        for j in range(sums.size):
            sums[j] += gradient[j]
    else:
        for j in range(sums.size):
            sums[j] += gradient[j] / (divisor * columns[j])


@inline
def _back(padded, lead, windows, sums):
    """Across: pixel m is seen by as many windows, of which the last is m."""
    last = padded[lead:]
    if windows == 1:
        for m in range(sums.size):
            sums[m] = last[m]
    elif windows >= 2:
        before = padded[lead - 1 :]
        for m in range(sums.size):
            sums[m] = last[m] + before[m]
        for back in range(2, windows):
            before = padded[lead - back :]
            for m in range(sums.size):
                sums[m] += before[m]
    else:
        sums[:] = 0.0


@inline
def _interleave(even, odd, out):
    for m in range(out.size // 2):
        out[2 * m] = even[m]
        out[2 * m + 1] = odd[m]
    if out.size % 2:
        out[out.size - 1] = even[out.size // 2]


@inline
def _pixels(phases, pad_left, out):
    """Phases, back in the order of pixels. Two become shuffles; of more, values are copied one by one."""
    count = phases.shape[0]
    if count == 1:
        row = phases[0, pad_left:]
        for z in range(out.size):
            out[z] = row[z]
    elif count == 2 and pad_left % 2:
        _interleave(phases[1, pad_left // 2 :], phases[0, pad_left // 2 + 1 :], out)
    elif count == 2:
        _interleave(phases[0, pad_left // 2 :], phases[1, pad_left // 2 :], out)
    else:
        for r in range(count):
            skipped = (pad_left - r + count - 1) // count  # pixels of the phase that lie in the padding
            phase, pixels = phases[r, skipped:], out[skipped * count + r - pad_left :: count]
            for m in range(pixels.size):
                pixels[m] = phase[m]


@inline
def _plane(gradients, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, grad_x):
    h, w = grad_x.shape
    out_h, out_w = gradients.shape
    lead = (kernel_w - 1) // stride_w  # as many windows as a pixel looks back, before the first
    count = (pad_left + w - 1) // stride_w + 1
    padded = np.zeros(lead + max(out_w, count))
    phases = np.empty((min(stride_w, pad_left + w), count))
    seen_first, seen_last = 0, -1
    for y in range(h):
        first = max(0, (y + pad_top - kernel_h) // stride_h + 1)
        last = max(first, min(out_h, (y + pad_top) // stride_h + 1))
        if first == seen_first and last == seen_last:  # the same windows as the row before
            grad_x[y] = grad_x[y - 1]
            continue
        seen_first, seen_last = first, last
        _over_windows(gradients, first, last, rows, columns, padded[lead : lead + out_w])
        for r in range(phases.shape[0]):  # pixel m * stride_w + r is seen by windows m, m - 1, ... within the kernel
            _back(padded, lead, (kernel_w - r + stride_w - 1) // stride_w if r < kernel_w else 0, phases[r])
        _pixels(phases, pad_left, grad_x[y])


@kernel
def rows(
    grad_out, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, grad_x, n_threads
):
    """Row by row of x: kernel_h / stride_h + kernel_w additions a value, all along memory, in float64.

    Rows of sums stay in the first-level cache. Numba cannot keep them in registers, which would take a kernel for each
    size of window, nor write past the cache.
    """
    for p in prange(grad_x.shape[0]):
        _plane(
            grad_out[p], kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, rows, columns, grad_x[p]
        )
