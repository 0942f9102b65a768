"""fastml.max_pool2d_backward against NumPy and the function behind PyTorch's autograd, so that no graph is timed."""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    gradient, indices, shape = torch.from_numpy(args[0]), torch.from_numpy(args[1]), args[2]
    x = torch.empty(shape, dtype=gradient.dtype)  # only its shape is looked at
    kernel = [case.options["kernel_size"]] * 2
    stride, padding = [case.options.get("stride", kernel[0])] * 2, [case.options.get("padding", 0)] * 2
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    return lambda: backward(gradient, x, kernel, stride, padding, [1, 1], False, indices)


PEERS = (Contender("PyTorch", _torch, "torch"),)
