"""The steps of fastml.learn.ladders.dispatch, and what docs/ladder/dispatch.md says of levels and other processors."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastml
from fastml import _cpu
from fastml._core.baseline import _system
from fastml.learn.ladders import dispatch

EVERY_STEP = pytest.mark.parametrize("step", dispatch.STEPS, ids=lambda step: step.__name__)
SHAPES = ((1, 1), (1, 20), (3, 7), (257, 33), (1001, 13), (2500, 101))  # vectors that are not full; more than a task


def arguments(rows, columns):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((rows, columns), np.float32) + np.float32(1e4)
    return x, rng.normal(1e4, 1, columns), rng.uniform(1, 2, columns)


@EVERY_STEP
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_right(step, shape):
    x, mean, scale = arguments(*shape)
    expected = dispatch.expected(x, mean, scale)
    before = x.copy()
    result = step(x, mean, scale)
    assert result.dtype == np.float32 and result.shape == shape and not np.shares_memory(result, x)
    np.testing.assert_allclose(result, expected, rtol=2.0**-24 + 2.0**-50)  # one rounding, and those of float64
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_level_gives_the_same_bits_for_any_number_of_threads_and_through_the_front_door(shape):
    problem = arguments(*shape)
    expected = dispatch.best(*problem)
    for n_threads in (1, 2, 7):
        fastml.set_num_threads(n_threads)
        try:
            for step in (dispatch.threads, dispatch.called):
                assert step(*problem).tobytes() == expected.tobytes()
        finally:
            fastml.set_num_threads(None)


def test_each_step_runs_the_level_and_the_threads_that_it_says(monkeypatch):
    calls = []
    monkeypatch.setattr(dispatch, "kernel", lambda level: lambda *a: calls.append((level, a[-1])))
    for step in dispatch.STEPS[:3]:
        step(*arguments(3, 7))
    assert calls == [("baseline", 1), (_cpu.isa(), 1), (_cpu.isa(), fastml.get_num_threads())]


def test_a_kernel_is_that_of_its_level():
    for level in ("baseline", _cpu.isa()):
        kernel = dispatch.kernel(level)
        assert kernel is sys.modules[f"fastml._core.{level}.standardize"].rows["float"]


def test_cases_are_those_that_the_page_is_about():
    assert list(dispatch.CASES) == ["1000x50", "1x20", "100x50", "10000x50", "1000000x50"]
    x, mean, scale = dispatch.CASES["100x50"]()
    assert x.shape == (100, 50) and mean.shape == scale.shape == (50,) and x.dtype == np.float32
    assert dispatch.work(x, mean, scale) == (4 * 5000 + 16 * 50, 4 * 5000, 2 * 5000)


def code_of(level):
    (file,) = (Path(_system.__file__).parents[1] / level).glob("standardize.*.so")
    command = ["objdump", "--disassemble", "--no-show-raw-insn", str(file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(not shutil.which("objdump"), reason="needs objdump")
@pytest.mark.skipif("v3" not in _cpu._usable(), reason="needs a processor with AVX2, and code for it")
def test_only_the_better_level_has_registers_of_32_bytes():
    assert "%xmm" in code_of("baseline") and "%ymm" not in code_of("baseline")
    assert "%ymm" in code_of("v3")


QEMU = shutil.which("qemu-x86_64")
CALL = """if True:
    import importlib, sys, numpy as np
    print("before", flush=True)
    rows = importlib.import_module("fastml._core.LEVEL.standardize").rows
    out = np.empty((2, 3))
    rows(np.ones((2, 3)), 0, np.zeros(3), np.ones(3), out, 1)
    print(out.sum(), flush=True)"""


def emulated(processor, code, **environment):
    command = [QEMU, "-cpu", processor, sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.skipif(not QEMU or platform.machine() != "x86_64", reason="needs qemu-x86_64")
def test_a_processor_without_avx2_runs_the_baseline_and_dies_of_the_better_level():
    right = emulated("Nehalem", CALL.replace("LEVEL", "baseline"))
    assert right.stdout.split() == ["before", "6.0"]
    dies = emulated("Nehalem", CALL.replace("LEVEL", "v3"))
    assert dies.stdout.split() == ["before"] and "Illegal instruction" in dies.stderr
    chosen = emulated("Nehalem", "from fastml import _cpu; print(_cpu.isa())")
    assert chosen.stdout.split() == ["baseline"]
    refused = emulated("Nehalem", "from fastml import _cpu; _cpu.isa()", FASTML_ISA="v3")
    assert "FASTML_ISA is 'v3', which this processor or build does not have" in refused.stderr
