"""The only place that raises about user input.

One function for each operation. It takes the arguments of the public function and returns a problem, which is the
argument list of every kernel of that operation, and the array that the caller gets. All size arithmetic is done in
Python integers before any array is made. `numbers`, `arrays` and `windows` hold the pieces.
"""

from fastml._validate.arrays import READABLE
from fastml._validate.convolutions import Filters, conv2d, convolution, filters, unwritten_image
from fastml._validate.gradients import conv2d_backward
from fastml._validate.images import batch_norm, batch_norm_backward, fold_batch_norm
from fastml._validate.matrices import (
    by_products,
    empty_moments,
    finite_result,
    moments,
    pca,
    pca_transform,
    rows_of,
    scatter,
    standardize,
)
from fastml._validate.numbers import integer
from fastml._validate.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    indices_inside,
    max_pool2d,
    max_pool2d_backward,
)

__all__ = [
    "READABLE",
    "Filters",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "by_products",
    "conv2d",
    "conv2d_backward",
    "convolution",
    "empty_moments",
    "filters",
    "finite_result",
    "fold_batch_norm",
    "global_avg_pool2d",
    "indices_inside",
    "integer",
    "max_pool2d",
    "max_pool2d_backward",
    "moments",
    "pca",
    "pca_transform",
    "rows_of",
    "scatter",
    "standardize",
    "unwritten_image",
]
