"""Convolution with few outputs a group: depthwise, above all. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t
from libc.string cimport memcpy, memset

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
    weigh_3x3,
    weigh_row,
    windows,
)
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    MOST_POSITIONS = 4096  # of a block
    BLOCK_BYTES = 16 * 1024  # of a block, in the first-level cache
    BAND = 28  # rows of a task
    MOST_WIDTH = 8192  # of rows that are read in place; longer ones are cut into blocks
    MARGIN = 32  # values that may be read before and behind a row


def depthwise(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, kernel_h, kernel_w)
    const floating[::1] prepared,  # IN nothing: weights are read as they are
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
    """A row of an output at a time: vectors along the row, for all taps, finished in registers.

    Buys what the microkernel wastes on groups of 1 to 3 outputs. For one channel with 3 x 3 windows and strides along
    rows of 1 or 2, the common case, the image is read where it is: a padded copy would take a third of the time.
    """
    if (
        weight.shape[1] == 1 and weight.shape[2] == weight.shape[3] == 3 and dilation_h == dilation_w == 1
        and stride_w <= 2 and pad_left < MARGIN // 2 and x.shape[3] <= MOST_WIDTH
        and (out.shape[3] - 1) * stride_w - pad_left < x.shape[3]
    ):
        _rows_of_3x3(x, weight, bias, residual, stride_h, stride_w, pad_top, pad_left, groups, relu, out, n_threads)
    else:
        _rows(x, weight, bias, residual, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups, relu,
              out, n_threads)


cdef _rows(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, Py_ssize_t groups, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n_threads
):
    cdef Axis vertical = windows(x.shape[2], weight.shape[2], stride_h, pad_top, dilation_h, out.shape[2])
    cdef Axis horizontal = windows(x.shape[3], weight.shape[3], stride_w, pad_left, dilation_w, out.shape[3])
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3], task
    cdef Blocks b = cut(vertical, horizontal, x.shape[0], groups, weight.shape[1], MOST_POSITIONS,
                        BLOCK_BYTES // sizeof(floating), n_threads)
    dtype = np.float32 if floating is float else np.float64
    cdef floating[:, ::1] memory = working_memory("blocks", n_threads, b.channels * b.plane + SLACK, dtype)
    cdef int32_t[::1] offset = np.empty(taps, np.int32)
    cdef Watch watch = start_watch()
    with nogil:
        fill_offsets(&vertical, &horizontal, b.channels, b.lines, b.pitch, &offset[0])
        for task in prange(b.count, num_threads=n_threads, schedule="static"):
            if not interrupted(&watch):
                _weigh(&b, block_at(&b, task), x, weight, &offset[0], taps, bias, residual, relu, out,
                       &memory[threadid(), 0])
    end_watch(&watch)


cdef void _weigh(
    Blocks* b, Block block, const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const int32_t* offset,
    Py_ssize_t taps, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, floating* copied
) noexcept nogil:
    cdef Py_ssize_t outputs = out.shape[1] // b.groups, o, r
    cdef const floating* added = NULL
    copy_block(b, &block, x, 0, b.channels, copied)
    for o in range(block.group * outputs, (block.group + 1) * outputs):
        for r in range(block.rows):
            if residual.shape[0]:
                added = &residual[block.n, o, block.row + r, block.column]
            weigh_row(block.columns, taps, &weight[o, 0, 0, 0], copied + r * b.pitch, offset, bias[o], added, relu,
                      &out[block.n, o, block.row + r, block.column])


cdef _rows_of_3x3(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, Py_ssize_t groups, bint relu, floating[:, :, :, ::1] out, Py_ssize_t n_threads
):
    dtype = np.float32 if floating is float else np.float64
    cdef Py_ssize_t bands = ceil_div(out.shape[2], BAND), outputs = out.shape[1], task
    # For each thread: rows of padding, and rows too near to the ends of x, as vectors may reach over the ends of rows.
    cdef Py_ssize_t pitch = x.shape[3] + 2 * MARGIN
    cdef floating[:, ::1] spare = working_memory("padded", n_threads, 3 * min(BAND, out.shape[2]) * pitch, dtype)
    cdef Watch watch = start_watch()
    for task in prange(x.shape[0] * outputs * bands, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted(&watch):
            _band(x, weight, bias, residual, stride_h, stride_w, pad_top, pad_left, outputs // groups, relu, out,
                  task // (outputs * bands), task // bands % outputs, task % bands * BAND, &spare[threadid(), MARGIN],
                  pitch)
    end_watch(&watch)


cdef void _band(
    const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] weight, const floating[::1] bias,
    const floating[:, :, :, ::1] residual, Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top,
    Py_ssize_t pad_left, Py_ssize_t multiplier, bint relu, floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t o,
    Py_ssize_t row, floating* spare, Py_ssize_t pitch
) noexcept nogil:
    """Some rows of one output."""
    cdef Py_ssize_t count = min(BAND, out.shape[2] - row), h = x.shape[2], w = x.shape[3], r, y, at = 0
    cdef Py_ssize_t before = ((n * x.shape[1] + o // multiplier) * h) * w
    cdef Py_ssize_t behind = x.shape[0] * x.shape[1] * h * w - before
    cdef Py_ssize_t first = 0 if before >= pad_left else ceil_div(pad_left, w), end = min(h, (behind - MARGIN) // w)
    cdef const floating* plane = &x[n, o // multiplier, 0, 0] - pad_left
    cdef const floating* rows[3 * BAND]
    for r in range(count):
        for y in range((row + r) * stride_h - pad_top, (row + r) * stride_h - pad_top + 3):
            rows[at] = plane + y * w
            if not first <= y < end:
                rows[at] = spare + at * pitch - pad_left
                if 0 <= y < h:
                    memcpy(spare + at * pitch, plane + pad_left + y * w, w * sizeof(floating))
                else:
                    memset(spare + at * pitch, 0, w * sizeof(floating))
            at += 1
    weigh_3x3(stride_w, stride_h == stride_w == 1, count, out.shape[3], &weight[o, 0, 0, 0], rows, w, pad_left, bias[o],
              &residual[n, o, row, 0] if residual.shape[0] else NULL, relu, &out[n, o, row, 0])
