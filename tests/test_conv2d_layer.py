"""Conv2d: the bits of conv2d on every way through it, and what a layer adds: copies, plans, sharing, pickles."""

import copy
import pickle
import threading

import numpy as np
import pytest

import fastml
from fastml import _dispatch, _validate
from fastml._registry import BACKENDS
from fastml.layers import conv2d as module
from tests.small_cases import CONVOLUTIONS
from tests.test_layouts import LAYOUTS

random = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
X, WEIGHT, BIAS = random.normal(size=(2, 4, 9, 8)), random.normal(size=(6, 4, 3, 3)), random.normal(size=6)


@pytest.fixture(autouse=True)
def nothing_chosen():
    yield
    fastml.set_backend(None)
    fastml.set_num_threads(None)


def same(actual, expected):
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    assert actual.tobytes() == expected.tobytes()


@DTYPES
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda case: case.name)
def test_the_bits_are_those_of_conv2d(case, backend, dtype):
    (x, weight, bias), options = case.arguments(dtype)
    call = {"residual": options.pop("residual", None)}
    for bias_or_none in (bias, None):
        layer = fastml.Conv2d(weight, bias_or_none, backend=backend, **options)
        results = [layer(x, **call, n_threads=n_threads) for n_threads in (None, 1, 3)]
        forced = {"backend": backend, "algorithm": layer.algorithm}
        expected = fastml.conv2d(x, weight, bias_or_none, **forced, **options, **call)
        for result in results:
            same(result, expected)


@DTYPES
@pytest.mark.parametrize("seen", [False, True], ids=["new shape", "seen shape"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout, seen, dtype):
    x, weight, bias = X.astype(dtype), WEIGHT.astype(dtype), BIAS.astype(dtype)
    make = LAYOUTS[layout]
    layer = fastml.Conv2d(make(weight), make(bias) if layout != "broadcast" else bias, padding=1)
    if seen:
        layer(x)
    argument = make(x)
    before = argument.tobytes()
    plain = [np.array(array, dtype, order="C", subok=False) for array in (make(x), make(weight))]
    same(layer(argument), fastml.conv2d(*plain, bias, padding=1))
    assert argument.tobytes() == before


def test_one_image_gives_three_dimensions():
    layer = fastml.Conv2d(WEIGHT, BIAS, stride=2)
    for _ in range(2):
        same(layer(X[1]), fastml.conv2d(X[1], WEIGHT, BIAS, stride=2))
        same(layer(X[:1])[0], layer(X[0]))


def test_an_empty_batch():
    layer = fastml.Conv2d(WEIGHT, padding=1)
    for _ in range(2):
        assert layer(X[:0]).shape == (0, 6, 9, 8)
        assert layer(X).shape == (2, 6, 9, 8)


def test_out_is_filled_and_returned():
    layer = fastml.Conv2d(WEIGHT, BIAS)
    for _ in range(2):
        out = np.full((2, 6, 7, 6), np.nan)
        assert layer(X, out) is out
        same(out, layer(X))


def test_a_result_is_new_in_each_call():
    layer = fastml.Conv2d(WEIGHT)
    results = [layer(X) for _ in range(3)]
    assert not np.shares_memory(results[1], results[2])


def test_residual_and_activation_come_last():
    residual = random.normal(size=(2, 6, 7, 6))
    layer = fastml.Conv2d(WEIGHT, BIAS, activation="relu")
    plain = layer(X)
    added = layer(X, residual=residual)
    same(added, fastml.conv2d(X, WEIGHT, BIAS, activation="relu", residual=residual))
    same(layer(X), plain)
    first = fastml.Conv2d(WEIGHT, BIAS, activation="relu")
    same(first(X, residual=residual), added)
    same(first(X), plain)
    assert (added == 0).any() and not np.array_equal(added, plain)


def test_a_batch_norm_is_folded_in():
    vectors = random.normal(size=6), random.uniform(0.5, 2, 6), random.uniform(0.5, 2, 6), random.normal(size=6)
    layer = fastml.Conv2d(*fastml.fold_batch_norm(WEIGHT, BIAS, *vectors), padding=1, activation="relu")
    expected = fastml.batch_norm(fastml.conv2d(X, WEIGHT, BIAS, padding=1), *vectors, activation="relu")
    np.testing.assert_allclose(layer(X), expected, rtol=0, atol=1e-12)


def test_the_bits_of_an_image_do_not_depend_on_its_batch_or_the_threads():
    x = random.normal(size=(5, 4, 40, 41)).astype(np.float32)
    layer = fastml.Conv2d(WEIGHT.astype(np.float32), padding=1)
    whole = layer(x, n_threads=2)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        same(layer(x[part], n_threads=1), whole[part])


def test_what_the_user_changes_afterwards_has_no_effect():
    weight, bias, stride = WEIGHT.copy(), BIAS.copy(), [1, 2]
    layer = fastml.Conv2d(weight, bias, stride=stride)
    weight[:], bias[:], stride[:] = np.nan, np.nan, [3, 3]
    same(layer(X), fastml.conv2d(X, WEIGHT, BIAS, stride=(1, 2)))


def test_weight_and_bias_can_be_read_and_not_written():
    layer = fastml.Conv2d(np.asfortranarray(WEIGHT))
    np.testing.assert_array_equal(layer.weight, WEIGHT)
    np.testing.assert_array_equal(layer.bias, np.zeros(6))
    assert layer.weight.flags.c_contiguous
    for array in (layer.weight, layer.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    for name in ("weight", "bias", "algorithm", "prepared_bytes"):
        with pytest.raises(AttributeError):
            setattr(layer, name, None)


def test_a_shape_that_came_before_is_not_checked_again(monkeypatch):
    layer = fastml.Conv2d(WEIGHT)
    first = layer(X)
    monkeypatch.setattr(_validate, "convolution", lambda *_: pytest.fail("checked again"))
    same(layer(X), first)
    with pytest.raises(pytest.fail.Exception):
        layer(X[:, :, 1:])


def test_plans_are_few_and_shapes_are_many():
    layer = fastml.Conv2d(WEIGHT, padding="same")
    for h in range(1, 2 * module.MOST_PLANS + 5):
        x = np.ones((1, 4, h, 3))
        same(layer(x), layer(x))
        assert 1 <= len(layer._plans) <= module.MOST_PLANS


OPTIONS = {"stride": (1, 2), "padding": "same", "dilation": 2, "groups": 2, "activation": "relu", "backend": "cython"}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("input_size", [None, (9, 8)])
def test_copies_and_pickles(again, input_size):
    layer = fastml.Conv2d(WEIGHT[:, :2], BIAS, algorithm="im2col", input_size=input_size, **OPTIONS)
    expected = layer(X)
    other = again(layer)
    assert other.algorithm == ("im2col" if input_size else None)
    assert repr(other) == repr(layer)
    same(other(X), expected)
    for name in ("weight", "bias"):
        assert not getattr(other, name).flags.writeable
        assert not np.shares_memory(getattr(other, name), getattr(layer, name))


def test_a_pickle_holds_the_weights_once():
    layer = fastml.Conv2d(random.normal(size=(64, 64, 3, 3)), input_size=20)
    assert len(pickle.dumps(layer)) < 1.1 * layer.weight.nbytes


def test_the_repr_says_what_the_layer_does():
    text = repr(fastml.Conv2d(WEIGHT.astype(np.float32), stride=2, padding=1, activation="relu"))
    assert text == (
        "Conv2d(float32 (6, 4, 3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1, "
        "activation='relu', algorithm='auto')"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_share_a_layer_from_its_first_call_on(backend):
    shapes = [(n, 4, h, 11) for n in (1, 2) for h in (5, 8, 30)]
    batches = [random.normal(size=shape) for shape in shapes]
    expected = [fastml.conv2d(x, WEIGHT, BIAS, backend=backend) for x in batches]
    layer, gate, wrong = fastml.Conv2d(WEIGHT, BIAS, backend=backend), threading.Barrier(8), []

    def call(first):
        gate.wait()
        for i in range(first, first + 30):
            result = layer(batches[i % len(batches)], n_threads=1 + i % 3)
            if result.tobytes() != expected[i % len(batches)].tobytes():
                wrong.append(i)

    threads = [threading.Thread(target=call, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# conv2d's own errors, as far as they do not depend on an image; then those of a layer alone
WRONG = {
    "rank": ({"weight": WEIGHT[0]}, ValueError, "^weight must be of shape .*, got 3 dimensions"),
    "integers": ({"weight": WEIGHT.astype(int)}, TypeError, "^weight must be float32 or float64, got int64"),
    "empty": ({"weight": WEIGHT[:, :, :0]}, ValueError, "^weight must not be empty"),
    "groups": ({"groups": 4}, ValueError, "^groups must divide the 6 outputs of weight, got 4"),
    "groups 0": ({"groups": 0}, ValueError, "^groups must be from 1 to"),
    "groups True": ({"groups": True}, TypeError, "^groups must be an integer"),
    "stride": ({"stride": 0}, ValueError, "^stride must be from 1 to"),
    "stride pair": ({"stride": (1, 1.5)}, TypeError, r"^stride\[1\] must be an integer, got float"),
    "stride None": ({"stride": None}, TypeError, "^stride must be an integer"),
    "dilation": ({"dilation": (1,)}, ValueError, "^dilation must be an integer or two of them"),
    "dilation text": ({"dilation": "1"}, TypeError, "^dilation must be an integer, got str"),
    "padding": ({"padding": -1}, ValueError, "^padding must be from 0 to"),
    "padding text": ({"padding": "full"}, ValueError, "^padding must be numbers, 'valid', 'same' or 'same_lower'"),
    "padding sides": ({"padding": ((1, 1), 1)}, ValueError, "^padding must be an integer, .vertical"),
    "padding large": ({"padding": 2**24 + 1}, ValueError, "^padding must be at most 16777216 on a side"),
    "bias shape": ({"bias": np.zeros(5)}, ValueError, r"^bias must have shape \(6,\), got \(5,\)"),
    "bias number": ({"bias": 0.0}, ValueError, "^bias must have shape"),
    "activation": ({"activation": "gelu"}, ValueError, "^activation must be one of .*, got 'gelu'"),
    "activation True": ({"activation": True}, TypeError, "^activation must be one of .*, got bool"),
    "algorithm": ({"algorithm": "fft"}, ValueError, "^algorithm must be 'auto' or one of .*; got 'fft'"),
    "algorithm None": ({"algorithm": None}, TypeError, "^algorithm must be a string, got NoneType"),
    "backend": ({"backend": "torch"}, ValueError, "^backend must be one of cython, numba, numpy; got 'torch'"),
    "backend 1": ({"backend": 1}, TypeError, "^backend must be a string, got int"),
}
ALONE = {
    "bias dtype": ({"bias": BIAS.astype("f4")}, TypeError, "^bias must have the dtype of weight, float64; got float32"),
    "no weight": ({"weight": None}, TypeError, "^weight must be float32 or float64, got object"),
    "huge": ({"weight": np.broadcast_to(1.0, (2**40, 4, 3, 3))}, ValueError, "^weight of shape .* takes .* bytes"),
    "size": ({"input_size": (1, 2, 3)}, ValueError, "^input_size must be an integer or two of them, got 3"),
    "size 0": ({"input_size": 0}, ValueError, "^input_size must be from 1 to"),
    "size text": ({"input_size": "224"}, TypeError, "^input_size must be an integer, got str"),
    "size huge": ({"input_size": 2**40}, ValueError, "^an image of input_size of shape .* takes .* bytes"),
    "size small": ({"input_size": 2}, ValueError, "^weight 3 with dilation 1 spans 3, more than the padded input"),
    "numpy": ({"algorithm": "rows", "backend": "numpy"}, ValueError, "^algorithm must be 'auto' or one of loops, im2c"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*WRONG, *ALONE])
def test_what_is_wrong_without_an_image_is_refused_without_one(name):
    changes, error, message = {**WRONG, **ALONE}[name]
    with pytest.raises(error, match=message) as raised:
        fastml.Conv2d(**{"weight": WEIGHT, **changes})
    if name in WRONG:
        with pytest.raises(error) as expected:
            fastml.conv2d(**{"x": X, "weight": WEIGHT, **changes})
        assert str(raised.value) == str(expected.value)


CALLS = {
    "channels": ({"x": X[:, :3]}, ValueError, "^x has 3 channels, but weight has 4 for each of 1 groups"),
    "dtype": ({"x": X.astype(np.float32)}, TypeError, "^x must have the dtype of weight, float64; got float32"),
    "integers": ({"x": X.astype(int)}, TypeError, "^x must be float32 or float64, got int64"),
    "masked": ({"x": np.ma.array(X)}, TypeError, "^x must be a plain array"),
    "rank": ({"x": X[0, 0]}, ValueError, "^x must be a batch"),
    "no rows": ({"x": X[:, :, :0]}, ValueError, "^x must have at least one channel, row and column"),
    "small": ({"x": X[:, :, :2]}, ValueError, "^weight 3 with dilation 1 spans 3, more than the padded input"),
    "residual": ({"residual": X}, ValueError, r"^residual must have shape \(2, 6, 7, 6\), got \(2, 4, 9, 8\)"),
    "residual dtype": ({"residual": np.ones((2, 6, 7, 6), "f4")}, TypeError, "^residual must have the dtype of x"),
    "out": ({"out": np.empty((2, 6, 7, 5))}, ValueError, "^out must have shape"),
    "out dtype": ({"out": np.empty((2, 6, 7, 6), "f4")}, TypeError, "^out must be float64, got float32"),
    "out list": ({"out": []}, TypeError, "^out must be a NumPy array, got list"),
    "n_threads": ({"n_threads": 0}, ValueError, "^n_threads must be from 1 to"),
    "n_threads 1.0": ({"n_threads": 1.0}, TypeError, "^n_threads must be an integer, got float"),
}


@pytest.mark.parametrize("seen", [False, True], ids=["new shape", "seen shape"])
@pytest.mark.parametrize("name", CALLS)
def test_what_is_wrong_with_a_call_is_refused(name, seen):
    changes, error, message = CALLS[name]
    layer = fastml.Conv2d(WEIGHT)
    if seen:
        layer(X)
    with pytest.raises(error, match=message):
        layer(**{"x": X, **changes})


def test_out_may_not_be_an_input():
    layer = fastml.Conv2d(np.ones((4, 4, 1, 1)))
    with pytest.raises(ValueError, match=r"^out may not share memory with x"):
        layer(X, X)


def test_the_backend_is_the_one_in_force_at_each_call(monkeypatch):
    expected = {backend: fastml.conv2d(X, WEIGHT, backend=backend) for backend in BACKENDS}
    used, of_type = [], _dispatch.of_type
    monkeypatch.setattr(_dispatch, "of_type", lambda kernel, *rest: used.append(kernel) or of_type(kernel, *rest))
    layer, fixed = fastml.Conv2d(WEIGHT), fastml.Conv2d(WEIGHT, backend="numba")
    for _ in range(2):
        for backend in BACKENDS:
            with fastml.backend(backend):
                same(layer(X), expected[backend])
                same(fixed(X), expected["numba"])
            fastml.set_backend(backend)
            same(layer(X), expected[backend])
            fastml.set_backend(None)
    assert [kernel.__module__.split(".")[1] for kernel in used] == ["_core", "_jit", "_jit", "_ref"]


@pytest.mark.parametrize("rung", _dispatch.rungs("conv2d"), ids=lambda rung: f"{rung.backend}-{rung.name}")
def test_an_algorithm_can_be_forced(rung):
    weight = WEIGHT[:2]
    layer = fastml.Conv2d(weight, backend=rung.backend, algorithm=rung.name)
    if not _dispatch.serves(rung, _validate.conv2d(X, weight)[0]):
        with pytest.raises(ValueError, match=f"^algorithm '{rung.name}' needs {rung.needs}, which this problem"):
            layer(X)
        return
    for _ in range(2):
        same(layer(X), fastml.conv2d(X, weight, backend=rung.backend, algorithm=rung.name))
    assert layer.algorithm == rung.name


def test_a_forced_algorithm_that_another_backend_lacks_is_refused_there():
    with fastml.backend("cython"):
        layer = fastml.Conv2d(WEIGHT[:2], algorithm="rows")
        layer(X)
    with fastml.backend("numpy"), pytest.raises(ValueError, match=r"^algorithm must be 'auto' or one of loops, im2"):
        layer(X)
