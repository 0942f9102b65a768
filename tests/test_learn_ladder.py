"""`fastml.learn.ladder`: every rung of every operation is checked, forced, and timed against the one before it."""

import numpy as np
import pytest

import fastml
from fastml import _dispatch
from fastml._registry import OPS
from fastml.learn import ladder, versus

SMALL = {"moments": "100x20", "max_pool2d": "1x8x8x8", "conv2d": "1x8x8x8", "batch_norm": "1x8x8x8, training"}


@pytest.fixture
def quick(monkeypatch):
    """Blocks that take no time; every rung is twice as fast as the one timed before it."""
    seconds = iter(2.0**-i for i in range(1000))

    def block(call):
        call()
        return next(seconds)

    monkeypatch.setattr(ladder, "block", block)
    monkeypatch.setattr(ladder, "least_seconds", lambda *_: 0.125)


def test_every_operation_has_a_case_that_is_shown():
    assert set(ladder.SHOWN) == set(OPS)
    for op in OPS:
        (case,) = ladder.cases_of(op)
        assert case.name == ladder.SHOWN[op]


@pytest.mark.parametrize(
    ("op", "part", "message"),
    [
        ("nonsense", "", "there is no ladder of 'nonsense'; there are moments"),
        ("pca", "1x1", "no case with '1x1'.*digits"),
    ],
)
def test_what_does_not_exist_is_refused(op, part, message):
    with pytest.raises(ValueError, match=message):
        ladder.cases_of(op, part)


@pytest.mark.parametrize("op", SMALL)
def test_a_ladder_has_a_row_for_every_rung(op, quick):
    (case,) = ladder.cases_of(op, SMALL[op])
    steps = []
    rows = ladder.measure(op, case, 1, lambda items: steps.extend(items) or items)
    rungs = _dispatch.rungs(op)
    assert [(row["backend"], row["rung"], row["idea"]) for row in rows] == [(r.backend, r.name, r.idea) for r in rungs]
    assert len(steps) == len(rungs) + 1
    for rung, row in zip(rungs, rows, strict=True):
        serves = _dispatch.serves(rung, ladder._problem(op, case))
        assert ("seconds" in row) is serves is (row["note"] == "")
        if serves:
            assert row["error"] < 2e-5
            assert row["share"] == 0.125 / row["seconds"]
            assert row["rate"] * row["seconds"] == row["flops" if row["unit"] == "FLOP/s" else "bytes"]
    for backend in ("numpy", "numba", "cython"):
        timed = [row for row in rows if row["backend"] == backend and "seconds" in row]
        assert "gain" not in timed[0] and all(row["gain"] == 2 for row in timed[1:])
        assert sum(row["ships"] for row in rows if row["backend"] == backend) == 1
        assert next(row["rung"] for row in rows if row["ships"] and row["backend"] == backend) in (
            fastml.explain(op, *case.arguments("float32")[0], **case.options, backend=backend)
        )


def test_what_takes_minutes_is_checked_on_a_smaller_case(quick, monkeypatch):
    monkeypatch.setattr(ladder, "MOST_INTERPRETED", 5e4)
    (case,) = ladder.cases_of("moments", "breast_cancer")
    rows = ladder.measure("moments", case, 1)
    assert rows[0]["note"] == "interpreted: takes minutes here; checked on 100x20"
    assert "seconds" not in rows[0] and rows[0]["error"] < 1e-6
    monkeypatch.setattr(ladder, "MOST_INTERPRETED", 1)
    assert ladder.measure("moments", case, 1)[0]["note"] == "interpreted: takes minutes here"


def test_a_wrong_rung_is_not_timed(quick, monkeypatch):
    monkeypatch.setattr(ladder, "error", lambda *_: np.nan)
    (case,) = ladder.cases_of("moments", "100x20")
    with pytest.raises(ArithmeticError, match="moments numpy loops is wrong by nan on 100x20"):
        ladder.measure("moments", case, 1)


def test_without_numba_its_rungs_are_left_out(quick, monkeypatch):
    found = fastml.configuration()
    monkeypatch.setattr(ladder.fastml, "configuration", lambda: {**found, "backends": ["cython", "numpy"]})
    (case,) = ladder.cases_of("max_pool2d", "1x8x8x8")
    notes = {row["note"] for row in ladder.measure("max_pool2d", case, 1) if row["backend"] == "numba"}
    assert notes == {"Numba is not installed"}


@pytest.mark.parametrize("rung", _dispatch.rungs("max_pool2d"), ids=lambda rung: f"{rung.backend}-{rung.name}")
def test_a_forced_rung_runs_and_no_longer_than_that(rung, monkeypatch):
    ran, load = [], _dispatch.load
    monkeypatch.setattr(_dispatch, "load", lambda one: lambda *args: (ran.append(one), load(one)(*args)))
    _dispatch._forget_shipping()
    x = np.random.default_rng(0).normal(size=(1, 3, 9, 9))
    with _dispatch.forced(rung):
        result = fastml.max_pool2d(x, 3, 2, backend=rung.backend)
    shipped = fastml.max_pool2d(x, 3, 2, backend=rung.backend)
    _dispatch._forget_shipping()
    assert ran[0] == rung and ran[1].ships and len(ran) == 2
    np.testing.assert_array_equal(result, shipped)


def test_pairs_are_of_installed_peers_and_of_what_was_asked_for():
    pairs = versus.pairs(["max_pool2d"], "1x8x8x8", wanted=["fastml numba", "NumPy"])
    assert [(case.name, dtype, peer) for case, dtype, peer in pairs] == [
        ("1x8x8x8, k2 s2", "float32", "fastml numba"), ("1x8x8x8, k2 s2", "float32", "NumPy"),
    ]  # fmt: skip
    every = versus.pairs()
    assert {case.op for case, _, _ in every} >= {"conv2d", "moments"} and len(every) > 100
    assert not any(peer.startswith("fastml") for _, _, peer in every)
    assert {dtype for _, dtype, _ in versus.pairs(["pca"], dtypes=["float64"])} == {"float64"}
    for wrong in ({"ops": ["nonsense"]}, {"dtypes": ["nonsense"]}):
        with pytest.raises(ValueError, match="there is no 'nonsense'; operations are"):
            versus.pairs(**wrong)


def test_losses_are_those_below_one_from_the_worst_on():
    rows = [{"ratio": ratio} for ratio in (2, 0.9, 1, 0.5)]
    assert [row["ratio"] for row in versus.losses(rows)] == [0.5, 0.9]
