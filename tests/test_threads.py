"""How many threads run, and what calls from many threads, forks and limits of the process do."""

import _thread
import math
import os
import sys
import threading
import time

import numpy as np
import pytest

import fastml
from fastml import _dispatch, _threads
from fastml._core.baseline import _system
from fastml._registry import BACKENDS, RUNGS
from fastml.learn.cases import Case
from fastml.learn.data import normal
from tests.small_cases import SMALL
from tests.test_dispatch import printed, python

needs_openmp = pytest.mark.skipif(not _system.has_openmp(), reason="built without OpenMP")
THREADS = "import fastml; print(fastml.get_num_threads())"


@pytest.fixture(autouse=True)
def nothing_set():
    yield
    fastml.set_num_threads(None)


def built(n_threads):
    """What n_threads comes to in this build."""
    return n_threads if _system.has_openmp() else 1


def test_set_and_reset():
    default = fastml.get_num_threads()
    fastml.set_num_threads(3)
    assert fastml.get_num_threads() == built(3)
    fastml.set_num_threads(None)
    assert fastml.get_num_threads() == default >= 1


@pytest.mark.parametrize("wrong", (0, -1, 1025, 2**70))
def test_numbers_out_of_range_are_refused(wrong):
    for refuse in (fastml.set_num_threads, lambda n: fastml.moments(np.ones((2, 2)), n_threads=n)):
        with pytest.raises(ValueError, match=f"^n_threads must be from 1 to 1024, got {wrong}$"):
            refuse(wrong)


@pytest.mark.parametrize("wrong", (1.0, "2", True, [1], np.float64(2)))
def test_what_is_no_integer_is_refused(wrong):
    for refuse in (fastml.set_num_threads, lambda n: fastml.moments(np.ones((2, 2)), n_threads=n)):
        with pytest.raises(TypeError, match=r"^n_threads must be an integer, got "):
            refuse(wrong)


@pytest.mark.parametrize("n_threads", (np.int32(2), np.array(2), 1024))
def test_integers_of_any_kind_are_taken(n_threads):
    fastml.set_num_threads(n_threads)
    assert fastml.get_num_threads() == built(int(n_threads))


def test_little_work_takes_one_thread_unless_asked():
    fastml.set_num_threads(4)
    assert _threads.count(None, _threads.SMALL_WORK - 1) == 1
    assert _threads.count(None, _threads.SMALL_WORK) == built(4)
    assert _threads.count(3, 1) == 3


def test_the_environment_sets_the_threads():
    for n in (1, 2):
        assert printed(THREADS, FASTML_NUM_THREADS=str(n)) == str(built(min(n, int(_threads._processors()))))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
def test_the_environment_counts_no_processors_that_the_process_may_not_run_on():
    code = f"import os; os.sched_setaffinity(0, [{min(os.sched_getaffinity(0))}]); {THREADS}"
    assert printed(code, FASTML_NUM_THREADS="2") == "1"


def test_the_environment_is_weaker_than_the_setting():
    code = "import fastml; fastml.set_num_threads(2); print(fastml.get_num_threads())"
    assert printed(code, FASTML_NUM_THREADS="3") == str(built(2))


@pytest.mark.parametrize("wrong", ("0", "many", "-2", "1e3", "4096", "1.5"))
def test_a_wrong_environment_is_refused_on_use(wrong):
    code = "import fastml, numpy; print('imported'); fastml.moments(numpy.ones((1000, 1000)))"
    done = python(code, FASTML_NUM_THREADS=wrong)
    assert done.stdout == "imported\n"
    if _system.has_openmp():
        assert f"ValueError: FASTML_NUM_THREADS must be from 1 to 1024, got {wrong!r}" in done.stderr


def test_openmps_variable_is_obeyed():
    assert printed(THREADS, OMP_NUM_THREADS="1") == "1"


@needs_openmp
def test_the_variable_of_fastml_is_stronger_than_openmps():
    assert printed(THREADS, OMP_NUM_THREADS="1", FASTML_NUM_THREADS="2") == str(min(2, _threads._processors()))


@pytest.mark.skipif(_threads._openmp_at_import == 1, reason="needs OpenMP and two processors")
def test_threadpoolctl_limits_every_setting_but_the_argument():
    from threadpoolctl import threadpool_limits

    for n_threads in (None, 4):
        fastml.set_num_threads(n_threads)
        with threadpool_limits(1):
            assert fastml.get_num_threads() == 1
            assert _threads.count(None, 1e9) == 1
            assert _threads.count(3, 1e9) == 3
    assert fastml.get_num_threads() == 4


def test_a_limit_that_comes_before_the_first_call_is_obeyed():
    code = "import fastml, threadpoolctl\nwith threadpoolctl.threadpool_limits(1): print(fastml.get_num_threads())"
    assert printed(code) == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_one_processor_means_one_thread():
    limit = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    for code in (limit + THREADS, "import fastml; fastml.get_num_threads(); " + limit + THREADS):
        assert printed(code) == "1"
    assert printed(limit + THREADS, OMP_NUM_THREADS="2") == "1"


@pytest.mark.parametrize(("contents", "processors"), [
    ("max 100000", math.inf), ("50000 100000", 1), ("100000 100000", 1), ("150000 100000", 2), ("400000 100000", 4),
    ("", math.inf), ("many", math.inf), ("50000", math.inf), ("1 2 3", math.inf), ("50000 0", math.inf),
    (None, math.inf),
])  # fmt: skip
def test_the_quota_of_a_control_group_is_rounded_up(contents, processors, monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    if contents is not None:
        quota.write_text(f"{contents}\n")
    monkeypatch.setattr(_threads, "CPU_QUOTA", quota)
    assert _threads._cgroup_quota.__wrapped__() == processors


@needs_openmp
def test_a_quota_means_no_more_threads(monkeypatch):
    monkeypatch.setattr(_threads, "_cgroup_quota", lambda: 1)
    assert fastml.get_num_threads() == 1


FEW = """if True:
    import resource, numpy as np, fastml
    x, weight = np.ones((2, 8, 64, 64)), np.ones((8, 8, 3, 3))
    def compute(n_threads):
        return fastml.conv2d(x, weight, n_threads=n_threads).sum()
    expected = compute(1)
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + MEBIBYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
    few = compute(9) == expected
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print(few, compute(9) == expected)"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
@pytest.mark.parametrize("mebibytes", (4, 12, 30))
def test_where_threads_cannot_start_one_runs(mebibytes):
    """Each takes 8 MiB for its stack. OpenMP would end the process."""
    assert printed(FEW.replace("MEBIBYTES", str(mebibytes))) == "True True"


def test_a_thread_asks_once_whether_others_can_start(monkeypatch):
    made, start = [], _thread.start_new_thread
    monkeypatch.setattr(_threads, "_team", threading.local())
    monkeypatch.setattr(_thread, "start_new_thread", lambda *call: made.append(1) or start(*call))
    assert [_threads.count(n, 0) for n in (1, 3, 2, 3, 4)] == [1, 3, 2, 3, 4]
    assert len(made) == 2 + 3


def by_backend(code, backend, usual):
    """What BACKEND and CALLED are. Of Numba's kernels max_pool2d_backward is the one that is soon compiled."""
    at = "np.broadcast_to(np.arange(x[0, 0].size).reshape(x.shape[2:]), x.shape)"
    quick = f"fastml.max_pool2d_backward(x, {at}, x.shape, backend=BACKEND, n_threads=n_threads)"
    return code.replace("CALLED", quick if backend == "numba" else usual).replace("BACKEND", repr(backend))


FORK = """if True:
    import os, signal, time, numpy as np, fastml
    x, weight = np.ones((2, 8, 64, 64)), np.ones((8, 8, 3, 3))
    def compute(n_threads):
        fastml.moments(x.reshape(-1, 64), backend=BACKEND, n_threads=n_threads)
        return CALLED.sum()
    expected = compute(2)
    assert compute(1) == expected  # compiled, where there is something to compile
    child = os.fork()
    if not child:
        signal.alarm(5)  # a child that hangs ends with signal 14
        right = fastml.get_num_threads() == 1 and compute(None) == compute(2) == expected
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status), "parent", compute(2) == expected)"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forked_child_answers_on_one_thread(backend):
    convolution = "fastml.conv2d(x, weight, backend=BACKEND, n_threads=n_threads)"
    assert printed(by_backend(FORK, backend, convolution)) == "child 0 parent True"


FIRST_CALLS = """if True:
    import threading, numpy as np, fastml
    X, x = np.random.default_rng(0).normal(size=(4000, 40)), np.random.default_rng(1).normal(size=(2, 4, 40, 40))
    gate, results = threading.Barrier(8), []
    def call():
        gate.wait()
        for n_threads in (2, None, 3, 1):
            statistics = fastml.moments(X, n_threads=n_threads, backend=BACKEND)
            pooled = CALLED
            results.append(statistics.m2.tobytes() + pooled.tobytes())
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(results), len(set(results)))"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_calls_may_come_from_many_threads_at_once(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    pooling = "fastml.max_pool2d(x, 3, 2, 1, n_threads=n_threads, backend=BACKEND)"
    assert printed(by_backend(FIRST_CALLS, backend, pooling)) == "32 1"


@pytest.mark.parametrize("op", ("conv2d", "batch_norm", "pca"))
@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_from_many_threads_do_not_disturb_each_other(op, backend):
    case = next(case for case in reversed(SMALL) if case.op == op)
    args, options = case.arguments(np.float64)

    def call(n_threads):
        result = getattr(fastml, op)(*args, backend=backend, n_threads=n_threads, **options)
        return result.singular_values.tobytes() if op == "pca" else result.tobytes()

    expected, results = call(1), []
    threads = [threading.Thread(target=lambda: results.extend(call(2) for _ in range(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 160


LONG = {
    "moments": Case("moments", "", normal(4000, 50)),
    "standardize": Case("standardize", "", normal(4000, 50)),
    "conv2d": Case("conv2d", "", normal(1, 16, 40, 40), {}, (16, 16, 3, 3)),
    "conv2d, 1 x 1": Case("conv2d", "", normal(1, 64, 40, 40), {}, (64, 64, 1, 1)),
    "conv2d_backward": Case("conv2d_backward", "", normal(1, 16, 40, 40), {}, (16, 16, 3, 3)),
    "max_pool2d": Case("max_pool2d", "", normal(4, 16, 40, 40), {"kernel_size": 3, "stride": 2}),
    "avg_pool2d": Case("avg_pool2d", "", normal(4, 16, 40, 40), {"kernel_size": 3, "stride": 2}),
    "avg_pool2d, one window": Case("avg_pool2d", "", normal(4, 16, 40, 40), {"kernel_size": 40}),
    "batch_norm": Case("batch_norm", "", normal(4, 16, 40, 40), {"training": True}),
    "max_pool2d_backward": Case("max_pool2d_backward", "", normal(4, 16, 40, 40), {"kernel_size": 3}),
    "avg_pool2d_backward": Case("avg_pool2d_backward", "", normal(4, 16, 40, 40), {"kernel_size": 3}),
    "batch_norm_backward": Case("batch_norm_backward", "", normal(4, 16, 40, 40), {"training": True}),
    "pca": Case("pca", "", normal(4000, 50)),
    "pca_transform": Case("pca_transform", "", normal(40_000, 50), {"components": 10}),
}
COMPILED = [rung for rung in RUNGS if rung.ships and rung.backend != "numpy"]


@pytest.mark.parametrize("rung", COMPILED, ids=lambda rung: f"{rung.op}-{rung.backend}-{rung.name}")
def test_other_threads_run_during_a_kernel(rung):
    """With an hour between forced switches, the ticker ticks only while a kernel lets it."""
    problems = (case.problem(np.float64) for case in LONG.values() if case.op == rung.op)
    kernel, problem, ticks = _dispatch.load(rung), next(p for p in problems if _dispatch.serves(rung, p)), []
    kernel(*problem, 1)
    stop = threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(1)
            time.sleep(0.0005)

    ticker, interval = threading.Thread(target=tick), sys.getswitchinterval()
    ticker.start()
    try:
        sys.setswitchinterval(3600)
        started, deadline = len(ticks), time.monotonic() + 10
        while len(ticks) < started + 3 and time.monotonic() < deadline:
            kernel(*problem, 1)
        assert len(ticks) >= started + 3
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        ticker.join()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_copy_between_layouts(dtype, n_threads):
    x = np.arange(3 * 8 * 6 * 5 * 4, dtype=dtype).reshape(3, 8, 6, 5, 4)
    x.flags.writeable = False
    to = np.full((6, 3, 5, 4, 16), -1, dtype)
    _threads.copy(x.transpose(2, 0, 3, 4, 1)[..., ::-1, :], to[..., ::2], n_threads)
    np.testing.assert_array_equal(to[..., ::2], x.transpose(2, 0, 3, 4, 1)[..., ::-1, :])
    assert (to[..., 1::2] == -1).all()
    _threads.copy(x[:0], np.empty((0, 8, 6, 5, 4), dtype), n_threads)
