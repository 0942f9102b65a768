"""scikit-learn's PCA on fastml's pca."""

from numbers import Integral
from typing import Any, Self

from numpy.typing import NDArray
from sklearn import decomposition
from sklearn.base import _fit_context
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_is_fitted, validate_data

from fastml.estimators import FLOATS, for_kernels, left_to_sklearn, projected
from fastml.ops.pca import PCAResult, pca

CHECKS = {"accept_sparse": ("csr", "csc"), "dtype": FLOATS}  # scikit-learn's own

SMALL = 500  # rows or columns up to which exact is always fast enough


class PCA(decomposition.PCA):
    """scikit-learn's `PCA`, with its parameters, attributes, methods and errors, and `svd_solver_`: what was used.

    On fastml's kernels: `fit` and `fit_transform` of what becomes a dense float32 or float64 matrix, with `svd_solver`
    "covariance_eigh", "full" or "auto"; and `transform` of such a matrix, whoever did the fit. On scikit-learn's code:
    sparse matrices, the solvers "arpack" and "randomized", `n_components` "mle" and 0, a single row, array API
    dispatch; and with "auto", few components of a large matrix where "randomized" costs less than exact components:
    both shapes above 500, k < 0.8 min(X.shape), and X wide or p + 5 p^2 / n > 64 (k + 10).

    For the rest "auto" is exact: "covariance_eigh" for rows >= columns, unless accuracy asks for "full" (`fastml.pca`
    says when), and "full" for wide data. What differs: the mean is subtracted before anything is rounded, so that
    uncentred data do no harm; `fit_transform(X)` is `fit(X).transform(X)`; constant data have an
    explained_variance_ratio_ of 0, not NaN; X is not overwritten, `copy` or not.

    >>> import numpy as np, fastml
    >>> cross = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]]) + 1e6
    >>> model = fastml.PCA(n_components=1).fit(cross)
    >>> model.components_.round(6), model.explained_variance_.round(3), model.svd_solver_
    (array([[0.6, 0.8]]), array([66.667]), 'covariance_eigh')
    """

    explained_variance_: Any
    mean_: Any
    components_: Any

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of X. y is ignored.

        Raises ValueError for NaN, infinity and n_components out of range; TypeError for sparse X with a dense solver.
        """
        if self._fit_on_kernels(X) is None:
            super().fit(X)
            self.svd_solver_ = self._fit_svd_solver
        return self

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Find the components of X and return X in their coordinates: `fit(X).transform(X)`. Raises as `fit`."""
        array = self._fit_on_kernels(X)
        if array is not None:
            return projected(self, array)
        result = super().fit_transform(X)
        self.svd_solver_ = self._fit_svd_solver
        return result

    def transform(self, X: Any) -> Any:
        """(X - mean_) @ components_.T, the mean subtracted first; with `whiten`, divided by the standard deviations.

        Raises NotFittedError; ValueError for NaN, infinity and another number of features.
        """
        check_is_fitted(self)
        if not left_to_sklearn(self):
            array = validate_data(self, X, **CHECKS, reset=False)
            if for_kernels(array):
                return projected(self, array)
        return super().transform(X)

    def _fit_on_kernels(self, X: Any) -> NDArray[Any] | None:
        """Fit, and return X validated; None where that is left to scikit-learn's code."""
        k = int(self.n_components) if isinstance(self.n_components, Integral) else self.n_components
        dense_solver = self.svd_solver in ("auto", "covariance_eigh", "full")
        if left_to_sklearn(self) or not dense_solver or k in ("mle", 0):
            return None
        array: NDArray[Any] = validate_data(self, X, **CHECKS, ensure_all_finite=False)
        if not for_kernels(array) or array.shape[0] == 1:
            return None
        if isinstance(k, int):
            if k > min(array.shape):
                return None  # for scikit-learn's error message
            if self.svd_solver == "auto" and _randomized(array.shape, k):
                return None
        try:
            result = pca(array, k, solver=self.svd_solver, whiten=self.whiten)
        except ValueError:
            assert_all_finite(array, input_name="X", estimator_name="PCA")  # in scikit-learn's words
            raise
        self._keep(result)
        return array

    def _keep(self, result: PCAResult) -> None:
        """Set the attributes, named and typed as scikit-learn's."""
        components, dtype = result.components, result.components.dtype
        self.mean_ = result.mean.astype(dtype)
        self.components_ = components
        self.explained_variance_ = result.explained_variance
        self.explained_variance_ratio_ = result.explained_variance_ratio
        self.singular_values_ = result.singular_values
        self.noise_variance_ = dtype.type(result.noise_variance)
        self.n_components_ = len(components)
        self.n_samples_ = result.n_samples
        self.svd_solver_ = self._fit_svd_solver = result.solver


def _randomized(shape: tuple[int, ...], k: int) -> bool:
    """Whether "auto" leaves this to scikit-learn, which then takes "randomized": a few components of a large matrix.

    Divided by n p, exact costs p flops for the scatter matrix and about 5 p^2 / n for its eigenvectors; 16 passes over
    X with k + 10 vectors cost 32 (k + 10), of products so narrow that they run at half speed.
    """
    n, p = shape
    exact_costs_more = p > n or p + 5 * p * p / n > 64 * (k + 10)
    return min(shape) > SMALL and k < 0.8 * min(shape) and exact_costs_more
