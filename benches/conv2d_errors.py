"""How far off each algorithm of conv2d is in float32, and how far Winograd's is with other points.

    python -m benches.conv2d_errors [--write docs/conv2d_errors.md]

A 3 x 3 convolution with stride 1 of random data, against float64: inputs of variance 1 and weights of variance
2 / (9 * channels), as He et al. (2015) initialise layers, so that the size of outputs does not depend on channels.
"""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import fastml
from fastml import _dispatch, _validate
from fastml._ref import conv2d_winograd
from fastml._registry import Rung
from fastml.learn.cases import batch
from fastml.learn.report import publish, significant

BEGIN, END = "<!-- conv2d errors: begin -->", "<!-- conv2d errors: end -->"
SHAPES = ((64, 28, 28), (256, 28, 28))
OUTPUTS = 32
SLOW = (("numpy", "loops"),)
DIRECT = ("direct", "loops")  # whose error the others are multiples of: the first that Cython has


def symmetric(a: Fraction, b: Fraction) -> tuple[Fraction, ...]:
    return Fraction(0), a, -a, b, -b


CANDIDATES = {
    "0, 1, -1: tiles of 2 x 2": conv2d_winograd.SMALL,
    "0, ±1, ±2: Lavin and Gray": conv2d_winograd.LAVIN,
    "0, ±1, ±1/2": symmetric(Fraction(1), Fraction(1, 2)),
    "0, 1, -1, 1/2, -2": (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2)),
    "0, ±1/2, ±3/2": symmetric(Fraction(1, 2), Fraction(3, 2)),
    "0, ±3/4, ±3/2": symmetric(Fraction(3, 4), Fraction(3, 2)),
    "0, ±2/3, ±3/2": symmetric(Fraction(2, 3), Fraction(3, 2)),
    "0, ±5/8, ±3/2: fastml": conv2d_winograd.BETTER,
}


def predicted_error(points: tuple[Fraction, ...]) -> float:
    """The error that points lead to, up to a factor that is the same for all: an hour of measuring in a line.

    The sums over channels are rounded more often than anything else, and in proportion to their size: for random data
    that of row i of G, times that of row i of B'. A' says how much of it an output gets. In two dimensions both
    directions contribute such a factor to the mean square of the error, so that one of them is its root.
    """
    a, g, b = (matrix.astype(float) for matrix in conv2d_winograd.transforms(points))
    return float((a**2 @ ((g**2).sum(axis=1) * (b**2).sum(axis=1))).mean() / 3)


def problem(shape: tuple[int, int, int], outputs: int = OUTPUTS) -> tuple[Any, np.ndarray]:
    """A convolution in float32, and its result in float64."""
    random = np.random.default_rng(0)
    x = random.normal(size=(1, *shape)).astype(np.float32)
    weight = random.normal(0, np.sqrt(2 / (9 * shape[0])), size=(outputs, shape[0], 3, 3)).astype(np.float32)
    exact = fastml.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1, backend="numpy")
    return _validate.conv2d(x, weight, padding=1)[0], exact


def error(result: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """Root mean square, and largest; both as shares of the root mean square of the exact values."""
    wrong, size = result - exact, np.sqrt(np.mean(exact**2))
    return float(np.sqrt(np.mean(wrong**2)) / size), float(abs(wrong).max() / size)


def of_rung(rung: Rung, given: Any, exact: np.ndarray) -> tuple[float, float]:
    _dispatch.load(rung)(*given, fastml.get_num_threads())
    return error(given.out, exact)


def of_points(points: tuple[Fraction, ...], given: Any, exact: np.ndarray) -> tuple[float, float]:
    """Of Winograd's algorithm in NumPy with any points."""
    conv2d_winograd.staged(
        points, given.x, given.weight, given.bias, given.residual, given.pad_top, given.pad_left, 1, False, given.out
    )
    return error(given.out, exact)


Errors = list[list[tuple[float, float]]]  # of each problem, for each row


def table(heads: list[str], names: list[str], columns: Errors, bases: list[float]) -> list[str]:
    """A row for each name, whose first cells it holds; for each problem its errors, and the multiple of the base."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    for i, name in enumerate(names):
        cells = [name]
        for errors, base in zip(columns, bases, strict=True):
            rms, largest = errors[i]
            cells += [f"{rms:.1e}", f"{largest:.1e}", significant(rms / base)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def render(shapes: tuple[tuple[int, int, int], ...] = SHAPES, outputs: int = OUTPUTS) -> str:
    problems = [problem(shape, outputs) for shape in shapes]
    ladder = [
        rung
        for rung in _dispatch.rungs("conv2d")
        if not rung.fails
        and (rung.backend, rung.name) not in SLOW
        and all(_dispatch.serves(rung, given) for given, _ in problems)
    ]
    names = [f"{rung.backend} {rung.name}" for rung in ladder]
    measured = [[of_rung(rung, *made) for rung in ladder] for made in problems]
    direct = next(f"cython {name}" for name in DIRECT if f"cython {name}" in names)
    bases = [errors[names.index(direct)][0] for errors in measured]
    points = [[of_points(points, *made) for points in CANDIDATES.values()] for made in problems]
    predicted = [f"{name} | {significant(predicted_error(points))}" for name, points in CANDIDATES.items()]
    heads = [f"{shape[0]} channels: {head}" for shape in shapes for head in ("rms", "largest", "ratio")]
    isa, versions = (fastml.configuration()[key] for key in ("isa", "versions"))
    return "\n".join(
        [
            f"{' and '.join(batch(1, *shape) for shape in shapes)} to {outputs} outputs, padded; float32, {isa},",
            f"NumPy {versions['numpy']}. Errors are shares of the root mean square of the exact values; the ratio is",
            f"that of the rms error to that of `{direct}`.",
            "",
            *table(["algorithm", *heads], names, measured, bases),
            "",
            "Winograd's algorithm in NumPy with other points; `predicted` is a formula of the matrices alone, up to a",
            "factor that is the same for all.",
            "",
            *table(["points", "predicted", *heads], predicted, points, bases),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How far off each algorithm of conv2d is in float32.")
    parser.add_argument("--write", type=Path, help="a file with the two markers")
    publish(render(), parser.parse_args().write, BEGIN, END)


if __name__ == "__main__":
    main()
