"""Is a function right? What the grader asks before it asks how fast it is.

Every result is asked for in an array full of one NaN, between two zones that must stay as they are; inputs lie between
NaN and are compared with what they were; then each value is compared with float64.
"""

import ast
import ctypes
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastml.learn.exercise import Array, Exercise

Function = Callable[..., Any]
ZONE = 4096  # bytes before and after each array
# One NaN that no computation gives, unless it is given that one.
POISON: dict[str, Any] = {"float32": np.uint32(0x7FC0DEAD), "float64": np.uint64(0x7FF800000000DEAD)}
REPEATS = 4  # with several threads: a race does not always show
M_PERTURB, FILL = -6, 0x80  # of glibc: new memory is full of FILL's complement, 0x7f: as a number, a huge one
PACKAGES = {"numpy", "numba", *sys.stdlib_module_names}
BLAS = {"dot", "vdot", "inner", "matmul", "einsum", "tensordot", "linalg"}


class Wrong(Exception):
    """What is wrong with a file, or with a result."""


def of_ones_own(path: Path) -> None:
    """Raise Wrong where a Python file has its work done by another package, or a product of matrices by BLAS."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(path.read_bytes(), path.name)):
        packages, called = set(), set()
        match node:
            case ast.Import():
                packages = {alias.name.partition(".")[0] for alias in node.names} - PACKAGES
            case ast.ImportFrom():
                packages = {(node.module or ".").partition(".")[0]} - PACKAGES
                called = {alias.name for alias in node.names} & BLAS
            case ast.Attribute():
                called = {node.attr} & BLAS
            case ast.BinOp(op=ast.MatMult()):
                called = {"@"}
        where = f"in line {getattr(node, 'lineno', 0)}"
        for name in packages:
            raise Wrong(f"it imports {name} {where}: the kernel is to be yours, with NumPy and Numba")
        for name in called:
            raise Wrong(f"it has BLAS do the work, by {name} {where}: the loops are to be yours")


class Held:
    """An array between two zones, and what it and they were."""

    def __init__(self, values: Array, mark: Any):
        size, kind = values.nbytes, values.dtype
        self.buffer = np.zeros(2 * ZONE + size + 64, np.uint8)
        self.start = ZONE + -(self.buffer.ctypes.data + ZONE) % 64  # aligned as fastml's own arrays mostly are
        self.array: Array = np.ndarray(values.shape, kind, self.buffer, self.start)
        before = self.buffer[self.start - ZONE : self.start].view(mark.dtype)
        before[:] = mark
        self.buffer[self.start + size :][: ZONE - 64].view(np.uint8)[:] = np.resize(before.view(np.uint8), ZONE - 64)
        self.array[...] = values
        self.was = self.buffer.copy()

    def changed(self) -> Array:
        """Bytes that are others, counted from the first of the array."""
        return np.flatnonzero(self.buffer != self.was) - self.start

    def outside(self) -> str:
        """Where something was written that is not the array's; nothing if nowhere."""
        changed, size = self.changed(), self.array.nbytes
        if (after := changed[changed >= size]).size:
            return f"{after[0] - size} bytes after its end"
        if (before := changed[changed < 0]).size:
            return f"{-before[-1]} bytes before its start"
        return ""


def fill_new_memory(byte: int) -> None:
    """Let the C library fill what it hands out, so that memory that was never set is not zero by luck; 0 ends it."""
    if hasattr(library := ctypes.CDLL(None), "mallopt"):  # of glibc
        library.mallopt(M_PERTURB, byte)


def use_threads(n_threads: int) -> None:
    """Let Numba's loops run on so many threads, also those of a function that does not heed its `n_threads`."""
    if numba := sys.modules.get("numba"):
        numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))


def check(exercise: Exercise, function: Function, inputs: tuple[Any, ...]) -> None:
    """Check a case, with each number of threads if the function takes one: the same bits from all. Raises Wrong."""
    answer = right_answer(exercise, inputs)
    if not exercise.threads:
        _run(exercise, function, inputs, answer)
        return
    bits = POISON[exercise.dtype].dtype
    first = _run(exercise, function, inputs, answer, exercise.threads[0])
    for n_threads in exercise.threads[1:]:
        for _ in range(REPEATS):
            again = _run(exercise, function, inputs, answer, n_threads)
            other = np.argwhere(again.view(bits) != first.view(bits))
            if other.size:
                index, threads = tuple(other[0]), f"{n_threads} threads than with {exercise.threads[0]}"
                values = f"{float(again[index])!r} instead of {float(first[index])!r}"
                raise Wrong(f"out[{_index(index)}] has other bits with {threads}: {values}")


def _run(
    exercise: Exercise, function: Function, inputs: tuple[Any, ...], answer: tuple[Array, Array], *n_threads: int
) -> Array:
    """Run one case; raise Wrong unless the result is right and nothing else was written."""
    names = [*inspect.signature(exercise.oracle).parameters]
    out = Held(poisoned(exercise, answer[0]), np.uint8(0xA5))
    held = {name: Held(value, value.dtype.type(np.nan)) for name, value in zip(names, inputs, strict=True)}
    for n in n_threads:
        use_threads(n)
    fill_new_memory(FILL)
    try:
        returned = function(*(each.array for each in held.values()), out.array, *n_threads)
    finally:
        fill_new_memory(0)
    for name, each in [*held.items(), ("out", out)]:
        if where := each.outside():
            raise Wrong(f"it wrote outside {name}: {where}")
        if name != "out" and each.changed().size:
            index = np.unravel_index(each.changed()[0] // each.array.itemsize, each.array.shape)
            raise Wrong(f"it changed its input: {name}[{_index(index)}] is now {each.array[index]!s}")
    try:
        compare(out.array, *answer)
    except Wrong as wrong:
        hint = "" if returned is None else "; what it returns does not count, only what it writes into out"
        raise Wrong(f"{wrong}{hint}") from None
    return out.array.copy()


def right_answer(exercise: Exercise, inputs: Sequence[Any]) -> tuple[Array, Array]:
    """The result in float64, and by how much each value may be off: NaN where it is not finite."""
    wide, limits = [value.astype(np.float64) for value in inputs], np.finfo(exercise.dtype)
    with np.errstate(all="ignore"):
        expected = exercise.oracle(*wide)
        rounding = limits.eps / 2 * np.abs(expected) + float(limits.smallest_subnormal)
        return expected, np.where(np.isfinite(expected), exercise.allowed(*wide) + rounding, np.nan)


def poisoned(exercise: Exercise, like: Array) -> Array:
    """A result that nobody has written yet."""
    return np.full(like.shape, POISON[exercise.dtype]).view(exercise.dtype)


def compare(got: Array, expected: Array, most: Array) -> None:
    """Raise Wrong where a value is off by more than that; where infinity or NaN is expected, nothing else will do."""
    with np.errstate(all="ignore"):
        near = np.abs(got - expected) <= most
    if near.all():
        return
    poison = POISON[str(got.dtype)]
    unwritten = got.view(poison.dtype) == poison
    wrong = unwritten | ~(near | (got == expected) | (np.isnan(got) & np.isnan(expected)))
    if not wrong.any():
        return
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    count = f"; of {wrong.size} values, {wrong.sum()} are wrong" if wrong.size > 1 else ""
    if unwritten[index]:
        raise Wrong(f"out[{_index(index)}] was never set, or only added to: it should be {expected[index]:.9g}{count}")
    reach = f" to within {most[index]:.1e}" if np.isfinite(expected[index]) else ""
    raise Wrong(f"out[{_index(index)}] should be {expected[index]:.9g}{reach}, but is {got[index]:.9g}{count}")


def _index(index: Sequence[Any]) -> str:
    return ", ".join(str(int(i)) for i in index)
