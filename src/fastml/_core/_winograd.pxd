# What winograd.h offers, and how tiles are cut into blocks.
# The C macros choose by the type of the pointer; `void` here only says "float or double".
from fastml._core._conv2d cimport ceil_div
from fastml._core._tile cimport PANEL


cdef extern from "winograd.h" nogil:
    void weights_at_points(int m, const void* weight, void* to, Py_ssize_t apart) noexcept
    void split_row(int m, const void* row, Py_ssize_t tiles, void* to, Py_ssize_t plane) noexcept
    void input_tiles(
        int m, const void* x, Py_ssize_t plane, Py_ssize_t across, void* to, Py_ssize_t apart
    ) noexcept
    void output_tiles(
        int m, const void* x, Py_ssize_t apart, void* to, Py_ssize_t pitch, void* probe
    ) noexcept


cdef enum:
    MOST_TILES = 64  # of a block
    BLOCK_BYTES = 640 * 1024  # of a block's tiles at the points
    GROUP = 4  # panels of outputs whose sums are kept between the second and the third stage
    GAP = 16  # values, so that planes do not lie a power of two apart, which would put them into few sets of a cache


cdef struct Tiles:
    Py_ssize_t m  # a tile makes m x m outputs
    Py_ssize_t points  # (m + 2) ** 2
    Py_ssize_t down  # tiles of an image
    Py_ssize_t across
    Py_ssize_t cuts  # of the rows, into blocks
    Py_ssize_t rows  # of tiles, of a block, at the most
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


cdef inline Tiles cut_tiles(
    Py_ssize_t m, Py_ssize_t groups, Py_ssize_t channels, Py_ssize_t outputs, Py_ssize_t h, Py_ssize_t w,
    Py_ssize_t pad_top, Py_ssize_t pad_left, Py_ssize_t out_h, Py_ssize_t out_w, Py_ssize_t lanes, Py_ssize_t itemsize,
    Py_ssize_t images, Py_ssize_t n_threads
) noexcept nogil:
    """Blocks of whole rows of tiles, or pieces of long rows, as many for each thread if that can be.

    How tiles are cut into blocks changes no bit of what is computed for them.
    """
    cdef Tiles t
    cdef Py_ssize_t most, pieces, cuts, vectors, all_in_all
    t.m, t.points, t.groups, t.channels, t.outputs = m, (m + 2) * (m + 2), groups, channels, outputs
    t.h, t.w, t.pad_top, t.pad_left = h, w, pad_top, pad_left
    t.down, t.across = ceil_div(out_h, m), ceil_div(out_w, m)
    most = max(2 * lanes, min(MOST_TILES, BLOCK_BYTES // (t.points * channels * itemsize)))
    pieces = ceil_div(t.across, most)
    t.columns = ceil_div(t.across, pieces)
    t.cuts = ceil_div(t.down, max(most // t.columns, 1))
    all_in_all = t.cuts * _vectors(ceil_div(t.down, t.cuts) * t.columns, lanes)
    for cuts in range(t.cuts, min(t.down, 2 * t.cuts) + 1):
        vectors = _vectors(ceil_div(t.down, cuts) * t.columns, lanes)
        if images * groups * pieces * cuts % n_threads == 0 and 4 * cuts * vectors <= 5 * all_in_all:
            t.cuts = cuts
            break
    t.rows = ceil_div(t.down, t.cuts)
    t.lanes = ceil_div(t.rows * t.columns, lanes) * lanes
    t.blocks = t.cuts * pieces
    t.plane, t.sums = channels * t.lanes + GAP, GROUP * PANEL * t.lanes + GAP
    return t


cdef inline Py_ssize_t _vectors(Py_ssize_t tiles, Py_ssize_t lanes) noexcept nogil:
    """A single one takes the microkernel as long as two."""
    return max(ceil_div(tiles, lanes), 2)


cdef struct Block:
    Py_ssize_t n
    Py_ssize_t group
    Py_ssize_t row  # of tiles, the first
    Py_ssize_t column
    Py_ssize_t rows
    Py_ssize_t columns


cdef inline Block block_of_tiles(Tiles* t, Py_ssize_t index) noexcept nogil:
    cdef Py_ssize_t pieces = t.blocks // t.cuts, image = index // t.blocks, cut = index // pieces % t.cuts
    cdef Py_ssize_t row = t.down * cut // t.cuts, column = index % pieces * t.columns
    return Block(image // t.groups, image % t.groups, row, column, t.down * (cut + 1) // t.cuts - row,
                 min(t.columns, t.across - column))


cdef inline Py_ssize_t size_of_parts(Py_ssize_t panels, Py_ssize_t channels, Py_ssize_t m) noexcept nogil:
    """Of the weights at the points, for so many panels of outputs."""
    return (m + 2) * (m + 2) * (panels * PANEL * channels + ceil_div(panels, GROUP) * GAP)
