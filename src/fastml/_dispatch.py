"""Which rung runs: the backend in force, the shipping rung for the problem, or the one that was forced."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

from fastml import _cpu
from fastml._registry import BACKENDS, RUNGS, Rung

# What a rung may ask of a problem: pure functions of one image's shape and the weights', not of batch, threads or time.
NEEDS: dict[str, Callable[[Any], bool]] = {
    # What `_core/pool.h` is written for; the place of a maximum in its window, up to 3 rows, must be exact as float32.
    "2 x 2 or 3 x 3 windows, stride 2": lambda problem: (
        problem.kernel_h == problem.kernel_w
        and problem.kernel_h in (2, 3)
        and problem.stride_h == problem.stride_w == 2
        and getattr(problem, "dilation_h", 1) == getattr(problem, "dilation_w", 1) == 1
        and problem.x.shape[2] < 2**22
    ),
    "one window a plane": lambda problem: (
        problem.out.shape[1:] == (1, 1)
        and problem.kernel_h - problem.pad_top >= problem.x.shape[1]
        and problem.kernel_w - problem.pad_left >= problem.x.shape[2]
    ),
    # The register tile works on 6 output channels at a time; with fewer than 4 of them most of it would be idle.
    "few outputs a group": lambda problem: problem.weight.shape[0] // problem.groups < 4,
    # Vectors of 2 x 8 outputs would be empty for the greater part; a dot product does with one output.
    "fewer than 8 outputs a group": lambda problem: problem.grad_out.shape[1] // problem.groups < 8,
}

_default: str | None = None
_context: ContextVar[str | None] = ContextVar("fastml_backend", default=None)


def _known(name: str | None, source: str) -> str | None:
    if name is not None and name not in BACKENDS:
        if not isinstance(name, str):
            raise TypeError(f"{source} must be a string, got {type(name).__name__}")
        raise ValueError(f"{source} must be one of {', '.join(BACKENDS)}; got {name!r}")
    return name


def set_backend(name: str | None) -> None:
    """Set the backend of all calls that do not name one: "cython" (the default), "numba" or "numpy"; None resets it.

    Raises ValueError for another name.

    >>> import fastml
    >>> fastml.set_backend("numpy")
    >>> fastml.set_backend(None)
    """
    global _default
    _default = _known(name, "backend")


@contextlib.contextmanager
def backend(name: str) -> Iterator[None]:
    """Use a backend within a `with` block, in this thread or task only. Raises ValueError for an unknown name.

    >>> import numpy as np, fastml
    >>> with fastml.backend("numpy"):
    ...     fastml.max_pool2d(np.eye(4)[np.newaxis], 2)
    array([[[1., 0.],
            [0., 1.]]])
    """
    token = _context.set(_known(name, "backend"))
    try:
        yield
    finally:
        _context.reset(token)


@cache
def _environment() -> str | None:
    """FASTML_BACKEND, read once: a look into os.environ takes as long as half a small kernel."""
    return _known(os.environ.get("FASTML_BACKEND") or None, "FASTML_BACKEND")


def current_backend(argument: str | None = None) -> str:
    """The argument, else `with backend(...)`, else `set_backend`, else FASTML_BACKEND, else "cython"."""
    named = None if argument is None else _known(argument, "backend")  # mostly None: a call saved in each operation
    return named or _context.get() or _default or _environment() or "cython"


def rungs(op: str, backend: str | None = None) -> list[Rung]:
    """The ladder of an operation, or one backend's part of it."""
    return [rung for rung in RUNGS if rung.op == op and backend in (None, rung.backend)]


def serves(rung: Rung, problem: Any) -> bool:
    return not rung.needs or NEEDS[rung.needs](problem)


def choose(op: str, problem: Any, backend: str | None = None, name: str = "auto") -> Rung:
    """The rung called `name`, or with "auto" the last shipping rung whose needs the problem meets."""
    ladder = rungs(op, current_backend(backend))
    if name == "auto":
        return next(rung for rung in reversed(ladder) if rung.ships and serves(rung, problem))
    names = [rung.name for rung in ladder]
    if name not in names:
        raise ValueError(f"algorithm must be 'auto' or one of {', '.join(names)}; got {name!r}")
    rung = ladder[names.index(name)]
    if not serves(rung, problem):
        raise ValueError(f"algorithm {name!r} needs {rung.needs}, which this problem does not have")
    return rung


def location(rung: Rung) -> str:
    """Where a rung's kernel is, with the instruction-set level in use."""
    return rung.kernel.replace("fastml._core.", f"fastml._core.{_cpu.isa()}.")


@cache
def load(rung: Rung) -> Callable[..., None]:
    """Import a rung's kernel."""
    module, _, function = location(rung).partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if error.name == "numba":
            raise ModuleNotFoundError(
                "backend 'numba' needs Numba: pip install 'fastml-kernels[numba]'", name="numba"
            ) from None
        raise


@cache
def _shipping(op: str, backend: str) -> tuple[tuple[Callable[[Any], bool] | None, Callable[..., None]], ...]:
    """What ships, as needs and kernels, in the order of choice: 3 us of looking through the table, kept.

    The last one serves every problem.
    """
    ships = [rung for rung in reversed(rungs(op, backend)) if rung.ships]
    common = next(i for i, rung in enumerate(ships) if not rung.needs)
    return tuple((NEEDS[rung.needs] if rung.needs else None, load(rung)) for rung in ships[: common + 1])


def kernel(op: str, problem: Any, backend: str | None = None, name: str = "auto") -> Callable[..., None]:
    """The kernel of the rung that `choose` chooses."""
    if name != "auto":
        return load(choose(op, problem, backend, name))
    return next(kernel for needs, kernel in _shipping(op, current_backend(backend)) if needs is None or needs(problem))


@cache
def _common(op: str, backend: str, c_type: str) -> Callable[..., None]:
    kernel = _shipping(op, backend)[-1][1]
    return getattr(kernel, "__signatures__", {}).get(c_type, kernel)  # type: ignore[no-any-return]


def common_kernel(op: str, c_type: str, backend: str | None = None) -> Callable[..., None]:
    """The kernel that serves every problem, for a caller who knows that this one meets no needs: it is small.

    A Cython kernel has a version for "float" and one for "double": this picks it, as Cython's own choice takes 0.2 us
    (measured).
    """
    return _common(op, current_backend(backend), c_type)
