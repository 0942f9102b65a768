"""Every row of the table of rungs, on every small problem it serves, against the definition of its operation.

The definition is the operation's first rung, run in float64 on the very values that the kernel was given; how far off a
result may be is in `tests/tolerances.py`.
"""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import fastml
from fastml import _dispatch
from fastml._registry import BACKENDS, OPS, RUNGS
from fastml.learn.cases import Case
from fastml.learn.data import normal
from tests import tolerances
from tests.small_cases import SMALL

DTYPES = (np.float32, np.float64)
OUTPUTS = {
    "moments": ("count", "mean", "m2"),
    "standardize": ("out",),
    "conv2d": ("out",),
    "max_pool2d": ("out", "indices"),
    "avg_pool2d": ("out",),
    "batch_norm": ("out",),
    "max_pool2d_backward": ("grad_x", "wrong"),
    "avg_pool2d_backward": ("grad_x",),
    "batch_norm_backward": ("grad_x", "grad_weight", "grad_bias", "grad_residual"),
    "conv2d_backward": ("grad_weight", "grad_bias"),
    "pca": ("mean", "scatter"),
    "pca_transform": ("out",),
}
RIGHT = [rung for rung in RUNGS if not rung.fails]
SHIPPING = [rung for rung in RUNGS if rung.ships]
# Larger than the blocks and chunks of the kernels, so that threads have something to share.
SHARED = (
    Case("moments", "5000x7", normal(5000, 7, offset=3)),
    Case("moments", "700x130", normal(700, 130, offset=3)),
    Case("moments", "5000x7, weights", normal(5000, 7, offset=3), {"sample_weight": (5000,)}),
    Case("moments", "7x5000, axis 1", normal(7, 5000, offset=3), {"axis": 1}),
    Case("moments", "7x5000, weights, axis 1", normal(7, 5000, offset=3), {"axis": 1, "sample_weight": (5000,)}),
    Case("standardize", "3000x70", normal(3000, 70, offset=3)),
    Case("conv2d", "2x20x40x41 to 16, k3", normal(2, 20, 40, 41), {"padding": 1}, (16, 20, 3, 3)),
    Case("conv2d", "1x16x40x41 depthwise, k3", normal(1, 16, 40, 41), {"padding": 1, "groups": 16}, (16, 1, 3, 3)),
    *(
        Case("conv2d_backward", name, normal(*shape), {"padding": 1, **options}, weight)
        for name, shape, options, weight in (
            ("2x20x40x41 to 37, k3", (2, 20, 40, 41), {}, (37, 20, 3, 3)),
            ("2x200x40x41 to 9, k3: channels in pieces", (2, 200, 40, 41), {}, (9, 200, 3, 3)),
            ("1x16x60x41 depthwise, k3 s1x2", (1, 16, 60, 41), {"groups": 16, "stride": (1, 2)}, (16, 1, 3, 3)),
        )
    ),
    *(
        Case(op, "2x9x40x41, k3 s2", normal(2, 9, 40, 41), {"kernel_size": 3, "stride": 2, "padding": 1})
        for op in ("max_pool2d", "avg_pool2d", "max_pool2d_backward", "avg_pool2d_backward")
    ),
    Case("avg_pool2d", "2x9x40x41, one window", normal(2, 9, 40, 41), {"kernel_size": (40, 41)}),
    Case("batch_norm", "4x9x40x41, training", normal(4, 9, 40, 41, offset=2), {"training": True}),
    Case("batch_norm", "700x130, training", normal(700, 130, offset=2), {"training": True}),
    *(
        Case("batch_norm_backward", f"{'x'.join(map(str, shape))}{options}", normal(*shape, offset=2), options)
        for shape in ((4, 9, 40, 41), (700, 530))
        for options in ({"training": True}, {"training": False, "activation": "relu", "residual": shape})
    ),
    Case("pca", "5000x20", normal(5000, 20, offset=3)),
    Case("pca", "600x515", normal(600, 515, offset=3)),
    Case("pca_transform", "700x530 to 29", normal(700, 530, offset=3), {"components": 29}),
)


def row(rung):
    return f"{rung.op}-{rung.backend}-{rung.name}"


def served(rungs, cases):
    """A test for each rung, problem that it serves, and dtype."""
    return [
        pytest.param(rung, case, dtype, id=f"{row(rung)}-{case.name}-{dtype.__name__}")
        for rung in rungs
        for case in cases
        if case.op == rung.op
        for dtype in DTYPES
        if not rung.needs or _dispatch.serves(rung, case.problem(dtype))
    ]


def outputs(case):
    computed = case.op == "batch_norm" and case.options.get("training")
    return OUTPUTS[case.op] + (("mean", "variance") if computed else ())


def unwritten(array):
    return np.full_like(array, np.nan if array.dtype.kind == "f" else -77)


def blank(case, dtype):
    """The problem, its outputs filled with what no kernel computes."""
    problem = case.problem(dtype)
    return problem._replace(**{name: unwritten(getattr(problem, name)) for name in outputs(case)})


def inputs(case, problem):
    arrays = (name for name, value in problem._asdict().items() if isinstance(value, np.ndarray))
    return {name: getattr(problem, name) for name in arrays if name not in outputs(case)}


def run(rung, case, dtype, n_threads):
    problem = blank(case, dtype)
    _dispatch.load(rung)(*problem, n_threads)
    return problem


def bits(case, problem):
    return {name: getattr(problem, name).tobytes() for name in outputs(case)}


@cache
def definition(index, dtype):
    """The results of a small case that are right."""
    case = SMALL[index]
    return tolerances.define(case.op, blank(case, dtype))


def tolerance_of(index, dtype, rung):
    """How far off each value may be."""
    return tolerance_by(index, dtype, rung.name if rung.name in tolerances.TILES else "")


@cache
def tolerance_by(index, dtype, algorithm):
    return tolerances.of(definition(index, dtype), SMALL[index].op, dtype, algorithm)


def assert_close(actual, expected, tolerance, name):
    right = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        right |= abs(actual - expected) <= tolerance
    assert right.all(), f"{name}: {actual[~right]} instead of {expected[~right]}, tolerance {tolerance}"


@pytest.mark.parametrize("n_threads", (1, 3))
@pytest.mark.parametrize(("rung", "case", "dtype"), served(RIGHT, SMALL))
def test_rung_computes_the_definition(rung, case, dtype, n_threads):
    problem = blank(case, dtype)
    before = {name: array.tobytes() for name, array in inputs(case, problem).items()}
    _dispatch.load(rung)(*problem, n_threads)
    for name, array in inputs(case, problem).items():
        assert array.tobytes() == before[name], f"{name} was changed"
    index = SMALL.index(case)
    expected, tolerance = definition(index, dtype), tolerance_of(index, dtype, rung)
    for name in outputs(case):
        assert_close(getattr(problem, name), getattr(expected, name), tolerance[name], name)


@pytest.mark.parametrize(("rung", "case", "dtype"), served(SHIPPING, SMALL + SHARED))
def test_bits_do_not_depend_on_threads(rung, case, dtype):
    one = bits(case, run(rung, case, dtype, 1))
    for n_threads in (2, 3, 7):
        assert bits(case, run(rung, case, dtype, n_threads)) == one


def batch_of_five(case):
    """The case with five images, which are the first one, shifted."""
    first = case.make()[:1]
    options = dict(case.options)
    if options.get("residual"):
        options["residual"] = (5, *options["residual"][1:])
    return replace(case, make=lambda: np.concatenate([np.roll(first, i, axis=-1) for i in range(5)]), options=options)


# How many of the first arguments are of the batch.
SPLIT = {
    "conv2d": 1, "max_pool2d": 1, "avg_pool2d": 1, "batch_norm": 1,
    "max_pool2d_backward": 3, "avg_pool2d_backward": 2, "batch_norm_backward": 2, "conv2d_backward": 2,
}  # fmt: skip
SUMS = ("grad_weight", "grad_bias")  # over the batch


def part_of(value, part):
    """A part of a batch: of an array, or of its shape."""
    return (part.stop - part.start, *value[1:]) if isinstance(value, tuple) else value[part]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(batch_of_five(case), id=f"{case.op}-{case.name}")
        for case in SMALL + SHARED
        if case.op in SPLIT and not case.options.get("training")
    ],
)
def test_bits_do_not_depend_on_the_batch(case, backend, dtype):
    args, options = case.arguments(dtype)
    residual, count = options.pop("residual", None), SPLIT[case.op]

    def results(part):
        added = {} if residual is None else {"residual": residual[part]}
        batch = [part_of(value, part) for value in args[:count]]
        result = getattr(fastml, case.op)(*batch, *args[count:], backend=backend, n_threads=2, **options, **added)
        result = result if isinstance(result, tuple) else (result,)
        names = getattr(result, "_fields", ("",) * len(result))
        return [array for name, array in zip(names, result, strict=True) if array is not None and name not in SUMS]

    whole = results(slice(0, 5))
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        for expected, actual in zip(whole, results(part), strict=True):
            assert actual.tobytes() == expected[part].tobytes()


def offset(case):
    """How many standard deviations a feature's mean is away from 0, at the most; features that do not vary aside."""
    x, axis = np.ma.masked_invalid(case.make()), case.options.get("axis", 0)
    offsets = (abs(x.mean(axis)) / x.std(axis)).compressed()
    return offsets.max() if offsets.size else np.inf


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.fails], ids=row)
def test_a_rung_that_teaches_a_failure_fails_on_large_offsets_alone(rung, dtype):
    assert not rung.ships
    wrong = []
    for index, case in enumerate(SMALL):
        if case.op != rung.op:
            continue
        problem = run(rung, case, dtype, 1)
        expected, tolerance = definition(index, dtype), tolerance_of(index, dtype, rung)
        for name in outputs(case):
            actual, right = getattr(problem, name), getattr(expected, name)
            if offset(case) < 12 and min(case.make().shape) > 1:
                assert_close(actual, right, 1e-3 * abs(right), name)
            elif offset(case) > 1e3:
                wrong.append((abs(actual - right) > tolerance[name]).any())
    assert any(wrong)


def fenced(array, sentinel):
    """A copy of the array in the middle of a larger one, with its two margins."""
    margin = 67  # odd: what is inside is aligned to its items and to nothing more
    whole = np.full(array.size + 2 * margin, sentinel, array.dtype)
    whole[margin:-margin] = array.ravel()
    return whole[margin:-margin].reshape(array.shape), (whole[:margin], whole[-margin:])


@pytest.mark.parametrize(("rung", "case", "dtype"), served(RUNGS, SMALL))
def test_nothing_outside_the_arrays_is_written_or_read(rung, case, dtype):
    problem, fences = blank(case, dtype), []
    for name, array in inputs(case, problem).items():
        problem = problem._replace(**{name: fenced(array, np.nan if array.dtype.kind == "f" else -77)[0]})
    for name in outputs(case):
        inside, margins = fenced(getattr(problem, name), -77)
        problem = problem._replace(**{name: inside})
        fences += margins
    _dispatch.load(rung)(*problem, 2)
    assert all((fence == -77).all() for fence in fences)
    assert bits(case, problem) == bits(case, run(rung, case, dtype, 2))


@pytest.mark.parametrize("op", OPS)
def test_every_operation_has_its_ladder(op):
    ladder = _dispatch.rungs(op)
    backends = Counter(rung.backend for rung in ladder)
    assert backends["numpy"] >= 2
    assert backends["numba"] >= 1
    assert backends["cython"] >= 2
    assert ladder[0].backend == "numpy"
    assert ladder[0].name == "loops"
    for backend in BACKENDS:
        assert any(rung.ships and not rung.needs for rung in _dispatch.rungs(op, backend))
        names = [rung.name for rung in _dispatch.rungs(op, backend)]
        assert len(names) == len(set(names))


def test_rows_name_known_things():
    assert {rung.backend for rung in RUNGS} == set(BACKENDS)
    assert {rung.needs for rung in RUNGS if rung.needs} <= set(_dispatch.NEEDS)


def test_cases_have_names_of_their_own():
    names = Counter((case.op, case.name) for case in SMALL)
    assert not [name for name, count in names.items() if count > 1]


@pytest.mark.parametrize("rung", RUNGS, ids=row)
def test_every_rung_is_tested(rung):
    assert served([rung], SMALL)
