"""What a rung needs of a problem, and where it pays.

Pure functions of one image's shape and the weights', not of batch, threads or time, or the bits of an image would
depend on these.
"""

from collections.abc import Callable
from math import gcd, prod
from typing import Any


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pool_2_or_3(problem: Any) -> bool:
    """What `_core/pool.h` is written for; a maximum's place in its window, up to 3 rows, must be exact as float32."""
    return bool(
        problem.kernel_h == problem.kernel_w
        and problem.kernel_h in (2, 3)
        and problem.stride_h == problem.stride_w == 2
        and getattr(problem, "dilation_h", 1) == getattr(problem, "dilation_w", 1) == 1
        and problem.x.shape[2] < 2**22
    )


def _one_window(problem: Any) -> bool:
    return bool(
        problem.out.shape[1:] == (1, 1)
        and problem.kernel_h - problem.pad_top >= problem.x.shape[1]
        and problem.kernel_w - problem.pad_left >= problem.x.shape[2]
    )


def _winograd_3x3(problem: Any) -> bool:
    """What Winograd's transforms are written for."""
    one = problem.stride_h == problem.stride_w == problem.dilation_h == problem.dilation_w == 1
    return bool(problem.weight.shape[2:] == (3, 3) and one)


def _pixel_by_pixel(problem: Any) -> bool:
    same = problem.weight.shape[2:] == (1, 1) and problem.out.shape[2:] == problem.x.shape[2:]
    return bool(same and problem.stride_h == problem.stride_w == 1 and problem.pad_top == problem.pad_left == 0)


def _axes(problem: Any) -> list[tuple[int, int, int]]:
    """Down and across: windows, phases that their values are split into, and by how much a phase is longer."""
    kernels, strides = problem.weight.shape[2:], (problem.stride_h, problem.stride_w)
    dilations = problem.dilation_h, problem.dilation_w
    return [
        (out, min(k, s // gcd(s, d)), (k - 1) * d // s)
        for out, k, s, d in zip(problem.out.shape[2:], kernels, strides, dilations, strict=True)
    ]


def _short_rows(problem: Any) -> bool:
    reach = (problem.out.shape[3] - 1) * problem.stride_w + (problem.weight.shape[3] - 1) * problem.dilation_w
    return bool(max(reach, problem.x.shape[3] + problem.pad_left) < 2**20)


def _copy_fits(problem: Any) -> bool:
    """Of all channels, as `first` and `depthwise` copy them; `direct`, which copies some at a time, would need less."""
    plane = _copied(problem, 1, min(problem.out.shape[3], 24))
    return bool(problem.weight.shape[1] * plane * problem.x.itemsize <= 2**22)


def _copied(problem: Any, rows: int, columns: int) -> int:
    """Values of a channel that are copied for a block of windows."""
    (_, phases_h, reach_h), (_, phases_w, reach_w) = _axes(problem)
    return phases_h * phases_w * (rows + reach_h) * (columns + reach_w)


def _copy_is_small(problem: Any) -> bool:
    """And few of the positions that are computed are those between rows, which nobody wants."""
    (_, _, reach), (taps_h, taps_w) = _axes(problem)[1], problem.weight.shape[2:]
    columns = min(problem.out.shape[3], 256)
    rows = min(max(512 // (columns + reach), 1), problem.out.shape[2])  # of a block
    small = taps_h * taps_w == 1 or 3 * _copied(problem, rows, columns) <= 2 * taps_h * taps_w * rows * columns
    return bool(small and 2 * ((rows - 1) * (columns + reach) + columns) <= 3 * max(rows * columns, 24))


def _few_taps(problem: Any) -> bool:
    """And rows that vectors fill as well as they fill flat blocks; a single vector takes as long as two."""
    (out_h, _, _), (out_w, _, reach_w) = _axes(problem)
    full = 10 * out_h * max(_ceil(out_w, 8), 2) <= 11 * _ceil(out_h * (out_w + reach_w), 8)
    return bool(problem.weight[0].size <= 160 and full)


def _work(problem: Any, m: int, prepare: int) -> float:
    """Vectors that F(m x m, 3 x 3) multiplies for a channel and an output; transforms and preparing are work, too."""
    tiles = _ceil(problem.out.shape[2], m) * _ceil(problem.out.shape[3], m)
    own = 0 if problem.prepared.size else prepare
    return 1.4 * (m + 2) ** 2 * max(_ceil(tiles, 8), 2) + own


def _tile(problem: Any) -> int:
    """Whether to take tiles of 4 x 4 or 2 x 2, or 0: neither."""
    outputs, channels = problem.weight.shape[0] // problem.groups, problem.weight.shape[1]
    if channels * outputs < 5 * channels + 4 * outputs:  # what the transforms take, and what they save
        return 0
    pixels = problem.out.shape[2] * problem.out.shape[3]
    direct = 9 * _ceil(pixels, 8) + (0 if problem.prepared.size else 8)
    four, two = _work(problem, 4, 50), _work(problem, 2, 22)
    if min(four, two) > direct:
        return 0
    return 4 if four < two else 2


def _few_outputs(problem: Any) -> bool:
    """The microkernel works on 4 outputs at a time: with fewer it is partly idle, but of many channels still faster."""
    outputs, channels = problem.weight.shape[0] // problem.groups, problem.weight.shape[1]
    return bool((outputs == 1 and channels < 12) or (outputs < 4 and channels == 1))


def _few_pixels(problem: Any) -> bool:
    """With 16 outputs a group, at the least, or to lay patches out takes as long as to multiply them."""
    _, channels, kernel_h, kernel_w = problem.weight.shape
    pixels, taps = problem.out.shape[2] * problem.out.shape[3], channels * kernel_h * kernel_w
    few = pixels <= (4 if kernel_h * kernel_w == 1 else 16) and taps >= 64
    image = pixels == 1 and problem.x.shape[2:] == (kernel_h, kernel_w) and problem.pad_top == problem.pad_left == 0
    return bool(image or (few and problem.weight.shape[0] >= 16 * problem.groups))


NEEDS: dict[str, Callable[[Any], bool]] = {
    "2 x 2 or 3 x 3 windows, stride 2": _pool_2_or_3,
    "one window a plane": _one_window,
    "3 x 3 kernels, stride 1, dilation 1": _winograd_3x3,
    "3 x 3 kernels, stride 1, dilation 1, up to 1024 channels a group": lambda problem: (
        _winograd_3x3(problem) and problem.weight.shape[1] <= 1024
    ),
    "1 x 1 kernels, stride 1, no padding": _pixel_by_pixel,
    "a padded copy of 24 windows in 4 MiB": _copy_fits,
    "a patch in 4 MiB": lambda problem: problem.weight[0].size * problem.groups * problem.x.itemsize <= 2**22,
    "padded rows of less than 2**20 values": _short_rows,
}
PAYS: dict[str, Callable[[Any], bool]] = {
    "a padded copy is smaller than the patches, with short gaps": _copy_is_small,
    "up to 160 taps, rows of full vectors": _few_taps,
    "up to 16 windows (4 of 1 x 1) of 64 taps or more, for 16 outputs a group; or one that is the image": _few_pixels,
    "one output a group and fewer than 12 channels, or 3 and one channel": _few_outputs,
    # Each tap is a call of NumPy, which takes longer than a few windows do.
    "as many windows as taps, or more": lambda p: prod(p.out.shape[1:]) >= p.kernel_h * p.kernel_w,
    # Vectors of 2 x 8 outputs would be empty for the greater part; a dot product does with one output.
    "fewer than 8 outputs a group": lambda problem: problem.grad_out.shape[1] // problem.groups < 8,
    "tiles of 2 x 2 take the least work": lambda problem: _tile(problem) == 2,
    "tiles of 4 x 4 take the least work": lambda problem: _tile(problem) == 4,
}
