# What conv2d_backward.h offers, and how a block of x is laid out for it.
# The C macros choose by the type of the pointer; `void` here only says "float or double".
from libc.string cimport memset

from fastml._core._conv2d cimport ceil_div, copy_row
from fastml._core._types cimport floating


cdef extern from "conv2d_backward.h" nogil:
    const Py_ssize_t OUTER_TAPS
    const Py_ssize_t DOT_TAPS
    void interleave(
        Py_ssize_t outputs, Py_ssize_t n, Py_ssize_t apart, const void* grad, void* out
    ) noexcept
    void outer_product(
        Py_ssize_t taps, Py_ssize_t rows, Py_ssize_t columns, const void* x, Py_ssize_t down, Py_ssize_t right,
        const Py_ssize_t* offset, const void* grad, void* sums
    ) noexcept
    void dot_products(
        Py_ssize_t taps, Py_ssize_t rows, Py_ssize_t columns, const void* x, Py_ssize_t down, const Py_ssize_t* offset,
        const void* grad, Py_ssize_t pitch, void* sums
    ) noexcept


cdef enum:
    MOST_VALUES = 32768  # of a channel in a block, or twice the size of a kernel where that is more
    MOST_SCRATCH = 65536  # values of all channels in a block: 256 KiB of float32, half of a second-level cache


cdef struct Axis:
    Py_ssize_t size  # of x
    Py_ssize_t kernel
    Py_ssize_t stride
    Py_ssize_t pad  # before x
    Py_ssize_t dilation
    Py_ssize_t out  # pixels of the result
    Py_ssize_t block  # pixels of a block, at the most
    Py_ssize_t blocks
    Py_ssize_t length  # values of x in a block
    Py_ssize_t pixel  # from what a tap sees for one pixel to what it sees for the next
    Py_ssize_t tap  # from what one tap sees to what the next sees
    bint whole  # all of x from the first value to the last; if not, first all that one tap sees, then the next


cdef inline void set_axis(
    Axis* a, Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t pad, Py_ssize_t dilation, Py_ssize_t out
) noexcept nogil:
    a.size, a.kernel, a.stride, a.pad, a.dilation, a.out = size, kernel, stride, pad, dilation, out


cdef inline void set_block(Axis* a, Py_ssize_t pixels, bint neighbours) noexcept nogil:
    """Blocks of at most so many pixels, of like sizes. With `neighbours`, what a tap sees must lie side by side.

    The shorter way is taken, so that no stride and no dilation makes a block large: it has at most a value for each
    pixel and tap.
    """
    a.blocks = ceil_div(a.out, pixels)
    a.block = ceil_div(a.out, a.blocks)
    a.length = (a.block - 1) * a.stride + (a.kernel - 1) * a.dilation + 1
    a.whole = a.length <= a.block * a.kernel and (a.stride == 1 or not neighbours)
    a.pixel, a.tap = a.stride, a.dilation
    if not a.whole:
        a.length, a.pixel, a.tap = a.block * a.kernel, 1, a.block


cdef inline void set_blocks(Axis* rows, Axis* columns, Py_ssize_t pixels, bint neighbours) noexcept nogil:
    """Whole rows, or a piece of one row: either way the gradients of a block lie side by side."""
    cdef Py_ssize_t most = max(MOST_VALUES, 2 * rows.kernel * columns.kernel)
    set_block(columns, pixels, neighbours)
    set_block(rows, max(1, pixels // columns.block), False)
    while rows.block > 1 and rows.length * columns.length > most:
        set_block(rows, rows.block // 2, False)
    while columns.block > 1 and rows.length * columns.length > most:
        set_block(columns, columns.block // 2, neighbours)


cdef inline bint touches_padding(Axis* a) noexcept nogil:
    return a.pad > 0 or (a.out - 1) * a.stride + (a.kernel - 1) * a.dilation >= a.size


cdef inline void copy_block(
    Axis* rows, Axis* columns, const floating* plane, Py_ssize_t first_row, Py_ssize_t first_column, floating* to
) noexcept nogil:
    """One channel of a block, zeros where the padding is."""
    cdef Py_ssize_t left = first_column * columns.stride - columns.pad, u, y, k
    for u in range(rows.length):
        y = u if rows.whole else u % rows.block * rows.stride + u // rows.block * rows.dilation
        y += first_row * rows.stride - rows.pad
        if not 0 <= y < rows.size:
            memset(to, 0, columns.length * sizeof(floating))
        elif columns.whole:
            copy_part(plane + y * columns.size, columns.size, left, 1, columns.length, to)
        else:
            for k in range(columns.kernel):
                copy_part(plane + y * columns.size, columns.size, left + k * columns.dilation, columns.stride,
                          columns.block, to + k * columns.block)
        to += columns.length


cdef inline void copy_part(
    const floating* row, Py_ssize_t size, Py_ssize_t start, Py_ssize_t stride, Py_ssize_t n, floating* to
) noexcept nogil:
    """to[t] = row[start + t * stride], or 0 outside of the row."""
    cdef Py_ssize_t first = min(n, ceil_div(-start, stride)) if start < 0 else 0
    cdef Py_ssize_t last = min(n, ceil_div(size - start, stride)) if start < size else 0
    copy_row(row + start, stride, first, max(first, last), n, to)


cdef inline void set_offsets(Axis* rows, Axis* columns, Py_ssize_t channels, Py_ssize_t plane, Py_ssize_t pitch,
                             Py_ssize_t* offset) noexcept nogil:
    """Where each tap sees its value for the first pixel of a block, as (channels, kernel_h, kernel_w)."""
    cdef Py_ssize_t c, ky, kx
    for c in range(channels):
        for ky in range(rows.kernel):
            for kx in range(columns.kernel):
                offset[0] = c * plane + ky * rows.tap * pitch + kx * columns.tap
                offset += 1
