"""Winograd's transforms in exact arithmetic; NaN, infinity and overflow in every rung of the table that uses them."""

from fractions import Fraction

import numpy as np
import pytest

import fastml
from fastml import _dispatch, _validate
from fastml._ref import conv2d_winograd
from tests import tolerances

POINTS = {"2x2": conv2d_winograd.SMALL, "4x4": conv2d_winograd.LAVIN, "better": conv2d_winograd.BETTER}
RUNGS = [rung for rung in _dispatch.rungs("conv2d") if rung.name.startswith("winograd")]
EVERY_RUNG = pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: f"{rung.backend}-{rung.name}")
NEEDS = "3 x 3 kernels, stride 1, dilation 1"


def fractions(*shape):
    random = np.random.default_rng(sum(shape))
    parts = zip(random.integers(-99, 99, np.prod(shape)), random.integers(1, 99, np.prod(shape)), strict=True)
    return np.array([Fraction(int(a), int(b)) for a, b in parts]).reshape(shape)


OTHERS = ((Fraction(1, 3), Fraction(3)), (*POINTS["better"], Fraction(7, 3)))


@pytest.mark.parametrize("points", (*POINTS.values(), *OTHERS))
def test_transforms_compute_a_correlation_exactly(points):
    a, g, b = conv2d_winograd.transforms(points)
    m = len(points) - 1
    kernel, data = fractions(3, 3), fractions(m + 2, m + 2)
    row = a @ ((g @ kernel[0]) * (b @ data[0]))
    assert row.tolist() == [sum(kernel[0, k] * data[0, i + k] for k in range(3)) for i in range(m)]
    tile = a @ ((g @ kernel @ g.T) * (b @ data @ b.T)) @ a.T
    assert tile.tolist() == [[(kernel * data[i : i + 3, j : j + 3]).sum() for j in range(m)] for i in range(m)]


@pytest.mark.parametrize("points", POINTS.values(), ids=POINTS)
def test_only_the_transform_of_the_weights_is_rounded(points):
    a, _, b = conv2d_winograd.transforms(points)
    for matrix in (a, b):
        assert (matrix.astype(np.float32).astype(object) == matrix).all()


def problem_of(x, weight, **options):
    problem, _ = _validate.conv2d(x, weight, **options)
    return problem._replace(out=np.full_like(problem.out, np.nan))


def computed(rung, problem, n_threads=2):
    _dispatch.load(rung)(*problem, n_threads)
    return problem.out


def assert_as_defined(rung, problem):
    """What is not finite, exactly; what is finite, within the bound of its own values."""
    with np.errstate(invalid="ignore", over="ignore"):
        expected = tolerances.define("conv2d", problem)
    finite = np.isfinite(expected.out)
    numbers = {name: np.nan_to_num(getattr(expected, name), posinf=0, neginf=0) for name in ("x", "weight", "bias")}
    bound = tolerances.of(expected._replace(**numbers), "conv2d", problem.x.dtype, rung.name)["out"]
    actual = computed(rung, problem)
    np.testing.assert_array_equal(actual[~finite], expected.out[~finite])
    assert (abs(actual[finite] - expected.out[finite]) <= bound[finite]).all()


def example(dtype):
    random = np.random.default_rng(3)
    return random.normal(size=(2, 4, 9, 11)).astype(dtype), random.normal(size=(6, 2, 3, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [(0, 0), (0, 10), (3, 4), (4, 3), (5, 7), (8, 0), (8, 10)])
@EVERY_RUNG
def test_what_is_not_finite_spreads_as_far_as_defined(rung, position, value, dtype):
    x, weight = example(dtype)
    x[(1, 2, *position)] = value
    weight[3, :, 0, 1] = 0  # 0 times infinity is NaN
    assert_as_defined(rung, problem_of(x, weight, padding=1, groups=2))


@EVERY_RUNG
def test_several_infinities_meet_in_a_tile(rung):
    x, weight = example(np.float32)
    x[0, 0, 2, 2], x[0, 0, 4, 3], x[0, 3, 3, 4] = np.inf, -np.inf, np.nan
    residual = np.ones((2, 6, 9, 11), np.float32)
    residual[0, 5, 0, 0] = -np.inf
    assert_as_defined(rung, problem_of(x, weight, padding=1, groups=2, residual=residual, activation="relu"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@EVERY_RUNG
def test_a_weight_that_is_not_finite_meets_the_padding(rung, value):
    x, weight = example(np.float32)
    weight[4, 1, 2, 0] = value
    assert_as_defined(rung, problem_of(x, weight, padding=1, groups=2))


@EVERY_RUNG
def test_large_values_do_not_overflow_in_the_transforms(rung):
    x, weight = example(np.float32)
    x[1, 1, 4:8, 4:8] = np.float32(2e38) * np.sign(x[1, 1, 4:8, 4:8])
    weight *= np.float32(1e-3)
    problem = problem_of(x, weight, padding=1, groups=2)
    assert np.isfinite(tolerances.define("conv2d", problem).out.astype(np.float32)).all()
    assert_as_defined(rung, problem)


@EVERY_RUNG
def test_an_image_has_the_same_bits_in_any_batch(rung):
    x, weight = example(np.float32)
    together = computed(rung, problem_of(x, weight, groups=2))
    for n_threads in (1, 2, 5):
        apart = [computed(rung, problem_of(image, weight, groups=2), n_threads)[0] for image in x]
        assert np.array(apart).tobytes() == together.tobytes()


@pytest.mark.parametrize(
    ("kernel", "options", "served"),
    [((3, 3), {}, True), ((3, 3), {"stride": (1, 2)}, False), ((3, 3), {"dilation": (2, 1)}, False),
     ((3, 1), {}, False), ((5, 5), {}, False), ((3, 3), {"groups": 4, "padding": "same"}, True)],
)  # fmt: skip
def test_what_winograd_serves(kernel, options, served):
    x = np.ones((1, 4, 9, 9), np.float32)
    weight = np.ones((4, 4 // options.get("groups", 1), *kernel), np.float32)
    assert _dispatch.NEEDS[NEEDS](problem_of(x, weight, **options)) is served
    if not served:
        with pytest.raises(ValueError, match=f"algorithm 'winograd_2x2' needs {NEEDS}"):
            fastml.conv2d(x, weight, **options, backend="numpy", algorithm="winograd_2x2")
