"""Calls that must be refused: the right exception, the argument's name, within a second, and nothing written."""

import os
import time

import numpy as np
import pytest

import fastml

X = np.random.default_rng(0).normal(size=(4, 3))
IMAGES = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
WEIGHT = np.random.default_rng(2).normal(size=(6, 4, 3, 3))
GRADIENTS = np.random.default_rng(3).normal(size=(2, 4, 2, 3))
GRADIENTS_OF_CONVOLUTION = np.random.default_rng(4).normal(size=(2, 6, 3, 4))
INDICES = fastml.max_pool2d(IMAGES, 2, return_indices=True)[1]
VALID = {
    "moments": {"X": X},
    "standardize": {"X": X},
    "pca": {"X": X},
    "conv2d": {"x": IMAGES, "weight": WEIGHT},
    "max_pool2d": {"x": IMAGES, "kernel_size": 2},
    "avg_pool2d": {"x": IMAGES, "kernel_size": 2},
    "global_avg_pool2d": {"x": IMAGES},
    "batch_norm": {"x": IMAGES, "running_mean": np.zeros(4), "running_var": np.ones(4)},
    "max_pool2d_backward": {"grad_out": GRADIENTS, "indices": INDICES, "input_shape": IMAGES.shape},
    "avg_pool2d_backward": {"grad_out": GRADIENTS, "input_shape": IMAGES.shape, "kernel_size": 2},
    "conv2d_backward": {"x": IMAGES, "weight": WEIGHT, "grad_out": GRADIENTS_OF_CONVOLUTION},
    "batch_norm_backward": {"x": IMAGES, "grad_out": IMAGES, "mean": np.zeros(4), "variance": np.ones(4)},
}
MATRICES, POOLS = ("moments", "standardize", "pca"), ("max_pool2d", "avg_pool2d")
IMAGE_OPS, POOLS_BACKWARD = ("conv2d", *POOLS), ("max_pool2d_backward", "avg_pool2d_backward")
WITHOUT_OUT = ("moments", "pca", "batch_norm_backward", "conv2d_backward")
WITH_OUT = tuple(op for op in VALID if op not in WITHOUT_OUT)
RESULT = {op: getattr(fastml, op)(**VALID[op]) for op in VALID}  # Numba compiles here, not within the second


def main(op):
    return next(iter(VALID[op]))


def zeros(*shape):
    return np.zeros(shape)


def huge(*shape, dtype=np.float64):
    """An array of any size in one value of memory."""
    return np.lib.stride_tricks.as_strided(np.zeros(1, dtype), shape, (0,) * len(shape))


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(shape):
    return np.zeros(8 * int(np.prod(shape)) + 1, np.uint8)[1:].view(np.float64).reshape(shape)


def contents(value):
    """Bytes of an array, or of its first few values where it only pretends to be large."""
    if isinstance(value, np.ndarray):
        return value[(slice(6),) * value.ndim].tobytes()
    return repr(value) if isinstance(value, list | tuple) else None


def call(op, arguments):
    """The result, or the exception; either within a second and with the arguments as they were."""
    before = [contents(value) for value in arguments.values()]
    start = time.perf_counter()
    try:
        result = getattr(fastml, op)(**arguments)
    except Exception as error:
        result = error
    assert time.perf_counter() - start < 1
    assert [contents(value) for value in arguments.values()] == before
    return result


def refused(op, changes, error, pattern):
    result = call(op, {**VALID[op], **changes})
    assert type(result) is error, repr(result)
    with pytest.raises(error, match=pattern):
        raise result


def table(*rows):
    """Rows of (operations, changed arguments, exception, pattern), one test for each operation."""
    rows = [(op, *row[1:]) for row in rows for op in ([row[0]] if isinstance(row[0], str) else row[0])]
    return pytest.mark.parametrize(
        ("op", "changes", "error", "pattern"), rows, ids=[f"{op} {' '.join(changes)}" for op, changes, *_ in rows]
    )


NO_NUMBERS = {
    "complex": (np.ones((4, 3), complex), TypeError, "must be float32 or float64, got complex128"),
    "strings": ([["a", "b"], ["c", "d"]], TypeError, "must be float32 or float64, got <U1"),
    "objects": (np.ones((4, 3), object), TypeError, "must be float32 or float64, got object"),
    "longdouble": (np.ones((4, 3), np.longdouble), TypeError, "must be float32 or float64, got float128|longdouble"),
    "float16": (np.ones((4, 3), np.float16), TypeError, "must be float32 or float64, got float16"),
    "dates": (np.zeros((4, 3), "M8[s]"), TypeError, "must be float32 or float64, got datetime64"),
    "masked": (np.ma.masked_invalid(np.ones((4, 3))), TypeError, "must be a plain array: a masked array"),
    "ragged": ([[1.0, 2.0], [3.0]], ValueError, "must be a rectangular array of numbers"),
    "None": (None, TypeError, "must be float32 or float64, got object"),
    "text": ("abc", TypeError, "must be float32 or float64, got <U3"),
    "number": (1.5, ValueError, "must be .*, got 0 dimensions"),
    "rank 1": (np.ones(4), ValueError, "must be .*, got 1 dimensions"),
    "rank 5": (np.ones((1, 1, 1, 2, 2)), ValueError, "must be .*, got 5 dimensions"),
}


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        (op, kind)
        for op in VALID
        for kind in NO_NUMBERS
        if kind != "float16" or op not in ("moments", "standardize")  # which take it
    ],
)
def test_what_is_no_array_of_numbers(op, kind):
    value, error, message = NO_NUMBERS[kind]
    refused(op, {main(op): value}, error, f"^{main(op)} {message}")


@table(
    (VALID, {"backend": "gpu"}, ValueError, "^backend must be one of cython, numba, numpy; got 'gpu'"),
    (VALID, {"backend": 3}, TypeError, "^backend must be a string"),
    *((VALID, {"n_threads": v}, ValueError, "^n_threads must be from 1 to") for v in (0, -1, 1025, 2**63)),
    *((VALID, {"n_threads": v}, TypeError, "^n_threads must be an integer, got") for v in (1.5, True, "2")),
    (MATRICES, {"X": zeros(2, 2, 2)}, ValueError, "^X must be a matrix"),
    *((MATRICES[:2], {"axis": v}, ValueError, "^axis must be from 0 to 1, got") for v in (2, -1, 2**64, 10**5000)),
    *((MATRICES[:2], {"axis": v}, TypeError, "^axis must be an integer, got") for v in (1.0, True, None, "0")),
    ("standardize", {"mean": zeros(4)}, ValueError, r"^mean must have shape \(3,\), got \(4,\)"),
    ("standardize", {"mean": zeros(3), "axis": 1}, ValueError, r"^mean must have shape \(4,\)"),
    ("standardize", {"mean": "a"}, TypeError, "^mean must be float32"),
    ("standardize", {"std": zeros(3, 1)}, ValueError, "^std must have shape"),
    ("standardize", {"std": [1, 1, -1]}, ValueError, "^std must not be negative"),
    ("standardize", {"std": np.ma.ones(3)}, TypeError, "^std must be a plain array"),
    ("standardize", {"std": [[1], [1, 2]]}, ValueError, "^std must be a rectangular"),
    *(("standardize", {name: v}, TypeError, f"^{name} must be True or False, got")
      for name in ("with_mean", "with_std", "return_stats") for v in (1, None, "yes")),
    *(("standardize", {"ddof": v}, ValueError, "^ddof must be a finite number from 0")
      for v in (-1, np.nan, np.inf, 10**400)),
    *(("standardize", {"ddof": v}, TypeError, "^ddof must be a number, got") for v in ("1", True, None, 1j)),
    ("pca", {"X": zeros(1, 3)}, ValueError, "^X must have at least 2 rows and 1 column"),
    ("pca", {"X": zeros(0, 3)}, ValueError, "^X must have at least 2 rows"),
    ("pca", {"X": zeros(3, 0)}, ValueError, "^X must have at least 2 rows"),
    *(("pca", {"n_components": n}, ValueError, "^n_components must be from 1 to 3") for n in (0, -1, 4, 2**64)),
    *(("pca", {"n_components": n}, ValueError, r"^n_components must be in \(0, 1\)") for n in (0.0, 1.0, 1.5)),
    *(("pca", {"n_components": n}, ValueError, "^n_components must be") for n in (-0.5, np.nan, np.inf)),
    *(("pca", {"n_components": n}, TypeError, "^n_components must be") for n in (True, "mle", [2], 1j)),
    ("pca", {"solver": "svd"}, ValueError, "^solver must be one of .*, got 'svd'"),
    ("pca", {"solver": "arpack", "n_components": 3}, ValueError, "^n_components must be from 1 to 2"),
    ("pca", {"tol": -1.0}, ValueError, "^tol must be a finite number from 0"),
    ("pca", {"tol": "small"}, TypeError, "^tol must be a number"),
    ("pca", {"n_oversamples": 0}, ValueError, "^n_oversamples must be from 1"),
    ("pca", {"n_iterations": -1}, ValueError, "^n_iterations must be from 0"),
    ("pca", {"random_state": "seed"}, TypeError, "^random_state must be an integer, got str"),
    ("pca", {"solver": None}, ValueError, "^solver must be one of"),
    ("pca", {"solver": 3}, TypeError, "^solver must be one of .*, got int"),
    ("pca", {"whiten": 1}, TypeError, "^whiten must be True or False"),
    ("pca", {"X": X * 1e200}, ValueError, "^X is too large"),
)  # fmt: skip
def test_matrices(op, changes, error, pattern):
    refused(op, changes, error, pattern)


OUTS = {
    "list": (lambda good: good.tolist(), TypeError, "must be a NumPy array, got list"),
    "dtype": (lambda good: good.astype(np.float32), TypeError, "must be float64, got float32"),
    "byte order": (lambda good: good.astype(">f8"), TypeError, "must be float64, got >f8"),
    "rows": (lambda good: good[:1], ValueError, "must have shape"),
    "rank": (lambda good: good[np.newaxis], ValueError, "must have shape"),
    "read-only": (read_only, ValueError, "must be contiguous, aligned and writeable"),
    "strided": (lambda good: np.repeat(good, 2, axis=-1)[..., ::2], ValueError, "must be contiguous"),
    "reversed": (lambda good: good.copy()[::-1], ValueError, "must be contiguous"),
    "misaligned": (lambda good: misaligned(good.shape), ValueError, "must be contiguous"),
    "huge": (lambda good: huge(2**40, 3), ValueError, "must have shape"),
}


@pytest.mark.parametrize("kind", OUTS)
@pytest.mark.parametrize("op", WITH_OUT)
def test_out(op, kind):
    make, error, message = OUTS[kind]
    refused(op, {"out": make(RESULT[op])}, error, f"^out {message}")


@pytest.mark.parametrize(
    ("op", "name", "value"),
    [
        *((op, main(op), VALID[op][main(op)]) for op in WITH_OUT),
        ("conv2d", "weight", WEIGHT),
        ("conv2d", "bias", zeros(6)),
        ("conv2d", "residual", zeros(2, 6, 3, 4)),
        ("batch_norm", "residual", IMAGES),
        ("max_pool2d_backward", "indices", INDICES),
    ],
)
def test_out_that_overlaps_an_input(op, name, value):
    storage = np.zeros(value.size + RESULT[op].size)
    view = storage[: value.size].view(value.dtype).reshape(value.shape)
    view[...] = value
    out = storage[1 : RESULT[op].size + 1].reshape(RESULT[op].shape)
    refused(op, {name: view, "out": out}, ValueError, f"^out may not share memory with {name}$")
    if op in POOLS:
        refused(op, {"x": view, "kernel_size": 1, "out": view}, ValueError, "^out may not share memory with x$")


MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
ROWS = MEMORY // 2**34 + 2  # of 2**31 values each: more than this machine holds
WIDE = ((2**40, 3), (3, 2**40), (2**20, 2**20), *((n, ROWS) for n in (2**31 - 1, 2**31, 2**31 + 1)))
DEEP = ((2**38, 4, 5, 6), (2, 4, 2**20, 2**20), *((ROWS, 4, n, 1) for n in (2**31 - 1, 2**31, 2**31 + 1)))


@table(
    *((MATRICES, {"X": huge(*shape)}, ValueError, "^(X|out) of shape .* takes .* bytes") for shape in WIDE),
    *((MATRICES, {"X": huge(*shape, dtype=np.int8)}, ValueError, "^X of shape .* takes") for shape in WIDE),
    *((IMAGE_OPS, {"x": huge(*shape), "padding": "same"}, ValueError, "^(x|the result) of shape") for shape in DEEP),
    *((("batch_norm", "global_avg_pool2d"), {"x": huge(*shape)}, ValueError, "^(x|out) of shape") for shape in DEEP),
    ("conv2d", {"weight": huge(2**40, 4, 3, 3)}, ValueError, "^the result of shape .* takes"),
    ("conv2d", {"weight": huge(2**40, 4, 3, 3), "x": IMAGES[:0]}, ValueError, "^weight of shape .* takes"),
    ("conv2d", {"weight": huge(1, 4, 2**28, 2**28)}, ValueError, "^weight 268435456 with dilation 1 spans"),
    ("conv2d", {"weight": huge(6, 2**40, 3, 3)}, ValueError, "^x has 4 channels, but weight has"),
    ("conv2d", {"bias": huge(2**40)}, ValueError, "^bias must have shape"),
    ("conv2d", {"residual": huge(2**31, 6, 3, 4)}, ValueError, "^residual must have shape"),
    ("batch_norm", {"running_mean": huge(2**40)}, ValueError, "^running_mean must have shape"),
    ("standardize", {"mean": huge(2**31)}, ValueError, "^mean must have shape"),
    *((POOLS_BACKWARD, {"input_shape": (2, 4, n, n)}, ValueError, "^(the result|grad_out must have)")
      for n in (2**24, 2**31, 2**40)),
    (POOLS_BACKWARD, {"grad_out": huge(2**40, 4, 2, 3)}, ValueError, "^(the result|grad_out|input_shape)"),
    ("max_pool2d_backward", {"indices": huge(2**40, 4, 2, 3, dtype=np.int64)}, ValueError, "^indices must have the sh"),
    ("batch_norm_backward", {"x": huge(2**40, 4, 5, 6)}, ValueError, "^grad_out must have shape"),
    ("batch_norm_backward", {"mean": huge(2**40)}, ValueError, "^mean must have shape"),
    (MATRICES[:2], {"X": zeros(0, 2**40)}, ValueError, "X.* takes"),
    ("batch_norm", {"x": zeros(0, 2**40), "running_mean": 0.0, "running_var": 1.0}, ValueError, "x.* takes"),
)
def test_arrays_larger_than_memory(op, changes, error, pattern):
    refused(op, changes, error, pattern)
