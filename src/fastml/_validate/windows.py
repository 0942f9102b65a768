"""The arithmetic of windows along one axis: padding, output sizes, divisors. Python integers throughout."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml._validate.numbers import MOST, is_sequence, pair

MOST_PADDING = 2**24  # on one side, after windows that only see padding have been cut; scratch rows are this long


class Axis(NamedTuple):
    """Windows along one axis of an input of length `size`."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int  # padding
    after: int
    out: int = 0  # number of windows

    @property
    def span(self) -> int:
        """Length of the dilated kernel."""
        return (self.kernel - 1) * self.dilation + 1


def axes(
    size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any, *, pooling: bool = False,
    ceil_mode: bool = False, kernel_name: str = "kernel_size",
) -> tuple[Axis, Axis]:
    """Both axes, from the arguments as the user gave them."""
    kernels = pair(kernel, kernel_name, 1)
    strides = kernels if pooling and stride is None else pair(stride, "stride", 1)
    dilations = pair(dilation, "dilation", 1)
    bare = [Axis(size[i], kernels[i], strides[i], dilations[i], 0, 0) for i in (0, 1)]
    sides = _sides(padding, bare, pooling)
    padded = [axis._replace(before=side[0], after=side[1]) for axis, side in zip(bare, sides, strict=True)]
    vertical, horizontal = (_count(axis, ceil_mode, kernel_name) for axis in padded)
    return vertical, horizontal


def just_fitting(
    kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any
) -> tuple[Axis, Axis]:
    """Both axes of an input as large as the dilated kernel: the arguments are checked before there is an input."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, pair(dilation, "dilation", 1), strict=True)]
    return axes((spans[0], spans[1]), kernel, stride, padding, dilation)


def is_key(value: Any) -> bool:
    """Whether equal values are the same argument: 1, 1.0 and True are equal, and only the first of them is taken."""
    kind = type(value)
    return kind is int or kind is str or value is None or (kind is tuple and all(map(is_key, value)))


def _sides(padding: Any, bare: list[Axis], pooling: bool) -> list[tuple[int, int]]:
    """(before, after) of both axes, from any form of the `padding` argument."""
    if isinstance(padding, str):
        if padding not in ("valid", "same", "same_lower"):
            raise ValueError(f"padding must be numbers, 'valid', 'same' or 'same_lower', got {padding!r}")
        return [(0, 0) if padding == "valid" else _same(axis, lower=padding == "same_lower") for axis in bare]
    if is_sequence(padding) and len(padding) == 2 and any(is_sequence(side) for side in padding):
        if not all(is_sequence(side) for side in padding):
            raise ValueError("padding must be an integer, (vertical, horizontal) or ((top, bottom), (left, right))")
        sides = [pair(side, f"padding[{i}]", 0) for i, side in enumerate(padding)]
        for axis, side in zip(bare, sides, strict=True):
            if pooling and max(side) >= axis.span:
                raise ValueError(f"padding must be less than the dilated kernel ({axis.span}) on a side, got {padding}")
        return sides
    both = pair(padding, "padding", 0)
    for axis, amount in zip(bare, both, strict=True):
        if pooling and amount > axis.kernel // 2:
            raise ValueError(f"padding must be at most half of the kernel ({axis.kernel}), got {padding}")
    return [(amount, amount) for amount in both]


def _same(axis: Axis, *, lower: bool) -> tuple[int, int]:
    """Padding for ceil(size / stride) windows; what is odd goes after, or before with `lower`."""
    total = max((-(-axis.size // axis.stride) - 1) * axis.stride + axis.span - axis.size, 0)
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def _count(axis: Axis, ceil_mode: bool, kernel_name: str) -> Axis:
    room = axis.size + axis.before + axis.after - axis.span
    out = room // axis.stride + 1
    if ceil_mode:
        out = -(-room // axis.stride) + 1
        # the last window must start inside, or in the padding before
        if (out - 1) * axis.stride >= axis.size + axis.before:
            out -= 1
    if out < 1:
        raise ValueError(
            f"{kernel_name} {axis.kernel} with dilation {axis.dilation} spans {axis.span}, more than the padded input "
            f"({axis.size} + {axis.before} + {axis.after})"
        )
    if out > MOST:
        raise ValueError(f"padding must be less: ({axis.before}, {axis.after}) makes {out} windows")
    return axis._replace(out=out)


def check_padding(axis: Axis) -> None:
    if max(axis.before, axis.after) > MOST_PADDING:
        raise ValueError(f"padding must be at most {MOST_PADDING} on a side, got {max(axis.before, axis.after)}")


def trim(axis: Axis) -> Axis:
    """Cut the taps that lie in the padding for every window: they do not change a maximum or a sum.

    Then no kernel loops over 2**40 taps because the caller asked for them.
    """
    last_start = (axis.out - 1) * axis.stride - axis.before
    # taps before the input even in the last window; one is kept, and none is cut that starts the input
    lead = min(max(0, -(last_start // axis.dilation)), axis.kernel - 1, axis.before // axis.dilation)
    before = axis.before - lead * axis.dilation
    reach = (axis.size - 1 + before) // axis.dilation + 1  # taps inside the input in the first window
    trimmed = axis._replace(kernel=min(axis.kernel - lead, reach), before=before, after=0)
    check_padding(trimmed)
    return trimmed


def divisors(axis: Axis, include_padding: bool) -> NDArray[np.float64]:
    """How many values each window averages along this axis: PyTorch's rule, also for the last window of ceil_mode."""
    fits = axis.before + axis.size + axis.after + axis.kernel < MOST
    start = np.arange(axis.out, dtype=np.int64 if fits else object) * axis.stride - axis.before
    end = np.minimum(start + axis.kernel, axis.size + axis.after)
    if not include_padding:
        start, end = np.maximum(start, 0), np.minimum(end, axis.size)
    counts: NDArray[np.float64] = np.maximum(end - start, 1).astype(np.float64)
    return counts
