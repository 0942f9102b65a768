"""What measures processors and instructions notices the wrong ones."""

import importlib
import platform
import shutil
import subprocess

import numpy as np
import pytest

from fastml import _cpu
from tests.trust import isa
from tests.trust.isolated import outcomes

X86 = platform.machine() == "x86_64"
needs_binutils = pytest.mark.skipif(not X86 or not shutil.which("objdump"), reason="needs objdump and as, of x86-64")
needs_v3 = pytest.mark.skipif("v3" not in _cpu._usable(), reason="needs a processor with AVX2, and code for it")
needs_qemu = pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-x86_64")

SSE2 = ("addps %xmm0,%xmm1", "prefetcht0 0x1000(%rdi,%r11,1)", "rep stos %al,%es:(%rdi)", "call .",
        "lock xadd %eax,(%rdx)")  # fmt: skip
NEWER = ("haddps %xmm0,%xmm1", "pshufb %xmm1,%xmm0", "popcnt %eax,%ebx", "crc32 %eax,%ebx", "vaddps %xmm1,%xmm2,%xmm3",
         "vaddps %ymm1,%ymm2,%ymm3", "vfmadd132ps %xmm0,%xmm1,%xmm2", "andn %eax,%ebx,%ecx", "shlx %eax,%ebx,%ecx",
         "lzcnt %eax,%ebx", "tzcnt %eax,%ebx", "movbe (%rax),%ebx", "vcvtph2ps %xmm0,%xmm1")  # fmt: skip
NEWEST = ("vaddps %zmm1,%zmm2,%zmm3", "vaddps %xmm16,%xmm1,%xmm2", "vaddps %ymm1,%ymm2,%ymm3{%k1}", "kmovd %eax,%k1",
          "{evex} vmovups %ymm0,(%rax)", "vpdpbusd %ymm0,%ymm1,%ymm2", "adcx %eax,%ebx",
          "aesenc %xmm0,%xmm1")  # fmt: skip


@needs_binutils
def test_an_instruction_that_a_level_does_not_have_is_noticed():
    lines = [*SSE2, "endbr64", "cs nopw 0x0(%rax,%rax,1)", *NEWER, *NEWEST]
    assert isa.refused("baseline", lines) == [*NEWER, *NEWEST]
    assert isa.refused("v3", lines) == [*NEWEST]
    assert isa.refused("baseline", []) == []


@needs_binutils
def test_instructions_are_those_of_the_file(tmp_path):
    newest = ["vaddps %zmm1,%zmm2,%zmm3", "{evex} vmovups %ymm0,(%rax)"]
    lines = ["vmovups %ymm0,(%rax)", *newest, "ret", "ret"]
    path = tmp_path / "code.o"
    subprocess.run(["as", "-o", path, "-"], input="\n".join(["start:", "jmp start", *lines, ""]), text=True, check=True)
    assert isa.code(path) == {"jmp    .": 1, **dict.fromkeys(lines, 1), "ret": 2}
    assert isa.refused("v3", isa.code(path)) == newest


@needs_binutils
@needs_v3
def test_the_better_level_would_not_do_as_the_baseline():
    (file,) = (isa.KERNELS / "v3").glob("conv2d_direct.*.so")
    found = isa.code(file)
    wrong = isa.refused("baseline", found)
    assert 0.1 < len(wrong) / len(found) < 1 and any(line.startswith("vfmadd") for line in wrong)


def copied(level):
    """A child's part: a call of a kernel of a level."""
    rows = importlib.import_module(f"fastml._core.{level}.standardize").rows
    out = np.empty((2, 3))
    rows(np.ones((2, 3)), 0, np.zeros(3), np.ones(3), out, 1)
    return out.sum()


@needs_v3
@needs_qemu
def test_death_on_an_emulated_processor_is_noticed():
    nehalem = isa.emulator("Nehalem")
    dead, right = outcomes("tests.trust.test_isa:copied", [["v3"], ["baseline"]], 60, nehalem)
    assert str(dead) == "SIGILL" and right == 6
    (refused,) = outcomes("tests.trust.isa:result", [["standardize", {}]], 60, nehalem, FASTML_ISA="v3")
    assert "FASTML_ISA is 'v3', which this processor" in str(refused)


@needs_v3
def test_levels_differ_in_the_last_bits_and_so_the_comparison_means_something():
    asked = [["conv2d", {}], ["standardize", {}]]
    baseline, v3 = (outcomes("tests.trust.isa:result", asked, 60, FASTML_ISA=level) for level in ("baseline", "v3"))
    assert [result.split()[0] for result in (*baseline, *v3)] == ["baseline", "baseline", "v3", "v3"]
    assert baseline[0].split()[1] != v3[0].split()[1]
