"""1 x 1 convolution, a matrix product for each image. The specification is `fastml._ref.conv2d`."""
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
    LEAST_PANELS = 8  # of a task, or packing pixels for a few outputs would cost more than it saves
    MOST_PANELS = 1024  # of a task, whose sums take STRIPS strips an output


def gemm(
    const floating[:, :, :, ::1] x,  # IN (n, c, h, w)
    const floating[:, :, :, ::1] weight,  # IN (o, c / groups, 1, 1)
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
    floating[:, :, :, ::1] out,  # OUT (n, o, h, w)
    Py_ssize_t n_threads,
):
    """(o, c) weights times (c, h * w) pixels, packed in strips as wide as the microkernel.

    Buys loads from the first-level cache: the pixels of a strip lie next to each other there, while in the image each
    channel is on another page. A strip is packed once and used by all panels of outputs.
    """
    cdef Py_ssize_t pitch = 3 * (LANES_F32 if floating is float else LANES_F64), pixels = x.shape[2] * x.shape[3]
    cdef Py_ssize_t panels = ceil_div(weight.shape[0] // groups, PANEL), across = ceil_div(pixels, STRIPS * pitch)
    cdef Py_ssize_t blocks = x.shape[0] * groups * across, task, block, first
    cdef Py_ssize_t parts = max(ceil_div(panels, MOST_PANELS),
                                min(ceil_div(TASKS * n_threads, blocks), panels // LEAST_PANELS))
    cdef Py_ssize_t sums = ceil_div(panels, parts) * PANEL if weight.shape[1] > MOST_DEPTH else 0
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
                    Packed(min(STRIPS * pitch, pixels - first), pitch, 0, 0, weight.shape[1]), first, x, packed,
                    &offset[0], bias, residual, relu, out, block // (groups * across), block // across % groups, groups,
                    panels * (task % parts) // parts, panels * (task % parts + 1) // parts, &memory[threadid(), 0],
                )
    end_watch(&watch)


cdef void _piece_by_piece(
    Packed piece, Py_ssize_t first_pixel, const floating[:, :, :, ::1] x, const floating* packed,
    const int32_t* offset, const floating[::1] bias, const floating[:, :, :, ::1] residual, bint relu,
    floating[:, :, :, ::1] out, Py_ssize_t n, Py_ssize_t group, Py_ssize_t groups, Py_ssize_t first_panel,
    Py_ssize_t last_panel, floating* scratch
) noexcept nogil:
    """Some panels of the outputs of some pixels, MOST_DEPTH channels at a time."""
    cdef Py_ssize_t outputs = out.shape[1] // groups, pixels = out.shape[2] * out.shape[3]
    cdef Py_ssize_t first_output = group * outputs + first_panel * PANEL
    cdef const floating* weights = packed + (group * ceil_div(outputs, PANEL) + first_panel) * piece.taps * PANEL
    cdef const floating* added = &residual[n, first_output, 0, 0] + first_pixel if residual.shape[0] else NULL
    while piece.first_tap < piece.taps:
        piece.depth = min(MOST_DEPTH, piece.taps - piece.first_tap)
        _pack(&piece, &x[n, group * piece.taps + piece.first_tap, 0, 0] + first_pixel, pixels, scratch)
        multiply_strips(
            &piece, scratch, weights, min(last_panel * PANEL, outputs) - first_panel * PANEL, offset,
            scratch + STRIP * STRIPS * piece.pitch, &bias[first_output], added, relu,
            &out[n, first_output, 0, 0] + first_pixel, pixels,
        )
        piece.first_tap += piece.depth


cdef inline void _pack(
    Packed* piece, const floating* x, Py_ssize_t plane, floating* strips
) noexcept nogil:
    """(depth, pixels) -> (strip, depth, pitch), channel after channel, as the image lies in memory."""
    cdef Py_ssize_t pitch = 3 * (LANES_F32 if floating is float else LANES_F64), k, first, n
    cdef floating* to
    for k in range(piece.depth):
        first = 0
        to = strips + k * pitch
        while first < piece.pixels:
            n = min(pitch, piece.pixels - first)
            if n == pitch:  # a constant: three vector moves
                memcpy(to, x + first, pitch * sizeof(floating))
            else:  # lanes without a pixel are multiplied, too: zeros, as denormals would be slow
                memcpy(to, x + first, n * sizeof(floating))
                memset(to + n, 0, (pitch - n) * sizeof(floating))
            to += STRIP * pitch
            first += pitch
        x += plane
