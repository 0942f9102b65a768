"""Which rung runs: those that are forced, what is loaded of them, and what is missing."""

import sys
from dataclasses import replace

import numpy as np
import pytest

import fastml
from fastml import _cpu, _dispatch, _validate
from fastml._registry import RUNGS


def test_a_forced_rung_serves_all_and_no_longer_than_that():
    first = next(rung for rung in RUNGS if rung.op == "conv2d" and rung.name == "first" and rung.backend == "cython")
    assert first.needs or first.pays
    problem = _validate.conv2d(np.ones((1, 64, 4, 4)), np.ones((1, 64, 3, 3)))[0]
    assert not _dispatch.suits(first, problem)
    usual = _dispatch.kernel("conv2d", problem, "cython")
    with pytest.raises(InterruptedError), _dispatch.forced(first):
        assert _dispatch.kernel("conv2d", problem, "cython") is _dispatch.load(first) is not usual
        assert _dispatch.kernel("conv2d", problem, "numpy") is not _dispatch.load(first)
        raise InterruptedError
    assert _dispatch.kernel("conv2d", problem, "cython") is usual


def test_a_forced_rung_is_not_asked_whether_it_serves():
    winograd = next(rung for rung in _dispatch.rungs("conv2d", "cython") if rung.name == "winograd")
    problem = _validate.conv2d(np.ones((1, 2, 9, 9)), np.ones((1, 2, 5, 5)))[0]
    assert not _dispatch.serves(winograd, problem)
    with _dispatch.forced(winograd):
        assert _dispatch.kernel("conv2d", problem, "cython") is _dispatch.load(winograd)


def test_no_rung_is_looked_at_behind_the_one_that_serves_all(monkeypatch):
    loops, rows, *_ = _dispatch.rungs("standardize", "cython")
    loops, rows = (replace(rung, ships=True, needs="", pays="") for rung in (loops, rows))
    needs, pays = (next(getattr(rung, name) for rung in RUNGS if getattr(rung, name)) for name in ("needs", "pays"))
    ladder = [loops, rows, replace(loops, pays=pays), replace(loops, needs=needs)]
    monkeypatch.setattr(_dispatch, "RUNGS", ladder)
    _dispatch._forget_shipping()
    try:
        assert [rung for rung, _ in _dispatch._shipping("standardize", "cython")] == ladder[:0:-1]
        assert _dispatch.common_kernel("standardize", "f", "cython") is _dispatch.of_type(_dispatch.load(rows), "f")
    finally:
        _dispatch._forget_shipping()


def test_the_common_kernel_is_forced_too():
    rows = next(rung for rung in _dispatch.rungs("standardize", "numpy") if not rung.ships)
    usual = _dispatch.common_kernel("standardize", "f", "numpy")
    with _dispatch.forced(rows):
        assert _dispatch.common_kernel("standardize", "f", "numpy") is _dispatch.load(rows) is not usual
    assert _dispatch.common_kernel("standardize", "f", "numpy") is usual


def test_another_missing_module_is_no_missing_backend():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'fastml._ref.nonsense'$"):
        _dispatch.load(replace(RUNGS[0], kernel="fastml._ref.nonsense:loops"))


def test_a_missing_backend_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ModuleNotFoundError, match=r"^backend 'numba' needs Numba: pip install") as caught:
        _dispatch._imported("numba:loops")
    assert caught.value.name == "numba"


def test_what_lays_weights_out():
    for rung in RUNGS:
        prepares = _dispatch.preparation(rung)
        assert (prepares is None) == (not rung.prepares)
        if prepares is not None:
            assert f"{prepares.__module__}:{prepares.__name__}" == _dispatch.here(rung.prepares)
            assert f"fastml._core.{_cpu.isa()}." in prepares.__module__


def test_kernels_of_one_dtype():
    ships = [rung for rung in _dispatch.rungs("standardize", "cython") if rung.ships]
    kernel = _dispatch.load([rung for rung in ships if not (rung.needs or rung.pays)][-1])
    for char, name in (("f", "float"), ("d", "double")):
        version = _dispatch.of_type(kernel, char)
        assert version is kernel.__signatures__[name] is not kernel
        assert _dispatch.common_kernel("standardize", char, "cython") is version


def test_names_are_those_of_the_backend_in_force():
    assert _dispatch.current_backend() == "cython" and _dispatch.named("conv2d") is None
    assert _dispatch.named("conv2d", None, "rows").backend == "cython"
    with fastml.backend("numpy"), pytest.raises(ValueError, match=r"^algorithm must be 'auto' or one of loops, im2col"):
        _dispatch.named("conv2d", None, "rows")
