"""The only place that raises about user input.

One function for each operation. It takes the arguments of the public function and returns a problem, which is the
argument list of every kernel of that operation, and the array that the caller gets. All size arithmetic is done in
Python integers before any array is made. `numbers`, `arrays` and `windows` hold the pieces.
"""

from fastml._validate.images import avg_pool2d, batch_norm, conv2d, max_pool2d
from fastml._validate.matrices import empty_moments, finite_result, moments, pca, rows_of, standardize

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "empty_moments",
    "finite_result",
    "max_pool2d",
    "moments",
    "pca",
    "rows_of",
    "standardize",
]
