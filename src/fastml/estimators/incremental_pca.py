"""scikit-learn's IncrementalPCA on fastml's scatter matrices."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn import decomposition
from sklearn.base import _fit_context
from sklearn.utils import assert_all_finite, check_array, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from fastml import _linalg
from fastml._validate.arrays import size_fits
from fastml.estimators import FLOATS, Stamped, accepted, as_before_if_refused, for_kernels, left_to_sklearn, projected
from fastml.estimators.progress import progress
from fastml.ops.pca import Scatter, scatter

CHECKS = {"dtype": FLOATS, "ensure_all_finite": False}  # NaN and infinity show in the scatter matrix
MOST_COLUMNS = 2000  # whose scatter matrix is 32 MB; beyond, scikit-learn's few vectors are cheaper to keep
VALUES = 2**18  # that `fit` reads at a time, if batch_size does not say: checks of few rows take longer than the kernel
SOLVED = frozenset(
    ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_", "noise_variance_")
)
FITTED = SOLVED | {"_scatter", "_dtype", "mean_", "var_", "n_samples_seen_", "n_components_", "batch_size_"}


class IncrementalPCA(Stamped, decomposition.IncrementalPCA):
    """scikit-learn's `IncrementalPCA`, with its parameters, attributes and methods, and `verbose`: a bar in `fit`.

    scikit-learn keeps the first n_components of what it has seen and forgets the rest with each batch. Here the number
    of rows, their mean and their scatter matrix are kept, in float64, from which the components are those of `PCA` on
    all rows: the result does not depend on how the rows were cut into batches, but for rounding.

    On fastml's kernels: dense input of at most 2000 columns, that is or becomes float32 or float64. On scikit-learn's
    code: more columns, sparse matrices, array API dispatch, callbacks; and what goes on from there.

    `fit` reads batch_size rows at a time (n_features, if that is more; with None, 2 MB of float64 or batch_size_, if
    that is more), from an array, a memory map, or whatever has a shape, a dtype and slices (an HDF5 data set). It needs
    memory for those and for 5 matrices of (columns, columns). Other input is made an array first. X is not written,
    `copy` or not. `verbose` shows progress on stderr, by rich or tqdm if one of them is installed; what scikit-learn's
    code does has no bar.

    `partial_fit` costs rows * columns^2 + 3 columns^2 flops. The eigenproblem, of about 10 columns^3, is solved when an
    attribute that comes of it is first asked for, and at the end of `fit`.

    What differs besides: a batch may have any number of rows, the first one, too. Until n_components rows were seen,
    there are as many components as rows; with n_components None, min(rows seen, columns). A batch or a fit that is
    refused, for NaN or infinity say, changes nothing. Float32 gives float32 (mean_ and var_ are float64), constant data
    an explained_variance_ratio_ of 0, one row variances of 0.

    A scatter matrix holds squares: variances below the roundings of X's dtype, times the largest variance, are noise.
    `PCA` can go back to the data and do better.
    D. Ross et al. (2008), IJCV 77, is scikit-learn's method; T. Chan et al. (1979), STAN-CS-79-773, the formula here.

    >>> import numpy as np, fastml
    >>> cross = np.array([[6.0, 8.0], [-6.0, -8.0], [4.0, -3.0], [-4.0, 3.0]]) + 1e6
    >>> model = fastml.IncrementalPCA(n_components=1)
    >>> for batch in (cross[:1], cross[1:]):
    ...     model = model.partial_fit(batch)
    >>> model.components_.round(6), model.explained_variance_.round(3), model.n_samples_seen_
    (array([[0.6, 0.8]]), array([66.667]), 4)
    """

    _scatter: NDArray[np.float64]  # the matrix; the other two of a `Scatter` are n_samples_seen_ and mean_
    _dtype: str  # "float32" or "float64": plain values can be stored by more than pickle
    _parameter_constraints: ClassVar = {**decomposition.IncrementalPCA._parameter_constraints, "verbose": ["verbose"]}

    def __init__(
        self,
        n_components: int | None = None,
        *,
        whiten: bool = False,
        copy: bool = True,
        batch_size: int | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(n_components, whiten=whiten, copy=copy, batch_size=batch_size)
        self.verbose = verbose

    def __getattr__(self, name: str) -> Any:
        """Solve the eigenproblem, where rows came since it was solved, for the first attribute that needs it."""
        if name not in SOLVED or "_scatter" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._solve()
        return vars(self)[name]

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of X, batch by batch, afresh. y is ignored.

        Raises ValueError for NaN, infinity, values whose squares overflow, and n_components > columns.
        """
        with as_before_if_refused(self):
            for name in FITTED & vars(self).keys():
                delattr(self, name)
            rows = None if left_to_sklearn(self) or sparse.issparse(X) else self._to_cut(X)
            if rows is None or rows.shape[1] > MOST_COLUMNS:
                if rows is not None:
                    size_fits(rows.shape, rows.dtype.itemsize, "X")  # it is all read at once
                super().fit(X)
            else:
                self._fit_batches(rows)
        return self

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any = None, check_input: bool = True) -> Self:
        """Add a batch of one row or more. y is ignored; `check_input=False` leaves the validation of an array out.

        Raises ValueError as `fit`, and for another number of columns or another n_components than before; TypeError for
        sparse X.
        """
        with as_before_if_refused(self):
            array = self._batch(X, check_input)
            if array is None:
                super().partial_fit(X, check_input=check_input)
                self.__dict__.pop("_scatter", None)  # from here on it is scikit-learn's
            else:
                self._add(array)
        return self

    def transform(self, X: Any) -> Any:
        """(X - mean_) @ components_.T, the mean subtracted first; with `whiten`, divided by the standard deviations.

        Raises NotFittedError; ValueError for NaN, infinity and another number of features.
        """
        check_is_fitted(self)
        if not left_to_sklearn(self) and not sparse.issparse(X):
            array = accepted(self, X, dtype=FLOATS, reset=False)
            if for_kernels(array):
                return projected(self, array)
        return super().transform(X)

    def inverse_transform(self, X: Any) -> Any:
        """Back to the original columns: X @ components_ + mean_, in the dtype of X and the components."""
        result = super().inverse_transform(X)
        if getattr(X, "dtype", None) == np.float32 == self.components_.dtype:
            return result.astype(np.float32, copy=False)  # mean_ is float64
        return result

    def _to_cut(self, X: Any) -> Any:
        """What batches are cut from: X, if it has rows of numbers that can be read when they are needed."""
        shape, kind = getattr(X, "shape", ()), getattr(getattr(X, "dtype", None), "kind", "")
        if len(shape) == 2 and min(shape) > 0 and kind in ("f", "i", "u", "b"):
            validate_data(self, X[:1], **CHECKS)
            return X
        return validate_data(self, X, **CHECKS)

    def _fit_batches(self, rows: Any) -> None:
        n, p = rows.shape
        self.batch_size_ = self.batch_size or 5 * p
        at_once = max(self.batch_size_, p if self.batch_size else VALUES // p)  # p rows are no more than the matrix
        with progress("IncrementalPCA", n, self.verbose) as advance:
            for batch in gen_batches(n, at_once):
                self._add(check_array(rows[batch], **CHECKS, estimator=self, input_name="X"))
                advance(batch.stop - batch.start)
        self._solve()

    def _batch(self, X: Any, check_input: bool) -> NDArray[Any] | None:
        """X validated; None where it is left to scikit-learn's code."""
        here = "_scatter" in vars(self)
        if left_to_sklearn(self) or sparse.issparse(X) or ("components_" in vars(self) and not here):
            return None
        array: NDArray[Any] = validate_data(self, X, **CHECKS, reset=not here) if check_input else X
        size_fits(array.shape, array.itemsize, "X")
        if not for_kernels(array) or (array.shape[1] > MOST_COLUMNS and not here):
            return None
        return array

    def _add(self, batch: NDArray[Any]) -> None:
        """Merge the scatter matrix of a batch into that of the rows before it."""
        dtype, before = batch.dtype, self._before()
        self._check_n_components(batch.shape[1], before)
        try:
            stats = scatter(batch)
        except ValueError:
            assert_all_finite(batch, input_name="X", estimator_name="IncrementalPCA")  # in scikit-learn's words
            raise
        if before is not None:
            stats, dtype = before.merge(stats), np.result_type(dtype, self._dtype)
            if not np.isfinite(stats.matrix).all():
                raise ValueError("X is too large: the squares of its distance from the batches before overflow")
        if stats.matrix.trace() / max(stats.count - 1, 1) > np.finfo(dtype).max:
            raise ValueError(f"X is too large: its variance is more than {dtype.name} can hold")
        for name in SOLVED & vars(self).keys():
            delattr(self, name)
        self._scatter, self._dtype = stats.matrix, dtype.name
        self.n_samples_seen_ = stats.count
        self.n_components_ = self._number(stats)
        self.mean_, self.var_ = stats.mean, stats.matrix.diagonal() / stats.count

    def _before(self) -> Scatter | None:
        """What is kept of the rows so far; None without any."""
        return Scatter(self.n_samples_seen_, self.mean_, self._scatter) if "_scatter" in vars(self) else None

    def _number(self, stats: Scatter) -> int:
        """How many components can be told of so many rows."""
        most = min(stats.count, stats.mean.size)
        return most if self.n_components is None else min(int(self.n_components), most)

    def _check_n_components(self, columns: int, before: Scatter | None) -> None:
        """Complain as scikit-learn does."""
        k = self.n_components
        if k is not None and k > columns:
            raise ValueError(
                f"n_components={k!r} invalid for n_features={columns}, need more rows than columns for IncrementalPCA "
                "processing"
            )
        if k is not None and before is not None and self._number(before) != self.n_components_:
            raise ValueError(
                f"Number of input features has changed from {self.n_components_} to {k} between calls to partial_fit! "
                "Try setting n_components to a fixed value."
            )

    def _solve(self) -> None:
        """Set the attributes that come of the eigenproblem, in the dtype of the rows."""
        n, matrix, k, dtype = self.n_samples_seen_, self._scatter, self.n_components_, np.dtype(self._dtype)
        freedom, rank, total = max(n - 1, 1), min(matrix.shape[0], n), float(matrix.trace())
        squares, vectors = _linalg.eigh_largest(matrix.copy(), k)
        rest = max(total - float(squares.sum()), 0.0)
        self.components_ = _linalg.fix_signs(vectors.astype(dtype, order="C"))
        self.explained_variance_ = (squares / freedom).astype(dtype)
        self.explained_variance_ratio_ = (squares / total if total > 0 else np.zeros(k)).astype(dtype)
        self.singular_values_ = np.sqrt(squares).astype(dtype)
        self.noise_variance_ = dtype.type(rest / (rank - k) / freedom if k < rank else 0.0)
