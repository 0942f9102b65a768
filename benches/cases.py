"""The problems, each described once: benches time them, tests check every rung on them.

Real data where it exists (the photographs, digits, breast cancer and wine that scikit-learn ships), random data for
scale. A case gives the arguments of `fastml.<op>`; `cost` says what the machine must do for it at the least.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn import datasets

import fastml
from fastml import _validate


@dataclass(frozen=True, eq=False)  # a case is itself
class Case:
    op: str
    name: str
    make: Callable[[], np.ndarray]  # the main array, float64
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the operation
    weight: tuple[int, ...] = ()  # conv2d: shape of the weights
    affine: bool = False  # batch_norm: with weight, bias and running statistics

    def arguments(self, dtype: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of `fastml.<op>`, of the dtype; new arrays every time."""
        x = np.array(self.make(), dtype=dtype, order="C")
        random = np.random.default_rng(1)
        options = dict(self.options)
        if options.get("residual"):
            options["residual"] = random.normal(size=options["residual"]).astype(dtype)
        if self.op == "conv2d":
            fan_in = np.prod(self.weight[1:])
            weight = random.normal(scale=np.sqrt(2 / fan_in), size=self.weight).astype(dtype)
            return (x, weight, random.normal(size=self.weight[0]).astype(dtype)), options
        if self.affine:
            channels = x.shape[1]
            vectors = random.normal(size=channels), random.uniform(0.5, 2, channels)
            vectors += random.uniform(0.5, 2, channels), random.normal(size=channels)
            return (x, *(v.astype(dtype) for v in vectors)), options
        return (x,), options

    def problem(self, dtype: Any) -> Any:
        """The validated problem: the argument list of every kernel of the operation."""
        args, options = self.arguments(dtype)
        problem = getattr(_validate, self.op)(*args, **options)[0]
        if self.op == "standardize":  # its kernel is given the statistics
            stats = fastml.moments(problem.x, problem.axis, backend="numpy")
            problem.mean[:], problem.scale[:] = stats.mean, stats.std()
            problem.scale[problem.scale == 0] = 1
        return problem


@dataclass(frozen=True)
class Cost:
    bytes: float  # that must move between memory and the processor, each array once
    flops: float


def cost(case: Case, dtype: Any) -> Cost:
    """The least that any implementation of the whole operation must move and compute."""
    problem = case.problem(dtype)
    x, item = problem.x, problem.x.itemsize
    out = getattr(problem, "out", np.empty(0))
    if case.op == "moments":
        return Cost(x.nbytes, 4 * x.size)  # subtract, add, multiply and add
    if case.op == "standardize":
        return Cost(2 * x.nbytes + out.nbytes, 6 * x.size)  # statistics, then the output
    if case.op == "conv2d":
        taps = problem.weight[0].size
        return Cost(x.nbytes + problem.weight.nbytes + out.nbytes, 2.0 * out.size * taps)
    if case.op in ("max_pool2d", "avg_pool2d"):  # rows first, then across
        indices = problem.indices.nbytes if case.op == "max_pool2d" else 0
        return Cost(x.nbytes + out.nbytes + indices, out.size * (problem.kernel_h + problem.kernel_w))
    if case.op == "batch_norm":
        reads = 2 if problem.training else 1
        return Cost(reads * x.nbytes + out.nbytes + problem.residual.nbytes, (2 + 4 * problem.training) * x.size)
    n, p = x.shape
    return Cost(n * p * item, n * p * (p + 1.0))  # pca: half of a symmetric product, 2 flops each


@cache
def photographs() -> np.ndarray:
    """The two photographs, as (2, 3, 427, 640), from 0 to 1."""
    return np.stack(datasets.load_sample_images().images).transpose(0, 3, 1, 2) / 255.0


def photograph(h: int, w: int) -> np.ndarray:
    """The middle of the first photograph, (1, 3, h, w)."""
    top, left = (427 - h) // 2, (640 - w) // 2
    return photographs()[:1, :, top : top + h, left : left + w]


def patches(size: int) -> np.ndarray:
    """Every second size x size patch of the first photograph in grey, as rows: what whitening and dictionaries start from."""
    grey = photographs()[0].mean(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (size, size))[::2, ::2]
    return windows.reshape(-1, size * size)


def digits() -> np.ndarray:
    return datasets.load_digits().data


def breast_cancer() -> np.ndarray:
    return datasets.load_breast_cancer().data


def wine() -> np.ndarray:
    return datasets.load_wine().data


def normal(*shape: int, offset: float = 0.0) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(0).normal(offset, 1.0, size=shape)


BENCH: tuple[Case, ...] = (
    Case("moments", "breast_cancer 569x30", breast_cancer),
    Case("moments", "random 1000000x50", normal(1_000_000, 50, offset=3)),
    Case("standardize", "wine 178x13", wine),
    Case("standardize", "random 10000x1000", normal(10_000, 1000, offset=3)),
    Case("standardize", "random 1000000x50", normal(1_000_000, 50, offset=3)),
    Case("conv2d", "photograph 1x3x224x224 to 64, k7 s2", lambda: photograph(224, 224), {"stride": 2, "padding": 3}, (64, 3, 7, 7)),
    Case("conv2d", "random 8x64x56x56 to 64, k3", normal(8, 64, 56, 56), {"padding": 1}, (64, 64, 3, 3)),
    Case("conv2d", "random 1x256x14x14 to 256, k3", normal(1, 256, 14, 14), {"padding": 1}, (256, 256, 3, 3)),
    Case("conv2d", "random 1x256x56x56 to 64, k1", normal(1, 256, 56, 56), {}, (64, 256, 1, 1)),
    Case("conv2d", "random 1x96x112x112 depthwise, k3", normal(1, 96, 112, 112), {"padding": 1, "groups": 96}, (96, 1, 3, 3)),
    Case("max_pool2d", "photographs 2x3x427x640, k2", photographs, {"kernel_size": 2}),
    Case("max_pool2d", "random 8x64x112x112, k3 s2", normal(8, 64, 112, 112), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("max_pool2d", "random 8x64x56x56, k2, indices", normal(8, 64, 56, 56), {"kernel_size": 2, "return_indices": True}),
    Case("avg_pool2d", "photographs 2x3x427x640, k2", photographs, {"kernel_size": 2}),
    Case("avg_pool2d", "random 8x64x112x112, k3 s2", normal(8, 64, 112, 112), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("batch_norm", "random 8x64x56x56, training", normal(8, 64, 56, 56, offset=2), {"training": True}, affine=True),
    Case("batch_norm", "random 8x64x56x56, inference", normal(8, 64, 56, 56, offset=2), affine=True),
    Case("batch_norm", "random 256x512, training", normal(256, 512, offset=2), {"training": True}, affine=True),
    Case("pca", "digits 1797x64 to 20", digits, {"n_components": 20}),
    Case("pca", "patches of a photograph 67200x64 to 16", lambda: patches(8), {"n_components": 16}),
    Case("pca", "random 5000x784 to 50", normal(5000, 784), {"n_components": 50}),
    Case("pca", "random 1000000x50 to 10", normal(1_000_000, 50, offset=3), {"n_components": 10}),
)  # fmt: skip


def _holes(*shape: int) -> Callable[[], np.ndarray]:
    """Random values, a tenth of them NaN; the first column is all NaN."""

    def make() -> np.ndarray:
        x = normal(*shape, offset=5)()
        x[np.random.default_rng(2).random(shape) < 0.1] = np.nan
        x[..., 0] = np.nan
        return x

    return make


# Small problems that every rung is tested on: sizes 1 and primes, around the blocks of the kernels, every option.
SMALL: tuple[Case, ...] = (
    *(
        Case(op, f"{name}, axis {axis}", make, {"axis": axis})
        for op in ("moments", "standardize")
        for axis in (0, 1)
        for name, make in (
            ("1x1", normal(1, 1)),
            ("7x3", normal(7, 3, offset=1e6)),
            ("257x5", normal(257, 5)),
            ("3x129", normal(3, 129)),
            ("67x65 with NaN", _holes(67, 65)),
            ("5x7 after NaN, offset", lambda: np.vstack((np.full((2, 7), np.nan), normal(3, 7, offset=1e6)()))),
            ("7x5 after NaN, offset", lambda: np.hstack((np.full((7, 2), np.nan), normal(7, 3, offset=1e6)()))),
            ("constant", lambda: np.full((13, 4), 14.62)),
        )
    ),
    Case("conv2d", "1x1x1x1 to 1, k1", normal(1, 1, 1, 1), {}, (1, 1, 1, 1)),
    Case("conv2d", "2x3x7x5 to 4, k3", normal(2, 3, 7, 5), {"padding": 1}, (4, 3, 3, 3)),
    Case("conv2d", "1x2x9x17 to 7, k3 s2 relu", normal(1, 2, 9, 17), {"stride": 2, "padding": 1, "activation": "relu"}, (7, 2, 3, 3)),
    Case("conv2d", "1x30x4x5 to 5, k3: taps over a block", normal(1, 30, 4, 5), {"padding": 1}, (5, 30, 3, 3)),
    Case("conv2d", "1x4x8x9 to 6 in 2 groups, d2", normal(1, 4, 8, 9), {"dilation": 2, "padding": 2, "groups": 2}, (6, 2, 3, 3)),
    Case("conv2d", "2x5x6x6 depthwise, k3 s1x2", normal(2, 5, 6, 6), {"stride": (1, 2), "padding": 1, "groups": 5}, (5, 1, 3, 3)),
    Case("conv2d", "1x2x6x7 to 8, k2x4, sides", normal(1, 2, 6, 7), {"padding": ((0, 1), (2, 1))}, (8, 2, 2, 4)),
    Case("conv2d", "1x3x5x5 to 13, residual, relu", normal(1, 3, 5, 5), {"residual": (1, 13, 5, 5), "padding": "same", "activation": "relu"}, (13, 3, 3, 3)),
    Case("conv2d", "1x1x3x40 to 4, k1x5 s3", normal(1, 1, 3, 40), {"stride": 3, "padding": "same"}, (4, 1, 1, 5)),
    *(
        Case("max_pool2d", name + ", indices" * indices, make, {**options, "return_indices": indices})
        for indices in (False, True)
        for name, make, options in (
            ("1x1x1x1, k1", normal(1, 1, 1, 1), {"kernel_size": 1}),
            ("2x3x8x9, k2", normal(2, 3, 8, 9), {"kernel_size": 2}),
            ("1x2x7x35, k3 s2 p1", normal(1, 2, 7, 35), {"kernel_size": 3, "stride": 2, "padding": 1}),
            ("1x2x7x8, k3 s2, ceil", normal(1, 2, 7, 8), {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
            ("1x1x9x9, k2x3 s3x1 d2", normal(1, 1, 9, 9), {"kernel_size": (2, 3), "stride": (3, 1), "dilation": 2}),
            ("1x2x5x6 with NaN and ties, k3 s1", lambda: np.where(_holes(1, 2, 5, 6)() > 5, 1, _holes(1, 2, 5, 6)()), {"kernel_size": 3, "stride": 1, "padding": 1}),
            ("1x1x4x4 of -inf, k2", lambda: np.full((1, 1, 4, 4), -np.inf), {"kernel_size": 2}),
            ("1x1x2x2, k2 p1 d3: only padding", normal(1, 1, 2, 2), {"kernel_size": 2, "padding": 1, "dilation": 3, "stride": 1}),
            ("1x1x3x3, k2 s5, sides", normal(1, 1, 3, 3), {"kernel_size": 2, "stride": 5, "padding": ((1, 0), (0, 1))}),
        )
    ),
    *(
        Case("avg_pool2d", f"{name}, pad {'counts' if include else 'left out'}", make, {**options, "count_include_pad": include})
        for include in (True, False)
        for name, make, options in (
            ("1x1x1x1, k1", normal(1, 1, 1, 1), {"kernel_size": 1}),
            ("2x3x8x9, k2", normal(2, 3, 8, 9), {"kernel_size": 2}),
            ("1x2x7x35, k3 s2 p1", normal(1, 2, 7, 35), {"kernel_size": 3, "stride": 2, "padding": 1}),
            ("1x2x7x8, k3 s2 p1, ceil", normal(1, 2, 7, 8), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
            ("1x1x9x9, k2x5 s3x1 same", normal(1, 1, 9, 9), {"kernel_size": (2, 5), "stride": (3, 1), "padding": "same"}),
        )
    ),
    *(
        Case("batch_norm", f"{name}{', training' if training else ''}", make, {**options, "training": training}, affine=True)
        for training in (False, True)
        for name, make, options in (
            ("5x1", normal(5, 1), {}),
            ("67x65", normal(67, 65, offset=1e4), {}),
            ("2x3x4x5", normal(2, 3, 4, 5), {}),
            ("3x2x1x1", normal(3, 2, 1, 1), {"activation": "relu"}),
            ("1x2x33x32, residual, relu", normal(1, 2, 33, 32), {"residual": (1, 2, 33, 32), "activation": "relu"}),
        )
    ),
    Case("pca", "2x1", normal(2, 1)),
    Case("pca", "7x5, offset", normal(7, 5, offset=100)),
    Case("pca", "300x17", normal(300, 17)),
    Case("pca", "40x16: one column beyond a tile", normal(40, 16)),
    Case("pca", "wine", wine),
)  # fmt: skip
