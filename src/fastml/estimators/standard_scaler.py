"""scikit-learn's StandardScaler on fastml's moments and standardize."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn import preprocessing
from sklearn.base import _fit_context
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from fastml.estimators import FLOATS, for_kernels, left_to_sklearn
from fastml.ops.moments import Moments, moments
from fastml.ops.standardize import standardize

CHECKS = {"accept_sparse": ("csr", "csc"), "dtype": (*FLOATS, np.float16)}  # scikit-learn's own


class StandardScaler(preprocessing.StandardScaler):
    """scikit-learn's `StandardScaler`: (X - mean_) / scale_, with its parameters, attributes, methods and errors.

    On fastml's kernels: `fit`, `partial_fit`, `transform` and `inverse_transform` of what becomes a dense float32 or
    float64 matrix: an array, a list, a data frame, integers (float64). On scikit-learn's code: sparse matrices,
    `sample_weight` (and pieces added to a weighted fit), float16, array API dispatch, callbacks.

    What differs: float32 is right at any offset, as the mean is subtracted in float64; a column of NaN gives no
    warning, and in `partial_fit` is forgotten when numbers follow; `n_samples_seen_` is an integer, as scikit-learn
    documents it.

    >>> import numpy as np, fastml
    >>> X = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> scaler = fastml.StandardScaler().fit(X)
    >>> scaler.mean_, scaler.scale_
    (array([2., 7.]), array([1., 1.]))
    >>> scaler.transform(X)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    n_samples_seen_: Any  # None of these where with_mean and with_std leave it out
    mean_: Any
    var_: Any
    scale_: Any

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Add the statistics of X, one pass over it, to those of the pieces before. `fit` is the first of these.

        Raises ValueError for infinity, sparse X with `with_mean`, and another number of features than before.
        """
        if sample_weight is None and self._goes_on() and not left_to_sklearn(self):
            _, stats = self._measured(X, reset=not hasattr(self, "n_samples_seen_"))
            if stats is not None:
                self._add(stats)
                return self
        super().partial_fit(X, y, sample_weight)
        return self

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """(X - mean_) / scale_; `copy=False` writes into X where X is a float array. NaN stays.

        Raises NotFittedError; ValueError for infinity, sparse X with `with_mean`, and another number of features.
        """
        check_is_fitted(self)
        in_place = not (self.copy if copy is None else copy)
        if self._has_parameters() and not left_to_sklearn(self):
            array, stats = self._measured(X, reset=False, force_writeable=in_place)
            if stats is not None:
                return _shift_and_scale(
                    array, self.mean_ if self.with_mean else None, self.scale_ if self.with_std else None, in_place
                )
        return super().transform(X, copy=copy)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """X * scale_ + mean_, the inverse of `transform`, with the same rules."""
        check_is_fitted(self)
        in_place = not (self.copy if copy is None else copy)
        if self._has_parameters() and not left_to_sklearn(self):
            array = check_array(X, **CHECKS, force_writeable=in_place, ensure_all_finite="allow-nan")
            if for_kernels(array) and array.shape[1] == self.n_features_in_:
                scale = 1 / self.scale_ if self.with_std else None
                shift = None
                if self.with_mean:
                    shift = -self.mean_ if scale is None else -self.mean_ * scale
                return _shift_and_scale(array, shift, scale, in_place)
        return super().inverse_transform(X, copy=copy)

    def _measured(self, X: Any, **checks: Any) -> tuple[Any, Moments | None]:
        """X as scikit-learn's validation returns it, and its moments; None where it is nothing for the kernels.

        Infinity shows in the moments, so that scikit-learn's search for it, in one thread, is left out until it does.
        """
        plain = type(X) is np.ndarray and X.ndim == 2 and X.dtype in FLOATS
        stats = moments(X) if plain else None
        finite = stats is not None and np.isfinite(stats.mean[stats.count > 0]).all() and np.isfinite(stats.m2).all()
        array = validate_data(self, X, **CHECKS, ensure_all_finite=False if finite else "allow-nan", **checks)
        if not for_kernels(array):
            return array, None
        return array, moments(array) if stats is None else stats

    def _goes_on(self) -> bool:
        """Whether the statistics so far, if any, are those that `_add` keeps: counts, not weights, none left out."""
        if not hasattr(self, "n_samples_seen_"):
            return True
        counts = np.asarray(self.n_samples_seen_).dtype.kind == "i"
        means = self.mean_ is not None or not (self.with_mean or self.with_std)
        return counts and means and (self.var_ is not None or not self.with_std)

    def _has_parameters(self) -> bool:
        """False where with_mean or with_std was switched on after a fit without; scikit-learn's code then raises."""
        return (self.mean_ is not None or not self.with_mean) and (self.scale_ is not None or not self.with_std)

    def _add(self, stats: Moments) -> None:
        """Merge with what was seen before and set the attributes."""
        if hasattr(self, "n_samples_seen_"):
            count = np.broadcast_to(np.asarray(self.n_samples_seen_, np.int64), stats.count.shape)
            zeros = np.zeros(stats.mean.shape)
            mean = zeros if self.mean_ is None else self.mean_
            m2 = zeros if self.var_ is None else np.where(count > 0, self.var_ * count, 0.0)
            stats = Moments(count, mean, m2).merge(stats)
        count = stats.count
        self.n_samples_seen_ = count[0] if (count == count[0]).all() else count
        self.mean_ = stats.mean if self.with_mean or self.with_std else None
        self.var_ = stats.var() if self.with_std else None
        std = stats.std()
        self.scale_ = np.where(std == 0, 1.0, std) if self.with_std else None


def _shift_and_scale(
    array: NDArray[Any], shift: NDArray[Any] | None, scale: NDArray[Any] | None, in_place: bool
) -> NDArray[Any]:
    """(array - shift) / scale, None leaving that step out, in a new array or in this one."""
    direct = in_place and array.flags.forc and array.flags.aligned
    result: NDArray[Any] = standardize(
        array, mean=shift, std=scale, with_mean=shift is not None, with_std=scale is not None,
        out=array if direct else None,
    )  # fmt: skip
    if in_place and not direct:  # a view with strides, which the kernel cannot write
        array[...] = result
        return array
    return result
