"""benches/: the table that goes into the README, figures of cases that exist, who takes part, and what a case costs."""

import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benches import figures
from benches.harness import cells
from fastml._registry import RUNGS
from fastml.learn import cases, costs, data, harness, provenance, report, resnet18, versus
from fastml.learn.peers import conv2d


def bench(op: str, contender: str, seconds: float) -> dict[str, Any]:
    info = {"op": op, "case": "a case", "dtype": "float32", "contender": contender, "threads": 2, "isa": "v3"}
    info["kernels"] = provenance.operation_hash(op)
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
    found = {"datetime": "2026-01-02T03:04", "machine_info": machine, "benchmarks": rows}
    path.write_text(json.dumps({**found, "commit_info": {"id": "0123456789", "dirty": True}}))
    return path


def test_the_table_compares_with_everybody_who_entered(results):
    lines = report.render(results).splitlines()
    assert lines[:2] == ["2026-01-02, a processor, 2 threads, v3;", "commit 0123456+, numpy 2.0."]
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
        grouped = isinstance(figure, figures.GroupFigure)
        names = {contender.name for contender in versus.known(figure.op)} | {"roofline"}
        assert {figure.own, *(figure.peers if grouped else [figure.peer])} <= names, figure
        for case in figure.cases if grouped else [figure.case]:
            assert figure.dtype in figures.case_of(figure.op, case).dtypes, figure


def test_every_case_has_a_bench_and_a_name_of_its_own():
    keys = [(case.op, case.name) for case in cases.BENCH]
    assert len(keys) == len(set(keys))
    for op in versus.OPS:
        assert versus.known(op)


def test_a_figure_whose_contender_fails_is_missed_and_says_why(monkeypatch):
    monkeypatch.setattr(figures, "compare", lambda *_: 1 / 0)
    row = figures.judge(figures.figures()[0], 1, 1)
    assert not row["reached"]
    assert row["problem"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(("ratio", "reached"), [(7.99, False), (8.0, True)])
def test_a_figure_is_a_ratio_at_least(monkeypatch, ratio, reached):
    monkeypatch.setattr(figures, "compare", lambda *_: {"ratio": ratio})
    assert figures.judge(figures.figures()[0], 1, 1)["reached"] is reached


RATIOS = {("a", "one"): 4.0, ("a", "two"): 9.0, ("b", "one"): 3.0, ("b", "two"): 1.0}


@pytest.mark.parametrize(
    ("peers", "at_least", "worst_at_least", "ratio", "low", "reached"),
    [
        (("one",), 3.4, 3, 12**0.5, 3, True),
        (("one",), 3.5, 3, 12**0.5, 3, False),
        (("one",), 3.4, 3.1, 12**0.5, 3, False),
        (("two",), 3, 1, 3, 1, True),
        (("one", "two"), 2, 1, 2, 1, True),
        (("one", "two"), 2, 1.1, 2, 1, False),
    ],
)
def test_a_figure_of_several_cases(monkeypatch, peers, at_least, worst_at_least, ratio, low, reached):
    def compare(case, dtype, own, peer, rounds):
        return {"case": case, "against": peer, "ours": 1, "peer": RATIOS[case, peer], "ratio": RATIOS[case, peer]}

    monkeypatch.setattr(figures, "case_of", lambda op, case: case)
    monkeypatch.setattr(figures, "compare", compare)
    figures._ratio.cache_clear()
    figure = figures.GroupFigure("op", "both", ("a", "b"), peers, at_least, worst_at_least)
    row = figures.judge(figure, 1, 1)
    figures._ratio.cache_clear()
    assert row["reached"] is reached
    assert row["ratio"] == pytest.approx(ratio) and row["low"] == low
    assert [part["case"] for part in row["parts"]] == ["a", "b"]
    assert row["ours"] == 2 and row["peer"] == sum(part["peer"] for part in row["parts"])


def test_a_figure_of_several_cases_of_which_one_fails_is_missed(monkeypatch):
    monkeypatch.setattr(figures, "compare", lambda *_: 1 / 0)
    figure = next(figure for figure in figures.figures() if isinstance(figure, figures.GroupFigure))
    row = figures.judge(figure, 1, 1)
    assert not row["reached"] and row["problem"].startswith("ZeroDivisionError")


def test_who_enters_depends_on_case_and_dtype(monkeypatch):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda package: package != "torch")
    known = {contender.name: contender for contender in versus.known("Conv2d")}
    case = figures.case_of("Conv2d", "1x8x8x8 to 8, k3")
    assert known["ONNX Runtime"].enters(case, "float32") and not known["ONNX Runtime"].enters(case, "float64")
    assert not known["PyTorch"].enters(case, "float32")
    assert not known["fastml cython"].enters(replace(case, skip=("fastml cython",)), "float32")


@pytest.mark.parametrize("op", ["conv2d", "Conv2d"])
def test_every_algorithm_of_conv2d_can_be_compared(op):
    forced = [rung for rung in RUNGS if rung.op == "conv2d"]
    assert len(forced) == len(conv2d.FORCED)
    for rung, contender in zip(forced, conv2d.FORCED, strict=True):
        kernel = 1 if rung.name == "gemm" else 3
        case = replace(
            figures.case_of(op, "1x8x8x8 to 8, k3"), weight=(2, 8, kernel, kernel), options={"padding": kernel // 2}
        )
        call, error = harness.prepared(contender, case, "float32")
        tolerance = 4e-6 if rung.name.startswith("winograd") else 1e-6  # its transforms round, too
        assert call().shape == (1, 2, 8, 8) and error < tolerance


def test_a_wrong_answer_is_not_timed(monkeypatch):
    monkeypatch.setattr(harness, "error", lambda *_: np.nan)
    case = figures.case_of("conv2d", "1x8x8x8 to 8, k3")
    with pytest.raises(ArithmeticError, match="is wrong by nan on conv2d 1x8x8x8"):
        harness.prepared(conv2d.FORCED[0], case, "float32")


@pytest.mark.parametrize("op", ["conv2d", "Conv2d"])
def test_the_cost_of_a_convolution_is_that_of_its_definition(op):
    least = costs.cost(figures.case_of(op, "1x128x56x56 to 128, k3 s2"), "float32")
    weights, x, out = 128 * 128 * 9 + 128, 128 * 56 * 56, 128 * 28 * 28
    assert (least.read, least.written) == (4 * (weights + x), 4 * out)
    assert least.flops == 2 * out * 128 * 9


def test_the_network_is_resnet18():
    arrays = resnet18.parameters(np.float32)
    learnt = sum(array.size for array in arrays) - 2 * sum(c.outputs for c in resnet18.convolutions())
    assert learnt == 11_689_512  # K. He et al. (2016): 11.7 million without the statistics
    assert resnet18.flops((1, 3, 224, 224)) == pytest.approx(2 * 1.814e9, rel=1e-3)
    x = np.random.default_rng(0).normal(size=(2, 3, 40, 37))
    wide = [array.astype(np.float64) for array in arrays]
    expected = resnet18.ResNet18(*wide, backend="numpy")(x)
    assert expected.shape == (2, 1000)
    np.testing.assert_allclose(resnet18.ResNet18(*wide)(x), expected, rtol=0, atol=1e-11 * abs(expected).max())


def test_crops_are_pieces_of_the_photographs():
    pieces = data.crops(4, 224)
    assert pieces.shape == (4, 3, 224, 224)
    np.testing.assert_array_equal(pieces[0], data.photographs()[0, :, :224, :224])
    np.testing.assert_array_equal(pieces[3], data.photographs()[1, :, -224:, -224:])


def test_patches_are_all_of_a_photograph_or_every_second_one():
    rows = data.patches(8)
    assert rows.shape == (420 * 633, 64)
    grey = data.photographs()[0].mean(axis=0)
    np.testing.assert_array_equal(rows[633 + 2].reshape(8, 8), grey[1:9, 2:10])
    np.testing.assert_array_equal(data.patches(8, step=2)[1], rows[2])


@pytest.mark.parametrize(("op", "name", "flops", "written"), [
    ("pca", "random 500x5000 to 20", 500 * 5000 * 501, 0),
    ("PCA", "fit random 5000x784 to 50", 5000 * 784 * 785, 0),
    ("PCA", "transform random 5000x784 to 50", 2 * 5000 * 784 * 50, 5000 * 50 * 4),
    ("scatter", "10000x100", 10_000 * 100 * 101, 0),
])  # fmt: skip
def test_the_cost_of_components_is_half_of_the_smaller_scatter_matrix(op, name, flops, written):
    case = figures.case_of(op, name)
    least = costs.cost(case, "float32")
    assert (least.flops, least.written) == (flops, written)
    assert least.read == sum(array.nbytes for array in case.arguments("float32")[0])


def test_pytest_times_some_of_what_pairs_do():
    mark = cells("PCA", *versus.bench_of("PCA").OWN)
    timed = {(row.values[0].name, row.values[1]) for row in mark.args[1]}
    every = {(case.name, dtype) for case in cases.BENCH if case.op == "PCA" for dtype in case.dtypes}
    assert timed < every and len(every) == 2 * 2 * 10
    assert ("fit random 5000x784 to 50", "float64") in timed and ("fit random 200x20000 to 10", "float32") not in timed


@pytest.mark.parametrize(("explained", "reached"), [(0.99, False), (1.0, True), (1.01, True)])
def test_an_approximate_answer_must_explain_as_much_as_the_peer(monkeypatch, explained, reached):
    (figure,) = (figure for figure in figures._of_pca("float32") if figure.explains)
    figure = replace(figure, cases=figure.cases[:2])
    answers = {figure.own: np.array([explained, 0.5]), figure.peers[0]: np.array([1.0, 0.5])}

    def entered(case, dtype):
        return {
            name: harness.Contender(name, lambda *_, answer=answer: lambda: answer) for name, answer in answers.items()
        }

    monkeypatch.setattr(figures, "contenders", entered)
    parts = {"ratio": 5.0, "low": 4.0, "parts": []}
    monkeypatch.setattr(figures, "_together", lambda *_: parts)
    row = figures.judge(figure, 1, 1)
    assert row["reached"] is reached
    assert row["explains"] == pytest.approx((explained + 0.5) / 1.5) and len(row["shares"]) == 2


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
        cost = costs.cost(known[op, name], dtype)
        return cost.read, cost.written, cost.working_set

    pool = "photographs 2x3x427x640, k2"
    pixels, windows = 2 * 3 * 427 * 640, 2 * 3 * 213 * 320
    assert least("avg_pool2d", pool) == (pixels * item, windows * item, (pixels + windows) * item)
    assert least("moments", "breast_cancer 569x30") == (569 * 30 * item, 0, 569 * 30 * item)
    values = 10_000 * 1000 * item  # a strip of columns stays in the cache
    assert least("standardize", "random 10000x1000") == (values, values, 2 * values)
    values = 100_000 * 50 * item
    assert least("StandardScaler", "fit_transform 100000x50") == (2 * values, values, 2 * values)
