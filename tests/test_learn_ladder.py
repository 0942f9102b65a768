"""`fastml.learn.ladder`, `stages`: every rung is checked, forced, and timed against the one before it."""

import types

import numpy as np
import pytest

import fastml
from fastml import _dispatch
from fastml._registry import OPS
from fastml.learn import cases, ladder, provenance, stages, versus

SMALL = {"moments": "100x20", "max_pool2d": "1x8x8x8", "conv2d": "1x8x8x8", "batch_norm": "1x8x8x8, training"}


@pytest.fixture
def quick(monkeypatch):
    """Blocks that take no time; every rung is twice as fast as the one timed before it."""
    seconds = iter(2.0**-i for i in range(1000))

    def block(call):
        call()
        return next(seconds)

    monkeypatch.setattr(ladder, "block", block)
    monkeypatch.setattr(stages.harness, "least_seconds", lambda *_: 0.125)


def case_of(shown):
    return next(case for case in cases.BENCH if (case.op, case.name) == (shown.op, shown.case))


def test_every_operation_has_a_ladder_and_a_first_case():
    assert set(stages.LADDERS) == set(OPS) <= set(stages.names())
    for op in OPS:
        (shown,) = stages.find(op)
        assert shown is stages.LADDERS[op][0] and shown.rungs == {}
        assert all(stages.DTYPE in case_of(one).dtypes for one in stages.LADDERS[op])
        every = [(one.op, one.case) for one in stages.every(op)]
        assert len(every) == len(set(every))


@pytest.mark.parametrize(
    ("op", "part", "message"),
    [
        ("nonsense", "", "there is no ladder of 'nonsense'; there are .*moments"),
        ("pca", "1x1,", "no case with '1x1,'.*5000x784"),
    ],
)
def test_what_does_not_exist_is_refused(op, part, message):
    with pytest.raises(ValueError, match=message):
        stages.find(op, part)
    with pytest.raises(ValueError, match="no rung 'numpy nonsense'; there are numpy loops, "):
        ladder.measure("max_pool2d", stages.find("max_pool2d", "1x8x8x8")[0], only=["numpy nonsense"])


@pytest.mark.parametrize("op", OPS)
def test_every_rung_of_an_operation_is_timed_on_some_case(op):
    seen = set()
    for shown in stages.LADDERS[op]:
        if shown.op == stages.TIMED.get(op, op):  # the others are of whole algorithms
            entries = stages.stage(op, shown).entries
            seen |= {(one.backend, one.name) for one in entries if not one.why_not.startswith("needs")}
            assert [entry.backend for entry in entries if entry.ships].count("cython") == 1
    assert {(rung.backend, rung.name) for rung in _dispatch.rungs(op)} - seen == set()


def test_algorithms_are_timed_beside_what_users_get():
    (shown,) = [one for one in stages.LADDERS["pca"] if one.case == "random 500x5000 to 20"]
    entries = stages.stage("pca", shown).entries
    steps = ["full_svd", "covariance_eigh", "dual", "qr_svd", "randomized"]
    assert [entry.name for entry in entries] == [*steps, "cython"]
    assert [entry.ships for entry in entries] == [False] * 5 + [True]
    assert all(provenance.kernel_hash(entry.kernel) for entry in entries)


@pytest.mark.parametrize("op", SMALL)
def test_a_ladder_has_a_row_for_every_rung(op, quick):
    (shown,) = stages.find(op, SMALL[op])
    steps = []
    rows = ladder.measure(op, shown, 1, lambda items: steps.extend(items) or items)
    rungs, case = _dispatch.rungs(op), case_of(shown)
    assert [(row["backend"], row["rung"], row["idea"]) for row in rows] == [(r.backend, r.name, r.idea) for r in rungs]
    assert len(steps) == len(rungs) + 1
    for rung, row in zip(rungs, rows, strict=True):
        serves = _dispatch.serves(rung, stages._problem(op, case))
        assert ("seconds" in row) is serves is (row["note"] == "")
        assert row["kernel"] == rung.kernel and len(row["hash"]) == 12
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
    monkeypatch.setattr(stages, "MOST_INTERPRETED", 5e4)
    shown = stages.Shown("moments", "breast_cancer 569x30")
    rows = ladder.measure("moments", shown, 1)
    assert rows[0]["note"] == "interpreted: takes minutes here; checked on 100x20"
    assert "seconds" not in rows[0] and rows[0]["error"] < 1e-6
    monkeypatch.setattr(stages, "MOST_INTERPRETED", 1)
    rows = ladder.measure("moments", shown, 1)
    assert rows[0]["note"] == "interpreted: takes minutes here" and "error" not in rows[0]


def test_a_wrong_rung_is_not_timed(quick, monkeypatch):
    monkeypatch.setattr(stages.harness, "error", lambda *_: np.nan)
    (shown,) = stages.find("moments", "100x20")
    with pytest.raises(ArithmeticError, match="moments numpy loops is wrong by nan on 100x20"):
        ladder.measure("moments", shown, 1)
    row, *_ = ladder.measure("moments", shown, 1, only=["cython unshifted"])  # it is there to fail
    assert row["note"] == "wrong" and "seconds" not in row


def test_without_numba_its_rungs_are_left_out(quick, monkeypatch):
    found = fastml.configuration()
    monkeypatch.setattr(stages.fastml, "configuration", lambda: {**found, "backends": ["cython", "numpy"]})
    (shown,) = stages.find("max_pool2d", "1x8x8x8")
    notes = {row["note"] for row in ladder.measure("max_pool2d", shown, 1) if row["backend"] == "numba"}
    assert notes == {"Numba is not installed"}


def double(x):
    """twice the values

    And more, which is not the idea."""
    return 2 * x


def wrong(x):
    """nothing at all"""
    return 0 * x


STEPS = types.SimpleNamespace(
    __name__="steps", STEPS=(double, wrong), CASES={"three": lambda: (np.arange(3.0),), "ten": lambda: (np.ones(10),)},
    expected=lambda x: x + x, work=lambda x: (x.nbytes, x.nbytes, x.size), FAILS={"wrong": "forgets x"},
    SKIP={("wrong", "ten"): "not here"},
)  # fmt: skip


def test_a_ladder_of_steps_runs_like_that_of_an_operation(quick, monkeypatch):
    monkeypatch.setattr(stages, "_modules_of_steps", lambda: ("doubles",))
    monkeypatch.setattr(stages, "_steps", lambda name: STEPS)
    assert [shown.case for shown in stages.chapter("doubles")] == ["three", "ten"]
    first, second = ladder.measure("doubles", stages.find("doubles")[0], 1)
    assert (first["backend"], first["rung"], first["idea"], first["error"]) == ("step", "double", "twice the values", 0)
    assert (first["dtype"], first["bytes"], first["flops"], first["unit"]) == ("float64", 48, 3, "B/s")
    assert (second["note"], second["error"], second["fails"]) == ("wrong", 1.0, "forgets x")
    _, second = ladder.measure("doubles", stages.find("doubles", "ten")[0], 1)
    assert second["note"] == "not here" and "error" not in second
    monkeypatch.setattr(STEPS, "FAILS", {})
    with pytest.raises(ArithmeticError, match="doubles step wrong is wrong by"):
        ladder.measure("doubles", stages.find("doubles")[0], 1)


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
    for unknown in ({"ops": ["nonsense"]}, {"dtypes": ["nonsense"]}):
        with pytest.raises(ValueError, match="there is no 'nonsense'; operations are"):
            versus.pairs(**unknown)


def test_losses_are_those_below_one_from_the_worst_on():
    rows = [{"ratio": ratio} for ratio in (2, 0.9, 1, 0.5)]
    assert [row["ratio"] for row in versus.losses(rows)] == [0.5, 0.9]
