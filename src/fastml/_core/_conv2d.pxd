# What the algorithms of conv2d share: the geometry of windows, padded rows, the microkernel and the end of each sum.
# The C macros choose by the type of the pointer; `void` here only says "float or double".
from cython.parallel cimport prange
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastml._core._tile cimport PANEL, multiply, multiply_and_finish
from fastml._core._types cimport floating


cdef enum:
    SLACK = 64  # values, more than the vectors that a kernel reads at a time
    MOST_COLUMNS = 256  # of a block; longer rows are cut
    LEAST_COLUMNS = 24  # which are not cut any more
    TASKS = 4  # for each thread, at the least, so that none waits long for the last one


cdef extern from "rows.h" nogil:
    void copy_row(
        const void* row, Py_ssize_t stride, Py_ssize_t first, Py_ssize_t last, Py_ssize_t n, void* to
    ) noexcept
    void copy_phases(
        const void* row, Py_ssize_t first, Py_ssize_t last, Py_ssize_t first_odd, Py_ssize_t last_odd, Py_ssize_t n,
        void* even, void* odd
    ) noexcept
    void finish_row(
        Py_ssize_t n, const void* sums, double bias, const void* residual, bint relu, void* out
    ) noexcept


cdef extern from "depthwise.h" nogil:
    void weigh_row(
        Py_ssize_t n, Py_ssize_t taps, const void* weight, const void* x, const int32_t* offset, double bias,
        const void* residual, bint relu, void* out
    ) noexcept
    void weigh_3x3(
        int stride, bint stacked, Py_ssize_t rows, Py_ssize_t n, const void* weight, const void* x, Py_ssize_t w,
        Py_ssize_t pad, double bias, const void* residual, bint relu, void* out
    ) noexcept


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef struct Axis:  # the windows along one axis, and the phases that its values are split into
    Py_ssize_t size  # of the input
    Py_ssize_t kernel
    Py_ssize_t stride
    Py_ssize_t pad  # before
    Py_ssize_t dilation
    Py_ssize_t out  # number of windows
    Py_ssize_t phases
    Py_ssize_t reach  # a phase of n windows is n + reach long


cdef inline Axis windows(
    Py_ssize_t size, Py_ssize_t kernel, Py_ssize_t stride, Py_ssize_t pad, Py_ssize_t dilation, Py_ssize_t out
) noexcept nogil:
    """Tap k of window i reads value i * stride + k * dilation - pad: of phase (k * dilation) mod stride, the value
    i + (k * dilation) // stride. So in a phase the windows' values for a tap are neighbours, as with a stride of 1."""
    cdef Py_ssize_t a = stride, b = dilation
    while b:  # their greatest common divisor
        a, b = b, a % b
    return Axis(size, kernel, stride, pad, dilation, out, min(kernel, stride // a), (kernel - 1) * dilation // stride)


cdef inline Py_ssize_t first_inside(Axis* axis, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """The first t of n for which start + t * stride is inside of the image, or n."""
    return min(max(0, ceil_div(-start, axis.stride)), n) if start < 0 else 0


cdef inline Py_ssize_t end_inside(Axis* axis, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
    """The t from which on start + t * stride lies behind the image, or n."""
    return min(max(0, ceil_div(axis.size - start, axis.stride)), n) if start < axis.size else 0


cdef inline void copy_planes(
    Axis* rows, Axis* columns, const floating* plane, Py_ssize_t first_row, Py_ssize_t n_rows,
    Py_ssize_t first_column, Py_ssize_t n_columns, floating* to
) noexcept nogil:
    """One channel of a block of windows as (phase of rows, phase of columns, n_rows, n_columns), padded with zeros."""
    cdef Py_ssize_t phase, other, top, left, i, y, first, last, first_odd, last_odd
    cdef bint both = columns.stride == 2 and columns.phases == 2  # which are then those of even and of odd columns
    for phase in range(rows.phases):
        top = first_row * rows.stride + phase * rows.dilation % rows.stride - rows.pad
        for other in range(1 if both else columns.phases):
            left = first_column * columns.stride + other * columns.dilation % columns.stride - columns.pad
            first, last = first_inside(columns, left, n_columns), end_inside(columns, left, n_columns)
            first_odd, last_odd = first_inside(columns, left + 1, n_columns), end_inside(columns, left + 1, n_columns)
            for i in range(n_rows):
                y = top + i * rows.stride
                if not 0 <= y < rows.size:
                    memset(to, 0, n_columns * sizeof(floating))
                    if both:
                        memset(to + n_rows * n_columns, 0, n_columns * sizeof(floating))
                elif both:
                    copy_phases(plane + y * columns.size + left, first, last, first_odd, last_odd, n_columns, to,
                                to + n_rows * n_columns)
                else:
                    copy_row(plane + y * columns.size + left, columns.stride, first, max(first, last), n_columns, to)
                to += n_columns
        if both:
            to += n_rows * n_columns


cdef inline void fill_offsets(
    Axis* rows, Axis* columns, Py_ssize_t channels, Py_ssize_t n_rows, Py_ssize_t n_columns, int32_t* offset
) noexcept nogil:
    """Where copy_planes put the value of each tap, of the first window."""
    cdef Py_ssize_t c, ky, kx, phase, shift
    for c in range(channels):
        for ky in range(rows.kernel):
            for kx in range(columns.kernel):
                phase = (c * rows.phases + ky % rows.phases) * columns.phases + kx % columns.phases
                shift = ky * rows.dilation // rows.stride * n_columns + kx * columns.dilation // columns.stride
                offset[0] = phase * n_rows * n_columns + shift
                offset += 1


cdef struct Blocks:  # of windows, and what some channels need of the image for them: a copy that a cache holds
    Axis vertical
    Axis horizontal
    Py_ssize_t groups
    Py_ssize_t channels  # that are copied at a time
    Py_ssize_t rows  # of windows, of a block
    Py_ssize_t columns
    Py_ssize_t lines  # rows of a phase
    Py_ssize_t pitch  # values of a line
    Py_ssize_t plane  # values of a channel
    Py_ssize_t down  # blocks of an image
    Py_ssize_t across
    Py_ssize_t count  # blocks of all images and groups


cdef inline Blocks cut(
    Axis vertical, Axis horizontal, Py_ssize_t images, Py_ssize_t groups, Py_ssize_t channels,
    Py_ssize_t most_positions, Py_ssize_t size, Py_ssize_t n_threads
) noexcept nogil:
    """As many rows as make `most_positions` and `size` values; of long rows a piece.

    And then as many blocks for each thread, if that can be: how windows are cut into blocks changes no bit.
    """
    cdef Blocks b
    cdef Py_ssize_t down
    b.vertical, b.horizontal, b.groups, b.channels = vertical, horizontal, groups, channels
    b.columns = ceil_div(horizontal.out, ceil_div(horizontal.out, MOST_COLUMNS))
    while True:
        b.pitch = b.columns + horizontal.reach
        b.rows = min(max(most_positions // b.pitch, 1), vertical.out)
        while True:
            b.rows = ceil_div(vertical.out, ceil_div(vertical.out, b.rows))  # blocks of like sizes
            b.lines = b.rows + vertical.reach
            b.plane = vertical.phases * horizontal.phases * b.lines * b.pitch
            if b.rows == 1 or channels * b.plane <= size:
                break
            b.rows = b.rows // 2
        if b.columns <= LEAST_COLUMNS or channels * b.plane <= size:
            break
        b.columns = ceil_div(b.columns, 2)
    b.down, b.across = ceil_div(vertical.out, b.rows), ceil_div(horizontal.out, b.columns)
    for down in range(b.down, min(vertical.out, 2 * b.down) + 1):
        if images * groups * b.across * down % n_threads == 0:
            b.down = down
            break
    b.rows = ceil_div(vertical.out, b.down)
    b.lines = b.rows + vertical.reach
    b.plane = vertical.phases * horizontal.phases * b.lines * b.pitch
    b.count = images * groups * b.down * b.across
    return b


cdef inline Py_ssize_t parts_of_outputs(
    Blocks* b, Py_ssize_t panels, Py_ssize_t least, Py_ssize_t n_threads
) noexcept nogil:
    """Into how many tasks a block is cut, each with `least` panels or more, so that all threads have as much to do."""
    if b.count % n_threads == 0:
        return 1
    return max(1, min(ceil_div(TASKS * n_threads, b.count), panels // least))


cdef struct Block:
    Py_ssize_t n
    Py_ssize_t group
    Py_ssize_t row  # of windows, the first
    Py_ssize_t column
    Py_ssize_t rows
    Py_ssize_t columns


cdef inline Block block_at(Blocks* b, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t group = index // (b.across * b.down), down = index // b.across % b.down
    cdef Py_ssize_t row = b.vertical.out * down // b.down, column = index % b.across * b.columns
    return Block(group // b.groups, group % b.groups, row, column, b.vertical.out * (down + 1) // b.down - row,
                 min(b.columns, b.horizontal.out - column))


cdef inline void copy_block(
    Blocks* b, Block* block, const floating[:, :, :, ::1] x, Py_ssize_t first, Py_ssize_t n, floating* to
) noexcept nogil:
    """Some channels of a block, as copy_planes makes them, and SLACK zeros: vectors may end behind the last one."""
    cdef Py_ssize_t channels = x.shape[1] // b.groups, c
    for c in range(first, first + n):
        copy_planes(&b.vertical, &b.horizontal, &x[block.n, block.group * channels + c, 0, 0], block.row, b.lines,
                    block.column, b.pitch, to)
        to += b.plane
    memset(to, 0, SLACK * sizeof(floating))


cdef struct Packed:  # a piece of (taps, pixels): strips of pixels, each (STRIP taps, pitch)
    Py_ssize_t pixels
    Py_ssize_t pitch
    Py_ssize_t first_tap
    Py_ssize_t depth
    Py_ssize_t taps  # of all pieces


cdef enum:
    MOST_DEPTH = 256  # taps in one go: a strip of 24 KiB stays in the first-level cache for all panels
    STRIP = 257  # taps from one strip to the next: copies may write past the last lane of the last tap
    STRIPS = 8  # of a piece


cdef inline void multiply_strips(
    Packed* b, const floating* strips, const floating* panels, Py_ssize_t outputs, const int32_t* offset,
    floating* sums, const floating* bias, const floating* residual, bint relu, floating* out, Py_ssize_t plane
) noexcept nogil:
    """Outputs x pixels of a piece, added to the sums of those before it; the last piece is finished."""
    cdef Py_ssize_t first = 0, lanes = b.pitch // 3, n, o, panel, whole = STRIPS * b.pitch
    cdef const floating* a = panels + b.first_tap * PANEL
    while first < b.pixels:
        n = min(b.pitch, b.pixels - first)
        if b.depth == b.taps:
            for panel in range(ceil_div(outputs, PANEL)):
                o = panel * PANEL
                multiply_and_finish(
                    n, b.depth, a + o * b.taps, strips, offset, min(PANEL, outputs - o), bias + o,
                    residual + o * plane + first if residual else NULL, relu, out + o * plane + first, plane,
                )
        else:
            multiply(ceil_div(n, lanes), ceil_div(outputs, PANEL), b.depth, a, b.taps * PANEL, strips, offset,
                     b.first_tap > 0, sums + first, whole)
        strips += STRIP * b.pitch
        first += b.pitch
    if b.depth < b.taps and b.first_tap + b.depth == b.taps:
        for o in range(outputs):
            finish_row(b.pixels, sums + o * whole, bias[o], residual + o * plane if residual else NULL, relu,
                       out + o * plane)


cdef inline Py_ssize_t size_of_panels(const floating[:, :, :, ::1] weight, Py_ssize_t groups) noexcept nogil:
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    return groups * ceil_div(weight.shape[0] // groups, PANEL) * PANEL * taps


cdef inline void pack_panels(
    const floating[:, :, :, ::1] weight, Py_ssize_t groups, Py_ssize_t n_threads, floating* to
) noexcept nogil:
    """The weights as (group, panel, tap, 4 outputs): what the microkernel reads next lies next."""
    cdef Py_ssize_t outputs = weight.shape[0] // groups, panels = ceil_div(outputs, PANEL), panel
    cdef Py_ssize_t taps = weight.shape[1] * weight.shape[2] * weight.shape[3]
    for panel in prange(groups * panels, num_threads=n_threads, schedule="static"):
        pack_panel(&weight[panel // panels * outputs + panel % panels * PANEL, 0, 0, 0],
                   min(PANEL, outputs - panel % panels * PANEL), taps, to + panel * taps * PANEL)


cdef inline void pack_panel(
    const floating* weight, Py_ssize_t outputs, Py_ssize_t taps, floating* to
) noexcept nogil:
    """(outputs, taps) -> (taps, 4). Missing outputs are zero."""
    cdef Py_ssize_t k, i
    if outputs == PANEL:
        for k in range(taps):
            to[4 * k] = weight[k]
            to[4 * k + 1] = weight[k + taps]
            to[4 * k + 2] = weight[k + 2 * taps]
            to[4 * k + 3] = weight[k + 3 * taps]
    else:
        for k in range(taps):
            for i in range(PANEL):
                to[PANEL * k + i] = weight[k + i * taps] if i < outputs else 0
