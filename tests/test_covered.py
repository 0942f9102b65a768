"""What tests never ran is found, and the figures count it."""

import json
import subprocess
import sys

import pytest

from fastml import _cpu
from tests import covered
from tests.test_instrumented import KERNELS, compiled

FILES = {"ops/pca.py": {"all": 8, "run": 6}, "_ref/pca.py": {"all": 4, "run": 1}}


def line(text):
    """Its number in the kernels."""
    return KERNELS.splitlines().index(text) + 1


@pytest.mark.skipif(sys.platform != "linux", reason="gcov, of GCC")
@pytest.mark.timeout(1200)
@pytest.mark.slow
def test_lines_of_kernels_that_never_ran_are_found(tmp_path):
    compiled("coverage", tmp_path)
    loop = {line("        out[i] = x[i + by]"), line("    for i in prange(out.shape[0], nogil=True, num_threads=2):")}
    level = f"import numpy as np; from built.fastml._core.{_cpu.isa()} import kernels; "
    for call, missing in {
        "kernels.larger_than(np.ones(9), 2.0)": {line("                n += 1"), line("    return n + n")},
        "kernels.larger_than(np.ones(9), 0.5)": {line("    return n + n")},
        "kernels.doubled(3)": set(),
    }.items():
        subprocess.run([sys.executable, "-c", level + call], cwd=tmp_path, check=True)
        found = covered.kernels(tmp_path)["kernels.pyx"]
        assert set(found["missing"]) == missing | loop
        assert found["all"] == found["run"] + len(found["missing"])


def test_figures_of_what_was_kept(tmp_path):
    kept = tmp_path / "kept.json"
    assert [figure.reached for figure, _ in covered.figures(kept)] == [False] * 3
    origin = {"date": "2026-01-02", "commit": "abc1234"}
    kept.write_text(json.dumps({"python": FILES, "kernels": {"a.pyx": {"all": 100, "run": 96}}, **origin}))
    found = [figure for figure, command in covered.figures(kept) if command == "make coverage"]
    assert [figure.value for figure in found] == [75, 25, 96]
    assert [figure.reached for figure in found] == [False, False, True]
    assert "of 100 (2026-01-02, abc1234)" in found[2].what


def test_origins_of_generated_lines(tmp_path):
    generated = tmp_path / "a.c"
    marks = ["x;", '  /* "src/fastml/_core/a.pyx":12', " * text", "x;", '/* "View.MemoryView":3', "x;",
             '/* "fastml/_core/_b.pxd":1', "x;", "  /* function exit code */", "x;"]  # fmt: skip
    generated.write_text("\n".join(marks))
    a, b = ("a.pyx", 12), ("_b.pxd", 1)
    assert [*covered.origins(generated)] == [None, a, a, a, None, None, b, b, None, None]
