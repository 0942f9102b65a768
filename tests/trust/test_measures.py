"""What is measured covers every operation, and a result that is not a number, or of nobody, is no success."""

import inspect
import sys

import numpy as np
import pytest

import fastml
from fastml import _threads
from fastml._core.baseline import _system
from tests.fuzz import calls
from tests.trust import accuracy, contract, determinism, hostile, interrupts, isolated, memory, threads, work
from tests.trust.figures import largest

NAN = float("nan")
RESULTS = {"Moments", "PCAResult", "BatchNormGradients", "Conv2dGradients"}
SETTINGS = {"backend", "set_backend", "set_num_threads", "get_num_threads", "configuration", "show_config", "explain"}
COMPUTE = set(fastml.__all__) - RESULTS - SETTINGS
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks for processors")


@pytest.mark.parametrize("listed", [
    {name.partition(" ")[0] for name in work.operations()}, hostile.valid().keys(), calls.DRAWN.keys(),
    {op for topic in hostile.ATTRIBUTES.values() for op in topic},
], ids=["work", "hostile arrays", "fuzzer", "hostile attributes"])  # fmt: skip
def test_everything_that_computes_is_called(listed):
    assert set(listed) == COMPUTE


def test_everything_that_writes_or_learns_by_and_by_is_starved():
    writes = {op for op in COMPUTE if "out" in inspect.signature(getattr(fastml, op)).parameters}
    learns = {f"{op}.partial_fit" for op in COMPUTE if hasattr(getattr(fastml, op), "partial_fit")}
    assert writes | learns <= memory.written(1).keys()


def test_of_measured_values_nan_is_the_largest():
    assert largest(1.0, 3.0, 2) == 3
    assert all(np.isnan(largest(*values)) for values in ((0.0, NAN), (NAN, 0.0), (np.float32(NAN), np.inf)))


def reached(measure):
    return {figure.row: figure.reached for figure in measure(False)}


def test_standardized_nan_reaches_no_target(monkeypatch):
    monkeypatch.setattr(fastml, "standardize", lambda X: np.full_like(X, np.nan))
    assert reached(accuracy.standardized) == dict.fromkeys((14, 15, 16, 17), False)


def test_one_nan_among_many_values_is_enough(monkeypatch):
    """Of the first of the six matrices of row 14: those after it are right."""
    right, asked = fastml.standardize, []

    def first_wrong(X):
        asked.append(None)
        y = right(X)
        y[-1, -1] = np.nan if len(asked) == 1 else y[-1, -1]
        return y

    monkeypatch.setattr(fastml, "standardize", first_wrong)
    assert reached(accuracy.standardized) == {14: False, 15: True, 16: True, 17: True}


def test_convolved_nan_reaches_no_target(monkeypatch):
    right = fastml.conv2d
    monkeypatch.setattr(fastml, "conv2d", lambda x, *a, **o: right(x, *a, **o) * (np.nan if len(x) == 1 else 1))
    assert reached(determinism.batches) == {33: False}


class NotPCA:
    """Right but for what is divided by or compared."""

    def __init__(self):
        self.model = fastml.estimators.pca.PCA()

    def fit(self, X):
        self.model.fit(X).explained_variance_[-1] = np.nan
        return self.model

    def fit_transform(self, X):
        result = self.model.fit_transform(X)
        self.components_, self.singular_values_ = self.model.components_, self.model.singular_values_ * np.nan
        return result


@pytest.mark.parametrize(("measure", "row"), [(accuracy.pca_offsets, 21), (accuracy.pca_invariants, 22)])
def test_components_of_nan_reach_no_target(measure, row, monkeypatch):
    fastml.PCA  # noqa: B018  # imports it
    monkeypatch.setattr(fastml, "PCA", NotPCA)
    assert reached(measure) == {row: False}


class NotAnEstimator(fastml.TruncatedSVD):
    def fit(self, X, y=None):
        return None


def test_a_check_of_scikit_learn_that_fails_is_counted(monkeypatch):
    monkeypatch.setattr(fastml, "TruncatedSVD", NotAnEstimator)
    assert [figure.reached for figure in contract.checks(False)] == [True, True, True, False]


def test_no_check_of_scikit_learn_is_no_success(monkeypatch):
    monkeypatch.setattr(contract, "statuses", lambda estimator: contract.Counter(skipped=3))
    assert not any(figure.reached for figure in contract.checks(False))


@pytest.mark.parametrize("answer", [NAN, float("inf"), isolated.Died("hangs")])
def test_a_wrong_answer_of_a_forked_child_reaches_no_target(answer, monkeypatch):
    results = [[0.1, answer, 0.2, 0.1], [0.1, 0.1]]
    monkeypatch.setattr(threads, "outcomes", lambda *asked: results[0])
    assert reached(threads.forks) == {35: False}
    monkeypatch.setattr(threads, "outcomes", lambda *asked: results[1])
    assert reached(threads.forks) == {35: True}


@pytest.mark.skipif(not hasattr(threads.os, "fork"), reason="needs fork")
def test_other_bits_of_a_forked_child_are_no_answer(monkeypatch):
    monkeypatch.setattr(threads, "runs", lambda library: {"pid": lambda: str(threads.os.getpid()).encode()})
    assert threads.after_fork("fastml", "pid") == float("inf")


@pytest.mark.parametrize("result", [[0.02, 0, 0], [0, 20, 0], [0, 0, 1]])
def test_a_few_leaks_in_many_calls_are_not_passed_over(result, monkeypatch):
    monkeypatch.setattr(memory, "of_peers", lambda *asked, **environment: {})
    monkeypatch.setattr(memory, "outcomes", lambda function, asked, *limits, **environment: [[0, 0, 0]] * len(asked))
    assert all(figure.reached for figure in memory.leaks(True))
    monkeypatch.setattr(memory, "outcomes", lambda function, asked, *limits, **environment: [[0, 0, 0], result])
    assert sum(not figure.reached for figure in memory.leaks(True)) == 2  # of calls, and of those that raise


@pytest.mark.parametrize(("result", "right"), [
    ([1.2, 0.1, True], True), ([1.2, 1.1, True], False), ([0.4, 0.1, True], False), (isolated.Died("hangs"), False),
])  # fmt: skip
def test_ctrl_c_is_answered_in_the_midst_of_a_call_that_is_long_enough_to_tell(result, right, monkeypatch):
    monkeypatch.setattr(interrupts, "outcomes", lambda function, asked, seconds, **environment: [result] * len(asked))
    assert [*interrupts.interrupts(False)][1].reached == right


def test_calls_are_made_larger_until_they_are_long(monkeypatch):
    made = []

    def wait(given):
        made.append(len(given["x"]))
        return {"it": lambda: interrupts.time.sleep(0.001 * len(given["x"]))}

    monkeypatch.setattr(interrupts, "LONG", 0.1)
    assert interrupts.long_call("it", wait)[1] >= 0.1 and made == [32, 64, 128]
    monkeypatch.setattr(interrupts, "MOST", 1e6)
    assert interrupts.long_call("it", wait)[1] < 0.1 and made[3:] == [32]


@linux
@pytest.mark.skipif(not _system.has_openmp() or _threads._processors() == 1, reason="needs OpenMP and two processors")
def test_threads_that_are_started_are_counted():
    assert isolated.call("tests.trust.threads:started", "nothing") >= 1


def test_a_peer_that_is_not_installed_has_no_figure(monkeypatch):
    for module in (hostile, determinism):
        monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(hostile, "outcomes", lambda *asked: [("ValueError", True, 0.1)])
    monkeypatch.setattr(determinism, "call", lambda function, *asked, **options: {"scikit-learn PCA": "bits"})
    assert [figure.peers for figure in hostile.attributes(True)] == [{}] * 5
    assert [figure.peers for figure in hostile.huge_arrays(True)] == [{}] * 2
    assert [figure.peers for figure in determinism.threads(True)] == [{"scikit-learn": "0 of 1"}, {}]


def test_peers_are_told_of_in_a_word(monkeypatch):
    ends = {"a": 3, "b": isolated.Died("SIGSEGV"), "c": isolated.Died("exit 1: Traceback")}
    monkeypatch.setattr(isolated, "outcomes", lambda function, asked, seconds: [ends[asked[0][0]]])
    assert isolated.of_peers("f", {name: [name] for name in ends}, 1) == {"a": 3, "b": "SIGSEGV", "c": "exit 1"}
