"""benches/report.py: the table that goes into the README; benches/figures.py: figures of cases that exist."""

import json
import sys
from typing import Any

import pytest

from benches import cases, figures, report, versus


def bench(op: str, contender: str, seconds: float) -> dict[str, Any]:
    info = {"op": op, "case": "a case", "dtype": "float32", "contender": contender, "threads": 2, "isa": "v3"}
    info |= {"max_error": 0.02 if contender == "scikit-learn" else 1e-7, "small": op == "avg_pool2d"}
    rates = {"GB/s": 1 / seconds, "GFLOP/s": 2 / seconds, "% of roofline": 0.2 / seconds}
    return {"extra_info": {**info, **rates}, "stats": {"median": seconds}}


@pytest.fixture
def results(tmp_path):
    times = {
        "PCA": {"fastml cython": 0.002, "NumPy": 0.001, "scikit-learn": 0.006},
        "moments": {"fastml cython": 0.5, "fastml numba": 1.0, "NumPy": 2.0},
        "avg_pool2d": {"fastml cython": 0.25, "NumPy": 0.5},
    }
    rows = [bench(op, *row) for op, contenders in times.items() for row in contenders.items()]
    machine = {"machine": "x", "cpu": {"brand_raw": "a processor"}, "fastml": {"numpy": "2.0"}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"datetime": "2026-01-02T03:04", "machine_info": machine, "benchmarks": rows}))
    return path


def test_the_table_compares_with_everybody_who_entered(results):
    lines = report.render(results).splitlines()
    assert lines[0] == "2026-01-02, a processor, 2 threads, v3; numpy 2.0."
    assert "| PCA | a case | float32 | 2.00 | 1000 GFLOP/s | 100 |  | 0.500 | 3.00 |" in lines
    assert "| moments | a case | float32 | 500 | 2.00 GB/s | 0 | 1000 | 4.00 |  |" in lines


def test_small_inputs_have_a_table_of_their_own(results):
    large, small = report.render(results).split("**Small inputs**")
    row = "| avg_pool2d | a case | float32 | 250 | 4.00 GB/s | 1 |  | 2.00 |"
    assert row in small.splitlines()
    assert "| avg_pool2d |" not in large
    assert "| PCA |" not in small


def test_losses_are_listed(results):
    text = report.render(results)
    assert "* PCA, a case, float32: NumPy takes 0.500 of fastml's time.\n" in text


def test_errors_are_listed(results):
    text = report.render(results)
    assert text.endswith("as a share of the largest value.\n\n* PCA, a case, float32: scikit-learn, 2e-02.")


def test_only_what_lies_between_the_markers_changes(results, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["report", str(results), "--write", str(readme)])
    report.main()
    text = readme.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n2026-01-02") and text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text


def test_a_file_without_markers_is_left_alone(results, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("no markers")
    monkeypatch.setattr(sys, "argv", ["report", str(results), "--write", str(readme)])
    with pytest.raises(SystemExit, match="lacks the markers"):
        report.main()
    assert readme.read_text() == "no markers"


def test_three_significant_digits():
    values = (0.01234, 1.5, 12.34, 1234.5, 0)
    assert [report.significant(value) for value in values] == ["0.0123", "1.50", "12.3", "1234", "0"]


def test_every_figure_is_of_a_case_and_of_contenders_that_exist():
    for figure in figures.figures():
        assert figure.dtype in figure.problem.dtypes, figure
        bench = versus.bench_of(figure.op)
        names = {contender.name for contender in (*bench.OWN, *bench.PEERS)} | {"roofline"}
        assert {figure.own, figure.peer} <= names, figure


def test_every_case_has_a_bench_and_a_name_of_its_own():
    keys = [(case.op, case.name) for case in cases.BENCH]
    assert len(keys) == len(set(keys))
    for op in versus.OPS:
        assert versus.bench_of(op).OWN


def test_a_figure_whose_contender_fails_is_missed_and_says_why(monkeypatch):
    monkeypatch.setattr(figures, "compare", lambda *_: 1 / 0)
    row = figures.judge(figures.figures()[0], 1, 1)
    assert not row["reached"]
    assert row["problem"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(("ratio", "reached"), [(7.99, False), (8.0, True)])
def test_a_figure_is_a_ratio_at_least(monkeypatch, ratio, reached):
    monkeypatch.setattr(figures, "compare", lambda *_: {"ratio": ratio})
    assert figures.judge(figures.figures()[0], 1, 1)["reached"] is reached


def test_pairs_alternate_and_the_ratio_is_that_of_neighbours():
    order = []

    def measured(name, *times):
        remaining = list(times)
        return lambda: order.append(name) or remaining.pop(0)

    row = versus.paired(measured("ours", 1, 2, 4), measured("peer", 3, 2, 20), 3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert row == {"ours": 2, "peer": 3, "ratio": 3, "low": 1, "high": 5}


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_the_least_that_must_be_moved(dtype):
    item = 4 if dtype == "float32" else 8
    known = {(case.op, case.name): case for case in cases.BENCH}

    def least(op, name):
        cost = cases.cost(known[op, name], dtype)
        return cost.read, cost.written, cost.working_set

    pool = "photographs 2x3x427x640, k2"
    pixels, windows = 2 * 3 * 427 * 640, 2 * 3 * 213 * 320
    assert least("avg_pool2d", pool) == (pixels * item, windows * item, (pixels + windows) * item)
    assert least("moments", "breast_cancer 569x30") == (569 * 30 * item, 0, 569 * 30 * item)
    values = 10_000 * 1000 * item  # a strip of columns stays in the cache
    assert least("standardize", "random 10000x1000") == (values, values, 2 * values)
    values = 100_000 * 50 * item
    assert least("StandardScaler", "fit_transform 100000x50") == (2 * values, values, 2 * values)
