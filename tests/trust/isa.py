"""Processors that are older or newer than this one, emulated; and instructions that a level must not have."""

import hashlib
import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastml import _cpu
from fastml._core.baseline import _system
from tests.trust.figures import Figure
from tests.trust.isolated import deaths, outcomes

# The level that a processor should get. Haswell is the oldest that v3 is meant for; virtual machines may hide a part of
# what theirs has. (Without BMI1 it is the C library that dies.)
CALLED = {"Nehalem": "baseline", "Haswell": "v3"}  # the first is the oldest that NumPy's wheels run on
ASKED = {"max": "v3", **{f"Haswell,-{part}": "baseline" for part in ("avx2", "fma", "bmi2", "movbe", "abm", "f16c")}}
MORE = {"Westmere": "baseline", "SandyBridge": "baseline", "Skylake-Client": "v3", "EPYC": "v3"}
ANY = {"FASTML_ISA": ""}
SAME_LAPACK = {"OPENBLAS_CORETYPE": "Nehalem"}
LEVELS = {  # what GNU's assembler is told to accept
    "baseline": "generic64",  # SSE2
    "v3": "generic64+cx16+popcnt+sse4.2+avx2+fma+bmi+bmi2+f16c+lzcnt+movbe+xsave",
}
HARMLESS = {"endbr64", "xgetbv"}  # the first does nothing where it is unknown; the second is asked for after cpuid
KERNELS = Path(_system.__file__).parents[1]


def emulator(processor: str) -> tuple[str, ...]:
    return ("qemu-x86_64", "-cpu", processor)


def chosen() -> str:
    return _cpu.isa()


def result(name: str, options: dict[str, str]) -> str:
    """The level that an operation runs on, and a hash of all bits of its results."""
    from tests.trust.work import arrays, bits, calls

    return f"{chosen()} {hashlib.sha256(bits(calls(arrays(0), **options)[name]())).hexdigest()}"


def emulated(thorough: bool) -> Iterator[Figure]:
    """Row 44: needs qemu-x86_64, and a processor of x86-64."""
    if not shutil.which("qemu-x86_64") or "v3" not in _cpu._usable():
        return
    from tests.trust.work import operations

    for processor, level in CALLED.items():
        asked = [[name, {}] for name in operations()]
        here = outcomes("tests.trust.isa:result", asked, 60, FASTML_ISA=level, **SAME_LAPACK)
        there = outcomes("tests.trust.isa:result", asked, 200, emulator(processor), **ANY, **SAME_LAPACK)
        wrong = sum(one != other for one, other in zip(here, there, strict=True))
        yield Figure(44, f"of {len(asked)} calls, one of each operation and class, those that die under an emulated "
                     f"{processor}, or give other bits than {level} does here", wrong, "= 0")  # fmt: skip
    if thorough:
        asked = [[name, {"backend": "numba"}] for name in ("standardize", "moments")]
        died = deaths(outcomes("tests.trust.isa:result", asked, 300, emulator("Nehalem"), **ANY))
        yield Figure(44, f"of {len(asked)} calls with Numba those that die under an emulated Nehalem", died, "= 0")
    meant = ASKED | (MORE if thorough else {})
    wrong = sum(outcomes("tests.trust.isa:chosen", [[]], 60, emulator(name), **ANY) != [meant[name]] for name in meant)
    yield Figure(44, f"of {len(meant)} emulated processors those that get the wrong level", wrong, "= 0")


def code(path: Path) -> Counter[str]:
    """How often each instruction is in a file, in the words of an assembler."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line.partition("#")[0] for line in re.findall(r"^ *[0-9a-f]+:\t(.*)$", text, re.MULTILINE))
    return Counter(re.sub(r"\b[0-9a-f]+ <.*>", ".", line).strip() for line in lines)  # a jump's target: any will do


def refused(level: str, instructions: Iterable[str]) -> list[str]:
    """Those that an assembler for the level does not know."""
    lines = [line for line in instructions if "nop" not in line and not HARMLESS.intersection(line.split())]
    command = ["as", f"-march={LEVELS[level]}", "-o", "/dev/null", "-"]
    done = subprocess.run(command, input="\n".join([*lines, ""]), capture_output=True, text=True)
    wrong = {int(number) for number in re.findall(r"^{standard input}:(\d+): Error", done.stderr, re.MULTILINE)}
    if bool(done.returncode) != bool(wrong):
        raise RuntimeError(done.stderr)
    return [line for number, line in enumerate(lines, 1) if number in wrong]


def instructions(thorough: bool) -> Iterator[Figure]:
    """Row 44: needs objdump and as, of binutils."""
    if not shutil.which("objdump") or not shutil.which("as") or platform.machine() != "x86_64":
        return
    for level in LEVELS:
        found = sum(map(code, sorted((KERNELS / level).glob("*.so"))), Counter[str]())
        beyond = sum(found[line] for line in refused(level, found))
        yield Figure(44, f"of {found.total()} instructions in the kernels for {level} those beyond it", beyond, "= 0")
