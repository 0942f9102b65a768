"""A batch norm folded into the layer before it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import _validate


def fold_batch_norm(
    weight: ArrayLike,
    bias: ArrayLike | None,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    bn_weight: ArrayLike | None = None,
    bn_bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weight and bias of one layer that does what a layer and the batch norm behind it do at inference.

    `factor = bn_weight / sqrt(running_var + eps)`; the new weight is `weight * factor`, for each output, and the new
    bias is `(bias - running_mean) * factor + bn_bias`.

    Parameters
    ----------
    weight: of `conv2d`, (outputs, channels / groups, kernel_h, kernel_w), or of a linear layer, (outputs, inputs);
        float32 or float64, any layout.
    bias: (outputs,), or None for a layer without.
    running_mean, running_var, bn_weight, bn_bias: (outputs,), as given to `batch_norm`; bn_weight and bn_bias None are
        1 and 0.
    eps: what the batch norm adds to the variance; not negative.

    Returns (weight, bias), new arrays of weight's dtype.

    Raises TypeError for dtypes and ValueError for shapes and numbers out of range, each with the argument's name.

    Computed in float64 and rounded once. Cost: that of one batch norm of the weights, once; afterwards batch norm is
    free. PyTorch: `torch.nn.utils.fusion.fuse_conv_bn_weights`.

    >>> import numpy as np, fastml
    >>> weight, bias = fastml.fold_batch_norm(np.array([[2.0, 4.0]]), None, [3.0], [4.0], eps=0.0)
    >>> weight, bias
    (array([[1., 2.]]), array([-1.5]))
    """
    layer = _validate.fold_batch_norm(weight, bias, running_mean, running_var, bn_weight, bn_bias, eps=eps)
    dtype = layer.weight.dtype.newbyteorder("=")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # as batch_norm, which does not warn
        factor = layer.factor / np.sqrt(layer.variance + layer.eps)
        folded = layer.weight * factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
        offset = (layer.bias - layer.mean) * factor + layer.offset
        return folded.astype(dtype, order="C"), offset.astype(dtype)
