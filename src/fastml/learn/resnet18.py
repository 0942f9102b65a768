"""ResNet-18 on fastml's layers: batch norms folded, residuals added and ReLU applied in the convolutions.

The network of K. He et al. (2016), Deep Residual Learning for Image Recognition, with seeded weights in place of
trained ones. `fastml.learn.peers.resnet18` runs the same network in other libraries.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

import fastml

CLASSES = 1000
STEM = 64  # channels behind the first convolution
# Two blocks each of two 3 x 3 convolutions; the first convolution of a stage has the stride.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))


class Convolution(NamedTuple):
    """A convolution without a bias, before a batch norm; the map keeps its size, but for the stride."""

    outputs: int
    channels: int
    kernel: int
    stride: int

    @property
    def padding(self) -> int:
        return self.kernel // 2


class Block(NamedTuple):
    first: Convolution
    second: Convolution
    shortcut: Convolution | None  # where the sizes before and behind the block differ; else x itself is added


FIRST = Convolution(STEM, 3, 7, 2)


def blocks() -> Iterator[Block]:
    channels = STEM
    for outputs, first_stride in STAGES:
        for stride in (first_stride, 1):
            differs = stride != 1 or channels != outputs
            yield Block(
                Convolution(outputs, channels, 3, stride),
                Convolution(outputs, outputs, 3, 1),
                Convolution(outputs, channels, 1, stride) if differs else None,
            )
            channels = outputs


def convolutions() -> list[Convolution]:
    """All of them, in the order in which their parameters come."""
    return [FIRST, *(convolution for block in blocks() for convolution in block if convolution)]


def parameters(dtype: Any) -> list[np.ndarray]:
    """For each convolution its weights (K. He et al., 2015) and the vectors of its batch norm: mean, variance, weight,
    bias; in the end weight and bias of the last matrix product."""
    random, arrays = np.random.default_rng(18), []
    for outputs, channels, kernel, _ in convolutions():
        arrays.append(random.normal(0, np.sqrt(2 / (channels * kernel**2)), (outputs, channels, kernel, kernel)))
        arrays += [random.normal(0, 0.1, outputs), random.uniform(0.5, 2, outputs)]
        arrays += [random.uniform(0.5, 1.5, outputs), random.normal(0, 0.1, outputs)]
    arrays += [random.normal(0, np.sqrt(1 / STAGES[-1][0]), (CLASSES, STAGES[-1][0])), random.normal(0, 0.1, CLASSES)]
    return [array.astype(dtype) for array in arrays]


def flops(x_shape: tuple[int, ...]) -> float:
    """Those of the convolutions as they are defined, and of the last matrix product."""
    n, _, h, w = x_shape
    total, size = 0.0, (h, w)

    def convolve(convolution: Convolution, size: tuple[int, int]) -> tuple[int, int]:
        nonlocal total
        after = -(-size[0] // convolution.stride), -(-size[1] // convolution.stride)
        total += 2.0 * after[0] * after[1] * convolution.outputs * convolution.channels * convolution.kernel**2
        return after

    size = convolve(FIRST, size)
    size = -(-size[0] // 2), -(-size[1] // 2)  # max-pool
    for first, second, shortcut in blocks():
        if shortcut:
            convolve(shortcut, size)
        size = convolve(second, convolve(first, size))
    return n * (total + 2.0 * CLASSES * STAGES[-1][0])


class ResNet18:
    """`network = ResNet18(*parameters(np.float32))`; `network(x)` gives (n, 1000) for images (n, 3, h, w)."""

    def __init__(self, *arrays: np.ndarray, backend: str | None = None) -> None:
        self.backend, rest = backend, iter(arrays)

        def layer(convolution: Convolution, activation: str | None = "relu") -> fastml.Conv2d:
            weight, *batch_norm = islice(rest, 5)
            return fastml.Conv2d(
                *fastml.fold_batch_norm(weight, None, *batch_norm), stride=convolution.stride,
                padding=convolution.padding, activation=activation, backend=backend,
            )  # fmt: skip

        self.first = layer(FIRST)
        self.blocks = [(layer(a), layer(b), layer(c, None) if c else None) for a, b, c in blocks()]
        self.weight, self.bias = rest

    def __call__(self, x: np.ndarray) -> np.ndarray:
        x = fastml.max_pool2d(self.first(x), 3, 2, 1, backend=self.backend)
        for first, second, shortcut in self.blocks:
            x = second(first(x), residual=shortcut(x) if shortcut else x)
        features = fastml.global_avg_pool2d(x, keepdims=False, backend=self.backend)
        # Not by BLAS: its idle threads would spin through the next call's first layers, which then take twice as long
        # (measured), while this product is a hundredth of a network.
        return np.einsum("nc,oc->no", features, self.weight) + self.bias
