"""Calls that must be refused: the right exception, the argument's name, within a second, and nothing written."""

import os
import time

import numpy as np
import pytest

import fastml
from tests.test_max_pool2d import pytorch_size, seen

X = np.random.default_rng(0).normal(size=(4, 3))
IMAGES = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
WEIGHT = np.random.default_rng(2).normal(size=(6, 4, 3, 3))
VALID = {
    "moments": {"X": X},
    "standardize": {"X": X},
    "pca": {"X": X},
    "conv2d": {"x": IMAGES, "weight": WEIGHT},
    "max_pool2d": {"x": IMAGES, "kernel_size": 2},
    "avg_pool2d": {"x": IMAGES, "kernel_size": 2},
    "batch_norm": {"x": IMAGES, "running_mean": np.zeros(4), "running_var": np.ones(4)},
}
TRAINING = {"training": True}
MATRICES, POOLS = ("moments", "standardize", "pca"), ("max_pool2d", "avg_pool2d")
IMAGE_OPS = ("conv2d", *POOLS)
WITH_OUT = tuple(op for op in VALID if op not in ("moments", "pca"))
RESULT = {op: getattr(fastml, op)(**VALID[op]) for op in VALID}  # Numba compiles here, not within the second


def main(op):
    return "X" if op in MATRICES else "x"


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


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("op", VALID)
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
    ("pca", {"solver": "arpack"}, ValueError, "^solver must be one of .*, got 'arpack'"),
    ("pca", {"solver": None}, ValueError, "^solver must be one of"),
    ("pca", {"solver": 3}, TypeError, "^solver must be one of .*, got int"),
    ("pca", {"whiten": 1}, TypeError, "^whiten must be True or False"),
    ("pca", {"X": X * 1e200}, ValueError, "^X is too large"),
)  # fmt: skip
def test_matrices(op, changes, error, pattern):
    refused(op, changes, error, pattern)


@table(
    *((IMAGE_OPS, {"x": zeros(*shape)}, ValueError, "^x must have at least one channel, row and column")
      for shape in ((2, 0, 5, 6), (2, 4, 0, 6), (2, 4, 5, 0), (0, 4, 5))),
    (IMAGE_OPS, {"x": zeros(5, 6)}, ValueError, "^x must be a batch"),
    *(((*IMAGE_OPS, "batch_norm"), {"x": IMAGES.astype(t)}, TypeError, "^x must be float") for t in (int, "u1", bool)),
    *((IMAGE_OPS, {"stride": v}, ValueError, "^stride must be") for v in (0, -1, (1, 2, 3), ())),
    *((IMAGE_OPS, {"stride": v}, ValueError, r"^stride\[1\] must be from 1 to") for v in ((1, 0), [1, -1])),
    *((IMAGE_OPS, {"stride": v}, TypeError, "^stride must be an integer, got") for v in (1.0, True, "1", {1: 1})),
    (IMAGE_OPS, {"stride": (1, 1.5)}, TypeError, r"^stride\[1\] must be an integer, got float"),
    ("conv2d", {"stride": None}, TypeError, "^stride must be an integer"),
    *((("conv2d", "max_pool2d"), {"dilation": v}, ValueError, "^dilation must be") for v in (0, -1, (1,), 2**63)),
    *((("conv2d", "max_pool2d"), {"dilation": v}, TypeError, "^dilation must be") for v in (1.0, None, True)),
    *((IMAGE_OPS, {"padding": v}, ValueError, "^padding must be") for v in (-1, "full", (1, 2, 3), ((1, 1), 1))),
    *((IMAGE_OPS, {"padding": v}, TypeError, "^padding must be an integer, got") for v in (0.5, True, None)),
    (IMAGE_OPS, {"padding": ((0, -1), (0, 0))}, ValueError, r"^padding\[0\]\[1\] must be"),
    (IMAGE_OPS, {"padding": ((0, 0), (0, 1.0))}, TypeError, r"^padding\[1\]\[1\] must be"),
    (IMAGE_OPS, {"padding": ((0, 0), (1, 1, 1))}, ValueError, r"^padding\[1\] must be an integer or two"),
    ("conv2d", {"padding": 2**24 + 1, "stride": 2**25}, ValueError, "^padding must be at most 16777216 on a side"),
    ("conv2d", {"padding": 2**63 - 1}, ValueError, "^padding must be"),
    (POOLS, {"padding": 2}, ValueError, r"^padding must be at most half of the kernel \(2\)"),
    (POOLS, {"padding": ((0, 2), (0, 0))}, ValueError, "^padding must be less than the dilated kernel"),
    *((POOLS, {"kernel_size": v}, ValueError, "^kernel_size must be") for v in (0, -1, (1, 2, 3), 2**63)),
    *((POOLS, {"kernel_size": v}, TypeError, "^kernel_size must be") for v in (2.0, None, True, "2")),
    (POOLS, {"kernel_size": 6}, ValueError, "^kernel_size 6 with dilation 1 spans 6, more than the padded input"),
    ("max_pool2d", {"dilation": 5}, ValueError, "^kernel_size 2 with dilation 5 spans 6"),
    ("conv2d", {"dilation": 3}, ValueError, "^weight 3 with dilation 3 spans 7, more than the padded input"),
    (POOLS, {"ceil_mode": 1}, TypeError, "^ceil_mode must be True or False, got int"),
    ("max_pool2d", {"return_indices": None}, TypeError, "^return_indices must be True or False"),
    ("avg_pool2d", {"count_include_pad": 0}, TypeError, "^count_include_pad must be True or False"),
    *(("avg_pool2d", {"divisor_override": v}, ValueError, "^divisor_override must be from 1") for v in (0, -3, 2**63)),
    *(("avg_pool2d", {"divisor_override": v}, TypeError, "^divisor_override must be") for v in (1.0, False)),
    ("conv2d", {"padding": 2**23}, ValueError, "^the result of shape .* takes .* bytes"),
)  # fmt: skip
def test_windows(op, changes, error, pattern):
    refused(op, changes, error, pattern)


@table(
    ("conv2d", {"weight": zeros(4, 3, 3)}, ValueError, "^weight must be of shape .*, got 3 dimensions"),
    ("conv2d", {"weight": WEIGHT.astype(np.float32)}, TypeError, "^weight must have the dtype of x, float64"),
    ("conv2d", {"weight": WEIGHT.astype(int)}, TypeError, "^weight must be float32 or float64"),
    ("conv2d", {"weight": WEIGHT[:0]}, ValueError, "^weight must not be empty"),
    ("conv2d", {"weight": WEIGHT[:, :, :0]}, ValueError, "^weight must not be empty"),
    ("conv2d", {"weight": WEIGHT[:, :3]}, ValueError, "^x has 4 channels, but weight has 3 for each of 1 groups"),
    ("conv2d", {"groups": 2}, ValueError, "^x has 4 channels, but weight has 4 for each of 2 groups"),
    ("conv2d", {"groups": 4, "weight": WEIGHT[:, :1]}, ValueError, "^groups must divide the 6 outputs of weight"),
    *(("conv2d", {"groups": v}, ValueError, "^groups must be from 1 to") for v in (0, -1, 2**63)),
    *(("conv2d", {"groups": v}, TypeError, "^groups must be an integer") for v in (1.0, True, None, (1, 1))),
    ("conv2d", {"bias": zeros(5)}, ValueError, r"^bias must have shape \(6,\), got \(5,\)"),
    ("conv2d", {"bias": np.zeros(6, np.float32)}, TypeError, "^bias must have the dtype of x"),
    ("conv2d", {"bias": 0.0}, ValueError, "^bias must have shape"),
    ("conv2d", {"residual": IMAGES}, ValueError, r"^residual must have shape \(2, 6, 3, 4\)"),
    ("conv2d", {"residual": np.zeros((2, 6, 3, 4), "f4")}, TypeError, "^residual must have the dtype of x"),
    (("conv2d", "batch_norm"), {"activation": "gelu"}, ValueError, "^activation must be one of .*, got 'gelu'"),
    (("conv2d", "batch_norm"), {"activation": True}, TypeError, "^activation must be one of .*, got bool"),
    ("conv2d", {"algorithm": "fft"}, ValueError, "^algorithm must be 'auto' or one of"),
    ("conv2d", {"algorithm": None}, TypeError, "^algorithm must be a string, got NoneType"),
    ("batch_norm", {"x": zeros(2, 4, 5)}, ValueError, "^x must be .n, channels. or"),
    *(("batch_norm", {"x": zeros(*shape)}, ValueError, "^x must have at least one channel and value")
      for shape in ((2, 0), (2, 0, 5, 6), (2, 4, 0, 6), (2, 4, 5, 0))),
    *(("batch_norm", {**TRAINING, "x": zeros(*shape)}, ValueError, "^x must have more than one value")
      for shape in ((1, 4), (1, 4, 1, 1), (0, 4, 5, 5))),
    ("batch_norm", {"running_var": None}, ValueError, "^running_mean and running_var must be given together"),
    ("batch_norm", {"running_mean": None, "running_var": None}, ValueError, "^running_mean .* must be given unless"),
    *((("batch_norm"), {name: zeros(5)}, ValueError, rf"^{name} must have shape \(4,\), got \(5,\)")
      for name in ("running_mean", "running_var", "weight", "bias")),
    *(("batch_norm", {name: np.ones(4, complex)}, TypeError, f"^{name} must be float32")
      for name in ("running_mean", "running_var", "weight", "bias")),
    *(("batch_norm", {**TRAINING, name: value}, error, f"^{name} must {message}")
      for name in ("running_mean", "running_var")
      for value, error, message in (
          ([1.0] * 4, TypeError, "be a NumPy array, as training updates it in place; got list"),
          (0.0, TypeError, "be a NumPy array"),
          (np.zeros(4, int), TypeError, "be float32 or float64"),
          (np.ma.zeros(4), TypeError, "be a plain array"),
          (zeros(1, 4), ValueError, "have shape"),
          (read_only(zeros(4)), ValueError, "be writeable, as training"),
      )),
    ("batch_norm", {"residual": IMAGES[:1]}, ValueError, "^residual must have shape"),
    ("batch_norm", {"residual": IMAGES.astype("f4")}, TypeError, "^residual must have the dtype of x"),
    *(("batch_norm", {"momentum": v}, ValueError, "^momentum must be a finite number from 0 to 1")
      for v in (-0.1, 1.1, np.nan, 10**400)),
    *(("batch_norm", {"momentum": v}, TypeError, "^momentum must be a number") for v in (None, "0.1", True)),
    *(("batch_norm", {"eps": v}, ValueError, "^eps must be a finite number from 0") for v in (-1, np.inf, 10**400)),
    ("batch_norm", {"eps": 1j}, TypeError, "^eps must be a number, got complex"),
    ("batch_norm", {"training": 1}, TypeError, "^training must be True or False, got int"),
    ("batch_norm", {"return_stats": 0}, TypeError, "^return_stats must be True or False"),
)  # fmt: skip
def test_convolutions_and_batch_norm(op, changes, error, pattern):
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
    ],
)
def test_out_that_overlaps_an_input(op, name, value):
    storage = np.zeros(value.size + RESULT[op].size)
    view = storage[: value.size].reshape(value.shape)
    view[...] = value
    out = storage[1 : RESULT[op].size + 1].reshape(RESULT[op].shape)
    refused(op, {name: view, "out": out}, ValueError, f"^out may not share memory with {name}")
    if op in POOLS:
        refused(op, {"x": view, "kernel_size": 1, "out": view}, ValueError, "^out may not share memory with x")


MEMORY = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
ROWS = MEMORY // 2**34 + 2  # of 2**31 values each: more than this machine holds
WIDE = ((2**40, 3), (3, 2**40), (2**20, 2**20), *((n, ROWS) for n in (2**31 - 1, 2**31, 2**31 + 1)))
DEEP = ((2**38, 4, 5, 6), (2, 4, 2**20, 2**20), *((ROWS, 4, n, 1) for n in (2**31 - 1, 2**31, 2**31 + 1)))


@table(
    *((MATRICES, {"X": huge(*shape)}, ValueError, "^(X|out) of shape .* takes .* bytes") for shape in WIDE),
    *((MATRICES, {"X": huge(*shape, dtype=np.int8)}, ValueError, "^X of shape .* takes") for shape in WIDE),
    *((IMAGE_OPS, {"x": huge(*shape), "padding": "same"}, ValueError, "^(x|the result) of shape") for shape in DEEP),
    *(("batch_norm", {"x": huge(*shape)}, ValueError, "^(x|out) of shape .* takes") for shape in DEEP),
    ("conv2d", {"weight": huge(2**40, 4, 3, 3)}, ValueError, "^the result of shape .* takes"),
    ("conv2d", {"weight": huge(2**40, 4, 3, 3), "x": IMAGES[:0]}, ValueError, "^weight of shape .* takes"),
    ("conv2d", {"weight": huge(1, 4, 2**28, 2**28)}, ValueError, "^weight 268435456 with dilation 1 spans"),
    ("conv2d", {"weight": huge(6, 2**40, 3, 3)}, ValueError, "^x has 4 channels, but weight has"),
    ("conv2d", {"bias": huge(2**40)}, ValueError, "^bias must have shape"),
    ("conv2d", {"residual": huge(2**31, 6, 3, 4)}, ValueError, "^residual must have shape"),
    ("batch_norm", {"running_mean": huge(2**40)}, ValueError, "^running_mean must have shape"),
    ("standardize", {"mean": huge(2**31)}, ValueError, "^mean must have shape"),
    (MATRICES[:2], {"X": zeros(0, 2**40)}, ValueError, "X.* takes"),
    ("batch_norm", {"x": zeros(0, 2**40), "running_mean": 0.0, "running_var": 1.0}, ValueError, "x.* takes"),
    ("pca", {"X": huge(3, 2**20), "solver": "covariance_eigh"}, ValueError, "X.* takes"),
)
def test_arrays_larger_than_memory(op, changes, error, pattern):
    refused(op, changes, error, pattern)


ONES = {"conv2d": [{"weight": np.ones((1, 4, k, k))} for k in (3, 1)]}  # then a convolution is a sum
VARIANTS = {**ONES, "max_pool2d": [{}, {"ceil_mode": True}], "avg_pool2d": [{}, {"ceil_mode": True}]}
ATTRIBUTES = {
    "conv2d": ("stride", "padding", "dilation", "groups", "n_threads"),
    "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "n_threads"),
    "avg_pool2d": ("kernel_size", "stride", "padding", "divisor_override", "n_threads"),
}
HOSTILE = [-1, 0, 2**31, 2**31 - 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, None, "a", 1.5, True]


def check(op, arguments, result):
    """The definition, in Python's integers: what does each window see, and what is its sum, maximum or mean?"""
    k = arguments["weight"].shape[2] if op == "conv2d" else arguments["kernel_size"]
    stride = arguments.get("stride", 1 if op == "conv2d" else None) or k
    d, ceil = arguments.get("dilation", 1), arguments.get("ceil_mode", False)
    sizes = [pytorch_size(n, k, stride, 0, d, ceil) for n in (5, 6)]
    assert list(result.shape[2:]) == sizes
    for i, j in np.ndindex(*sizes):
        taps = IMAGES[:, :, seen(5, k, stride, 0, d, i)][..., seen(6, k, stride, 0, d, j)]
        total = taps.sum(axis=(1, 2, 3))[:, np.newaxis] if op == "conv2d" else taps.sum(axis=(2, 3))
        divisor = arguments.get("divisor_override") or taps[0, 0].size
        expected = {"conv2d": total, "max_pool2d": taps.max(axis=(2, 3)), "avg_pool2d": total / divisor}[op]
        np.testing.assert_allclose(result[:, :, i, j], expected, rtol=1e-13)


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
@pytest.mark.parametrize(("op", "name"), [(op, name) for op, names in ATTRIBUTES.items() for name in names])
def test_hostile_integers(op, name, value):
    for variant in VARIANTS[op]:
        arguments = {**VALID[op], **variant, name: value}
        result = call(op, arguments)
        if isinstance(result, Exception):
            assert type(result) in (ValueError, TypeError) and name in str(result), repr(result)
        else:
            check(op, arguments, result)
        if name in ("kernel_size", "stride", "dilation", "padding") and isinstance(value, int):
            pair = call(op, {**arguments, name: (value, value)})
            assert type(pair) is type(result) and np.array_equal(pair, result) == isinstance(result, np.ndarray)
