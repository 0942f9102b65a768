"""Winograd convolution with 3 x 3 kernels, fused through the caches. The specification is `fastml._ref.conv2d`.

Three stages: tiles of the image at n * n points; at each point, a matrix product of weights and tiles; the sums of a
tile back to its m * m outputs. Done for the whole image one after the other, they would move n * n / m / m times its
size in and out of memory, twice. Here a block of tiles goes through all three while it is in the second-level cache.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from fastml._core._conv2d cimport (
    ceil_div,
    copy_row,
    finish_row,
    pack_panel,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL, multiply
from fastml._core._types cimport floating
from fastml._core._winograd cimport (
    GAP,
    GROUP,
    Block,
    Tiles,
    block_of_tiles,
    cut_tiles,
    input_tiles,
    output_tiles,
    size_of_parts,
    split_row,
    weights_at_points,
)

from fastml._core._memory import working_memory


cdef enum:
    CHANNELS = 16  # of a task of the first stage
    PART_BYTES = 3 * 1024 * 1024  # of weights that a thread prepares for itself
    SHARED_BYTES = 4 * 1024 * 1024  # for each thread: so much may the blocks take that all threads compute together
    DEPTH = 64  # channels in one go: sums of blocks have smaller errors than one long sum


def prepare(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads):
    """The weights at the 36 points of F(4x4, 3x3)."""
    return _prepared(weight, groups, 4, n_threads)


def prepare_2x2(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads):
    """The weights at the 16 points of F(2x2, 3x3)."""
    return _prepared(weight, groups, 2, n_threads)


def _prepared(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t m, Py_ssize_t n_threads):
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), channels = weight.shape[1]
    dtype = np.float32 if floating is float else np.float64
    prepared = np.empty(groups * size_of_parts(panels, channels, m), dtype)
    cdef floating[::1] to = prepared
    cdef floating[:, ::1] memory = working_memory("weights", n_threads, channels * 9 * PANEL, dtype)
    with nogil:
        _prepare_all(weight, groups, m, n_threads, &memory[0, 0], memory.shape[1], &to[0])
    return prepared


cdef void _prepare_all(
    const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t m, Py_ssize_t n_threads, floating* memory,
    Py_ssize_t apart, floating* to
) noexcept nogil:
    """As (group, part of GROUP panels, point, panel, channel, 4 outputs): in the order in which they are read."""
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), parts = ceil_div(panels, GROUP), task
    cdef Py_ssize_t size = size_of_parts(panels, weight.shape[1], m)
    for task in prange(groups * parts, num_threads=n_threads, schedule="static"):
        _prepare_part(weight, groups, task // parts, task % parts, m, memory + threadid() * apart,
                      to + task // parts * size + size_of_parts(task % parts * GROUP, weight.shape[1], m))


cdef void _prepare_part(
    const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t group, Py_ssize_t part, Py_ssize_t m,
    floating* packed, floating* to
) noexcept nogil:
    """The weights of GROUP panels at the points."""
    cdef Py_ssize_t outputs = weight.shape[0] // groups, channels = weight.shape[1], size = channels * PANEL, c, panel
    cdef Py_ssize_t panels = min(GROUP, ceil_div(outputs, PANEL) - part * GROUP), first
    for panel in range(panels):
        first = (part * GROUP + panel) * PANEL
        pack_panel(&weight[group * outputs + first, 0, 0, 0], min(PANEL, outputs - first), channels * 9, packed)
        for c in range(channels):
            weights_at_points(m, packed + c * 9 * PANEL, to + panel * size + c * PANEL, panels * size + GAP)


def winograd(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, 3, 3)
    const floating[::1] prepared,  # IN the weights at the points, or (0,)
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
    """F(4x4, 3x3): 36 multiplications instead of 144 for 4 x 4 outputs. Buys twice the speed of direct convolution.

    For it one pays with error, which `docs/conv2d_errors.md` shows. A tile with an output that is not finite is
    computed directly.
    """
    _convolve(x, weight, prepared, bias, residual, pad_top, pad_left, groups, relu, out, 4, n_threads)


def winograd_2x2(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, 3, 3)
    const floating[::1] prepared,  # IN the weights at the points, or (0,)
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
    """F(2x2, 3x3): 16 multiplications instead of 36 for 2 x 2 outputs, for maps too small for tiles of 4 x 4."""
    _convolve(x, weight, prepared, bias, residual, pad_top, pad_left, groups, relu, out, 2, n_threads)


cdef _convolve(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] prepared,
    const floating[::1] bias, const floating[:, :, :, ::1] residual, Py_ssize_t pad_top, Py_ssize_t pad_left,
    Py_ssize_t groups, bint relu, floating[:, :, :, ::1] out, Py_ssize_t m, Py_ssize_t n_threads
):
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64
    cdef Tiles t = cut_tiles(m, groups, weight.shape[1], weight.shape[0] // groups, x.shape[2], x.shape[3], pad_top,
                             pad_left, out.shape[2], out.shape[3], lanes, sizeof(floating), x.shape[0], n_threads)
    cdef Py_ssize_t blocks = x.shape[0] * groups * t.blocks, parts = ceil_div(ceil_div(t.outputs, PANEL), GROUP)
    cdef Py_ssize_t chunks = ceil_div(t.channels, CHANNELS), size = t.points * t.plane, task
    # Each thread takes its own blocks; fewer than threads are computed by all together, first stage first.
    cdef bint together = (blocks % n_threads and blocks < 4 * n_threads
                          and blocks * size * sizeof(floating) <= n_threads * SHARED_BYTES)
    # Weights that are not prepared: if there are enough parts of them, each is prepared by the thread that uses it, and
    # stays in its cache; else all of them are prepared first.
    cdef Py_ssize_t whole = groups * size_of_parts(ceil_div(t.outputs, PANEL), t.channels, m)
    cdef Py_ssize_t part = size_of_parts(GROUP, t.channels, m)
    cdef bint unprepared = prepared.shape[0] == 0
    cdef bint by_part = (unprepared and together and groups * parts >= 2 * n_threads
                         and part * sizeof(floating) <= PART_BYTES)
    cdef Py_ssize_t split = _size_of_split(&t, lanes)
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] v = working_memory("tiles", blocks if together else n_threads, size, dtype)
    cdef floating[:, ::1] own = working_memory("weights", 1, whole if unprepared and not by_part else 1, dtype)
    cdef floating[:, ::1] memory = working_memory(
        "blocks", n_threads,
        max(split, t.points * t.sums + (m * m + 1) * t.lanes) + by_part * part + unprepared * t.channels * 9 * PANEL,
        dtype,
    )
    cdef const floating* u = &own[0, 0] if unprepared else &prepared[0]
    cdef int32_t[::1] offset = np.arange(0, t.channels * t.lanes, t.lanes, dtype=np.int32)
    cdef Watch watch = start_watch()
    with nogil:
        if unprepared and not by_part:
            _prepare_all(weight, groups, m, n_threads, &memory[0, 0], memory.shape[1], &own[0, 0])
        if together:
            for task in prange(blocks * chunks, num_threads=n_threads, schedule="guided"):
                _to_points(&t, x, task // chunks, task % chunks * CHANNELS, &memory[threadid(), 0],
                           &v[task // chunks, 0])
        if by_part:
            for task in prange(groups * parts, num_threads=n_threads, schedule="guided"):
                _part_of_all(&t, x, weight, &offset[0], bias, residual, relu, out, task // parts, task % parts,
                             &v[0, 0], v.shape[1], &memory[threadid(), 0], part)
        elif together:
            for task in prange(blocks * parts, num_threads=n_threads, schedule="guided"):
                _from_points(&t, x, weight, _part_of(&t, u, task % blocks, task // blocks), &offset[0], bias, residual,
                             relu, out, task % blocks, task // blocks, &v[task % blocks, 0], &memory[threadid(), 0])
        else:  # which may take long; few blocks do not
            for task in prange(blocks, num_threads=n_threads, schedule="guided"):
                if not interrupted(&watch):
                    _all_of_block(&t, x, weight, u, &offset[0], bias, residual, relu, out, task, parts,
                                  &v[threadid(), 0], &memory[threadid(), 0])
    end_watch(&watch)


cdef inline Py_ssize_t _size_of_split(Tiles* t, Py_ssize_t lanes) noexcept nogil:
    """Of a channel of a block, split by column of the tile, and a padded row."""
    return t.m * (t.m + 2) * ((t.rows + 1) * t.columns + 2 * lanes) + t.m * (t.columns + 3 * lanes)


cdef inline const floating* _part_of(Tiles* t, const floating* u, Py_ssize_t block, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t group = block // t.blocks % t.groups
    return (u + group * size_of_parts(ceil_div(t.outputs, PANEL), t.channels, t.m)
            + size_of_parts(part * GROUP, t.channels, t.m))


cdef void _part_of_all(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const int32_t* offset,
    const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu, floating[:, :, :, ::1] out,
    Py_ssize_t group, Py_ssize_t part, const floating* v, Py_ssize_t size, floating* memory, Py_ssize_t size_of_part
) noexcept nogil:
    """A part of the weights, prepared and used for all blocks."""
    cdef Py_ssize_t n, i, block
    cdef floating* packed = memory + size_of_part
    _prepare_part(weight, t.groups, group, part, t.m, packed, memory)
    for n in range(x.shape[0]):
        for i in range(t.blocks):
            block = (n * t.groups + group) * t.blocks + i
            _from_points(t, x, weight, memory, offset, bias, residual, relu, out, block, part, v + block * size,
                         packed + t.channels * 9 * PANEL)


cdef void _all_of_block(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating* u,
    const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t block, Py_ssize_t parts, floating* v, floating* scratch
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(ceil_div(t.channels, CHANNELS)):
        _to_points(t, x, block, i * CHANNELS, scratch, v)
    for i in range(parts):
        _from_points(t, x, weight, _part_of(t, u, block, i), offset, bias, residual, relu, out, block, i, v, scratch)


cdef void _to_points(
    Tiles* t, const floating[:, :, :, ::1] x, Py_ssize_t block, Py_ssize_t first_channel, floating* scratch, floating* v
) noexcept nogil:
    """The first stage, for CHANNELS channels: split rows by column of the tile, then transform vectors of tiles."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, n = t.m + 2, c, i, y, vector
    cdef Block b = block_of_tiles(t, block)
    cdef Py_ssize_t plane = (t.rows + 1) * t.columns + 2 * lanes, length = t.m * (b.columns + 2 * lanes)
    cdef Py_ssize_t top = b.row * t.m - t.pad_top, left = b.column * t.m - t.pad_left
    cdef Py_ssize_t first = min(max(0, -left), length), last = max(first, min(t.w - left, length))
    cdef floating* padded = scratch + t.m * n * plane
    cdef const floating* channel
    memset(scratch, 0, t.m * n * plane * sizeof(floating))
    for c in range(first_channel, min(first_channel + CHANNELS, t.channels)):
        channel = &x[b.n, b.group * t.channels + c, 0, 0]
        for i in range(b.rows * t.m + 2):
            y = top + i
            copy_row(channel + y * t.w + left, 1, first if 0 <= y < t.h else length, last, length, padded)
            split_row(t.m, padded, b.columns, scratch + i % t.m * n * plane + i // t.m * b.columns, plane)
        for vector in range(ceil_div(b.rows * b.columns, lanes)):
            input_tiles(t.m, scratch + vector * lanes, plane, b.columns, v + c * t.lanes + vector * lanes, t.plane)


cdef void _from_points(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating* u,
    const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t block, Py_ssize_t part, const floating* v, floating* sums
) noexcept nogil:
    """The second and the third stage, for GROUP panels of outputs."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, size = t.channels * PANEL, point, chunk, o
    cdef Block b = block_of_tiles(t, block)
    cdef Py_ssize_t vectors = ceil_div(b.rows * b.columns, lanes), first = part * GROUP * PANEL
    cdef Py_ssize_t panels = min(GROUP, ceil_div(t.outputs, PANEL) - part * GROUP)
    for point in range(t.points):
        for chunk in range(ceil_div(t.channels, DEPTH)):
            multiply(vectors, panels, min(DEPTH, t.channels - chunk * DEPTH),
                     u + point * (panels * size + GAP) + chunk * DEPTH * PANEL, size, v + point * t.plane,
                     offset + chunk * DEPTH, chunk > 0, sums + point * t.sums, t.lanes)
    for o in range(min(panels * PANEL, t.outputs - first)):
        _to_pixels(t, &b, x, weight, bias, residual, relu, out, b.group * t.outputs + first + o, sums + o * t.lanes,
                   sums + t.points * t.sums)


cdef void _to_pixels(
    Tiles* t, Block* b, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, bint relu, floating[:, :, :, ::1] out, Py_ssize_t o, const floating* sums,
    floating* pixels
) noexcept nogil:
    """The third stage of one output: m rows of pixels of all tiles, finished and cut to the image row by row."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, pitch = t.m * t.lanes
    cdef Py_ssize_t i, j, y, left = b.column * t.m, width = min(t.m * b.columns, out.shape[3] - left), tile
    cdef const floating* added = NULL
    cdef floating* probe = pixels + t.m * pitch  # of each tile, then their sum
    cdef floating finite = 0
    for i in range(ceil_div(b.rows * b.columns, lanes)):
        output_tiles(t.m, sums + i * lanes, t.sums, pixels + t.m * i * lanes, pitch, probe + i * lanes)
    for i in range(b.rows):
        for j in range(min(t.m, out.shape[2] - (b.row + i) * t.m)):
            y = (b.row + i) * t.m + j
            if residual.shape[0]:
                added = &residual[b.n, o, y, left]
            finish_row(width, pixels + j * pitch + i * b.columns * t.m, bias[o], added, relu, &out[b.n, o, y, left])
    for tile in range(b.rows * b.columns):
        finite += probe[tile]
    if finite != 0:
        for tile in range(b.rows * b.columns):
            if probe[tile] != 0:
                _directly(t, x, weight, bias, residual, relu, out, b.n, b.group, o,
                          (b.row + tile // b.columns) * t.m, left + tile % b.columns * t.m)


cdef void _directly(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, bint relu, floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group,
    Py_ssize_t o, Py_ssize_t top, Py_ssize_t left
) noexcept nogil:
    """A tile by the definition: what is infinite or NaN must not spread over all of it."""
    cdef Py_ssize_t i, j, c, tap, y, z
    cdef floating patch[6 * 6]
    cdef floating total[4 * 4]
    cdef floating one
    for i in range(16):
        total[i] = 0
    for c in range(t.channels):
        for i in range(t.m + 2):
            for j in range(t.m + 2):
                y, z = top - t.pad_top + i, left - t.pad_left + j
                patch[6 * i + j] = x[n, group * t.channels + c, y, z] if 0 <= y < t.h and 0 <= z < t.w else 0
        for tap in range(9):
            one = weight[o, c, tap // 3, tap % 3]
            for i in range(t.m):
                for j in range(t.m):
                    total[4 * i + j] += one * patch[6 * (i + tap // 3) + j + tap % 3]
    for i in range(min(t.m, out.shape[2] - top)):
        for j in range(min(t.m, out.shape[3] - left)):
            one = total[4 * i + j] + bias[o]
            if residual.shape[0]:
                one += residual[n, o, top + i, left + j]
            out[n, o, top + i, left + j] = 0 if relu and one < 0 else one
