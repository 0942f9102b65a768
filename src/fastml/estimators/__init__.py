"""scikit-learn's classes on fastml's kernels. What these do not do runs on scikit-learn's own code, by `super()`."""

import importlib
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import validate_data

from fastml.ops.pca_transform import pca_transform

FLOATS = (np.float64, np.float32)  # what the kernels compute in; scikit-learn converts integers to the first
# The attribute that holds them, since scikit-learn 1.9, where there are some. `_parent_callback_ctx` says nothing:
# pipelines and searches set it on every step, with callbacks or without.
CALLBACKS = frozenset(("_skl_callbacks",))
VERSIONS = {"fastml": importlib.import_module("fastml").__version__, "sklearn": sklearn.__version__}


class Stamped:
    """Pickles and copies say which versions made them, and others warn, as those of scikit-learn's own classes do.

    scikit-learn's version counts, too: attributes are used by its code.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), **{f"_{name}_version": version for name, version in VERSIONS.items()}}  # type: ignore[dict-item]

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        for name, version in VERSIONS.items():
            written = state.pop(f"_{name}_version", "unknown")
            if written != version:
                who = f"{type(self).__name__} of {name}"
                warnings.warn(
                    InconsistentVersionWarning(
                        estimator_name=who, current_sklearn_version=version, original_sklearn_version=written
                    ),
                    stacklevel=2,
                )
        super().__setstate__(state)  # type: ignore[misc]


def left_to_sklearn(estimator: Any) -> bool:
    """Whether something is switched on that is scikit-learn's alone: array API dispatch, or callbacks."""
    return bool(sklearn.get_config()["array_api_dispatch"]) or not CALLBACKS.isdisjoint(vars(estimator))


def for_kernels(X: Any) -> bool:
    """Whether X, as scikit-learn's validation returned it, is a dense array in a dtype of the kernels."""
    return isinstance(X, np.ndarray) and X.dtype in FLOATS


@contextmanager
def as_before_if_refused(model: Any) -> Iterator[None]:
    """Put all attributes back where a batch raises, or the user interrupts."""
    before = dict(vars(model))
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise


def already_valid(model: Any, X: Any, *, reset: bool, dtypes: Container[str] = "fd") -> bool:
    """Whether scikit-learn's validation, which takes 50 to 100 us, would find nothing in X but NaN or infinity.

    `dtypes` are characters of those that it keeps, or converts as the kernels do; `reset` in a fit, that learns X's
    features.
    """
    return (
        type(X) is np.ndarray and X.ndim == 2 and X.dtype.char in dtypes and X.size > 0
        and (reset or (X.shape[1] == model.n_features_in_ and not hasattr(model, "feature_names_in_")))
    )  # fmt: skip


def accepted(model: Any, X: Any, *, reset: bool = True, **checks: Any) -> Any:
    """X as `validate_data` returns it, which may hold NaN and infinity; `reset` in a fit, that learns X's features."""
    if not already_valid(model, X, reset=reset):
        return validate_data(model, X, **checks, ensure_all_finite=False, reset=reset)
    if reset:
        vars(model).pop("feature_names_in_", None)
        model.n_features_in_ = X.shape[1]
    return X


def projected(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """(X - mean_) @ components_.T for a fitted PCA; with `whiten`, divided by the standard deviations.

    NaN and infinity in X show in the result, so that scikit-learn's search for them, in one thread, is left out until
    they do. Raises ValueError in its words.
    """
    array = X.astype(np.result_type(X, model.components_), copy=False)
    basis = model.components_
    if model.whiten:  # a direction without variance is not blown up
        smallest = np.finfo(model.explained_variance_.dtype).eps
        basis = basis / np.maximum(np.sqrt(model.explained_variance_), smallest)[:, np.newaxis]
    result = pca_transform(array, model.mean_, basis)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(result.sum()):
            assert_all_finite(X, input_name="X", estimator_name=type(model).__name__)
    return result
