"""A convolution that holds its weights, laid out once for the kernels that read them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _dispatch, _threads, _validate
from fastml._validate import READABLE

MOST_PLANS = 64  # shapes of images, and backends, that a layer remembers its way for


class Plan(NamedTuple):
    """What a call needs to know for one shape of batch, on one backend."""

    kernel: Callable[..., None]
    prepared: NDArray[Any]
    arguments: tuple[Any, ...]  # of the kernel: all between x and out, for a call without a residual
    shape: tuple[int, ...]  # of the result
    work: float


class Conv2d:
    """`fastml.conv2d` with given weights: `layer = Conv2d(weight, bias, padding=1)`, then `layer(x)` for many x.

    Parameters
    ----------
    weight: (outputs, channels / groups, kernel_h, kernel_w), float32 or float64, any layout; x must have its dtype.
    bias: (outputs,), of weight's dtype, or None.
    stride, padding, dilation, groups, activation: as for `conv2d`.
    algorithm: "auto", or the name of a rung of the backend in use; `conv2d` lists them.
    input_size: (h, w) of the images to come, or an integer for squares: their weights are prepared at once. None: when
        the first image comes.
    backend: for all calls; None for what `set_backend`, `with fastml.backend(...)` and FASTML_BACKEND say at each call.

    Calling it with x of (n, channels, h, w), or one image (channels, h, w), returns (n, outputs, out_h, out_w), or
    three dimensions; `out`, `residual` and `n_threads` are those of `conv2d`. With the same algorithm the result is, to
    the bit, that of `conv2d`. "auto" chooses by one image's shape and the weights' shape alone; it may choose another
    algorithm than for `conv2d`, which pays for preparing the weights in each call.

    Attributes (all read-only): weight, bias; algorithm, the name of the rung that serves `input_size`, or the first
    image that came, and None before; prepared_bytes, what the prepared weights take, beside the weights.

    Raises TypeError for dtypes and ValueError for shapes, sizes and names, each with the argument's name: all that does
    not depend on an image when it is made, the rest when it is called.

    Weight and bias are copied: changing the arrays afterwards changes nothing. Threads may share a layer. It can be
    copied and pickled; prepared weights are not part of that, as another machine may need others: they are prepared
    again. Cost: that of `conv2d`, without the preparing of weights, and with less checking for shapes that came before.
    Memory: a copy of the weights, and for each way of laying them out that was used another one, which all algorithms
    that read it share: about as large for direct, first, gemm and im2col together, 16 / 9 of it for winograd_2x2, 4
    times as large for winograd, none for dots and depthwise. PyTorch: `torch.nn.Conv2d`.

    Folding a batch norm into a layer, and adding a residual and ReLU in its call:

    >>> import numpy as np, fastml
    >>> x, weight = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> mean, variance, scale, shift = [4.0], [4.0], [2.0], [1.0]
    >>> folded = fastml.fold_batch_norm(weight, None, mean, variance, scale, shift, eps=0.0)
    >>> layer = fastml.Conv2d(*folded, activation="relu")
    >>> layer(x)
    array([[[[ 5.,  9.],
             [17., 21.]]]])
    >>> layer(x, residual=np.full((1, 1, 2, 2), -10.0))
    array([[[[ 0.,  0.],
             [ 7., 11.]]]])
    """

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: int | tuple[int, int] = 1,
        padding: Any = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        activation: str | None = None,
        algorithm: str = "auto",
        input_size: int | tuple[int, int] | None = None,
        backend: str | None = None,
    ) -> None:
        self._filters = _validate.filters(
            weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups, activation=activation,
            algorithm=algorithm,
        )  # fmt: skip
        _dispatch.named("conv2d", backend, algorithm)
        self._wanted, self._backend = algorithm, backend
        self._plans: dict[tuple[tuple[int, ...], str], Plan] = {}
        self._prepared: dict[str, NDArray[Any]] = {}  # by what laid it out
        self._algorithm: str | None = None
        self._input_size: tuple[int, int] | None = None
        if input_size is not None:
            image = _validate.unwritten_image(self._filters, input_size)
            self._input_size = image.shape[2], image.shape[3]
            self._plan_of(_validate.convolution(self._filters, image)[0], None)

    def __call__(
        self,
        x: ArrayLike,
        out: NDArray[Any] | None = None,
        *,
        residual: ArrayLike | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """The convolution of x. Raises TypeError for its dtype and ValueError for its shape, as `conv2d` does."""
        if type(x) is np.ndarray and out is None and residual is None:
            # The usual, after the first time. All of the checking below takes longer than convolving a small image.
            plan = self._plans.get((x.shape, _dispatch.current_backend(self._backend)))
            if plan is not None and x.dtype == self._filters.weight.dtype and x.flags.num & READABLE == READABLE:
                result = np.empty(plan.shape, x.dtype)
                plan.kernel(x, *plan.arguments, result, _threads.count(n_threads, plan.work))
                return result
        problem, result = _validate.convolution(self._filters, x, residual, out)
        threads = _threads.count(n_threads, problem.work)
        if result.size:
            plan = self._plan_of(problem, n_threads)
            plan.kernel(*problem._replace(prepared=plan.prepared), threads)
        return result

    def _plan_of(self, problem: Any, n_threads: int | None) -> Plan:
        """The plan for a problem: that of its shape, or a new one. Threads that race make equal plans."""
        key = problem.x.shape, _dispatch.current_backend(self._backend)
        plan = self._plans.get(key)
        if plan is None:
            rung = _dispatch.choose("conv2d", problem._replace(prepared=np.ones(1)), key[1], self._wanted)
            prepared = self._prepare(rung, problem, n_threads)
            absent = np.empty((0, 0, 0, 0), problem.weight.dtype)  # the residual of this call is not that of the next
            arguments = problem._replace(prepared=prepared, residual=absent)[1:-1]
            kernel = _dispatch.of_type(_dispatch.load(rung), problem.weight.dtype.char)
            plan = Plan(kernel, prepared, arguments, problem.out.shape, problem.work)
            self._algorithm = self._algorithm or rung.name
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()  # that of a network, or of a few sizes, is far from full
            self._plans[key] = plan
        return plan

    def _prepare(self, rung: Any, problem: Any, n_threads: int | None) -> NDArray[Any]:
        """The weights as a rung wants them; empty where it takes them as they are."""
        prepare = _dispatch.preparation(rung)
        if prepare is None:
            return np.empty(0, problem.weight.dtype)
        if rung.prepares not in self._prepared:
            prepared = prepare(self.weight, problem.groups, _threads.count(n_threads, self.weight.size))
            prepared.flags.writeable = False
            self._prepared.setdefault(rung.prepares, prepared)
        return self._prepared[rung.prepares]

    @property
    def weight(self) -> NDArray[Any]:
        return self._filters.weight

    @property
    def bias(self) -> NDArray[Any]:
        return np.asarray(self._filters.bias)

    @property
    def algorithm(self) -> str | None:
        return self._algorithm

    @property
    def prepared_bytes(self) -> int:
        return sum(prepared.nbytes for prepared in list(self._prepared.values()))

    def _options(self) -> dict[str, Any]:
        """The arguments that a layer like this one is made with, but for its arrays."""
        layer = self._filters
        return {
            "stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups,
            "activation": "relu" if layer.relu else None, "algorithm": self._wanted, "input_size": self._input_size,
            "backend": self._backend,
        }  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {"weight": self.weight, "bias": self.bias, **self._options()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Conv2d.__init__(self, **state)  # what arrives is checked, and made read-only, as arguments are

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items() if value is not None)
        return f"Conv2d({self.weight.dtype} {self.weight.shape}, {options})"
