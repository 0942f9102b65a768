"""The hot loop of a compiled kernel, as the processor gets it, and what is in it. For x86-64.

>>> from fastml.learn import assembly
>>> text = '''
...     vmovups (%rax), %ymm1
... .again:
...     vfmadd231ps (%rsi,%rdx), %ymm1, %ymm0
...     addq $32, %rdx
...     cmpq %rdx, %rcx
...     jne .again
... '''
>>> loop = assembly.hottest(assembly.read(text))
>>> print(*loop.lines, sep="\\n")
vfmadd231ps   (%rsi,%rdx), %ymm1, %ymm0
addq          $32, %rdx
cmpq          %rdx, %rcx
jne           top
>>> loop.counts
{'loads': 1, 'stores': 0, 'multiply-adds': 1, 'other vector': 0, 'scalar': 3}
"""

import bisect
import ctypes
import functools
import importlib.util
import platform
import re
import shutil
import subprocess
import types
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastml._dispatch import of_type

KINDS = ("loads", "stores", "multiply-adds", "other vector", "scalar")
ADDRESSED = re.compile(r"[^%]*\([^)]*%|%[fg]s:")  # an operand in memory
NO_ACCESS = re.compile(r"lea|nop|prefetch|clflush")  # takes an address, and reads nothing
MOVES = re.compile(r"v?movs?|v?p?mov|v?lddqu|v?p?broadcast|vp?maskmov")
MULTIPLY_ADD = re.compile(r"vfn?m(add|sub)")
SCALAR_FLOAT = re.compile(r"(?!v?p)\w+(ss|sd)|v?cvtt?s[sdi]2\w+")  # one value, though in a vector register
VECTOR_REGISTER = re.compile(r"%([xyz]mm|k)\d")
READS_ONLY = re.compile(r"cmp|test|bt|v?u?comi|i?mul|i?div|push|call|jmp|v?p?test")  # with the last operand in memory
BUILT_IN = ("builtin_function_or_method", "cython_function_or_method", "fused_cython_function")
WIDTHS = {"x": 1, "y": 2, "z": 4}
PREFIXES = ("bnd", "cs", "data16", "lock", "notrack", "rep", "repz", "repnz")


@dataclass(frozen=True)
class Loop:
    """One pass of an innermost loop.

    Each instruction is counted once: as a load or a store if it does nothing else, else as what it computes. What
    computes with a value from memory counts as a load, too: a multiply-add that reads memory is both. An operation on
    one value is scalar, even if that is in a vector register; only multiply-adds are counted whatever their width.
    """

    lines: list[str]
    counts: dict[str, int]


@dataclass(frozen=True)
class Instruction:
    name: str
    operands: tuple[str, ...]
    target: int | None = None  # of a jump: the number of the instruction that it goes to, if that is known
    refers: int | None = None  # of a call, or of an address that is taken: the same

    @property
    def scalar(self) -> bool:
        in_vector = any(VECTOR_REGISTER.search(operand) for operand in self.operands)
        return not in_vector or SCALAR_FLOAT.fullmatch(self.name) is not None


def native_loop(module: str, rank: int = 0, function: str = "", dtype: str = "float32") -> Loop:
    """The hottest innermost loop of an extension module, such as "fastml._core.v3.conv2d_direct"; of rank 1, the next.

    With the name of one of its functions, of those that are reached from there, for a dtype.

    Raises LookupError where there is no such module, function or loop, or where objdump is missing or the processor is
    another.
    """
    _needs_x86()
    path = _path(module)
    code, places = _disassembled(path)
    if not function:
        return hottest(code, rank)
    start = places.get(f"{_offset(module, function, dtype):x}")
    if start is None:
        raise LookupError(f"{module}:{function} is not in the code of its file")
    return hottest(code, rank, _reached(code, start))


def numba_loop(function: Any, arguments: tuple[Any, ...], rank: int = 0) -> Loop:
    """The hottest innermost loop of a function that Numba compiles for these arguments; of rank 1, the next.

    A Python function is called, to see which compiled functions it calls, and with what: a kernel of fastml's with
    n_threads = 1 is the loop without threads.

    Raises LookupError where there is no such loop or compiled function, or the processor is another.
    """
    _needs_x86()
    return hottest([line for text in _compiled(function, arguments) for line in read(text)], rank)


def hottest(code: list[Instruction], rank: int = 0, among: Collection[int] | None = None) -> Loop:
    """The loop with most multiply-adds, in vectors first; where there are none, with most other work on vectors.

    Loops that call something come last: they clean up, mostly. `among`: numbers of the instructions to look at.

    Raises LookupError where there are no more than `rank` loops.
    """
    found = [ends for ends in innermost(code) if among is None or ends[1] in among]
    loops = sorted(found, key=lambda ends: _heat(code[ends[0] : ends[1] + 1]), reverse=True)
    if rank >= len(loops):
        raise LookupError(f"there is no innermost loop of rank {rank}: there are {len(loops)}")
    first, last = loops[rank]
    return Loop(_shown(code, first, last), count(code[first : last + 1]))


def innermost(code: list[Instruction]) -> Iterator[tuple[int, int]]:
    """First and last instruction of each loop: a jump back, with no other loop between."""
    backward = [(line.target, i) for i, line in enumerate(code) if line.target is not None and line.target <= i]
    ends = [last for _, last in backward]
    for i, (first, last) in enumerate(backward):
        nested = any(inner >= first for inner, _ in backward[bisect.bisect_left(ends, first) : i])
        if not nested and not any(line.name.startswith("ret") for line in code[first:last]):
            yield first, last


def count(code: list[Instruction]) -> dict[str, int]:
    """How many instructions there are of each kind, as `Loop` says."""
    counts = dict.fromkeys(KINDS, 0)
    for line in code:
        reads, writes = _memory(line)
        if not _only_moves(line):
            counts[_computes(line)] += 1
        counts["loads"] += reads
        counts["stores"] += writes
    return counts


def _only_moves(line: Instruction) -> bool:
    return MOVES.match(line.name) is not None and any(_memory(line))


def _computes(line: Instruction) -> str:
    if MULTIPLY_ADD.match(line.name):
        return "multiply-adds"
    return "scalar" if line.scalar else "other vector"


def _memory(line: Instruction) -> tuple[bool, bool]:
    """Whether an instruction reads memory, and whether it writes there. The last operand is where the result goes."""
    places = [ADDRESSED.match(operand) is not None for operand in line.operands]
    if not any(places) or NO_ACCESS.match(line.name):
        return False, False
    if not places[-1] or READS_ONLY.match(line.name):
        return True, False
    both = line.scalar and not MOVES.match(line.name) and not line.name.startswith("set")  # addq $1, (%rax)
    return both, True


def _heat(code: list[Instruction]) -> tuple[bool, int, int, int, int]:
    calls = any(line.name.startswith("call") for line in code)
    fused = [line for line in code if MULTIPLY_ADD.match(line.name)]
    others = [line for line in code if _computes(line) == "other vector" and not _only_moves(line)]
    floats = sum(SCALAR_FLOAT.fullmatch(line.name) is not None for line in code)
    return not calls, sum(map(_width, fused)), len(fused), sum(map(_width, others)), floats


def _width(line: Instruction) -> int:
    """Of vectors, relative to the smallest."""
    widths = (WIDTHS[found] for operand in line.operands for found in re.findall("%([xyz])mm", operand))
    return 0 if line.scalar else max(widths, default=0)


def _shown(code: list[Instruction], first: int, last: int) -> list[str]:
    lines = []
    for line in code[first : last + 1]:
        operands = line.operands
        if line.target is not None:
            inside = f"line {line.target - first + 1}" if first <= line.target <= last else "out"
            operands = ("top",) if line.target == first else (inside,)
        lines.append(f"{line.name:<13} {', '.join(operands)}".rstrip())
    return lines


def read(text: str) -> list[Instruction]:
    """Instructions of a compiler's output, with labels, or of a disassembly, with addresses; both in AT&T's syntax."""
    return _read(text)[0]


def _read(text: str) -> tuple[list[Instruction], dict[str, int]]:
    """Instructions, and the numbers of those that labels and addresses stand for."""
    places: dict[str, int] = {}
    lines: list[tuple[str, str, str]] = []
    for line in text.splitlines():
        code, _, comment = line.strip().partition("#")
        address = re.match(r"([0-9a-f]+):\t", code)
        if address:
            places[address[1]] = len(lines)
            code = code[address.end() :]
        code = code.strip()
        if code.endswith(":"):
            places[code[:-1]] = len(lines)
        elif code and not code.startswith("."):
            words = code.split(None, 1)
            while words[0] in PREFIXES and len(words) > 1:
                words = words[1].split(None, 1)
            lines.append((words[0], words[1] if len(words) > 1 else "", comment))
    return [_instruction(*line, places) for line in lines], places


def _instruction(name: str, rest: str, comment: str, places: dict[str, int]) -> Instruction:
    """A comment on an address that is relative to the instruction says where that is."""
    place = places.get(((comment if name.startswith("lea") else rest).split() or [""])[0])
    jumps, refers = name.startswith("j"), name.startswith(("call", "lea"))
    return Instruction(name, _operands(rest), place if jumps else None, place if refers else None)


def _operands(text: str) -> tuple[str, ...]:
    """Separated by commas, but not by those in parentheses.

    >>> _operands("0x8(%rsp,%rcx,4),%xmm1")
    ('0x8(%rsp,%rcx,4)', '%xmm1')
    """
    return tuple(part.strip() for part in re.findall(r"(?:\([^)]*\)|[^,(])+", text))


def _path(module: str) -> str:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not (spec.origin or "").endswith(".so"):
        raise LookupError(f"there is no compiled module {module}")
    return str(spec.origin)


@functools.lru_cache(maxsize=4)
def _disassembled(path: str) -> tuple[list[Instruction], dict[str, int]]:
    if not shutil.which("objdump"):
        raise LookupError("objdump is not installed: it is part of binutils")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", "--section=.text", path]
    return _read(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class _Symbol(ctypes.Structure):
    """What dladdr tells of an address."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _offset(module: str, name: str, dtype: str) -> int:
    """Where in its file a function of an extension module is. It has no symbol there, but Python knows its address.

    A built-in function begins with a pointer to its entry of the table of methods, which begins with name and address.
    """
    function = of_type(getattr(importlib.import_module(module), name, None), np.dtype(dtype).char)  # type: ignore[arg-type]
    if type(function).__name__ not in BUILT_IN:
        raise LookupError(f"{module} has no compiled function {name}")
    entry = ctypes.c_void_p.from_address(id(function) + object.__basicsize__).value or 0
    address, symbol = ctypes.c_void_p.from_address(entry + ctypes.sizeof(ctypes.c_void_p)).value or 0, _Symbol()
    ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(symbol))
    return address - int(symbol.base or 0)


def _reached(code: list[Instruction], start: int) -> set[int]:
    """Numbers of the instructions that can follow one: by jumps, calls, and calls by others of what is named."""
    reached, waiting = set[int](), [start]
    while waiting:
        i = waiting.pop()
        if i in reached or i >= len(code):
            continue
        reached.add(i)
        waiting += [place for place in (code[i].target, code[i].refers) if place is not None]
        if not code[i].name.startswith(("jmp", "ret", "ud2", "hlt")):
            waiting.append(i + 1)
    return reached


def _needs_x86() -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        raise LookupError(f"this processor is {platform.machine()}; assembly is read of x86-64 only")


def _compiled(function: Any, arguments: tuple[Any, ...]) -> list[str]:
    """The assembly of a compiled function, or of each that a Python function calls, for the types of the arguments."""
    try:
        from numba.core.dispatcher import Dispatcher
    except ModuleNotFoundError:
        raise LookupError("Numba is not installed") from None
    calls = [(function, arguments)] if isinstance(function, Dispatcher) else []
    if not calls:
        _watched(function, Dispatcher, lambda *call: calls.append(call))(*arguments)
    if not calls:
        raise LookupError(f"{getattr(function, '__name__', function)} calls no function that Numba has compiled")
    texts = {}
    for dispatcher, values in calls:
        signature = tuple(map(dispatcher.typeof_pyval, values))
        dispatcher.compile(signature)
        texts[dispatcher, signature] = dispatcher.inspect_asm(signature)
    return [*texts.values()]


def _watched(function: Any, kind: type, record: Callable[[Any, tuple[Any, ...]], None]) -> Callable[..., Any]:
    """A copy of a Python function that records calls of the globals and captured functions of a kind."""

    def watch(value: Any) -> Any:
        if not isinstance(value, kind):
            return value

        def call(*arguments: Any) -> Any:
            record(value, arguments)
            return value(*arguments)  # type: ignore[operator]

        return call

    names = {name: watch(value) for name, value in function.__globals__.items()}
    cells = tuple(types.CellType(watch(cell.cell_contents)) for cell in function.__closure__ or ())
    return types.FunctionType(function.__code__, names, argdefs=function.__defaults__, closure=cells)
