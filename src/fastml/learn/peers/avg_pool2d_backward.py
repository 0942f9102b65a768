"""fastml.avg_pool2d_backward against NumPy and the function behind PyTorch's autograd, so that no graph is timed."""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    gradient, shape = torch.from_numpy(args[0]), args[1]
    x = torch.empty(shape, dtype=gradient.dtype)  # only its shape is looked at
    kernel = [options["kernel_size"]] * 2
    stride, padding = [options.get("stride", kernel[0])] * 2, [options.get("padding", 0)] * 2
    backward = torch.ops.aten.avg_pool2d_backward
    return lambda: backward(gradient, x, kernel, stride, padding, False, True, None)


PEERS = (Contender("PyTorch", _torch, "torch"),)
