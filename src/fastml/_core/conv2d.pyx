"""Two-dimensional cross-correlation. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

import numpy as np

from fastml._core._simd cimport TILE_COLUMNS_F32, TILE_COLUMNS_F64, TILE_ROWS, multiply_tile
from fastml._core._types cimport floating


cdef enum:
    DEPTH = 256  # taps of a packed strip: 256 x 16 float32 are 16 KiB, half of the first-level cache
    MOST_STRIPS = 8  # strips of a task, 128 KiB: what is read of the weights is used this many times
    STRIP = 257  # taps from one strip to the next: copies may write past the last lane of the last tap
    LEAST_PANELS = 8  # of a block of outputs: packing the patches for fewer than 48 would cost more than it saves
    TILE_SIZE = 256  # values that a tile of any vector length fits into
    MOST_COLUMNS = 32  # of a tile
    GAP = 64  # values between the scratch rows of two threads, so that they share no cache line


cdef struct Geometry:
    Py_ssize_t h, w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out_w


cdef struct Segment:  # pixels of one strip in one row of the output
    Py_ssize_t strip, lane, length, i, j


def loops(
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
    """The definition, compiled: seven loops, one sum at a time, which waits 4 cycles for each addition."""
    cdef Py_ssize_t plane, outputs = out.shape[1]
    for plane in prange(out.shape[0] * outputs, nogil=True, num_threads=n_threads, schedule="static"):
        _loops_plane(
            x, weight, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w,
            outputs // groups, relu, out, plane // outputs, plane % outputs,
        )


cdef void _loops_plane(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t group_outputs, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t o
) noexcept nogil:
    cdef Py_ssize_t first = o // group_outputs * weight.shape[1], i, j, c, ky, kx, y, column
    cdef floating total, value
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            total = 0
            for c in range(weight.shape[1]):
                for ky in range(weight.shape[2]):
                    for kx in range(weight.shape[3]):
                        y = i * stride_h - pad_top + ky * dilation_h
                        column = j * stride_w - pad_left + kx * dilation_w
                        value = 0  # a tap in the padding counts: 0 times an infinite weight is NaN
                        if 0 <= y < x.shape[2] and 0 <= column < x.shape[3]:
                            value = x[n, first + c, y, column]
                        total += weight[o, c, ky, kx] * value
            total += bias[o]
            if residual.shape[0]:
                total += residual[n, o, i, j]
            out[n, o, i, j] = 0 if relu and total < 0 else total


def rows(
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
    """A row of outputs at a time: for each tap, one weight times a whole padded row, vectorised along the row.

    Buys the vector length, and no waiting, since the values of a row do not depend on each other. Loads and stores two
    vectors for each multiplication: right for the few channels of depthwise convolution, too slow for many.
    """
    cdef Geometry g = Geometry(
        x.shape[2], x.shape[3], weight.shape[2], weight.shape[3], stride_h, stride_w, pad_top, pad_left,
        dilation_h, dilation_w, out.shape[3],
    )
    cdef Py_ssize_t reach = (g.out_w - 1) * stride_w + (g.kernel_w - 1) * dilation_w + 1  # where the last window ends
    cdef Py_ssize_t task, outputs = out.shape[1], out_h = out.shape[2]
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] scratch = np.zeros((n_threads, max(reach, pad_left + g.w) + GAP), dtype=dtype)
    for task in prange(out.shape[0] * outputs * out_h, nogil=True, num_threads=n_threads, schedule="static"):
        _one_row(
            &g, x, weight, bias, residual, outputs // groups, relu, &scratch[threadid(), 0], out,
            task // (outputs * out_h), task // out_h % outputs, task % out_h,
        )


cdef void _one_row(
    Geometry* g, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t group_outputs, bint relu, floating* padded,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t o, Py_ssize_t i
) noexcept nogil:
    cdef Py_ssize_t first = o // group_outputs * weight.shape[1], c, ky, kx, y, j
    cdef const floating* w
    cdef floating* row = &out[n, o, i, 0]
    for j in range(g.out_w):
        row[j] = bias[o]
    for c in range(weight.shape[1]):
        for ky in range(g.kernel_h):
            y = i * g.stride_h - g.pad_top + ky * g.dilation_h
            if 0 <= y < g.h:
                memcpy(padded + g.pad_left, &x[n, first + c, y, 0], g.w * sizeof(floating))
            else:
                memset(padded + g.pad_left, 0, g.w * sizeof(floating))
            w = &weight[o, c, ky, 0]
            for kx in range(g.kernel_w):
                if g.stride_w == 1:
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, 1, g.out_w)
                elif g.stride_w == 2:  # a constant stride becomes shuffles, an unknown one is read value by value
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, 2, g.out_w)
                else:
                    _add_scaled(row, w[kx], padded + kx * g.dilation_w, g.stride_w, g.out_w)
    for j in range(g.out_w):
        if residual.shape[0]:
            row[j] += residual[n, o, i, j]
        row[j] = 0 if relu and row[j] < 0 else row[j]


cdef inline void _add_scaled(
    floating* row, floating weight, const floating* x, Py_ssize_t stride, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        row[j] += weight * x[j * stride]


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
    """Patches packed in strips that stay in the first-level cache, 6 outputs x 2 vectors of pixels in registers.

    A matrix product of (o, taps) weights with (taps, pixels) patches, of which only 8 strips of DEPTH x 16 values exist
    at a time: a tap is loaded once for 6 multiplications, and the 9-fold copy of the input that im2col is known for
    never reaches memory. Scratch: the packed weights, and 128 KiB a thread.
    """
    cdef Geometry g = Geometry(
        x.shape[2], x.shape[3], weight.shape[2], weight.shape[3], stride_h, stride_w, pad_top, pad_left,
        dilation_h, dilation_w, out.shape[3],
    )
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
    cdef Py_ssize_t taps = weight.shape[1] * g.kernel_h * g.kernel_w
    cdef Py_ssize_t panels = (weight.shape[0] // groups + TILE_ROWS - 1) // TILE_ROWS
    # Tasks: blocks of strips, and where there are fewer than threads, of outputs. How they are cut changes no bit.
    cdef Py_ssize_t strips = (out.shape[2] * out.shape[3] + columns - 1) // columns
    cdef Py_ssize_t across = (strips + MOST_STRIPS - 1) // MOST_STRIPS
    cdef Py_ssize_t blocks = out.shape[0] * groups * across
    cdef Py_ssize_t down = max(1, min((n_threads + blocks - 1) // blocks, panels // LEAST_PANELS))
    cdef Py_ssize_t task, panel, image, a, d
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, :, ::1] packed = np.zeros((groups * panels, taps, TILE_ROWS), dtype=dtype)
    cdef floating[:, ::1] scratch = np.empty((n_threads, MOST_STRIPS * STRIP * columns + GAP), dtype=dtype)
    with nogil:
        for panel in prange(groups * panels, num_threads=n_threads, schedule="static"):
            _pack_weights(weight, weight.shape[0] // groups, panel // panels, panel % panels, taps,
                          &packed[panel, 0, 0])
        for task in prange(blocks * down, num_threads=n_threads, schedule="static"):
            a = task // down % across
            d = task % down
            image = task // (across * down)  # of a group
            _block(
                &g, x, packed, bias, residual, relu, &scratch[threadid(), 0], out, image // groups, image % groups,
                groups, strips * a // across, strips * (a + 1) // across,
                panels * d // down, panels * (d + 1) // down,
            )


cdef void _pack_weights(
    const floating[:, :, :, ::1] weight, Py_ssize_t group_outputs, Py_ssize_t group, Py_ssize_t panel,
    Py_ssize_t taps, floating* packed
) noexcept nogil:
    """(o, taps) -> (taps, 6) of one panel: what the tile reads next lies next. Missing channels stay zero."""
    cdef Py_ssize_t i, k, rows = min(TILE_ROWS, group_outputs - panel * TILE_ROWS)
    cdef const floating* first = &weight[group * group_outputs + panel * TILE_ROWS, 0, 0, 0]
    for k in range(taps):
        for i in range(rows):
            packed[k * TILE_ROWS + i] = first[i * taps + k]


cdef void _block(
    Geometry* g, const floating[:, :, :, ::1] x, const floating[:, :, ::1] packed, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, bint relu, floating* strips, floating[:, :, :, ::1] out, Py_ssize_t n,
    Py_ssize_t group, Py_ssize_t groups, Py_ssize_t first_strip, Py_ssize_t last_strip, Py_ssize_t first_panel,
    Py_ssize_t last_panel
) noexcept nogil:
    """Some strips of an image times some panels of the outputs."""
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
    cdef Py_ssize_t pixels = out.shape[2] * out.shape[3], taps = packed.shape[1], panels = packed.shape[0] // groups
    cdef Py_ssize_t group_outputs = out.shape[1] // groups, channels = x.shape[1] // groups
    cdef Py_ssize_t first_tap = 0, depth, s, i, o, panel, width, count
    cdef const floating* r = NULL
    cdef floating tile[TILE_SIZE]
    cdef Segment segments[MOST_STRIPS * MOST_COLUMNS]
    count = _segments(first_strip * columns, min(last_strip * columns, pixels), g.out_w, columns, segments)
    if last_strip * columns > pixels:  # lanes without a pixel are multiplied, too: zeros, as denormals would be slow
        memset(strips + (last_strip - 1 - first_strip) * STRIP * columns, 0, STRIP * columns * sizeof(floating))
    while first_tap < taps:  # outermost: the weights of DEPTH taps stay in the second-level cache
        depth = min(DEPTH, taps - first_tap)
        _pack_patches(g, x, n, group * channels, first_tap, depth, segments, count, strips)
        for s in range(first_strip, last_strip):
            width = min(columns, pixels - s * columns)
            for panel in range(first_panel, last_panel):
                multiply_tile(depth, &packed[group * panels + panel, first_tap, 0],
                              strips + (s - first_strip) * STRIP * columns, tile)
                for i in range(min(TILE_ROWS, group_outputs - panel * TILE_ROWS)):
                    o = group * group_outputs + panel * TILE_ROWS + i
                    if residual.shape[0]:
                        r = &residual[n, o, 0, 0] + s * columns
                    if width == columns:  # a constant: a few vector instructions without a loop
                        _add_row(tile + i * columns, first_tap == 0, first_tap + depth == taps, bias[o], r, relu,
                                 &out[n, o, 0, 0] + s * columns, columns)
                    else:
                        _add_row(tile + i * columns, first_tap == 0, first_tap + depth == taps, bias[o], r, relu,
                                 &out[n, o, 0, 0] + s * columns, width)
        first_tap += depth


cdef inline void _add_row(
    const floating* sums, bint first, bint last, floating bias, const floating* residual, bint relu,
    floating* out, Py_ssize_t n
) noexcept nogil:
    """Add a row of the tile to the output; with the last taps come bias, residual and ReLU."""
    cdef Py_ssize_t j
    for j in range(n):
        out[j] = sums[j] if first else out[j] + sums[j]
    if last:
        for j in range(n):
            out[j] += bias
            if residual is not NULL:
                out[j] += residual[j]
            out[j] = 0 if relu and out[j] < 0 else out[j]


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
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
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

    A fixed number of values is two vector moves, and faster than the right number; what is too much is overwritten by
    the next segment. The array x goes on for `before` values before the row and `after` from its start.
    """
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64  # a constant
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
