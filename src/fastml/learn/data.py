"""What the problems are made of: the photographs and tables that scikit-learn ships, and random numbers."""

from collections.abc import Callable
from functools import cache

import numpy as np
from sklearn import datasets


@cache
def photographs() -> np.ndarray:
    """The two photographs, as (2, 3, 427, 640), from 0 to 1."""
    return np.stack(datasets.load_sample_images().images).transpose(0, 3, 1, 2) / 255.0


def photograph(h: int, w: int) -> np.ndarray:
    """The middle of the first photograph, (1, 3, h, w)."""
    top, left = (427 - h) // 2, (640 - w) // 2
    return photographs()[:1, :, top : top + h, left : left + w]


def crops(n: int, size: int) -> np.ndarray:
    """n pieces of the photographs, (n, 3, size, size), from one corner to the other."""
    tops, lefts = (np.linspace(0, side - size, n).astype(int) for side in photographs().shape[2:])
    windows = np.lib.stride_tricks.sliding_window_view(photographs(), (size, size), axis=(2, 3))
    return np.stack([windows[i % 2, :, top, left] for i, (top, left) in enumerate(zip(tops, lefts, strict=True))])


def patches(size: int, step: int = 1) -> np.ndarray:
    """The size x size patches of the first photograph in grey, as rows: what whitening and dictionaries start from."""
    grey = photographs()[0].mean(axis=0)
    windows = np.lib.stride_tricks.sliding_window_view(grey, (size, size))[::step, ::step]
    return windows.reshape(-1, size * size)


def digits() -> np.ndarray:
    return datasets.load_digits().data


def breast_cancer() -> np.ndarray:
    return datasets.load_breast_cancer().data


def wine() -> np.ndarray:
    return datasets.load_wine().data


def normal(*shape: int, offset: float = 0.0) -> Callable[[], np.ndarray]:
    return lambda: np.random.default_rng(0).normal(offset, 1.0, size=shape)


def fading(*shape: int, offset: float = 0.0) -> Callable[[], np.ndarray]:
    """Random columns of variances 1, 1/2, 1/3 and so on: directions that any method tells apart."""
    return lambda: normal(*shape)() / np.sqrt(np.arange(1.0, shape[1] + 1)) + offset
