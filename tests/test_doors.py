"""The doors for small plain arrays: the results and the errors of the ordinary way, to the bit and to the letter."""

import importlib
import inspect
import sys
import warnings

import numpy as np
import pytest
import sklearn
from sklearn import preprocessing

import fastml
from fastml.estimators import standard_scaler as scaler_module

module, moments_module = (importlib.import_module(f"fastml.ops.{name}") for name in ("standardize", "moments"))

M, S = np.arange(1.0, 4), np.array([2.0, 0.5, 4])
CALLS = {
    "usual": (np.eye(3), M, S, {}),
    "row of float32": (np.array([[1, -2, 3]], np.float32), M, S, {}),
    "NaN and infinity": (np.array([[np.nan, np.inf, -np.inf]]), M, S, {}),
    "NaN in mean": (np.eye(3), M * np.nan, S, {}),
    "NaN in std": (np.eye(3), M, np.array([1, np.nan, 2]), {}),
    "zero std": (np.eye(3), M, np.array([2.0, 0, 4]), {}),
    "negative std": (np.eye(3), M, -S, {}),
    "negative after NaN": (np.eye(3), M, np.array([np.nan, -1, 2]), {}),
    "integers": (np.eye(3, dtype=int), M, S, {}),
    "float16": (np.eye(3, dtype=np.float16), M, S, {}),
    "complex": (np.eye(3, dtype=complex), M, S, {}),
    "big-endian": (np.eye(3, dtype=">f4"), M, S, {}),
    "Fortran": (np.asfortranarray(np.arange(12.0).reshape(4, 3)), M, S, {}),
    "strided": (np.arange(24.0).reshape(4, 6)[:, ::2], M, S, {}),
    "list": (np.eye(3).tolist(), M, S, {}),
    "vector": (M, M, S, {}),
    "no rows": (np.empty((0, 3)), M, S, {}),
    "no columns": (np.empty((2, 0)), M[:0], S[:0], {}),
    "masked": (np.ma.eye(3) if hasattr(np.ma, "eye") else np.ma.array(np.eye(3)), M, S, {}),
    "matrix": (np.eye(3).view(np.matrix), M, S, {}),
    "float32 mean": (np.eye(3), M.astype(np.float32), S, {}),
    "strided std": (np.eye(3), M, np.repeat(S, 2)[::2], {}),
    "scalar mean": (np.eye(3), 1.0, S, {}),
    "mean alone": (np.eye(3), M, None, {}),
    "std alone": (np.eye(3), None, S, {}),
    "short mean": (np.eye(3), M[:2], S[:2], {}),
    "long std": (np.eye(3), M, np.ones(4), {}),
    "axis 1": (np.arange(9.0).reshape(3, 3), M, S, {"axis": 1}),
    "axis True": (np.eye(3), M, S, {"axis": False}),
    "axis 0.0": (np.eye(3), M, S, {"axis": 0.0}),
    "no mean": (np.eye(3), M, S, {"with_mean": False}),
    "with_std 1": (np.eye(3), M, S, {"with_std": 1}),
    "ddof": (np.eye(3), M, S, {"ddof": -1}),
    "ddof False": (np.eye(3), M, S, {"ddof": False}),
    "stats": (np.eye(3), M, S, {"return_stats": True}),
    "out": (np.eye(3), M, S, {"out": np.empty((3, 3))}),
    "wrong out": (np.eye(3), M, S, {"out": np.empty(3)}),
    "threads": (np.eye(3), M, S, {"n_threads": 0}),
    "backend": (np.eye(3), M, S, {"backend": "torch"}),
}  # fmt: skip


def outcome(X, mean, std, options):
    try:
        result = fastml.standardize(X, mean=mean, std=std, **options)
    except Exception as error:
        return type(error), str(error)
    results = result if isinstance(result, tuple) else (result,)
    return [(type(a), a.dtype, a.shape, a.flags.c_contiguous, a.tobytes()) for a in results]


@pytest.mark.parametrize("name", CALLS)
def test_the_door_for_small_arrays_changes_nothing(name, monkeypatch):
    through = outcome(*CALLS[name])
    monkeypatch.setattr(module, "is_plain", lambda *arrays: False)
    assert through == outcome(*CALLS[name])


@pytest.mark.parametrize(("name", "opens"), [
    ("usual", True), ("row of float32", True), ("NaN and infinity", True), ("zero std", False), ("integers", False),
    ("Fortran", False), ("axis 1", False), ("stats", False), ("short mean", False), ("no rows", False),
])  # fmt: skip
def test_the_door_opens_for_plain_calls(name, opens, monkeypatch):
    calls, small = [], module.small
    monkeypatch.setattr(module, "small", lambda *arrays: calls.append(arrays) or small(*arrays))
    outcome(*CALLS[name])
    assert len(calls) == opens


def test_the_door_goes_by_the_backend():
    calls = []
    x, m, s = np.eye(3, dtype=np.float32), M, S
    for backend in ("numpy", "numba"):
        with fastml.backend(backend):
            calls.append(fastml.standardize(x, mean=m, std=s))
    np.testing.assert_allclose(calls, [fastml.standardize(x, mean=m, std=s)] * 2, rtol=1e-6)


FITTED = np.random.default_rng(0).normal(3, 2, (50, 3))
ROW = np.array([[1, -2, 30]], np.float32)


def scaler(**changes):
    """Fitted on three columns, then with attributes changed."""
    model = fastml.StandardScaler().fit(FITTED)
    vars(model).update(changes)
    return model


def row():
    return ROW.copy()


def named():
    return fastml.StandardScaler().fit(pytest.importorskip("pandas").DataFrame(FITTED, columns=list("abc")))


def read_only(x):
    x.flags.writeable = False
    return x


ROWS = {
    "usual": lambda: (scaler(), row()),
    "float64": lambda: (scaler(), FITTED.copy()),
    "NaN": lambda: (scaler(), np.array([[1, np.nan, 2]])),
    "infinity": lambda: (scaler(), np.array([[1, np.inf, 2]])),
    "both infinities": lambda: (scaler(), np.array([[-np.inf, np.inf, 2]], np.float32)),
    "infinity and NaN": lambda: (scaler(), np.array([[-np.inf, np.nan, 2]], np.float32)),
    "squares overflow": lambda: (scaler(), np.array([[1e30, 1, 2]], np.float32)),
    "squares overflow, float64": lambda: (scaler(), np.array([[-1e300, 1, 2]])),
    "result overflows": lambda: (scaler(scale_=np.full(3, 1e-30)), np.array([[1e30, 1, 2]], np.float32)),
    "integers": lambda: (scaler(), np.array([[1, 2, 3]])),
    "float16": lambda: (scaler(), row().astype(np.float16)),
    "complex": lambda: (scaler(), row() + 0j),
    "big-endian": lambda: (scaler(), row().astype(">f4")),
    "Fortran": lambda: (scaler(), np.asfortranarray(FITTED.copy())),
    "strided": lambda: (scaler(), FITTED.copy()[::2]),
    "read-only": lambda: (scaler(), read_only(row())),
    "list": lambda: (scaler(), row().tolist()),
    "vector": lambda: (scaler(), row()[0]),
    "no rows": lambda: (scaler(), row()[:0]),
    "features": lambda: (scaler(), row()[:, :2].copy()),
    "not fitted": lambda: (fastml.StandardScaler(), row()),
    "named": lambda: (named(), row()),
    "pandas": lambda: (scaler().set_output(transform="pandas"), row()),
    "without mean": lambda: (scaler(with_mean=False), row()),
    "without std": lambda: (scaler(with_std=False), row()),
    "with_mean late": lambda: (scaler(mean_=None), row()),
    "in place": lambda: (scaler(copy=False), row()),
    "other mean": lambda: (scaler(mean_=np.array([1.0, 2, 3])), row()),
    "float32 mean": lambda: (scaler(mean_=np.array([1, 2, 3], np.float32)), row()),
    "mean in a list": lambda: (scaler(mean_=[1.0, 2.0, 3.0]), row()),
    "scale with strides": lambda: (scaler(scale_=np.arange(1.0, 7)[::2]), row()),
    "negative scale": lambda: (scaler(scale_=np.array([-1.0, 2, 3])), row()),
    "NaN in scale": lambda: (scaler(scale_=np.array([np.nan, 2, 3])), row()),
    "n_features_in_ alone": lambda: (scaler(n_features_in_=4), row()),
    "two features": lambda: (scaler(mean_=np.ones(2), scale_=np.ones(2)), row()[:, :2].copy()),
}


def transformed(transform, make, **options):
    model, X = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # what is thrown away meanwhile may be another test's
        try:
            result = transform(model, X, **options)
            data = np.asarray(result)
            shown = type(result), data.dtype, data.flags.c_contiguous, data.tobytes(), np.shares_memory(data, X)
        except Exception as error:
            shown = type(error), str(error)
    return shown, [str(warning.message) for warning in caught]


@pytest.mark.parametrize("config", [{}, {"transform_output": "pandas"}, {"assume_finite": True}], ids=str)
@pytest.mark.parametrize("options", [{}, {"copy": True}, {"copy": False}, {"copy": None}], ids=str)
@pytest.mark.parametrize("name", ROWS)
def test_the_door_of_the_scaler_changes_nothing(name, options, config):
    door = fastml.StandardScaler.transform
    with sklearn.config_context(**config):
        assert transformed(door, ROWS[name], **options) == transformed(door.__wrapped__, ROWS[name], **options)


@pytest.mark.parametrize("name", ROWS)
def test_the_door_of_the_scaler_opens_for_the_usual(name, monkeypatch):
    calls = []
    monkeypatch.setattr(scaler_module, "small", lambda *arrays: calls.append(arrays))
    transformed(fastml.StandardScaler.transform, ROWS[name])
    opens = ("usual", "float64", "NaN", "squares overflow", "squares overflow, float64", "result overflows",
             "other mean", "negative scale", "NaN in scale")  # fmt: skip
    assert len(calls) == (name in opens)


def test_the_door_is_shut_for_array_api_and_callbacks(monkeypatch):
    monkeypatch.setattr(scaler_module, "small", None)
    model = scaler(_skl_callbacks=[])
    assert model.transform(ROW).shape == (1, 3)


@pytest.mark.skipif(sys.flags.optimize >= 2, reason="Python leaves docstrings out")
def test_the_scaler_looks_like_scikit_learns():
    for name in ("fit", "partial_fit", "fit_transform", "transform", "inverse_transform", "set_output"):
        ours, theirs = getattr(fastml.StandardScaler, name), getattr(preprocessing.StandardScaler, name)
        (a, b) = (inspect.signature(method).parameters.values() for method in (ours, theirs))
        assert [(p.name, p.kind, p.default) for p in a] == [(p.name, p.kind, p.default) for p in b]
        assert ours.__name__ == name and ours.__doc__
    ours, theirs = (cls().get_metadata_routing() for cls in (fastml.StandardScaler, preprocessing.StandardScaler))
    assert ours._serialize() == theirs._serialize()


def test_edits_in_place_are_seen():
    model = scaler()
    before = model.transform(ROW)
    model.mean_ += 1
    assert not np.array_equal(model.transform(ROW), before)
    model.mean_ -= 1
    model.scale_ *= 2
    np.testing.assert_allclose(model.transform(ROW), before / 2, rtol=1e-6)


def test_fit_transform_validates_once_and_reads_twice(monkeypatch):
    calls = []

    def spy_on(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **options: calls.append(name) or function(*args, **options))

    spy_on(moments_module, "compute")
    spy_on(scaler_module, "standardize_into")
    spy_on(scaler_module, "validate_data")
    fastml.StandardScaler().fit_transform(FITTED)
    assert calls == ["compute", "standardize_into"]
    calls.clear()
    fastml.StandardScaler().fit_transform(FITTED.tolist())
    assert calls == ["validate_data", "compute", "standardize_into"]


class Doubled(fastml.StandardScaler):
    def transform(self, X, copy=None):
        return 2 * super().transform(X, copy)


def test_fit_transform_of_a_subclass_is_its_own_transform():
    expected = 2 * fastml.StandardScaler().fit_transform(FITTED)
    np.testing.assert_array_equal(Doubled().fit_transform(FITTED), expected)
    np.testing.assert_array_equal(Doubled().fit(FITTED).transform(FITTED), expected)


@pytest.mark.parametrize("again", [lambda model: model.fit(FITTED), lambda model: model.fit_transform(FITTED)])
def test_a_fit_without_names_forgets_the_names(again):
    model = named()
    assert model.feature_names_in_.tolist() == list("abc")
    again(model)
    assert not hasattr(model, "feature_names_in_") and model.n_features_in_ == 3
    with pytest.raises(ValueError, match="X has 2 features, but StandardScaler is expecting 3"):
        model.partial_fit(np.eye(2))
    model.fit(np.eye(2))
    assert model.n_features_in_ == 2


def test_a_piece_without_names_warns_after_pieces_with_names():
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named().partial_fit(FITTED)
