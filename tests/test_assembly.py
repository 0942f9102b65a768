"""`fastml.learn.assembly`: which loop is found, and what is counted in it; in text, and in compiled kernels."""

import json
import platform
import re
import shutil

import numpy as np
import pytest
import typer.testing

from fastml import _cpu
from fastml.learn import assembly
from fastml.learn.cli import app

X86 = platform.machine() in ("x86_64", "AMD64")
needs_x86 = pytest.mark.skipif(not X86, reason="assembly is read of x86-64 only")
needs_objdump = pytest.mark.skipif(
    not (X86 and shutil.which("objdump") and _cpu.isa() == "v3"), reason="objdump, or AVX2, is missing"
)
DIRECT = "fastml._core.v3.conv2d_direct"


def counted(*lines):
    """The counts that are not 0."""
    return {kind: n for kind, n in assembly.count(assembly.read("\n".join(lines))).items() if n}


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("vmovups 0x20(%rcx,%rsi,1),%ymm13", {"loads": 1}),
        ("vbroadcastss -0xc(%rax), %ymm14", {"loads": 1}),
        ("movslq (%rdx), %r8", {"loads": 1}),
        ("vmovaps %ymm4,0x160(%rsp)", {"stores": 1}),
        ("movq $0, (%rax)", {"stores": 1}),
        ("mov %fs:0x28,%rax", {"loads": 1}),
        ("vmovups %zmm13, (%rax,%rdx,4) {%k1}", {"stores": 1}),
        ("vmovaps %ymm0, %ymm2", {"other vector": 1}),
        ("vfmadd231ps %ymm14, %ymm15, %ymm12", {"multiply-adds": 1}),
        ("vfnmadd213pd 0x360(%rsp), %ymm1, %ymm1", {"multiply-adds": 1, "loads": 1}),
        ("vfmadd231ss (%r8,%rax,4), %xmm1, %xmm0", {"multiply-adds": 1, "loads": 1}),
        ("vaddps (%rax), %ymm1, %ymm1", {"other vector": 1, "loads": 1}),
        ("vextractf128 $0x1, %ymm0, (%rax)", {"other vector": 1, "stores": 1}),
        ("vgatherqps (,%zmm13), %ymm15 {%k1}", {"other vector": 1, "loads": 1}),
        ("vpabsd %ymm1, %ymm2", {"other vector": 1}),
        ("vaddss 4(%rcx), %xmm0, %xmm0", {"scalar": 1, "loads": 1}),
        ("vcvtss2sd %xmm1, %xmm1, %xmm1", {"scalar": 1}),
        ("vcvttss2si %xmm1, %eax", {"scalar": 1}),
        ("addq $32, %rdx", {"scalar": 1}),
        ("subq $0x1, (%rdi)", {"scalar": 1, "loads": 1, "stores": 1}),
        ("lock xadd %edx, 0x38(%rax)", {"scalar": 1, "loads": 1, "stores": 1}),
        ("cmpq %r13, 0x258(%rsp)", {"scalar": 1, "loads": 1}),
        ("sete 0x8(%rsp)", {"scalar": 1, "stores": 1}),
        ("lea 0x0(,%r8,4), %rsi", {"scalar": 1}),
        ("prefetcht0 0x1000(%rdx,%r8,1)", {"scalar": 1}),
        ("cs nopw 0x0(%rax,%rax,1)", {"scalar": 1}),
    ],
)
def test_an_instruction_is_counted_by_what_it_does(line, counts):
    assert counted(line) == counts


NESTED = """
 100:	mov    $0x0,%ecx
 105:	vmovups (%rax),%ymm0
 10a:	vmulps 0x8(%rbx),%ymm0,%ymm0
 10f:	add    $0x20,%rax
 113:	jne    105 <f+0x5>
 115:	je     11e <f+0x1e>
 117:	vfmadd231ps (%rax),%ymm0,%ymm1
 11c:	jne    117 <f+0x17>
 11e:	add    $0x1,%ecx
 121:	jne    105 <f+0x5>
 123:	ret
 124:	vfmadd231ps (%rax),%ymm0,%ymm1
 129:	vfmadd231ps (%rax),%ymm0,%ymm2
 12e:	call   100 <f>
 133:	jne    124 <f+0x24>
 135:	jmp    123 <f+0x23>
"""


def test_loops_are_found_inside_others_and_ordered_by_their_work():
    code = assembly.read(NESTED)
    assert [*assembly.innermost(code)] == [(1, 4), (6, 7), (11, 14)]
    loops = [assembly.hottest(code, rank) for rank in range(3)]
    assert loops[0].lines == ["vfmadd231ps   (%rax), %ymm0, %ymm1", "jne           top"]
    assert loops[1].lines[1].startswith("vmulps") and len(loops[1].lines) == 4
    assert loops[2].counts["multiply-adds"] == 2  # it calls something
    with pytest.raises(LookupError, match="no innermost loop of rank 3: there are 3"):
        assembly.hottest(code, 3)
    assert assembly.hottest(code, among={4}).lines == loops[1].lines


def test_jumps_within_a_loop_and_out_of_it_are_told_apart():
    text = ".a:\n je .b\n jne .c\n addq $1, %rax\n.b:\n jmp .a\n.c:\n ret # the end"
    assert [line.split()[-1] for line in assembly.hottest(assembly.read(text)).lines] == ["4", "out", "%rax", "top"]


def test_wide_vectors_are_hotter_than_narrow_ones_and_these_than_single_values():
    loops = [f".{register}:\n vfmadd231{kind} %{register}1, %{register}2, %{register}3\n jne .{register}\n"
             for kind, register in (("ps", "xmm"), ("ps", "ymm"))]  # fmt: skip
    loops.append(".s:\n" + " vfmadd231ss %xmm1, %xmm2, %xmm3\n" * 8 + " jne .s\n")
    found = [assembly.hottest(assembly.read("".join(loops)), rank).lines for rank in range(3)]
    assert ["%ymm" in lines[0] for lines in found] == [True, False, False] and len(found[2]) == 9


@needs_objdump
@pytest.mark.parametrize(("dtype", "suffix"), [("float32", "ps"), ("float64", "pd")])
def test_the_convolution_has_the_loop_that_its_comments_say(dtype, suffix):
    """tile.h: 4 rows of weights times 3 vectors of pixels are 12 sums; 3 + 4 loads, and that of the offset."""
    loop = assembly.native_loop(DIRECT, function="direct", dtype=dtype)
    assert (loop.counts["multiply-adds"], loop.counts["loads"], loop.counts["stores"]) == (12, 3 + 4 + 1, 0)
    assert sum(line.startswith("vbroadcast") for line in loop.lines) == 4
    fused = [line for line in loop.lines if line.startswith("vfm")]
    assert all(re.match(rf"vfmadd\d+{suffix} .*%ymm", line) for line in fused)
    assert len({line.rpartition(" ")[2] for line in fused}) == 12
    assert loop.lines[-1].split() == ["jne", "top"] and len(loop.lines) == sum(loop.counts.values())


@needs_objdump
def test_a_module_has_the_hottest_loop_of_its_functions():
    assert assembly.native_loop(DIRECT).counts == assembly.native_loop(DIRECT, function="direct").counts
    module = "fastml._core.v3.max_pool2d"
    loops, rows, both = (assembly.native_loop(module, function=name) for name in ("loops", "unrolled", ""))
    assert loops.counts["other vector"] <= 1 and rows.counts["other vector"] > 30
    assert rows.counts == both.counts and assembly.native_loop(module, 1) != both


@needs_objdump
def test_what_there_is_not_is_named():
    for call in ((DIRECT, 10**6), ("fastml._core.v3.nonsense",), ("fastml._core",), ("no.such",)):
        with pytest.raises(LookupError, match="there is no"):
            assembly.native_loop(*call)
    for name in ("nonsense", "np", "__name__"):
        with pytest.raises(LookupError, match=f"{DIRECT} has no compiled function {name}"):
            assembly.native_loop(DIRECT, function=name)


def test_without_objdump_or_on_another_processor_it_says_why(monkeypatch):
    monkeypatch.setattr(assembly.platform, "machine", lambda: "riscv64")
    with pytest.raises(LookupError, match="this processor is riscv64"):
        assembly.native_loop(DIRECT)
    with pytest.raises(LookupError, match="this processor is riscv64"):
        assembly.numba_loop(None, ())
    monkeypatch.setattr(assembly.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(assembly.shutil, "which", lambda name: None)
    monkeypatch.setattr(assembly, "_path", lambda module: "/nowhere")  # one that was not read before
    with pytest.raises(LookupError, match="objdump is not installed"):
        assembly.native_loop(DIRECT)


def sums(loop):
    """Sums that do not wait for each other: registers that are added to, times values in each."""
    added = [line for line in loop.lines if re.match(r"v?adds|v?addp", line)]
    lanes = {"ss": 1, "ps": 4}
    return len({line.rpartition(" ")[2] for line in added}) * lanes[added[0].split()[0][-2:]]


@needs_x86
def test_one_accumulator_and_four():
    numba = pytest.importorskip("numba")

    @numba.njit
    def one(x):
        a = np.float32(0)
        for i in range(x.size):
            a += x[i]
        return a

    @numba.njit
    def four(x):
        a = b = c = d = np.float32(0)
        for i in range(0, x.size - 3, 4):
            a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
        return a + b + c + d

    def step(x):
        return four(x)

    x = np.ones(8, np.float32)
    loops = [assembly.numba_loop(function, (x,)) for function in (one, four)]
    assert [sums(loop) for loop in loops] == [1, 4]
    assert all(loop.counts["multiply-adds"] == loop.counts["stores"] == 0 for loop in loops)
    assert loops[0].counts["loads"] == sum("addss" in line for line in loops[0].lines)
    assert assembly.numba_loop(step, (x,)) == loops[1]
    wide = assembly.numba_loop(step, (x.astype(np.float64),))  # of these arguments, not of others seen before
    assert any("sd" in line or "pd" in line for line in wide.lines) and wide != loops[1]
    with pytest.raises(LookupError, match="sums calls no function that Numba has compiled"):
        assembly.numba_loop(sums, (assembly.Loop(["vaddss %xmm0"], {}),))


@needs_x86
def test_a_kernel_of_numbas_is_read_as_one_thread_runs_it():
    pytest.importorskip("numba")
    from fastml._jit import standardize

    x, out = np.ones((4, 8), np.float32), np.empty((4, 8), np.float32)
    mean, scale = np.zeros(8), np.ones(8)
    loop = assembly.numba_loop(standardize.loops, (x, 0, mean, scale, out, 1))
    assert loop.counts["loads"] >= 1 and loop.counts["stores"] >= 1


@needs_objdump
def test_the_command_shows_a_loop_and_refuses():
    def run(*words, status=0):
        done = typer.testing.CliRunner().invoke(app, ["assembly", *words])
        assert done.exit_code == status, done.output
        return done.output

    found = json.loads(run("conv2d", "--rung", "cython direct", "--json"))
    assert found["counts"]["multiply-adds"] == 12 and found["rung"] == "direct" and found["lines"][-1].endswith("top")
    text = run("conv2d", "--rung", "cython direct")
    assert all(line in text for line in found["lines"]) and re.search(r"multiply-adds +│ +12", text)
    assert "float64" in run("max_pool2d", "--dtype", "float64", "--rank", "1")  # the rung that users get
    assert "its loops are NumPy's own" in run("pca", "--rung", "numpy loops", status=2)
    assert "pca has no rung 'nonsense'" in run("pca", "--rung", "nonsense", status=2)
    assert "there is no operation 'nonsense'" in run("nonsense", status=2)
