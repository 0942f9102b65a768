"""learn/ladders/sum.py: each step against a sum rounded once; where float32 fails; the same bits for any threads."""

import math
import re
from pathlib import Path

import numba
import numpy as np
import pytest

from fastml.learn.ladders import sum as ladder

STEP = pytest.mark.parametrize("step", ladder.STEPS, ids=lambda step: step.__name__)
SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 127, 129, 1009, 4095, 4096, 4097, 8193, 100_003)
SINGLE, DOUBLE = 2.0**-24, 2.0**-53  # of a value, what one addition rounds off at the most
HUGE = 2**24
CHAPTER = Path(__file__).parents[1] / "docs" / "ladder" / "sum.md"


def roundings(step, n):
    """How far off the sum of n values may be, as a share of the sum of their absolute values: for each addition that a
    value goes through, one rounding."""
    in_turn = {"two": 2, "four": 4, "eight": 8}
    if step is ladder.python or step is ladder.wide:
        return n * DOUBLE
    if step is ladder.kahan:  # D. Knuth, The Art of Computer Programming 2, 4.2.2, exercise 19
        return 2 * SINGLE + 4 * n * SINGLE**2
    if step is ladder.blocks or step is ladder.threads:
        return min(n, ladder.BLOCK) * SINGLE + n * DOUBLE
    if step.__name__ in in_turn:
        return (n / in_turn[step.__name__] + in_turn[step.__name__]) * SINGLE
    return n * SINGLE  # in any order


def error(step, x):
    return abs(float(step(x)) - math.fsum(x))


@STEP
@pytest.mark.parametrize("size", SIZES)
def test_a_step_is_as_exact_as_its_roundings_allow(step, size):
    x = np.random.default_rng(size).normal(size=size).astype(np.float32)
    before = x.copy()
    allowed = 1.01 * roundings(step, size) * math.fsum(np.abs(x)) + DOUBLE
    assert error(step, x) <= allowed + SINGLE * abs(math.fsum(x))  # and the result itself is rounded
    np.testing.assert_array_equal(x, before)


@STEP
@pytest.mark.parametrize("size", SIZES)
def test_sums_of_whole_numbers_are_exact(step, size):
    x = np.random.default_rng(size).integers(-8, 9, size).astype(np.float32)
    assert float(step(x)) == x.astype(np.int64).sum()


@STEP
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 20, 4999])
def test_what_is_not_finite_goes_into_the_sum(step, value, at):
    x = np.ones(5000, np.float32)
    x[at] = value
    total = float(step(x))
    becomes_nan = step is ladder.kahan and at < x.size - 1  # infinity less infinity, at the next value
    assert math.isnan(total) if np.isnan(value) or becomes_nan else total == value


def test_the_cases_are_what_their_names_say():
    sizes = {"65536 float32": 65536, "4096 float32": 4096, "1 Mi float32": 2**20, "16 Mi float32": 2**24}
    assert list(ladder.CASES) == list(sizes)
    for name, size in sizes.items():
        (x,) = ladder.CASES[name]()
        assert (x.dtype, x.shape) == (np.float32, (size,)) and x.flags.c_contiguous
        assert x.min() >= 1 and x.max() <= 2
        assert ladder.work(x) == (4 * size, 0, size)
        (again,) = ladder.CASES[name]()
        np.testing.assert_array_equal(x, again)
    names = {step.__name__ for step in ladder.STEPS}
    assert set(ladder.FAILS) <= names
    assert {(step in names, case in sizes) for step, case in ladder.SKIP} == {(True, True)}


@pytest.fixture(scope="module")
def huge():
    return ladder.values(HUGE)[0]


def test_the_oracle_is_right(huge):
    np.testing.assert_allclose(ladder.expected(huge), math.fsum(huge), rtol=1e-14)


def test_one_float32_sum_counts_two_for_each_value_beyond_2_to_24(huge):
    exact = np.cumsum(huge, dtype=np.float64)
    beyond = HUGE - np.searchsorted(exact, 2.0**24)
    assert beyond > HUGE / 4
    predicted = 2.0**24 + 2 * beyond
    assert abs(float(ladder.compiled(huge)) / predicted - 1) < 1e-3
    assert error(ladder.compiled, huge) > 0.1 * exact[-1]


def test_two_float32_sums_lose_the_fifth_digit(huge):
    assert error(ladder.two, huge) > 1e-5 * huge.sum(dtype=np.float64)


@pytest.mark.parametrize(
    "step", [ladder.numpy, ladder.kahan, ladder.wide, ladder.blocks, ladder.threads], ids=lambda step: step.__name__
)
def test_what_is_meant_to_keep_digits_does(step, huge):
    """numpy: 128 values in eight sums, 3 levels of pairs of them, and then log2(2^24 / 128) = 17 levels."""
    allowed = (128 / 8 + 3 + 17) * SINGLE if step is ladder.numpy else roundings(step, HUGE)
    assert allowed < 3e-4
    assert error(step, huge) <= allowed * huge.sum(dtype=np.float64)


@pytest.mark.parametrize("size", [0, 1, 5000, 2**20 + 17])
def test_the_number_of_threads_changes_no_bit(size):
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    before = numba.get_num_threads()
    found = set()
    try:
        for n_threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(n_threads)
            found |= {np.float64(ladder.threads(x)).tobytes() for _ in range(5)}
    finally:
        numba.set_num_threads(before)
    assert len(found) == 1


def test_again_adds_up_calls():
    x = np.arange(5, dtype=np.float32)
    assert ladder.again(ladder.wide, x, 3) == 30


def test_the_chapter_tells_of_every_step_in_their_order():
    headings = re.findall(r"^### `(.+)`$", CHAPTER.read_text(), re.MULTILINE)
    assert headings == [step.__name__ for step in ladder.STEPS]
    for part in ("Predict", "Run", "Investigate", "Modify"):
        assert CHAPTER.read_text().count(f"**{part}.**") == len(headings)
