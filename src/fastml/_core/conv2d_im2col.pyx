"""Convolution as a matrix product with patches, packed piece by piece. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset

import numpy as np

from fastml._core._conv2d cimport (
    MOST_DEPTH,
    STRIP,
    STRIPS,
    TASKS,
    Packed,
    ceil_div,
    multiply_strips,
    pack_panels,
    size_of_panels,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    LEAST_PANELS = 8  # of a task, or packing patches for a few outputs would cost more than it saves
    MOST_PANELS = 1024  # of a task, whose sums take STRIPS strips an output
    MOST_PIECES = 192  # of rows, in STRIPS strips of 24 values at the most: each may be in a row of its own


cdef struct Geometry:
    Py_ssize_t h, w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out_w


cdef struct Segment:  # pixels of one strip in one row of the output
    Py_ssize_t strip, lane, length, i, j


def im2col(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN the weights as the rung wants them, or (0,)
    const floating[::1] bias,  # IN (o,)
    const floating[:, :, :, ::1] residual,  # IN like out, or (0, 0, 0, 0) for none
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    Py_ssize_t dilation_h,
    Py_ssize_t dilation_w,
    Py_ssize_t groups,
    bint relu,
    floating[:, :, :, ::1] out,  # OUT (n, o, out_h, out_w)
    Py_ssize_t n_threads,
):
    """Patches packed in strips that stay in the first-level cache, 4 outputs x 3 vectors of pixels in registers.

    A matrix product of (o, taps) weights with (taps, pixels) patches, of which only 8 strips of 256 taps exist at a
    time: a tap is loaded once for 4 multiplications, and the 9-fold copy of the input that im2col is known for never
    reaches memory.
    """
    cdef Geometry g = Geometry(
        x.shape[2], x.shape[3], weight.shape[2], weight.shape[3], stride_h, stride_w, pad_top, pad_left,
        dilation_h, dilation_w, out.shape[3],
    )
    cdef Py_ssize_t pitch = 3 * (LANES_F32 if floating is float else LANES_F64), pixels = out.shape[2] * out.shape[3]
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), across = ceil_div(pixels, STRIPS * pitch)
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    cdef Py_ssize_t blocks = x.shape[0] * groups * across, task, block, first
    cdef Py_ssize_t parts = max(ceil_div(panels, MOST_PANELS),
                                min(ceil_div(TASKS * n_threads, blocks), panels // LEAST_PANELS))
    cdef Py_ssize_t sums = ceil_div(panels, parts) * PANEL if taps > MOST_DEPTH else 0
    dtype = np.float32 if floating is float else np.float64
    cdef Py_ssize_t unprepared_size = 0 if prepared.shape[0] else size_of_panels(weight, groups)
    cdef floating[:, ::1] unprepared = working_memory("weights", 1, unprepared_size + 1, dtype)
    cdef const floating* packed = &prepared[0] if prepared.shape[0] else &unprepared[0, 0]
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, (STRIP + sums) * STRIPS * pitch, dtype)
    cdef int32_t[::1] offset = np.arange(0, MOST_DEPTH * pitch, pitch, dtype=np.int32)
    cdef Watch watch = start_watch()
    with nogil:
        if not prepared.shape[0]:
            pack_panels(weight, groups, n_threads, &unprepared[0, 0])
        for task in prange(blocks * parts, num_threads=n_threads, schedule="dynamic"):
            if not interrupted(&watch):
                block = task // parts
                first = block % across * STRIPS * pitch
                _piece_by_piece(
                    Packed(min(STRIPS * pitch, pixels - first), pitch, 0, 0, taps), first, &g, x, packed,
                    &offset[0], bias, residual, relu, out, block // (groups * across), block // across % groups, groups,
                    panels * (task % parts) // parts, panels * (task % parts + 1) // parts, &memory[threadid(), 0],
                )
    end_watch(&watch)


cdef void _piece_by_piece(
    Packed piece, Py_ssize_t first_pixel, Geometry* g, const floating[:, :, :, ::1] x, const floating* packed,
    const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group, Py_ssize_t groups, Py_ssize_t first_panel,
    Py_ssize_t last_panel, floating* scratch
) noexcept nogil:
    """Some panels of the outputs of some pixels, MOST_DEPTH taps at a time."""
    cdef Py_ssize_t outputs = out.shape[1] // groups, pixels = out.shape[2] * out.shape[3]
    cdef Py_ssize_t first_output = group * outputs + first_panel * PANEL, channels = x.shape[1] // groups
    cdef const floating* weights = packed + (group * ceil_div(outputs, PANEL) + first_panel) * piece.taps * PANEL
    cdef const floating* added = &residual[n, first_output, 0, 0] + first_pixel if residual.shape[0] else NULL
    cdef Segment segments[MOST_PIECES]
    cdef Py_ssize_t count = _segments(first_pixel, first_pixel + piece.pixels, g.out_w, piece.pitch, segments)
    memset(scratch, 0, STRIP * STRIPS * piece.pitch * sizeof(floating))  # lanes without a pixel
    while piece.first_tap < piece.taps:
        piece.depth = min(MOST_DEPTH, piece.taps - piece.first_tap)
        _pack_patches(g, x, n, group * channels, piece.first_tap, piece.depth, segments, count, scratch)
        multiply_strips(
            &piece, scratch, weights, min(last_panel * PANEL, outputs) - first_panel * PANEL, offset,
            scratch + STRIP * STRIPS * piece.pitch, &bias[first_output], added, relu,
            &out[n, first_output, 0, 0] + first_pixel, pixels,
        )
        piece.first_tap += piece.depth


cdef inline Py_ssize_t _segments(
    Py_ssize_t first_pixel, Py_ssize_t last_pixel, Py_ssize_t out_w, Py_ssize_t columns, Segment* segments
) noexcept nogil:
    """Cut pixels where a strip or a row of the output ends; how many pieces."""
    cdef Py_ssize_t pixel = first_pixel, count = 0, lane, length
    while pixel < last_pixel:
        lane = (pixel - first_pixel) % columns
        length = min(out_w - pixel % out_w, columns - lane, last_pixel - pixel)
        segments[count] = Segment((pixel - first_pixel) // columns, lane, length, pixel // out_w, pixel % out_w)
        pixel += length
        count += 1
    return count


cdef void _pack_patches(
    Geometry* g, const floating[:, :, :, ::1] x, Py_ssize_t n, Py_ssize_t first_channel, Py_ssize_t first_tap,
    Py_ssize_t depth, const Segment* segments, Py_ssize_t count, floating* strips
) noexcept nogil:
    """The patches of all strips, as (strip, depth, columns). Taps outermost: a row of x is read from end to end."""
    cdef Py_ssize_t columns = 3 * (LANES_F32 if floating is float else LANES_F64)
    cdef Py_ssize_t c = first_channel + first_tap // (g.kernel_h * g.kernel_w)
    cdef Py_ssize_t ky = first_tap // g.kernel_w % g.kernel_h, kx = first_tap % g.kernel_w, k, s, y, row
    cdef Py_ssize_t size = x.shape[0] * x.shape[1] * g.h * g.w
    cdef floating* target
    for k in range(depth):
        for s in range(count):
            y = segments[s].i * g.stride_h - g.pad_top + ky * g.dilation_h
            target = strips + (segments[s].strip * STRIP + k) * columns + segments[s].lane
            if 0 <= y < g.h:
                row = ((n * x.shape[1] + c) * g.h + y) * g.w
                _copy(&x[0, 0, 0, 0] + row, row, size - row, g.w,
                      segments[s].j * g.stride_w - g.pad_left + kx * g.dilation_w, g.stride_w, target,
                      segments[s].length)
            else:
                memset(target, 0, segments[s].length * sizeof(floating))
        kx += 1  # the next tap: along the row, down the kernel, to the next channel
        if kx == g.kernel_w:
            kx = 0
            ky += 1
            if ky == g.kernel_h:
                ky = 0
                c += 1


cdef inline void _copy(
    const floating* row, Py_ssize_t before, Py_ssize_t after, Py_ssize_t w, Py_ssize_t start, Py_ssize_t stride,
    floating* target, Py_ssize_t length
) noexcept nogil:
    """target[t] = row[start + t * stride], or 0 outside of the row.

    A fixed number of values is three vector moves, and faster than the right number; what is too much is overwritten by
    the next segment. The array x goes on for `before` values before the row and `after` from its start.
    """
    cdef Py_ssize_t columns = 3 * (LANES_F32 if floating is float else LANES_F64)  # a constant
    cdef Py_ssize_t t
    if stride > 1:
        for t in range(length):
            target[t] = row[start + t * stride] if 0 <= start + t * stride < w else 0
    elif -start <= before and start + columns <= after:
        memcpy(target, row + start, columns * sizeof(floating))
        for t in range(min(-start, length)):
            target[t] = 0
        for t in range(max(w - start, 0), length):
            target[t] = 0
    else:  # at the very ends of x
        for t in range(length):
            target[t] = row[start + t] if 0 <= start + t < w else 0
