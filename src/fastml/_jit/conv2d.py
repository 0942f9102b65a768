"""Two-dimensional cross-correlation. The specification is `fastml._ref.conv2d`."""

import numpy as np
from numba import prange

from fastml._jit._flags import ONE, TWO, U, inline, kernel

WIDTH = 512  # pixels at a time: 4 outputs of them are a quarter of the first-level cache
LANES = 16  # of the widest vectors; runs of pixels are rounded up to it, as what is left over would be done one by one
ROW = U(WIDTH + LANES)  # from one output's sums to the next's: constant, so that LLVM sees that they do not overlap
DEPTH = 1 << 16  # values of padded input at a time: they stay in the second-level cache
ROOM = 1 << 20  # values that a block of one channel may take at the most, however large the kernel


@kernel
def loops(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """The seven loops, compiled."""
    outputs, channels, kernel_h, kernel_w = weight.shape
    for plane in prange(out.shape[0] * outputs):
        n, o = plane // outputs, plane % outputs
        first = o // (outputs // groups) * channels
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                total = x.dtype.type(0)
                for c in range(channels):
                    for ky in range(kernel_h):
                        for kx in range(kernel_w):
                            y = i * stride_h - pad_top + ky * dilation_h
                            z = j * stride_w - pad_left + kx * dilation_w
                            value = x.dtype.type(0)  # a tap in the padding counts: 0 times infinity is NaN
                            if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                                value = x[n, first + c, y, z]
                            total += weight[o, c, ky, kx] * value
                total += bias[o]
                if residual.size:
                    total += residual[n, o, i, j]
                out[n, o, i, j] = x.dtype.type(0) if relu and total < 0 else total


@inline
def _row(padded, kernel_w, stride_w, dilation_w, weights, row):
    """Add the taps of one input row to one output row."""
    for kx in range(kernel_w):
        w, source = weights[kx], padded[kx * dilation_w :]
        for j in range(row.size):
            row[j] += w * source[j * stride_w]


@inline
def _four_rows(padded, kernel_w, dilation_w, w0, w1, w2, w3, r0, r1, r2, r3):
    """The same for four outputs that read the same input: each value loaded serves four multiplications."""
    for kx in range(kernel_w):
        a, b, c, d = w0[kx], w1[kx], w2[kx], w3[kx]
        source = padded[kx * dilation_w :]
        for j in range(r0.size):
            value = source[j]
            r0[j] += a * value
            r1[j] += b * value
            r2[j] += c * value
            r3[j] += d * value


@kernel
def rows(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """A row of outputs at a time, four outputs at once, vectors along the row.

    Numba has no arrays that live in registers, so every multiplication loads and stores its sum in the L1 cache: that,
    and not the arithmetic, is the limit of this rung.
    """
    outputs, channels, kernel_h, kernel_w = weight.shape
    batch, _, out_h, out_w = out.shape
    group_outputs = outputs // groups
    quads = (group_outputs + 3) // 4
    reach = (out_w - 1) * stride_w + (kernel_w - 1) * dilation_w + 1
    for task in prange(batch * groups * quads * out_h):
        n, group = task // (groups * quads * out_h), task // (quads * out_h) % groups
        first_output, i = group * group_outputs + task // out_h % quads * 4, task % out_h
        width = min(4, (group + 1) * group_outputs - first_output)
        padded = np.zeros(max(reach, pad_left + x.shape[3]), x.dtype)
        for o in range(first_output, first_output + width):
            out[n, o, i, :] = bias[o]
        for c in range(channels):
            for ky in range(kernel_h):
                y = i * stride_h - pad_top + ky * dilation_h
                if 0 <= y < x.shape[2]:
                    padded[pad_left : pad_left + x.shape[3]] = x[n, group * channels + c, y]
                else:
                    padded[:] = 0
                w, o = weight[:, c, ky], first_output
                if width == 4 and stride_w == 1:
                    _four_rows(
                        padded, kernel_w, dilation_w, w[o], w[o + 1], w[o + 2], w[o + 3],
                        out[n, o, i], out[n, o + 1, i], out[n, o + 2, i], out[n, o + 3, i],
                    )  # fmt: skip
                else:
                    for o in range(first_output, first_output + width):
                        _row(padded, kernel_w, stride_w, dilation_w, w[o], out[n, o, i])
        for o in range(first_output, first_output + width):
            for j in range(out_w):
                total = out[n, o, i, j]
                if residual.size:
                    total += residual[n, o, i, j]
                out[n, o, i, j] = x.dtype.type(0) if relu and total < 0 else total


@inline
def _eight(values, at):
    """Eight neighbours, which stay in registers."""
    return (
        values[at], values[at + ONE], values[at + TWO], values[at + U(3)],
        values[at + U(4)], values[at + U(5)], values[at + U(6)], values[at + U(7)],
    )  # fmt: skip


@inline
def _dot(w, v):
    return w[0] * v[0] + w[1] * v[1] + w[2] * v[2] + w[3] * v[3] + w[4] * v[4] + w[5] * v[5] + w[6] * v[6] + w[7] * v[7]


@inline
def _gather(values, o, at):
    """A pixel under each of eight taps."""
    return (
        values[o[0] + at], values[o[1] + at], values[o[2] + at], values[o[3] + at],
        values[o[4] + at], values[o[5] + at], values[o[6] + at], values[o[7] + at],
    )  # fmt: skip


@inline
def _four_outputs(values, offsets, taps, weights, at, step, sums, n):
    """Add all taps to n sums of four outputs, eight taps at a time: 32 multiplications for 12 loads and 4 stores.

    The fastest of 3, 4, 6, 8, 9 and 12 taps of four outputs, and steadier than 6 of six, with 32 vector registers. With
    16 of them LLVM loads weights again and again, at a fifth less speed (measured).
    """
    whole = taps - taps % U(8)
    for t in range(U(0), whole, U(8)):
        o = _eight(offsets, t)
        a, b = _eight(weights, at + t), _eight(weights, at + step + t)
        c, d = _eight(weights, at + TWO * step + t), _eight(weights, at + U(3) * step + t)
        for q in range(n):
            v = _gather(values, o, q)
            sums[q] += _dot(a, v)
            sums[q + ROW] += _dot(b, v)
            sums[q + TWO * ROW] += _dot(c, v)
            sums[q + U(3) * ROW] += _dot(d, v)
    for t in range(whole, taps):
        first, a, b = offsets[t], weights[at + t], weights[at + step + t]
        c, d = weights[at + TWO * step + t], weights[at + U(3) * step + t]
        for q in range(n):
            v = values[first + q]
            sums[q] += a * v
            sums[q + ROW] += b * v
            sums[q + TWO * ROW] += c * v
            sums[q + U(3) * ROW] += d * v


@inline
def _one_output(values, offsets, taps, weights, at, sums, n):
    whole = taps - taps % U(8)
    for t in range(U(0), whole, U(8)):
        o, a = _eight(offsets, t), _eight(weights, at + t)
        for q in range(n):
            sums[q] += _dot(a, _gather(values, o, q))
    for t in range(whole, taps):
        first, a = offsets[t], weights[at + t]
        for q in range(n):
            sums[q] += a * values[first + q]


@inline
def _pad(x, corner, h, w, top, left, stride_h, stride_w, rows, columns, padded, to):
    """A channel with zeros around it, cut as `_plan` says: pieces of rows, and in each of them pieces of columns."""
    pieces_h, step_h, lines, _ = rows
    pieces_w, step_w, pitch, _ = columns
    for a in range(pieces_h):
        for b in range(pieces_w):
            start = left + b * step_w
            first = min(max(-(start // stride_w), 0), pitch)
            last = min(max((w - start + stride_w - 1) // stride_w, first), pitch)
            for line in range(lines):
                y, end = top + a * step_h + line * stride_h, to + U(pitch)
                if 0 <= y < h and first < last:
                    source, middle = U(corner + y * w + start + first * stride_w), to + U(first)
                    padded[to:middle] = 0
                    for j in range(U(last - first)):
                        padded[middle + j] = x[source + j * U(stride_w)]
                    padded[to + U(last) : end] = 0
                else:
                    padded[to:end] = 0
                to = end


@inline
def _begin(sums, pitch, height, width, first, bias, out, n, o, top, left):
    """Sums start at the bias, or where earlier channels left them."""
    for i in range(height):
        at, source = U(i * pitch), out[n, o, top + i, left:]
        for j in range(U(width)):
            sums[at + j] = bias[o] if first else source[j]


@inline
def _end(sums, pitch, height, width, last, residual, relu, out, n, o, top, left):
    """Sums go to the output; after the last channels with residual and ReLU."""
    zero, added = out.dtype.type(0), last and residual.size > 0
    for i in range(height):
        at, target = U(i * pitch), out[n, o, top + i, left:]
        for j in range(U(width)):
            target[j] = sums[at + j]
        if added:
            source = residual[n, o, top + i, left:]
            for j in range(U(width)):
                target[j] += source[j]
        if last and relu:
            for j in range(U(width)):
                target[j] = zero if target[j] < 0 else target[j]


@inline
def _outputs(
    padded, offsets, taps, weights, step, at, sums, pitch, height, width, first, last, bias, residual, relu,
    out, n, o, end, top, left,
):  # fmt: skip
    """A block of up to four outputs: together, or one by one."""
    together = 4 if end - o == 4 else 1
    run = U(((height - 1) * pitch + width + LANES - 1) // LANES * LANES)
    for k in range(o, end, together):
        for j in range(together):
            _begin(sums[U(j) * ROW :], pitch, height, width, first, bias, out, n, k + j, top, left)
        if together == 4:
            _four_outputs(padded, offsets, U(taps), weights, U(k * step + at), U(step), sums, run)
        else:
            _one_output(padded, offsets, U(taps), weights, U(k * step + at), sums, run)
        for j in range(together):
            _end(sums[U(j) * ROW :], pitch, height, width, last, residual, relu, out, n, k + j, top, left)


@inline
def _even(n, most):
    """The size of as few equal parts of n as have at most so many."""
    parts = (n + most - 1) // most
    return (n + parts - 1) // parts


@inline
def _plan(kernel, stride, dilation, outputs, close):
    """How inputs lie, in one direction, so that outputs find them without a stride: (pieces, step, length, shared).

    A piece holds every stride-th input; the first ones of the pieces are `step` apart. Taps that are a multiple of the
    stride apart share a piece, which is longer than the outputs by their distance, `beyond`. Where these pieces take
    more room than one for each tap, or are longer than is `close`, there is one for each tap.
    """
    beyond = (kernel - 1) * dilation // stride
    pieces = min(stride, (kernel - 1) * dilation + 1)
    if pieces * (outputs + beyond) <= kernel * outputs and beyond <= close:
        return pieces, 1, outputs + beyond, True
    return kernel, dilation, outputs, False


@inline
def _place(tap, stride, dilation, plan):
    """The piece that a tap is in, and where in it."""
    _, _, _, shared = plan
    return (tap * dilation % stride, tap * dilation // stride) if shared else (tap, 0)


@inline
def _offsets(channels, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, rows, columns, size):
    """Where each tap of the first output is in the padded channels."""
    offsets = np.empty(channels * kernel_h * kernel_w, U)
    for t in range(offsets.size):
        above, down = _place(t // kernel_w % kernel_h, stride_h, dilation_h, rows)
        before, across = _place(t % kernel_w, stride_w, dilation_w, columns)
        line = (above * columns[0] + before) * rows[2] + down
        offsets[t] = U(t // (kernel_h * kernel_w) * size + line * columns[2] + across)
    return offsets


@kernel
def unroll_and_jam(
    x, weight, prepared, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
    out, n_threads,
):  # fmt: skip
    """Eight taps of four outputs in one loop over the pixels of a block.

    Should make arithmetic the limit: a sum is loaded and stored once for 8 multiplications, and a value loaded serves
    4. The padded rows of a block lie one after the other, and a run of pixels goes on over their ends. The sums of what
    lies between are thrown away, but vectors are whole, on small maps, too, and strides are left behind in padding.
    Channels that the second-level cache has no room for come later, with their sums in `out` meanwhile.
    """
    batch, outputs, out_h, out_w = out.shape
    _, channels, kernel_h, kernel_w = weight.shape
    _, inputs, h, w = x.shape
    per_group, area = outputs // groups, kernel_h * kernel_w
    quads = (per_group + 3) // 4
    most = min(WIDTH * (1 if per_group >= 4 else 4), max(LANES, ROOM // area))
    width = _even(out_w, most)
    columns = _plan(kernel_w, stride_w, dilation_w, width, width // 2)
    pitch = columns[2]
    height = _even(out_h, max(1, most // pitch))
    rows = _plan(kernel_h, stride_h, dilation_h, height, height * kernel_h)
    size = rows[0] * rows[2] * columns[0] * pitch
    depth = min(channels, max(1, DEPTH // size))
    offsets = _offsets(depth, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, rows, columns, size)
    down, across = (out_h + height - 1) // height, (out_w + width - 1) // width
    blocks = batch * groups * down * across
    shares = min(quads, (4 * n_threads + blocks - 1) // blocks)  # few blocks: their outputs are shared, sums are not
    weights, values = weight.reshape(-1), x.reshape(-1)
    for thread in prange(n_threads):
        padded, sums = np.empty(depth * size + LANES, x.dtype), np.zeros(4 * (WIDTH + LANES), x.dtype)
        for task in range(blocks * shares * thread // n_threads, blocks * shares * (thread + 1) // n_threads):
            block, share = task // shares, task % shares
            n, group = block // (across * down * groups), block // (across * down) % groups
            top, left = block // across % down * height, block % across * width
            for c in range(0, channels, depth):
                end = min(c + depth, channels)
                for k in range(c, end):
                    _pad(
                        values, (n * inputs + group * channels + k) * h * w, h, w, top * stride_h - pad_top,
                        left * stride_w - pad_left, stride_h, stride_w, rows, columns, padded, U((k - c) * size),
                    )  # fmt: skip
                first = group * per_group
                for o in range(first + quads * share // shares * 4, first + quads * (share + 1) // shares * 4, 4):
                    _outputs(
                        padded, offsets, (end - c) * area, weights, channels * area, c * area, sums, pitch,
                        min(height, out_h - top), min(width, out_w - left), c == 0, end == channels, bias, residual,
                        relu, out, n, o, min(o + 4, first + per_group), top, left,
                    )  # fmt: skip
