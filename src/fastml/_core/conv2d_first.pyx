"""Convolution with few taps, as in the first layer of a network. The specification is `fastml._ref.conv2d`."""
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
    pack_panels,
    parts_of_outputs,
    size_of_panels,
    windows,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._tile cimport PANEL, multiply_and_finish
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    MOST_POSITIONS = 4096  # of a block
    BLOCK_BYTES = 48 * 1024  # of a block, in reach of the first-level cache
    LEAST_PANELS = 4  # of a task: copying the block for fewer outputs would cost more than it saves


def first(
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
    """As `direct`, but row by row, sums starting from the bias and finished in registers.

    Buys the writing and reading of sums, which for few taps takes as long as a third of the multiplications. A sum is
    one chain of additions, however many taps there are.
    """
    cdef Axis vertical = windows(x.shape[2], weight.shape[2], stride_h, pad_top, dilation_h, out.shape[2])
    cdef Axis horizontal = windows(x.shape[3], weight.shape[3], stride_w, pad_left, dilation_w, out.shape[3])
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    cdef Blocks b = cut(vertical, horizontal, x.shape[0], groups, weight.shape[1], MOST_POSITIONS,
                        BLOCK_BYTES // sizeof(floating), n_threads)
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), task
    cdef Py_ssize_t parts = parts_of_outputs(&b, panels, LEAST_PANELS, n_threads)
    dtype = np.float32 if floating is float else np.float64
    cdef Py_ssize_t unprepared_size = 0 if prepared.shape[0] else size_of_panels(weight, groups)
    cdef floating[:, ::1] unprepared = working_memory("weights", 1, unprepared_size + 1, dtype)
    cdef const floating* packed = &prepared[0] if prepared.shape[0] else &unprepared[0, 0]
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, b.channels * b.plane + SLACK, dtype)
    cdef int32_t[::1] offset = np.empty(taps, np.int32)
    cdef Watch watch = start_watch()
    with nogil:
        if not prepared.shape[0]:
            pack_panels(weight, groups, n_threads, &unprepared[0, 0])
        fill_offsets(&vertical, &horizontal, b.channels, b.lines, b.pitch, &offset[0])
        for task in prange(b.count * parts, num_threads=n_threads, schedule="guided"):
            if not interrupted(&watch):
                _convolve(
                    &b, block_at(&b, task % b.count), x, packed, &offset[0], taps, bias, residual, relu, out,
                    panels * (task // b.count) // parts, panels * (task // b.count + 1) // parts,
                    &memory[threadid(), 0],
                )
    end_watch(&watch)


cdef void _convolve(
    Blocks* b, Block block, const floating[:, :, :, ::1] x, const floating* packed, const int32_t* offset,
    Py_ssize_t taps, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t first_panel, Py_ssize_t last_panel, floating* copied
) noexcept nogil:
    """Some panels of the outputs of one block."""
    cdef Py_ssize_t outputs = out.shape[1] // b.groups, panel, o, r
    cdef const floating* a
    cdef const floating* added = NULL
    copy_block(b, &block, x, 0, b.channels, copied)
    for panel in range(first_panel, last_panel):
        a = packed + (block.group * ceil_div(outputs, PANEL) + panel) * taps * PANEL
        o = block.group * outputs + panel * PANEL
        for r in range(block.rows):
            if residual.shape[0]:
                added = &residual[block.n, o, block.row + r, block.column]
            multiply_and_finish(
                block.columns, taps, a, copied + r * b.pitch, offset, min(PANEL, outputs - panel * PANEL), &bias[o],
                added, relu, &out[block.n, o, block.row + r, block.column], out.shape[2] * out.shape[3],
            )
