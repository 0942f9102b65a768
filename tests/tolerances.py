"""How far off a result may be: a-priori bounds of rounding errors, not observations, one function for each operation.

gamma(k) bounds k roundings in a row (Higham, 2002, section 3.1). `expected` is the problem with the results of the
definition, all in float64; dtype is what the kernel was given.
"""

import os

import numpy as np
import pytest

from fastml import _dispatch
from fastml._ref import conv2d_winograd

_NUMPY = os.environ.get("FASTML_BACKEND") == "numpy"
exact_sums = pytest.mark.skipif(_NUMPY, reason="NumPy's rungs sum about zero, and round even the mean of a constant")
in_tiles = pytest.mark.skipif(_NUMPY, reason="NumPy's rungs make arrays of the size of X")


def define(op, problem):
    """Run the definition in float64 on a problem, and return it with its results."""
    arrays = {name: value for name, value in problem._asdict().items() if isinstance(value, np.ndarray)}
    doubled = problem._replace(**{name: a.astype(np.float64) for name, a in arrays.items() if a.dtype.kind == "f"})
    _dispatch.load(_dispatch.rungs(op)[0])(*doubled, 1)
    return doubled


def gamma(roundings, dtype=np.float64):
    product = roundings * np.finfo(dtype).eps / 2
    return product / (1 - product)


def statistics_tolerance(x, samples, m2, axis, weight=1.0, total=None):
    """Of float64 sums, for data of any dtype: of a mean, and of a sum of squared deviations; of two ways to sum."""
    total = samples if total is None else total
    size = np.nansum(weight * abs(x), axis=axis) / np.maximum(total, np.finfo(float).tiny)
    mean = gamma(2 * samples + 4) * size
    return mean, gamma(4 * samples + 6) * m2 + total * mean**2


def moments(expected, dtype):
    x, axis, weight = expected.x, expected.axis, expected.sample_weight
    samples = (~np.isnan(x)).sum(axis=axis)
    weight = np.expand_dims(weight, 1 - axis) if weight.size else 1.0
    mean, m2 = statistics_tolerance(x, samples, expected.m2, axis, weight, expected.count)
    count = gamma(2 * samples) * expected.count if expected.sample_weight.size else 0
    return {"count": count, "mean": mean, "m2": m2}


def standardize(expected, dtype):
    return {"out": 2 * np.finfo(dtype).eps * abs(expected.out)}


def conv2d(expected, dtype):
    absolute = {name: abs(getattr(expected, name)) for name in ("x", "weight", "bias", "residual")}
    total = define("conv2d", expected._replace(**absolute, relu=False)).out
    roundings = expected.weight[0].size + 3
    return {"out": (gamma(roundings, dtype) + gamma(roundings)) * total}


# The points that a rung of Winograd's transforms columns and rows with.
SQUARE, LARGE, LAVIN = (conv2d_winograd.SMALL,) * 2, (conv2d_winograd.BETTER,) * 2, (conv2d_winograd.LAVIN,) * 2
TILES = {
    "winograd_row": ((), conv2d_winograd.SMALL),
    "winograd_2x2": SQUARE,
    "winograd_4x4": LAVIN,
    "winograd_points": LARGE,
    "winograd": LARGE,
}


def winograd(expected, dtype, rung):
    """As large as Winograd's algorithm makes |x| and |weight| with the absolute values of its matrices, times gamma.

    An output is a sum of products of one value of each of: A' twice (rows, columns), G twice, a weight, B' twice, x. A
    computed one is the same sum, each of its products times one factor 1 + delta for every rounding that met it on its
    way, however sums are ordered and factored, as long as no coefficient is made by subtraction. These are at the most:
    one for each matrix, whose values may be rounded themselves; as many as its row has values for each matrix applied;
    one product, and as many as there are channels; bias and residual. So |error| <= gamma(roundings) * the same sum of
    absolute values (Higham, section 3.1), which here is computed as the algorithm would. Where tiles begin is the
    kernel's affair: the largest sum of all grids.
    """
    transforms, total = _magnified(expected, *TILES[rung])
    roundings = transforms + expected.weight.shape[1] + 3
    return {"out": (gamma(roundings, dtype) + gamma(expected.weight[0].size + 3)) * total}


def _magnified(expected, *points):
    """Roundings in transforms, and the sum of absolute values, over all grids of tiles."""
    direct = np.ones((1, 3)), np.eye(3), np.eye(3)  # one output from three products: no transform
    matrices = [[abs(m.astype(float)) for m in conv2d_winograd.transforms(p)] if p else direct for p in points]
    roundings = sum(m.shape[1] + 1 for side in matrices for m in side)
    (a, g, b), (c, h, d) = matrices
    weight, groups = abs(expected.weight), expected.groups
    u = np.einsum("ik,jl,gockl->gocij", g, h, weight.reshape(groups, -1, *weight.shape[1:]))
    sums = np.zeros(expected.out.shape)
    for top, left in np.ndindex(len(a), len(c)):
        tiles = _tiles(expected, (top, left), (len(a), len(c)))
        v = np.einsum("ik,jl,ngcyxkl->ngcyxij", b, d, tiles.reshape(len(tiles), groups, -1, *tiles.shape[2:]))
        y = np.einsum("pi,qj,gocij,ngcyxij->ngoypxq", a, c, u, v, optimize=True)
        y = y.reshape(*sums.shape[:2], y.shape[3] * len(a), -1)[:, :, top:, left:]
        sums = np.maximum(sums, y[:, :, : sums.shape[2], : sums.shape[3]])
    residual = abs(expected.residual) if expected.residual.size else 0
    return roundings, sums + abs(expected.bias)[:, np.newaxis, np.newaxis] + residual


def _tiles(expected, shift, size):
    """(n, channels, down, across, rows, columns) of |x|, its outputs being moved by a shift."""
    pads, spans = [(0, 0), (0, 0)], []
    for axis, before in enumerate((expected.pad_top, expected.pad_left)):
        outputs = -(-(expected.out.shape[2 + axis] + shift[axis]) // size[axis]) * size[axis]
        spans.append(outputs + 2)
        pads.append((before + shift[axis], max(outputs + 2 - before - shift[axis] - expected.x.shape[2 + axis], 0)))
    padded = np.pad(abs(expected.x), pads)[:, :, : spans[0], : spans[1]]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size[0] + 2, size[1] + 2), axis=(2, 3))
    return windows[:, :, :: size[0], :: size[1]]


def conv2d_backward(expected, dtype):
    """A weight's gradient is one sum in the dtype, however it is cut into pieces; a bias' a float64 one, rounded."""
    total = define("conv2d_backward", expected._replace(grad_out=abs(expected.grad_out), x=abs(expected.x)))
    terms = expected.grad_out.size // expected.grad_out.shape[1]
    return {
        "grad_weight": (gamma(terms + 3, dtype) + gamma(terms + 3)) * total.grad_weight,
        "grad_bias": np.finfo(dtype).eps * abs(expected.grad_bias) + gamma(2 * terms) * total.grad_bias,
    }


def max_pool2d(expected, dtype):
    return {"out": 0, "indices": 0}


def avg_pool2d(expected, dtype):
    total = define("avg_pool2d", expected._replace(x=abs(expected.x))).out
    roundings = expected.kernel_h * expected.kernel_w + 2
    return {"out": np.finfo(dtype).eps * abs(expected.out) + gamma(2 * roundings) * total}


def max_pool2d_backward(expected, dtype):
    """Sums in the dtype, window after window: as many roundings as gradients that meet, less one."""
    met = define("max_pool2d_backward", expected._replace(grad_out=np.ones_like(expected.grad_out))).grad_x
    total = define("max_pool2d_backward", expected._replace(grad_out=abs(expected.grad_out))).grad_x
    return {"grad_x": gamma(np.maximum(met - 1, 0), dtype) * total, "wrong": 0}


def avg_pool2d_backward(expected, dtype):
    total = define("avg_pool2d_backward", expected._replace(grad_out=abs(expected.grad_out))).grad_x
    roundings = expected.kernel_h * expected.kernel_w + 4
    return {"grad_x": np.finfo(dtype).eps * abs(expected.grad_x) + gamma(2 * roundings) * total}


def per_channel(*vectors):
    return [vector[:, np.newaxis] for vector in vectors]


def normalized_terms(expected, dtype):
    """The size of what (x - high) * factor + offset + residual adds up; high is the mean, rounded to the dtype.

    Another way to sum may round the mean to a neighbour: high is within an ulp of it, offset within an ulp of bias.
    """
    mean, variance, weight, bias = per_channel(expected.mean, expected.variance, expected.weight, expected.bias)
    factor, ulp = abs(weight) / np.sqrt(variance + expected.eps), np.finfo(dtype).eps * abs(mean)
    terms = (abs(expected.x - mean) + 2 * ulp) * factor + abs(bias)
    return terms + (abs(expected.residual) if expected.residual.size else 0)


def batch_norm(expected, dtype):
    """Statistics in float64, then six roundings in the dtype: difference, factor, product, offset and two sums."""
    x, mean, variance = expected.x, expected.mean, expected.variance
    terms = normalized_terms(expected, dtype)
    out = (gamma(6, dtype) + gamma(12)) * terms
    if not expected.training:
        return {"out": out}
    count = x.size // x.shape[1]
    mean_tolerance, m2_tolerance = statistics_tolerance(x, count, variance * count, (0, 2))
    size = np.maximum(abs(mean), abs(x).mean(axis=(0, 2)))
    size, factor = per_channel(size, abs(expected.weight) / np.sqrt(variance + expected.eps))
    return {
        "out": out + gamma(4 * count + 8) * ((abs(x) + size) * factor + terms),
        "mean": mean_tolerance,
        "variance": m2_tolerance / count + gamma(2) * variance,
    }


def batch_norm_backward(expected, dtype):
    """Sums of g and g * (x - high), high being the mean in the dtype: in the dtype over 4 vectors, in float64 beyond.

    That is a rounding of the difference, and four of products and sums. Then six roundings of each term in the dtype;
    y near 0 may fall on either side of the mask.
    """
    x, count = expected.x, expected.x.size // expected.x.shape[1]
    mean, weight, bias = per_channel(expected.mean, expected.weight, expected.bias)
    (deviation,) = per_channel(np.sqrt(expected.variance + expected.eps))
    z, factor, ulp = (x - mean) / deviation, abs(weight) / deviation, np.finfo(dtype).eps * abs(mean)
    y = z * weight + bias + (expected.residual if expected.residual.size else 0)
    near = (gamma(6, dtype) + gamma(12)) * normalized_terms(expected, dtype)
    g = np.where(expected.relu & (y < -near), 0, abs(expected.grad_out))
    either = np.where(expected.relu & (abs(y) <= near), g, 0)
    sums, bounds = {}, {}
    for name, size in (("grad_bias", 1.0), ("grad_weight", abs(z) + 2 * ulp / deviation)):
        sums[name], bounds[name] = per_channel(
            abs(getattr(expected, name)),
            ((gamma(2 * count + 10) + gamma(5, dtype)) * g * size + either * size).sum(axis=(0, 2)),
        )
    terms, uncertain = g, either
    if expected.training:
        terms = g + (sums["grad_bias"] + (abs(z) + 4 * ulp / deviation) * sums["grad_weight"]) / count
        uncertain = either + (bounds["grad_bias"] + abs(z) * bounds["grad_weight"]) / count
    return {
        "grad_x": factor * ((gamma(6, dtype) + gamma(12)) * terms + uncertain),
        "grad_weight": bounds["grad_weight"][:, 0],
        "grad_bias": bounds["grad_bias"][:, 0],
        "grad_residual": either if expected.residual.size else 0,
    }


def pca(expected, dtype, roundings=16):
    """Blocks of 256 rows are summed in the dtype, about their mean.

    That is 256 roundings, which grow as 16 if their signs are random. Values that repeat may give all of them one sign.
    """
    few = roundings * np.finfo(dtype).eps
    rows, spread = expected.x.shape[0], np.sqrt(expected.scatter.diagonal())
    mean, _ = statistics_tolerance(expected.x, rows, 0, 0)
    mean = mean + few * spread / np.sqrt(rows)
    return {"mean": mean, "scatter": few * np.outer(spread, spread) + rows * np.outer(mean, mean)}


def pca_transform(expected, dtype):
    """A chain of products in the dtype, from a start that makes good what the mean loses in it."""
    terms = np.abs(expected.x - expected.mean) @ np.abs(expected.basis).T
    lost = np.finfo(dtype).eps * (np.abs(expected.mean) @ np.abs(expected.basis).T) * np.finfo(dtype).eps
    return {"out": (gamma(expected.x.shape[1] + 4, dtype) * terms) + 2 * lost}


def of(expected, op, dtype, rung=""):
    """The tolerance of each output. Of an operation with several algorithms, the rung says which."""
    if op == "conv2d" and rung.startswith("winograd"):
        return winograd(expected, dtype, rung)
    return globals()[op](expected, dtype)
