"""Calls of operations and classes: arguments that are mostly valid, drawn from choices, and how the call is made."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import decomposition, preprocessing

import fastml
from tests.fuzz import arrays
from tests.fuzz.choices import Choices

SIDES = (5, 1, 2, 3, 4, 6, 7, 8, 9, 13, 17, 33)
ROWS = (7, 1, 2, 3, 0, 5, 8, 17, 40, 129, 257)
COLUMNS = (3, 1, 2, 4, 5, 8, 13, 17, 33, 0)
CHANNELS = (1, 2, 3, 4, 5, 8, 17)
ALGORITHMS = ("loops", "rows", "im2col", "direct", "first", "gemm", "depthwise", "winograd_2x2", "winograd", "dots")
METHODS = ("fit", "transform", "fit_transform", "partial_fit", "inverse_transform")
SLOW = {"n_iter", "iterated_power", "n_oversamples"}  # scikit-learn's own code does all that are asked for


@dataclass
class Call:
    """`takes` are the arguments that the function has, given or not."""

    op: str
    arguments: dict[str, Any]
    takes: frozenset[str]

    def perform(self) -> Any:
        np.random.seed(0)  # noqa: NPY002  # it is what random_state None means
        return COMPOSED.get(self.op, plainly(self.op))(**self.arguments)


def plainly(op: str) -> Callable[..., Any]:
    return lambda **arguments: getattr(fastml, op)(**arguments)


def moments(X: Any, Y: Any, ddof: Any, **options: Any) -> Any:
    first, options = fastml.moments(X, **options), {**options, "sample_weight": None}
    both = first.merge(fastml.moments(Y, **options))
    return first, both, both.var(ddof), both.std(ddof)


def pca(X: Any, Y: Any, k: Any, **options: Any) -> Any:
    result = fastml.pca(X, **options)
    there = result.transform(Y)
    return result, result.condition, result.first(k), there, result.inverse_transform(there)


def layer(x: Any, residual: Any = None, out: Any = None, n_threads: Any = None, **options: Any) -> Any:
    made = fastml.Conv2d(**options)
    results = [made(x, n_threads=n_threads) for _ in range(2)]  # the second one by the short way
    return made(x, out, residual=residual, n_threads=n_threads), results, made.weight, made.bias


def estimator(kind: str, library: Any = fastml) -> Callable[..., Any]:
    def use(X: Any, Y: Any, steps: Any, sample_weight: Any = None, backend: Any = None, **parameters: Any) -> Any:
        model, found, last = getattr(library, kind)(**parameters), [], X
        weights = {"sample_weight": sample_weight} if kind == "StandardScaler" else {}
        with fastml.backend(backend):
            for method, other in steps:
                given = last if method == "inverse_transform" else Y if other else X
                fits = "fit" in method and given is X
                last = getattr(model, method)(given, **(weights if fits else {}))
                found.append(None if last is model else last)
                last = X if last is model else last
        return found, {name: value for name, value in vars(model).items() if name.endswith("_")}

    return use


ESTIMATORS = {"StandardScaler": preprocessing, "PCA": decomposition, "IncrementalPCA": decomposition,
              "TruncatedSVD": decomposition}  # fmt: skip
COMPOSED: dict[str, Callable[..., Any]] = {
    "moments": moments, "pca": pca, "Conv2d": layer, **{kind: estimator(kind) for kind in ESTIMATORS},
}  # fmt: skip


def by_sklearn(call: Call) -> Exception | None:
    """What scikit-learn's own class raises."""
    if call.op in ESTIMATORS:
        try:
            estimator(call.op, ESTIMATORS[call.op])(**call.arguments)
        except Exception as error:
            return error
    return None


class Draw:
    """What arguments are made of: one dtype for all arrays of a call, with exceptions."""

    def __init__(self, choices: Choices) -> None:
        self.choices, self.dtype = choices, choices.pick(("f4", "f8"))
        self.integer, self.pick, self.maybe = choices.integer, choices.pick, choices.maybe

    def array(self, *shape: int, positive: bool = False) -> Any:
        return arrays.array(self.choices, shape, self.dtype, positive=positive)

    def vector(self, size: int, *, positive: bool = False) -> Any:
        """For a float64 argument: of any of both dtypes, or none."""
        return self.array(size, positive=positive) if not self.choices.chance(3) else None

    def matrix(self) -> Any:
        return self.array(self.pick(ROWS), self.pick(COLUMNS))

    def image(self, channels: int) -> Any:
        n = self.pick((1, 2, 3, 0))
        shape = channels, self.pick(SIDES), self.pick(SIDES)
        return self.array(*shape) if self.choices.chance(5) else self.array(n, *shape)

    def like(self, make: Callable[[], Any]) -> Any:
        """An array of the shape of a call's result, or of none if it raises."""
        try:
            result = make()
            shape = (result[0] if isinstance(result, tuple) else result).shape
        except Exception:
            shape = (1, 1, 1, 1)
        return self.array(*shape)

    def windows(self) -> dict[str, Any]:
        return {
            "kernel_size": self.pick((2, 3, 1, (2, 3), (3, 1), 4, 5, 7)),
            "stride": self.maybe(None, (1, 2, 3, (1, 2), (2, 1), 40)),
            "padding": self.maybe(0, (1, 2, (0, 1), "same", "same_lower", "valid", ((0, 1), (1, 0)), ((2, 0), (0, 2)))),
            "ceil_mode": self.maybe(False, (True,)),
        }

    def averaging(self) -> dict[str, Any]:
        include, divisor = self.maybe(True, (False,)), self.maybe(None, (3, 1), 6)
        return {**self.windows(), "count_include_pad": include, "divisor_override": divisor}

    def filters(self) -> tuple[int, dict[str, Any]]:
        """The channels of an image, and the arguments of its convolution."""
        groups = self.maybe(1, (2, 3, 8), 4)
        inputs, outputs = self.pick(CHANNELS), self.pick(CHANNELS)
        sides = self.pick(((3, 3), (1, 1), (2, 3), (5, 5), (1, 4), (3, 1), (7, 2)))
        return inputs * groups, {
            "weight": self.array(outputs * groups, inputs, *sides),
            "stride": self.maybe(1, (2, 3, (1, 2), 40)),
            "padding": self.maybe(0, (1, 2, (0, 3), "same", "same_lower", ((0, 1), (2, 0)), 9)),
            "dilation": self.maybe(1, (2, (1, 3)), 5),
            "groups": groups,
        }


def of_moments(draw: Draw) -> dict[str, Any]:
    X, axis = draw.matrix(), draw.maybe(0, (1,))
    rows, columns = X.shape
    weights = draw.array(X.shape[axis], positive=True) if draw.choices.chance(3) else None
    Y = draw.array(*((draw.pick(ROWS), columns) if axis == 0 else (rows, draw.pick(ROWS))))
    return {"X": X, "Y": Y, "axis": axis, "sample_weight": weights, "ddof": draw.maybe(0, (1, 2.5))}


def of_standardize(draw: Draw) -> dict[str, Any]:
    X, axis = draw.matrix(), draw.maybe(0, (1,))
    features = X.shape[1 - axis]
    return {
        "X": X, "mean": draw.vector(features), "std": draw.vector(features, positive=True), "axis": axis,
        "with_mean": draw.maybe(True, (False,)), "with_std": draw.maybe(True, (False,)),
        "ddof": draw.maybe(0, (1, 0.5)), "return_stats": draw.maybe(False, (True,)),
    }  # fmt: skip


def of_batch_norm(draw: Draw) -> dict[str, Any]:
    x = draw.matrix() if draw.choices.chance(3) else draw.array(draw.pick((2, 1, 3, 0)), draw.pick(CHANNELS), 4, 5)
    channels, training = x.shape[1], draw.maybe(False, (True,))
    return {
        "x": x, "running_mean": draw.vector(channels), "running_var": draw.vector(channels, positive=True),
        "weight": draw.vector(channels), "bias": draw.vector(channels), "training": training,
        "momentum": draw.maybe(0.1, (None, 0, 1, 0.5)), "eps": draw.maybe(1e-5, (0, 1.0, 1e-12)),
        "activation": draw.maybe(None, ("relu",)), "residual": draw.array(*x.shape) if draw.choices.chance(4) else None,
        "return_stats": draw.maybe(False, (True,)),
        "num_batches_tracked": np.array(draw.integer(0, 9)) if draw.choices.chance(4) else None,
    }  # fmt: skip


def of_batch_norm_backward(draw: Draw) -> dict[str, Any]:
    given = of_batch_norm(draw)
    for name in ("momentum", "return_stats", "num_batches_tracked", "running_mean", "running_var"):
        del given[name]
    channels = given["x"].shape[1]
    mean, variance = draw.array(channels), draw.array(channels, positive=True)
    return {"grad_out": draw.array(*given["x"].shape), "mean": mean, "variance": variance, **given}


def of_fold_batch_norm(draw: Draw) -> dict[str, Any]:
    weight = draw.matrix() if draw.choices.chance(2) else draw.filters()[1]["weight"]
    vectors = {name: draw.vector(weight.shape[0]) for name in ("bias", "running_mean", "bn_weight", "bn_bias")}
    variance = draw.array(weight.shape[0], positive=True)
    return {"weight": weight, **vectors, "running_var": variance, "eps": draw.maybe(1e-5, (0, 1.0))}


def of_conv2d(draw: Draw) -> dict[str, Any]:
    channels, options = draw.filters()
    given = {"x": draw.image(channels), **options, "activation": draw.maybe(None, ("relu",))}
    given["bias"] = draw.array(len(given["weight"])) if draw.choices.chance(2) else None
    given["algorithm"] = draw.maybe("auto", ALGORITHMS)
    given["residual"] = draw.like(lambda: fastml.conv2d(**given)) if draw.choices.chance(4) else None
    return given


def of_layer(draw: Draw) -> dict[str, Any]:
    given = of_conv2d(draw)
    return {**given, "input_size": draw.maybe(None, (5, (4, 9), 1))}


def of_conv2d_backward(draw: Draw) -> dict[str, Any]:
    channels, options = draw.filters()
    given = {"x": draw.image(channels), **options}
    needs = {f"needs_grad_{name}": draw.maybe(True, (False,), 4) for name in ("x", "weight", "bias")}
    return {"grad_out": draw.like(lambda: fastml.conv2d(**given)), **given, **needs}


def of_max_pool2d(draw: Draw) -> dict[str, Any]:
    options = {**draw.windows(), "dilation": draw.maybe(1, (2, (1, 3)), 4)}
    return {"x": draw.image(draw.pick(CHANNELS)), **options, "return_indices": draw.maybe(False, (True,))}


def of_avg_pool2d(draw: Draw) -> dict[str, Any]:
    return {"x": draw.image(draw.pick(CHANNELS)), **draw.averaging()}


def of_global_avg_pool2d(draw: Draw) -> dict[str, Any]:
    return {"x": draw.image(draw.pick(CHANNELS)), "keepdims": draw.maybe(True, (False,))}


def of_max_pool2d_backward(draw: Draw) -> dict[str, Any]:
    grad_out = draw.image(draw.pick(CHANNELS))
    h, w = draw.pick(SIDES), draw.pick(SIDES)
    random, beyond = np.random.default_rng(draw.integer(0, 255)), draw.maybe(0, (1, 2**40), 8)
    indices = random.integers(-1, h * w + beyond, grad_out.shape)
    indices = indices.astype(draw.maybe("i8", ("i4", "u8", "i2", ">i8"), 4))
    return {"grad_out": grad_out, "indices": indices, "input_shape": (*grad_out.shape[:-2], h, w)}


def of_avg_pool2d_backward(draw: Draw) -> dict[str, Any]:
    x, options = draw.image(draw.pick(CHANNELS)), draw.averaging()
    return {"grad_out": draw.like(lambda: fastml.avg_pool2d(x, **options)), "input_shape": x.shape, **options}


def of_pca(draw: Draw) -> dict[str, Any]:
    X = draw.matrix()
    return {
        "X": X, "Y": draw.array(draw.pick(ROWS), X.shape[1]), "k": draw.integer(0, 3),
        "n_components": draw.maybe(None, (1, 2, 0.5, 3)), "whiten": draw.maybe(False, (True,)),
        "solver": draw.maybe("auto", ("full", "covariance_eigh", "randomized", "arpack")),
        "tol": draw.maybe(0.0, (0.1,), 4), "random_state": draw.maybe(0, (1,), 4),
    }  # fmt: skip


def of_pca_transform(draw: Draw) -> dict[str, Any]:
    X = draw.matrix()
    columns = X.shape[1]
    return {"X": X, "mean": draw.array(columns), "components": draw.array(draw.pick((2, 1, 3, 5, 17, 0)), columns)}


def of_estimator(kind: str) -> Callable[[Draw], dict[str, Any]]:
    parameters: dict[str, dict[str, tuple[Any, ...]]] = {
        "StandardScaler": {"with_mean": (True, False), "with_std": (True, False), "copy": (True, False)},
        "PCA": {"n_components": (None, 1, 2, 0.5, "mle", 0), "whiten": (False, True), "copy": (True, False),
                "svd_solver": ("auto", "full", "covariance_eigh", "randomized", "arpack")},
        "IncrementalPCA": {"n_components": (None, 1, 2), "whiten": (False, True), "batch_size": (None, 3, 40)},
        "TruncatedSVD": {"n_components": (2, 1, 3), "algorithm": ("randomized", "arpack")},
    }  # fmt: skip

    def of_this(draw: Draw) -> dict[str, Any]:
        X, made = draw.matrix(), {name: draw.maybe(of[0], of[1:]) for name, of in parameters[kind].items()}
        methods = [method for method in METHODS if hasattr(getattr(fastml, kind), method)]
        steps = [(draw.pick(methods), draw.choices.chance(3)) for _ in range(draw.integer(0, 4))]
        steps.insert(0, (draw.pick([method for method in methods if method != "inverse_transform"]), False))
        if kind == "StandardScaler" and draw.choices.chance(4):
            made["sample_weight"] = draw.array(X.shape[0], positive=True)
        return {"X": X, "Y": draw.array(draw.pick(ROWS), X.shape[1]), "steps": steps, **made}

    return of_this


DRAWN: dict[str, Callable[[Draw], dict[str, Any]]] = {
    "standardize": of_standardize, "moments": of_moments, "pca": of_pca, "pca_transform": of_pca_transform,
    "conv2d": of_conv2d, "conv2d_backward": of_conv2d_backward, "Conv2d": of_layer,
    "max_pool2d": of_max_pool2d, "max_pool2d_backward": of_max_pool2d_backward,
    "avg_pool2d": of_avg_pool2d, "avg_pool2d_backward": of_avg_pool2d_backward,
    "global_avg_pool2d": of_global_avg_pool2d, "batch_norm": of_batch_norm,
    "batch_norm_backward": of_batch_norm_backward, "fold_batch_norm": of_fold_batch_norm,
    **{kind: of_estimator(kind) for kind in ESTIMATORS},
}  # fmt: skip
OUT = {op for op in DRAWN if op != "Conv2d" and "out" in inspect.signature(getattr(fastml, op)).parameters} | {"Conv2d"}


def draw(choices: Choices) -> Call:
    """A call; the same bytes give the same arguments, in arrays of their own."""
    op = choices.pick([*DRAWN])
    drawn = Draw(choices)
    arguments = DRAWN[op](drawn)
    takes = {"backend"} if op in COMPOSED else set(inspect.signature(getattr(fastml, op)).parameters)
    takes |= {"n_threads"} if op in ("moments", "pca", "Conv2d") else set()
    for name, others in (("n_threads", (1, 2, 3, 7)), ("backend", ("cython", "numpy"))):
        if name in takes:
            arguments[name] = choices.maybe(None, others, 4)
    call = Call(op, arguments, frozenset(takes))
    for _ in range(choices.pick((0, 0, 0, 1, 1, 2))):
        spoil(call, choices, drawn.dtype)
    if op in OUT and choices.chance(4):
        arguments["out"] = output(call, drawn)
    return call


def spoil(call: Call, choices: Choices, dtype: str) -> None:
    name = choices.pick([name for name in call.arguments if name != "steps"])
    value = arrays.junk(choices, call.arguments[name], dtype)
    endless = isinstance(value, int) and name in SLOW
    endless |= call.op in ESTIMATORS and isinstance(value, np.ndarray) and value.size > arrays.LARGE  # it reads all
    if not endless:
        call.arguments[name] = value


def output(call: Call, drawn: Draw) -> Any:
    """For a result: an array of its shape, in any layout, or an input."""
    same = [value for name, value in call.arguments.items() if name in ("X", "x", "residual") and value is not None]
    if drawn.choices.chance(3):
        return drawn.pick(same) if same else drawn.array(3)
    out = drawn.like(call.perform)
    return out if out.flags.writeable or drawn.choices.chance(2) else out.copy()
