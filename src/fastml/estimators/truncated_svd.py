"""scikit-learn's TruncatedSVD on fastml's scatter matrices."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import decomposition
from sklearn.base import _fit_context
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from fastml import _linalg
from fastml._validate.arrays import size_fits
from fastml.estimators import Stamped, as_before_if_refused, for_kernels, left_to_sklearn
from fastml.ops.moments import moments
from fastml.ops.pca import scatter
from fastml.ops.pca_transform import pca_transform

CHECKS = {"accept_sparse": ("csr", "csc"), "ensure_min_features": 2}  # scikit-learn's own
SMALL = 500  # rows or columns up to which exact is always fast enough
MOST = 4000  # rows or columns up to which a Gram matrix is made at all, of 128 MB


class TruncatedSVD(Stamped, decomposition.TruncatedSVD):
    """scikit-learn's `TruncatedSVD`: PCA without centring, with its parameters, attributes, methods and errors.

    On fastml's kernels: `fit` and `fit_transform` of what becomes a dense float32 or float64 matrix, with `algorithm`
    "randomized", the default, where exact vectors cost no more than random ones: up to 500 rows or columns, and beyond,
    up to 4000, where p + 5 p^2 / n <= 8 (n_iter + 1)(k + n_oversamples), n being the longer side and p the other. They
    are exact then, and n_iter, n_oversamples, power_iteration_normalizer and random_state have no say. The rest runs on
    scikit-learn's code: "arpack", sparse matrices, other dtypes, n_components > min(X.shape), array API dispatch,
    callbacks, values whose squares overflow; and `transform` and `inverse_transform`, which are one product each.

    The Gram matrix X'X (of wide data, XX') is n m m' more than the scatter matrix of X, m being the mean, and added in
    float64. It holds squares: where rounding may have cost the last singular value that was asked for half of the
    digits of X's dtype, X goes through QR and SVD in float64. What differs: explained_variance_ is computed from
    centred rows, and right where a mean is large; constant data have an explained_variance_ratio_ of 0, not NaN.
    Cost: n p^2 flops in one pass over X, an eigenproblem of p, and 4 n p k; by QR, block by block, 2 n p^2.

    >>> import numpy as np, fastml
    >>> cross = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]])
    >>> model = fastml.TruncatedSVD(n_components=1).fit(cross)
    >>> model.components_.round(6), model.singular_values_.round(3), model.explained_variance_ratio_.round(3)
    (array([[0.6, 0.8]]), array([14.142]), array([0.8]))
    """

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Find the components of X and return X @ components_.T. y is ignored. `fit` is this without the return.

        Raises ValueError for NaN, infinity, a single column and n_components > columns.
        """
        with as_before_if_refused(self):
            if not left_to_sklearn(self) and self.algorithm == "randomized":
                array = validate_data(self, X, **CHECKS, ensure_all_finite=False)
                if for_kernels(array):
                    size_fits(array.shape, array.itemsize, "X")
                    if self._is_exact(array.shape) and self._fit_on_kernels(array):
                        return array @ self.components_.T
            return super().fit_transform(X)

    def _is_exact(self, shape: tuple[int, ...]) -> bool:
        """Whether exact vectors are there in about the time of random ones, or faster.

        Divided by n p, exact costs p flops for the Gram matrix and about 5 p^2 / n for its eigenvectors; 2 n_iter + 2
        passes over X with k + n_oversamples vectors are products so narrow that they run at half speed.
        """
        n, p = max(shape), min(shape)
        if self.n_components > p or p > MOST:
            return False
        random = 8 * (int(self.n_iter) + 1) * (int(self.n_components) + int(self.n_oversamples))  # of int8, too
        return bool(p <= SMALL or p + 5 * p * p / n <= random)

    def _fit_on_kernels(self, X: NDArray[Any]) -> bool:
        """Set the attributes; False where the squares of X overflow."""
        k = int(self.n_components)
        try:
            values, components = _by_gram_matrix(X, k)
        except ValueError:
            assert_all_finite(X, input_name="X", estimator_name="TruncatedSVD")  # in scikit-learn's words
            return False
        stats = moments(X)
        components = _linalg.fix_signs(components.astype(X.dtype, order="C"))
        centred = pca_transform(X, stats.mean, components)
        variance, total = np.mean(np.square(centred, dtype=np.float64), axis=0), float(stats.var().sum())
        if not variance.max() <= np.finfo(X.dtype).max:
            return False
        self.components_, self.explained_variance_ = components, variance.astype(X.dtype)
        self.explained_variance_ratio_ = (variance / total if total > 0 else np.zeros(k)).astype(X.dtype)
        self.singular_values_ = values.astype(X.dtype)
        return True


def _by_gram_matrix(X: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The k largest singular values of X, and right singular vectors as rows; by QR and SVD where digits were lost.

    Raises ValueError where the Gram matrix is not finite.
    """
    wide = X.shape[0] < X.shape[1]
    rows, mean, matrix = scatter(X.T if wide else X)
    eps, spread = float(np.finfo(X.dtype).eps), float(np.linalg.norm(matrix))
    with np.errstate(over="ignore"):
        matrix += rows * np.multiply.outer(mean, mean)
    if not np.isfinite(matrix).all():
        raise ValueError("the Gram matrix overflows")
    squares, vectors = _linalg.eigh_largest(matrix, k)
    # the scatter matrix is made of products in X's dtype, the rest is rounded in float64
    rounding = eps * spread + float(np.finfo(np.float64).eps) * squares[0]
    if squares[-1] * eps**0.5 <= rounding:
        values, components = _linalg.svd_centred(X, np.zeros(X.shape[1]), k)
        return values[:k], components
    values = np.sqrt(squares)
    if wide:  # X'U = V Sigma; the mean of each row is multiplied apart, in float64, where it cancels
        products = pca_transform(X.T, mean, vectors) + mean @ vectors.T
        return values, (products / values).T
    return values, vectors
