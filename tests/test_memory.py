"""Kernels stay inside their arrays, and what those of conv2d take to work in stays small."""

import ctypes
import mmap
import sys
import tracemalloc

import numpy as np
import pytest

from fastml import _dispatch, _validate
from fastml._core import _memory
from fastml._registry import RUNGS
from fastml.learn.cases import Case
from fastml.learn.data import normal
from tests.small_cases import SMALL

COMPILED = [rung for rung in RUNGS if rung.backend == "cython"]
CONVOLUTIONS = [rung for rung in COMPILED if rung.op == "conv2d" and rung.name != "loops"]
PANELS = tuple(
    Case("conv2d", f"1x5x6x19 to {outputs}, k{k}", normal(1, 5, 6, 19), {"padding": k // 2}, (outputs, 5, k, k))
    for outputs in (1, 2, 3, 5, 6, 7)
    for k in (1, 3)
)


def guarded(array, *, behind):
    """A copy that ends where a page begins that nobody may touch, or begins where one ends."""
    page, libc = mmap.PAGESIZE, ctypes.CDLL(None)
    body = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, body + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for border in (start, start + page + body):
        assert libc.mprotect(ctypes.c_void_p(border), ctypes.c_size_t(page), 0) == 0
    place = page + body - array.nbytes if behind else page
    copy = np.frombuffer(memory, array.dtype, array.size, place).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
@pytest.mark.parametrize("behind", (True, False))
@pytest.mark.parametrize("rung", COMPILED, ids=lambda rung: f"{rung.op}-{rung.name}")
def test_nothing_beyond_the_arrays_is_touched(rung, behind):
    """A kernel that touches it does not fail: it takes the interpreter with it."""
    prepare = _dispatch.preparation(rung)
    for case in (*SMALL, *PANELS):
        for dtype in (np.float32, np.float64) if case.op == rung.op else ():
            problem = case.problem(dtype)
            problems = [problem] if _dispatch.serves(rung, problem) else []
            if problems and prepare is not None:
                problems.append(problem._replace(prepared=prepare(problem.weight, problem.groups, 1)))
            for problem in problems:
                arrays = {name: value for name, value in problem._asdict().items() if isinstance(value, np.ndarray)}
                inside = {name: guarded(array, behind=behind) for name, array in arrays.items() if array.size}
                _dispatch.load(rung)(*problem._replace(**inside), 2)


BIG = (  # image, weights, options
    ((1, 1, 1, 34803), (6, 1, 1, 840), {"dilation": (1, 41)}),
    ((1, 1, 1, 400001), (4, 1, 1, 3), {"dilation": (1, 180000)}),
    ((1, 1, 4, 1000000), (1, 1, 3, 3), {"padding": 1}),
    ((1, 1, 99, 8192), (1, 1, 3, 3), {"padding": 1}),
    ((7, 1024, 14, 14), (64, 1024, 3, 3), {"padding": 1}),
    ((1, 4096, 6, 6), (8, 4096, 3, 3), {}),
    ((1, 20000, 2, 2), (8, 20000, 1, 1), {}),
    ((1, 8, 9, 9), (20000, 8, 1, 1), {}),
    ((1, 64, 40, 40), (8, 64, 31, 31), {"padding": 15}),
    ((1, 3, 300, 3000), (8, 3, 7, 7), {"stride": 2}),
)


@pytest.mark.parametrize("rung", CONVOLUTIONS, ids=lambda rung: rung.name)
@pytest.mark.parametrize(("image", "weight", "options"), BIG)
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_working_memory_is_less_than_8_mib_a_thread(rung, image, weight, options, dtype, monkeypatch):
    """Beside the weights as the kernel wants them."""
    x, weights = np.zeros(image, dtype), np.zeros(weight, dtype)
    problem = _validate.conv2d(x, weights, **options)[0]
    if not _dispatch.serves(rung, problem):
        pytest.skip("not served")
    for n_threads in (1, 3):
        prepare = _dispatch.preparation(rung)
        prepared = prepare(problem.weight, problem.groups, 1) if prepare else problem.prepared
        monkeypatch.setattr(_memory, "_kept", type(_memory._kept)())
        tracemalloc.start()
        try:
            _dispatch.load(rung)(*problem._replace(prepared=prepared), n_threads)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < n_threads * 2**23
