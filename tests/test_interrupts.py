"""Ctrl-C, and other signals whose handlers raise, end a long kernel; a handler that does not leaves it as it was."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastml
from fastml import _dispatch
from fastml.ops.pca import scatter
from fastml.ops.pca_transform import pca_transform

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
LONG = 0.5  # seconds; a kernel answers after 0.1


class Alarm(Exception):
    """What the handler raises."""


def convolution(algorithm: str, channels: int, outputs: int, size: int, kernel: int, groups: int = 1) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x, weight = normal(n, channels, size, size), normal(outputs, channels // groups, kernel, kernel)
        return lambda: fastml.conv2d(x, weight, padding=kernel // 2, groups=groups, algorithm=algorithm)

    return made


def backward(channels: int, groups: int = 1) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x, weight = normal(n, channels, 30, 30), normal(channels, channels // groups, 3, 3)
        options = {"needs_grad_x": False, "needs_grad_bias": False}  # sums of the gradients come before the kernel
        return lambda: fastml.conv2d_backward(x, x, weight, padding=1, groups=groups, **options)

    return made


def products(columns: int) -> Any:
    def made(n: int) -> Callable[[], Any]:
        X = normal(100 * n, columns)
        return lambda: scatter(X)

    return made


def transform(n: int) -> Callable[[], Any]:
    X, basis = normal(100 * n, 1000), normal(600, 1000)
    return lambda: pca_transform(X, np.zeros(1000), basis)


def pooling(pool: Any) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x = normal(n, 16, 60, 60)
        return lambda: pool(x, 15, 1, 7)

    return made


def small_windows(pool: Any) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x = unwritten(1000 * n, 16, 8, 8)
        return lambda: pool(x, 3, 1, 1, n_threads=1)

    return made


def global_means(n: int) -> Callable[[], Any]:
    x = unwritten(10_000 * n, 32, 2, 2)
    return lambda: fastml.global_avg_pool2d(x, n_threads=1)


def gradient_of_maxima(n: int) -> Callable[[], Any]:
    grad = unwritten(5000 * n, 32, 1, 1)
    indices, shape = np.zeros(grad.shape, np.int64), (len(grad), 32, 2, 2)
    return lambda: fastml.max_pool2d_backward(grad, indices, shape, n_threads=1)


def gradient_of_means(n: int) -> Callable[[], Any]:
    grad = normal(n, 16, 60, 60)
    return lambda: fastml.avg_pool2d_backward(grad, grad.shape, 15, 1, 7)


def weighted(n: int) -> Callable[[], Any]:
    X = normal(1000 * n, 200)
    return lambda: fastml.moments(X, sample_weight=np.ones(len(X)))


def unweighted(axis: int, columns: int) -> Any:
    def made(n: int) -> Callable[[], Any]:
        X = unwritten(1_000_000 * n // columns, columns)
        return lambda: fastml.moments(X, axis=axis, n_threads=1)

    return made


def standardized(n: int) -> Callable[[], Any]:
    X = unwritten(1_000_000 * n, 1)
    return lambda: fastml.standardize(X, mean=np.ones(1), std=np.ones(1), n_threads=1)


def normalized(samples: int, *shape: int) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x = unwritten(samples * n, *shape)
        return lambda: fastml.batch_norm(x, training=True, n_threads=1)

    return made


def gradient_of_normalized(samples: int, *shape: int) -> Any:
    def made(n: int) -> Callable[[], Any]:
        x, mean, variance = unwritten(samples * n, *shape), np.zeros(shape[0]), np.ones(shape[0])
        return lambda: fastml.batch_norm_backward(x, x, mean, variance, n_threads=1)

    return made


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def unwritten(*shape: int) -> np.ndarray:
    """Zeros, which take no memory until somebody writes them: what reads more than it computes is long by size only."""
    return np.zeros(shape, np.float32)


CALLS = {
    "winograd": convolution("winograd", 128, 128, 30, 3),
    "direct": convolution("direct", 32, 32, 40, 5),
    "im2col": convolution("im2col", 32, 32, 40, 5),
    "gemm": convolution("gemm", 512, 512, 20, 1),
    "first": convolution("first", 3, 64, 100, 7),
    "dots": convolution("dots", 256, 512, 3, 3),
    "depthwise": convolution("depthwise", 64, 64, 60, 15, 64),
    "loops": convolution("loops", 8, 8, 20, 3),
    "rows": convolution("rows", 8, 8, 40, 3),
    "backward": backward(32),
    "backward, depthwise": backward(32, 32),
    "scatter": products(350),
    "scatter of many columns": products(700),
    "transform": transform,
    "maxima": pooling(fastml.max_pool2d),
    "means": pooling(fastml.avg_pool2d),
    "maxima of small windows": small_windows(fastml.max_pool2d),
    "means of small windows": small_windows(fastml.avg_pool2d),
    "global means": global_means,
    "gradient of maxima": gradient_of_maxima,
    "gradient of means": gradient_of_means,
    "moments": unweighted(0, 1),
    "moments, axis 1": unweighted(1, 20),
    "weighted moments": weighted,
    "standardize": standardized,
    "batch_norm": normalized(1000, 32, 2, 2),
    "batch_norm, matrix": normalized(10, 500_000),
    "batch_norm_backward": gradient_of_normalized(1000, 32, 2, 2),
    "batch_norm_backward, matrix": gradient_of_normalized(10, 500_000),
}
QUICK = {"winograd", "backward", "scatter"}  # these in each run of the tests


@pytest.fixture
def ring() -> Iterator[Callable[..., None]]:
    """ring(seconds, handler) lets a handler run after so many seconds."""

    def start(after: float, handler: Callable[..., None]) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, after)

    before = signal.getsignal(signal.SIGALRM)
    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def long_call(name: str) -> tuple[Callable[[], Any], float]:
    """A call that takes long, and how long."""
    n = 4
    while True:
        run = CALLS[name](n)
        whole = min(seconds(run), seconds(run))  # the first one has to get its memory
        if whole > LONG:
            return run, whole
        n = 1 + int(n * min(1.5 * LONG / whole, 20))


def stop(number: int, frame: Any) -> None:
    raise Alarm


@pytest.mark.parametrize("name", [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow) for key in CALLS])
def test_a_long_call_ends_when_a_handler_raises(name, ring):
    run, whole = long_call(name)
    ring(0.02, stop)
    start = time.perf_counter()
    with pytest.raises(Alarm):
        run()
    assert time.perf_counter() - start < 0.6 * whole


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_standardized_in_place_is_so_to_the_end(in_place, ring):
    """An array half of which is scaled would be of no use to anybody, and the old one is gone."""
    x = np.full((250_000, 1000), 3.0)
    out = x if in_place else np.zeros_like(x)
    run = _dispatch.kernel("standardize", None, "cython", "rows")
    ring(0.02, stop)
    with pytest.raises(Alarm):
        run(x, 0, np.ones(1000), np.full(1000, 2.0), out, 1)
    assert (out[0] == 1).all()
    assert (out[-1] == 1).all() == in_place


@pytest.mark.slow
@pytest.mark.parametrize("into", ["new", "x", "residual"])
def test_a_batch_normalized_in_place_is_so_to_the_end(into, ring):
    x = np.full((50_000, 500, 4), 3.0, np.float32)  # few pixels, so that it is slow
    residual = x.copy() if into == "residual" else np.empty((0, 0, 0), x.dtype)
    out = {"new": np.zeros_like(x), "x": x, "residual": residual}[into]
    mean, variance, ended = np.zeros(500), np.zeros(500), 5 + 3 * (into == "residual")
    run = _dispatch.kernel("batch_norm", None, "cython", "channels")
    ring(0.02, stop)
    with pytest.raises(Alarm):
        run(x, np.ones(500), np.full(500, 5.0), residual, 1.0, True, False, mean, variance, out, 1)
    assert (out[:, 0] == ended).all()
    assert (out[:, -1] == ended).all() == (into != "new")


def test_control_c_raises_keyboard_interrupt_and_the_next_call_is_right(ring):
    run, _ = long_call("winograd")
    expected = run()
    ring(0.02, lambda number, frame: signal.default_int_handler(signal.SIGINT, frame))
    with pytest.raises(KeyboardInterrupt):
        run()
    np.testing.assert_array_equal(run(), expected)


def test_a_handler_may_call_kernels_itself(ring):
    """Which work in the same memory, for the same uses, if nobody sees to it that they do not."""
    run, _ = long_call("direct")
    small, expected, found = CALLS["direct"](1), run(), []
    right = small()

    def work(number: int, frame: Any) -> None:
        found.append(small())
        ring(0.02, work)

    ring(0.02, work)
    np.testing.assert_array_equal(run(), expected)
    assert len(found) > 1
    for result in found:
        np.testing.assert_array_equal(result, right)


def test_other_threads_are_not_ended(ring):
    run, _ = long_call("gemm")
    expected, found = run(), []
    worker = threading.Thread(target=lambda: found.append(run()))
    ring(0.02, stop)
    worker.start()
    with pytest.raises(Alarm):
        time.sleep(60)
    while worker.is_alive():
        time.sleep(0.01)
    np.testing.assert_array_equal(found[0], expected)
