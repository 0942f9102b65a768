"""Weights that a layer prepares: once for each rung that wants them, when an image comes that it serves, or at once."""

import copy
import importlib
import pickle
import sys
import threading
import types

import numpy as np
import pytest

import fastml
from fastml import _dispatch
from fastml._registry import RUNGS, Rung

random = np.random.default_rng(0)
WEIGHT, BIAS = random.normal(size=(5, 3, 3, 3)), random.normal(size=5)
SMALL, LARGE = random.normal(size=(2, 3, 6, 7)), random.normal(size=(2, 3, 40, 41))
NEEDS = {
    "large maps, prepared": lambda problem: problem.x.shape[2] > 20 and problem.prepared.size > 0,
    "wide maps, prepared": lambda problem: problem.x.shape[3] > 60 and problem.prepared.size > 0,
}
FAKES = (
    Rung("conv2d", "cython", "doubled", "weights times two", "fastml_fake:doubled", ships=True,
         needs="large maps, prepared", prepares="fastml_fake:double"),
    Rung("conv2d", "cython", "doubled_wide", "the same weights", "fastml_fake:doubled", ships=True,
         needs="wide maps, prepared", prepares="fastml_fake:double"),
)  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Two rungs that want weights doubled, and what was called: ("prepare", threads), ("kernel", size of prepared)."""
    seen = []
    kernel = _dispatch.load(_dispatch.named("conv2d", "cython", "im2col"))

    def double(weight, groups, n_threads):
        assert weight.dtype == np.float64 and not weight.flags.writeable and groups == 1
        seen.append(("prepare", n_threads))
        return 2 * weight.ravel()

    def doubled(x, weight, prepared, *arguments):
        assert weight.shape == WEIGHT.shape and prepared.size in (0, WEIGHT.size)
        seen.append(("kernel", prepared.size))
        kernel(x, prepared.reshape(weight.shape) / 2 if prepared.size else weight, prepared[:0], *arguments)

    fake = types.ModuleType("fastml_fake")
    fake.double, fake.doubled = double, doubled
    monkeypatch.setitem(sys.modules, "fastml_fake", fake)
    monkeypatch.setattr(_dispatch, "RUNGS", RUNGS + FAKES)
    monkeypatch.setattr(_dispatch, "NEEDS", {**_dispatch.NEEDS, **NEEDS})
    caches = (_dispatch._shipping, _dispatch.load, _dispatch.preparation)
    plans = importlib.import_module("fastml.ops.conv2d")._plans
    for forget in (*(function.cache_clear for function in caches), plans.clear):
        forget()
    yield seen
    for forget in (*(function.cache_clear for function in caches), plans.clear):
        forget()


def layer_of(**options):
    return fastml.Conv2d(WEIGHT, BIAS, **{"padding": 1, "backend": "cython", **options})


def expected(x):
    return fastml.conv2d(x, WEIGHT, BIAS, padding=1, backend="cython", algorithm="im2col").tobytes()


def test_weights_are_prepared_once_when_an_image_comes(calls):
    layer = layer_of()
    assert calls == [] and layer.prepared_bytes == 0 and layer.algorithm is None
    for _ in range(2):
        assert layer(LARGE, n_threads=3).tobytes() == expected(LARGE)
    assert layer(LARGE[0]).tobytes() == expected(LARGE[0])
    assert layer(LARGE[:, :, 1:], np.empty((2, 5, 39, 41))).tobytes() == expected(LARGE[:, :, 1:])
    assert calls == [("prepare", 3), *[("kernel", WEIGHT.size)] * 4]
    assert layer.prepared_bytes == WEIGHT.nbytes and layer.algorithm == "doubled"


def test_little_work_is_prepared_on_one_thread(calls):
    layer_of(input_size=(40, 41))
    assert calls == [("prepare", 1)]


def test_images_of_another_kind_are_served_without(calls):
    layer = layer_of()
    for _ in range(2):
        assert layer(SMALL).tobytes() == fastml.conv2d(SMALL, WEIGHT, BIAS, padding=1, backend="cython").tobytes()
    assert calls == [] and layer.algorithm == "direct"
    panels = layer.prepared_bytes
    assert layer(LARGE).tobytes() == expected(LARGE)
    assert layer.prepared_bytes == panels + WEIGHT.nbytes
    assert layer.algorithm == "direct"  # that of the first image


def test_with_the_size_given_they_are_prepared_at_once(calls):
    layer = layer_of(input_size=(40, 41))
    assert len(calls) == 1 and layer.prepared_bytes == WEIGHT.nbytes and layer.algorithm == "doubled"
    assert layer(LARGE).tobytes() == expected(LARGE)
    assert len(calls) == 2
    assert layer_of(input_size=6).algorithm == "direct"


def test_rungs_that_want_the_same_share_it(calls):
    layer, wide = layer_of(), random.normal(size=(1, 3, 21, 64))
    layer(LARGE)
    assert layer(wide).tobytes() == expected(wide)
    assert [name for name, _ in calls] == ["prepare", "kernel", "kernel"]
    assert layer.prepared_bytes == WEIGHT.nbytes


def test_prepared_weights_cannot_be_written(calls):
    layer = layer_of(input_size=40)
    assert all(not prepared.flags.writeable for prepared in layer._prepared.values())


def test_another_backend_has_its_own(calls):
    layer = layer_of(backend=None)
    with fastml.backend("numpy"):
        np.testing.assert_allclose(layer(LARGE), np.frombuffer(expected(LARGE)).reshape(2, 5, 40, 41), atol=1e-13)
    assert calls == [] and layer.prepared_bytes == 0


def test_conv2d_is_not_prepared(calls):
    fastml.conv2d(LARGE, WEIGHT, BIAS, padding=1, backend="cython")
    assert calls == []
    with pytest.raises(ValueError, match=r"^algorithm 'doubled' needs large maps, prepared, which this problem"):
        fastml.conv2d(LARGE, WEIGHT, BIAS, padding=1, backend="cython", algorithm="doubled")


def test_a_rung_that_prepares_can_be_forced(calls):
    layer = layer_of(algorithm="doubled")
    layer(LARGE)
    assert layer.algorithm == "doubled" and calls[-1] == ("kernel", WEIGHT.size)
    with pytest.raises(ValueError, match=r"^algorithm 'doubled' needs large maps, prepared"):
        layer(SMALL)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_prepares_again(calls, again):
    layer = layer_of()
    layer(LARGE)
    other = again(layer)
    assert other.prepared_bytes == 0 and other.algorithm is None
    assert other(LARGE).tobytes() == expected(LARGE)
    assert [name for name, _ in calls] == ["prepare", "kernel"] * 2
    eager = again(layer_of(input_size=(40, 41)))
    assert eager.prepared_bytes == WEIGHT.nbytes and eager.algorithm == "doubled"


def test_threads_that_race_prepare_the_same(calls):
    layer, gate, wrong = layer_of(), threading.Barrier(8), []

    def call():
        gate.wait()
        for i in range(10):
            x = LARGE[:, :, : 41 - i]
            if layer(x).tobytes() != expected(x) or layer.prepared_bytes != WEIGHT.nbytes:
                wrong.append(i)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(layer._prepared) == 1
