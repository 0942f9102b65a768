"""The short way of plain calls of conv2d: results and errors of the ordinary way, to the bit and to the letter."""

import importlib
import itertools

import numpy as np
import pytest

import fastml
from fastml._registry import BACKENDS

module = importlib.import_module("fastml.ops.conv2d")
random = np.random.default_rng(0)
X, WEIGHT, BIAS = random.normal(size=(2, 4, 9, 8)), random.normal(size=(6, 4, 3, 3)), random.normal(size=6)
F4 = {"x": X.astype("f4"), "weight": WEIGHT.astype("f4"), "bias": BIAS.astype("f4")}
# What is changed of a plain call, and whether it is still plain.
CHANGES = {
    "nothing": ({}, True),
    "no bias": ({"bias": None}, True),
    "float32": (F4, True),
    "float32 bias": ({"bias": F4["bias"]}, False),
    "float32 weight": ({"weight": F4["weight"]}, False),
    "big-endian": ({name: array.astype(">f4") for name, array in F4.items()}, False),
    "big-endian x": ({**F4, "x": F4["x"].astype(">f4")}, False),
    "integers": ({"x": X.astype(int)}, False),
    "Fortran": ({"x": np.asfortranarray(X)}, False),
    "strided": ({"weight": np.repeat(WEIGHT, 2, axis=3)[..., ::2]}, False),
    "lists": ({"weight": WEIGHT.tolist()}, False),
    "matrix of bias": ({"bias": BIAS[np.newaxis]}, False),
    "masked": ({"x": np.ma.array(X)}, False),
    "image": ({"x": X[0]}, False),
    "no images": ({"x": X[:0]}, False),
    "channels": ({"x": X[:, :3].copy()}, False),
    "stride": ({"stride": 2}, True),
    "stride True": ({"stride": True}, False),
    "stride 1.0": ({"stride": 1.0}, False),
    "stride 0": ({"stride": 0}, False),
    "stride pair": ({"stride": (1, 1)}, False),
    "padding": ({"padding": 2}, True),
    "padding same": ({"padding": "same"}, False),
    "padding True": ({"padding": True}, False),
    "dilation": ({"dilation": 2}, True),
    "dilation 9": ({"dilation": 9}, False),
    "groups": ({"weight": WEIGHT[:, :2].copy(), "groups": 2}, True),
    "groups True": ({"groups": True}, False),
    "groups 2": ({"groups": 2}, False),
    "relu": ({"activation": "relu"}, True),
    "gelu": ({"activation": "gelu"}, False),
    "activation list": ({"activation": []}, False),
    "im2col": ({"algorithm": "im2col"}, True),
    "fft": ({"algorithm": "fft"}, False),
    "algorithm list": ({"algorithm": []}, False),
    "residual": ({"residual": random.normal(size=(2, 6, 9, 8))}, False),
    "out": ({"out": np.empty((2, 6, 9, 8))}, False),
    "wrong out": ({"out": np.empty(3)}, False),
    "threads": ({"n_threads": 3}, True),
    "no threads": ({"n_threads": 0}, False),
    "backend": ({"backend": "torch"}, False),
}


@pytest.fixture(autouse=True)
def nothing_remembered():
    module._plans.clear()
    yield
    module._plans.clear()


def outcome(changes):
    try:
        result = fastml.conv2d(**{"x": X, "weight": WEIGHT, "bias": BIAS, "padding": 1, **changes})
    except Exception as error:
        return type(error), str(error)
    return type(result), result.dtype, result.shape, result.tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CHANGES)
def test_the_short_way_changes_nothing(name, backend, monkeypatch):
    with fastml.backend(backend):
        through = [outcome(changes) for changes in ({}, CHANGES[name][0], CHANGES[name][0], {})]
        monkeypatch.setattr(module, "_key", lambda *_: None)
        assert through == [outcome(changes) for changes in ({}, CHANGES[name][0], CHANGES[name][0], {})]


@pytest.mark.parametrize("name", CHANGES)
def test_the_short_way_is_that_of_plain_calls(name):
    changes, plain = CHANGES[name]
    outcome(changes)
    assert len(module._plans) == plain


@pytest.mark.parametrize("first", [name for name, (_, plain) in CHANGES.items() if plain])
def test_no_call_is_taken_for_another(first):
    expected = {}
    for name in CHANGES:
        module._plans.clear()
        expected[name] = outcome(CHANGES[name][0])
    module._plans.clear()
    for name in itertools.chain([first], CHANGES):
        assert outcome(CHANGES[name][0]) == expected[name], name


def test_a_result_is_new_in_each_call():
    results = [fastml.conv2d(X, WEIGHT) for _ in range(3)]
    assert not np.shares_memory(results[1], results[2])


def test_the_short_way_goes_by_the_backend(monkeypatch):
    expected = {}
    for backend in BACKENDS:
        expected[backend] = fastml.conv2d(X, WEIGHT, backend=backend)
    for backend in BACKENDS:
        with fastml.backend(backend):
            assert fastml.conv2d(X, WEIGHT).tobytes() == expected[backend].tobytes()
    assert len(module._plans) == len(BACKENDS)


def test_few_calls_are_remembered(monkeypatch):
    monkeypatch.setattr(module, "MOST_PLANS", 5)
    for h in range(3, 20):
        fastml.conv2d(np.ones((1, 4, h, 4)), WEIGHT)
        assert 1 <= len(module._plans) <= 5
