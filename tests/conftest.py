"""Where Numba is not installed, as it need not be, tests that call its kernels are skipped."""

import importlib.util
from collections.abc import Generator

import pytest

if not importlib.util.find_spec("numba"):

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call() -> Generator[None, None, None]:
        try:
            yield
        except (ModuleNotFoundError, AssertionError) as error:  # the second says what another process said
            if "needs Numba" not in str(error):
                raise
            pytest.skip("needs Numba")
