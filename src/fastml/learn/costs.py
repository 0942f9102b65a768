"""What the machine must do for a problem at the least: bytes from memory or cache, and flops."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from fastml import _validate
from fastml.learn import resnet18
from fastml.learn.cases import Case

CACHE = 2**20  # bytes that a core keeps from one pass to the next: its second-level cache


@dataclass(frozen=True)
class Cost:
    read: float  # bytes that must come from memory, or from the cache that the arrays fit into
    written: float
    flops: float
    working_set: float  # bytes of all arrays

    @property
    def bytes(self) -> float:
        return self.read + self.written


@cache
def cost(case: Case, dtype: str) -> Cost:
    """The least that any implementation of the whole operation must move and compute.

    An array that is needed twice, for statistics and then for the output, is read twice, unless what one statistic is
    made of fits into a core's cache: then the second reading can be done from there.
    """
    args, options = case.arguments(dtype)
    arrays = [array for array in (*args, *options.values()) if isinstance(array, np.ndarray)]
    x, given = arrays[0], float(sum(array.nbytes for array in arrays))
    if case.op in ("moments", "StandardScaler", "standardize"):
        return _cost_of_columns(x, given, case)
    if case.op == "batch_norm":
        training = case.options.get("training", False)
        again = x.nbytes * (training and x.nbytes // x.shape[1] > CACHE)
        return Cost(given + again, x.nbytes, (2.0 + 4.0 * training) * x.size, given + x.nbytes)
    if case.op == "batch_norm_backward":  # the gradient and x, for both sums; then for the gradient of x
        again = 2 * x.nbytes * (case.options.get("training", False) and 2 * x.nbytes // x.shape[1] > CACHE)
        written = x.nbytes * (2 if "residual" in options else 1)
        return Cost(given + again, written, 8 * x.size, given + written)
    if case.op in ("pca", "PCA", "scatter") and case.method != "transform":  # half of a symmetric product, 2 flops each
        columns = x.shape[1] if case.op == "scatter" else min(x.shape)
        return Cost(given, 0, x.size * (columns + 1.0), given)
    if case.op in ("pca_transform", "PCA"):
        k = len(args[2]) if case.op == "pca_transform" else case.options["n_components"]
        written = float(len(x) * k * x.itemsize)
        return Cost(given, written, 2.0 * x.size * k, given + written)
    if case.op == "conv2d_backward":
        grad_out, x, weight = args
        needs_x, needs_weight = (options.get(f"needs_grad_{name}", True) for name in ("x", "weight"))
        written = float(x.nbytes * needs_x + weight.nbytes * needs_weight)
        return Cost(given, written, 2.0 * grad_out.size * weight[0].size * (needs_x + needs_weight), given + written)
    if case.op.endswith("_backward"):  # pooling: the last argument is the shape of the input
        written = float(np.prod(args[-1])) * x.itemsize
        return Cost(given, written, x.size, given + written)
    if case.op == "ResNet18":
        written = float(len(x) * args[-1].nbytes)
        return Cost(given, written, resnet18.flops(x.shape), given + written)
    problem = getattr(_validate, case.op.lower())(*args, **options)[0]
    written = float(problem.out.nbytes + (problem.indices.nbytes if case.op == "max_pool2d" else 0))
    if case.op in ("conv2d", "Conv2d"):
        return Cost(given, written, 2.0 * problem.out.size * problem.weight[0].size, given + written)
    taps = problem.kernel_h + problem.kernel_w  # rows first, then across
    return Cost(given, written, float(problem.out.size * taps), given + written)


def _cost_of_columns(x: np.ndarray, given: float, case: Case) -> Cost:
    statistics = case.method != "transform" and "std" not in case.options
    output = case.op != "moments" and case.method != "fit"
    again = statistics and output and 64 * len(x) > CACHE  # a strip of columns, a cache line wide
    in_place = not case.options.get("copy", True)
    flops, written = (4.0 * statistics + 2.0 * output) * x.size, float(x.nbytes * output)
    return Cost(given + x.nbytes * again, written, flops, given + written * (not in_place))
