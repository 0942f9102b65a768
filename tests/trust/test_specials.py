"""What is measured of values that are not finite, and of layouts, notices wrong results."""

import numpy as np
import pytest

import fastml
from tests.trust import specials

right_maxima, right_conv2d, right_batch_norm = fastml.max_pool2d, fastml.conv2d, fastml.batch_norm


def deaf_to_nan(x, *options, **more):
    return right_maxima(np.where(np.isnan(x), -9, x).astype(x.dtype), *options, **more)


def elsewhere(x, *options, **more):
    found = right_maxima(x, *options, **more)
    return (found[0], found[1] + 1) if more.get("return_indices") else found


def least(x, *options, **more):
    """The least number where PyTorch's maxima begin, in place of -infinity."""
    found = right_maxima(x, *options, **more)
    return (np.nan_to_num(found[0], nan=np.nan), found[1]) if more.get("return_indices") else np.nan_to_num(found)


def number(operation):
    """ReLU by a comparison that NaN does not win."""

    def relu(*arrays, activation, **options):
        y = operation(*arrays, **options)
        return np.where(y > 0, y, 0).astype(y.dtype)

    return relu


def negative(operation):
    return lambda *arrays, activation, **options: operation(*arrays, **options)


def skipped(x, weight, **options):
    """Taps in the padding are left out."""
    y = right_conv2d(x, weight, **options)
    return np.where(np.isnan(y), 1, y)


def in_memory(x, *rest, **options):
    """Reads what lies behind an array in the order in which it lies there."""
    return np.asarray(x).ravel("K").reshape(x.shape)


def choosy(x, *rest, **options):
    if not x.flags.writeable:
        raise ValueError("read-only")
    return right_conv2d(x, *rest, **options)


@pytest.mark.parametrize(("measure", "name", "wrong", "missed"), [
    (specials.nans, "max_pool2d", deaf_to_nan, [True]),
    (specials.nans, "max_pool2d", elsewhere, [True]),
    (specials.infinite_windows, "max_pool2d", elsewhere, [True, True]),
    (specials.infinite_windows, "max_pool2d", least, [True, True]),
    (specials.infinite_windows, "max_pool2d", deaf_to_nan, [False, False]),  # there is none
    (specials.activations, "conv2d", number(right_conv2d), [True]),
    (specials.activations, "batch_norm", number(right_batch_norm), [True]),
    (specials.activations, "batch_norm", negative(right_batch_norm), [True]),
    (specials.infinite_weights, "conv2d", skipped, [True]),
    (specials.layouts, "standardize", in_memory, [True, False]),
    (specials.layouts, "conv2d", choosy, [False, True]),
])  # fmt: skip
def test_a_wrong_result_is_noticed(measure, name, wrong, missed, monkeypatch):
    monkeypatch.setattr(fastml, name, wrong)
    assert [not figure.reached for figure in measure(False)] == missed


def test_a_layout_that_is_refused_or_misread_counts_once():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    assert specials.unread(lambda view: np.array(view), x, lambda view: view) == 0
    assert specials.unread(lambda view: np.asarray(view).view("=u1"), x, lambda view: view) > 0
    assert specials.unread(only_writeable, x, lambda view: view) == 4  # read-only and broadcast, of both dtypes


def only_writeable(view):
    if not view.flags.writeable:
        raise ValueError("read-only")
    return view


def test_windows_and_what_they_see():
    seen = dict(specials.taps(2, 3, {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 1}))
    assert seen == {(0, 0): [0], (0, 1): [1, 2], (1, 0): [3], (1, 1): [4, 5]}
    seen = dict(specials.taps(2, 2, specials.OUTSIDE))
    assert seen == {(0, 0): []}


def test_the_formula_of_a_convolution():
    x, weight = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]]), np.zeros((2, 1, 3, 3))
    weight[0, 0, 1], weight[1, 0, 1, 0] = [1, 10, 100], np.inf
    y = specials.by_formula(x, weight, 2)
    np.testing.assert_array_equal(y, [[[[210, 21]], [[np.nan, np.inf]]]])


@pytest.mark.parametrize("measure", [specials.layouts, specials.nans, specials.infinite_windows, specials.activations,
                                     specials.infinite_weights])  # fmt: skip
def test_pytorch_has_no_figure_where_it_is_not_installed(measure, monkeypatch):
    monkeypatch.setattr(specials.importlib.util, "find_spec", lambda name: None)
    assert [figure.reached and "PyTorch" not in figure.peers for figure in measure(True)] == [
        True for _ in measure(False)
    ]
