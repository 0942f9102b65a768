"""Values that are not finite, in windows, activations and over padding; and layouts of arrays. Peers beside.

What is right is computed here by plain loops, from what the documentation says.
"""

import importlib.util
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.trust.figures import Figure

Pool = Callable[[np.ndarray, dict[str, int]], tuple[Any, Any]]  # maxima and indices, or None for these
INF, NAN = float("inf"), float("nan")
# Windows and images, some of them wide enough for vectors and what is left after them.
WINDOWS = [{"kernel_size": k, "stride": s, "padding": p, "dilation": d}
           for k, s, p, d in ((2, 2, 0, 1), (3, 1, 1, 1), (3, 2, 1, 1), (5, 3, 2, 1), (3, 2, 1, 2))]  # fmt: skip
SIZES = ((6, 9), (5, 37))
DTYPES = (np.float32, np.float64)
# In images that are 2 pixels high or wide some of these windows see padding only.
OUTSIDE = {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 3}
VALUES = (NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, 3e38, -3e38)
# Channels, outputs, groups, pixels along a side, kernel: layers for which different algorithms are taken.
LAYERS = ((1, 1, 1, 6, 3), (4, 4, 4, 9, 3), (3, 16, 1, 20, 7), (16, 8, 1, 9, 5), (32, 32, 1, 14, 3), (64, 32, 1, 3, 3))


def torch() -> Any:
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


def backends(thorough: bool) -> list[str]:
    return ["cython", "numpy", *(["numba"] if thorough and importlib.util.find_spec("numba") else [])]


def pools(thorough: bool) -> dict[str, list[Pool]]:
    """Of each library the ways to get maxima: with indices, without, and of channels-last images."""
    import fastml

    def last(x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)

    ways: list[Pool] = []
    for backend in backends(thorough):
        ways += [lambda x, o, b=backend: fastml.max_pool2d(x, **o, return_indices=True, backend=b),
                 lambda x, o, b=backend: (fastml.max_pool2d(x, **o, backend=b), None),
                 lambda x, o, b=backend: fastml.max_pool2d(last(x), **o, return_indices=True, backend=b)]  # fmt: skip
    found = {"fastml": ways}
    if thorough and (library := torch()):
        theirs = library.nn.functional.max_pool2d
        found["PyTorch"] = [lambda x, o: theirs(library.from_numpy(x), **o, return_indices=True),
                            lambda x, o: (theirs(library.from_numpy(x), **o), None),
                            lambda x, o: theirs(library.from_numpy(last(x)), **o, return_indices=True)]  # fmt: skip
    return found


def taps(h: int, w: int, options: dict[str, int]) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """Of each window its place in the result, and the places of the image that it sees, in the order of memory."""
    kernel, stride, padding, dilation = options.values()
    reach = dilation * (kernel - 1) + 1
    along = [[[i * stride + k * dilation - padding for k in range(kernel)]
              for i in range((size + 2 * padding - reach) // stride + 1)] for size in (h, w)]  # fmt: skip
    for (i, rows), (j, columns) in itertools.product(*map(enumerate, along)):
        yield (i, j), [y * w + x for y in rows for x in columns if 0 <= y < h and 0 <= x < w]


def counted(thorough: bool, wrong_of: Callable[[Pool, type], tuple[int, int]]) -> tuple[int, int, dict[str, str]]:
    """Over all ways and dtypes: windows that were looked at, those that are wrong; the same of peers, in words."""
    told = {}
    for name, ways in pools(thorough).items():
        found = [wrong_of(way, dtype) for way in ways for dtype in DTYPES]
        told[name] = sum(asked for asked, _ in found), sum(wrong for _, wrong in found)
    asked, wrong = told.pop("fastml")
    return asked, wrong, {name: f"{theirs} of {number}" for name, (number, theirs) in told.items()}


def judged(
    pool: Pool, image: Callable[[int, int], np.ndarray], concerns: Callable[[np.ndarray], np.ndarray],
    right: Callable[[np.ndarray], np.ndarray], place: Callable[[np.ndarray, list[int]], Any],
) -> tuple[int, int]:
    """Windows whose values `concerns` picks, and those of them whose maximum or index is wrong."""
    asked = wrong = 0
    for (h, w), options in itertools.product(SIZES, WINDOWS):
        x = image(h, w)
        maxima, indices = (None if part is None else np.asarray(part) for part in pool(x, options))
        for (i, j), seen in taps(h, w, options):
            picked, good = concerns(x.reshape(*x.shape[:2], h * w)[:, :, seen]), right(maxima[:, :, i, j])
            if indices is not None:
                good &= indices[:, :, i, j] == place(x, seen)
            asked, wrong = asked + int(picked.sum()), wrong + int((picked & ~good).sum())
    return asked, wrong


def lost_nans(pool: Pool, dtype: type) -> tuple[int, int]:
    """One NaN at each place of an image, in an image of its own: windows that see it, and those that do not say so."""

    def image(h: int, w: int) -> np.ndarray:
        x = np.random.default_rng(0).normal(size=(h * w, 2, h, w)).astype(dtype)
        x.reshape(h * w, 2, -1)[range(h * w), :, range(h * w)] = np.nan
        return x

    def concerns(values: np.ndarray) -> np.ndarray:
        return np.isnan(values).any(axis=2)

    return judged(pool, image, concerns, np.isnan, lambda x, seen: np.arange(len(x))[:, np.newaxis])


def nans(thorough: bool) -> Iterator[Figure]:
    """Row 8."""
    asked, wrong, peers = counted(thorough, lost_nans)
    what = f"of {asked} windows that hold one NaN those whose maximum is another value, or whose index is another place"
    yield Figure(8, what, wrong, "= 0", "", dict(peers))


def wrong_infinities(pool: Pool, dtype: type) -> tuple[int, int]:
    """Images three quarters of which are -infinity: windows of nothing else, and those with another result."""

    def image(h: int, w: int) -> np.ndarray:
        x = np.random.default_rng(0).normal(size=(20, 2, h, w)).astype(dtype)
        x[x < 0.7] = -np.inf
        x[0] = -np.inf
        return x

    def concerns(values: np.ndarray) -> np.ndarray:
        return np.all(values == -np.inf, axis=2)

    return judged(pool, image, concerns, np.isneginf, lambda x, seen: seen[0])


def wrong_outside(pool: Pool, dtype: type) -> tuple[int, int]:
    """Windows that see padding only, and those with another result than is documented."""
    asked = wrong = 0
    for h, w in ((2, 2), (2, 40), (40, 2)):
        maxima, indices = pool(np.ones((2, 3, h, w), dtype), OUTSIDE)
        for place, seen in taps(h, w, OUTSIDE):
            if not seen:
                at = (..., *place)
                right = (maxima[at] == -np.inf) & (indices is None or indices[at] == -1)
                asked, wrong = asked + right.size, wrong + int((~right).sum())
    return asked, wrong


def infinite_windows(thorough: bool) -> Iterator[Figure]:
    """Row 9. What PyTorch gives for windows of padding only is not documented."""
    asked, wrong, peers = counted(thorough, wrong_infinities)
    what = f"of {asked} windows of -infinity those with another maximum, or another index than that of the first value"
    yield Figure(9, what, wrong, "= 0", "", dict(peers))
    asked, wrong, _ = counted(False, wrong_outside)
    yield Figure(9, f"of {asked} windows of padding only those with other than -infinity and index -1", wrong, "= 0")


def rectified(thorough: bool) -> dict[str, list[Callable[[np.ndarray], Any]]]:
    """Of each library the ways to have ReLU applied to an image of one channel."""
    import fastml

    found: dict[str, list[Callable[[np.ndarray], Any]]] = {"fastml": []}
    for b in backends(thorough):
        relu: dict[str, Any] = {"activation": "relu", "backend": b}
        found["fastml"] += [
            lambda x, o=relu: fastml.conv2d(x, one(x), **o),
            lambda x, o=relu: fastml.conv2d(0 * np.nan_to_num(x), one(x), residual=x, **o),
            lambda x, o=relu: fastml.batch_norm(x, 0.0, 1.0, eps=0.0, **o),
            lambda x, o=relu: fastml.batch_norm(0 * np.nan_to_num(x), 0.0, 1.0, residual=x, **o),
        ]
    if thorough and (library := torch()):
        theirs, given = library.nn.functional, library.from_numpy
        zeros, ones = library.zeros, library.ones
        found["PyTorch"] = [
            lambda x: library.relu(given(x)),
            lambda x: library.relu(theirs.conv2d(given(x), given(one(x)))),
            lambda x: library.relu(theirs.batch_norm(given(x), zeros(1, dtype=given(x).dtype),
                                                     ones(1, dtype=given(x).dtype), eps=0.0)),
        ]  # fmt: skip
    return found


def one(x: np.ndarray) -> np.ndarray:
    return np.ones((1, 1, 1, 1), x.dtype)


def activations(thorough: bool) -> Iterator[Figure]:
    """Row 10: NaN stays, what is negative becomes 0, the rest stays; zeros have either sign."""
    asked, wrong = {}, {}
    right = [value if value != value or value > 0 else 0.0 for value in VALUES]
    for name, ways in rectified(thorough).items():
        asked[name] = wrong[name] = 0
        for way, dtype, width in itertools.product(ways, DTYPES, (1, 3, 64)):
            x, expected = (np.repeat(each, width).astype(dtype).reshape(1, 1, -1, width) for each in (VALUES, right))
            y = np.asarray(way(x))
            asked[name] += y.size
            wrong[name] += int((~((y == expected) | (np.isnan(y) & np.isnan(expected)))).sum())
    what = f"of {asked.pop('fastml')} values, NaN, infinities and -0 among them, those whose ReLU is not as documented"
    yield Figure(10, what, wrong.pop("fastml"), "= 0", "", {name: f"{wrong[name]} of {asked[name]}" for name in asked})


def by_formula(x: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """The convolution of an image in zeros, as many as leave it its size: each product is added, those with 0, too."""
    (n, channels, h, w), (outputs, share, kernel, _) = x.shape, weight.shape
    around = kernel // 2
    padded, total = np.zeros((n, channels, h + 2 * around, w + 2 * around)), np.zeros((n, outputs, h, w))
    padded[:, :, around : around + h, around : around + w] = x
    with np.errstate(invalid="ignore"):
        for o, c, i, j in itertools.product(range(outputs), range(share), range(kernel), range(kernel)):
            channel = o // (outputs // groups) * share + c
            total[:, o] += float(weight[o, c, i, j]) * padded[:, channel, i : i + h, j : j + w]
    return total


def infinite_weights(thorough: bool) -> Iterator[Figure]:
    """Row 11: half of the outputs have a weight that is not finite. Sums are exact, but for Winograd's algorithms."""
    import fastml

    library, random = torch() if thorough else None, np.random.default_rng(0)
    asked, wrong = 0, dict.fromkeys(("fastml", *(["PyTorch"] if library else [])), 0)
    for (channels, outputs, groups, size, kernel), dtype in itertools.product(LAYERS, DTYPES):
        x = random.integers(-3, 4, (2, channels, size, size)).astype(dtype)
        weight = random.integers(-3, 4, (outputs, channels // groups, kernel, kernel)).astype(dtype)
        for o in range(0, outputs, 2):
            place = tuple(random.integers(weight.shape[1:]))
            weight[(o, *place)] = (INF, -INF, NAN)[o // 2 % 3]
        options: dict[str, Any] = {"padding": kernel // 2, "groups": groups}
        results = [("fastml", fastml.conv2d(x, weight, **options, backend=b)) for b in backends(thorough)]
        if library:
            tensors = map(library.from_numpy, (x, weight))
            results.append(("PyTorch", library.nn.functional.conv2d(*tensors, **options).numpy()))
        expected = by_formula(x, weight, groups)
        for name, result in results:
            wrong[name] += int((~np.isclose(result, expected, 1e-5, 1e-3, equal_nan=True)).sum())
            asked += expected.size if name == "fastml" else 0
    what = f"of {asked} outputs of conv2d, with padding and weights that are not finite, those other than defined"
    peers = {} if not library else {"PyTorch": f"{wrong['PyTorch']} of {asked // len(backends(thorough))}"}
    yield Figure(11, what, wrong["fastml"], "= 0", "", dict(peers))


def unread(run: Callable[[Any], Any], array: np.ndarray, right: Callable[[np.ndarray], np.ndarray]) -> int:
    """Of all layouts those that are refused, or give other values, whatever lies between those of the array."""
    from tests.test_layouts import LAYOUTS

    wrong = 0
    for layout, dtype in itertools.product(LAYOUTS.values(), DTYPES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            view = layout(array.astype(dtype))
            expected = right(np.array(view, np.float64, order="C"))
            try:
                wrong += not np.allclose(np.asarray(run(view)), expected, 1e-4, 1e-4)
            except (TypeError, ValueError, RuntimeError):
                wrong += 1
    return wrong


def layouts(thorough: bool) -> Iterator[Figure]:
    """Row 6: a matrix standardized and an image convolved, in every layout and dtype."""
    from sklearn.preprocessing import StandardScaler

    import fastml
    from tests.test_layouts import LAYOUTS

    def standardized(X: np.ndarray) -> np.ndarray:
        deviations = X - X.mean(axis=0)
        return deviations / np.where(np.ptp(X, axis=0) == 0, 1, X.std(axis=0))

    random, number = np.random.default_rng(0), len(LAYOUTS) * len(DTYPES)
    X, x, weight = random.normal(size=(40, 7)), random.normal(size=(2, 3, 8, 9)), random.normal(size=(7, 3, 3, 3))
    said = "layouts and dtypes those that are refused, or give other values"
    theirs = {"scikit-learn": StandardScaler().fit_transform} if thorough else {}
    peers = {name: f"{unread(run, X, standardized)} of {number}" for name, run in theirs.items()}
    wrong = unread(lambda X: fastml.standardize(X), X, standardized)
    yield Figure(6, f"of {number} {said}: a matrix, standardized", wrong, "= 0", "", dict(peers))

    def convolved(x: np.ndarray) -> np.ndarray:
        return by_formula(x, weight, 1)

    def as_native(x: np.ndarray) -> np.ndarray:
        return weight.astype(x.dtype.newbyteorder("="))

    peers = {}
    if thorough and (library := torch()):
        run, given = library.nn.functional.conv2d, library.from_numpy
        wrong = unread(lambda x: run(given(x), given(as_native(x)), padding=1), x, convolved)
        peers = {"PyTorch": f"{wrong} of {number}"}
    wrong = unread(lambda x: fastml.conv2d(x, as_native(x), padding=1), x, convolved)
    yield Figure(6, f"of {number} {said}: images, convolved", wrong, "= 0", "", dict(peers))
