"""What the documentation shows is what happens: examples of docstrings, and the tour of the README."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import fastml
from fastml import ops

README = Path(__file__).parents[1] / "README.md"
MODULES = (
    *(f"fastml.ops.{module.name}" for module in pkgutil.iter_modules(ops.__path__)),
    "fastml._dispatch",
    "fastml._threads",
    "fastml.estimators.pca",
    "fastml.estimators.standard_scaler",
)


@pytest.fixture(autouse=True)
def as_a_reader_finds_it(monkeypatch):
    monkeypatch.delenv("FASTML_BACKEND", raising=False)
    yield
    fastml.set_backend(None)
    fastml.set_num_threads(None)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith("fastml.estimators.") and not importlib.util.find_spec(name):
        pytest.skip(f"{name} is missing")
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert attempted > 0


def test_every_public_example_is_in_one_of_these_modules():
    assert {getattr(fastml, name).__module__ for name in fastml.__all__} <= set(MODULES)


def test_the_tour_of_the_readme_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = re.search(r"^#+[^\n]*\btour\b.*?^```python\n(.*?)^```", README.read_text(), re.M | re.S | re.I)
    assert found, "README.md has no python block under a heading with the word tour"
    exec(compile(found[1], "README.md", "exec"), {"__name__": "__main__"})
