"""What ladders show: of each the cases, and the rungs that are timed on them.

A ladder is that of an operation, whose rungs are forced, one after the other, in the call that users make; of PCA, in
the call of the kernel. Or it is one of `fastml.learn.ladders`, made of steps.

>>> from fastml.learn import stages
>>> [shown.case for shown in stages.find("max_pool2d", "1x8x8x8")]
['1x8x8x8, k2 s2']
"""

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

import fastml
from fastml import _dispatch
from fastml._registry import OPS, Rung
from fastml.learn import harness, ladders, roofline
from fastml.learn.cases import BENCH, Case
from fastml.learn.costs import Cost, cost
from fastml.learn.report import COUNTED_IN_FLOPS
from fastml.learn.versus import known

DTYPE = "float32"
TIMED = {"conv2d": "Conv2d", "pca": "scatter"}  # a layer with its weights prepared; a kernel without what comes after
IN_FLOPS = (*COUNTED_IN_FLOPS, "conv2d_backward", "pca_transform", "scatter", "gemm")  # the others move bytes, mostly
PURE_PYTHON = ("numpy", "loops")  # interpreted loops
MOST_INTERPRETED = 1e7  # flops or bytes of a case on which they are run: more take minutes


@dataclass(frozen=True)
class Shown:
    """A case by its operation, or its module of steps, and its name; and the rungs to show by backend, all if none."""

    op: str
    case: str
    rungs: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A rung of a stage."""

    backend: str
    name: str
    idea: str
    kernel: str  # "module:function"
    prepare: Callable[[], Callable[[], Any]]  # makes the call to time
    within: Callable[[], AbstractContextManager[None]] = nullcontext  # in which it runs this rung
    fails: str = ""
    ships: bool = False
    why_not: str = ""  # it is not timed
    smaller: tuple[str, Callable[[], float]] | None = None  # the case on which it is checked then, and the error there


@dataclass(frozen=True)
class Stage:
    ladder: str
    case: str
    entries: tuple[Entry, ...]
    least: Cost
    error: Callable[[Any], float]  # of a result
    unit: str  # what it is about: "FLOP/s" or "B/s"
    bound: Callable[[int], float]  # the least seconds, by number of threads
    dtype: str = DTYPE


def _algorithms(*names: str) -> dict[str, tuple[str, ...]]:
    """Steps of `fastml.learn.ladders.pca`, and what ships."""
    return {"step": ("full_svd", *names), "fastml": ("cython",)}


# The first of each is what `fastml ladder` shows unless another is asked for; all are in the chapters' tables.
LADDERS: dict[str, tuple[Shown, ...]] = {
    "moments": (
        Shown("moments", "random 1000000x50"),
        Shown("moments", "breast_cancer 569x30"),
        Shown("moments", "100x20"),
        Shown("moments", "10000x20, offset 1e7"),
    ),
    "standardize": (
        Shown("standardize", "random 10000x1000"),
        Shown("standardize", "random 1000000x50"),
        Shown("standardize", "wine 178x13"),
        Shown("standardize", "given statistics, 1x20"),
    ),
    "conv2d": (
        Shown("Conv2d", "1x64x56x56 to 64, k3"),
        Shown("Conv2d", "photograph 1x3x224x224 to 64, k7 s2", {"cython": ("rows", "im2col", "direct", "first")}),
        Shown("Conv2d", "1x256x56x56 to 64, k1", {"cython": ("rows", "im2col", "direct", "gemm")}),
        Shown("Conv2d", "1x96x112x112 depthwise, k3", {"cython": ("rows", "im2col", "direct", "depthwise")}),
        Shown("Conv2d", "1x512x7x7 to 512, k3", {"cython": ("im2col", "direct", "winograd_2x2", "winograd")}),
        Shown("Conv2d", "1x2048x1x1 to 1000, k1", {"cython": ("rows", "im2col", "direct", "gemm", "dots")}),
    ),
    "max_pool2d": (
        Shown("max_pool2d", "8x64x112x112, k3 s2 p1"),
        Shown("max_pool2d", "photographs 2x3x427x640, k2"),
        Shown("max_pool2d", "8x64x112x112, k3 s2 p1, indices"),
        Shown("max_pool2d", "1x8x8x8, k2 s2"),
    ),
    "avg_pool2d": (Shown("avg_pool2d", "8x64x112x112, k2 s2"), Shown("avg_pool2d", "8x512x7x7, k7")),
    "batch_norm": (
        Shown("batch_norm", "8x64x56x56, training"),
        Shown("batch_norm", "8x64x56x56, inference"),
        Shown("batch_norm", "8x64x56x56, training, residual, relu"),
        Shown("batch_norm", "256x512, training"),
        Shown("batch_norm", "64x64x56x56, training"),
    ),
    "max_pool2d_backward": (Shown("max_pool2d_backward", "8x64x112x112, k3 s2 p1"),),
    "avg_pool2d_backward": (Shown("avg_pool2d_backward", "8x64x112x112, k2 s2"),),
    "batch_norm_backward": (Shown("batch_norm_backward", "8x64x56x56, training"),),
    "conv2d_backward": (Shown("conv2d_backward", "8x256x14x14 to 256, k3"),),
    "pca": (
        Shown("scatter", "100000x100"),
        Shown("scatter", "1000x20"),
        Shown("scatter", "5000x784", {"cython": ("rows", "square", "half", "blocks", "precise")}),
        Shown("scatter", "5000x20, offset 1e4", {
            "numpy": ("centred", "unshifted", "shifted", "blocks"), "numba": ("tiles",), "cython": ("blocks",),
        }),
        Shown("pca", "random 1000000x50 to 10", _algorithms("covariance_eigh", "qr_svd", "randomized")),
        Shown("pca", "random 5000x784 to 50", _algorithms("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Shown("pca", "random 2000x2000 to 20", _algorithms("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Shown("pca", "fading 2000x2000 to 20", _algorithms("covariance_eigh", "partial_eigh", "qr_svd", "randomized")),
        Shown("pca", "random 500x5000 to 20", _algorithms("covariance_eigh", "dual", "qr_svd", "randomized")),
    ),
    "pca_transform": (Shown("pca_transform", "random 1000000x50 to 10"),),
}  # fmt: skip


@cache
def _modules_of_steps() -> tuple[str, ...]:
    names = [module.name for module in pkgutil.iter_modules(ladders.__path__)]
    return tuple(name for name in names if hasattr(_steps(name), "CASES"))


def _steps(name: str) -> Any:
    return importlib.import_module(f"fastml.learn.ladders.{name}")


def names() -> tuple[str, ...]:
    """All ladders: of a warm-up and the like, and of the operations."""
    return (*_modules_of_steps(), *OPS)


def every(name: str) -> list[Shown]:
    """What a ladder shows, and then all other cases of its operation, with all rungs.

    Raises ValueError for a ladder that does not exist.
    """
    if name in _modules_of_steps():
        return [Shown(name, case) for case in _steps(name).CASES]
    if name not in OPS:
        raise ValueError(f"there is no ladder of {name!r}; there are {', '.join(names())}")
    first = list(LADDERS[name])
    others = [case for case in BENCH if case.op == TIMED.get(name, name) and DTYPE in case.dtypes]
    return first + [Shown(o.op, o.name) for o in others if (o.op, o.name) not in {(s.op, s.case) for s in first}]


def find(name: str, part: str = "") -> list[Shown]:
    """Those with `part` in the case's name, or the one that is called just that; of an empty part, the first one.

    Raises ValueError for a ladder or a case that does not exist.
    """
    found = [shown for shown in every(name) if part in shown.case][: None if part else 1]
    found = [shown for shown in found if shown.case == part] or found
    if not found:
        cases = "; ".join(shown.case for shown in every(name))
        raise ValueError(f"{name} has no case with {part!r} in its name; there are {cases}")
    return found


def chapter(name: str) -> list[Shown]:
    """What a chapter's tables show."""
    return list(LADDERS[name]) if name in LADDERS else every(name)


def stage(name: str, shown: Shown) -> Stage:
    """A case of a ladder, with its rungs, ready to be measured."""
    made = _of_steps(name, shown.case) if shown.op == name and name in _modules_of_steps() else _of_case(name, shown)
    if not shown.rungs:
        return made
    wanted = [(backend, rung) for backend, rungs in shown.rungs.items() for rung in rungs]
    by_name = {(entry.backend, entry.name): entry for entry in made.entries}
    return replace(made, entries=tuple(by_name[key] for key in wanted))


def _case(shown: Shown) -> Case:
    return next(case for case in BENCH if (case.op, case.name) == (shown.op, shown.case))


def _of_case(name: str, shown: Shown) -> Stage:
    """Rungs, and algorithms if there are, of an operation on one of the cases of benches."""
    case = _case(shown)
    entries = [_of_rung(rung, case) for rung in _dispatch.rungs(name)] if shown.op != "pca" else []
    entries += [_of_contender(one.name, case) for one in known(case.op) if one.name.startswith("step ")]
    if shown.op == "pca":
        entries.append(_of_contender("fastml cython", case))
    return Stage(
        name, case.name, tuple(entries), cost(case, DTYPE), partial(harness.error, case, DTYPE),
        "FLOP/s" if case.op in IN_FLOPS else "B/s", partial(harness.least_seconds, case, DTYPE),
    )  # fmt: skip


def _of_rung(rung: Rung, case: Case) -> Entry:
    problem = _problem(rung.op, case)
    ships = rung == _dispatch.choose(rung.op, problem, rung.backend)
    within = partial(_dispatch.forced, rung) if case.op == rung.op else nullcontext
    prepare = partial(_call, rung, case)
    entry = Entry(rung.backend, rung.name, rung.idea, rung.kernel, prepare, within, rung.fails, ships)
    if rung.backend == "numba" and "numba" not in fastml.configuration()["backends"]:
        return replace(entry, why_not="Numba is not installed")
    if not _dispatch.serves(rung, problem):
        return replace(entry, why_not=f"needs {rung.needs}")
    if (rung.backend, rung.name) == PURE_PYTHON and _size(case, DTYPE) > MOST_INTERPRETED:
        small = min((one for one in BENCH if one.op == case.op), key=lambda one: _size(one, one.dtypes[0]))
        check = small.name, lambda: _error(entry, partial(harness.error, small, DTYPE), _call(rung, small))
        runs = _size(small, DTYPE) <= MOST_INTERPRETED
        return replace(entry, why_not="interpreted: takes minutes here", smaller=check if runs else None)
    return entry


def _size(case: Case, dtype: str) -> float:
    least = cost(case, dtype)
    return max(least.flops, least.bytes)


def problem(op: str, shown: Shown) -> Any:
    """The arguments of the kernels of an operation, all but `n_threads`."""
    return _problem(op, _case(shown))


@lru_cache(maxsize=1)  # the rungs of a stage share it
def _problem(op: str, case: Case) -> Any:
    return (case if case.op == "scatter" else replace(case, op=op)).problem(DTYPE)


def _call(rung: Rung, case: Case) -> Callable[[], Any]:
    """The call that users make, with weights prepared; where `case` is the operation's own, any rung may be forced."""
    arguments = case.arguments(DTYPE)
    if case.op != rung.op:  # there contenders name the rung
        contender = next(one for one in known(case.op) if one.name == f"fastml {rung.backend} {rung.name}")
        return contender.prepare(case, *arguments)
    args, options = arguments
    return case.call(case.implementation, args, {**options, "backend": rung.backend})


def _error(entry: Entry, error: Callable[[Any], float], call: Callable[[], Any]) -> float:
    with entry.within():
        return error(call())


def _of_contender(name: str, case: Case) -> Entry:
    """A whole algorithm, or the operation as users call it."""
    contender = next(one for one in known(case.op) if one.name == name)
    backend, rung = name.split(" ", 1)
    if backend == "step":
        function = next(step for step in _steps(case.op).STEPS if step.__name__ == rung)
        idea, kernel = _idea(function), f"{function.__module__}:{rung}"
    else:
        idea, kernel = "what users get", f"fastml._core.{case.op}:{_dispatch.rungs(case.op, rung)[-1].name}"
    return Entry(backend, rung, idea, kernel, lambda: contender.prepare(case, *case.arguments(DTYPE)),
                 ships=backend == "fastml")  # fmt: skip


def _of_steps(name: str, case: str) -> Stage:
    module = _steps(name)
    arguments = module.CASES[case]()
    arrays = [value for value in arguments if isinstance(value, np.ndarray)]
    read, written, flops = module.work(*arguments)
    dtype, expected = str(arrays[0].dtype), harness.values(module.expected(*arguments))
    fails, skip = getattr(module, "FAILS", {}), getattr(module, "SKIP", {})
    entries = [
        Entry("step", step.__name__, _idea(step), f"{module.__name__}:{step.__name__}",
              partial(partial, step, *arguments),
              fails=fails.get(step.__name__, ""), why_not=skip.get((step.__name__, case), ""))
        for step in module.STEPS
    ]  # fmt: skip
    return Stage(
        name, case, tuple(entries), Cost(read, written, flops, read + written),
        lambda result: harness.difference(harness.values(result), expected),
        "FLOP/s" if name in IN_FLOPS else "B/s",
        lambda n_threads: roofline.seconds(read, written, flops, dtype=dtype, n_threads=n_threads), dtype,
    )  # fmt: skip


def _idea(function: Any) -> str:
    return str(function.__doc__).partition("\n")[0].rstrip(".")
