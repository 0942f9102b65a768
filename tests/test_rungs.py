"""Every row of the table of rungs, on every small problem it serves, against the definition of its operation.

The definition is the operation's first rung, run in float64 on the very values that the kernel was given. Tolerances
are bounds of rounding errors, not observations: gamma(k) for k roundings in a row (Higham, 2002, section 3.1).
"""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import fastml
from benches.cases import SMALL, Case, normal
from fastml import _dispatch
from fastml._registry import BACKENDS, OPS, RUNGS

DTYPES = (np.float32, np.float64)
OUTPUTS = {
    "moments": ("count", "mean", "m2"),
    "standardize": ("out",),
    "conv2d": ("out",),
    "max_pool2d": ("out", "indices"),
    "avg_pool2d": ("out",),
    "batch_norm": ("out",),
    "pca": ("mean", "scatter"),
}
SHIPPING = [rung for rung in RUNGS if rung.ships]
# Larger than the blocks and chunks of the kernels, so that threads have something to share.
SHARED = (
    Case("moments", "5000x7", normal(5000, 7, offset=3)),
    Case("moments", "700x130", normal(700, 130, offset=3)),
    Case("moments", "7x5000, axis 1", normal(7, 5000, offset=3), {"axis": 1}),
    Case("standardize", "3000x70", normal(3000, 70, offset=3)),
    Case("conv2d", "2x20x40x41 to 16, k3", normal(2, 20, 40, 41), {"padding": 1}, (16, 20, 3, 3)),
    Case("conv2d", "1x16x40x41 depthwise, k3", normal(1, 16, 40, 41), {"padding": 1, "groups": 16}, (16, 1, 3, 3)),
    Case("max_pool2d", "2x9x40x41, k3 s2", normal(2, 9, 40, 41), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("avg_pool2d", "2x9x40x41, k3 s2", normal(2, 9, 40, 41), {"kernel_size": 3, "stride": 2, "padding": 1}),
    Case("batch_norm", "4x9x40x41, training", normal(4, 9, 40, 41, offset=2), {"training": True}, affine=True),
    Case("batch_norm", "700x130, training", normal(700, 130, offset=2), {"training": True}, affine=True),
    Case("pca", "5000x20", normal(5000, 20, offset=3)),
    Case("pca", "600x515", normal(600, 515, offset=3)),
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
    return OUTPUTS[case.op] + (("mean", "variance") if case.options.get("training") else ())


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


def define(case, problem):
    """Run the definition in float64 on a problem, and return it with its results."""
    arrays = {name: value for name, value in problem._asdict().items() if isinstance(value, np.ndarray)}
    doubled = problem._replace(**{name: a.astype(np.float64) for name, a in arrays.items() if a.dtype.kind == "f"})
    _dispatch.load(_dispatch.rungs(case.op)[0])(*doubled, 1)
    return doubled


@cache
def definition(index, dtype):
    """The results of a small case that are right, and how far off each value may be."""
    case = SMALL[index]
    expected = define(case, blank(case, dtype))
    return expected, TOLERANCES[case.op](case, expected, dtype)


def gamma(roundings, dtype=np.float64):
    product = roundings * np.finfo(dtype).eps / 2
    return product / (1 - product)


def statistics_tolerance(x, count, m2, axis):
    """Of float64 sums, for data of any dtype: of a mean, and of a sum of squared deviations; of two ways to sum."""
    size = np.nansum(abs(x), axis=axis) / np.maximum(count, 1)
    mean = gamma(2 * count + 2) * size
    return mean, gamma(4 * count + 4) * m2 + count * mean**2


def tolerance_moments(case, expected, dtype):
    mean, m2 = statistics_tolerance(expected.x, expected.count, expected.m2, expected.axis)
    return {"count": 0, "mean": mean, "m2": m2}


def tolerance_standardize(case, expected, dtype):
    return {"out": 2 * np.finfo(dtype).eps * abs(expected.out)}


def tolerance_conv2d(case, expected, dtype):
    absolute = {name: abs(getattr(expected, name)) for name in ("x", "weight", "bias", "residual")}
    total = define(case, expected._replace(**absolute, relu=False)).out
    roundings = expected.weight[0].size + 3
    return {"out": (gamma(roundings, dtype) + gamma(roundings)) * total}


def tolerance_max_pool2d(case, expected, dtype):
    return {"out": 0, "indices": 0}


def tolerance_avg_pool2d(case, expected, dtype):
    total = define(case, expected._replace(x=abs(expected.x))).out
    roundings = expected.kernel_h * expected.kernel_w + 2
    return {"out": np.finfo(dtype).eps * abs(expected.out) + gamma(2 * roundings) * total}


def tolerance_batch_norm(case, expected, dtype):
    x, mean, factor = expected.x, expected.mean, expected.weight / np.sqrt(expected.variance + expected.eps)
    count = x.size // x.shape[1] if expected.training else 1
    mean_tolerance, m2_tolerance = statistics_tolerance(x, count, expected.variance * count, (0, 2))
    size = np.maximum(abs(mean), abs(x).mean(axis=(0, 2)))
    terms = (abs(x) + size[:, np.newaxis]) * abs(factor)[:, np.newaxis] + abs(expected.bias)[:, np.newaxis]
    terms += abs(expected.residual) if expected.residual.size else 0
    return {
        "out": np.finfo(dtype).eps * abs(expected.out) + gamma(4 * count + 8) * terms,
        "mean": mean_tolerance,
        "variance": m2_tolerance / count + gamma(2) * expected.variance,
    }


def tolerance_pca(case, expected, dtype):
    """Blocks of 256 rows are summed in the dtype, about their mean: 256 roundings of random sign grow as 16."""
    few = 16 * np.finfo(dtype).eps
    rows, spread = expected.x.shape[0], np.sqrt(expected.scatter.diagonal())
    mean, _ = statistics_tolerance(expected.x, rows, 0, 0)
    mean = mean + few * spread / np.sqrt(rows)
    return {"mean": mean, "scatter": few * np.outer(spread, spread) + rows * np.outer(mean, mean)}


TOLERANCES = {op: globals()[f"tolerance_{op}"] for op in OPS}


def assert_close(actual, expected, tolerance, name):
    right = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        right |= abs(actual - expected) <= tolerance
    assert right.all(), f"{name}: {actual[~right]} instead of {expected[~right]}, tolerance {tolerance}"


@pytest.mark.parametrize("n_threads", (1, 3))
@pytest.mark.parametrize(("rung", "case", "dtype"), served(RUNGS, SMALL))
def test_rung_computes_the_definition(rung, case, dtype, n_threads):
    problem = blank(case, dtype)
    before = {name: array.tobytes() for name, array in inputs(case, problem).items()}
    _dispatch.load(rung)(*problem, n_threads)
    for name, array in inputs(case, problem).items():
        assert array.tobytes() == before[name], f"{name} was changed"
    expected, tolerances = definition(SMALL.index(case), dtype)
    for name in outputs(case):
        assert_close(getattr(problem, name), getattr(expected, name), tolerances[name], name)


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(batch_of_five(case), id=f"{case.op}-{case.name}")
        for case in SMALL + SHARED
        if case.op in ("conv2d", "max_pool2d", "avg_pool2d", "batch_norm") and not case.options.get("training")
    ],
)
def test_bits_do_not_depend_on_the_batch(case, backend, dtype):
    (x, *others), options = case.arguments(dtype)
    residual = options.pop("residual", None)

    def results(part):
        added = {} if residual is None else {"residual": residual[part]}
        result = getattr(fastml, case.op)(x[part], *others, backend=backend, n_threads=2, **options, **added)
        return result if isinstance(result, tuple) else (result,)

    whole = results(slice(None))
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        for expected, actual in zip(whole, results(part), strict=True):
            assert actual.tobytes() == expected[part].tobytes()


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
        problem = problem._replace(**{name: fenced(array, np.nan)[0]})
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
