"""Every layout NumPy can express gives the bits that a contiguous copy gives, and no input byte changes."""

from inspect import signature

import numpy as np
import pytest

import fastml

random = np.random.default_rng(0)


class Subclass(np.ndarray):
    __array_ufunc__ = None  # any arithmetic on it raises


def junk(x):
    """What must not be read."""
    return np.nan if x.dtype.kind == "f" else np.array(-77).astype(x.dtype)


def slices(x, step):
    storage = np.full([abs(step) * n for n in x.shape], junk(x), x.dtype)
    view = storage[(slice(None, None, step),) * x.ndim]
    view[...] = x
    return view


def channels_last(x):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if x.ndim > 1 else x.copy()


def read_only(x):
    view = x.copy()
    view.flags.writeable = False
    return view


def misaligned(x):
    view = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def sliced_last_axis(x):
    storage = np.full((*x.shape[:-1], x.shape[-1] + 5), junk(x), x.dtype)
    storage[..., 3:-2] = x
    return storage[..., 3:-2]


LAYOUTS = {
    "C": lambda x: x.copy(),
    "F": np.asfortranarray,
    "strided": lambda x: slices(x, 2),
    "negative strides": lambda x: slices(x, -1),
    "channels last": channels_last,
    "read-only": read_only,
    "misaligned": misaligned,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "subclass": lambda x: x.copy().view(Subclass),
    "matrix": lambda x: np.asmatrix(x.copy()) if x.ndim == 2 else x.copy().view(Subclass),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "sliced last axis": sliced_last_axis,
}


def normal(*shape):
    return random.normal(size=shape)


# The arguments that are arrays, then the others.
CALLS = {
    "moments": ({"X": normal(40, 7)}, {}),
    "moments, axis 1": ({"X": normal(40, 7)}, {"axis": 1}),
    "standardize": ({"X": normal(40, 7)}, {"return_stats": True}),
    "standardize, axis 1": ({"X": normal(40, 7)}, {"axis": 1, "return_stats": True}),
    "standardize, given": ({"X": normal(40, 7), "mean": normal(7), "std": normal(7) ** 2}, {}),
    "pca": ({"X": normal(40, 7)}, {}),
    "pca, full": ({"X": normal(40, 7)}, {"solver": "full"}),
    "conv2d": (
        {"x": normal(2, 3, 8, 9), "weight": normal(7, 3, 3, 2), "bias": normal(7), "residual": normal(2, 7, 6, 8)},
        {},
    ),
    "conv2d, depthwise": ({"x": normal(2, 3, 8, 9), "weight": normal(3, 1, 3, 2)}, {"groups": 3, "padding": "same"}),
    "conv2d_backward": (
        {"grad_out": normal(2, 8, 6, 8), "x": normal(2, 3, 8, 9), "weight": normal(8, 3, 3, 2)},
        {},
    ),
    "conv2d_backward, depthwise": (
        {"grad_out": normal(2, 3, 4, 5), "x": normal(2, 3, 8, 9), "weight": normal(3, 1, 3, 2)},
        {"groups": 3, "padding": "same", "stride": 2},
    ),
    "max_pool2d": ({"x": normal(2, 3, 8, 9)}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d, indices": ({"x": normal(2, 3, 8, 9)}, {"kernel_size": 2, "return_indices": True}),
    "avg_pool2d": ({"x": normal(2, 3, 8, 9)}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "batch_norm": (
        {
            "x": normal(5, 3, 4, 6),
            "residual": normal(5, 3, 4, 6),
            "running_mean": normal(3),
            "running_var": normal(3) ** 2,
            "weight": normal(3),
            "bias": normal(3),
        },
        {},
    ),
    "batch_norm, training": ({"x": normal(5, 3, 4, 6), "weight": normal(3)}, {"training": True, "return_stats": True}),
    "batch_norm, matrix": ({"x": normal(40, 7), "residual": normal(40, 7)}, {"training": True}),
    "global_avg_pool2d": ({"x": normal(2, 3, 8, 9)}, {}),
    "max_pool2d_backward": (
        {"grad_out": normal(2, 3, 4, 5), "indices": random.integers(-1, 72, (2, 3, 4, 5))},
        {"input_shape": (2, 3, 8, 9)},
    ),
    "avg_pool2d_backward": (
        {"grad_out": normal(2, 3, 4, 5)},
        {"input_shape": (2, 3, 8, 9), "kernel_size": 3, "stride": 2, "padding": 1},
    ),
    "batch_norm_backward": (
        {
            "grad_out": normal(5, 3, 4, 6),
            "x": normal(5, 3, 4, 6),
            "residual": normal(5, 3, 4, 6),
            "mean": normal(3),
            "variance": normal(3) ** 2,
            "weight": normal(3),
            "bias": normal(3),
        },
        {"activation": "relu"},
    ),
    "batch_norm_backward, matrix": (
        {"grad_out": normal(40, 7), "x": normal(40, 7), "mean": normal(7), "variance": normal(7) ** 2},
        {"training": False},
    ),
    "fold_batch_norm": (
        {
            "weight": normal(7, 3, 3, 2),
            "bias": normal(7),
            "running_mean": normal(7),
            "running_var": normal(7) ** 2,
            "bn_weight": normal(7),
            "bn_bias": normal(7),
        },
        {},
    ),
    "fold_batch_norm, matrix": ({"weight": normal(7, 3), "running_mean": normal(7)}, {"bias": None, "running_var": 4}),
}
WITH_OUT = [call for call in CALLS if "out" in signature(getattr(fastml, call.split(",")[0])).parameters]
PAIRS = [(call, name) for call, (arrays, _) in CALLS.items() for name in arrays]


def cast(array, dtype):
    return array.astype(dtype if array.dtype.kind == "f" else np.int64)


def run(call, arrays):
    """The arrays that the call returns."""
    result = getattr(fastml, call.split(",")[0])(**arrays, **CALLS[call][1])
    if isinstance(result, fastml.Moments):
        return result.count, result.mean, result.m2
    if isinstance(result, fastml.PCAResult):
        return result.mean, result.components, result.explained_variance, result.transform(arrays["X"])
    return [array for array in result if array is not None] if isinstance(result, tuple) else (result,)


def memory(array):
    """All bytes behind a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.tobytes()


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("call", "name"), PAIRS)
def test_same_bits_in_any_layout(call, name, layout, dtype):
    arrays = {key: cast(array, dtype) for key, array in CALLS[call][0].items()}
    view = LAYOUTS[layout](arrays[name])
    expected = run(call, {**arrays, name: cast(np.array(view, order="C"), dtype)})
    before = view.tobytes(), memory(view)
    result = run(call, {**arrays, name: view})
    assert (view.tobytes(), memory(view)) == before
    # a Fortran-ordered matrix is read in its own order, not copied: its sums are added up in another order
    own_order = name == "X" and layout in ("F", "channels last") and call.split(",")[0] in ("moments", "standardize")
    for mine, other in zip(result, expected, strict=True):
        assert type(mine) is np.ndarray and mine.dtype == other.dtype and mine.dtype.isnative
        if own_order:
            error = 16 * np.finfo(other.dtype if other.dtype.kind == "f" else float).eps
            np.testing.assert_allclose(mine, other, rtol=error, atol=error)
        else:
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("backend", ["cython", "numpy"])
@pytest.mark.parametrize("call", WITH_OUT)
def test_an_out_of_a_subclass_is_written_and_returned(call, backend):
    arrays, options = CALLS[call]
    call = getattr(fastml, call.split(",")[0])
    made = call(**arrays, **options, backend=backend)
    expected = made[0] if isinstance(made, tuple) else made
    out = np.zeros_like(expected).view(Subclass)
    result = call(**arrays, **options, backend=backend, out=out)
    result = result[0] if isinstance(result, tuple) else result
    assert result is out
    np.testing.assert_array_equal(np.asarray(result), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("call", CALLS)
def test_a_read_only_memory_map(call, dtype, tmp_path):
    arrays = {key: cast(array, dtype) for key, array in CALLS[call][0].items()}
    maps = {}
    for key, array in arrays.items():
        np.save(tmp_path / f"{key}.npy", array)
        maps[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r")
    for mine, other in zip(run(call, maps), run(call, arrays), strict=True):
        assert type(mine) is np.ndarray
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("call", CALLS)
def test_nested_lists(call):
    arrays = CALLS[call][0]
    lists = {name: array.tolist() for name, array in arrays.items()}
    for mine, other in zip(run(call, lists), run(call, arrays), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("call", ["moments", "standardize", "pca", "pca, full"])
def test_nested_lists_of_integers(call):
    X = random.integers(0, 9, (8, 3))
    for mine, other in zip(run(call, {"X": X.tolist()}), run(call, {"X": X.astype(float)}), strict=True):
        np.testing.assert_array_equal(mine, other)
