"""What is wrong with a file is found, and named in a way that helps."""

import re

import pytest

from fastml.learn import judge
from tests.test_grader import written

MEANS = "import numpy as np\ndef column_means(x, out):\n"
WRONG = {
    "off by one": ("column_means", MEANS + "    out[:] = x[:-1].sum(axis=0) / len(x)", r"out\[0\] should be 0\.\d+ to"),
    "not written": ("column_means", MEANS + "    out[1:] = x.mean(axis=0, dtype=float)[1:]", "was never set, or only"),
    "added to": (
        "column_means",
        MEANS + "    out += x.mean(axis=0, dtype=float)",
        r"out\[0\] was never set, or only added to: it should be 0\.1257",
    ),
    "returned": ("column_means", "def column_means(x, out): return x[0]", "what it returns does not count"),
    "float32 sums": ("column_means", MEANS + "    out[:] = x.mean(axis=0)", r"to within \S+, but is"),
    "input changed": (
        "column_means",
        MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n    x[-1, -1] += 1",
        r"it changed its input: x\[0, 0\] is now 1.1",
    ),
    "written after": (
        "column_means",
        MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n"
        "    np.lib.stride_tricks.as_strided(out, (out.size + 2,))[-1] = 7",
        "it wrote outside out: 8 bytes after its end|it wrote outside out: 1[0-5] bytes after its end",
    ),
    "written before": (
        "column_means",
        "import ctypes\n" + MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n"
        "    ctypes.memset(x.ctypes.data - 3, 1, 1)",
        "it wrote outside x: 3 bytes before its start",
    ),
    "read outside": (
        "sum_accumulators",
        "import numba\n@numba.njit\ndef total(x, out):\n    out[0] = 0.0\n"
        "    for i in range(x.size + 1): out[0] += x[i]",
        r"out\[0\] should be 0 to within \S+, but is nan",
    ),
    "raises": ("column_means", MEANS + "    raise KeyError(3)", r"it raised KeyError in line 3: 3"),
    "arguments": ("column_means", "def column_means(x): pass", "it raised TypeError: column_means.. takes 1"),
    "no function": ("column_means", "def means(x, out): pass", "does not define a function column_means"),
    "syntax": ("column_means", "def column_means(x, out) pass", "expected ':'"),
    "NaN lost": (
        "max_pool_separable",
        "import numpy as np\ndef max_pool(x, out):\n"
        "    out[:] = np.nanmax(np.lib.stride_tricks.sliding_window_view(x, (5, 5)), axis=(2, 3))",
        r"out\[\d+, \d+\] should be nan, but is \d",
    ),
    "NaN is not below zero": (
        "fuse_passes",
        "import numpy as np\ndef normalize_add_relu(x, scale, shift, residual, out):\n"
        "    out[:] = np.fmax(scale[:, None] * x + shift[:, None] + residual, 0)",
        r"out\[1, 32\] should be nan, but is 0",
    ),
    "unshifted": (
        "stable_variance",
        "import numpy as np\ndef variance(x, out):\n    y = x.astype(float)\n"
        "    out[:] = (y * y).mean(axis=0) - y.mean(axis=0) ** 2",
        r"out\[0\] should be 0\.\d+ to within \S+, but is",
    ),
    "mean rounded": (
        "standardize_fused",
        "import numpy as np\ndef standardize(x, out):\n    y = x.astype(float)\n    std = y.std(axis=0)\n"
        "    out[:] = (x - x.mean(axis=0)) / np.where(std == 0, 1, std)",
        r"out\[\d+, 0\] should be",
    ),
    "infinity lost": (
        "max_pool_separable",
        "import numpy as np\ndef max_pool(x, out):\n"
        "    out[:] = np.lib.stride_tricks.sliding_window_view(x, (5, 5)).max(axis=(2, 3), initial=-3.4e38)",
        r"out\[0, 0\] should be -inf, but is -3\.39",
    ),
    "never set to zero": (
        "stable_variance",
        "import numpy as np\nimport numba\n@numba.njit\ndef variance(x, out):\n"
        "    sums, squares, rows = np.empty(x.shape[1]), np.empty(x.shape[1]), x.shape[0]\n"
        "    for i in range(rows):\n        for j in range(x.shape[1]):\n"
        "            d = np.float64(x[i, j]) - x[0, j]\n            sums[j] += d\n            squares[j] += d * d\n"
        "    for j in range(x.shape[1]): out[j] = (squares[j] - sums[j] * sums[j] / rows) / rows",
        r"out\[\d+\] should be",
    ),
    "keeps its last answer": (
        "column_means",
        "KEPT = {}\ndef column_means(x, out):\n"
        "    if x.shape != (4000, 256) or x.shape not in KEPT: KEPT[x.shape] = x.mean(axis=0, dtype=float)\n"
        "    out[:] = KEPT[x.shape]",
        r"out\[0\] should be",
    ),
    "keeps an answer for each address": (
        "column_means",
        "KEPT = {}\ndef column_means(x, out):\n    key = x.ctypes.data\n"
        "    if x.shape != (4000, 256) or key not in KEPT: KEPT[key] = x.mean(axis=0, dtype=float)\n"
        "    out[:] = KEPT[key]",
        r"out\[0\] should be",
    ),
    "knows the answer for a seed": (
        "column_means",
        "import numpy as np\nKNOWN = np.random.default_rng(1).normal(0, 1, (4000, 256)).mean(axis=0)\n"
        "def column_means(x, out): out[:] = KNOWN if x.shape == (4000, 256) else x.mean(axis=0, dtype=float)",
        r"out\[0\] should be",
    ),
    "wrong where it is large": (
        "column_means",
        MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n    if x.size > 10**6: x[0, 0] = 0",
        r"it changed its input: x\[0, 0\] is now 0\.0",
    ),
    "fastml's": ("max_pool_separable", "import math\nfrom fastml.ops import max_pool2d", "it imports fastml in line 2"),
    "another package's": ("conv2d_unroll", "import torch.nn as nn", "it imports torch in line 1: the kernel is to be"),
    "BLAS by @": ("gemm_microkernel", "def matmul(a, b, out): out[:] = a @ b", "BLAS do the work, by @ in line 1"),
    "BLAS by name": ("gram_half", "import numpy as np\ndef gram(x, out): np.dot(x.T, x, out=out)", "by dot in line 2"),
}
CASES = {
    "unshifted": "a mean of a million",
    "no function": "loading the file",
    "fastml's": "loading the file",
    "keeps its last answer": "timing",
    "keeps an answer for each address": "timing",
    "knows the answer for a seed": "the problem that is timed",
    "wrong where it is large": "the problem that is timed",
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_found_and_named(mistake, tmp_path):
    name, code, message = WRONG[mistake]
    verdict = judge.judge(name, written(tmp_path, name, code))
    assert verdict.outcome == "failed"
    assert verdict.stars == 0
    assert re.search(message, verdict.reason), verdict
    assert CASES.get(mistake, verdict.case) == verdict.case


def test_the_input_is_named_where_it_changed(tmp_path):
    code = MEANS + "    out[:] = x.mean(axis=0, dtype=float)\n    if len(x) == 16: x[2, 1] = 3"
    verdict = judge.judge("column_means", written(tmp_path, "column_means", code))
    assert verdict.reason == "it changed its input: x[2, 1] is now 3.0"
    assert verdict.case == "16 x 16"


def test_threads_that_change_the_result_are_found(tmp_path):
    code = (
        "import numpy as np\ndef sum_squares(x, out, n_threads):\n"
        "    out[0] = sum(part.sum() for part in np.array_split(x.astype(float) ** 2, n_threads))"
    )
    verdict = judge.judge("threads_same_bits", written(tmp_path, "x", code))
    assert verdict.outcome == "failed"
    assert re.search(r"out\[0\] has other bits with [23] threads than with 1: \S+ instead of \S+", verdict.reason)


def test_loops_of_numba_s_own_count_threads_too(tmp_path):
    """A sum that Numba splits among its threads pays no heed to `n_threads`, and has other bits for other numbers."""
    code = (
        "import numba\nimport numpy as np\n@numba.njit(parallel=True)\ndef sum_squares(x, out, n_threads):\n"
        "    total = 0.0\n    for i in numba.prange(x.size): total += np.float64(x[i]) * x[i]\n    out[0] = total"
    )
    pytest.importorskip("numba")
    if numba_threads() < 2:
        pytest.skip("Numba has one thread here")
    verdict = judge.judge("threads_same_bits", written(tmp_path, "x", code))
    assert re.search(r"out\[0\] has other bits with [23] threads than with 1", verdict.reason), verdict


def numba_threads():
    import numba

    return numba.config.NUMBA_NUM_THREADS


def test_any_right_and_fast_function_passes(tmp_path):
    """NumPy's own, for one, where it does not call BLAS."""
    code = "import numpy as np\ndef total(x, out):\n    out[0] = np.add.reduce(x, dtype=np.float64)"
    verdict = judge.judge("sum_accumulators", written(tmp_path, "x", code))
    assert verdict.outcome != "failed" or verdict.case == "timing", verdict
