"""scikit-learn's classes on fastml's kernels. What these do not do runs on scikit-learn's own code, by `super()`."""

from typing import Any

import numpy as np
import sklearn

FLOATS = (np.float64, np.float32)  # what the kernels compute in; scikit-learn converts integers to the first


def left_to_sklearn(estimator: Any) -> bool:
    """Whether something is switched on that is scikit-learn's alone: array API dispatch, or callbacks (since 1.9)."""
    return bool(
        sklearn.get_config()["array_api_dispatch"]
        or hasattr(estimator, "_skl_callbacks")
        or hasattr(estimator, "_parent_callback_ctx")
    )


def for_kernels(X: Any) -> bool:
    """Whether X, as scikit-learn's validation returned it, is a dense array in a dtype of the kernels."""
    return isinstance(X, np.ndarray) and X.dtype in FLOATS
