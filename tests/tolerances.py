"""How far off a result may be: a-priori bounds of rounding errors, not observations, one function for each operation.

gamma(k) bounds k roundings in a row (Higham, 2002, section 3.1). `expected` is the problem with the results of the
definition, all in float64; dtype is what the kernel was given.
"""

import numpy as np

from fastml import _dispatch


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
    g = abs(expected.grad_out)
    either = g * (expected.relu & (abs(y) <= (gamma(6, dtype) + gamma(12)) * normalized_terms(expected, dtype)))
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


def pca(expected, dtype):
    """Blocks of 256 rows are summed in the dtype, about their mean: 256 roundings of random sign grow as 16."""
    few = 16 * np.finfo(dtype).eps
    rows, spread = expected.x.shape[0], np.sqrt(expected.scatter.diagonal())
    mean, _ = statistics_tolerance(expected.x, rows, 0, 0)
    mean = mean + few * spread / np.sqrt(rows)
    return {"mean": mean, "scatter": few * np.outer(spread, spread) + rows * np.outer(mean, mean)}


def of(expected, op, dtype):
    """The tolerance of each output."""
    return globals()[op](expected, dtype)
