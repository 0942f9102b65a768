"""What a rung's kernel takes besides time: instructions, cycles, cache misses; from the best source that is here.

hardware    the processor's own counters
cachegrind  Valgrind's counts, where the processor shows none: instructions are exact, caches are simulated
model       bytes and flops worked out from the sizes: a floor for any implementation, and no measurement

Counts say which source they are of, and why no better one was used. They are of one call of the kernel from Python with
one thread, in the steady state: what fits into the caches is there.

>>> from fastml.learn import counters
>>> counts = counters.count("conv2d", "cython direct", source="model")
>>> counts.source, counts.flops, counts.instructions
('model', 7225344.0, None)
"""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import fastml
from fastml import _dispatch
from fastml._registry import OPS, Rung
from fastml.learn import cachegrind, hardware
from fastml.learn.cases import BENCH, Case
from fastml.learn.costs import cost
from fastml.learn.data import normal
from fastml.learn.hardware import Unavailable as Unavailable

SOURCES = ("hardware", "cachegrind", "model")  # the best first
PURE_PYTHON = ("numpy", "loops")  # interpreted loops
MOST_INTERPRETED = 1e5  # flops or bytes of a case on which they are counted: more take minutes

_MAPS, _ROWS = (1, 64, 28, 28), (2000, 50)
_POOLED = {"kernel_size": 3, "stride": 2, "padding": 1}
# What is counted unless a case is named. Small, as Valgrind is slow, most of all where it imitates a multiply-add; but
# large enough for the way from Python to the kernel to matter little.
SMALL = {
    "moments": Case("moments", "2000x50", normal(*_ROWS, offset=3)),
    "standardize": Case("standardize", "given statistics, 2000x50", normal(*_ROWS, offset=3), {"mean": 50, "std": 50}),
    "conv2d": Case("conv2d", "1x16x28x28 to 32, k3", normal(1, 16, 28, 28), {"padding": 1}, (32, 16, 3, 3)),
    "max_pool2d": Case("max_pool2d", "1x64x28x28, k3 s2 p1", normal(*_MAPS), _POOLED),
    "avg_pool2d": Case("avg_pool2d", "1x64x28x28, k3 s2 p1", normal(*_MAPS), _POOLED),
    "batch_norm": Case("batch_norm", "1x64x28x28, training", normal(*_MAPS, offset=2), {"training": True}),
    "max_pool2d_backward": Case("max_pool2d_backward", "1x64x28x28, k3 s2 p1", normal(*_MAPS), _POOLED),
    "avg_pool2d_backward": Case("avg_pool2d_backward", "1x64x28x28, k3 s2 p1", normal(*_MAPS), _POOLED),
    "batch_norm_backward": Case("batch_norm_backward", "1x64x28x28, training", normal(*_MAPS), {"training": True}),
    "conv2d_backward": Case(
        "conv2d_backward", "1x16x28x28 to 32, k3, without grad_x", normal(1, 16, 28, 28),
        {"padding": 1, "needs_grad_x": False}, (32, 16, 3, 3),
    ),
    "pca": Case("pca", "1000x50", normal(1000, 50, offset=3), {"n_components": 10}),
    "pca_transform": Case("pca_transform", "2000x50 to 10", normal(*_ROWS, offset=3), {"components": 10}),
}  # fmt: skip


@dataclass(frozen=True)
class Counts:
    """Of one call; None is what the source cannot know."""

    op: str
    case: str
    dtype: str
    backend: str
    rung: str
    elements: int  # of the kernel's first array
    source: str
    better: tuple[str, ...]  # why no better source was used, one reason each
    instructions: float | None = None
    cycles: float | None = None
    l1_misses: float | None = None  # of data; the processor's are of loads only
    llc_misses: float | None = None
    bytes: float | None = None  # from and to memory, at the least
    flops: float | None = None

    @property
    def label(self) -> str:
        """What the numbers are."""
        return label(self.source)


def label(source: str) -> str:
    """What a source's numbers are, in words."""
    return {
        "hardware": "counted by this processor",
        "cachegrind": f"instructions counted by Valgrind; misses of simulated caches of {cachegrind.caches()}",
        "model": "worked out from sizes: a floor for any implementation, not a measurement",
    }[source]


def count(op: str, rung: str, case: Case | None = None, dtype: str = "float32", source: str = "") -> Counts:
    """The counts of one rung, such as "cython direct". See `count_all`."""
    return next(count_all(op, [find(op, rung)], case, dtype, source))


def count_all(
    op: str, rungs: Iterable[Rung], case: Case | None = None, dtype: str = "float32", source: str = ""
) -> Iterator[Counts]:
    """The counts of each rung, one after the other, from the best source here, or from the one that is named.

    A rung that this source cannot do, or not in reasonable time, has the counts of the model.

    Raises Unavailable where a named source is missing, ValueError for another name, and for a rung that cannot do the
    case; all before anything is counted.
    """
    case, rungs = case or case_of(op), [*rungs]
    problem, least = problem_of(op, case, dtype), cost(case, dtype)
    for rung in rungs:
        if not _dispatch.serves(rung, problem):
            raise ValueError(f"{op} {rung.backend} {rung.name} needs {rung.needs}, which {case.name} does not have")
    chosen, refused = _best(source)
    excuses = [_excuse(rung, chosen, max(least.flops, least.bytes)) for rung in rungs]
    counted = _counted(chosen, [rung for rung, excuse in zip(rungs, excuses, strict=True) if not excuse], problem)
    failed = ""
    for rung, excuse in zip(rungs, excuses, strict=True):
        row = Counts(op, case.name, dtype, rung.backend, rung.name, problem[0].size, chosen, refused)
        excuse = excuse or failed
        if not excuse and chosen != "model":
            try:
                yield replace(row, **next(counted))
                continue
            except Unavailable as error:
                excuse = failed = str(error)
        better = (*refused, *([excuse] if excuse else []))
        yield replace(row, source="model", better=better, bytes=least.bytes, flops=least.flops)


def find(op: str, name: str) -> Rung:
    """The rung called "backend name". Raises ValueError where there is none."""
    rungs = {f"{rung.backend} {rung.name}": rung for rung in _dispatch.rungs(op)}
    if name not in rungs:
        raise ValueError(f"{op} has no rung {name!r}; there are {', '.join(rungs)}")
    return rungs[name]


def rungs_of(op: str, case: Case, dtype: str = "float32") -> list[Rung]:
    """The rungs of an operation that can do a case, in the order of the table."""
    problem = problem_of(op, case, dtype)
    return [rung for rung in _dispatch.rungs(op) if _dispatch.serves(rung, problem)]


def case_of(op: str, part: str = "", dtype: str = "float32") -> Case:
    """The first case of an operation with `part` in its name; of an empty part, the small one.

    Raises ValueError for an operation or a case that does not exist.
    """
    if op not in OPS:
        raise ValueError(f"there is no operation {op!r}; there are {', '.join(OPS)}")
    every = [SMALL[op], *(case for case in BENCH if case.op == op and dtype in case.dtypes)]
    found = [case for case in every if part in case.name]
    if not found:
        raise ValueError(f"{op} has no case with {part!r} in its name; there are {'; '.join(c.name for c in every)}")
    return found[0]


@functools.lru_cache(maxsize=1)
def problem_of(op: str, case: Case, dtype: str = "float32") -> Any:
    """The validated problem: what all kernels of an operation are given."""
    return replace(case, op=op).problem(dtype)


def _best(named: str) -> tuple[str, tuple[str, ...]]:
    """The source that counts, and why better ones do not."""
    if named not in ("", *SOURCES):
        raise ValueError(f"source must be one of {', '.join(SOURCES)}; got {named!r}")
    refused: list[str] = []
    for name, why_not in (("hardware", hardware.why_not), ("cachegrind", cachegrind.why_not)):
        reason = f"{named} was asked for" if named not in ("", name) else why_not()
        if not reason:
            return name, tuple(refused)
        if name == named:
            raise Unavailable(reason)
        refused.append(reason)
    return "model", tuple(dict.fromkeys(refused))


def _excuse(rung: Rung, source: str, size: float) -> str:
    """Why a rung is not counted by a source that others are counted by; empty where it is."""
    if source == "model":
        return ""
    if rung.backend == "numba" and "numba" not in fastml.configuration()["backends"]:
        return "Numba is not installed"
    if rung.backend == "numba" and source == "cachegrind":
        return "Numba would take minutes to compile in Valgrind"
    if (rung.backend, rung.name) == PURE_PYTHON and size > MOST_INTERPRETED:
        return "interpreted: takes minutes here"
    return ""


def _counted(source: str, rungs: list[Rung], problem: Any) -> Iterator[dict[str, Any]]:
    """What a source counts of each rung, by the names of `Counts`."""
    if source == "cachegrind":
        yield from cachegrind.count([(_dispatch.location(rung), arguments_of(rung, problem)) for rung in rungs])
    elif source == "hardware":
        for rung in rungs:
            yield hardware.count(functools.partial(_dispatch.load(rung), *arguments_of(rung, problem), 1))


def arguments_of(rung: Rung, problem: Any) -> tuple[Any, ...]:
    """All arguments of a rung's kernel but n_threads. Weights are laid out beforehand, if it wants that."""
    prepare = _dispatch.preparation(rung)
    if prepare:
        problem = problem._replace(prepared=prepare(problem.weight, problem.groups, 1))
    return tuple(problem)
