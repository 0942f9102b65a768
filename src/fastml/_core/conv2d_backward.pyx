"""Gradients of a convolution's weights and bias. The specification is `fastml._ref.conv2d_backward`."""
from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

import numpy as np

from fastml._core._conv2d cimport SLACK, ceil_div
from fastml._core._conv2d_backward cimport (
    DOT_TAPS,
    MOST_SCRATCH,
    OUTER_TAPS,
    Axis,
    copy_block,
    dot_products,
    interleave,
    outer_product,
    set_axis,
    set_blocks,
    set_offsets,
    touches_padding,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._simd cimport shifted_sums
from fastml._core._tile cimport LANES_F32, LANES_F64
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    OUTER_PIXELS = 384  # of a block: the gradients of a panel are 24 KiB, most of the first-level cache
    DOT_PIXELS = 2048  # of a block: sums over the lanes of 9 vectors are then 3 % of the work


cdef struct Plan:  # what a task is told; all of it depends on shapes alone
    Axis rows, columns
    Py_ssize_t channels  # of a group
    Py_ssize_t outputs  # of a group
    Py_ssize_t area  # of the kernel
    Py_ssize_t chunk  # channels of a block
    Py_ssize_t plane, pitch  # of a channel of x, where the kernel reads it
    bint direct  # which is x itself


def loops(
    const floating[:, :, :, ::1] grad_out,  # IN (n, o, out_h, out_w)
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    floating[:, :, :, ::1] grad_weight,  # OUT (o, c / groups, kernel_h, kernel_w), or (0, 0, 0, 0) if not needed
    floating[::1] grad_bias,  # OUT (o,), or (0,) if not needed
    Py_ssize_t n_threads,
):
    """The definition, compiled: one sum at a time, which waits 4 cycles for each addition."""
    cdef Py_ssize_t o, c, ky, kx
    cdef Watch watch = start_watch()
    _sums(grad_out, grad_bias, n_threads)
    for o in prange(grad_weight.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        for c in range(grad_weight.shape[1]):
            for ky in range(grad_weight.shape[2]):
                for kx in range(grad_weight.shape[3]):
                    if not interrupted(&watch):
                        grad_weight[o, c, ky, kx] = _loops_sum(
                            grad_out, x, stride_h, stride_w, ky * dilation_h - pad_top, kx * dilation_w - pad_left, o,
                            o // (grad_weight.shape[0] // groups) * grad_weight.shape[1] + c)
    end_watch(&watch)


cdef floating _loops_sum(
    const floating[:, :, :, ::1] grad_out, const floating[:, :, :, ::1] x, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t top, Py_ssize_t left, Py_ssize_t o, Py_ssize_t c
) noexcept nogil:
    cdef Py_ssize_t n, i, j, y, z
    cdef floating total = 0, value
    for n in range(grad_out.shape[0]):
        for i in range(grad_out.shape[2]):
            for j in range(grad_out.shape[3]):
                y = i * stride_h + top
                z = j * stride_w + left
                value = 0  # in the padding, which counts: 0 times an infinite gradient is NaN
                if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                    value = x[n, c, y, z]
                total += grad_out[n, o, i, j] * value
    return total


cdef _sums(const floating[:, :, :, ::1] grad_out, floating[::1] grad_bias, Py_ssize_t n_threads):
    cdef Py_ssize_t o
    for o in prange(grad_bias.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        _sum(grad_out, o, &grad_bias[o])


cdef void _sum(const floating[:, :, :, ::1] grad_out, Py_ssize_t o, floating* grad_bias) noexcept nogil:
    cdef Py_ssize_t plane = grad_out.shape[2] * grad_out.shape[3]
    cdef double sums[2]
    shifted_sums(grad_out.shape[0], grad_out.shape[1] * plane, plane, &grad_out[0, o, 0, 0], 0, sums)
    grad_bias[0] = <floating>sums[0]


def outer(
    const floating[:, :, :, ::1] grad_out,  # IN (n, o, out_h, out_w)
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    floating[:, :, :, ::1] grad_weight,  # OUT (o, c / groups, kernel_h, kernel_w), or (0, 0, 0, 0) if not needed
    floating[::1] grad_bias,  # OUT (o,), or (0,) if not needed
    Py_ssize_t n_threads,
):
    """Pixel after pixel, the outer product of what 6 taps saw with the gradients of 2 vectors of outputs.

    A matrix product over pixels as dot products would need sums over lanes, and pixels that lie side by side. Lanes
    that are outputs need neither: any row, stride and dilation runs at the same speed, and x is read where it is, or
    where the padding counts from a padded copy of a block. Scratch: a copy of the weights, and 280 KiB a thread.
    """
    cdef Py_ssize_t width = 2 * (LANES_F32 if floating is float else LANES_F64), task, group, part
    cdef Plan p
    dtype = np.float32 if floating is float else np.float64
    _sums(grad_out, grad_bias, n_threads)
    if not grad_weight.shape[0]:
        return
    p = _plan(grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight,
              OUTER_PIXELS, False)
    cdef Py_ssize_t panels = ceil_div(p.outputs, width), taps = p.channels * p.area
    cdef Py_ssize_t across, down = _ways(panels, ceil_div(taps, OUTER_TAPS), groups, n_threads, &across)
    cdef Py_ssize_t[::1] offset = np.empty(p.chunk * p.area, dtype=np.intp)
    cdef Py_ssize_t size = groups * panels * taps * width
    cdef floating[:, ::1] sums = working_memory("weights", 1, size, dtype)[:, :size].reshape(groups * panels, -1)
    cdef floating[:, ::1] grads = working_memory("gradients", n_threads, OUTER_PIXELS * width, dtype)
    cdef floating[:, ::1] scratch = working_memory("blocks", n_threads, 1 if p.direct else p.chunk * p.plane, dtype)
    cdef Watch watch = start_watch()
    with nogil:
        set_offsets(&p.rows, &p.columns, p.chunk, p.plane, p.pitch, &offset[0])
        for task in prange(groups * down * across, num_threads=n_threads, schedule="static"):
            group = task // (down * across)
            part = task // across % down
            _outer_task(
                &watch, &p, grad_out, x, group, sums, panels * part // down, panels * (part + 1) // down,
                taps * (task % across) // across, taps * (task % across + 1) // across, &offset[0],
                &grads[threadid(), 0], &scratch[threadid(), 0], grad_weight,
            )
    end_watch(&watch)


cdef Plan _plan(
    const floating[:, :, :, ::1] grad_out, const floating[:, :, :, ::1] x, Py_ssize_t stride_h, Py_ssize_t stride_w,
    Py_ssize_t pad_top, Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups,
    floating[:, :, :, ::1] grad_weight, Py_ssize_t pixels, bint neighbours
) noexcept nogil:
    """Blocks of pixels, and of as many channels as a core's cache holds; x is read where it is if no padding counts."""
    cdef Plan p
    set_axis(&p.rows, x.shape[2], grad_weight.shape[2], stride_h, pad_top, dilation_h, grad_out.shape[2])
    set_axis(&p.columns, x.shape[3], grad_weight.shape[3], stride_w, pad_left, dilation_w, grad_out.shape[3])
    p.channels, p.outputs = grad_weight.shape[1], grad_weight.shape[0] // groups
    p.area = grad_weight.shape[2] * grad_weight.shape[3]
    set_blocks(&p.rows, &p.columns, pixels, neighbours)
    p.plane, p.pitch = p.rows.length * p.columns.length, p.columns.length
    p.chunk = ceil_div(p.channels, ceil_div(p.channels, max(1, MOST_SCRATCH // p.plane)))
    p.direct = not (neighbours or touches_padding(&p.rows) or touches_padding(&p.columns))
    if p.direct:
        p.rows.pixel, p.rows.tap, p.columns.pixel, p.columns.tap = stride_h, dilation_h, stride_w, dilation_w
        p.plane, p.pitch = x.shape[2] * x.shape[3], x.shape[3]
    return p


cdef Py_ssize_t _ways(
    Py_ssize_t panels, Py_ssize_t tiles, Py_ssize_t groups, Py_ssize_t n_threads, Py_ssize_t* across
) noexcept nogil:
    """In how many parts to cut the panels, and in how many the taps, of a group, so that threads get as much each.

    Interleaving a panel, which is done for each part of the taps, takes as long as multiplying a tile. How the work is
    cut changes no bit.
    """
    cdef Py_ssize_t ways = n_threads, divisor = groups, down, best = 1
    while divisor:  # the least for which groups * ways is a multiple of n_threads
        ways, divisor = divisor, ways % divisor
    ways = n_threads // ways
    for down in range(2, ways + 1):
        if ways % down == 0 and _cost(panels, tiles, down, ways) < _cost(panels, tiles, best, ways):
            best = down
    across[0] = ways // best
    return best


cdef inline Py_ssize_t _cost(Py_ssize_t panels, Py_ssize_t tiles, Py_ssize_t down, Py_ssize_t ways) noexcept nogil:
    return ceil_div(panels, down) * (ceil_div(tiles, ways // down) + 1)


cdef void _outer_task(
    Watch* watch, Plan* p, const floating[:, :, :, ::1] grad_out, const floating[:, :, :, ::1] x, Py_ssize_t group,
    floating[:, ::1] sums, Py_ssize_t first_panel, Py_ssize_t last_panel, Py_ssize_t first_tap, Py_ssize_t last_tap,
    const Py_ssize_t* offset, floating* grads, floating* scratch, floating[:, :, :, ::1] grad_weight
) noexcept nogil:
    """Some panels and taps of a group, for all images and blocks. What a block's channels show serves all panels."""
    cdef Py_ssize_t width = 2 * (LANES_F32 if floating is float else LANES_F64), panels = ceil_div(p.outputs, width)
    cdef Py_ssize_t n, block, i, j, c, end, panel, tap = first_tap
    cdef const floating* seen
    for panel in range(group * panels + first_panel, group * panels + last_panel):
        memset(&sums[panel, 0] + first_tap * width, 0, (last_tap - first_tap) * width * sizeof(floating))
    while tap < last_tap:
        c = tap // p.area
        end = min(last_tap, (c + p.chunk) * p.area)
        for n in range(x.shape[0]):
            for block in range(p.rows.blocks * p.columns.blocks):
                if interrupted(watch):
                    return
                i = block // p.columns.blocks * p.rows.block
                j = block % p.columns.blocks * p.columns.block
                seen = _seen(p, x, n, group * p.channels + c, ceil_div(end, p.area) - c, i, j, scratch)
                for panel in range(first_panel, last_panel):
                    _outer_block(p, grad_out, n, group * p.outputs + panel * width,
                                 min(width, p.outputs - panel * width), i, j, seen, end - tap,
                                 offset + (tap - c * p.area), grads, &sums[group * panels + panel, tap * width])
        tap = end
    for panel in range(first_panel, last_panel):
        _store(&sums[group * panels + panel, 0], min(width, p.outputs - panel * width), first_tap, last_tap, grads,
               &grad_weight[group * p.outputs + panel * width, 0, 0, 0], p.channels * p.area)


cdef void _store(
    const floating* sums, Py_ssize_t outputs, Py_ssize_t first_tap, Py_ssize_t last_tap, floating* square,
    floating* to, Py_ssize_t taps
) noexcept nogil:
    """(taps, 2 vectors of outputs) -> (outputs, taps), square by square: else each cache line would come 16 times."""
    cdef Py_ssize_t width = 2 * (LANES_F32 if floating is float else LANES_F64), tap = first_tap, n, o
    while tap < last_tap:
        n = min(width, last_tap - tap)
        interleave(n, width, width, sums + tap * width, square)
        for o in range(outputs):
            memcpy(to + o * taps + tap, square + o * width, n * sizeof(floating))
        tap += n


cdef const floating* _seen(
    Plan* p, const floating[:, :, :, ::1] x, Py_ssize_t n, Py_ssize_t first, Py_ssize_t channels, Py_ssize_t i,
    Py_ssize_t j, floating* scratch
) noexcept nogil:
    """What the kernel sees in a block: where it is in x, or a copy with padding."""
    cdef Py_ssize_t c
    if p.direct:
        return &x[n, first, i * p.rows.stride, j * p.columns.stride]
    for c in range(channels):
        copy_block(&p.rows, &p.columns, &x[n, first + c, 0, 0], i, j, scratch + c * p.plane)
    return scratch


cdef void _outer_block(
    Plan* p, const floating[:, :, :, ::1] grad_out, Py_ssize_t n, Py_ssize_t o, Py_ssize_t outputs, Py_ssize_t i,
    Py_ssize_t j, const floating* seen, Py_ssize_t taps, const Py_ssize_t* offset, floating* grads, floating* sums
) noexcept nogil:
    """One block of pixels, one panel of outputs, and its taps, in tiles of like sizes."""
    cdef Py_ssize_t width = 2 * (LANES_F32 if floating is float else LANES_F64), tiles, t, first, last
    cdef Py_ssize_t rows = min(p.rows.block, p.rows.out - i), columns = min(p.columns.block, p.columns.out - j)
    interleave(outputs, rows * columns, p.rows.out * p.columns.out, &grad_out[n, o, i, j], grads)
    tiles = ceil_div(taps, OUTER_TAPS)
    for t in range(tiles):
        first, last = taps * t // tiles, taps * (t + 1) // tiles
        outer_product(last - first, rows, columns, seen, p.rows.pixel * p.pitch, p.columns.pixel, offset + first,
                      grads, sums + first * width)


def dots(
    const floating[:, :, :, ::1] grad_out,  # IN (n, o, out_h, out_w)
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    floating[:, :, :, ::1] grad_weight,  # OUT (o, c / groups, kernel_h, kernel_w), or (0, 0, 0, 0) if not needed
    floating[::1] grad_bias,  # OUT (o,), or (0,) if not needed
    Py_ssize_t n_threads,
):
    """Dot products of a row of gradients with what 9 taps saw, in vectors along the row: for depthwise convolution.

    Lanes are pixels, so that one output is enough. What a tap sees is first copied side by side, with strides for each
    tap of a row. Scratch: a few rows of x, 256 KiB at most, and 8 KiB of gradients a thread.
    """
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, task, chunks
    cdef Plan p
    dtype = np.float32 if floating is float else np.float64
    if not grad_weight.shape[0]:
        _sums(grad_out, grad_bias, n_threads)
        return
    p = _plan(grad_out, x, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, grad_weight,
              DOT_PIXELS, True)
    p.chunk = min(p.chunk, ceil_div(DOT_TAPS, p.area))  # few channels are many tasks
    chunks = ceil_div(p.channels, p.chunk)
    cdef Py_ssize_t[::1] offset = np.empty(p.chunk * p.area, dtype=np.intp)
    cdef floating[:, ::1] scratch = working_memory("blocks", n_threads, p.chunk * p.plane + SLACK, dtype)
    cdef Py_ssize_t pitch = ceil_div(p.columns.block, lanes) * lanes
    cdef floating[:, ::1] grads = working_memory("gradients", n_threads, p.rows.block * pitch, dtype)
    cdef Watch watch = start_watch()
    with nogil:
        set_offsets(&p.rows, &p.columns, p.chunk, p.plane, p.pitch, &offset[0])
        for task in prange(groups * chunks, num_threads=n_threads, schedule="static"):
            _dots_task(&watch, &p, grad_out, x, task // chunks, task % chunks * p.chunk, &offset[0],
                       &grads[threadid(), 0], pitch, &scratch[threadid(), 0], grad_weight, grad_bias)
    end_watch(&watch)


cdef void _dots_task(
    Watch* watch, Plan* p, const floating[:, :, :, ::1] grad_out, const floating[:, :, :, ::1] x, Py_ssize_t group,
    Py_ssize_t c, const Py_ssize_t* offset, floating* grads, Py_ssize_t pitch, floating* scratch,
    floating[:, :, :, ::1] grad_weight, floating[::1] grad_bias
) noexcept nogil:
    """A few channels of a group, over all images and blocks."""
    cdef Py_ssize_t n, block, i, j, o, channels = min(p.chunk, p.channels - c)
    for o in range(group * p.outputs, (group + 1) * p.outputs):
        memset(&grad_weight[o, c, 0, 0], 0, channels * p.area * sizeof(floating))
        if c == 0 and grad_bias.shape[0]:
            _sum(grad_out, o, &grad_bias[o])  # here, as the gradients are then in the cache
    for n in range(x.shape[0]):
        for block in range(p.rows.blocks * p.columns.blocks):
            if interrupted(watch):
                return
            i = block // p.columns.blocks * p.rows.block
            j = block % p.columns.blocks * p.columns.block
            _seen(p, x, n, group * p.channels + c, channels, i, j, scratch)
            for o in range(group * p.outputs, (group + 1) * p.outputs):
                _dots_block(p, &grad_out[n, o, i, j], i, j, scratch, channels * p.area, offset, grads, pitch,
                            &grad_weight[o, c, 0, 0])


cdef void _dots_block(
    Plan* p, const floating* grad, Py_ssize_t i, Py_ssize_t j, const floating* seen, Py_ssize_t taps,
    const Py_ssize_t* offset, floating* grads, Py_ssize_t pitch, floating* sums
) noexcept nogil:
    """One block of pixels, one output, and the taps of a few channels."""
    cdef Py_ssize_t rows = min(p.rows.block, p.rows.out - i), columns = min(p.columns.block, p.columns.out - j)
    cdef Py_ssize_t t, tiles = ceil_div(taps, DOT_TAPS)
    if columns == pitch:  # else vectors reach over the end of a row, at last over that of the array
        grads, pitch = <floating*>grad, p.columns.out
    else:
        for t in range(rows):
            memcpy(grads + t * pitch, grad + t * p.columns.out, columns * sizeof(floating))
    for t in range(tiles):
        dot_products(min(DOT_TAPS, taps - t * DOT_TAPS), rows, columns, seen, p.rows.pixel * p.pitch,
                     offset + t * DOT_TAPS, grads, pitch, sums + t * DOT_TAPS)
