"""fastml.conv2d_backward against NumPy and the function behind PyTorch's autograd, so that no graph is timed."""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    gradient, x, weight = (torch.from_numpy(array) for array in args)
    stride, padding = [options.get("stride", 1)] * 2, [options.get("padding", 0)] * 2
    wanted = [options.get(f"needs_grad_{name}", True) for name in ("x", "weight", "bias")]
    sizes, groups = [weight.shape[0]], options.get("groups", 1)
    backward = torch.ops.aten.convolution_backward
    return lambda: backward(gradient, x, weight, sizes, stride, padding, [1, 1], False, [0, 0], groups, wanted)


PEERS = (Contender("PyTorch", _torch, "torch"),)
