"""scikit-learn's StandardScaler on fastml's moments and standardize."""

import functools
from typing import Any, Self

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn import preprocessing
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastml._validate.arrays import FLOAT64, least, most
from fastml.estimators import CALLBACKS, FLOATS, Stamped, already_valid, as_before_if_refused, left_to_sklearn
from fastml.ops.moments import Moments, constant, moments
from fastml.ops.standardize import SMALL, is_plain, small, standardize_into, statistics

CHECKS = {"accept_sparse": ("csr", "csc"), "dtype": (*FLOATS, np.float16), "ensure_all_finite": "allow-nan"}  # theirs
PLAIN = frozenset("efd?bBhHiIlLqQ")  # dtypes, by their characters, that validation keeps or makes float64
INFINITY = float("inf")
UNUSUAL = CALLBACKS | {"feature_names_in_", "_sklearn_output_config"}  # attributes that ask for more than numbers


class StandardScaler(Stamped, preprocessing.StandardScaler):
    """scikit-learn's `StandardScaler`: (X - mean_) / scale_, with its parameters, attributes, methods and errors.

    On fastml's kernels: all methods on what is or becomes a dense matrix of numbers: an array (float16, integers and
    views with strides a piece at a time, without a copy), a list, a data frame; with `sample_weight` or without. On
    scikit-learn's code: sparse matrices, negative weights, array API dispatch, callbacks.

    What differs: float32 is right at any offset, as the mean is subtracted in float64; `fit` and `transform` allocate
    nothing of the size of X but the result; a column of NaN gives no warning, and in `partial_fit` is forgotten when
    numbers follow; `n_samples_seen_` without weights is an integer, as scikit-learn documents it; where squares
    overflow, as those of [1e200, -1e200], var_ is infinite, and scale_ is right all the same after one piece.

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

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the statistics of X alone. What raises leaves those of an earlier fit. Raises as `partial_fit`."""
        with as_before_if_refused(self):
            self._reset()
            return self.partial_fit(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Add the statistics of X, one pass over it, to those of the pieces before. `fit` is the first of these.

        Raises ValueError for infinity, sparse X with `with_mean`, and another number of features than before.
        """
        if self._learn(X, sample_weight) is None:
            super().partial_fit(X, y, sample_weight)
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """`fit(X, y, **fit_params).transform(X)`, but X is validated once, and read twice. `fit_params`: sample_weight.

        Raises what `fit` raises.
        """
        if type(self) is StandardScaler and self.copy and fit_params.keys() <= {"sample_weight"}:
            with as_before_if_refused(self):
                self._reset()
                array = self._learn(X, fit_params.get("sample_weight"))
                if array is not None:
                    return self._apply(array, self.mean_, self.scale_, in_place=False)
                return super().fit_transform(X, y, **fit_params)
        return super().fit_transform(X, y, **fit_params)

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """(X - mean_) / scale_; `copy=False` writes into X where X is a float array. NaN stays.

        Raises NotFittedError; ValueError for infinity, sparse X with `with_mean`, and another number of features.
        """
        check_is_fitted(self)
        in_place = not (self.copy if copy is None else copy)
        if self._has_parameters() and not left_to_sklearn(self):
            array = self._validated(X, in_place, functools.partial(validate_data, self, reset=False))
            if isinstance(array, np.ndarray):
                return self._apply(array, self.mean_, self.scale_, in_place)
        return super().transform(X, copy=copy)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """X * scale_ + mean_, the inverse of `transform`, with the same rules."""
        check_is_fitted(self)
        in_place = not (self.copy if copy is None else copy)
        if self._has_parameters() and not left_to_sklearn(self):
            array = self._validated(X, in_place, check_array)
            with np.errstate(divide="ignore"):
                scale = 1 / np.asarray(self.scale_, np.float64) if self.with_std else np.ones(1)
            invertible = not (np.isinf(scale) | (scale == 0)).any()  # it is unless someone set scale_
            if isinstance(array, np.ndarray) and array.shape[1] == self.n_features_in_ and invertible:
                shift = -self.mean_ * scale if self.with_mean else None
                return self._apply(array, shift, scale, in_place)
        return super().inverse_transform(X, copy=copy)

    def _learn(self, X: Any, sample_weight: Any) -> Any:
        """Validate X, add its moments to the statistics and return it; None where that is left to scikit-learn.

        Infinity shows in the moments, so that scikit-learn's search for it, in one thread, is left out until it does.
        """
        first = not hasattr(self, "n_samples_seen_")
        if left_to_sklearn(self) or not self._parameters_are_valid() or not self._goes_on(sample_weight):
            return None
        array, plain = X, already_valid(self, X, reset=first, dtypes=PLAIN)
        if not plain:
            array = validate_data(self, X, **CHECKS, reset=first)
        if not isinstance(array, np.ndarray):
            return None
        if sample_weight is not None:
            sample_weight = self._weights(array, sample_weight, first)
            if (sample_weight < 0).any():
                return None
        stats = moments(array, sample_weight=sample_weight)
        overflow = not _is_finite(stats.m2)
        unseen = sample_weight is not None and least(sample_weight) == 0  # the moments count no such rows
        if plain and (overflow or unseen):
            validate_data(self, X, **CHECKS, reset=first)
        if plain and first:
            self.n_features_in_ = X.shape[1]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        self._add(stats if first else self._before(stats).merge(stats))
        if first and overflow and self.mean_ is not None:
            self.mean_, std = statistics(array, 0, sample_weight=sample_weight)
            self.scale_ = np.where(std == 0, 1.0, std) if self.with_std else None
        return array

    def _parameters_are_valid(self) -> bool:
        """What scikit-learn's validation asks of the parameters; where they are not, its own code complains."""
        return {type(self.copy), type(self.with_mean), type(self.with_std)} <= {bool, np.bool_}

    def _validated(self, X: Any, in_place: bool, validate: Any) -> Any:
        """X as scikit-learn's validation returns it, to be transformed."""
        plain = already_valid(self, X, reset=False, dtypes=PLAIN)
        if plain and (X.flags.writeable or not in_place) and not _may_hold_infinity(X):
            return X
        return validate(X, **CHECKS, force_writeable=in_place)

    def _weights(self, X: NDArray[Any], sample_weight: Any, first: bool) -> NDArray[Any]:
        """The weights, rounded to X's dtype, as scikit-learn checks them."""
        try:
            checked: NDArray[Any] = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        except (TypeError, ValueError):
            validate_data(self, X, **CHECKS, reset=first)  # X's own errors come first
            raise
        return checked

    def _goes_on(self, sample_weight: Any) -> bool:
        """Whether `_add` keeps such statistics, and those so far, if any, have none left out that it needs."""
        if not (self.with_mean or self.with_std):  # scikit-learn then counts rows, weights or not
            return sample_weight is None and getattr(self, "mean_", None) is None
        if not hasattr(self, "n_samples_seen_"):
            return True
        if np.min(self.n_samples_seen_) < 0:  # after negative weights, which are scikit-learn's
            return False
        return self.mean_ is not None and (self.var_ is not None or not self.with_std)

    def _has_parameters(self) -> bool:
        """False where with_mean or with_std was switched on after a fit without; scikit-learn's code then raises."""
        return (self.mean_ is not None or not self.with_mean) and (self.scale_ is not None or not self.with_std)

    def _before(self, stats: Moments) -> Moments:
        """The moments of the pieces seen before."""
        seen = np.asarray(self.n_samples_seen_)
        if seen.ndim == 0 and stats.count.dtype == np.int64 and seen < 2**63:
            seen = seen.astype(np.int64)  # as scikit-learn does: a piece without weights after pieces with them
        count = np.broadcast_to(seen, stats.count.shape)
        mean, m2 = np.zeros(stats.mean.shape) if self.mean_ is None else self.mean_, np.zeros(stats.mean.shape)
        if self.var_ is not None:
            np.multiply(self.var_, count, out=m2, where=count > 0)
        return Moments(count, mean, m2)

    def _add(self, stats: Moments) -> None:
        """Set the attributes."""
        self.n_samples_seen_ = n = stats.count[0] if least(stats.count) == most(stats.count) else stats.count
        self.mean_ = stats.mean if self.with_mean or self.with_std else None
        self.var_ = self.scale_ = None
        if self.with_std:
            # a column of NaN, negative weights before these, and weights below 1 of large values
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                self.var_ = stats.m2 / n
                self.scale_ = np.sqrt(self.var_)
            self.scale_[constant(n, stats.mean, self.var_)] = 1.0

    def _apply(self, X: NDArray[Any], shift: Any, scale: Any, in_place: bool) -> NDArray[Any]:
        """(X - shift) / scale in a new array, or in X itself if it is of floats."""
        features = X.shape[1]
        mean = _vector(shift, features) if self.with_mean else np.zeros(features)
        std = _vector(scale, features) if self.with_std else np.ones(features)
        return standardize_into(X, mean, std, in_place)


def _vector(value: Any, features: int) -> NDArray[Any]:
    """A parameter as a kernel reads it; as it is, unless someone set it to something else."""
    if type(value) is np.ndarray and value.dtype is FLOAT64 and value.shape == (features,) and value.flags.carray:
        return value
    return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float64), (features,)))


def _may_hold_infinity(X: NDArray[Any]) -> bool:
    """False where there is none for sure."""
    if X.dtype.kind != "f":
        return False
    if X.size > 4 * SMALL:  # two threads, and where squares overflow, scikit-learn looks again
        return not _is_finite(moments(X).m2)
    return not _is_finite(X) and bool(np.isinf(X).any())


def _is_finite(array: NDArray[Any]) -> bool:
    return bool(least(array) > -INFINITY and most(array) < INFINITY)


def _with_a_door(transform: Any) -> Any:
    """`transform`, and in front of it a way for everyday calls: plain arithmetic on a few rows of finite floats.

    It is put on after the class is made, because scikit-learn wraps `transform` (for `set_output`) as it is made. A
    call by the ordinary way takes 20 us, the kernel and its output 2 us, and asking all this 2 us.
    """

    @functools.wraps(transform)
    def door(self: StandardScaler, X: Any, copy: bool | None = None) -> Any:
        state, config = vars(self), sklearn.get_config()
        mean, scale = state.get("mean_"), state.get("scale_")
        if (
            (state.get("copy") if copy is None else copy) is True
            and state.get("with_mean") is state.get("with_std") is True
            and UNUSUAL.isdisjoint(state)
            and is_plain(X, mean, scale)
            and X.shape[1] == state.get("n_features_in_")
            and config["transform_output"] == "default"
            and not config["array_api_dispatch"]
            and (np.vdot(X, X) < INFINITY or not np.isinf(X).any())  # a sum of squares: quick, and quiet
        ):
            return small(X, mean, scale)
        return transform(self, X, copy=copy)

    return door


StandardScaler.transform = _with_a_door(StandardScaler.transform)  # type: ignore[method-assign]
