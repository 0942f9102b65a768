"""Arguments of conv2d_backward."""

from typing import Any, NamedTuple

import numpy as np

from fastml._validate.arrays import Array, like
from fastml._validate.convolutions import Conv2d, conv2d
from fastml._validate.numbers import flag


class Conv2dBackward(NamedTuple):
    """What its kernels compute: gradients of weight and bias. That of x is made of problems of conv2d."""

    grad_out: Array
    x: Array
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    dilation_h: int
    dilation_w: int
    groups: int
    grad_weight: Array  # size 0: not needed
    grad_bias: Array  # size 0: not needed

    @property
    def work(self) -> float:
        return float(self.grad_out.size) * float(max(self.grad_weight[:1].size, 1))


def conv2d_backward(
    grad_out: Any, x: Any, weight: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1,
    needs_grad_x: Any = True, needs_grad_weight: Any = True, needs_grad_bias: Any = True,
) -> tuple[Conv2dBackward, Conv2d, tuple[int, ...]]:
    """The problem, the problem of the forward pass, whose result has the shape of grad_out, and the shape of x."""
    forward, result = conv2d(x, weight, stride=stride, padding=padding, dilation=dilation, groups=groups)
    gradient = like(grad_out, "grad_out", forward.x, result.shape, other_name="x").reshape(forward.out.shape)
    flag(needs_grad_x, "needs_grad_x")
    kernels = forward.weight.shape if flag(needs_grad_weight, "needs_grad_weight") else (0, 0, 0, 0)
    outputs = forward.weight.shape[:1] if flag(needs_grad_bias, "needs_grad_bias") else (0,)
    problem = Conv2dBackward(
        gradient, forward.x, forward.stride_h, forward.stride_w, forward.pad_top, forward.pad_left, forward.dilation_h,
        forward.dilation_w, forward.groups, np.zeros(kernels, gradient.dtype), np.zeros(outputs, gradient.dtype),
    )  # fmt: skip
    return problem, forward, forward.x.shape if result.ndim == 4 else forward.x.shape[1:]
