"""Blocks in alternating order, and what an interval around a median holds."""

import random
import statistics

import pytest

from fastml.learn import timing


def test_an_interval_holds_the_median_as_often_as_it_says():
    generator = random.Random(0)
    held = 0
    for _ in range(2000):
        median, low, high = timing.interval([generator.expovariate(1) for _ in range(15)])
        assert low <= median <= high
        held += low <= 0.6931 <= high
    assert 0.95 <= held / 2000 <= 0.985  # 0.965 by the binomial distribution


@pytest.mark.parametrize(("n", "left_out"), [(5, None), (6, 0), (8, 0), (9, 1), (15, 3), (45, 15)])
def test_the_ends_are_those_of_the_sign_test(n, left_out):
    median, low, high = timing.interval([*range(n)])
    assert median == statistics.median(range(n))
    assert (low, high) == ((left_out, n - 1 - left_out) if left_out is not None else (float("-inf"), float("inf")))


def test_surer_intervals_are_wider():
    values = [*range(20)]
    assert timing.interval(values, 0.5)[1] > timing.interval(values, 0.95)[1] > timing.interval(values, 0.999)[1]
    with pytest.raises(ValueError, match="values must not be empty"):
        timing.interval([])


def test_rounds_alternate_also_where_they_go_on():
    order = []
    blocks = [lambda name=name: order.append(name) or float(ord(name)) for name in "abc"]
    assert timing.alternate(blocks, 3, first=1) == [(97.0, 98.0, 99.0)] * 3
    assert "".join(order) == "cbaabccba"


def test_a_clock_that_a_file_replaces_is_not_looked_at(monkeypatch):
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    assert timing.best([lambda: None], 0.001) > 0


def test_the_best_call_of_a_block_counts_and_the_first_does_not(monkeypatch):
    now = [0.0]
    durations = iter([0.001, 0.001, 5.0, 3.0, 4.0, 6.0])
    calls = []

    def call(name):
        calls.append(name)
        now[0] += next(durations)

    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    assert timing.best([lambda: call("a"), lambda: call("b")], 9.0) == pytest.approx(3.0)
    assert "".join(calls) == "ababab"
