"""benches/report.py: the table that goes into the README."""

import json
import sys
from typing import Any

import pytest

from benches import report


def bench(op: str, contender: str, seconds: float) -> dict[str, Any]:
    info = {"op": op, "case": "a case", "dtype": "float32", "contender": contender, "threads": 2, "isa": "v3"}
    info["max_error"] = 0.02 if contender == "scikit-learn" else 1e-7
    return {"extra_info": {**info, "GB/s": 1 / seconds, "GFLOP/s": 2 / seconds}, "stats": {"median": seconds}}


@pytest.fixture
def results(tmp_path):
    pca = {"fastml cython": 0.002, "fastml PCA": 0.004, "NumPy": 0.001, "scikit-learn": 0.012}
    moments = {"fastml cython": 0.5, "fastml numba": 1.0, "NumPy": 2.0}
    rows = [bench(op, *row) for op, times in (("pca", pca), ("moments", moments)) for row in times.items()]
    machine = {"machine": "x", "cpu": {"brand_raw": "a processor"}, "fastml": {"numpy": "2.0"}}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"datetime": "2026-01-02T03:04", "machine_info": machine, "benchmarks": rows}))
    return path


def test_the_table_compares_like_with_like(results):
    lines = report.render(results).splitlines()
    assert lines[0] == "2026-01-02, a processor, 2 threads, v3; numpy 2.0."
    # NumPy against the function, scikit-learn against the class
    assert "| pca | a case | float32 | 2.00 | 1000 GFLOP/s |  | 0.500 | 3.00 |" in lines
    assert "| moments | a case | float32 | 500 | 2.00 GB/s | 1000 | 4.00 |  |" in lines


def test_losses_are_listed(results):
    text = report.render(results)
    assert "* pca, a case, float32: NumPy takes 0.500 of fastml cython's time.\n" in text


def test_errors_are_listed(results):
    text = report.render(results)
    assert text.endswith("as a share of the largest value.\n\n* pca, a case, float32: scikit-learn, 2e-02.")


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
