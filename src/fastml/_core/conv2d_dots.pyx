"""Convolution with few pixels of many taps: fully connected layers, say. The specification is `fastml._ref.conv2d`."""
from cython.parallel cimport prange
from libc.string cimport memset

import numpy as np

from fastml._core._conv2d cimport TASKS, ceil_div
from fastml._core._interrupt cimport Watch, end_watch, interrupted, start_watch
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef extern from "dots.h" nogil:
    void dots_of "dots"(
        int columns, Py_ssize_t n, int rows, const void* a, Py_ssize_t a_pitch, const void* b, Py_ssize_t b_pitch,
        void* sums
    ) noexcept


cdef enum:
    ROWS = 4  # outputs in registers
    COLUMNS = 3  # patches in registers
    BLOCK_BYTES = 1 << 20  # of patches that are laid out at a time, in the cache that cores share
    TASK = 16  # outputs of a task


def dots(
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
    """4 outputs x 3 patches as dot products in registers: vectors along the taps, weights read where they are.

    Buys the packing of weights that few pixels use only once, and the lanes that few pixels would leave empty. The
    patches are copied out, as im2col does, some at a time; where a window is the whole image, not even those.
    """
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3], outputs = weight.shape[0] // groups
    cdef Py_ssize_t pixels = out.shape[2] * out.shape[3], patches = x.shape[0] * pixels, first = 0, count, task
    cdef Py_ssize_t block = max(BLOCK_BYTES // (groups * taps * sizeof(floating)), 1)
    cdef Py_ssize_t tasks = ceil_div(outputs, TASK), pitch = groups * taps
    cdef bint dense = (dilation_h == 1 or weight.shape[2] == 1) and (dilation_w == 1 or weight.shape[3] == 1)
    cdef bint in_place = (pixels == 1 and dense and pad_top == pad_left == 0 and x.shape[2] == weight.shape[2]
                          and x.shape[3] == weight.shape[3])
    # Of few outputs, there are too few tasks for all threads: then each takes some of the patches.
    cdef Py_ssize_t pieces = ceil_div(TASKS * n_threads, groups * tasks), part, piece
    cdef floating[:, ::1] memory = working_memory(
        "blocks", 1, 1 if in_place else min(block, patches) * pitch, np.float32 if floating is float else np.float64
    )
    cdef const floating* laid
    cdef Watch watch = start_watch()
    with nogil:
        while first < patches and not interrupted(&watch):
            count = min(block, patches - first)
            laid = &memory[0, 0]
            if in_place:
                laid = &x[first, 0, 0, 0]
            else:
                for task in prange(count * groups, num_threads=n_threads, schedule="static"):
                    _lay_out(x, (first + task // groups) // pixels, task % groups * weight.shape[1], weight.shape[1],
                             weight.shape[2], weight.shape[3],
                             (first + task // groups) % pixels // out.shape[3] * stride_h - pad_top,
                             (first + task // groups) % out.shape[3] * stride_w - pad_left, dilation_h, dilation_w,
                             &memory[0, 0] + task * taps)
            for task in prange(groups * tasks * pieces, num_threads=n_threads, schedule="static"):
                part, piece = task // pieces, task % pieces
                _some_outputs(
                    weight, bias, residual, relu, out, part // tasks * outputs + part % tasks * TASK,
                    min(TASK, outputs - part % tasks * TASK), taps, laid + part // tasks * taps, pitch, first,
                    count * piece // pieces, count * (piece + 1) // pieces,
                )
            first += count
    end_watch(&watch)


cdef void _lay_out(
    const floating[:, :, :, ::1] x, Py_ssize_t n, Py_ssize_t channel, Py_ssize_t channels, Py_ssize_t kernel_h,
    Py_ssize_t kernel_w, Py_ssize_t top, Py_ssize_t left, Py_ssize_t dilation_h, Py_ssize_t dilation_w, floating* to
) noexcept nogil:
    """One patch of a group, in the order of its weights."""
    cdef Py_ssize_t h = x.shape[2], w = x.shape[3], c, i, j
    cdef Py_ssize_t first_row = _inside(top, dilation_h, 0, kernel_h), rows = _inside(top, dilation_h, h, kernel_h)
    cdef Py_ssize_t first = _inside(left, dilation_w, 0, kernel_w), last = _inside(left, dilation_w, w, kernel_w)
    cdef const floating* row
    memset(to, 0, channels * kernel_h * kernel_w * sizeof(floating))
    for c in range(channels):
        row = &x[n, channel + c, 0, 0] + (top + first_row * dilation_h) * w + left
        for i in range(first_row, rows):
            for j in range(first, last):
                to[i * kernel_w + j] = row[j * dilation_w]
            row += dilation_h * w
        to += kernel_h * kernel_w


cdef inline Py_ssize_t _inside(Py_ssize_t start, Py_ssize_t step, Py_ssize_t end, Py_ssize_t most) noexcept nogil:
    """The first of `most` taps at start + i * step that is not before `end`."""
    return min(max(0, ceil_div(end - start, step)), most) if start < end else 0


cdef void _some_outputs(
    const floating[:, :, :, ::1] weight, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t o, Py_ssize_t outputs, Py_ssize_t taps, const floating* patches,
    Py_ssize_t pitch, Py_ssize_t first, Py_ssize_t column, Py_ssize_t last
) noexcept nogil:
    """`outputs` channels from o on, for some of the patches, of which the first is pixel `first` of all images'."""
    cdef Py_ssize_t pixels = out.shape[2] * out.shape[3], row, rows, columns, i, j, patch, at
    cdef floating sums[ROWS * COLUMNS]
    cdef floating y
    while column < last:
        columns = min(COLUMNS, last - column)
        for row in range(o, o + outputs, 4):
            rows = min(ROWS, o + outputs - row)
            dots_of(columns, taps, rows, &weight[row, 0, 0, 0], taps, patches + column * pitch, pitch, sums)
            for i in range(rows):
                for j in range(columns):
                    patch = first + column + j
                    at = (patch // pixels * out.shape[1] + row + i) * pixels + patch % pixels
                    y = sums[COLUMNS * i + j] + bias[row + i]
                    if residual.shape[0]:
                        y += (&residual[0, 0, 0, 0])[at]
                    (&out[0, 0, 0, 0])[at] = 0 if relu and y < 0 else y
        column += columns
