"""Plain `pytest` runs each bench once, as a test; `pytest --benchmark-only` times them."""

import importlib.metadata
import importlib.util
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Any) -> None:
    if not config.getoption("benchmark_only", False):
        config.option.benchmark_disable = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "benchmark" in getattr(item, "fixturenames", ()):
            # short rounds, so that all of it takes minutes; `fastml versus` is for close calls
            item.add_marker(pytest.mark.benchmark(min_rounds=3, max_time=0.15, min_time=2e-5, warmup=False))


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Versions go into the benchmark file, so that a table can say what it compares."""
    import fastml

    found = fastml.configuration()
    machine_info["fastml"] = {"fastml": found["fastml"], **found["versions"]}
    for package, module in (("torch", "torch"), ("onnxruntime", "onnxruntime"), ("scikit-learn-intelex", "sklearnex")):
        if importlib.util.find_spec(module):
            machine_info["fastml"][package] = importlib.metadata.version(package)
