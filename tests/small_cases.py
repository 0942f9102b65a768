"""Small problems that every rung is tested on: sizes 1 and primes, around the blocks of the kernels, every option."""

from collections.abc import Callable

import numpy as np

from fastml.learn.cases import Case
from fastml.learn.data import normal, wine


def _holes(*shape: int) -> Callable[[], np.ndarray]:
    """Random values, a tenth of them NaN; the first column is all NaN."""

    def make() -> np.ndarray:
        x = normal(*shape, offset=5)()
        x[np.random.default_rng(2).random(shape) < 0.1] = np.nan
        x[..., 0] = np.nan
        return x

    return make


def _one_nan(*shape: int) -> Callable[[], np.ndarray]:
    """Random values; the last one of the first channel is NaN."""

    def make() -> np.ndarray:
        x = normal(*shape)()
        x[(-1, 0, *[-1] * (len(shape) - 2))] = np.nan
        return x

    return make


def _ties(*shape: int) -> Callable[[], np.ndarray]:
    """Few different values, some of them NaN."""
    return lambda: np.where(_holes(*shape)() > 5, 1, np.round(_holes(*shape)()))


MATRICES = (
    ("1x1", normal(1, 1)),
    ("7x3", normal(7, 3, offset=1e6)),
    ("257x5", normal(257, 5)),
    ("3x129", normal(3, 129)),
    ("67x65 with NaN", _holes(67, 65)),
    ("9x259", normal(9, 259)),
    ("5x7 after NaN, offset", lambda: np.vstack((np.full((2, 7), np.nan), normal(3, 7, offset=1e6)()))),
    ("7x5 after NaN, offset", lambda: np.hstack((np.full((7, 2), np.nan), normal(7, 3, offset=1e6)()))),
    ("constant", lambda: np.full((13, 4), 14.62)),
)
CONVOLUTIONS = (
    Case("conv2d", "1x1x1x1 to 1, k1", normal(1, 1, 1, 1), {}, (1, 1, 1, 1)),
    Case("conv2d", "2x3x7x5 to 4, k3", normal(2, 3, 7, 5), {"padding": 1}, (4, 3, 3, 3)),
    Case("conv2d", "1x2x9x17 to 7, k3 s2 relu", normal(1, 2, 9, 17), {"stride": 2, "padding": 1, "activation": "relu"}, (7, 2, 3, 3)),
    Case("conv2d", "1x30x4x5 to 5, k3: taps over a block", normal(1, 30, 4, 5), {"padding": 1}, (5, 30, 3, 3)),
    Case("conv2d", "1x4x8x9 to 6 in 2 groups, d2", normal(1, 4, 8, 9), {"dilation": 2, "padding": 2, "groups": 2}, (6, 2, 3, 3)),
    Case("conv2d", "2x5x6x6 depthwise, k3 s1x2", normal(2, 5, 6, 6), {"stride": (1, 2), "padding": 1, "groups": 5}, (5, 1, 3, 3)),
    Case("conv2d", "1x2x6x7 to 8, k2x4, sides", normal(1, 2, 6, 7), {"padding": ((0, 1), (2, 1))}, (8, 2, 2, 4)),
    Case("conv2d", "1x3x5x5 to 13, residual, relu", normal(1, 3, 5, 5), {"residual": (1, 13, 5, 5), "padding": "same", "activation": "relu"}, (13, 3, 3, 3)),
    Case("conv2d", "1x1x3x40 to 4, k1x5 s3", normal(1, 1, 3, 40), {"stride": 3, "padding": "same"}, (4, 1, 1, 5)),
    Case("conv2d", "1x140x22x23 to 5, k1: channels over a block", normal(1, 140, 22, 23), {"residual": (1, 5, 22, 23), "activation": "relu"}, (5, 140, 1, 1)),
    Case("conv2d", "1x1x3x3, k3 d2, sides: a window that seems to be the image", normal(1, 1, 3, 3), {"padding": ((0, 2), (0, 2)), "dilation": 2}, (1, 1, 3, 3)),
    Case("conv2d", "5x5x4x3 to 7, k4x3, residual, relu: a window is the image", normal(5, 5, 4, 3), {"residual": (5, 7, 1, 1), "activation": "relu"}, (7, 5, 4, 3)),
    Case("conv2d", "3x18x3x4 to 38 in 2 groups, k3: few pixels", normal(3, 18, 3, 4), {"padding": 1, "groups": 2}, (38, 9, 3, 3)),
    Case("conv2d", "2x3x37x29 depthwise, k3 p1: rows over a band", normal(2, 3, 37, 29), {"padding": 1, "groups": 3}, (3, 1, 3, 3)),
    Case("conv2d", "1x2x3x530 to 5, k1x2: columns over a block", normal(1, 2, 3, 530), {}, (5, 2, 1, 2)),
    Case("conv2d", "1x2x9x25 to 6, k3 d7x40: taps far apart", normal(1, 2, 9, 25), {"dilation": (7, 40), "padding": (8, 40)}, (6, 2, 3, 3)),
    Case("conv2d", "1x2x30x23 to 4, k5x4 s3x2 d1x3", normal(1, 2, 30, 23), {"stride": (3, 2), "dilation": (1, 3), "padding": 2}, (4, 2, 5, 4)),
)
# Maps around tiles of 2 x 2 and 4 x 4 outputs, for kernels that transform tiles.
TILED = (
    *((f"1x2x{h}x{w} to 2, k3 p1", normal(1, 2, h, w), {"padding": 1}, (2, 2, 3, 3)) for h, w in ((1, 9), (2, 8), (3, 7), (4, 4), (5, 6), (6, 5), (7, 3), (8, 2), (9, 1))),
    *((f"1x1x{h}x{w} to 1, k3", normal(1, 1, h, w), {}, (1, 1, 3, 3)) for h, w in ((3, 3), (4, 11), (7, 6), (9, 10))),
    *((f"1x3x{h}x{w} to 5, k3 p2", normal(1, 3, h, w), {"padding": 2}, (5, 3, 3, 3)) for h, w in ((1, 1), (2, 3), (6, 7))),
    ("1x2x3x8 to 3, k3, sides", normal(1, 2, 3, 8), {"padding": ((0, 5), (4, 1))}, (3, 2, 3, 3)),
    ("2x6x5x13 to 12 in 3 groups, k3 p1", normal(2, 6, 5, 13), {"padding": 1, "groups": 3}, (12, 2, 3, 3)),
    ("2x8x13x9 to 9, k3, residual, relu", normal(2, 8, 13, 9), {"residual": (2, 9, 12, 9), "padding": ((1, 0), (1, 1)), "activation": "relu"}, (9, 8, 3, 3)),
)
FORWARD = ("activation", "residual")  # what conv2d alone is given
GRADIENTS_OF_CONVOLUTIONS = (
    *(
        Case("conv2d_backward", case.name, case.make, {k: v for k, v in case.options.items() if k not in FORWARD}, case.weight)
        for case in CONVOLUTIONS
    ),
    Case("conv2d_backward", "1x2x4x5 to 17, k3: one output beyond a panel", normal(1, 2, 4, 5), {}, (17, 2, 3, 3)),
    Case("conv2d_backward", "2x7x5x6 to 8, k1", normal(2, 7, 5, 6), {}, (8, 7, 1, 1)),
    Case("conv2d_backward", "1x3x7x8 to 9, k2x3 s2x3", normal(1, 3, 7, 8), {"stride": (2, 3)}, (9, 3, 2, 3)),
    Case("conv2d_backward", "1x1x9x11 to 8, k2 s5 p1: gaps", normal(1, 1, 9, 11), {"stride": 5, "padding": 1}, (8, 1, 2, 2)),
    Case("conv2d_backward", "1x1x3x4 to 8, k2 d3x4, p3: taps far apart", normal(1, 1, 3, 4), {"dilation": (3, 4), "padding": 3}, (8, 1, 2, 2)),
    Case("conv2d_backward", "1x1x2x2 to 8, k2 p3: more padding than kernel", normal(1, 1, 2, 2), {"padding": 3}, (8, 1, 2, 2)),
    Case("conv2d_backward", "1x1x1x800 to 8, k1x2: rows beyond a block", normal(1, 1, 1, 800), {"padding": (0, 1)}, (8, 1, 1, 2)),
    Case("conv2d_backward", "1x4x9x9 to 16 in 2 groups, s2", normal(1, 4, 9, 9), {"stride": 2, "padding": 1, "groups": 2}, (16, 2, 3, 3)),
    Case("conv2d_backward", "1x2x1x4100 depthwise: rows beyond a block", normal(1, 2, 1, 4100), {"groups": 2}, (2, 1, 1, 2)),
    Case("conv2d_backward", "2x3x5x8 depthwise, k5", normal(2, 3, 5, 8), {"padding": 2, "groups": 3}, (3, 1, 5, 5)),
    Case("conv2d_backward", "1x3x9x17 depthwise, 2 each, k3 s2 d2", normal(1, 3, 9, 17), {"stride": 2, "dilation": 2, "groups": 3}, (6, 1, 3, 3)),
    Case("conv2d_backward", "1x11x3x7 to 3, k1", normal(1, 11, 3, 7), {}, (3, 11, 1, 1)),
    *(
        Case("conv2d_backward", f"1x2x4x5 to {outputs}, without {name}", normal(1, 2, 4, 5), {f"needs_{name}": False}, (outputs, 2, 3, 3))
        for outputs in (2, 8)
        for name in ("grad_x", "grad_weight", "grad_bias")
    ),
)
MAXIMA = (
    ("1x1x1x1, k1", normal(1, 1, 1, 1), {"kernel_size": 1}),
    ("2x3x8x9, k2", normal(2, 3, 8, 9), {"kernel_size": 2}),
    ("1x2x7x35, k3 s2 p1", normal(1, 2, 7, 35), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("1x2x7x8, k3 s2, ceil", normal(1, 2, 7, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    ("1x1x9x9, k2x3 s3x1 d2", normal(1, 1, 9, 9), {"kernel_size": (2, 3), "stride": (3, 1), "dilation": 2}),
    ("1x2x5x6 with NaN and ties, k3 s1", _ties(1, 2, 5, 6), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("1x1x4x4 of -inf, k2", lambda: np.full((1, 1, 4, 4), -np.inf), {"kernel_size": 2}),
    ("1x1x2x2, k2 p1 d3: only padding", normal(1, 1, 2, 2), {"kernel_size": 2, "padding": 1, "dilation": 3, "stride": 1}),
    ("1x1x3x3, k2 s5, sides", normal(1, 1, 3, 3), {"kernel_size": 2, "stride": 5, "padding": ((1, 0), (0, 1))}),
    *((f"2x1x6x{w} with NaN and ties, k2", _ties(2, 1, 6, w), {"kernel_size": 2}) for w in (33, 62, 71, 128)),
    *((f"2x1x6x{w} with NaN and ties, k3 s2 p1", _ties(2, 1, 6, w), {"kernel_size": 3, "stride": 2, "padding": 1}) for w in (33, 62, 71, 128)),
    ("1x1x5x70 with NaN and ties, k3 s2", _ties(1, 1, 5, 70), {"kernel_size": 3, "stride": 2}),
)
MEANS = (
    ("1x1x1x1, k1", normal(1, 1, 1, 1), {"kernel_size": 1}),
    ("2x3x8x9, k2", normal(2, 3, 8, 9), {"kernel_size": 2}),
    ("1x2x7x35, k3 s2 p1", normal(1, 2, 7, 35), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("1x2x7x8, k3 s2 p1, ceil", normal(1, 2, 7, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ("1x1x9x9, k2x5 s3x1 same", normal(1, 1, 9, 9), {"kernel_size": (2, 5), "stride": (3, 1), "padding": "same"}),
    ("1x1x9x34, k3 s1 p1", normal(1, 1, 9, 34), {"kernel_size": 3, "stride": 1, "padding": 1}),
    ("1x1x9x13, k2x3 s3x4: gaps", normal(1, 1, 9, 13), {"kernel_size": (2, 3), "stride": (3, 4)}),
    ("1x1x5x6, k5x4 s1x2, sides", normal(1, 1, 5, 6), {"kernel_size": (5, 4), "stride": (1, 2), "padding": ((4, 3), (0, 3))}),
    ("1x1x6x9, k3 s3 p1", normal(1, 1, 6, 9), {"kernel_size": 3, "padding": 1}),
    *((f"2x1x6x{w}, k2", normal(2, 1, 6, w), {"kernel_size": 2}) for w in (33, 62, 71, 128)),
    *((f"2x1x6x{w}, k3 s2 p1", normal(2, 1, 6, w), {"kernel_size": 3, "stride": 2, "padding": 1}) for w in (33, 62, 71, 128)),
    *((f"2x3x{h}x{w}, one window", normal(2, 3, h, w), {"kernel_size": (h, w)}) for h, w in ((7, 7), (1, 67), (13, 17))),
)
CHANNELS = (
    ("5x1", normal(5, 1), {}),
    ("67x65", normal(67, 65, offset=1e4), {}),
    ("9x131, residual, relu", normal(9, 131), {"residual": (9, 131), "activation": "relu"}),
    ("2x3x4x5", normal(2, 3, 4, 5), {}),
    ("2x3x8x9, offset", normal(2, 3, 8, 9, offset=1e6), {}),
    ("2x2x3x3 with NaN, relu", _one_nan(2, 2, 3, 3), {"activation": "relu"}),
    ("3x2x1x1", normal(3, 2, 1, 1), {"activation": "relu"}),
    ("2x3x5x7, residual", normal(2, 3, 5, 7), {"residual": (2, 3, 5, 7)}),
    ("1x2x33x32, residual, relu", normal(1, 2, 33, 32), {"residual": (1, 2, 33, 32), "activation": "relu"}),
)
GRADIENTS_OF_CHANNELS = (
    ("9x131", normal(9, 131), {"activation": "relu"}),
    ("9x131 with NaN, residual", _one_nan(9, 131), {"residual": (9, 131)}),
    ("7x263, offset", normal(7, 263, offset=1e6), {"activation": "relu"}),
    ("2x3x8x9, offset, relu", normal(2, 3, 8, 9, offset=1e6), {"activation": "relu"}),
)


def _trained(op: str, problems: tuple) -> list[Case]:
    """Each of the problems, with running statistics and training."""
    return [
        Case(op, f"{name}{', training' if training else ''}", make, {**options, "training": training})
        for training in (False, True)
        for name, make, options in problems
    ]


def _averaged(op: str) -> list[Case]:
    return [
        Case(op, f"{name}, pad {'counts' if include else 'left out'}", make, {**options, "count_include_pad": include})
        for include in (True, False)
        for name, make, options in MEANS
    ]


SMALL: tuple[Case, ...] = (
    *(
        Case(op, f"{name}, axis {axis}", make, {"axis": axis})
        for op in ("moments", "standardize")
        for axis in (0, 1)
        for name, make in MATRICES
    ),
    *(
        Case("moments", f"{name}, weights, axis {axis}", make, {"axis": axis, "sample_weight": (make().shape[axis],)})
        for axis in (0, 1)
        for name, make in MATRICES
    ),
    *CONVOLUTIONS,
    *(Case("conv2d", *problem) for problem in TILED),
    *GRADIENTS_OF_CONVOLUTIONS,
    *(
        Case("max_pool2d", name + ", indices" * indices, make, {**options, "return_indices": indices})
        for indices in (False, True)
        for name, make, options in MAXIMA
    ),
    *(Case("max_pool2d_backward", *problem) for problem in MAXIMA),
    *_averaged("avg_pool2d"),
    *_averaged("avg_pool2d_backward"),
    *_trained("batch_norm", CHANNELS),
    *_trained("batch_norm_backward", CHANNELS + GRADIENTS_OF_CHANNELS),
    Case("pca", "2x1", normal(2, 1)),
    Case("pca", "7x5, offset", normal(7, 5, offset=100)),
    Case("pca", "300x17", normal(300, 17)),
    Case("pca", "40x16: one column beyond a tile", normal(40, 16)),
    Case("pca", "50x3, large offset", normal(50, 3, offset=1e4)),
    Case("pca", "wine", wine),
    *(Case("pca_transform", f"{n}x{p} to {k}", normal(n, p, offset=100), {"components": k}) for n, p, k in ((1, 1, 1), (5, 3, 2), (67, 13, 9), (9, 515, 25), (3, 17, 17))),
)  # fmt: skip
