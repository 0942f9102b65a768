"""Which rung runs: the backend in force, the shipping rung for the problem, or the one that was forced."""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from typing import Any

from fastml import _cpu
from fastml._needs import NEEDS, PAYS
from fastml._registry import BACKENDS, RUNGS, Rung

_default: str | None = None
_context: ContextVar[str | None] = ContextVar("fastml_backend", default=None)


def _known(name: str | None, source: str) -> str | None:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"{source} must be a string, got {type(name).__name__}")
    if name is not None and name not in BACKENDS:
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


_forced: dict[tuple[str, str], Rung] = {}


@contextlib.contextmanager
def forced(rung: Rung) -> Iterator[None]:
    """Within the block, calls of a rung's operation that use its backend run this rung, whether or not it ships.

    For ladders, which time every rung by the call that users make. It holds for all threads of the process.
    """
    _forced[rung.op, rung.backend] = rung
    _forget_shipping()
    try:
        yield
    finally:
        del _forced[rung.op, rung.backend]
        _forget_shipping()


def _forget_shipping() -> None:
    _shipping.cache_clear()
    _common.cache_clear()


def rungs(op: str, backend: str | None = None) -> list[Rung]:
    """The ladder of an operation, or one backend's part of it."""
    return [rung for rung in RUNGS if rung.op == op and backend in (None, rung.backend)]


def serves(rung: Rung, problem: Any) -> bool:
    """Whether a rung can do it."""
    return not rung.needs or NEEDS[rung.needs](problem)


def suits(rung: Rung, problem: Any) -> bool:
    """Whether it can, and "auto" takes it."""
    return serves(rung, problem) and (not rung.pays or PAYS[rung.pays](problem))


def named(op: str, backend: str | None = None, name: str = "auto") -> Rung | None:
    """The rung called `name`, whether or not it serves; None with "auto"."""
    ladder = {rung.name: rung for rung in rungs(op, current_backend(backend))}
    if name != "auto" and name not in ladder:
        raise ValueError(f"algorithm must be 'auto' or one of {', '.join(ladder)}; got {name!r}")
    return ladder.get(name)


def choose(op: str, problem: Any, backend: str | None = None, name: str = "auto") -> Rung:
    """The rung called `name`, or with "auto" the last shipping rung that suits the problem."""
    rung = named(op, backend, name)
    if rung is None:
        ladder = rungs(op, current_backend(backend))
        return next(rung for rung in reversed(ladder) if rung.ships and suits(rung, problem))
    if not serves(rung, problem):
        raise ValueError(f"algorithm {name!r} needs {rung.needs}, which this problem does not have")
    return rung


def here(place: str) -> str:
    """A "module:function" of the table, with the instruction-set level in use."""
    return place.replace("fastml._core.", f"fastml._core.{_cpu.isa()}.")


def location(rung: Rung) -> str:
    """Where a rung's kernel is, with the instruction-set level in use."""
    return here(rung.kernel)


@cache
def load(rung: Rung) -> Callable[..., None]:
    """Import a rung's kernel."""
    return _imported(location(rung))


@cache
def preparation(rung: Rung) -> Callable[[Any, int, int], Any] | None:
    """What lays weights out for a rung: (weight, groups, n_threads) -> array; None where it takes them as they are."""
    return _imported(here(rung.prepares)) if rung.prepares else None


def _imported(place: str) -> Callable[..., Any]:
    module, _, function = place.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if error.name == "numba":
            raise ModuleNotFoundError(
                "backend 'numba' needs Numba: pip install 'fastml-kernels[numba]'", name="numba"
            ) from None
        raise


@cache
def _shipping(op: str, backend: str) -> tuple[tuple[Rung, Callable[..., None]], ...]:
    """What ships, with kernels, in the order of choice: 3 us of looking through the table, kept.

    The last one serves every problem.
    """
    if (op, backend) in _forced:
        rung = _forced[op, backend]
        return ((replace(rung, needs="", pays=""), load(rung)),)
    ships = [rung for rung in reversed(rungs(op, backend)) if rung.ships]
    common = next(i for i, rung in enumerate(ships) if not (rung.needs or rung.pays))
    return tuple((rung, load(rung)) for rung in ships[: common + 1])


def kernel(op: str, problem: Any, backend: str | None = None, name: str = "auto") -> Callable[..., None]:
    """The kernel of the rung that `choose` chooses."""
    if name != "auto":
        return load(choose(op, problem, backend, name))
    return next(kernel for rung, kernel in _shipping(op, current_backend(backend)) if suits(rung, problem))


def of_type(kernel: Callable[..., None], char: str) -> Callable[..., None]:
    """The version of a Cython kernel for a dtype ("f" or "d"), as Cython's own choice takes 0.2 us (measured)."""
    c_type = {"f": "float", "d": "double"}[char]
    return getattr(kernel, "__signatures__", {}).get(c_type, kernel)  # type: ignore[no-any-return]


@cache
def _common(op: str, backend: str, char: str) -> Callable[..., None]:
    return of_type(_shipping(op, backend)[-1][1], char)


def common_kernel(op: str, char: str, backend: str | None = None) -> Callable[..., None]:
    """The kernel that serves every problem, for a caller who knows that this one meets no needs: it is small."""
    return _common(op, current_backend(backend), char)
