"""Winograd convolution with 3 x 3 kernels, fused through the caches. The specification is `fastml._ref.conv2d`.

Three stages: tiles of the image at n * n points; at each point, a matrix product of weights and tiles; the sums of a tile
back to its m * m outputs. Done for the whole image one after the other, they would move n * n / m / m times its size in and
out of memory, twice. Here a block of tiles goes through all three while it is in the second-level cache.
"""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from fastml._core._conv2d cimport (
    ceil_div,
    copy_row,
    finish_row,
    input_tiles,
    output_tiles,
    pack_panel,
    split_row,
    weights_at_points,
)
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL, multiply
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    MOST_TILES = 64  # of a block
    BLOCK_BYTES = 640 * 1024  # of a block's tiles at the points
    SHARED_BYTES = 4096 * 1024  # for each thread: so much may the blocks of all threads take together
    GROUP = 4  # panels of outputs whose sums are kept between the second and the third stage
    CHANNELS = 16  # of a task of the first stage
    DEPTH = 256  # channels in one go
    GAP = 16  # values, so that planes do not lie a power of two apart, which would put them into few sets of a cache


cdef struct Tiles:
    Py_ssize_t m  # a tile makes m x m outputs
    Py_ssize_t points  # (m + 2) ** 2
    Py_ssize_t down  # tiles of an image
    Py_ssize_t across
    Py_ssize_t rows  # of tiles, of a block
    Py_ssize_t columns
    Py_ssize_t lanes  # tiles of a block, rounded up to vectors
    Py_ssize_t blocks  # of an image
    Py_ssize_t channels  # of a group
    Py_ssize_t outputs
    Py_ssize_t groups
    Py_ssize_t h  # of the input
    Py_ssize_t w
    Py_ssize_t pad_top
    Py_ssize_t pad_left
    Py_ssize_t plane  # values from one point to the next, of tiles
    Py_ssize_t sums  # and of sums


cdef Tiles _tiles(
    Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t outputs, Py_ssize_t h, Py_ssize_t w,
    Py_ssize_t pad_top, Py_ssize_t pad_left, Py_ssize_t out_h, Py_ssize_t out_w, Py_ssize_t lanes, Py_ssize_t itemsize
) noexcept nogil:
    """Blocks of whole rows of tiles, or pieces of long rows, of a number that leaves few lanes idle."""
    cdef Tiles t
    cdef Py_ssize_t most, rows, vectors, last, cost, least = 0
    t.m, t.points, t.groups, t.channels, t.outputs = m, (m + 2) * (m + 2), groups, channels, outputs
    t.h, t.w, t.pad_top, t.pad_left = h, w, pad_top, pad_left
    t.down, t.across = ceil_div(out_h, m), ceil_div(out_w, m)
    most = max(2 * lanes, min(MOST_TILES, BLOCK_BYTES // (t.points * channels * itemsize)))
    t.columns = ceil_div(t.across, ceil_div(t.across, most))
    for rows in range(min(t.down, max(most // t.columns, 1)), 0, -1):
        vectors = ceil_div(rows * t.columns, lanes)
        last = ceil_div(((t.down - 1) % rows + 1) * t.columns, lanes)
        cost = (t.down - 1) // rows * max(vectors, 2) + max(last, 2)  # a single vector takes as long as two
        if least == 0 or cost < least:
            least, t.rows = cost, rows
    t.lanes = ceil_div(t.rows * t.columns, lanes) * lanes
    t.blocks = ceil_div(t.down, t.rows) * ceil_div(t.across, t.columns)
    t.plane, t.sums = channels * t.lanes + GAP, GROUP * PANEL * t.lanes + GAP
    return t


def prepare(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads):
    """The weights at the 36 points of F(4x4, 3x3)."""
    return _prepared(weight, groups, 4, n_threads)


def prepare_2x2(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads):
    """The weights at the 16 points of F(2x2, 3x3)."""
    return _prepared(weight, groups, 2, n_threads)


cdef inline Py_ssize_t _size_of_parts(Py_ssize_t panels, Py_ssize_t channels, Py_ssize_t m) noexcept nogil:
    """Of the weights at the points, for so many panels of outputs."""
    return (m + 2) * (m + 2) * (panels * PANEL * channels + ceil_div(panels, GROUP) * GAP)


def _prepared(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t m, Py_ssize_t n_threads):
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), channels = weight.shape[1]
    dtype = np.float32 if floating is float else np.float64
    prepared = np.empty(groups * _size_of_parts(panels, channels, m), dtype)
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
    cdef Py_ssize_t size = _size_of_parts(panels, weight.shape[1], m)
    for task in prange(groups * parts, num_threads=n_threads, schedule="static"):
        _prepare_part(weight, groups, task // parts, task % parts, m, memory + threadid() * apart,
                      to + task // parts * size + _size_of_parts(task % parts * GROUP, weight.shape[1], m))


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
    """F(4x4, 3x3): 36 multiplications instead of 144 for 4 x 4 outputs. Buys twice the speed of direct convolution and more.

    Its error is about twice that of direct convolution. A tile with an output that is not finite is computed directly.
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
    cdef Tiles t = _tiles(m, groups, weight.shape[1], weight.shape[0] // groups, x.shape[2], x.shape[3], pad_top,
                          pad_left, out.shape[2], out.shape[3], lanes, sizeof(floating))
    cdef Py_ssize_t blocks = x.shape[0] * groups * t.blocks, parts = ceil_div(ceil_div(t.outputs, PANEL), GROUP)
    cdef Py_ssize_t chunks = ceil_div(t.channels, CHANNELS), size = t.points * t.plane, task
    # Few blocks are computed by all threads together, first stage first; of many, each thread takes its own.
    cdef bint together = blocks < 8 * n_threads and blocks * size * sizeof(floating) <= n_threads * SHARED_BYTES
    # Weights that are not prepared: if there are enough parts of them, each is prepared by the thread that uses it, and
    # stays in its cache; else all of them are prepared first.
    cdef bint unprepared = prepared.shape[0] == 0, by_part = unprepared and together and groups * parts >= 2 * n_threads
    cdef Py_ssize_t whole = groups * _size_of_parts(ceil_div(t.outputs, PANEL), t.channels, m)
    cdef Py_ssize_t part = _size_of_parts(GROUP, t.channels, m), split = _size_of_split(&t, lanes)
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] v = working_memory("tiles", blocks if together else n_threads, size, dtype)
    cdef floating[:, ::1] own = working_memory("weights", 1, whole if unprepared and not by_part else 1, dtype)
    cdef floating[:, ::1] memory = working_memory(
        "blocks", n_threads,
        max(split, t.points * t.sums + (m * m + 1) * t.lanes) + unprepared * (part + t.channels * 9 * PANEL), dtype,
    )
    cdef const floating* u = &own[0, 0] if unprepared else &prepared[0]
    cdef int32_t[::1] offset = np.arange(0, t.channels * t.lanes, t.lanes, dtype=np.int32)
    with nogil:
        if unprepared and not by_part:
            _prepare_all(weight, groups, m, n_threads, &memory[0, 0], memory.shape[1], &own[0, 0])
        if together:
            for task in prange(blocks * chunks, num_threads=n_threads, schedule="dynamic"):
                _to_points(&t, x, task // chunks, task % chunks * CHANNELS, &memory[threadid(), 0], &v[task // chunks, 0])
        if by_part:
            for task in prange(groups * parts, num_threads=n_threads, schedule="dynamic"):
                _part_of_all(&t, x, weight, &offset[0], bias, residual, relu, out, task // parts, task % parts,
                             &v[0, 0], v.shape[1], &memory[threadid(), 0], part)
        elif together:
            for task in prange(blocks * parts, num_threads=n_threads, schedule="dynamic"):
                _from_points(&t, x, weight, _part_of(&t, u, task % blocks, task // blocks), &offset[0], bias, residual,
                             relu, out, task % blocks, task // blocks, &v[task % blocks, 0], &memory[threadid(), 0])
        else:
            for task in prange(blocks, num_threads=n_threads, schedule="dynamic"):
                _all_of_block(&t, x, weight, u, &offset[0], bias, residual, relu, out, task, parts,
                              &v[threadid(), 0], &memory[threadid(), 0])


cdef inline Py_ssize_t _size_of_split(Tiles* t, Py_ssize_t lanes) noexcept nogil:
    """Of a channel of a block, split by column of the tile, and a padded row."""
    return t.m * (t.m + 2) * ((t.rows + 1) * t.columns + 2 * lanes) + t.m * (t.columns + 3 * lanes)


cdef inline const floating* _part_of(Tiles* t, const floating* u, Py_ssize_t block, Py_ssize_t part) noexcept nogil:
    cdef Py_ssize_t group = block // t.blocks % t.groups
    return (u + group * _size_of_parts(ceil_div(t.outputs, PANEL), t.channels, t.m)
            + _size_of_parts(part * GROUP, t.channels, t.m))


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
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, n = t.m + 2
    cdef Py_ssize_t pieces = ceil_div(t.across, t.columns), image = block // t.blocks, c, i, y, vector
    cdef Py_ssize_t first_row = block % t.blocks // pieces * t.rows, first_column = block % pieces * t.columns
    cdef Py_ssize_t rows = min(t.rows, t.down - first_row), columns = min(t.columns, t.across - first_column)
    cdef Py_ssize_t plane = (t.rows + 1) * t.columns + 2 * lanes, length = t.m * (columns + 2 * lanes)
    cdef Py_ssize_t top = first_row * t.m - t.pad_top, left = first_column * t.m - t.pad_left
    cdef Py_ssize_t first = min(max(0, -left), length), last = max(first, min(t.w - left, length))
    cdef floating* padded = scratch + t.m * n * plane
    cdef const floating* channel
    memset(scratch, 0, t.m * n * plane * sizeof(floating))
    for c in range(first_channel, min(first_channel + CHANNELS, t.channels)):
        channel = &x[image // t.groups, image % t.groups * t.channels + c, 0, 0]
        for i in range(rows * t.m + 2):
            y = top + i
            copy_row(channel + y * t.w + left, 1, first if 0 <= y < t.h else length, last, length, padded)
            split_row(t.m, padded, columns, scratch + i % t.m * n * plane + i // t.m * columns, plane)
        for vector in range(ceil_div(rows * columns, lanes)):
            input_tiles(t.m, scratch + vector * lanes, plane, columns, v + c * t.lanes + vector * lanes, t.plane)


cdef void _from_points(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating* u,
    const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t block, Py_ssize_t part, const floating* v, floating* sums
) noexcept nogil:
    """The second and the third stage, for GROUP panels of outputs."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, image = block // t.blocks
    cdef Py_ssize_t pieces = ceil_div(t.across, t.columns), group = image % t.groups, point, chunk, o
    cdef Py_ssize_t first_row = block % t.blocks // pieces * t.rows, first_column = block % pieces * t.columns
    cdef Py_ssize_t rows = min(t.rows, t.down - first_row), columns = min(t.columns, t.across - first_column)
    cdef Py_ssize_t vectors = ceil_div(rows * columns, lanes), size = t.channels * PANEL
    cdef Py_ssize_t panels = min(GROUP, ceil_div(t.outputs, PANEL) - part * GROUP)
    for point in range(t.points):
        for chunk in range(ceil_div(t.channels, DEPTH)):
            multiply(vectors, panels, min(DEPTH, t.channels - chunk * DEPTH),
                     u + point * (panels * size + GAP) + chunk * DEPTH * PANEL, size, v + point * t.plane,
                     offset + chunk * DEPTH, chunk > 0, sums + point * t.sums, t.lanes)
    for o in range(min(panels * PANEL, t.outputs - part * GROUP * PANEL)):
        _to_pixels(t, x, weight, bias, residual, relu, out, image // t.groups, group,
                   group * t.outputs + part * GROUP * PANEL + o, first_row, rows, first_column, columns,
                   sums + o * t.lanes, sums + t.points * t.sums)


cdef void _to_pixels(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, bint relu, floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group,
    Py_ssize_t o, Py_ssize_t first_row, Py_ssize_t rows, Py_ssize_t first_column, Py_ssize_t columns,
    const floating* sums, floating* pixels
) noexcept nogil:
    """The third stage of one output: m rows of pixels of all tiles, finished and cut to the image row by row."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, pitch = t.m * t.lanes
    cdef Py_ssize_t i, j, y, width = min(t.m * columns, out.shape[3] - first_column * t.m), tile
    cdef const floating* added = NULL
    cdef floating* probe = pixels + t.m * pitch  # of each tile, then their sum
    cdef floating finite = 0
    for i in range(ceil_div(rows * columns, lanes)):
        output_tiles(t.m, sums + i * lanes, t.sums, pixels + t.m * i * lanes, pitch, probe + i * lanes)
    for i in range(rows):
        for j in range(min(t.m, out.shape[2] - (first_row + i) * t.m)):
            y = (first_row + i) * t.m + j
            if residual.shape[0]:
                added = &residual[n, o, y, first_column * t.m]
            finish_row(width, pixels + j * pitch + i * columns * t.m, bias[o], added, relu,
                       &out[n, o, y, first_column * t.m])
    for tile in range(rows * columns):
        finite += probe[tile]
    if finite != 0:
        for tile in range(rows * columns):
            if probe[tile] != 0:
                _directly(t, x, weight, bias, residual, relu, out, n, group, o,
                          (first_row + tile // columns) * t.m, (first_column + tile % columns) * t.m)


cdef void _directly(
    Tiles* t, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, bint relu, floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group,
    Py_ssize_t o, Py_ssize_t top, Py_ssize_t left
) noexcept nogil:
    """A tile by the definition: what is infinite or NaN must not spread over all of it."""
    cdef Py_ssize_t i, j, c, ky, kx, y, z
    cdef floating total
    for i in range(top, min(top + t.m, out.shape[2])):
        for j in range(left, min(left + t.m, out.shape[3])):
            total = 0
            for c in range(t.channels):
                for ky in range(3):
                    for kx in range(3):
                        y, z = i - t.pad_top + ky, j - t.pad_left + kx
                        if 0 <= y < t.h and 0 <= z < t.w:
                            total += weight[o, c, ky, kx] * x[n, group * t.channels + c, y, z]
                        else:
                            total += weight[o, c, ky, kx] * 0  # NaN of an infinite weight
            total += bias[o]
            if residual.shape[0]:
                total += residual[n, o, i, j]
            out[n, o, i, j] = 0 if relu and total < 0 else total
