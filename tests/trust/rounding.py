"""Errors of convolutions, beside the bounds that hold for any order of summation."""

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastml import _dispatch
from fastml.learn.cases import Case
from fastml.learn.data import normal
from tests import tolerances
from tests.trust.figures import Figure

SMALL = ((1, 40, 9, 10), 8, 3)  # image, outputs, size of the kernel
LAYERS = (
    ((1, 64, 28, 28), 16, 3),
    ((1, 256, 14, 14), 16, 3),
    ((1, 512, 7, 7), 16, 1),
    ((1, 3, 56, 56), 16, 7),
)


def shares(layer: tuple[tuple[int, ...], int, int]) -> tuple[dict[str, float], dict[str, float]]:
    """The largest error of each algorithm, as a share of its bound: plain sums and other libraries; Winograd's."""
    image, outputs, size = layer
    case = Case("conv2d", "", normal(*image), {"padding": size // 2}, (outputs, image[1], size, size))
    exact = tolerances.define("conv2d", blank(case))
    bound = tolerances.of(exact, "conv2d", np.float32, "")["out"]
    plain, winograd = {}, {}
    for rung in _dispatch.rungs("conv2d"):
        problem = blank(case)
        if not rung.ships or rung.backend == "numba" or not _dispatch.serves(rung, problem):
            continue
        _dispatch.load(rung)(*problem, 2)
        error = abs(problem.out - exact.out)
        if rung.name in tolerances.TILES:
            its = tolerances.of(exact, "conv2d", np.float32, rung.name)["out"]
            winograd[f"{rung.backend} {rung.name}"] = float((error / its).max())
        else:
            plain[f"{rung.backend} {rung.name}"] = float((error / bound).max())
    if importlib.util.find_spec("torch"):
        import torch

        given = blank(case)
        tensors = (torch.from_numpy(array) for array in (given.x, given.weight, given.bias))
        error = abs(torch.nn.functional.conv2d(*tensors, padding=size // 2).numpy() - exact.out)
        plain["PyTorch"] = float((error / bound).max())
    return plain, winograd


def blank(case: Case) -> Any:
    problem = case.problem(np.float32)
    return problem._replace(out=np.full_like(problem.out, np.nan))  # what is not written is no small error


def convolutions(thorough: bool) -> Iterator[Figure]:
    """Row 24: all algorithms that ship, but for Numba's, on layers of float32."""
    found = [shares(layer) for layer in (LAYERS if thorough else (SMALL,))]
    plain, winograd = (
        {name: float(np.max([worst.get(name, 0.0) for worst in side])) for name in {n for worst in side for n in worst}}
        for side in zip(*found, strict=True)
    )
    peers = {name: plain.pop(name) for name in ("PyTorch",) if name in plain}
    what = f"largest error of {len(plain)} algorithms of conv2d, float32, as a share of the bound for sums in any order"
    yield Figure(24, what, float(np.max([*plain.values()])), "<= 1", "", dict(peers))
    what = f"the same of {len(winograd)} of Winograd's algorithms, as a share of a bound that counts their transforms"
    yield Figure(24, what, float(np.max([*winograd.values()])), "<= 1")
