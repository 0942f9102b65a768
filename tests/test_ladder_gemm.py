"""learn/ladders/gemm.py: each step against a float64 product; the same bits for any number of threads."""

import re
from pathlib import Path

import numba
import numpy as np
import pytest

from fastml.learn.ladders import gemm

STEP = pytest.mark.parametrize("step", gemm.STEPS, ids=lambda step: step.__name__)
SHAPES = [  # rows of a, columns of a, columns of b
    (1, 1, 1), (4, 4, 16), (4, 3, 3), (5, 7, 3), (3, 5, 17), (13, 17, 19), (6, 33, 35), (2, 0, 3), (0, 2, 3), (2, 3, 0),
    (129, 4, 257), (9, 259, 11), (133, 258, 20),
]  # fmt: skip
SINGLE = 2.0**-24  # of a value, what one operation rounds off at the most
CHAPTER = Path(__file__).parents[1] / "docs" / "ladder" / "gemm.md"


def problem(m, k, n):
    random = np.random.default_rng(m * k + n)
    return random.normal(size=(m, k)).astype(np.float32), random.normal(size=(k, n)).astype(np.float32)


@STEP
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}x{}".format(*shape))
def test_a_step_is_as_exact_as_its_roundings_allow(step, shape):
    a, b = problem(*shape)
    before = a.copy(), b.copy()
    out = step(a, b)
    assert (out.shape, out.dtype) == ((shape[0], shape[2]), np.float32)
    allowed = (shape[1] + 1) * SINGLE * (np.abs(a).astype(np.float64) @ np.abs(b))  # a product, and k - 1 additions
    assert np.all(np.abs(out - gemm.expected(a, b)) <= 1.01 * allowed)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@STEP
def test_products_of_whole_numbers_are_exact(step):
    a, b = (np.round(8 * values) for values in problem(37, 61, 43))
    np.testing.assert_array_equal(step(a, b), gemm.expected(a, b))


@STEP
def test_what_is_not_finite_spreads_along_its_row_or_column_alone(step):
    a, b = problem(14, 21, 35)
    a[13, 20], b[0, 34] = np.nan, np.inf
    finite = np.isfinite(step(a, b))
    expected = np.ones((14, 35), bool)
    expected[13], expected[:, 34] = False, False
    np.testing.assert_array_equal(finite, expected)


@pytest.mark.parametrize("shape", [(300, 130, 300), (2, 3, 5)])
def test_the_number_of_threads_changes_no_bit(shape):
    a, b = problem(*shape)
    before = numba.get_num_threads()
    found = set()
    try:
        for n_threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(n_threads)
            found |= {gemm.threads(a, b).tobytes() for _ in range(5)}
    finally:
        numba.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("name", gemm.CASES)
def test_the_cases_are_what_their_names_say(name):
    a, b = gemm.CASES[name]()
    m, k, n = map(int, name.split("x"))
    assert (a.shape, b.shape, a.dtype, b.dtype) == ((m, k), (k, n), np.float32, np.float32)
    assert gemm.work(a, b) == (4 * (m * k + k * n), 4 * m * n, 2 * m * k * n)
    np.testing.assert_array_equal(a, gemm.CASES[name]()[0])


def test_what_is_skipped_exists():
    names = {step.__name__ for step in gemm.STEPS}
    assert {(step in names, case in gemm.CASES) for step, case in gemm.SKIP} == {(True, True)}


def test_the_chapter_tells_of_every_step_in_their_order():
    headings = re.findall(r"^### `(.+)`$", CHAPTER.read_text(), re.MULTILINE)
    assert headings == [step.__name__ for step in gemm.STEPS]
    for part in ("Predict", "Run", "Investigate", "Modify"):
        assert CHAPTER.read_text().count(f"**{part}.**") == len(headings)
