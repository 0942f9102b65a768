"""The corpus of the fuzzer passes, and the fuzzer notices what it is for."""

import os
import time

import numpy as np
import pytest

from fastml import _dispatch
from tests.fuzz import calls, checks, kept
from tests.fuzz.__main__ import Found, fuzz
from tests.fuzz.choices import Choices

CORPUS = kept.corpus()
pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass")


def test_the_corpus_passes():
    assert CORPUS
    with checks.watching():
        for data in CORPUS:
            checks.check(data)  # python -m tests.fuzz --replay HEX


def test_the_corpus_calls_everything():
    assert {calls.draw(Choices(data)).op for data in CORPUS} == calls.DRAWN.keys()


def test_choices_of_no_bytes_are_an_ordinary_call():
    for number, op in enumerate(calls.DRAWN):
        call = calls.draw(Choices(bytes([number])))
        assert call.op == op
        call.perform()


def wrong_value(kernel, *arguments):
    kernel(*arguments)
    arguments[-2].flat[-1] += 1


def changed_input(kernel, *arguments):
    kernel(*arguments)
    arguments[0].flat[0] += 1


def error(kernel, *arguments):
    raise RuntimeError("no such luck")


def depends_on_threads(kernel, *arguments):
    kernel(*arguments)
    if arguments[-1] > 1:
        arguments[-2].flat[0] = np.nextafter(arguments[-2].flat[0], 9)


@pytest.mark.parametrize(("broken", "kind"), [
    (wrong_value, "cython standardize rows: out is wrong"), (changed_input, "standardize: X was changed"),
    (error, "standardize: RuntimeError"), (depends_on_threads, "standardize: other bits with 3 threads"),
])  # fmt: skip
def test_a_broken_kernel_is_noticed(broken, kind, monkeypatch):
    load = _dispatch.load

    def loaded(rung):
        kernel = load(rung)
        mine = rung.op == "standardize" and rung.backend == "cython"
        return (lambda *arguments: broken(kernel, *arguments)) if mine else kernel

    monkeypatch.setattr(_dispatch, "load", loaded)
    with checks.watching(), pytest.raises(checks.Failed) as failed:
        checks.check(b"")
    assert failed.value.kind.startswith(kind)


def behave(data):
    """A child's part."""
    if data == b"hang":
        time.sleep(60)
    if data == b"crash":
        os.abort()
    watched = isinstance(_dispatch.load(_dispatch.rungs("pca")[0]), checks.Watched)
    if data == b"fails!" and watched:
        raise checks.Failed("fails", "it did")


def test_a_crash_and_a_hang_and_a_failure_are_found(tmp_path, capsys):
    found = Found("random", tmp_path / "found")
    inputs = [b"hang", b"a", b"crash", b"fails!", b"b"]
    fuzz(found, 100, 0, inputs, "tests.trust.test_fuzzed:behave", patience=2, most_crashes=2)
    assert found.crashes == 2 and found.inputs == 3
    assert sorted(found.kinds.values()) == [b"crash", b"fails!", b"hang"]
    assert {"fails", "hangs 68", "SIGABRT 63"} == found.kinds.keys()
    assert len([*(tmp_path / "found").iterdir()]) == 3
    assert f"--replay {b'hang'.hex()}" in capsys.readouterr().out


def test_figures_of_no_run_reach_nothing(tmp_path):
    assert [figure.reached for figure, _ in kept.figures(tmp_path / "none")] == [False, False]
    assert all(figure.value == figure.value for figure, _ in kept.figures())
