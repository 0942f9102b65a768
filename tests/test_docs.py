"""What the documentation shows is what happens: examples of docstrings, and those of the README."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import fastml
from fastml import _dispatch, layers, ops

README = Path(__file__).parents[1] / "README.md"
# Every python block, by the heading it stands under; each must run on its own, as that is how a reader takes it.
BLOCKS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```", README.read_text(), re.M | re.S)
MODULES = (
    *(f"fastml.ops.{module.name}" for module in pkgutil.iter_modules(ops.__path__)),
    *(f"fastml.layers.{module.name}" for module in pkgutil.iter_modules(layers.__path__)),
    "fastml._dispatch",
    "fastml._threads",
    "fastml.estimators.incremental_pca",
    "fastml.estimators.pca",
    "fastml.estimators.standard_scaler",
    "fastml.estimators.truncated_svd",
    "fastml.learn.ladders.dispatch",
    "fastml.learn.ladders.gemm",
    "fastml.learn.ladders.pca",
    "fastml.learn.ladders.sum",
    "fastml.learn.ladders.threads",
    "fastml.learn.ladder",
    "fastml.learn.stages",
    "fastml.learn.provenance",
    "fastml.learn.assembly",
    "fastml.learn.counters",
    "fastml.learn.hardware",
    "fastml.learn.exercise",
    "fastml.learn.exercises",
    "fastml.learn.grader",
    "fastml.learn.machine",
    "fastml.learn.roofline",
    "fastml.learn.timing",
)


@pytest.fixture(autouse=True)
def as_a_reader_finds_it(monkeypatch):
    monkeypatch.delenv("FASTML_BACKEND", raising=False)
    _dispatch._environment.cache_clear()  # it was read when a test before this one needed it
    yield
    fastml.set_backend(None)
    fastml.set_num_threads(None)
    _dispatch._environment.cache_clear()


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith("fastml.estimators.") and not importlib.util.find_spec(name):
        pytest.skip(f"{name} is missing")
    failed, attempted = doctest.testmod(importlib.import_module(name))
    assert failed == 0
    assert attempted > 0


def test_every_public_example_is_in_one_of_these_modules():
    assert {getattr(fastml, name).__module__ for name in fastml.__all__} <= set(MODULES)


def test_the_readme_has_a_tour_and_all_its_examples_are_run():
    assert any("tour" in heading for heading, _ in BLOCKS)
    assert len(BLOCKS) == README.read_text().count("```python\n")


@pytest.mark.parametrize("block", [pytest.param(block, id=heading) for heading, block in BLOCKS])
def test_an_example_of_the_readme_runs(block, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {"__name__": "__main__"})


def test_the_readme_names_everything_public():
    table = README.read_text().partition("## What there is")[2].partition("## ")[0]
    returned = {"BatchNormGradients", "Conv2dGradients", "Moments", "PCAResult"}
    assert {name for name in fastml.__all__ if f"`{name}`" not in table} == returned
