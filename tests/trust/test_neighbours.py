"""What is measured of neighbours is noticed: other bits, other threads, a crash."""

import sys

import pytest

import fastml
from fastml._core.baseline import _system
from tests.trust import neighbours
from tests.trust.isolated import Died
from tests.trust.work import arrays, calls

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def idle():
    """A neighbour's call."""


@pytest.mark.skipif(not _system.has_openmp(), reason="built without OpenMP")
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_are_counted_that_work_or_have_worked_before(n_threads):
    calls(arrays(), n_threads=4)["conv2d"]()
    assert neighbours.at_work(calls(arrays(), n_threads=n_threads)["conv2d"]) == n_threads


def test_other_bits_are_noticed(monkeypatch):
    alone = {"conv2d": "some", "pca": "same"}
    monkeypatch.setattr(neighbours, "digests", lambda: {"conv2d": "other", "pca": "same"})
    runs = {"fastml": idle, "numba": idle}
    assert neighbours.other_bits(runs, alone) == ["conv2d after numba", "conv2d during numba"]
    assert neighbours.other_bits({"fastml": idle}, alone) == []


def test_what_a_neighbour_raises_meanwhile_is_not_lost(monkeypatch):
    def fail():
        answers.append(None)
        if len(answers) > 1:
            raise LookupError

    answers = []
    monkeypatch.setattr(neighbours, "digests", dict)
    with pytest.raises(LookupError):
        neighbours.other_bits({"numba": fail}, {})


@pytest.mark.skipif(not _system.has_openmp(), reason="built without OpenMP")
def test_other_threads_are_noticed(monkeypatch):
    default = fastml.get_num_threads()
    fewer = {"conv2d": calls(arrays(), n_threads=1)["conv2d"]}
    monkeypatch.setattr("tests.trust.work.calls", lambda given: fewer)
    found = ["(1, 2) threads of 2 after numba", "(1, 3) threads of 3 after numba"]
    assert neighbours.other_threads({"numba": idle}) == found
    more = {"conv2d": calls(arrays(), n_threads=3)["conv2d"]}
    monkeypatch.setattr("tests.trust.work.calls", lambda given: more)
    found = ["(3, 2) threads of 2 after numba", "(3, 1) threads, limited to 1, after numba"]
    assert neighbours.other_threads({"numba": idle}) == found
    assert fastml.get_num_threads() == default


def test_each_order_that_fails_is_counted(monkeypatch):
    results = [Died("hangs"), {"bits": [], "threads": ["3 of 2"]}]
    loaded = {"fastml": ["a", "b"], "numba": []}
    monkeypatch.setattr(neighbours, "LIBRARIES", dict.fromkeys(loaded))
    monkeypatch.setattr(neighbours.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(neighbours, "outcomes", lambda function, asked, seconds: results)
    monkeypatch.setattr(neighbours, "call", lambda function, *library: loaded[library[0]] if library else 2)
    figures = list(neighbours.orders(False))
    assert [figure.value for figure in figures] == [1, 2, 2, 2]
    assert not any(figure.reached for figure in figures)
    assert figures[1].what.endswith("; fastml numba: hangs; numba fastml: 3 of 2")
    assert figures[2].peers == {"fastml": "a, b", "numba": "none"}
