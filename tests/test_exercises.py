"""The exercises: each has a task, hints, starters and solutions; solutions pass, starters do not."""

import functools
import inspect
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastml.learn import exercises, judge, native

PAGE = Path(__file__).parents[1] / "docs" / "exercises.md"
EVERY = pytest.mark.parametrize("name", exercises.NAMES)
FILES = [(name, language) for name in exercises.NAMES for language in exercises.languages(name)]
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
IN_EVERY_LANGUAGE = pytest.mark.parametrize(
    ("name", "language"),
    [pytest.param(*row, marks=() if row[1] == "numba" else needs_compiler, id="-".join(row)) for row in FILES],
)


def once(load, folder):
    """`native.load` that compiles a file once, into another folder; so a solution is raced with itself."""
    kept = functools.cache(lambda path, exercise: load(path, exercise, folder))
    return lambda path, exercise, folder: kept(path, exercise)


@pytest.fixture(scope="module", autouse=True)
def compiled_once_and_timed_briefly(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "load", once(native.load, tmp_path_factory.mktemp("compiled")))
        patch.setattr(judge, "BLOCK", 0.003)
        patch.setattr(judge, "ROUNDS", 6)  # the fewest that have an interval
        yield


@IN_EVERY_LANGUAGE
def test_solutions_pass(name, language):
    verdict = judge.judge(name, exercises.file(name, "solution", language))
    assert verdict.outcome != "failed", verdict  # where a machine is too noisy to time, it may say so
    assert verdict.reason.startswith("right, ")
    if not exercises.load(name).threads:  # which share their cores with other programs as these please
        assert verdict.low <= 1.1 and verdict.high >= 0.9  # it runs against itself


@IN_EVERY_LANGUAGE
def test_starters_do_not_pass(name, language):
    verdict = judge.judge(name, exercises.file(name, "starter", language))
    assert verdict.outcome != "passed", verdict
    assert verdict.stars == 0


@EVERY
def test_there_are_a_title_a_task_and_three_hints(name):
    assert re.fullmatch(r"[A-Z].{5,50}", exercises.title(name))
    assert "**Predict**" in exercises.task(name) and f"`{exercises.load(name).function}(" in exercises.task(name)
    assert "Hint" not in exercises.task(name)
    hints = exercises.hints(name)
    assert len(hints) == 3 and all(hints)


@EVERY
def test_starter_and_solution_take_the_same_arguments_as_the_oracle_and_a_result(name, tmp_path):
    exercise = exercises.load(name)
    inputs = [*inspect.signature(exercise.oracle).parameters, "out", *(["n_threads"] if exercise.threads else [])]
    for part in ("starter", "solution"):
        function = native.load(exercises.file(name, part, "numba"), exercise, tmp_path)
        assert list(inspect.signature(function.py_func).parameters) == inputs
        for language in exercises.languages(name)[1:]:
            assert re.search(rf"\b{exercise.function}\(", exercises.file(name, part, language).read_text())
    assert inspect.getdoc(function.py_func).startswith("out")


@EVERY
def test_cases_have_names_of_their_own_and_arrays_of_float32(name):
    exercise = exercises.load(name)
    cases = [*exercise.cases()]
    assert len({case for case, _ in cases}) == len(cases) >= 8
    for inputs in (*(inputs for _, inputs in cases), exercise.timed(1)):
        assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in inputs)
    assert 0 < exercise.stars[0] < exercise.stars[1] < exercise.stars[2] < 0.9  # the solution has three


@EVERY
def test_the_timed_problem_is_another_one_for_another_seed(name):
    first, again, other = (exercises.load(name).timed(seed) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


@pytest.mark.parametrize("name", [name for name in exercises.NAMES if exercises.load(name).rung])
def test_what_ships_computes_the_same(name):
    """Unless it returns more than was asked for: moments."""
    exercise = exercises.load(name)
    inputs = exercise.timed(1)
    wide = [array.astype(np.float64) for array in inputs]
    expected = exercise.oracle(*wide)
    out = np.full(expected.shape, np.nan, exercise.dtype)
    exercise.rung(*inputs, out)
    if name == "stable_variance":
        assert np.isnan(out).all()
    else:
        assert (abs(out - expected) <= 2 * exercise.allowed(*wide) + 1e-7 * abs(expected)).all()


def test_there_are_at_least_ten_some_in_c_and_in_cython():
    assert len(exercises.NAMES) >= 10
    assert {language for _, language in FILES} == {"numba", "c", "cython"}
    folders = {path.parent.name for path in Path(exercises.__file__).parent.glob("*/task.md")}
    assert folders == set(exercises.NAMES)


def test_an_unknown_name_is_refused():
    for function in (exercises.load, exercises.title, exercises.hints, exercises.languages):
        with pytest.raises(ValueError, match=r"there is no exercise 'nonsense'; there are sum_accumulators, "):
            function("nonsense")


def test_the_page_lists_them_in_their_order():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    written = {"numba": "Numba", "c": "C", "cython": "Cython"}
    languages = {name: ", ".join(written[key] for key in exercises.languages(name)) for name in exercises.NAMES}
    assert rows == [(name, exercises.title(name), languages[name]) for name in exercises.NAMES]
