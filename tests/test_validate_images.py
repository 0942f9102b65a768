"""Calls on images that must be refused: every message about windows, channels and gradients."""

import numpy as np
import pytest

from tests.test_max_pool2d import pytorch_size, seen
from tests.test_validate import (
    GRADIENTS,
    GRADIENTS_OF_CONVOLUTION,
    IMAGE_OPS,
    IMAGES,
    INDICES,
    POOLS,
    POOLS_BACKWARD,
    VALID,
    WEIGHT,
    call,
    read_only,
    refused,
    table,
    zeros,
)

TRAINING = {"training": True}


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
    *(("conv2d", {"padding": v, "stride": 2**25}, ValueError, "^padding must be at most 16777216 on a side")
      for v in (2**24 + 1, (2**24 + 1, 0), ((0, 0), (0, 2**24 + 1)))),
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
    ("conv2d", {"bias": np.zeros(6, np.float32)}, TypeError, "^bias must have the dtype of x, float64;"),
    ("conv2d", {"bias": 0.0}, ValueError, "^bias must have shape"),
    ("conv2d", {"residual": IMAGES}, ValueError, r"^residual must have shape \(2, 6, 3, 4\)"),
    ("conv2d", {"residual": np.zeros((2, 6, 3, 4), "f4")}, TypeError, "^residual must have the dtype of x, float64;"),
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
    ("batch_norm", {"residual": IMAGES.astype("f4")}, TypeError, "^residual must have the dtype of x, float64;"),
    *(("batch_norm", {"momentum": v}, ValueError, "^momentum must be a finite number from 0 to 1")
      for v in (-0.1, 1.1, np.nan, 10**400)),
    *(("batch_norm", {"momentum": v}, TypeError, "^momentum must be a number") for v in ("0.1", True, 1j)),
    ("batch_norm", {**TRAINING, "momentum": None}, ValueError, "^num_batches_tracked must be given when"),
    *(("batch_norm", {**options, "num_batches_tracked": v}, error, f"^num_batches_tracked must {message}")
      for options in ({}, TRAINING)
      for v, error, message in (
          (3, TypeError, "be a NumPy array, as training updates it in place; got int"),
          (np.int64(3), TypeError, "be a NumPy array"),
          (np.zeros(1), TypeError, "be of integers, got float64"),
          (np.zeros(1, bool), TypeError, "be of integers, got bool"),
          (np.ma.zeros(1, int), TypeError, "be a plain array"),
          (np.zeros(4, int), ValueError, r"have shape \(\) or \(1,\), got \(4,\)"),
          (np.zeros((1, 1), int), ValueError, "have shape"),
      )),
    *(("batch_norm", {**TRAINING, "num_batches_tracked": v}, ValueError, f"^num_batches_tracked must be {message}")
      for v, message in (
          (read_only(np.zeros(1, int)), "writeable, as training"),
          (np.array(-1), "a count that can grow, got -1"),
          (np.array([255], np.uint8), "a count that can grow, got 255"),
          (np.array(2**63 - 1), "a count that can grow"),
      )),
    *(("batch_norm", {"eps": v}, ValueError, "^eps must be a finite number from 0") for v in (-1, np.inf, 10**400)),
    ("batch_norm", {"eps": 1j}, TypeError, "^eps must be a number, got complex"),
    ("batch_norm", {"training": 1}, TypeError, "^training must be True or False, got int"),
    ("batch_norm", {"return_stats": 0}, TypeError, "^return_stats must be True or False"),
    ("global_avg_pool2d", {"keepdims": 1}, TypeError, "^keepdims must be True or False, got int"),
    *(("global_avg_pool2d", {"x": zeros(*shape)}, ValueError, "^x must have at least one channel, row and column")
      for shape in ((2, 0, 5, 6), (2, 4, 0, 6), (4, 5, 0))),
)  # fmt: skip
def test_convolutions_and_batch_norm(op, changes, error, pattern):
    refused(op, changes, error, pattern)


def changed(value):
    """Indices, one of them changed."""
    indices = INDICES.copy()
    indices[1, 2, 1, 0] = value
    return indices


@table(
    (POOLS_BACKWARD, {"grad_out": zeros(2, 4, 0, 3)}, ValueError, "^grad_out must have at least one channel, row"),
    *((POOLS_BACKWARD, {"grad_out": GRADIENTS.astype(t)}, TypeError, "^grad_out must be float32") for t in (int, bool)),
    *((POOLS_BACKWARD, {"input_shape": v}, TypeError, "^input_shape must be a tuple of integers, got")
      for v in (None, 5, "2456", {2, 4, 5, 6}, iter((2, 4, 5, 6)))),
    *((POOLS_BACKWARD, {"input_shape": v}, ValueError, "^input_shape must have 4 values, as grad_out has dimensions")
      for v in ((2, 4, 5), (1, 2, 4, 5, 6), (), np.zeros(3, int))),
    *((POOLS_BACKWARD, {"input_shape": v}, ValueError, rf"^input_shape\[{i}\] must be from")
      for i, v in ((0, (-2, 4, 5, 6)), (1, (2, 0, 5, 6)), (2, (2, 4, 0, 6)), (3, (2, 4, 5, 2**64)))),
    *((POOLS_BACKWARD, {"input_shape": (2, 4, v, 6)}, TypeError, r"^input_shape\[2\] must be an integer")
      for v in (5.0, True, None, "5")),
    *((POOLS_BACKWARD, {"input_shape": v}, ValueError, r"^input_shape must begin with \(2, 4\), as grad_out does; got")
      for v in ((1, 4, 5, 6), (4, 2, 5, 6), (0, 4, 5, 6))),
    ("max_pool2d_backward", {"indices": INDICES * 1.0}, TypeError, "^indices must be integers, got float64"),
    ("max_pool2d_backward", {"indices": INDICES > 0}, TypeError, "^indices must be integers, got bool"),
    ("max_pool2d_backward", {"indices": None}, TypeError, "^indices must be integers, got object"),
    ("max_pool2d_backward", {"indices": np.ma.array(INDICES)}, TypeError, "^indices must be a plain array"),
    ("max_pool2d_backward", {"indices": [[1], [1, 2]]}, ValueError, "^indices must be a rectangular array"),
    *(("max_pool2d_backward", {"indices": v}, ValueError, r"^indices must have the shape of grad_out, \(2, 4, 2, 3\);")
      for v in (INDICES[:1], INDICES[0], INDICES[..., :2], 0)),
    *(("max_pool2d_backward", {"indices": changed(v)}, ValueError,
       "^indices must be from -1 to 29, positions in a plane of 5 x 6; 1 of 48 are not")
      for v in (-2, 30, 31, 2**31, 2**32, 2**63 - 1, -(2**63))),
    ("max_pool2d_backward", {"indices": INDICES.astype("u8") + 2**63}, ValueError, "^indices must be positions"),
    *(("avg_pool2d_backward", {"grad_out": zeros(2, 4, *v)}, ValueError,
       r"^grad_out must have shape \(2, 4, 2, 3\), as avg_pool2d gives for \(2, 4, 5, 6\); got")
      for v in ((2, 2), (3, 3), (5, 6))),
    *(("avg_pool2d_backward", changes, ValueError, "^grad_out must have shape")
      for changes in ({"kernel_size": 3}, {"stride": 1}, {"padding": 1}, {"ceil_mode": True})),
    *(("avg_pool2d_backward", {name: 0}, error, f"^{name} must be")
      for name, error in (("kernel_size", ValueError), ("stride", ValueError), ("divisor_override", ValueError),
                          ("ceil_mode", TypeError), ("count_include_pad", TypeError))),
    ("avg_pool2d_backward", {"padding": -1}, ValueError, "^padding must be"),
    ("avg_pool2d_backward", {"kernel_size": 6}, ValueError, "^kernel_size 6 with dilation 1 spans 6"),
)  # fmt: skip
def test_gradients_of_pooling(op, changes, error, pattern):
    refused(op, changes, error, pattern)


@table(
    *(("conv2d_backward", {"grad_out": v}, ValueError, r"^grad_out must have shape \(2, 6, 3, 4\), got")
      for v in (zeros(2, 6, 3, 3), zeros(1, 6, 3, 4), zeros(6, 3, 4), zeros(6), 0.0)),
    *(("conv2d_backward", changes, ValueError, "^grad_out must have shape")
      for changes in ({"padding": 1}, {"stride": 2}, {"dilation": 2}, {"padding": "same"}, {"weight": WEIGHT[:3]})),
    ("conv2d_backward", {"grad_out": GRADIENTS_OF_CONVOLUTION.astype("f4")}, TypeError, "^grad_out must have the dty"),
    *(("conv2d_backward", {name: v}, TypeError, f"^{name} must be float32 or float64, got")
      for name in ("grad_out", "x", "weight") for v in (None, np.ones((2, 6, 3, 4), int), "a")),
    *(("conv2d_backward", {"x": zeros(*shape)}, ValueError, "^x must have at least one channel, row and column")
      for shape in ((2, 0, 5, 6), (2, 4, 0, 6), (4, 5, 0))),
    ("conv2d_backward", {"weight": WEIGHT[:0]}, ValueError, "^weight must not be empty"),
    ("conv2d_backward", {"weight": WEIGHT.astype("f4")}, TypeError, "^weight must have the dtype of x"),
    *(("conv2d_backward", {name: v}, ValueError, f"^{name} must be") for name, v in
      (("stride", 0), ("stride", ()), ("dilation", -1), ("padding", -1), ("padding", "full"), ("groups", 0))),
    ("conv2d_backward", {"groups": 2}, ValueError, "^x has 4 channels, but weight has 4 for each of 2 groups"),
    ("conv2d_backward", {"dilation": 3}, ValueError, "^weight 3 with dilation 3 spans 7"),
    ("conv2d_backward", {"padding": 2**23}, ValueError, "^the result of shape .* takes .* bytes"),
    *(("conv2d_backward", {f"needs_grad_{name}": v}, TypeError, f"^needs_grad_{name} must be True or False, got")
      for name in ("x", "weight", "bias") for v in (1, None, "yes")),
)  # fmt: skip
def test_gradients_of_convolutions(op, changes, error, pattern):
    refused(op, changes, error, pattern)


@table(
    *(("batch_norm_backward", {name: value}, ValueError, rf"^{name} must have shape \(2, 4, 5, 6\), got")
      for name in ("grad_out", "residual") for value in (IMAGES[:1], IMAGES[0], zeros(4))),
    *(("batch_norm_backward", {name: IMAGES.astype("f4")}, TypeError, f"^{name} must have the dtype of x, float64")
      for name in ("grad_out", "residual")),
    *(("batch_norm_backward", {name: IMAGES.astype(int)}, TypeError, f"^{name} must be float32 or float64, got int64")
      for name in ("grad_out", "x", "residual")),
    ("batch_norm_backward", {"x": zeros(2, 4, 5)}, ValueError, "^x must be .n, channels. or"),
    ("batch_norm_backward", {"x": zeros(2, 0, 5, 6)}, ValueError, "^x must have at least one channel and value"),
    *(("batch_norm_backward", {"x": zeros(*shape), "grad_out": zeros(*shape)}, ValueError, "^x must have more than one")
      for shape in ((1, 4), (1, 4, 1, 1), (0, 4, 5, 5))),
    *(("batch_norm_backward", {name: None}, TypeError, f"^{name} must be float32 or float64, as batch_norm returned it")
      for name in ("mean", "variance")),
    *(("batch_norm_backward", {name: zeros(5)}, ValueError, rf"^{name} must have shape \(4,\), got \(5,\)")
      for name in ("mean", "variance", "weight", "bias")),
    *(("batch_norm_backward", {name: np.ones(4, complex)}, TypeError, f"^{name} must be float32")
      for name in ("mean", "variance", "weight", "bias")),
    *(("batch_norm_backward", {"training": v}, TypeError, "^training must be True or False, got") for v in (1, None)),
    *(("batch_norm_backward", {"eps": v}, ValueError, "^eps must be a finite number from 0") for v in (-1, np.nan)),
    ("batch_norm_backward", {"eps": "0"}, TypeError, "^eps must be a number, got str"),
    ("batch_norm_backward", {"activation": "gelu"}, ValueError, "^activation must be one of .*, got 'gelu'"),
    ("batch_norm_backward", {"activation": 1}, TypeError, "^activation must be one of .*, got int"),
)  # fmt: skip
def test_gradients_of_batch_norm(op, changes, error, pattern):
    refused(op, changes, error, pattern)


@pytest.mark.parametrize("op", POOLS)
def test_what_equals_an_accepted_argument_is_not_taken_for_it(op):
    """Windows are worked out once for equal arguments; 1, 1.0 and True are equal."""
    for good in (1, (1, 1), np.int64(1), [1, 1], np.array([1, 1])):
        assert call(op, {**VALID[op], "kernel_size": good}).shape == IMAGES.shape
        assert call(op, {**VALID[op], "kernel_size": 1, "stride": good}).shape == IMAGES.shape
    for name in ("kernel_size", "stride"):
        for wrong in (True, 1.0, np.float64(1), np.True_, (1, True), (1, 1.0), (1, 1, 1), "1"):
            result = call(op, {**VALID[op], "kernel_size": 1, name: wrong})
            assert type(result) in (TypeError, ValueError) and name in str(result), repr(wrong)


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
