"""scikit-learn's classes on fastml's kernels. What these do not do runs on scikit-learn's own code, by `super()`."""

from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from fastml.ops.pca_transform import pca_transform

FLOATS = (np.float64, np.float32)  # what the kernels compute in; scikit-learn converts integers to the first
CALLBACKS = frozenset(("_skl_callbacks", "_parent_callback_ctx"))  # attributes, since scikit-learn 1.9


def left_to_sklearn(estimator: Any) -> bool:
    """Whether something is switched on that is scikit-learn's alone: array API dispatch, or callbacks."""
    return bool(sklearn.get_config()["array_api_dispatch"]) or not CALLBACKS.isdisjoint(vars(estimator))


def for_kernels(X: Any) -> bool:
    """Whether X, as scikit-learn's validation returned it, is a dense array in a dtype of the kernels."""
    return isinstance(X, np.ndarray) and X.dtype in FLOATS


def projected(model: Any, X: NDArray[Any]) -> NDArray[Any]:
    """(X - mean_) @ components_.T for a fitted PCA; with `whiten`, divided by the standard deviations."""
    array = X.astype(np.result_type(X, model.components_), copy=False)
    basis = model.components_
    if model.whiten:  # a direction without variance is not blown up
        smallest = np.finfo(model.explained_variance_.dtype).eps
        basis = basis / np.maximum(np.sqrt(model.explained_variance_), smallest)[:, np.newaxis]
    return pca_transform(array, model.mean_, basis)
