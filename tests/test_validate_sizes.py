"""What a problem takes, to the byte, and how much work it is: refused in time, and shared out rightly."""

import math

import numpy as np
import pytest

from fastml import _validate
from fastml._validate import arrays, matrices, pooling, windows
from fastml._validate.arrays import FLOAT64
from fastml._validate.windows import Axis

X = np.zeros((7, 5), np.float32)
IMAGES = np.zeros((2, 3, 7, 5), np.float32)
WEIGHT = np.zeros((4, 3, 3, 2), np.float32)
STRIDED = np.zeros((2, 3, 7, 10), np.float32)[..., ::2]
LAYER = _validate.filters(WEIGHT)
GRADIENTS = np.zeros((2, 3, 3, 2), np.float32)
NOBODY = np.zeros((0, 3, 4, 5), np.float32)  # whose results are empty

# Bytes that are asked for first, the call, and what is said to take them.
TAKES = {
    "integers": (7 * 5 * 8, lambda: arrays.real(X.astype("i1"), "X", integers=True), "X"),
    "later": (7 * 5 * 8, lambda: arrays.convertible(X.astype("i1"), "X"), "X"),
    "half": (7 * 5 * 2, lambda: arrays.convertible(X.astype("f2"), "X"), "X"),
    "strided": (7 * 5 * 4, lambda: arrays.convertible(X[:, ::-1], "X"), "X"),
    "copy": (2 * 3 * 7 * 5 * 4, lambda: arrays.ready(STRIDED, "x"), "x"),
    "out": (7 * 5 * 4, lambda: arrays.output(None, (7, 5), np.float32, {}), "out"),
    "moments": (5 * 3 * 8, lambda: _validate.moments(X), "the statistics of X"),
    "moments of rows": (7 * 3 * 8, lambda: _validate.moments(X, 1), "the statistics of X"),
    "standardize": (5 * 2 * 8, lambda: _validate.standardize(X[:0]), "the statistics of X"),
    "pca": (7 * 5 * 4, lambda: _validate.pca(X[:, ::-1]), "X"),
    "rows": (7 * 5 * 4, lambda: _validate.rows_of(X[:, ::-1], 5, "Z"), "Z"),
    "samples": (7 * 5 * 4, lambda: _validate.pca_transform(X[:, ::-1], None, X[:1]), "X"),
    "components": (7 * 5 * 4, lambda: _validate.pca_transform(X[:1], None, X[:, ::-1]), "components"),
    "scatter": (5 * 5 * 8, lambda: _validate.scatter(X), "the scatter matrix of X"),
    "batch_norm": (3 * 4 * 8, lambda: _validate.batch_norm(NOBODY, np.zeros(3), np.ones(3)), "the statistics of x"),
    "x of batch_norm": (
        2 * 3 * 7 * 5 * 4,
        lambda: _validate.batch_norm(STRIDED, np.zeros(3), np.ones(3), out=np.empty(STRIDED.shape, np.float32)), "x",
    ),
    "batch_norm_backward": (
        2 * 3 * 7 * 5 * 4, lambda: _validate.batch_norm_backward(IMAGES, STRIDED, np.zeros(3), np.ones(3)),
        "the gradient of x",
    ),
    "fold_batch_norm": (
        3 * 2 * 16, lambda: _validate.fold_batch_norm(np.zeros((3, 2)), None, np.zeros(3), np.ones(3)), "weight"
    ),
    "conv2d": (2 * 4 * 5 * 4 * 4, lambda: _validate.conv2d(IMAGES, WEIGHT), "the result"),
    "layer": (4 * 3 * 3 * 2 * 4, lambda: _validate.filters(WEIGHT), "weight"),
    "image": (3 * 8 * 9 * 4, lambda: _validate.unwritten_image(LAYER, (8, 9)), "an image of input_size"),
    "max_pool2d": (2 * 3 * 3 * 2 * 8, lambda: _validate.max_pool2d(IMAGES, 2), "the result"),
    "avg_pool2d": (2 * 3 * 3 * 2 * 8, lambda: _validate.avg_pool2d(IMAGES, 2), "the result"),
    "gradient": (
        2 * 3 * 7 * 5 * 8, lambda: _validate.avg_pool2d_backward(GRADIENTS, IMAGES.shape, 2), "the result"
    ),
    "strided indices": (
        2 * 3 * 3 * 2 * 8, lambda: pooling._indices(np.zeros((2, 3, 3, 4), int)[..., ::2], GRADIENTS), "indices"
    ),
    "indices": (2 * 3 * 3 * 2 * 8, lambda: pooling._indices(GRADIENTS.astype("i1"), GRADIENTS), "indices"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKES)
def test_what_just_fits_is_taken(name, monkeypatch):
    needed, call, what = TAKES[name]
    monkeypatch.setattr(arrays, "physical_memory", lambda: needed)
    call()
    monkeypatch.setattr(arrays, "physical_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=rf"^{what} of shape .* takes {needed} bytes, this machine has {needed - 1}$"):
        call()


def test_what_is_there_already_takes_nothing(monkeypatch):
    monkeypatch.setattr(arrays, "physical_memory", lambda: 0)
    for check in (arrays.convertible, arrays.ready, arrays.real):
        assert check(X, "X") is X
    assert arrays.output(X, X.shape, np.float32, {}) is X


def test_divisors_are_made_of_results_that_fit(monkeypatch):
    monkeypatch.setattr(arrays, "physical_memory", lambda: 287)
    monkeypatch.setattr(pooling, "_divisors", lambda *arguments: pytest.fail("too early"))
    with pytest.raises(ValueError, match="the result"):
        _validate.avg_pool2d(IMAGES, 2)


def backward(**options):
    return _validate.conv2d_backward(np.zeros((2, 4, 5, 4)), np.zeros((2, 3, 7, 5)), np.zeros((4, 3, 3, 2)), **options)


INDICES = np.zeros(GRADIENTS.shape, np.int64)
# Values read or written, or multiplications.
WORK = {
    "moments": (7 * 5, lambda: _validate.moments(X)),
    "standardize": (7 * 5, lambda: _validate.standardize(X)),
    "pca": (7 * 5 * 5 / 2, lambda: _validate.pca(X)),
    "pca_transform": (7 * 5 * 2, lambda: _validate.pca_transform(X, np.zeros(5), np.zeros((2, 5)))),
    "conv2d": (2 * 4 * 5 * 4 * 3 * 3 * 2, lambda: _validate.conv2d(IMAGES, WEIGHT)),
    "conv2d_backward": (2 * 4 * 5 * 4 * 3 * 3 * 2, backward),
    "conv2d_backward of the bias": (2 * 4 * 5 * 4, lambda: backward(needs_grad_weight=False)),
    "max_pool2d": (2 * 3 * 3 * 1 * 6, lambda: _validate.max_pool2d(IMAGES, (2, 3))),
    "avg_pool2d": (2 * 3 * 3 * 2 * 2 * 2, lambda: _validate.avg_pool2d(IMAGES, 2)),
    "avg_pool2d of rows": (2 * 3 * 7 * 1 * 3, lambda: _validate.avg_pool2d(IMAGES, (1, 3))),
    "global_avg_pool2d": (2 * 3 * 7 * 5, lambda: _validate.global_avg_pool2d(IMAGES)),
    "max_pool2d_backward": (
        2 * 3 * (3 * 2 + 7 * 5), lambda: _validate.max_pool2d_backward(GRADIENTS, INDICES, IMAGES.shape)
    ),
    "avg_pool2d_backward": (
        2 * 3 * (3 * 2 * 2 * 2 + 7 * 5), lambda: _validate.avg_pool2d_backward(GRADIENTS, IMAGES.shape, 2)
    ),
    "batch_norm": (2 * 3 * 7 * 5, lambda: _validate.batch_norm(IMAGES, training=True)),
    "batch_norm_backward": (
        2 * 2 * 3 * 7 * 5, lambda: _validate.batch_norm_backward(IMAGES, IMAGES, np.zeros(3), np.ones(3))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WORK)
def test_work(name):
    expected, call = WORK[name]
    work = call()[0].work
    assert work == expected and type(work) is float


def test_what_is_absent_has_no_values():
    convolution = _validate.conv2d(IMAGES, WEIGHT)[0]
    assert convolution.prepared.shape == (0,) and convolution.residual.shape == (0, 0, 0, 0)
    assert convolution.bias.tolist() == [0] * 4
    without = backward(needs_grad_weight=False, needs_grad_bias=False)[0]
    assert without.grad_weight.shape == (0, 0, 0, 0) and without.grad_bias.shape == (0,)
    assert _validate.max_pool2d(IMAGES, 2)[0].indices.shape == (0, 0, 0)
    assert _validate.batch_norm(IMAGES, training=True)[0].residual.shape == (0, 0, 0)
    gradient = _validate.batch_norm_backward(IMAGES, IMAGES, np.zeros(3), np.ones(3))[0]
    assert gradient.residual.shape == gradient.grad_residual.shape == (0, 0, 0)
    assert _validate.moments(X)[0].sample_weight.shape == (0,)
    for rows, solver, columns in ((3, "auto", 0), (5, "auto", 5), (7, "arpack", 0), (7, "full", 5)):
        assert _validate.pca(np.zeros((rows, 5)), solver=solver)[0].scatter.shape == (columns, columns)


def test_a_step_that_is_never_made_is_1():
    problem = _validate.conv2d(IMAGES, WEIGHT[:, :, :1, :1], stride=2**62, dilation=2**62)[0]
    assert (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) == (1, 1, 1, 1)
    problem = _validate.conv2d(IMAGES, WEIGHT, stride=(4, 3), dilation=(2, 3))[0]
    assert (problem.stride_h, problem.stride_w, problem.dilation_h, problem.dilation_w) == (1, 1, 2, 3)
    problem = _validate.conv2d(IMAGES, WEIGHT, stride=(4, 3), padding=(0, 1))[0]
    assert (problem.stride_h, problem.stride_w) == (4, 3)


MOST = 2**63 - 1


def test_padding_is_limited_where_it_is_read():
    axis = Axis(5, 3, 1, 1, 2**24, 2**24)
    windows.check_padding(axis)
    for name in ("before", "after"):
        with pytest.raises(ValueError, match=r"^padding must be at most 16777216 on a side, got 16777217$"):
            windows.check_padding(axis._replace(**{name: 2**24 + 1}))
    with pytest.raises(ValueError, match=r"^padding must be at most 16777216"):
        windows.trim(Axis(2**26, 2**26, 1, 1, 2**25, 0, 2**25 + 1))


def test_windows_can_be_counted():
    for sides, out in ((2**62 - 1, 2**62 - 1), MOST), ((2**62 - 1, 2**62), None), ((2**62, 2**62), None):
        if out is None:
            with pytest.raises(ValueError, match=rf"^padding must be less: .* makes {1 + sum(sides)} windows$"):
                windows.axes((1, 1), 1, 1, (sides, sides), 1)
        else:
            assert [axis.out for axis in windows.axes((1, 1), 1, 1, (sides, sides), 1)] == [out, out]


def test_divisors_of_windows_that_end_beyond_an_index():
    axis = Axis(5, MOST, 2**62, 1, 2**62 - 1, 2**62 - 1, 2)
    assert windows.divisors(axis, True).tolist() == [float(MOST), float(2**62 + 3)]
    assert windows.divisors(axis, False).tolist() == [5, 4]


# Tiles are of 2**15 values, and of 2**11 features where there are samples to fill them.
TILES = {
    (2**15, 1): [(2**15, 1)],
    (2**15 + 1, 1): [(2**15, 1), (1, 1)],
    (2, 2**14 + 1): [(2, 2**14), (2, 1)],
    (1, 2**15 + 1): [(1, 2**15), (1, 1)],
    (17, 2**11 + 1): [(16, 2**11), (1, 2**11), (16, 1), (1, 1)],
    (0, 5): [],
    (5, 0): [],
}


@pytest.mark.parametrize("shape", TILES)
def test_tiles(shape):
    values = np.arange(math.prod(shape)).reshape(shape)
    for x, axis in ((values, 0), (values.T, 1)):
        tiles = [x[piece] for piece in matrices.tiles(x, axis)]
        assert [tile.shape[:: -1 if axis else 1] for tile in tiles] == TILES[shape]
        assert sorted(value for tile in tiles for value in tile.ravel().tolist()) == [*range(values.size)]


def test_products_are_taken_of_large_matrices_for_few_components():
    large, small = (np.broadcast_to(np.zeros(1), (n, n + 1)) for n in (1001, 1000))
    assert matrices.by_products(large, 3, "randomized") and not matrices.by_products(small, 3, "randomized")
    assert matrices.by_products(small, 3, "arpack")
    for components, solver in ((0.5, "randomized"), (None, "randomized"), (3, "auto"), (3, "full")):
        assert not matrices.by_products(large, components, solver)


def test_vectors_are_float64_and_of_one_value_each():
    for value in (2, 2.0, np.float32(2), [2] * 3, np.full(3, 2, "u1"), np.full(6, 2.0)[::2]):
        vector = arrays.vector64(value, "mean", 3)
        assert vector.tolist() == [2.0] * 3 and vector.dtype == FLOAT64 and arrays.readable(vector)
    given = np.zeros(3)
    assert not np.shares_memory(arrays.vector64(given, "mean", 3), given)
    assert arrays.vector64(None, "mean", 3, 1.5).tolist() == [1.5] * 3
    for shape in ((1,), (4,), (3, 1), (1, 3)):
        with pytest.raises(ValueError, match=r"^mean must have shape \(3,\), got "):
            arrays.vector64(np.zeros(shape), "mean", 3)


def test_the_byte_order_of_an_array_does_not_matter():
    native, swapped = np.arange(3.0), np.arange(3.0).astype(">f8")
    for value, other in ((native, swapped), (swapped, native), (swapped, swapped), (native, native)):
        array = arrays.like(value, "bias", other, (3,), other_name="x")
        assert arrays.readable(array) and array.tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=r"^bias must have the dtype of x, >f8; got float32$"):
        arrays.like(native.astype("f4"), "bias", swapped, (3,), other_name="x")


class NoArray:
    def __array__(self, dtype=None, copy=None):
        raise TypeError("it is elsewhere")


def test_what_cannot_be_made_an_array():
    with pytest.raises(ValueError, match=r"^x must be a rectangular array of numbers: it is elsewhere$"):
        arrays.rectangular(NoArray(), "x")
