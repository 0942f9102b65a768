"""How exact statistics, standardized values and principal components are, where data make that hard.

Data of NIST's Statistical Reference Datasets (StRD) that are defined by a formula: NumAcc1 to 4 of the univariate ones,
and SmLs01 to 09 of the analysis of variance (Simon and Lesage, 1989), whose treatments are columns here, beside all of
them as one column. What is right comes from rational arithmetic on the very numbers that the computer holds.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from tests.trust.figures import Figure, largest

MOST_DIGITS = -math.log10(np.finfo(np.float64).eps / 2)  # of a result that is rounded once


def numacc() -> Iterator[np.ndarray]:
    """One column each, of means 10000002, 1.2, 1000000.2 and 10000000.2, standard deviations 1 and three times 0.1."""
    yield np.array([[10000001.0], [10000003.0], [10000002.0]])
    for tenths in (12, 10000002, 100000002):
        yield np.array([tenths, *[tenths - 1, tenths + 1] * 500])[:, np.newaxis] / 10


def smls(thorough: bool) -> Iterator[np.ndarray]:
    """9 treatments of 21, 201 and 2001 values, with 1, 7 and 13 constant leading digits."""
    for tenths in (10, 10**7, 10**13):
        for size in (21, 201, 2001) if thorough else (21, 201):
            means = [tenths + 4, *[tenths + 3, tenths + 5] * 4]
            columns = [[mean, *[mean - 1, mean + 1] * (size // 2)] for mean in means]
            matrix = np.array(columns).T / 10
            yield matrix
            yield matrix.T.reshape(-1, 1)


def exact(column: np.ndarray) -> tuple[Fraction, float]:
    """Mean, and standard deviation of a sample, of which the variance is exact and the root rounded."""
    values = [Fraction(float(value)) for value in column]
    mean = sum(values, Fraction(0)) / len(values)
    variance = sum(((value - mean) ** 2 for value in values), Fraction(0)) / (len(values) - 1)
    # the root of a / b is that of a b over b; 120 bits more than the integers have are rounded to 53 once
    root = math.isqrt(variance.numerator * variance.denominator << 240)
    return mean, float(Fraction(root, variance.denominator << 120))


def digits(found: float, right: Fraction | float) -> float:
    """Right digits of a result, from none to those of a float64; of a result that is not a number none."""
    if not math.isfinite(found):
        return 0.0
    wrong = abs(Fraction(float(found)) - Fraction(right)) / abs(Fraction(right))
    return MOST_DIGITS if not wrong else min(max(-math.log10(wrong), 0.0), MOST_DIGITS)


Statistics = Callable[[np.ndarray], tuple[Any, Any]]


def ours(X: np.ndarray) -> tuple[Any, Any]:
    import fastml

    stats = fastml.moments(X)
    return stats.mean, np.sqrt(stats.var(ddof=1))  # not `std`, which takes some of these for constants


def sklearns(X: np.ndarray) -> tuple[Any, Any]:
    from sklearn.preprocessing import StandardScaler

    model = StandardScaler().fit(X)
    return model.mean_, np.sqrt(model.var_ * (len(X) / (len(X) - 1)))


def numpys(X: np.ndarray) -> tuple[Any, Any]:
    return X.mean(axis=0), X.std(axis=0, ddof=1)


def fewest_digits(statistics: Statistics, matrices: list[np.ndarray]) -> float:
    """Of means and standard deviations of all columns; a column that is constant in its dtype has no digits to lose."""
    fewest = MOST_DIGITS
    for X in matrices:
        for column, *found in zip(X.T, *statistics(X), strict=True):
            if np.ptp(column) > 0:
                fewest = min(fewest, *(digits(a, b) for a, b in zip(found, exact(column), strict=True)))
    return fewest


def reference_data(thorough: bool) -> Iterator[Figure]:
    """Rows 12 and 13: right digits of means and standard deviations, of the data as float64 and as float32."""
    matrices = [*numacc(), *smls(thorough)]
    for row, dtype in ((12, np.float64), (13, np.float32)):
        cast = [X.astype(dtype) for X in matrices]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peers = {"scikit-learn": fewest_digits(sklearns, cast), "NumPy": fewest_digits(numpys, cast)}
        what = f"fewest right digits of mean and standard deviation, NumAcc and SmLs as {np.dtype(dtype).name}"
        yield Figure(row, what, fewest_digits(ours, cast), ">= 15", "digits", dict(peers))


def torch_standardize(X: np.ndarray) -> np.ndarray:
    import torch

    return torch.nn.functional.batch_norm(torch.from_numpy(X), None, None, training=True, eps=1e-300).numpy()


def standardizers() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    import importlib.util

    from sklearn.preprocessing import StandardScaler

    import fastml

    found: dict[str, Any] = {"fastml": fastml.standardize, "scikit-learn": lambda X: StandardScaler().fit_transform(X)}
    return found | ({"PyTorch": torch_standardize} if importlib.util.find_spec("torch") else {})


def standardized(thorough: bool) -> Iterator[Figure]:
    """Rows 14 to 17: float32 far from zero, means and deviations of the result, squares that overflow or underflow."""
    rows, errors = 10**6 if thorough else 10**4, dict.fromkeys(standardizers(), 0.0)
    for exponent in range(2, 8):
        X = np.random.default_rng(exponent).normal(10.0**exponent, 1, (rows, 3)).astype(np.float32)
        y = X.astype(np.longdouble)
        y = (y - y.mean(axis=0)) / y.std(axis=0)
        for name, standardize in standardizers().items():
            errors[name] = largest(errors[name], float((abs(standardize(X) - y) / np.maximum(abs(y), 1)).max()))
    what = "largest error of (x - mean) / std, of N(10^2 to 10^7, 1) in float32, as a share of max(|y|, 1)"
    yield Figure(14, what, errors.pop("fastml"), "<= 3e-7", "", dict(errors))

    X = [*numacc()][2].astype(np.float32)
    off = {}
    for name, standardize in standardizers().items():
        y = standardize(X).astype(np.float64)
        off[name] = float(largest(abs(y.mean()), abs(y.std() - 1)))
    what = "NumAcc3 as float32, standardized: how far mean and standard deviation are off 0 and 1, the larger of both"
    yield Figure(15, what, off.pop("fastml"), "< 1e-6", "", dict(off))

    for row, values, right, what in (
        (16, (1e200, -1e200), (1, -1), "[1e200, -1e200] standardized: largest error"),
        (17, (1e-200, 3e-200), (-1e-200, 1e-200), "[1e-200, 3e-200], a constant by the documented rule: largest error"),
    ):
        wrong = {}
        for name, standardize in standardizers().items():
            if row == 17 and name == "PyTorch":
                continue  # it wants an eps, which is larger than this variance
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrong[name] = float(abs(standardize(np.array(values)[:, np.newaxis])[:, 0] - right).max())
        yield Figure(row, what, wrong.pop("fastml"), "= 0", "", dict(wrong))


def half_precision(thorough: bool) -> Iterator[Figure]:
    """Row 19: float16 near the end of its range."""
    from sklearn.preprocessing import StandardScaler as Theirs

    from fastml import StandardScaler

    X = np.random.default_rng(0).uniform(5e4, 6.5e4, (10**5 if thorough else 10**3, 3)).astype(np.float16)
    exact = (X.astype(float) - X.astype(float).mean(axis=0)) / X.astype(float).std(axis=0)
    wrong = {}
    for name, scaler in (("fastml", StandardScaler()), ("scikit-learn", Theirs())):
        y = scaler.fit_transform(X)
        wrong[name] = int((y != exact.astype(np.float16)).sum()) if y.dtype == np.float16 else X.size
    what = f"values of {X.size} near 6e4 in float16 whose standardized ones are not the nearest float16"
    yield Figure(19, what, wrong.pop("fastml"), "= 0", "", dict(wrong))


def pca_offsets(thorough: bool) -> Iterator[Figure]:
    """Row 21: variances of principal components far from zero, of float32 and float64 data."""
    from sklearn.decomposition import PCA as Theirs

    from fastml import PCA

    rows = 10**5 if thorough else 2000
    for dtype, offsets, target in ((np.float32, (1e3, 1e4), "<= 1e-4"), (np.float64, (1e6, 1e8), "<= 1e-8")):
        wrong = dict.fromkeys(("fastml", "scikit-learn", "scikit-learn full"), 0.0)
        for offset in offsets:
            X = np.random.default_rng(0).normal(offset, [3, 2, 1, 0.5, 0.1], (rows, 5)).astype(dtype)
            centred = X.astype(np.longdouble) - X.astype(np.longdouble).mean(axis=0)
            right = np.linalg.svd(centred.astype(float), compute_uv=False) ** 2 / (rows - 1)
            models = {"fastml": PCA(), "scikit-learn": Theirs(), "scikit-learn full": Theirs(svd_solver="full")}
            for name, model in models.items():
                found = model.fit(X).explained_variance_
                wrong[name] = largest(wrong[name], float(abs(found / right - 1).max()))
        what = f"largest relative error of explained_variance_, N({offsets[0]:g} and {offsets[1]:g}, 3 to 0.1), "
        yield Figure(21, what + np.dtype(dtype).name, wrong.pop("fastml"), target, "", dict(wrong))


def pca_invariants(thorough: bool) -> Iterator[Figure]:
    """Row 22: orthonormal components, and all of them together give back the data; as multiples of eps n."""
    from sklearn.decomposition import PCA as Theirs

    from fastml import PCA

    shapes = ((200, 20), (30, 100), (2000, 50), *(((500, 500), (10_000, 300)) if thorough else ()))
    for dtype in (np.float32, np.float64):
        worst = {}
        for name, cls in (("fastml", PCA), ("scikit-learn", Theirs)):
            worst[name] = largest(*(lost(cls(), normal_matrix(shape, dtype)) for shape in shapes))
        what = f"orthonormality and residual of reconstruction, {np.dtype(dtype).name}, in eps min(X.shape)"
        yield Figure(22, what, worst.pop("fastml"), "<= 50", "eps n", dict(worst))


def normal_matrix(shape: tuple[int, int], dtype: Any) -> np.ndarray:
    return np.random.default_rng(1).normal(10, 1, shape).astype(dtype)


def lost(model: Any, X: np.ndarray) -> float:
    """The larger of |C C' - I| and |X - X_again| / sigma_1, in float64, in units of eps and the smaller side of X."""
    Z, C = model.fit_transform(X).astype(float), model.components_.astype(float)
    again = Z @ C + X.astype(float).mean(axis=0)
    orthonormal = np.linalg.norm(C @ C.T - np.eye(len(C)), 2)
    residual = np.linalg.norm(X - again, 2) / model.singular_values_[0]
    return float(largest(orthonormal, residual) / (np.finfo(X.dtype).eps * min(X.shape)))
