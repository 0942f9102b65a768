"""Convolution from registers, without a matrix of patches. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from fastml._core._conv2d cimport (
    LANES_F32,
    LANES_F64,
    PANEL,
    Axis,
    ceil_div,
    copy_planes,
    fill_offsets,
    multiply_and_finish,
    pack_panels,
    size_of_panels,
    windows,
)
from fastml._core._types cimport floating


cdef enum:
    MOST_COLUMNS = 256  # of a block of windows; longer rows are cut
    MOST_POSITIONS = 4096  # of a block: its sums for 4 outputs are 8 KiB of float32, in the first-level cache
    BLOCK_BYTES = 48 * 1024  # of the channels of a block, in the second-level cache
    DEPTH = 288  # taps in one go: what they read of the image stays in the first-level cache for all panels
    GROUP = 32  # panels whose sums are kept while the taps go on
    LEAST_PANELS = 8  # of a task: copying the block for fewer outputs would cost more than it saves
    TASKS = 4  # for each thread, at the least, so that none waits long for the last one
    GAP = 64  # values between the scratch rows of two threads, so that they share no cache line


cdef struct Block:  # of windows: what is copied, with all its channels, before it is multiplied
    Py_ssize_t rows
    Py_ssize_t columns
    Py_ssize_t lines  # rows of a phase
    Py_ssize_t pitch  # values of a line
    Py_ssize_t plane  # values of a channel


cdef Block _block(Axis* rows, Axis* columns, Py_ssize_t channels, Py_ssize_t itemsize) noexcept nogil:
    """As many rows as the caches hold; of long rows, or very many channels, a piece. Shapes decide, and nothing else."""
    cdef Block b
    b.columns = ceil_div(columns.out, ceil_div(columns.out, MOST_COLUMNS))
    while True:
        b.pitch = b.columns + columns.reach
        b.rows = min(max(MOST_POSITIONS // b.pitch, 1), rows.out)
        while True:
            b.rows = ceil_div(rows.out, ceil_div(rows.out, b.rows))  # blocks of like sizes
            b.lines = b.rows + rows.reach
            b.plane = rows.phases * columns.phases * b.lines * b.pitch
            if b.rows == 1 or channels * b.plane * itemsize <= BLOCK_BYTES:
                break
            b.rows = b.rows // 2
        if b.columns <= 3 * LANES_F32 or channels * b.plane * itemsize <= BLOCK_BYTES:
            return b
        b.columns = ceil_div(b.columns, 2)


def first(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN what prepare makes of the weights, or (0,)
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
    """4 outputs x 3 vectors of pixels in registers, for all taps of all channels, read from a padded copy of the image.

    Buys most of the peak: each value of the image is copied once instead of once a tap. In the copy, the pixels of a
    block of rows are one long row, to which the microkernel's vectors are cut; those at the ends of rows compute
    something that nobody stores. With a stride, columns are copied by their phase, so that vectors need no gaps.
    """
    cdef Axis rows = windows(x.shape[2], weight.shape[2], stride_h, pad_top, dilation_h, out.shape[2])
    cdef Axis columns = windows(x.shape[3], weight.shape[3], stride_w, pad_left, dilation_w, out.shape[3])
    cdef Py_ssize_t channels = weight.shape[1], taps = channels * weight.shape[2] * weight.shape[3]
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64
    cdef Block b = _block(&rows, &columns, channels, sizeof(floating))
    cdef Py_ssize_t down = ceil_div(rows.out, b.rows), across = ceil_div(columns.out, b.columns)
    cdef Py_ssize_t blocks = x.shape[0] * groups * down * across, panels = ceil_div(weight.shape[0] // groups, PANEL)
    cdef Py_ssize_t parts = max(1, min(ceil_div(TASKS * n_threads, blocks), panels // LEAST_PANELS))
    cdef Py_ssize_t sums = ceil_div(b.rows * b.pitch, lanes) * lanes, task, block
    dtype = np.float32 if floating is float else np.float64
    cdef floating[::1] unprepared = np.empty(0 if prepared.shape[0] else size_of_panels(weight, groups), dtype)
    cdef const floating* packed = &prepared[0] if prepared.shape[0] else &unprepared[0]
    cdef floating[:, ::1] scratch = np.empty((n_threads, GROUP * PANEL * sums + channels * b.plane + 4 * lanes + GAP), dtype)
    cdef int32_t[::1] offset = np.empty(taps, np.int32)
    with nogil:
        if not prepared.shape[0]:
            pack_panels(weight, groups, n_threads, &unprepared[0])
        fill_offsets(&rows, &columns, channels, b.lines, b.pitch, &offset[0])
        for task in prange(blocks * parts, num_threads=n_threads, schedule="dynamic"):
            block = task // parts
            _convolve(
                &rows, &columns, &b, x, packed, &offset[0], taps, bias, residual, relu, out,
                block // (groups * down * across), block // (down * across) % groups, groups,
                block // across % down * b.rows, block % across * b.columns,
                panels * (task % parts) // parts, panels * (task % parts + 1) // parts, sums, &scratch[threadid(), 0],
            )


cdef void _convolve(
    Axis* rows, Axis* columns, Block* b, const floating[:, :, :, ::1] x, const floating* packed,
    const int32_t* offset, Py_ssize_t taps, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group, Py_ssize_t groups, Py_ssize_t first_row,
    Py_ssize_t first_column, Py_ssize_t first_panel, Py_ssize_t last_panel, Py_ssize_t pitch_of_sums,
    floating* scratch
) noexcept nogil:
    """Some panels of the outputs of one block."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64
    cdef Py_ssize_t outputs = out.shape[1] // groups, channels = x.shape[1] // groups, panel, o, c, r
    cdef Py_ssize_t n_rows = min(b.rows, rows.out - first_row), n_columns = min(b.columns, columns.out - first_column)
    cdef Py_ssize_t vectors = ceil_div((n_rows - 1) * b.pitch + n_columns, lanes)
    cdef floating* copied = scratch
    cdef const floating* added = NULL
    for c in range(channels):
        copy_planes(rows, columns, &x[n, group * channels + c, 0, 0], first_row, b.lines, first_column, b.pitch,
                    copied + c * b.plane)
    memset(copied + channels * b.plane, 0, 4 * lanes * sizeof(floating))  # read by the last vectors, and not used
    for panel in range(first_panel, last_panel):
        o = group * outputs + panel * PANEL
        for r in range(n_rows):
            if residual.shape[0]:
                added = &residual[n, o, first_row + r, first_column]
            multiply_and_finish(
                n_columns, taps, packed + (group * ceil_div(outputs, PANEL) + panel) * taps * PANEL,
                copied + r * b.pitch, offset, min(PANEL, outputs - panel * PANEL), &bias[o], added, relu,
                &out[n, o, first_row + r, first_column], rows.out * columns.out)
