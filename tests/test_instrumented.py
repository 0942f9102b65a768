"""Each build that is to report mistakes does: a kernel with one is compiled as setup.py compiles the others."""

import os
import shutil
import subprocess
import sys

import pytest

from fastml import _cpu
from tests import instrumented
from tests.instrumented import ROOT, WORDS

KERNELS = """
from cython.parallel cimport prange

def shifted(const double[::1] x, Py_ssize_t by, double[::1] out):
    cdef Py_ssize_t i
    for i in prange(out.shape[0], nogil=True, num_threads=2):
        out[i] = x[i + by]

def doubled(Py_ssize_t n):
    return n + n

def larger_than(const double[::1] x, double least):
    cdef Py_ssize_t i, n = 0
    with nogil:
        for i in range(x.shape[0]):
            if x[i] > least:
                n += 1
    return n
"""
CALLS = """
import numpy as np
from {level} import kernels

def test_kernels():
    x, out = np.ones(1000), np.zeros(990)
    kernels.shifted(x, {by}, out)
    assert out.all()
    assert kernels.doubled({n}) is not None
    assert kernels.larger_than({values}, 2.0) >= 0
"""
SOUND = {"by": "10", "n": "2**62 - 1", "values": "x"}
# What each word is for: the argument that makes a kernel go wrong, and what the report says.
MISTAKES = {
    "asan": ({"by": "11"}, "heap-buffer-overflow"),
    "ubsan": ({"n": "2**62"}, "signed integer overflow"),
    "valgrind": ({"values": "np.empty(1000)"}, "depends on uninitialised value"),
    "checked": ({"by": "11"}, None),  # a test fails
}


def compiled(word, folder):
    """The kernels above, built by setup.py in a tree that has no others."""
    if word == "valgrind" and not shutil.which("valgrind"):
        pytest.skip("needs valgrind")
    core = folder / "src" / "fastml" / "_core"
    core.mkdir(parents=True)
    (core / "kernels.pyx").write_text(KERNELS)
    shutil.copy(ROOT / "setup.py", folder)
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", "built"]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"FASTML_BUILD": word}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "built" / "fastml" / "_core"


@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers of GCC, and LD_PRELOAD")
@pytest.mark.timeout(1200)
@pytest.mark.slow
@pytest.mark.parametrize("word", WORDS)
def test_a_word_reports_its_mistake_and_nothing_else(word, tmp_path):
    package = compiled(word, tmp_path)
    wrong, said = MISTAKES[word]
    test = tmp_path / "test_kernels.py"
    test.write_text(CALLS.format(level=_cpu.isa(), **SOUND))
    outcome = instrumented.run(word, package, [str(test)])
    assert outcome.clean and outcome.tests == 1
    test.write_text(CALLS.format(level=_cpu.isa(), **SOUND | wrong))
    outcome = instrumented.run(word, package, [str(test)])
    assert not outcome.clean and outcome.failed == (said is None or word == "asan")  # which ends the process
    assert any(said in report for report in outcome.reports) if said else not outcome.reports


@pytest.mark.parametrize("errors", [0, 1, 2])
def test_what_is_no_report_is_left_out(errors, tmp_path):
    """The address sanitizer warns where a limit refuses memory, too."""
    warning, report = "==1==WARNING: AddressSanitizer failed to allocate\n", "==1==ERROR: heap\n    #0 in kernel\n"
    (tmp_path / "log.1").write_text(warning + errors * report)
    assert list(instrumented.reports("asan", tmp_path / "log.1")) == errors * [report]
