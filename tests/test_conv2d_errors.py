"""benches/conv2d_errors.py: its table, its prediction, and how exact Winograd's algorithm is meant to be."""

import sys
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from benches import conv2d_errors
from fastml import _dispatch
from fastml._ref import conv2d_winograd

DIRECT = next(rung for rung in _dispatch.rungs("conv2d", "cython") if rung.name == "loops")
# Lavin's points are there to show what better ones are good for.
EXACT = [r for r in _dispatch.rungs("conv2d") if r.name.startswith("winograd") and r.name != "winograd_4x4"]


def test_the_prediction_orders_points_as_measuring_does():
    made = conv2d_errors.problem((32, 16, 16), 8)
    ordered = sorted(conv2d_errors.CANDIDATES.values(), key=conv2d_errors.predicted_error)
    predicted = [conv2d_errors.predicted_error(points) for points in ordered]
    measured = [conv2d_errors.of_points(points, *made)[0] for points in ordered]
    apart = [i for i, (a, b) in enumerate(pairwise(predicted)) if b > 1.1 * a]
    assert len(apart) >= 4
    for i in apart:
        assert max(measured[: i + 1]) < min(measured[i + 1 :])
    np.testing.assert_allclose(np.divide(measured, measured[-1]), np.divide(predicted, predicted[-1]), rtol=0.25)


def test_the_best_points_are_predicted_to_be_so():
    eighths = [Fraction(n, 8) for n in range(1, 33)]
    pairs = [(a, b) for a in eighths for b in eighths if a < b]
    best = min(pairs, key=lambda pair: conv2d_errors.predicted_error(conv2d_errors.symmetric(*pair)))
    assert conv2d_errors.symmetric(*best) == conv2d_winograd.BETTER


@pytest.mark.parametrize("channels", [64, 256])
@pytest.mark.parametrize("rung", EXACT, ids=lambda rung: f"{rung.backend}-{rung.name}")
def test_winograd_is_off_by_little_more_than_direct_sums(rung, channels):
    made = conv2d_errors.problem((channels, 24, 24), 16)
    direct, _ = conv2d_errors.of_rung(DIRECT, *made)
    assert conv2d_errors.of_rung(rung, *made)[0] < 2.2 * direct


def test_every_algorithm_and_every_set_of_points_has_a_row():
    shapes = ((4, 5, 6), (8, 6, 5))
    lines = conv2d_errors.render(shapes, 2).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    problems = [conv2d_errors.problem(shape, 2)[0] for shape in shapes]
    served = [r for r in _dispatch.rungs("conv2d")[1:] if all(_dispatch.serves(r, given) for given in problems)]
    names = [f"{rung.backend} {rung.name}" for rung in served]
    assert [row[0] for row in rows] == ["algorithm", *names, "points", *conv2d_errors.CANDIDATES]
    direct = rows[1 + names.index("cython loops")]
    assert direct[3] == direct[6] == "1.00"


def test_the_table_is_written_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{conv2d_errors.BEGIN}\nold\n{conv2d_errors.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["conv2d_errors", "--write", str(page)])
    monkeypatch.setattr(conv2d_errors, "render", lambda: "new")
    conv2d_errors.main()
    assert page.read_text() == f"before\n{conv2d_errors.BEGIN}\nnew\n{conv2d_errors.END}\nafter\n"
