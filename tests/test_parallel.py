"""`make parallel` runs a test in several threads at once, but for those that its list names."""

import subprocess

import pytest

from tests import kept, parallel

UNSAFE = """
import time, {module}
seen = []
def test_that_is_alone():
    {call}
    seen.append(None)
    time.sleep(0.2)
    assert len(seen) == 1
"""
CALLS = {"time": ("time.time()", False), "tracemalloc": ("tracemalloc.start()", True)}


@pytest.mark.parametrize("module", CALLS)
def test_a_test_that_shares_what_it_writes_fails_unless_it_is_listed(module, tmp_path):
    pytest.importorskip("pytest_run_parallel")
    call, passes = CALLS[module]
    path = tmp_path / "test_unsafe.py"
    path.write_text(UNSAFE.format(module=module, call=call))
    done = subprocess.run(parallel.command([str(path)]), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("assert 4 == 1" in done.stdout) != passes


def test_the_files_are_there():
    names = parallel.command([])[-len(parallel.FILES) :]
    assert len(names) > 15 and all((kept.ROOT / name).exists() for name in names)
