"""What must hold after a call, whatever its arguments were.

It returns, or raises what a caller may expect; no input has changed, and `out` only if it returned; the same bits come
out with 1 and 3 threads, and of arrays laid out as kernels read them; "numpy" returns or raises, too; results are new
arrays, of the shape and dtype that is documented, and what the kernel wrote; fastml lets no warning through; and each
kernel that ran computed its definition, within `tests/tolerances.py`.
"""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from fastml import _dispatch
from fastml._validate.matrices import TILE
from fastml.ops import conv2d
from tests import tolerances
from tests.fuzz import calls
from tests.fuzz.arrays import plain
from tests.fuzz.calls import ESTIMATORS
from tests.fuzz.choices import Choices
from tests.test_house import PROBLEMS
from tests.test_layouts import memory
from tests.test_rungs import OUTPUTS
from tests.trust.hostile import ACCEPTED

MOST_WORK = 20_000  # values or multiplications of a definition, which is a loop in Python
LEAST_VARIANCE = 1e-10  # with eps; its root divides what is rounded
SILENT = r"fastml\.(?!_ref)|tests\.fuzz\.checks"  # may not warn: `_ref` is NumPy, Cython's kernels are called from here
UPDATED = {"out", "running_mean", "running_var", "num_batches_tracked"}
# The first result is of this argument's shape.
LIKE = {"standardize": "X", "batch_norm": "x", "batch_norm_backward": "x", "fold_batch_norm": "weight"}


class Failed(Exception):
    """A check's name, with the operation: failures of one kind have the same; and what was seen."""

    def __init__(self, kind: str, seen: str) -> None:
        super().__init__(kind, seen)
        self.kind, self.seen = kind, seen


class Run(NamedTuple):
    """A kernel's call: its arguments before and after."""

    rung: Any
    problem: Any
    before: Any
    after: Any


@dataclass
class Outcome:
    call: calls.Call
    error: BaseException | None
    results: list[Any]
    runs: list[Run]


_runs: list[Run] | None = None


class Watched:
    """A kernel, of which calls are noted while something is being checked."""

    def __init__(self, rung: Any, kernel: Any) -> None:
        self.rung, self.kernel = rung, kernel
        typed = getattr(kernel, "__signatures__", None) or {}  # of a fused type, for `of_type`
        self.__signatures__ = {name: Watched(rung, function) for name, function in typed.items()}

    def __call__(self, *arguments: Any) -> None:
        if _runs is None:
            return self.kernel(*arguments)
        problem = PROBLEMS[self.rung.op](*arguments[:-1])
        before = copied(problem)
        self.kernel(*arguments)
        _runs.append(Run(self.rung, problem, before, copied(problem)))
        return None


def copied(problem: Any) -> Any:
    return type(problem)(*(value.copy() if isinstance(value, np.ndarray) else value for value in problem))


@contextmanager
def watching() -> Iterator[None]:
    """Kernels are watched within the block."""
    load = _dispatch.load
    forget()
    _dispatch.load = lambda rung: Watched(rung, load(rung))
    try:
        yield
    finally:
        _dispatch.load = load
        forget()


def forget() -> None:
    """Of kernels that are remembered."""
    _dispatch._forget_shipping()
    conv2d._plans.clear()


def outcome(data: bytes, *, laid_out: bool = False, **changes: Any) -> Outcome:
    """Draw a call and make it, with some arguments changed where it has them."""
    global _runs
    call = calls.draw(Choices(data))
    call.arguments |= {name: value for name, value in changes.items() if name in call.takes}
    if laid_out:
        given = {id(value): value for value in call.arguments.values() if isinstance(value, np.ndarray)}
        kept = {id(call.arguments[name]) for name in UPDATED - {"out"} if name in call.arguments}
        copies = {key: value if key in kept else plain(value) for key, value in given.items()}
        call.arguments |= {name: copies.get(id(value), value) for name, value in call.arguments.items()}
    inputs = {name: value for name, value in call.arguments.items() if isinstance(value, np.ndarray)}
    before = {name: memory(value) for name, value in inputs.items()}
    _runs, error, results = [], None, []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", category=RuntimeWarning, module=SILENT)
            results = list(flat(call.perform()))
    except Exception as raised:
        error = raised
    finally:
        runs, _runs = _runs, None
    expected(call, error)
    unchanged(call, error, {name for name, value in inputs.items() if memory(value) != before[name]})
    return Outcome(call, error, results, runs)


def flat(result: Any) -> Iterator[Any]:
    """All arrays and numbers of a result."""
    if isinstance(result, np.ndarray | float | int | np.generic):
        yield result
    elif isinstance(result, tuple | list):
        for part in result:
            yield from flat(part)
    elif isinstance(result, dict):
        for name in sorted(result):
            yield from flat(result[name])
    elif is_dataclass(result):
        for field in fields(result):
            yield from flat(getattr(result, field.name))


def expected(call: calls.Call, error: BaseException | None) -> None:
    """Of an estimator also what scikit-learn's own raises."""
    if error is not None and not isinstance(error, ACCEPTED) and type(error) is not type(calls.by_sklearn(call)):
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "fuzz" not in frame.filename]
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
        raise Failed(f"{call.op}: {type(error).__name__} at {place}", "".join(traceback.format_exception(error)))


def unchanged(call: calls.Call, error: BaseException | None, changed: set[str]) -> None:
    """`out` and what is updated may change in a call that returns; so may an input that shares their memory."""
    may = {"X", "Y"} if call.op in ESTIMATORS and call.arguments.get("copy") is not True else set()
    indices = call.op == "max_pool2d_backward" and "indices must be from -1" in str(error)  # known by then
    if error is None or indices:
        may |= {name for name in UPDATED if name in call.arguments}
    written = [call.arguments[name] for name in may if isinstance(call.arguments[name], np.ndarray)]
    for name in changed - may:
        if not any(np.may_share_memory(call.arguments[name], array) for array in written):
            raise Failed(f"{call.op}: {name} was changed", f"and the call raised {error!r}")


def check(data: bytes) -> None:
    """Raises Failed."""
    first = outcome(data)
    documented(first)
    for run in first.runs:
        computes_its_definition(first.call.op, run)
    arguments = first.call.arguments
    solvers = {str(arguments.get(name)) for name in ("algorithm", "solver", "svd_solver")}
    if first.error is None and "arpack" not in solvers:  # which remembers a random state of its own
        for n_threads in (1, 3):
            same(first, outcome(data, n_threads=n_threads), f"{n_threads} threads")
        if not own_order(first.call):
            same(first, outcome(data, laid_out=True), "another layout")
    backend, algorithm = (str(arguments.get(name)) for name in ("backend", "algorithm"))
    if backend in ("None", "cython", "numpy") and algorithm in ("None", "auto", "randomized"):
        in_numpy(first, outcome(data, backend="numpy"))


def own_order(call: calls.Call) -> bool:
    """Whether the layout decides what is added up when, and so the last bits; or scikit-learn, what is copied."""
    matrices = [call.arguments.get(name) for name in ("X", "Y", "out")]
    fortran = any(isinstance(X, np.ndarray) and (X.flags.f_contiguous or X.size > TILE) for X in matrices)
    return call.op in ESTIMATORS or (call.op in ("moments", "standardize") and fortran)


def documented(made: Outcome) -> None:
    """Plain, native, new arrays; what the kernel wrote, if one wrote all of it."""
    call, arguments = made.call, made.call.arguments
    if made.error is not None or call.op in ESTIMATORS:
        return
    found = [result for result in made.results if isinstance(result, np.ndarray)]
    inputs = [value for name, value in arguments.items() if name != "out" and isinstance(value, np.ndarray)]
    out = arguments.get("out")
    if out is not None and not any(array is out for array in found):
        raise Failed(f"{call.op}: out is not returned", "")
    for array in found:
        if array is not out and (type(array) is not np.ndarray or not array.dtype.isnative):
            raise Failed(f"{call.op}: no plain array", f"{type(array)} {array.dtype}")
        if out is None and any(np.may_share_memory(array, value) for value in inputs):
            raise Failed(f"{call.op}: a result shares memory with an input", "")
    if call.op in LIKE:
        given = np.asarray(arguments[LIKE[call.op]])
        dtype = given.dtype.newbyteorder("=") if given.dtype.kind == "f" else np.dtype(float)
        if (found[0].shape, found[0].dtype) != (given.shape, dtype):
            raise Failed(f"{call.op}: shape or dtype", f"{found[0].shape} {found[0].dtype} of {given.shape} {dtype}")
    found = [np.asarray(array) for array in found]  # the attributes of a matrix are matrices
    if len(made.runs) == 1 and made.runs[0].rung.op == call.op:
        for name in {"out", "indices", "grad_x", "grad_residual"} & {*written(made.runs[0])}:
            wrote = getattr(made.runs[0].after, name)
            if wrote.size and not any(alike(values.ravel(), wrote.astype(values.dtype).ravel())
                                      for array in found for values in (array, array.T)):  # fmt: skip
                raise Failed(f"{call.op}: not what the kernel wrote", name)


def same(first: Outcome, other: Outcome, what: str) -> None:
    if other.error is not None:
        raise Failed(f"{first.call.op}: raises with {what}", repr(other.error))
    if len(first.results) != len(other.results) or not all(map(alike, first.results, other.results)):
        raise Failed(f"{first.call.op}: other bits with {what}", f"{first.results}\n{other.results}")


def alike(one: Any, other: Any) -> bool:
    """The same values in arrays of the same kind."""
    one, other = np.asarray(one), np.asarray(other)
    return bool(one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def in_numpy(first: Outcome, numpy: Outcome) -> None:
    """The backend "numpy" returns the same shapes or raises the same; values are those of the same definition."""
    for run in numpy.runs:
        computes_its_definition(numpy.call.op, run)
    share = isinstance(first.call.arguments.get("n_components"), float)  # of a variance: rounding may decide
    known = isinstance(first.error, RuntimeWarning)
    if share or known or not all(moderate(run) for run in (*first.runs, *numpy.runs)):
        return
    if type(first.error) is not type(numpy.error):
        raise Failed(f"{first.call.op}: raises with one backend only", f"{first.error!r}, numpy {numpy.error!r}")
    kinds = [[(np.shape(a), np.asarray(a).dtype) for a in made.results] for made in (first, numpy)]
    if kinds[0] != kinds[1]:
        raise Failed(f"{first.call.op}: other shapes in numpy", f"{kinds}")


def moderate(run: Run) -> bool:
    """Whether no product or square of finite values can overflow or underflow: what bounds of rounding assume."""
    inputs = [np.asarray(value) for name, value in run.before._asdict().items() if name not in written(run)]
    arrays = [value for value in inputs if value.dtype.kind == "f"]
    limit = float(np.finfo(min(array.dtype for array in arrays)).max) ** 0.25
    sizes = np.concatenate([abs(array.ravel().astype(np.float64)) for array in arrays])
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return not sizes.size or bool(sizes.max() < limit and sizes.min() > 1 / limit)


def written(run: Run) -> tuple[str, ...]:
    """Names of a kernel's outputs."""
    op = run.rung.op
    return OUTPUTS[op] + (("mean", "variance") if op == "batch_norm" and run.before.training else ())


def comparable(run: Run) -> bool:
    """Whether there is a definition that ends soon, to which the bounds apply."""
    op, problem = run.rung.op, run.before
    if problem.work > MOST_WORK or (op != "max_pool2d" and not moderate(run)):
        return False
    if op == "pca":  # whatever becomes of NaN and infinity, it is refused
        return bool(np.isfinite(problem.x).all())
    if op == "batch_norm_backward" and problem.training and not np.isfinite(problem.weight).all():
        return False  # known: an infinite weight gives NaN, as it is multiplied with parts of what it is to scale
    return "batch_norm" not in op or "variance" in written(run) or scaled(problem)


def scaled(problem: Any) -> bool:
    """Whether a batch norm divides by what is not nearly nothing."""
    return bool((problem.variance + problem.eps > LEAST_VARIANCE).all())


def computes_its_definition(op: str, run: Run) -> None:
    rung = run.rung
    kernel = f"{rung.backend} {rung.op} {rung.name}"
    outputs = [getattr(run.problem, name) for name in written(run)]
    for name, value in run.problem._asdict().items():
        own = isinstance(value, np.ndarray) and not any(np.may_share_memory(value, array) for array in outputs)
        if own and not alike(getattr(run.before, name), getattr(run.after, name)):
            raise Failed(f"{kernel}: {name} was changed", op)
    if not comparable(run):
        return
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        right = tolerances.define(rung.op, copied(run.before))
        if rung.op == "batch_norm" and not scaled(right):
            return
        bounded = right
        if rung.name.startswith("winograd"):  # whose bounds mix all values; tiles that are not finite are done directly
            x, weight = (np.nan_to_num(array, posinf=0, neginf=0) for array in (right.x, right.weight))
            bounded = right._replace(x=x, weight=weight)
        dtype = run.before[0].dtype
        if rung.op == "pca":  # values may repeat here
            tolerance = tolerances.pca(right, dtype, roundings=256)
        else:
            tolerance = tolerances.of(bounded, rung.op, dtype, rung.name)
        for name in written(run):
            actual, wanted = getattr(run.after, name), getattr(right, name)
            close = (actual == wanted) | (np.isnan(actual) & np.isnan(wanted))
            close |= np.isfinite(wanted) & (abs(actual - wanted) <= tolerance[name])
            if not close.all():
                seen = f"{actual[~close][:5]} instead of {wanted[~close][:5]}, in {op}"
                raise Failed(f"{kernel}: {name} is wrong", seen)
