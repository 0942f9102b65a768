"""The steps of fastml.learn.ladders.threads, and what docs/ladder/threads.md says of races, bits, stores and forks."""

import math
import os
import platform
import re
import sys
import time

import numba
import numpy as np
import pytest

from fastml._core.baseline import _system
from fastml.learn.ladders import threads
from tests.test_dispatch import printed

RIGHT = [step for step in threads.STEPS if step.__name__ not in threads.FAILS]
SIZES = (1, 2, 1009, threads.CHUNK - 1, threads.CHUNK, threads.CHUNK + 1, 3 * threads.CHUNK + 17)


def case(n, n_classes):
    rng = np.random.default_rng(n)
    return rng.random(n), rng.integers(0, n_classes, n).astype(np.uint8), n_classes


@pytest.mark.parametrize("step", RIGHT, ids=lambda step: step.__name__)
@pytest.mark.parametrize("n_classes", (1, 3, 4, 256))
@pytest.mark.parametrize("n", SIZES)
def test_steps_are_right(step, n, n_classes):
    values, labels, _ = case(n, n_classes)
    expected = [math.fsum(values[labels == k]) for k in range(n_classes)]
    sums = step(values, labels, n_classes)
    assert sums.shape == (n_classes,)
    np.testing.assert_allclose(sums, expected, rtol=n * 2.0**-53)  # a rounding for each addition; none is negative


def test_the_oracle_is_right():
    values, labels, n_classes = case(1009, 3)
    expected = [math.fsum(values[labels == k]) for k in range(3)]
    np.testing.assert_allclose(threads.expected(values, labels, n_classes), expected, rtol=1009 * 2.0**-53)
    assert threads.work(values, labels, n_classes) == (9 * 1009, 24, 1009)


def processors():
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed, numba.get_num_threads())


@pytest.mark.skipif(processors() < 2, reason="needs two processors: one thread after the other loses nothing")
def test_shared_loses_additions():
    """All values in one class, so that every addition meets those of the other threads; ones, so that none rounds."""
    n = 2**20
    arguments = np.ones(n), np.zeros(n, np.uint8), 1
    found, end = n, time.monotonic() + 30
    while found == n and time.monotonic() < end:  # threads may run in turns while a processor is busy
        found = threads.shared(*arguments)[0]
    assert found < n
    assert all(step(*arguments)[0] == n for step in RIGHT)


BITS = """if True:
    import numba, numpy as np
    from fastml.learn.ladders import threads
    from tests.test_ladder_threads import case
    arguments, found = case(10 * threads.CHUNK + 5, 4), {}
    for step in (threads.in_order, threads.local):
        results = set()
        for n_threads in range(1, 8):
            numba.set_num_threads(n_threads)
            results.add(step(*arguments).tobytes())
        print(len(results))"""


def test_fixed_chunks_give_the_same_bits_for_any_number_of_threads_and_shares_do_not():
    in_order, local = map(int, printed(BITS, NUMBA_NUM_THREADS="7").split())
    assert in_order == 1 and local > 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads instructions of x86-64")
def test_every_addition_of_the_loop_goes_to_memory_and_back():
    """Otherwise there would be no false sharing: sums would stay in a register."""
    threads.one(*case(100, 4))
    for text in threads.add.inspect_asm().values():  # for sums that lie together, and for a column of them
        stores = re.findall(r"^\s*v?movsd\s+%xmm\d+, \(.*", text, re.MULTILINE)
        assert len(stores) == len(re.findall("add[sp]d", text)) > 0


FORK = """if True:
    import os, signal, numpy as np
    from fastml._core.baseline.standardize import rows
    x, mean, scale = np.ones((1000, 50)), np.zeros(50), np.ones(50)
    rows(x, 0, mean, scale, np.empty_like(x), 2)
    for n_threads in (1, 2):
        child = os.fork()
        if not child:
            signal.alarm(3)
            rows(x, 0, mean, scale, np.empty_like(x), n_threads)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"""


@pytest.mark.skipif(sys.platform != "linux" or not _system.has_openmp(), reason="needs fork and libgomp")
def test_a_forked_child_waits_for_ever_for_threads_that_it_does_not_have():
    assert printed(FORK).split() == ["0", "-14"]
