"""The pieces that all checks are made of: numbers, arrays, sizes, and the arithmetic of windows."""

import inspect
import itertools
import math
import os
from fractions import Fraction

import numpy as np
import pytest

import fastml
from fastml import _validate
from fastml._registry import OPS
from fastml._validate import arrays, numbers, pooling, windows
from fastml._validate.windows import Axis

MEMORY = arrays.physical_memory()


@pytest.mark.parametrize("op", [*OPS, "global_avg_pool2d", "fold_batch_norm"])
def test_defaults_are_those_of_the_operation(op):
    ours, public = (inspect.signature(getattr(module, op)).parameters for module in (_validate, fastml))
    assert {*public} - {*ours} <= {"n_threads", "backend"}
    assert {name: ours[name].default for name in ours} == {name: public[name].default for name in ours}


def test_defaults_of_a_layer_are_those_of_its_class():
    ours, public = (inspect.signature(call).parameters for call in (_validate.filters, fastml.Conv2d))
    assert {name: ours[name].default for name in ours} == {name: public[name].default for name in ours}


def refused(error, message, call, *arguments, **options):
    with pytest.raises(error) as caught:
        call(*arguments, **options)
    assert str(caught.value) == message


def test_integers():
    assert numbers.integer(np.uint8(3), "n", 3, 3) == 3
    assert type(numbers.integer(np.uint8(3), "n", 3, 3)) is int
    assert numbers.integer(2**63 - 1, "n", 0) == 2**63 - 1
    range_ = "n must be from 0 to 9223372036854775807, got"
    for value in (-1, 2**63, 2**64, -(2**64)):
        refused(ValueError, f"{range_} {value}", numbers.integer, value, "n", 0)
    for value in (2**64 + 1, -(2**64) - 1):
        refused(ValueError, f"{range_} an integer of 65 bits", numbers.integer, value, "n", 0)
    for value, said in ((True, "True"), (np.True_, "np.True_"), (1.0, "float"), ("1", "str")):
        refused(TypeError, f"n must be an integer, got {said}", numbers.integer, value, "n", 0)


def test_pairs():
    assert numbers.pair(3, "n", 3) == (3, 3)
    for value in ((3, 4), [3, 4], np.array([3, 4]), range(3, 5)):
        assert numbers.pair(value, "n", 3) == (3, 4)
    assert numbers.pair(np.array(3), "n", 3) == (3, 3)
    for value in ((), (3,), (3, 4, 5), np.zeros((3, 2))):
        message = f"n must be an integer or two of them, got {len(value)} values"
        refused(ValueError, message, numbers.pair, value, "n", 3)
    range_ = "must be from 3 to 9223372036854775807, got 2"
    for i, value in enumerate(((2, 4), (4, 2))):
        refused(ValueError, f"n[{i}] {range_}", numbers.pair, value, "n", 3)
    for value in ("34", b"34", {3, 4}, None):
        refused(TypeError, f"n must be an integer, got {type(value).__name__}", numbers.pair, value, "n", 3)


def test_numbers():
    for value in (0, 1, 0.25, np.float32(0.25), np.int64(1), Fraction(1, 4)):
        clean = numbers.number(value, "p", 0, 1)
        assert clean == value and type(clean) is float
    assert numbers.number(1e300, "p", 0) == 1e300
    for value, said in ((-0.5, "-0.5"), (1.5, "1.5"), (10**400, "inf"), (math.nan, "nan")):
        refused(ValueError, f"p must be a finite number from 0 to 1, got {said}", numbers.number, value, "p", 0, 1)
    for value in (math.inf, 10**400):
        refused(ValueError, "p must be a finite number from 0 to inf, got inf", numbers.number, value, "p", 0)
    for value in (True, np.True_, "1", 1j, None, np.array([1.0])):
        refused(TypeError, f"p must be a number, got {type(value).__name__}", numbers.number, value, "p", 0, 1)


def test_flags_and_choices():
    assert numbers.flag(np.True_, "whole") is True and numbers.flag(False, "whole") is False
    refused(TypeError, "whole must be True or False, got int", numbers.flag, 1, "whole")
    assert numbers.choice("a", "kind", ("a", None)) == "a" and numbers.choice(None, "kind", ("a", None)) is None
    refused(ValueError, "kind must be one of ('a', 'b'), got None", numbers.choice, None, "kind", ("a", "b"))
    refused(TypeError, "kind must be one of ('a', 1), got int", numbers.choice, 1, "kind", ("a", 1))


@pytest.mark.parametrize("error", (AttributeError, ValueError, OSError))
def test_a_system_that_does_not_tell_its_memory(error, monkeypatch):
    def unknown(name):
        raise error

    monkeypatch.setattr(os, "sysconf", unknown, raising=False)
    arrays.physical_memory.cache_clear()
    assert arrays.physical_memory() == 2**47
    arrays.physical_memory.cache_clear()


def test_sizes_that_just_fit():
    assert os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") == MEMORY
    arrays.size_fits((MEMORY // 8, 8), 1, "x")
    arrays.size_fits((0, 2**70), 8, "x")
    message = f"x of shape ({MEMORY + 1},) takes {MEMORY + 1} bytes, this machine has {MEMORY}"
    refused(ValueError, message, arrays.size_fits, (MEMORY + 1,), 1, "x")


def test_dtypes():
    for name in ("f4", "f8", ">f4"):
        array = np.ones(3, name)
        assert arrays.real(array, "x") is array and arrays.convertible(array, "x") is array
    for name in ("i1", "u8", "?"):
        array = np.ones(3, name)
        assert arrays.real(array, "x", integers=True).dtype == float
        assert arrays.convertible(array, "x") is array
        refused(TypeError, f"x must be float32 or float64, got {array.dtype}", arrays.real, array, "x")
    half = np.ones(3, np.float16)
    assert arrays.convertible(half, "x") is half
    refused(TypeError, "x must be float32 or float64, got float16", arrays.real, half, "x", integers=True)
    for name in ("c8", "S4", "M8[s]", "m8[s]", "O", "longdouble"):
        array = np.zeros(3, name)
        said = f"x must be float32 or float64, got {array.dtype}"
        refused(TypeError, said, arrays.real, array, "x", integers=True)
        refused(TypeError, f"{said} (float16, integers and booleans are taken, too)", arrays.convertible, array, "x")


def test_what_is_copied():
    good = np.arange(6.0).reshape(2, 3)
    assert arrays.readable(good) and arrays.ready(good, "x") is good
    misaligned = np.zeros(49, np.uint8)[1:].view(float).reshape(2, 3)
    misaligned[...] = good
    for bad in (good.T, good[:, ::-1], good[:, ::2], good.astype(">f8"), misaligned):
        copy = arrays.ready(bad, "x")
        assert not arrays.readable(bad) and arrays.readable(copy)
        assert copy.flags.num & arrays.READABLE == arrays.READABLE
        assert (bad.flags.num & arrays.READABLE == arrays.READABLE) == (not bad.dtype.isnative)  # which is no flag
        assert copy.dtype == float and (copy == bad).all()
    integers = np.arange(6)
    assert not arrays.readable(integers) and arrays.ready(integers, "x") is integers


def test_outputs():
    new = arrays.output(None, (2, 3), ">f4", {}, order="F")
    assert new.dtype == np.float32 and new.dtype.isnative and new.flags.f_contiguous and new.shape == (2, 3)
    assert arrays.output(None, (2, 3), float, {}).flags.c_contiguous
    fortran = np.zeros((2, 3), order="F")
    assert arrays.output(fortran, (2, 3), float, {}, order="F") is fortran
    c_order = np.zeros((2, 3))
    assert arrays.output(c_order, (2, 3), float, {}, order="F") is c_order
    refused(ValueError, "out must be contiguous, aligned and writeable", arrays.output, fortran, (2, 3), float, {})
    for order in "CF":
        strided = np.zeros((2, 6))[:, ::2]
        message = "out must be contiguous, aligned and writeable"
        refused(ValueError, message, arrays.output, strided, (2, 3), float, {}, order=order)
    masked = np.ma.zeros((2, 3))
    refused(TypeError, "out must be a NumPy array, got MaskedArray", arrays.output, masked, (2, 3), float, {})


def test_outputs_in_the_place_of_an_input():
    x = np.zeros((4, 4))
    assert arrays.output(x, (4, 4), float, {"x": x}, in_place=("x",)) is x
    message = "out may not share memory with x"
    refused(ValueError, message, arrays.output, x, (4, 4), float, {"x": x}, in_place=("y",))
    for other in (x.T, x[1:]):
        refused(ValueError, message, arrays.output, x, (4, 4), float, {"x": other}, in_place=("x",))


def test_what_is_a_key():
    for value in (1, "same", None, (), (1, 2), ((1, 2), (3, None))):
        assert windows.is_key(value)
    for value in (1.0, True, [1], (1, 2.0), ((1, True), 2), np.int64(1)):
        assert not windows.is_key(value)


AXES = [
    Axis(size, kernel, stride, dilation, before, after, out)
    for size, kernel, stride, dilation, before, after in itertools.product(
        range(1, 6), (1, 2, 3, 5), (1, 2, 4), (1, 2, 3), (0, 1, 2, 5), (0, 1, 4)
    )
    for out in [(size + before + after - (kernel - 1) * dilation - 1) // stride + 1]
    if out > 0
]


def taps(axis):
    """The positions inside the input that each window sees."""
    places = [[w * axis.stride - axis.before + k * axis.dilation for k in range(axis.kernel)] for w in range(axis.out)]
    return [[place for place in window if 0 <= place < axis.size] for window in places]


def test_trimmed_windows_see_the_same_with_the_fewest_taps():
    for axis in AXES:
        trimmed = windows.trim(axis)
        assert taps(trimmed) == taps(axis), axis
        assert trimmed._replace(kernel=axis.kernel, before=axis.before, after=axis.after) == axis
        assert trimmed.after == 0 and trimmed.before >= 0
        last_start = (axis.out - 1) * axis.stride - axis.before
        too_early = sum(last_start + k * axis.dilation < 0 for k in range(axis.kernel))
        not_too_late = sum(k * axis.dilation - axis.before < axis.size for k in range(axis.kernel))
        lead = min(too_early, axis.kernel - 1, axis.before // axis.dilation)
        assert (trimmed.before, trimmed.kernel) == (axis.before - lead * axis.dilation, max(not_too_late - lead, 1))


def test_divisors_count_what_a_window_averages():
    for axis in AXES:
        if axis.dilation == 1:
            starts = [w * axis.stride - axis.before for w in range(axis.out + 1)]  # one more than fits: ceil_mode
            padded = [max(min(s + axis.kernel, axis.size + axis.after) - s, 1) for s in starts]
            inside = [max(min(s + axis.kernel, axis.size) - max(s, 0), 1) for s in starts]
            more = axis._replace(out=axis.out + 1)
            assert windows.divisors(more, True).tolist() == padded
            assert windows.divisors(more, False).tolist() == inside
            assert pooling._divisors_along(more, True).tolist() == padded
            assert pooling._divisors_along(more, False).tolist() == inside
            assert pooling._divisors_along(axis, True).tolist() == padded[:-1]
            assert pooling._divisors_along(axis, False).tolist() == inside[:-1]


def test_paddings_by_name():
    assert [(axis.before, axis.after) for axis in windows.axes((5, 6), 3, 1, "valid", 1)] == [(0, 0)] * 2
    for size, kernel, stride, dilation in itertools.product(range(1, 9), range(1, 6), range(1, 5), range(1, 4)):
        for padding, lower in (("same", False), ("same_lower", True)):
            axis, _ = windows.axes((size, size), kernel, stride, padding, dilation)
            assert axis.out == math.ceil(size / stride)
            total = max((axis.out - 1) * stride + axis.span - size, 0)
            assert (axis.before, axis.after)[:: -1 if lower else 1] == (total // 2, total - total // 2)
