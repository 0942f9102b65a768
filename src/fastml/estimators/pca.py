"""scikit-learn's PCA on fastml's pca."""

from numbers import Integral
from typing import Any, Self

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn import decomposition
from sklearn.decomposition._pca import _infer_dimension
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.validation import check_is_fitted

from fastml import _linalg
from fastml._validate.arrays import size_fits
from fastml.estimators import FLOATS, Stamped, accepted, as_before_if_refused, for_kernels, left_to_sklearn, projected
from fastml.ops.pca import PCAResult, pca

CHECKS: dict[str, Any] = {"accept_sparse": ("csr", "csc"), "dtype": FLOATS}  # scikit-learn's own

DEFAULTS = {name: value for name, value in decomposition.PCA().get_params().items() if name != "n_components"}
LARGE = 4000  # rows or columns, the fewer of them, from which on an exact answer takes seconds
CONVERGED = {"f": 2e-6, "d": 1e-9}  # the last change of singular values, for "auto": variances to 1e-4 and 1e-8
ITERATIONS = 4  # for "auto": they give more variance than scikit-learn's 7 power iterations (measured)


class PCA(Stamped, decomposition.PCA):
    """scikit-learn's `PCA`, with its parameters, attributes, methods and errors, `svd_solver_` and `condition_`.

    `svd_solver_` is what was used, `condition_` the largest singular value over the smallest one kept: the condition
    number of X - mean_ if all components were kept, and else of its projection; infinite if the smallest is 0.

    On fastml's kernels: `fit` and `fit_transform` of what becomes a dense float32 or float64 matrix; and `transform` of
    such a matrix, whoever did the fit. On scikit-learn's code: sparse matrices, `n_components` 0, a single row, array
    API dispatch.

    "auto" is exact up to min(X.shape) = 4000: "covariance_eigh", unless accuracy asks for "full" (`fastml.pca` says
    when); beyond, and for less than 0.8 min(X.shape) components, "randomized", which then goes on until its values do
    not change any more, and gives way to exact ones if that takes too long. It is a block Krylov method, and
    where min(X.shape) <= 1000 exact, as this takes less time: `svd_solver_` tells. `power_iteration_normalizer` makes
    no difference: it is QR always. `n_components` "mle" is chosen by scikit-learn's function from all variances. What
    differs: the mean is subtracted before anything is rounded, so that uncentred data do no harm; `fit_transform(X)` is
    `fit(X).transform(X)`; constant data have an explained_variance_ratio_ of 0, not NaN; X is not overwritten, `copy`
    or not, nor is a centred copy made; a copy is, of what is not C-contiguous.

    >>> import numpy as np, fastml
    >>> cross = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]]) + 1e6
    >>> model = fastml.PCA(n_components=1).fit(cross)
    >>> model.components_.round(6), model.explained_variance_.round(3), model.svd_solver_
    (array([[0.6, 0.8]]), array([66.667]), 'covariance_eigh')
    """

    explained_variance_: Any
    mean_: Any
    components_: Any

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of X. y is ignored.

        Raises ValueError for NaN, infinity and n_components out of range; TypeError for sparse X with a dense solver.
        """
        with as_before_if_refused(self):
            if self._fit_on_kernels(X) is None:
                super().fit(X)
                self._tell()
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Find the components of X and return X in their coordinates: `fit(X).transform(X)`. Raises as `fit`."""
        with as_before_if_refused(self):
            array = self._fit_on_kernels(X)
            if array is not None:
                return projected(self, array)
            result = super().fit_transform(X)
            self._tell()
            return result

    def transform(self, X: Any) -> Any:
        """(X - mean_) @ components_.T, the mean subtracted first; with `whiten`, divided by the standard deviations.

        Raises NotFittedError; ValueError for NaN, infinity and another number of features.
        """
        check_is_fitted(self)
        if not left_to_sklearn(self):
            array = accepted(self, X, **CHECKS, reset=False)
            if for_kernels(array):
                return projected(self, array)
        return super().transform(X)

    def _fit_on_kernels(self, X: Any) -> Any:
        """Fit, and return X validated; None where that is left to scikit-learn's code."""
        if not self._is_usual() and not sklearn.get_config()["skip_parameter_validation"]:
            self._validate_params()
        k = int(self.n_components) if isinstance(self.n_components, Integral) else self.n_components
        if left_to_sklearn(self) or k == 0:
            return None
        array = accepted(self, X, **CHECKS)
        if for_kernels(array):
            size_fits(array.shape, array.itemsize, "X")  # or the search for NaN, below, would go through it first
        if not for_kernels(array) or array.shape[0] == 1 or self._is_refused(array.shape, k):
            return None
        try:
            result = self._solve(array, k)
        except ValueError:
            assert_all_finite(array, input_name="X", estimator_name="PCA")  # in scikit-learn's words
            raise
        self._keep(result)
        return array

    def _is_usual(self) -> bool:
        """Whether scikit-learn's validation of parameters, which takes 60 us, would find all as they are by default."""
        state, k = vars(self), self.n_components
        as_ever = all(type(state[name]) is type(value) and state[name] == value for name, value in DEFAULTS.items())
        return as_ever and (k is None or (type(k) is int and k > 0))

    def _is_refused(self, shape: tuple[int, ...], k: Any) -> bool:
        """Whether scikit-learn has an error message for this n_components."""
        if self.svd_solver in ("randomized", "arpack"):
            most = min(shape) - (self.svd_solver == "arpack")
            return most < 1 or not (k is None or (isinstance(k, int) and k <= most))
        return shape[0] < shape[1] if k == "mle" else isinstance(k, int) and k > min(shape)

    def _solve(self, array: NDArray[Any], k: Any) -> PCAResult:
        smaller, solver = min(array.shape), self.svd_solver
        if k == "mle":
            every = pca(array, solver=solver, whiten=self.whiten)
            return every.first(int(_infer_dimension(every.explained_variance.astype(np.float64), len(array))))
        tol = self.tol if solver == "arpack" else 0.0
        if solver == "auto" and smaller > LARGE and isinstance(k, int) and k < 0.8 * smaller:
            solver, tol = "randomized", CONVERGED[array.dtype.char]
        if solver not in ("randomized", "arpack"):
            return pca(array, k, solver=solver, whiten=self.whiten)
        return pca(
            array, k, solver=solver, whiten=self.whiten, tol=tol, n_oversamples=int(self.n_oversamples),
            n_iterations=ITERATIONS if self.iterated_power == "auto" else int(self.iterated_power),
            random_state=check_random_state(self.random_state),
        )  # fmt: skip

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
        self._fit_svd_solver = result.solver
        self._tell()

    def _tell(self) -> None:
        """Set the attributes that scikit-learn's class does not have."""
        self.svd_solver_ = self._fit_svd_solver
        self.condition_ = _linalg.condition(self.singular_values_)
