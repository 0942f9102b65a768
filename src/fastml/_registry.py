"""The table of rungs: every kernel of every operation, in ladder order. Nothing else lists kernels.

Dispatch, tests, benches and docs read this table. A row names the operation, the backend, the rung (its name is its
idea), the one idea that changed since the row above, and where the kernel is. Kernels are loaded when first used.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    op: str
    backend: str
    name: str
    idea: str
    kernel: str  # "module:function"
    ships: bool = False  # users get it, where `needs` and `pays` hold; of several, the last one in the table
    needs: str = ""  # what it can do, a name in `fastml._needs.NEEDS`; empty: every problem
    pays: str = ""  # where "auto" takes it, a name in `fastml._needs.PAYS`; empty: wherever it can
    fails: str = ""  # a rung that teaches a failure: how it fails
    prepares: str = ""  # "module:function" that lays weights out for this rung: (weight, groups, n_threads) -> (size,)


R = Rung
RUNGS: tuple[Rung, ...] = (
    # op             backend   rung          the one idea that changed                                     kernel
    R("moments",     "numpy",  "loops",      "the definition: a mean, then squared deviations",            "fastml._ref.moments:loops"),
    R("moments",     "numpy",  "two_pass",   "whole columns at once, NaN masked out",                      "fastml._ref.moments:two_pass", ships=True),
    R("moments",     "numba",  "loops",      "the same loops, compiled",                                   "fastml._jit.moments:loops"),
    R("moments",     "numba",  "blocks",     "one pass of shifted sums in the order of memory, threads",   "fastml._jit.moments:blocks", ships=True),
    R("moments",     "cython", "loops",      "the same loops, ahead of time, down the columns",            "fastml._core.moments:loops"),
    R("moments",     "cython", "rows",       "the same two passes in the order of memory",                 "fastml._core.moments:rows"),
    R("moments",     "cython", "unshifted",  "one pass: sums of x and of x * x",                           "fastml._core.moments:unshifted", fails="cancels where the mean is large against the spread"),
    R("moments",     "cython", "blocks",     "shifted sums of blocks in cache, vectors, merged in order",  "fastml._core.moments:blocks", ships=True),
    R("standardize", "numpy",  "loops",      "the definition: subtract, divide, one value at a time",      "fastml._ref.standardize:loops"),
    R("standardize", "numpy",  "broadcast",  "whole arrays: one expression, two float64 temporaries",      "fastml._ref.standardize:broadcast", ships=True),
    R("standardize", "numba",  "loops",      "the same loops, compiled, in the order of memory",           "fastml._jit.standardize:loops", ships=True),
    R("standardize", "cython", "loops",      "the same loops, feature by feature: a stride per value",     "fastml._core.standardize:loops"),
    R("standardize", "cython", "rows",       "in the order of memory, vectors, threads",                   "fastml._core.standardize:rows", ships=True),
    R("standardize", "cython", "streamed",   "past the caches, through a buffer that fills lines: slower",   "fastml._core.standardize:streamed"),
    R("conv2d",      "numpy",  "loops",      "the definition: seven loops",                                "fastml._ref.conv2d:loops"),
    R("conv2d",      "numpy",  "im2col",     "all patches copied out, one matrix product by BLAS",         "fastml._ref.conv2d:im2col", ships=True),
    R("conv2d",      "numpy",  "winograd_row", "F(2, 3) by hand along rows: 4 multiplications for 6",        "fastml._ref.conv2d_winograd:winograd_row", needs="3 x 3 kernels, stride 1, dilation 1"),
    R("conv2d",      "numpy",  "winograd_2x2", "the same both ways, F(2 x 2, 3 x 3): 16 for 36",             "fastml._ref.conv2d_winograd:winograd_2x2", needs="3 x 3 kernels, stride 1, dilation 1"),
    R("conv2d",      "numpy",  "winograd_4x4", "larger tiles, F(4 x 4, 3 x 3): 36 for 144, and more error",  "fastml._ref.conv2d_winograd:winograd_4x4", needs="3 x 3 kernels, stride 1, dilation 1"),
    R("conv2d",      "numpy",  "winograd_points", "better points: half of that error, no more work",         "fastml._ref.conv2d_winograd:winograd_points", needs="3 x 3 kernels, stride 1, dilation 1"),
    R("conv2d",      "numba",  "loops",      "the seven loops, compiled",                                  "fastml._jit.conv2d:loops"),
    R("conv2d",      "numba",  "rows",       "one weight times a row of pixels: vectors, four outputs",    "fastml._jit.conv2d:rows"),
    R("conv2d",      "numba",  "unroll_and_jam", "8 taps of 4 outputs in one loop: a sum is loaded and stored once for 8 multiplications", "fastml._jit.conv2d:unroll_and_jam", ships=True),
    R("conv2d",      "cython", "loops",      "the seven loops, ahead of time",                             "fastml._core.conv2d:loops"),
    R("conv2d",      "cython", "rows",       "one weight times a row of pixels: vectors",                  "fastml._core.conv2d:rows", needs="padded rows of less than 2**20 values"),
    R("conv2d",      "cython", "im2col",     "patches packed in strips in cache, 4 outputs x 3 vectors of pixels in registers", "fastml._core.conv2d_im2col:im2col", ships=True, prepares="fastml._core.conv2d_direct:prepare"),
    R("conv2d",      "cython", "direct",     "no patches: taps are read from one padded copy of the image", "fastml._core.conv2d_direct:direct", ships=True, needs="a padded copy of 24 windows in 4 MiB", pays="a padded copy is smaller than the patches, with short gaps", prepares="fastml._core.conv2d_direct:prepare"),
    R("conv2d",      "cython", "first",      "few taps, as in a first layer: sums are finished in registers", "fastml._core.conv2d_first:first", ships=True, needs="a padded copy of 24 windows in 4 MiB", pays="up to 160 taps, rows of full vectors", prepares="fastml._core.conv2d_direct:prepare"),
    R("conv2d",      "cython", "gemm",       "1 x 1 kernels: pixels packed in strips, used by all outputs", "fastml._core.conv2d_gemm:gemm", ships=True, needs="1 x 1 kernels, stride 1, no padding", prepares="fastml._core.conv2d_direct:prepare"),
    R("conv2d",      "cython", "depthwise",  "one channel, or few, for an output: vectors along a row, read in place",    "fastml._core.conv2d_depthwise:depthwise", ships=True, needs="a padded copy of 24 windows in 4 MiB", pays="one output a group and fewer than 12 channels, or 3 and one channel"),
    R("conv2d",      "cython", "winograd_2x2", "F(2x2, 3x3), fused: a block of tiles goes through all stages in cache", "fastml._core.conv2d_winograd:winograd_2x2", ships=True, needs="3 x 3 kernels, stride 1, dilation 1, up to 1024 channels a group", pays="tiles of 2 x 2 take the least work", prepares="fastml._core.conv2d_winograd:prepare_2x2"),
    R("conv2d",      "cython", "winograd",   "F(4x4, 3x3), fused: 36 multiplications for 144",             "fastml._core.conv2d_winograd:winograd", ships=True, needs="3 x 3 kernels, stride 1, dilation 1, up to 1024 channels a group", pays="tiles of 4 x 4 take the least work", prepares="fastml._core.conv2d_winograd:prepare"),
    R("conv2d",      "cython", "dots",       "few pixels: dot products with the weights where they are",   "fastml._core.conv2d_dots:dots", ships=True, needs="a patch in 4 MiB", pays="up to 16 windows (4 of 1 x 1) of 64 taps or more, for 16 outputs a group; or one that is the image"),
    R("max_pool2d",  "numpy",  "loops",      "the definition: every tap of every window",                  "fastml._ref.max_pool2d:loops"),
    R("max_pool2d",  "numpy",  "windows",    "sliding_window_view, one reduction",                         "fastml._ref.max_pool2d:windows", ships=True),
    R("max_pool2d",  "numpy",  "taps",       "a maximum of whole arrays for each tap: long inner loops",     "fastml._ref.max_pool2d:taps", ships=True, pays="as many windows as taps, or more"),
    R("max_pool2d",  "numba",  "loops",      "the same loops, compiled, threads",                          "fastml._jit.max_pool2d:loops"),
    R("max_pool2d",  "numba",  "rows",       "maximum of whole rows first, then across, in vectors",       "fastml._jit.max_pool2d:rows", ships=True),
    R("max_pool2d",  "numba",  "unrolled",   "kernel and stride are constants: strides become shuffles",   "fastml._jit.max_pool2d:unrolled", ships=True, needs="2 x 2 or 3 x 3 windows, stride 2"),
    R("max_pool2d",  "cython", "loops",      "the same loops, ahead of time",                              "fastml._core.max_pool2d:loops"),
    R("max_pool2d",  "cython", "rows",       "maximum of whole rows, then across: k + k instead of k * k", "fastml._core.max_pool2d:rows", ships=True),
    R("max_pool2d",  "cython", "unrolled",   "kernel and stride are constants: a vector of windows in registers", "fastml._core.max_pool2d:unrolled", ships=True, needs="2 x 2 or 3 x 3 windows, stride 2"),
    R("avg_pool2d",  "numpy",  "loops",      "the definition: every tap of every window",                  "fastml._ref.avg_pool2d:loops"),
    R("avg_pool2d",  "numpy",  "windows",    "sliding_window_view, one reduction",                         "fastml._ref.avg_pool2d:windows", ships=True),
    R("avg_pool2d",  "numpy",  "taps",       "a sum of whole arrays for each tap: long inner loops",        "fastml._ref.avg_pool2d:taps", ships=True, pays="as many windows as taps, or more"),
    R("avg_pool2d",  "numba",  "loops",      "the same loops, compiled, threads",                          "fastml._jit.avg_pool2d:loops"),
    R("avg_pool2d",  "numba",  "rows_first", "sums of whole rows first, then across, in vectors",          "fastml._jit.avg_pool2d:rows_first", ships=True),
    R("avg_pool2d",  "numba",  "unrolled",   "kernel and stride are constants: strides become shuffles",   "fastml._jit.avg_pool2d:unrolled", ships=True, needs="2 x 2 or 3 x 3 windows, stride 2"),
    R("avg_pool2d",  "cython", "loops",      "the same loops, ahead of time",                              "fastml._core.avg_pool2d:loops"),
    R("avg_pool2d",  "cython", "rows_first", "sums of whole rows, then across: k + k instead of k * k",    "fastml._core.avg_pool2d:rows_first", ships=True),
    R("avg_pool2d",  "cython", "unrolled",   "kernel and stride are constants: a vector of windows in registers", "fastml._core.avg_pool2d:unrolled", ships=True, needs="2 x 2 or 3 x 3 windows, stride 2"),
    R("avg_pool2d",  "cython", "whole",      "one window as large as the plane: a sum in vectors",          "fastml._core.avg_pool2d:whole", ships=True, needs="one window a plane"),
    R("batch_norm",  "numpy",  "loops",      "the definition, value by value",                             "fastml._ref.batch_norm:loops"),
    R("batch_norm",  "numpy",  "passes",     "whole arrays: a pass for each step of the formula",          "fastml._ref.batch_norm:passes", ships=True),
    R("batch_norm",  "numba",  "loops",      "the same loops, compiled, a channel a thread",               "fastml._jit.batch_norm:loops"),
    R("batch_norm",  "numba",  "channels",   "conditions out of the loops, matrices along their channels", "fastml._jit.batch_norm:channels", ships=True),
    R("batch_norm",  "cython", "loops",      "the same loops, ahead of time",                              "fastml._core.batch_norm:loops"),
    R("batch_norm",  "cython", "channels",   "one stable pass in vectors, output while the channel is in cache", "fastml._core.batch_norm:channels", ships=True),
    R("max_pool2d_backward", "numpy",  "loops",   "the definition: each gradient goes where its index says",    "fastml._ref.max_pool2d_backward:loops"),
    R("max_pool2d_backward", "numpy",  "add_at",  "one scatter of everything, by np.add.at",                   "fastml._ref.max_pool2d_backward:add_at", ships=True),
    R("max_pool2d_backward", "numba",  "planes",  "the same scatter, compiled, a plane a thread",              "fastml._jit.max_pool2d_backward:planes", ships=True),
    R("max_pool2d_backward", "cython", "loops",   "the definition, ahead of time: zeros, then a scatter",      "fastml._core.max_pool2d_backward:loops"),
    R("max_pool2d_backward", "cython", "planes",  "a plane is zeroed and filled while it is in cache, threads", "fastml._core.max_pool2d_backward:planes", ships=True),
    R("avg_pool2d_backward", "numpy",  "loops",   "the definition: each gradient goes to its window, divided", "fastml._ref.avg_pool2d_backward:loops"),
    R("avg_pool2d_backward", "numpy",  "taps",    "whole arrays: a strided addition for each tap",             "fastml._ref.avg_pool2d_backward:taps", ships=True),
    R("avg_pool2d_backward", "numba",  "rows",    "row by row of x: sums over windows, then spread, threads",  "fastml._jit.avg_pool2d_backward:rows", ships=True),
    R("avg_pool2d_backward", "cython", "loops",   "the definition, ahead of time, a plane at a time",          "fastml._core.avg_pool2d_backward:loops"),
    R("avg_pool2d_backward", "cython", "rows",    "row by row of x: each is summed and spread in cache, vectors", "fastml._core.avg_pool2d_backward:rows", ships=True),
    R("batch_norm_backward", "numpy",  "loops",   "the definition, value by value",                            "fastml._ref.batch_norm_backward:loops"),
    R("batch_norm_backward", "numpy",  "passes",  "whole arrays: a pass for each step of the formula",         "fastml._ref.batch_norm_backward:passes", ships=True),
    R("batch_norm_backward", "numba",  "channels", "both sums in one pass, the gradient in a second, a channel a thread", "fastml._jit.batch_norm_backward:channels", ships=True),
    R("batch_norm_backward", "cython", "loops",   "the definition, ahead of time: a pass for each sum",        "fastml._core.batch_norm_backward:loops"),
    R("batch_norm_backward", "cython", "channels", "both sums in one pass of vectors, the gradient while the channel is in cache", "fastml._core.batch_norm_backward:channels", ships=True),
    R("conv2d_backward", "numpy",  "loops",  "the definition of weight's and bias' gradients; x's is a conv2d", "fastml._ref.conv2d_backward:loops"),
    R("conv2d_backward", "numpy",  "im2col", "all patches copied out, one matrix product an image by BLAS", "fastml._ref.conv2d_backward:im2col", ships=True),
    R("conv2d_backward", "numba",  "loops",  "the same loops, compiled",                                  "fastml._jit.conv2d_backward:loops"),
    R("conv2d_backward", "numba",  "lines",  "a tap's values laid in line: dot products for 4 outputs at once", "fastml._jit.conv2d_backward:lines", ships=True),
    R("conv2d_backward", "cython", "loops",  "the definition, ahead of time",                             "fastml._core.conv2d_backward:loops"),
    R("conv2d_backward", "cython", "outer",  "outer products: 6 taps x 2 vectors of outputs in registers, pixel after pixel", "fastml._core.conv2d_backward:outer", ships=True),
    R("conv2d_backward", "cython", "dots",   "dot products along rows, 9 taps in registers: no output goes to waste", "fastml._core.conv2d_backward:dots", ships=True, pays="fewer than 8 outputs a group"),
    R("pca",         "numpy",  "loops",      "the definition: mean, then products of centred columns",     "fastml._ref.pca:loops"),
    R("pca",         "numpy",  "centred",    "a centred copy, one matrix product by BLAS",                 "fastml._ref.pca:centred", ships=True),
    R("pca",         "numpy",  "unshifted",  "no copy: the product of x, the mean's part subtracted afterwards", "fastml._ref.pca:unshifted", fails="cancels where the mean is large against the spread"),
    R("pca",         "numpy",  "shifted",    "the same about a provisional mean: little is left to subtract", "fastml._ref.pca:shifted"),
    R("pca",         "numpy",  "blocks",     "blocks of rows, shifted and multiplied while they are in cache", "fastml._ref.pca:blocks"),
    R("pca",         "numba",  "loops",      "the same loops, compiled, in the order of memory, threads",  "fastml._jit.pca:loops"),
    R("pca",         "numba",  "tiles",      "one pass, shifted blocks; 12 sums in registers: 7 loads for 12 products", "fastml._jit.pca:tiles", ships=True),
    R("pca",         "cython", "loops",      "the same loops, ahead of time, column against column",       "fastml._core.pca:loops"),
    R("pca",         "cython", "rows",       "one value times the row that it is in: the order of memory, vectors", "fastml._core.pca:rows"),
    R("pca",         "cython", "square",     "one pass, shifted blocks packed in strips, a tile of sums in registers", "fastml._core.pca:square"),
    R("pca",         "cython", "half",       "tiles from the diagonal on: the other half is its mirror image", "fastml._core.pca:half"),
    R("pca",         "cython", "blocks",     "threads: a chunk of rows each, or rows of tiles where the matrix is large", "fastml._core.pca:blocks", ships=True),
    R("pca",         "cython", "precise",    "float32 packed as float64: its products are exact",          "fastml._core.pca:precise"),
    R("pca_transform", "numpy",  "loops",    "the definition: products of centred rows and components",    "fastml._ref.pca_transform:loops"),
    R("pca_transform", "numpy",  "blocks",   "blocks of centred rows, products by BLAS",                   "fastml._ref.pca_transform:blocks", ships=True),
    R("pca_transform", "numba",  "rows",     "all components of a row at once, in float64",                "fastml._jit.pca_transform:rows", ships=True),
    R("pca_transform", "cython", "loops",    "the definition, ahead of time",                              "fastml._core.pca_transform:loops"),
    R("pca_transform", "cython", "tiles",    "rows centred in cache, times strips: 12 vectors of sums in registers", "fastml._core.pca_transform:tiles", ships=True),
)  # fmt: skip

OPS: tuple[str, ...] = tuple(dict.fromkeys(rung.op for rung in RUNGS))
BACKENDS: tuple[str, ...] = ("cython", "numba", "numpy")
