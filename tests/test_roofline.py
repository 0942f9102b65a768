"""fastml.learn.roofline: the kernels move what they say, the bound is the arithmetic of what was measured."""

import doctest
import inspect
import re

import numpy as np
import pytest

import fastml
from fastml.learn import roofline
from tests.test_dispatch import printed

KERNELS = roofline._kernels()
THREADS = (1, 2, 3, 7)
PUBLIC = (roofline.bandwidth, roofline.flops, roofline.seconds, roofline.forget)
GUARD = 64


@pytest.fixture
def rates(monkeypatch):
    """Rates that are easily told apart; what was asked for is kept."""
    asked = []

    def bandwidth(kind, quarters, n_threads):
        asked.append((kind, quarters, n_threads))
        return {"read": 2.0, "write": 4.0, "copy": 8.0}[kind]

    monkeypatch.setattr(roofline, "_bandwidth", bandwidth)
    monkeypatch.setattr(roofline, "_flops", lambda dtype, n_threads: {"float32": 32.0, "float64": 16.0}[dtype])
    return asked


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("size", (1, 2, 5, 67))
def test_reading_sees_every_value(size, n_threads):
    for place in range(size):
        x = np.zeros(size, np.int64)
        x[place] = 1 << place % 63
        assert KERNELS.read(x, 1, n_threads) == 1 << place % 63
    assert KERNELS.read(np.zeros(size, np.int64), 3, n_threads) == 0


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("past_caches", (False, True))
@pytest.mark.parametrize("size", (1, 2, 67, 511, 512, 513, 5003))
@pytest.mark.parametrize("offset", (0, 1))
def test_writing_and_copying_reach_every_value_and_no_other(size, past_caches, offset, n_threads):
    x = np.random.default_rng(0).normal(size=size)
    for expected in (np.ones(size), x):
        room = np.full(size + 2 * GUARD, np.nan)
        out = room[GUARD + offset :][:size]
        if expected is x:
            KERNELS.copy(x, past_caches, 2, out, n_threads)
        else:
            KERNELS.write(past_caches, 2, out, n_threads)
        np.testing.assert_array_equal(out, expected)
        assert np.isnan(room[: GUARD + offset]).all()
        assert np.isnan(room[GUARD + offset + size :]).all()


@pytest.mark.parametrize("dtype", roofline.DTYPES)
@pytest.mark.parametrize("n_threads", THREADS)
def test_products_are_what_their_flops_are_counted_for(dtype, n_threads):
    tiles = np.zeros((n_threads, roofline.PAGE), dtype)
    flops = KERNELS.multiply(3, tiles, n_threads)
    depth = tiles[0, 0]  # ones times ones, summed
    values = np.count_nonzero(tiles[0])
    assert depth > 1
    assert set(np.unique(tiles)) == {0, depth}
    assert flops == 2 * depth * values * 3 * n_threads


def test_rates_are_measured_once_and_again_after_forgetting(monkeypatch):
    roofline.forget()
    first = roofline.bandwidth("read", 2**16, 1), roofline.flops("float64", 1)
    assert all(0 < rate < np.inf for rate in first)
    monkeypatch.setattr(roofline, "_rate", lambda run, repeats: 1.0)
    assert (roofline.bandwidth("read", 2**16, 1), roofline.flops("float64", 1)) == first
    roofline.forget()
    assert roofline.bandwidth("read", 2**16, 1) == 2**16
    roofline.forget()


@pytest.mark.parametrize("kind", roofline.KINDS)
def test_a_rate_counts_the_bytes_of_all_arrays(monkeypatch, kind):
    calls = []

    def rate(run, repeats):
        run(1)
        calls.append(run)
        return 1.0

    monkeypatch.setattr(roofline, "_rate", rate)
    roofline.forget()
    assert roofline.bandwidth(kind, 2**20, 2) == 2**20
    assert len(calls) == (1 if kind == "read" else 2)  # through the caches, and past them
    roofline.forget()


def test_of_two_ways_to_write_the_faster_counts(monkeypatch):
    speeds = iter((3.0, 5.0))
    monkeypatch.setattr(roofline, "_rate", lambda run, repeats: next(speeds))
    roofline.forget()
    assert roofline.bandwidth("write", 2**20, 1) == 5 * 2**20
    roofline.forget()


def test_the_best_of_blocks_that_are_long_enough_counts(monkeypatch):
    elapsed = iter((1e-6, 0.001, 0.005, 0.004, 0.002, *[0.004] * 5))
    repeats = []
    monkeypatch.setattr(roofline, "_timed", lambda run, n: repeats.append(n) or next(elapsed))
    assert roofline._rate(None, 3) == repeats[-1] / 0.002
    assert repeats == [3, 9000, *[27000] * roofline.BLOCKS]


def test_buffers_are_written_and_start_on_a_page():
    buffer = roofline._buffer(8 * 1001)
    assert buffer.shape == (1001,)
    assert (buffer == 1).all()
    assert buffer.ctypes.data % roofline.PAGE == 0


@pytest.mark.parametrize(
    ("n_bytes", "quarters"), [(1, 56), (2**14, 56), (2**20, 80), (1.05 * 2**20, 80), (1.2 * 2**20, 81), (2**40, 112)]
)
def test_sizes_are_rounded_and_clipped(rates, n_bytes, quarters):
    roofline.bandwidth("read", n_bytes, 2)
    assert rates == [("read", quarters, 2)]


@pytest.mark.parametrize(
    ("read", "written", "flops", "dtype", "least"),
    [
        (100, 0, 0, "float32", 50),
        (0, 100, 0, "float32", 25),
        (100, 100, 0, "float32", 25),
        (300, 100, 0, "float32", 25 + 100),
        (100, 300, 0, "float32", 25 + 50),
        (100, 0, 32 * 49, "float32", 50),
        (100, 0, 32 * 51, "float32", 51),
        (100, 0, 32 * 51, "float64", 102),
        (0, 0, 0, "float32", 0),
    ],
)
def test_the_least_time(rates, read, written, flops, dtype, least):
    assert roofline.seconds(read, written, flops, dtype=dtype) == least


def test_the_working_set_says_which_bandwidth(rates):
    roofline.seconds(2**20, 2**19, n_threads=3)
    roofline.seconds(2**20, 2**19, n_threads=3, working_set=2**16)
    roofline.seconds(2**20, 0)
    between = round(4 * np.log2(1.5 * 2**20))
    kinds = [("copy", between, 3), ("read", between, 3), ("copy", 64, 3), ("read", 64, 3)]
    assert rates == [*kinds, ("read", 80, fastml.get_num_threads())]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: roofline.bandwidth("sing", 1), ValueError, "kind must be one of .*'sing'"),
        (lambda: roofline.bandwidth(1, 1), TypeError, "kind"),
        (lambda: roofline.bandwidth("read", 0), ValueError, "n_bytes must be .* got 0"),
        (lambda: roofline.bandwidth("read", "1"), TypeError, "n_bytes must be a number, got str"),
        (lambda: roofline.bandwidth("read", 1, 0), ValueError, "n_threads"),
        (lambda: roofline.bandwidth("read", 1, 1.5), TypeError, "n_threads"),
        (lambda: roofline.flops("float16"), ValueError, "dtype must be one of .*'float16'"),
        (lambda: roofline.flops(np.float32), TypeError, "dtype"),
        (lambda: roofline.flops("float32", 0), ValueError, "n_threads"),
        (lambda: roofline.seconds(-1, 0), ValueError, "read must be"),
        (lambda: roofline.seconds(0, -1), ValueError, "written must be"),
        (lambda: roofline.seconds(0, 0, np.inf), ValueError, "flops must be"),
        (lambda: roofline.seconds(0, 0, dtype="int8"), ValueError, "dtype must be"),
        (lambda: roofline.seconds(0, 0, working_set=-1), ValueError, "working_set must be"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__name__)
def test_docstrings_name_every_argument_and_show_an_example(function):
    parameters = inspect.signature(function).parameters
    assert [name for name in parameters if not re.search(rf"\b{name}\b", function.__doc__)] == []
    assert ">>>" in function.__doc__
    assert "Raises" in function.__doc__ or not parameters


def test_examples():
    failed, attempted = doctest.testmod(roofline)
    assert failed == 0
    assert attempted > 0


def test_fastml_does_not_load_it():
    assert printed("import sys, fastml; fastml.moments; print('fastml.learn' in sys.modules)") == "False"
