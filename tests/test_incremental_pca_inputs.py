"""fastml.IncrementalPCA among scikit-learn's: data frames, sparse input, errors, checks; and its progress bar."""

import sys
import types
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.decomposition import IncrementalPCA as Theirs
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastml import IncrementalPCA
from fastml.estimators import incremental_pca as module
from tests.test_incremental_pca import assert_equal, assert_is_pca, attributes, data
from tests.test_pca_estimator import exploding, name_of, outcome


def test_output_as_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(data(20, 4), columns=list("abcd"), index=range(5, 25))
    model = IncrementalPCA(2).set_output(transform="pandas").partial_fit(frame)
    result = model.transform(frame)
    assert result.columns.tolist() == ["incrementalpca0", "incrementalpca1"] and result.index.equals(frame.index)
    assert model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(frame[list("dcba")])
    assert model.n_samples_seen_ == 20
    assert model.fit_transform(frame).equals(model.transform(frame))


@pytest.mark.parametrize("make", ["csr_array", "csc_array", "lil_array"])
def test_sparse_runs_on_scikit_learns_code(make, monkeypatch):
    monkeypatch.setattr(module, "scatter", exploding)
    X = getattr(sparse, make)(sparse.random(60, 8, 0.4, "csr", random_state=0))
    ours, theirs = (cls(3, batch_size=20).fit(X) for cls in (IncrementalPCA, Theirs))
    assert_equal(attributes(ours), attributes(theirs))
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    more = data(20, 8)
    assert_equal(attributes(ours.partial_fit(more.copy())), attributes(theirs.partial_fit(more.copy())))


def test_many_columns_run_on_scikit_learns_code(monkeypatch):
    monkeypatch.setattr(module, "MOST_COLUMNS", 7)
    X = data(60, 8)
    for method in ("fit", "partial_fit"):
        ours, theirs = (getattr(cls(3), method)(X.copy()) for cls in (IncrementalPCA, Theirs))
        assert_equal(attributes(ours), attributes(theirs))
        assert "_scatter" not in vars(ours)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=0, atol=1e-12)
    assert_is_pca(ours.fit(X[:, :7]), X[:, :7], 1e-12)


def test_scikit_learn_goes_on_where_its_code_must():
    X = data(60, 8)
    ours = IncrementalPCA().partial_fit(X[:40])
    theirs = Theirs().partial_fit(X[:40].copy())
    ours._skl_callbacks = []  # as scikit-learn's callbacks show
    ours.partial_fit(X[40:])
    assert "_scatter" not in vars(ours)
    theirs.partial_fit(X[40:].copy())
    for name in module.SOLVED:  # nothing was left out yet, so that theirs are exact, too
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-10, err_msg=name)


BAD = {
    "NaN": lambda p: p.partial_fit([[np.nan, 1.0], [1.0, 2.0]]),
    "infinity": lambda p: p.fit(np.array([[np.inf, 1.0], [1.0, 2.0]], np.float32)),
    "NaN in transform": lambda p: p.fit(np.eye(2)).transform([[np.nan, 1.0]]),
    "too many": lambda p: p.set_params(n_components=4).fit(np.ones((9, 3))),
    "too many at first": lambda p: p.set_params(n_components=4).partial_fit(np.ones((9, 3))),
    "more than before": lambda p: p.set_params(n_components=2).fit(np.eye(5)).set_params(n_components=3)
    .partial_fit(np.eye(5)),
    "fewer than before": lambda p: p.set_params(n_components=2).fit(np.eye(5)).set_params(n_components=1)
    .partial_fit(np.eye(5)),
    "zero": lambda p: p.set_params(n_components=0).fit(np.eye(3)),
    "batch_size": lambda p: p.set_params(batch_size=0).fit(np.eye(3)),
    "whiten": lambda p: p.set_params(whiten="yes").partial_fit(np.eye(3)),
    "features": lambda p: p.fit(np.eye(3)).transform(np.eye(2)),
    "features of a batch": lambda p: p.fit(np.eye(3)).partial_fit(np.eye(2)),
    "not fitted": lambda p: p.transform(np.eye(2)),
    "one dimension": lambda p: p.fit(np.ones(3)),
    "no rows": lambda p: p.fit(np.ones((0, 3))),
    "no rows in a batch": lambda p: p.fit(np.eye(3)).partial_fit(np.ones((0, 3))),
    "text": lambda p: p.fit([["a", "b"]]),
    "complex": lambda p: p.fit(np.ones((3, 3), complex)),
    "sparse batch": lambda p: p.partial_fit(sparse.eye_array(3, format="csr")),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_errors_are_scikit_learns(name):
    kind, message = outcome(IncrementalPCA, BAD[name])
    assert (kind, message) == outcome(Theirs, BAD[name])
    assert issubclass(kind, Exception) and message


@pytest.mark.filterwarnings("error")
def test_a_variance_beyond_the_dtype_is_refused():
    far = np.full((1, 2), 1e30, np.float32)
    model = IncrementalPCA().partial_fit(far)
    with pytest.raises(ValueError, match="X is too large: its variance is more than float32 can hold"):
        model.partial_fit(-far)
    assert model.n_samples_seen_ == 1
    assert model.partial_fit(-far.astype(np.float64)).explained_variance_[0] == pytest.approx(4e60)


def test_the_first_batch_may_be_small():
    """scikit-learn's one error about a batch, and not about a parameter, that is not raised."""
    X = data(3, 5)
    with pytest.raises(ValueError, match="must be less or equal to the batch number of samples 3"):
        Theirs(4).partial_fit(X.copy())
    assert IncrementalPCA(4).partial_fit(X).n_components_ == 3


# as in test_pca_estimator: every check that scikit-learn has for its own class, on this one
PAIRS = [(IncrementalPCA(**theirs.get_params()), check) for theirs, check in estimator_checks_generator(Theirs())]


@pytest.mark.parametrize("estimator, check", PAIRS, ids=[f"{i}-{name_of(c)}" for i, (_, c) in enumerate(PAIRS)])
def test_scikit_learns_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_parameters():
    ours = [name_of(check) for _, check in estimator_checks_generator(IncrementalPCA())]
    assert ours == [name_of(check) for _, check in PAIRS] and len(ours) >= 45
    assert IncrementalPCA().get_params() == {**Theirs().get_params(), "verbose": 0}
    assert repr(IncrementalPCA(3, whiten=True)) == repr(Theirs(3, whiten=True))
    with pytest.raises(ValueError, match="verbose"):
        IncrementalPCA(verbose="much").fit(np.eye(3))


class FakeBar:
    made = []  # noqa: RUF012

    def __init__(self, total, desc, unit):
        self.total, self.desc, self.unit, self.updates = total, desc, unit, []
        self.update = self.updates.append
        self.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.closed = True


def test_progress(capsys, monkeypatch):
    X, model = data(400, 4), IncrementalPCA(2, batch_size=50)
    model.fit(X)
    assert capsys.readouterr() == ("", "")
    model.set_params(verbose=1)
    if module_of("rich"):
        model.fit(X)
        out, err = capsys.readouterr()
        assert out == "" and "IncrementalPCA" in err and "400/400" in err
    hide(monkeypatch, "rich.console", "rich.progress")
    FakeBar.made.clear()
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", types.SimpleNamespace(tqdm=FakeBar))
    model.fit(X)
    (bar,) = FakeBar.made
    assert (bar.total, bar.desc, bar.unit, bar.closed) == (400, "IncrementalPCA", "row", True)
    assert bar.updates == [50] * 8
    hide(monkeypatch, "tqdm.auto")
    model.set_params(batch_size=7).fit(X)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[0] == "IncrementalPCA: 42 of 400 rows" and lines[-1] == "IncrementalPCA: 400 of 400 rows"
    assert len(lines) == 10
    assert_is_pca(model, X, 1e-12)


def module_of(name):
    try:
        return __import__(name)
    except ImportError:
        return None


def hide(monkeypatch, *names):
    """As if they were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
