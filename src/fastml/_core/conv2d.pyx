"""Two-dimensional cross-correlation. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

import numpy as np

from fastml._core._simd cimport TILE_COLUMNS_F32, TILE_COLUMNS_F64, TILE_ROWS, multiply_tile
from fastml._core._types cimport floating


cdef enum:
    DEPTH = 256  # taps of a packed strip: 256 x 16 float32 are 16 KiB, half of the first-level cache
    MOST_STRIPS = 8  # strips of a task: the weights of DEPTH taps are read this many times from the second-level cache
    TILE_SIZE = 256  # values that a tile of any vector length fits into
    CACHE_LINE = 64  # bytes; the threads' scratch rows start on lines of their own


cdef struct Geometry:
    Py_ssize_t h, w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, out_w


def loops(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
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
    cdef floating[:, ::1] scratch = np.zeros((n_threads, max(reach, pad_left + g.w) + CACHE_LINE), dtype=dtype)
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

    A matrix product of (o, taps) weights with (taps, pixels) patches, of which only DEPTH x 16 values exist at a time:
    a tap is loaded once for 6 multiplications, and the 9-fold copy of the input that im2col is known for never reaches
    memory. Scratch: the packed weights, and one strip a thread.
    """
    cdef Geometry g = Geometry(
        x.shape[2], x.shape[3], weight.shape[2], weight.shape[3], stride_h, stride_w, pad_top, pad_left,
        dilation_h, dilation_w, out.shape[3],
    )
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
    cdef Py_ssize_t group_outputs = weight.shape[0] // groups, taps = weight.shape[1] * g.kernel_h * g.kernel_w
    cdef Py_ssize_t panels = (group_outputs + TILE_ROWS - 1) // TILE_ROWS
    cdef Py_ssize_t strips = (out.shape[2] * out.shape[3] + columns - 1) // columns
    cdef Py_ssize_t strips_a_task = min(max(strips // 8, 1), MOST_STRIPS)
    cdef Py_ssize_t tasks = (strips + strips_a_task - 1) // strips_a_task
    cdef Py_ssize_t task, panel
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, :, ::1] packed = np.zeros((groups * panels, taps, TILE_ROWS), dtype=dtype)
    cdef floating[:, ::1] scratch = np.empty((n_threads, min(DEPTH, taps) * columns + CACHE_LINE), dtype=dtype)
    with nogil:
        for panel in prange(groups * panels, num_threads=n_threads, schedule="static"):
            _pack_weights(weight, group_outputs, panel // panels, panel % panels, taps, &packed[panel, 0, 0])
        for task in prange(out.shape[0] * groups * tasks, num_threads=n_threads, schedule="static"):
            _strips(
                &g, x, &packed[task // tasks % groups * panels, 0, 0], bias, residual, group_outputs, taps, relu,
                &scratch[threadid(), 0], out, task // tasks // groups, task // tasks % groups,
                task % tasks * strips_a_task, min(task % tasks * strips_a_task + strips_a_task, strips),
            )


cdef void _pack_weights(
    const floating[:, :, :, ::1] weight, Py_ssize_t group_outputs, Py_ssize_t group, Py_ssize_t panel,
    Py_ssize_t taps, floating* packed
) noexcept nogil:
    """(o, taps) -> (taps, 6) of one panel: what the tile reads next lies next. Missing channels stay zero."""
    cdef Py_ssize_t i, k
    cdef const floating* row
    for i in range(min(TILE_ROWS, group_outputs - panel * TILE_ROWS)):
        row = &weight[group * group_outputs + panel * TILE_ROWS + i, 0, 0, 0]
        for k in range(taps):
            packed[k * TILE_ROWS + i] = row[k]


cdef void _strips(
    Geometry* g, const floating[:, :, :, ::1] x, const floating* packed, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t group_outputs, Py_ssize_t taps, bint relu, floating* strip,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group, Py_ssize_t first_strip, Py_ssize_t last_strip
) noexcept nogil:
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
    cdef Py_ssize_t pixels = out.shape[2] * out.shape[3], channels = taps // (g.kernel_h * g.kernel_w)
    cdef Py_ssize_t first_tap = 0, depth, s, i, o, panel, width
    cdef const floating* r = NULL
    cdef floating tile[TILE_SIZE]
    while first_tap < taps:  # outermost: the weights of DEPTH taps stay in the second-level cache
        depth = min(DEPTH, taps - first_tap)
        for s in range(first_strip, last_strip):
            width = min(columns, pixels - s * columns)
            _pack_strip(g, &x[n, group * channels, 0, 0], first_tap, depth, s * columns, width, strip)
            for panel in range((group_outputs + TILE_ROWS - 1) // TILE_ROWS):
                multiply_tile(depth, packed + (panel * taps + first_tap) * TILE_ROWS, strip, tile)
                for i in range(min(TILE_ROWS, group_outputs - panel * TILE_ROWS)):
                    o = group * group_outputs + panel * TILE_ROWS + i
                    if residual.shape[0]:
                        r = &residual[n, o, 0, 0] + s * columns
                    _add_row(tile + i * columns, first_tap == 0, first_tap + depth == taps,
                             bias[o], r, relu, &out[n, o, 0, 0] + s * columns, width)
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


cdef void _pack_strip(
    Geometry* g, const floating* x, Py_ssize_t first_tap, Py_ssize_t depth, Py_ssize_t first_pixel, Py_ssize_t width,
    floating* strip
) noexcept nogil:
    """The patches of `width` pixels, as (depth, columns): pixels in the same row of the output are read together."""
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64
    cdef Py_ssize_t done = 0, length
    if width < columns:
        memset(strip, 0, depth * columns * sizeof(floating))
    while done < width:
        length = min(g.out_w - (first_pixel + done) % g.out_w, width - done)
        _pack_run(g, x, first_tap, depth, (first_pixel + done) // g.out_w, (first_pixel + done) % g.out_w, length,
                  strip + done)
        done += length


cdef void _pack_run(
    Geometry* g, const floating* x, Py_ssize_t first_tap, Py_ssize_t depth, Py_ssize_t i, Py_ssize_t j,
    Py_ssize_t length, floating* strip
) noexcept nogil:
    cdef Py_ssize_t columns = TILE_COLUMNS_F32 if floating is float else TILE_COLUMNS_F64  # a constant
    cdef Py_ssize_t c = first_tap // (g.kernel_h * g.kernel_w), ky = first_tap // g.kernel_w % g.kernel_h
    cdef Py_ssize_t kx = first_tap % g.kernel_w, _k, t, y, start
    cdef const floating* row
    for _k in range(depth):
        y = i * g.stride_h - g.pad_top + ky * g.dilation_h
        start = j * g.stride_w - g.pad_left + kx * g.dilation_w
        if not 0 <= y < g.h:
            memset(strip, 0, length * sizeof(floating))
        else:
            row = x + (c * g.h + y) * g.w + start
            if g.stride_w > 1:
                for t in range(length):
                    strip[t] = row[t * g.stride_w] if 0 <= start + t * g.stride_w < g.w else 0
            elif length == columns and start >= 0 and start + columns <= g.w:
                memcpy(strip, row, columns * sizeof(floating))  # all inside, a constant length: two vector moves
            else:
                for t in range(min(-start, length)):
                    strip[t] = 0
                for t in range(max(-start, 0), min(g.w - start, length)):
                    strip[t] = row[t]
                for t in range(max(g.w - start, 0), length):
                    strip[t] = 0
        strip += columns
        kx += 1  # the next tap: along the row, down the kernel, to the next channel
        if kx == g.kernel_w:
            kx = 0
            ky += 1
            if ky == g.kernel_h:
                ky = 0
                c += 1
