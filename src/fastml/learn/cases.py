"""The problems, each described once: benches time them, tests check every rung on them.

Real data where it exists, random data for scale (`fastml.learn.data`). A case gives the arguments of `fastml.<op>`, which is
a function or a class, or of a network of its layers; `fastml.learn.costs` says what the machine must do for it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

import fastml
from fastml import _validate
from fastml.learn import resnet18
from fastml.learn.data import breast_cancer, crops, digits, fading, normal, patches, photograph, photographs, wine
from fastml.ops.pca import scatter

DTYPES = ("float32", "float64")
LAYERS = ("Conv2d", "ResNet18")  # made of all arguments but the first, once; what is timed is the call with that one
# What is not public by the name of its operation.
IMPLEMENTATIONS = {"ResNet18": resnet18.ResNet18, "scatter": scatter}


@dataclass(frozen=True, eq=False)  # a case is itself
class Case:
    op: str
    name: str
    make: Callable[[], np.ndarray]  # the main array, float64
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the operation, or of the class
    weight: tuple[int, ...] = ()  # conv2d, Conv2d, conv2d_backward: shape of the weights
    method: str = ""  # of a class: what is timed
    dtypes: tuple[str, ...] = DTYPES[:1]
    paired: tuple[str, ...] = ()  # dtypes that are timed in pairs only: pytest would take too long with them
    skip: tuple[str, ...] = ()  # contenders that would take seconds a call
    small: bool = False  # little to compute: what is timed is the way to the kernel

    @property
    def group(self) -> str:
        return f"{'small inputs: ' * self.small}{self.op}: {self.name}"

    @property
    def implementation(self) -> Any:
        """fastml's function or class."""
        return IMPLEMENTATIONS.get(self.op) or getattr(fastml, self.op)

    def arguments(self, dtype: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of `fastml.<op>`, of the dtype; new arrays every time."""
        x = np.array(_made(self), dtype=dtype, order="C")
        random = np.random.default_rng(1)
        options = dict(self.options)
        for name in ("residual", "sample_weight", "mean", "std"):  # given as shapes
            if options.get(name):
                options[name] = random.uniform(0.5, 2, size=options[name]).astype(dtype)
        others = {
            "conv2d": self._filters,
            "Conv2d": self._filters,
            "ResNet18": lambda x, random, options: ((x, *resnet18.parameters(x.dtype)), options),
            "conv2d_backward": self._gradient_of_filters,
            "batch_norm": self._channels,
            "batch_norm_backward": self._gradient_of_channels,
            "max_pool2d_backward": self._gradient_of_maxima,
            "avg_pool2d_backward": self._gradient_of_means,
            "pca_transform": self._components,
        }
        return others[self.op](x, random, options) if self.op in others else ((x,), options)

    def call(self, implementation: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Callable[[], Any]:
        """What is timed: a function on its arguments, a layer that holds all but the first, or a class's method."""
        if self.op in LAYERS:
            x, *held = args
            layer = implementation(*held, **options)
            return lambda: layer(x)
        if not self.method:
            return lambda: implementation(*args, **options)
        (x,) = args
        if self.method != "transform":
            return lambda: getattr(implementation(**options), self.method)(x)
        sample = x if len(x) > 1 else normal(1000, x.shape[1], offset=3)().astype(x.dtype)
        fitted = implementation(**options).fit(sample)
        return lambda: fitted.transform(x)

    def _components(self, x: Any, random: Any, options: Any) -> Any:
        """The mean, and k directions of length 1; `components` is their number."""
        basis = random.normal(size=(options.pop("components"), x.shape[1])) / np.sqrt(x.shape[1])
        return (x, x.mean(axis=0, dtype=np.float64), basis.astype(x.dtype)), options

    def _filters(self, x: Any, random: Any, options: Any) -> Any:
        fan_in = np.prod(self.weight[1:])
        weight = random.normal(scale=np.sqrt(2 / fan_in), size=self.weight).astype(x.dtype)
        return (x, weight, random.normal(size=self.weight[0]).astype(x.dtype)), options

    def _gradient_of_filters(self, x: Any, random: Any, options: Any) -> Any:
        (_, weight, _), _ = self._filters(x, random, options)
        forward = {name: value for name, value in options.items() if not name.startswith("needs_")}
        shape = _validate.conv2d(x, weight, **forward)[1].shape
        return (random.normal(size=shape).astype(x.dtype), x, weight), options

    def _channels(self, x: Any, random: Any, options: Any) -> Any:
        """Running mean and variance, weight, bias."""
        channels = x.shape[1]
        vectors = random.normal(size=channels), random.uniform(0.5, 2, channels)
        vectors += random.uniform(0.5, 2, channels), random.normal(size=channels)
        return (x, *(v.astype(x.dtype) for v in vectors)), options

    def _gradient_of_channels(self, x: Any, random: Any, options: Any) -> Any:
        (_, _, _, weight, bias), _ = self._channels(x, random, options)
        axes = tuple(axis for axis in range(x.ndim) if axis != 1)
        mean, variance = x.mean(axis=axes, dtype=np.float64), x.var(axis=axes, dtype=np.float64)
        return (random.normal(size=x.shape).astype(x.dtype), x, mean, variance, weight, bias), options

    def _gradient_of_maxima(self, x: Any, random: Any, options: Any) -> Any:
        out, indices = fastml.max_pool2d(x, **options, return_indices=True)
        return (random.normal(size=out.shape).astype(x.dtype), indices, x.shape), {}

    def _gradient_of_means(self, x: Any, random: Any, options: Any) -> Any:
        shape = fastml.avg_pool2d(x, **options).shape
        return (random.normal(size=shape).astype(x.dtype), x.shape), options

    def problem(self, dtype: Any) -> Any:
        """The validated problem: the argument list of every kernel of the operation."""
        args, options = self.arguments(dtype)
        if self.op == "scatter":
            return _validate.scatter(*args)
        problem = getattr(_validate, self.op.lower())(*args, **options)[0]
        if self.op == "standardize":  # its kernel is given the statistics
            stats = fastml.moments(problem.x, problem.axis, backend="numpy")
            problem.mean[:], problem.scale[:] = stats.mean, stats.std()
            problem.scale[problem.scale == 0] = 1
        return problem


@lru_cache(maxsize=1)  # random numbers take longer than most operations on them
def _made(case: Case) -> np.ndarray:
    return np.asarray(case.make())


def _small(op: str, name: str, make: Callable[[], np.ndarray], options: Any = None, **others: Any) -> Case:
    return Case(op, name, make, options or {}, small=True, **others)


def batch(*shape: int) -> str:
    return "x".join(map(str, shape))


K2 = {"kernel_size": 2}
K3 = {"kernel_size": 3, "stride": 2, "padding": 1}
INDICES = {"return_indices": True}
TRAINING = {"training": True}
MAPS = ((8, 64, 56, 56), (32, 64, 32, 32), (8, 256, 14, 14))  # batches that batch_norm sees in residual networks
POOLED = (((8, 64, 112, 112), "k2 s2", K2), ((8, 64, 112, 112), "k3 s2 p1", K3), ((1, 64, 224, 224), "k2 s2", K2),
          ((32, 32, 28, 28), "k2 s2", K2))  # fmt: skip
SLOW = ("NumPy",)

# n, channels, h, w; outputs; kernel, stride, padding, groups: layers of networks that are in use, of every kind
CONVOLVED = (
    ((1, 3, 224, 224), 64, 7, 2, 3, 1),
    ((8, 64, 56, 56), 64, 3, 1, 1, 1),
    ((1, 256, 14, 14), 256, 3, 1, 1, 1),
    ((1, 256, 56, 56), 64, 1, 1, 0, 1),
    ((1, 96, 112, 112), 96, 3, 1, 1, 96),
    ((1, 3, 224, 224), 64, 3, 1, 1, 1),
    ((1, 64, 56, 56), 64, 3, 1, 1, 1),
    ((1, 128, 28, 28), 128, 3, 1, 1, 1),
    ((1, 512, 7, 7), 512, 3, 1, 1, 1),
    ((1, 64, 224, 224), 64, 3, 1, 1, 1),
    ((8, 256, 14, 14), 256, 3, 1, 1, 1),
    ((32, 16, 32, 32), 32, 3, 1, 1, 1),
    ((1, 64, 56, 56), 256, 1, 1, 0, 1),
    ((1, 128, 56, 56), 128, 3, 2, 1, 1),
    ((1, 144, 56, 56), 144, 3, 2, 1, 144),
    ((32, 1, 28, 28), 32, 5, 1, 0, 1),
    ((1, 8, 8, 8), 8, 3, 1, 1, 1),
)
CONNECTED = "1x2048x1x1 to 1000, k1"  # a fully connected layer
BY_ALL = 5  # of the first of them, the other backends are timed, too
DIFFERENTIATED = (0, 1, 3, 4, 10, 13, 15, 16)  # of these, one or two of a kind, the gradients are timed


def _convolutions(op: str) -> list[Case]:
    cases = []
    for i, (shape, outputs, kernel, stride, padding, groups) in enumerate(CONVOLVED):
        photo, small = shape[1] == 3, shape[-1] == 8
        make = (lambda: photograph(224, 224)) if photo else normal(*shape)
        to = "depthwise" if groups > 1 else f"to {outputs}"
        name = f"{'photograph ' * photo}{batch(*shape)} {to}, k{kernel}{' s2' * (stride == 2)}"
        options = {"stride": stride, "padding": padding, "groups": groups}
        cases.append(Case(
            op, name, make, options, (outputs, shape[1] // groups, kernel, kernel), small=small,
            dtypes=DTYPES if op == "conv2d" and i in (0, 1, 3, 4) else DTYPES[:1],
            skip=() if i < BY_ALL or small else (*SLOW, "fastml numba"),
        ))  # fmt: skip
    return cases


# Rows, columns, components; and how many dtypes of a fit pytest times, as it has no time for all.
MATRICES = (
    (1000, 20, 5, 1), (10_000, 100, 10, 2), (100_000, 100, 10, 0), (1_000_000, 50, 10, 1), (5000, 784, 50, 2),
    (2000, 2000, 20, 1), (500, 5000, 20, 1), (200, 20_000, 10, 0),
)  # fmt: skip
SCATTERS = ((1000, 20, 0), (10_000, 100, 1), (100_000, 100, 0), (5000, 784, 0), (2000, 2000, 0))  # and their dtypes


def _components(method: str) -> list[Case]:
    """PCA of matrices of every form: its fit, or its transform, of data whose components any fit tells apart."""
    given = [("digits", digits, 1797, 64, 20, 1), ("patches of a photograph", lambda: patches(8), 265_860, 64, 16, 0)]
    random = normal if method == "fit" else fading

    def solver(name: str, n: int, p: int) -> dict[str, str]:
        """All are to transform by the same components, so their fits, which are not timed, must be exact."""
        exact = "covariance_eigh" if name == "random" and n >= p else "full"
        return {"svd_solver": exact} if method == "transform" else {}

    given += [("random", random(n, p, offset=3), n, p, k, timed) for n, p, k, timed in MATRICES]
    return [
        Case("PCA", f"{method} {name} {n}x{p} to {k}", make, {"n_components": k, **solver(name, n, p)}, method=method,
             dtypes=DTYPES, paired=DTYPES[timed if method == "fit" else 0 :])
        for name, make, n, p, k, timed in given
    ]  # fmt: skip


BENCH: tuple[Case, ...] = (
    Case("StandardScaler", "fit_transform 1000000x50", normal(1_000_000, 50, offset=3), method="fit_transform", dtypes=DTYPES),
    Case("StandardScaler", "fit_transform 10000x1000", normal(10_000, 1000, offset=3), method="fit_transform", dtypes=DTYPES),
    Case("StandardScaler", "fit_transform 100000x50", normal(100_000, 50, offset=3), method="fit_transform", dtypes=DTYPES),
    Case("StandardScaler", "fit 1000000x50", normal(1_000_000, 50, offset=3), method="fit", dtypes=DTYPES),
    Case("StandardScaler", "transform 1000000x50, in place", normal(1_000_000, 50, offset=3), {"copy": False}, method="transform"),
    Case("moments", "breast_cancer 569x30", breast_cancer, dtypes=DTYPES),
    Case("moments", "random 1000000x50", normal(1_000_000, 50, offset=3), dtypes=DTYPES, skip=SLOW),
    Case("moments", "10000x20, offset 1e7", normal(10_000, 20, offset=1e7), paired=DTYPES),
    Case("standardize", "wine 178x13", wine, dtypes=DTYPES),
    Case("standardize", "random 10000x1000", normal(10_000, 1000, offset=3), dtypes=DTYPES),
    Case("standardize", "random 1000000x50", normal(1_000_000, 50, offset=3), skip=SLOW),
    *_convolutions("conv2d"),
    *_convolutions("Conv2d"),
    *(Case(op, CONNECTED, normal(1, 2048, 1, 1), {"stride": 1, "padding": 0, "groups": 1}, (1000, 2048, 1, 1), skip=(*SLOW, "fastml numba")) for op in ("conv2d", "Conv2d")),
    *(case for i, case in enumerate(_convolutions("conv2d_backward")) if i in DIFFERENTIATED),
    Case("conv2d_backward", "photograph 1x3x224x224 to 64, k7 s2, without grad_x", lambda: photograph(224, 224), {"stride": 2, "padding": 3, "needs_grad_x": False}, (64, 3, 7, 7)),
    Case("ResNet18", "photograph 1x3x224x224", lambda: photograph(224, 224)),
    Case("ResNet18", "photographs 8x3x224x224", lambda: crops(8, 224)),
    Case("max_pool2d", "photographs 2x3x427x640, k2", photographs, K2, dtypes=DTYPES),
    *(Case("max_pool2d", f"{batch(*shape)}, {name}", normal(*shape), options) for shape, name, options in POOLED),
    *(Case("max_pool2d", f"{batch(*shape)}, {name}, indices", normal(*shape), options | INDICES) for shape, name, options in POOLED),
    *(Case("max_pool2d_backward", f"{batch(*shape)}, {name}", normal(*shape), options) for shape, name, options in POOLED[:2]),
    Case("avg_pool2d", "photographs 2x3x427x640, k2", photographs, K2, dtypes=DTYPES),
    *(Case("avg_pool2d", f"{batch(*shape)}, {name}", normal(*shape), options) for shape, name, options in POOLED[:2]),
    Case("avg_pool2d", "8x512x7x7, k7", normal(8, 512, 7, 7), {"kernel_size": 7}),
    *(Case("avg_pool2d_backward", f"{batch(*shape)}, {name}", normal(*shape), options) for shape, name, options in POOLED[:2]),
    *(Case("batch_norm", f"{batch(*shape)}, training", normal(*shape, offset=2), TRAINING, dtypes=DTYPES[: 1 + (shape == MAPS[0])]) for shape in (*MAPS, (256, 512))),
    Case("batch_norm", "64x64x56x56, training", normal(64, 64, 56, 56, offset=2), TRAINING, paired=DTYPES),
    *(Case("batch_norm", f"{batch(*shape)}, inference", normal(*shape, offset=2), dtypes=DTYPES[: 1 + (shape == MAPS[0])]) for shape in MAPS),
    *(Case("batch_norm", f"{batch(*shape)}, training, residual, relu", normal(*shape, offset=2), {**TRAINING, "residual": shape, "activation": "relu"}) for shape in MAPS),
    *(Case("batch_norm_backward", f"{batch(*shape)}, training", normal(*shape, offset=2), TRAINING) for shape in (*MAPS, (256, 512))),
    *(Case("batch_norm_backward", f"{batch(*shape)}, training, residual, relu", normal(*shape, offset=2), {**TRAINING, "residual": shape, "activation": "relu"}) for shape in MAPS[:1]),
    Case("pca", "digits 1797x64 to 20", digits, {"n_components": 20}, dtypes=DTYPES),
    Case("pca", "patches of a photograph 67200x64 to 16", lambda: patches(8, step=2), {"n_components": 16}, dtypes=DTYPES),
    Case("pca", "random 5000x784 to 50", normal(5000, 784), {"n_components": 50}),
    Case("pca", "random 1000000x50 to 10", normal(1_000_000, 50, offset=3), {"n_components": 10}),
    *(Case("pca", f"random {batch(n, p)} to {k}", normal(n, p, offset=3), {"n_components": k}, paired=DTYPES) for n, p, k in ((500, 5000, 20), (2000, 2000, 20))),
    Case("pca", "fading 2000x2000 to 20", fading(2000, 2000, offset=3), {"n_components": 20}, paired=DTYPES),
    *(Case("pca_transform", f"random {n}x{p} to {k}", normal(n, p, offset=3), {"components": k}, dtypes=DTYPES, skip=SLOW) for n, p, k in ((1_000_000, 50, 10), (5000, 784, 50))),
    *(Case("scatter", batch(n, p), normal(n, p, offset=3), dtypes=DTYPES, paired=DTYPES[timed:]) for n, p, timed in SCATTERS),
    Case("scatter", "5000x20, offset 1e4", normal(5000, 20, offset=1e4), paired=DTYPES),
    *_components("fit"),
    *_components("transform"),
    _small("StandardScaler", "fit_transform 1000x20", normal(1000, 20, offset=3), method="fit_transform"),
    _small("StandardScaler", "transform 1x20", normal(1, 20, offset=3), method="transform"),
    _small("standardize", "given statistics, 1x20", normal(1, 20, offset=3), {"mean": 20, "std": 20}),
    _small("moments", "100x20", normal(100, 20, offset=3)),
    _small("max_pool2d", "1x8x8x8, k2 s2", normal(1, 8, 8, 8), K2),
    _small("max_pool2d_backward", "1x8x8x8, k2 s2", normal(1, 8, 8, 8), K2),
    _small("avg_pool2d", "1x8x8x8, k2 s2", normal(1, 8, 8, 8), K2),
    _small("avg_pool2d_backward", "1x8x8x8, k2 s2", normal(1, 8, 8, 8), K2),
    _small("batch_norm", "1x8x8x8, training", normal(1, 8, 8, 8, offset=2), TRAINING),
    _small("batch_norm", "1x8x8x8, inference", normal(1, 8, 8, 8, offset=2)),
    _small("batch_norm_backward", "1x8x8x8, training", normal(1, 8, 8, 8, offset=2), TRAINING),
)  # fmt: skip
