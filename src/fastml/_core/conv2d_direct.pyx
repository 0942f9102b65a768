"""Convolution from registers, without a matrix of patches. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t

import numpy as np

from fastml._core._conv2d cimport (
    SLACK,
    Axis,
    Block,
    Blocks,
    block_at,
    ceil_div,
    copy_block,
    cut,
    fill_offsets,
    finish_row,
    pack_panels,
    parts_of_outputs,
    size_of_panels,
    windows,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport LANES_F32, LANES_F64, PANEL, multiply
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    MOST_POSITIONS = 512  # of a block
    BLOCK_BYTES = 256 * 1024  # of a copy, in the second-level cache
    SUMS_BYTES = 256 * 1024  # of a block's sums, next to it
    DEPTH = 144  # taps in one go: what a tile reads for them stays in the first-level cache for all panels
    GROUP = 32  # panels that a block is multiplied with before the next ones: they stay in the cache, too
    LEAST_PANELS = 8  # of a task: copying the block for fewer outputs would cost more than it saves
    MOST_PANELS = 128  # of a task


def prepare(const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads):
    """The weights in panels, as the microkernel reads them."""
    prepared = np.empty(size_of_panels(weight, groups), np.float32 if floating is float else np.float64)
    cdef floating[::1] to = prepared
    with nogil:
        pack_panels(weight, groups, n_threads, &to[0])
    return prepared


def direct(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN the weights in panels, or (0,)
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
    cdef Axis vertical = windows(x.shape[2], weight.shape[2], stride_h, pad_top, dilation_h, out.shape[2])
    cdef Axis horizontal = windows(x.shape[3], weight.shape[3], stride_w, pad_left, dilation_w, out.shape[3])
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64
    cdef Py_ssize_t outputs = weight.shape[0] // groups, panels = ceil_div(outputs, PANEL), task
    cdef Py_ssize_t positions = min(MOST_POSITIONS, SUMS_BYTES // sizeof(floating) // min(outputs, MOST_PANELS * PANEL))
    cdef Py_ssize_t channels = min(max(1, DEPTH // (weight.shape[2] * weight.shape[3])), weight.shape[1])
    cdef Blocks b = cut(vertical, horizontal, x.shape[0], groups, channels, positions, BLOCK_BYTES // sizeof(floating),
                        n_threads)
    cdef Py_ssize_t parts = max(ceil_div(panels, MOST_PANELS), parts_of_outputs(&b, panels, LEAST_PANELS, n_threads))
    cdef Py_ssize_t pitch = ceil_div((b.rows - 1) * b.pitch + b.columns, lanes) * lanes
    cdef Py_ssize_t copied = b.channels * b.plane + SLACK
    dtype = np.float32 if floating is float else np.float64
    cdef Py_ssize_t unprepared_size = 0 if prepared.shape[0] else size_of_panels(weight, groups)
    cdef floating[:, ::1] unprepared = working_memory("weights", 1, unprepared_size + 1, dtype)
    cdef const floating* packed = &prepared[0] if prepared.shape[0] else &unprepared[0, 0]
    cdef Py_ssize_t sums = ceil_div(panels, parts) * PANEL * pitch
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, copied + sums, dtype)
    cdef int32_t[::1] offset = np.empty(channels * weight.shape[2] * weight.shape[3], np.int32)
    cdef Watch watch = start_watch()
    with nogil:
        if not prepared.shape[0]:
            pack_panels(weight, groups, n_threads, &unprepared[0, 0])
        fill_offsets(&vertical, &horizontal, b.channels, b.lines, b.pitch, &offset[0])
        for task in prange(b.count * parts, num_threads=n_threads, schedule="guided"):
            if not interrupted(&watch):
                _convolve(
                    &b, block_at(&b, task % b.count), x, weight, packed, &offset[0], bias, residual, relu, out,
                    panels * (task // b.count) // parts, panels * (task // b.count + 1) // parts,
                    &memory[threadid(), 0], &memory[threadid(), 0] + copied, pitch,
                )
    end_watch(&watch)


cdef void _convolve(
    Blocks* b, Block block, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight,
    const floating* packed, const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual,
    bint relu, floating[:, :, :, ::1] out, Py_ssize_t first_panel, Py_ssize_t last_panel, floating* copied,
    floating* sums, Py_ssize_t pitch
) noexcept nogil:
    """Some panels of the outputs of one block, some channels at a time."""
    cdef Py_ssize_t lanes = LANES_F32 if floating is float else LANES_F64, outputs = out.shape[1] // b.groups
    cdef Py_ssize_t window = weight.shape[2] * weight.shape[3], next = weight.shape[1] * window * PANEL
    cdef Py_ssize_t vectors = ceil_div((block.rows - 1) * b.pitch + block.columns, lanes)
    cdef Py_ssize_t channel = 0, channels, group, panel, o, i, r
    cdef const floating* a = packed + (block.group * ceil_div(outputs, PANEL) + first_panel) * next
    cdef const floating* added = NULL
    while channel < weight.shape[1]:
        channels = min(b.channels, weight.shape[1] - channel)
        copy_block(b, &block, x, channel, channels, copied)
        for group in range(ceil_div(last_panel - first_panel, GROUP)):
            panel = group * GROUP
            multiply(vectors, min(GROUP, last_panel - first_panel - panel), channels * window, a + panel * next, next,
                     copied, offset, channel > 0, sums + panel * PANEL * pitch, pitch)
        a += channels * window * PANEL
        channel += channels
    for i in range(min(last_panel * PANEL, outputs) - first_panel * PANEL):
        o = block.group * outputs + first_panel * PANEL + i
        for r in range(block.rows):
            if residual.shape[0]:
                added = &residual[block.n, o, block.row + r, block.column]
            finish_row(block.columns, sums + i * pitch + r * b.pitch, bias[o], added, relu,
                       &out[block.n, o, block.row + r, block.column])
