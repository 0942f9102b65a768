"""Fitted classes and layers elsewhere: other processes and threads, other versions, skops, data frames."""

import copy
import functools
import importlib
import io
import multiprocessing
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import fastml
from fastml.estimators import VERSIONS

try:
    import cloudpickle
except ModuleNotFoundError:  # joblib before 1.6 has a copy of its own
    from joblib.externals import cloudpickle

X = np.random.default_rng(0).normal(3, [4, 3, 2, 1, 1, 1], (3000, 6))  # large enough for two threads
IMAGES = np.random.default_rng(1).normal(size=(2, 3, 40, 40)).astype(np.float32)
ESTIMATORS = {
    "StandardScaler": fastml.StandardScaler(),
    "PCA": fastml.PCA(2, random_state=0),
    "IncrementalPCA": fastml.IncrementalPCA(2),
    "TruncatedSVD": fastml.TruncatedSVD(2, random_state=0),
}
each = pytest.mark.parametrize("name", ESTIMATORS)


class Doubled(fastml.StandardScaler):
    """What a user may make of one."""

    def transform(self, X, copy=None):
        return 2 * super().transform(X, copy)


@functools.cache
def fitted():
    """Each class, fitted, and objects in all the states they may be in."""
    made = {name: clone(estimator).fit(X) for name, estimator in ESTIMATORS.items()}
    made["of float32"] = fastml.IncrementalPCA(2).fit(X.astype(np.float32))
    made["not yet solved"] = fastml.IncrementalPCA(2).partial_fit(X[:1000]).partial_fit(X[1000:])
    made["in a pipeline"] = make_pipeline(fastml.StandardScaler(), fastml.PCA(0.9)).fit(X)
    made["a subclass"] = Doubled().fit(X)
    made["Conv2d"] = fastml.Conv2d(np.random.default_rng(2).normal(size=(4, 3, 3, 3)).astype(np.float32), padding=1)
    made["Conv2d, prepared"] = fastml.Conv2d(made["Conv2d"].weight, padding=1, activation="relu", input_size=40)
    return made


def answer(model):
    """What it makes of data that every process has, as bytes."""
    return (model.transform(X) if hasattr(model, "transform") else model(IMAGES)).tobytes()


def joblib_dumps(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


WAYS = {
    **{f"protocol {n}": functools.partial(pickle.dumps, protocol=n) for n in range(2, pickle.HIGHEST_PROTOCOL + 1)},
    "cloudpickle": cloudpickle.dumps,
    "joblib": joblib_dumps,
}


def loaded_and_used(written):
    """In a process that has nothing but these bytes: what each one answers, and which warnings there were."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = [answer(joblib.load(io.BytesIO(data)) if way == "joblib" else pickle.loads(data))
                   for way, data in written]  # fmt: skip
    return answers, [str(warning.message) for warning in caught]


def test_a_spawned_process_loads_it_and_answers_the_same_bits():
    made = fitted()
    written = [(way, dump(made[name])) for way, dump in WAYS.items() for name in made]

    class Local(fastml.PCA):  # cloudpickle sends the class as well, and the scope of its `super`
        def transform(self, X):
            return super().transform(X) + 1

    local = Local(2).fit(X)
    written.append(("cloudpickle", cloudpickle.dumps(local)))
    right = [answer(made[name]) for _ in WAYS for name in made] + [answer(local)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        answers, said = pool.submit(loaded_and_used, written).result()
    assert [mine == theirs for mine, theirs in zip(answers, right, strict=True)] == [True] * len(written)
    assert said == []


def test_a_stream_goes_on_in_another_process():
    part = fastml.IncrementalPCA(2).partial_fit(X[:1000])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        whole = pool.submit(part.partial_fit, X[1000:]).result()
    assert answer(whole) == answer(fitted()["not yet solved"])


@each
def test_a_pickle_says_its_versions_and_a_copy_has_no_such_attributes(name):
    model = fitted()[name]
    state = model.__getstate__()
    stamps = {"_fastml_version": fastml.__version__, "_sklearn_version": importlib.import_module("sklearn").__version__}
    assert {key: state[key] for key in state.keys() - vars(model).keys()} == stamps
    for made in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model), clone(model).fit(X)):
        assert vars(made).keys() == vars(model).keys()
        assert answer(made) == answer(model)
    assert not stamps.keys() & vars(model).keys()


@each
@pytest.mark.parametrize("package", VERSIONS)
def test_another_version_warns_in_scikit_learns_way(name, package, monkeypatch):
    with monkeypatch.context() as other:
        other.setitem(VERSIONS, package, "0.0.7")
        written = pickle.dumps(fitted()[name])
    with pytest.warns(InconsistentVersionWarning, match=f"{name} of {package} from version 0.0.7 when using") as caught:
        model = pickle.loads(written)
    (warning,) = caught
    assert warning.message.original_sklearn_version == "0.0.7"
    assert warning.message.current_sklearn_version == VERSIONS[package]
    assert answer(model) == answer(fitted()[name])
    again = pickle.loads(pickle.dumps(model))  # this one is of now
    assert vars(again).keys() == vars(fitted()[name]).keys()


def test_a_pickle_without_versions_warns_and_a_subclass_of_a_user_has_them():
    model = fitted()["a subclass"]
    assert model.__getstate__()["_fastml_version"] == fastml.__version__
    blank = Doubled.__new__(Doubled)
    with pytest.warns(InconsistentVersionWarning, match="from version unknown") as caught:
        blank.__setstate__(vars(model))
    assert [str(warning.message).partition(" from ")[0].rpartition(" ")[2] for warning in caught] == [*VERSIONS]
    assert answer(blank) == answer(model)


TRUSTED = {"in a pipeline": ["StandardScaler", "PCA"], "not yet solved": ["IncrementalPCA"], "Conv2d": ["Conv2d"],
           **{name: [name] for name in ESTIMATORS}}  # fmt: skip


@pytest.mark.parametrize("name", TRUSTED)
def test_skops_asks_for_the_classes_alone(name):
    """What else is in the file are arrays and plain values, which it knows."""
    skops = pytest.importorskip("skops.io")
    model = fitted()[name]
    data = skops.dumps(model)
    types = [f"{kind.__module__}.{kind.__name__}" for kind in (getattr(fastml, kind) for kind in TRUSTED[name])]
    assert sorted(skops.get_untrusted_types(data=data)) == sorted(types)
    with pytest.raises(TypeError, match="Untrusted types found"):
        skops.loads(data)
    assert answer(skops.loads(data, trusted=types)) == answer(model)


def described(model, part):
    """Statistics and the result of a fit, in a worker."""
    model = clone(model).fit(X[part])
    return answer(model), fastml.get_num_threads()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_parallel_fits_are_those_of_a_loop(backend):
    jobs = [(model, slice(start, None)) for model in ESTIMATORS.values() for start in (0, 1000)]
    right = [described(*job)[0] for job in jobs]  # OpenMP's threads run from here on
    with joblib.parallel_config(backend, n_jobs=2):
        found = joblib.Parallel()(joblib.delayed(described)(*job) for job in jobs)
    assert [mine == theirs for (mine, _), theirs in zip(found, right, strict=True)] == [True] * len(jobs)
    if backend == "loky":  # joblib divides the processors among its workers; among threads a program has to
        assert max(threads for _, threads in found) <= max(1, joblib.cpu_count() // 2)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_a_parallel_search_finds_what_a_serial_one_does(backend):
    digits, labels = load_digits(return_X_y=True)
    pipeline = make_pipeline(fastml.StandardScaler(), fastml.PCA(), LogisticRegression(max_iter=500, tol=0.1))
    grid = {"pca__n_components": [4, 8], "standardscaler__with_std": [True, False]}
    search = GridSearchCV(pipeline, grid, cv=2)
    right = search.fit(digits[:600], labels[:600]).cv_results_["mean_test_score"].copy()
    with joblib.parallel_config(backend):
        found = clone(search).set_params(n_jobs=2).fit(digits[:600], labels[:600])
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], right)
    assert found.best_params_ == search.best_params_
    assert found.predict(digits).tobytes() == search.predict(digits).tobytes()


@each
@pytest.mark.parametrize("place", ["first", "last", "searched"])
def test_a_meta_estimator_uses_the_kernels(name, place, monkeypatch):
    """scikit-learn 1.9 tells each step about callbacks, of which there are none, and its own code is not needed."""
    model = clone(ESTIMATORS[name])
    right = answer(clone(model).fit(X))
    base = next(base for base in type(model).__mro__ if base.__module__.startswith("sklearn."))
    for method in ("fit", "fit_transform", "partial_fit"):
        if method in vars(base) and method in vars(type(model)):  # one that ours has not calls one that it has
            monkeypatch.delattr(base, method)
    steps = [model, FunctionTransformer()] if place == "first" else [model]
    whole = make_pipeline(*steps)
    if place == "searched":
        whole = GridSearchCV(whole, {}, cv=2, scoring=lambda model, X, y=None: float(model.transform(X).sum()))
        whole = whole.set_params(error_score="raise").fit(X).best_estimator_
    else:
        whole.fit(X)
    assert answer(whole[0]) == right


@each
# of polars float64 alone: scikit-learn's validation, which asks only pandas for dtypes, makes that of its float32
@pytest.mark.parametrize("library, dtype", [("pandas", np.float32), ("pandas", np.float64), ("polars", np.float64)])
def test_data_frames_in_and_out(name, library, dtype):
    frames = pytest.importorskip(library)
    rows, columns = X[:50].astype(dtype), list("abcdef")
    frame = frames.DataFrame(rows, columns=columns) if library == "pandas" else frames.DataFrame(rows, schema=columns)
    within = frame.to_numpy()  # with the strides of the frame, by which sums are cut
    plain = clone(ESTIMATORS[name])
    right = plain.fit_transform(within), plain.transform(within), plain.fit(within).transform(within)
    model = clone(ESTIMATORS[name]).set_output(transform=library)
    names = columns if name == "StandardScaler" else [f"{name.lower()}{i}" for i in range(2)]
    found = model.fit_transform(frame), model.transform(frame), clone(model).fit(frame).transform(frame)
    for result, expected in zip(found, right, strict=True):
        assert type(result) is frames.DataFrame
        assert list(result.columns) == names == model.get_feature_names_out().tolist()
        assert result.to_numpy().dtype == dtype
        np.testing.assert_array_equal(result.to_numpy(), expected)
    assert model.feature_names_in_.tolist() == columns
    assert not hasattr(plain, "feature_names_in_")
    loaded = pickle.loads(pickle.dumps(model)).transform(frame)
    assert type(loaded) is frames.DataFrame and loaded.equals(model.transform(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(frame[columns[::-1]])
    with pytest.warns(UserWarning, match="valid feature names"):
        model.transform(rows)
    back = clone(model).set_output(transform="default").fit(frame)
    assert type(back.transform(frame)) is np.ndarray
    if name != "StandardScaler":
        return
    np.testing.assert_allclose(model.inverse_transform(model.transform(frame)), rows, atol=1e-5)  # |X| < 20, in float32
