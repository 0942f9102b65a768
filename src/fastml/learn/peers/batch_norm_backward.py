"""fastml.batch_norm_backward against NumPy and the functions behind PyTorch's autograd, so that no graph is timed.

With a residual and ReLU these are two, the first of which is given the output that PyTorch keeps from the forward pass;
fastml finds out again where that is positive.
"""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    gradient, x, mean, variance, weight, bias = (torch.from_numpy(array) for array in args)
    eps, training = options.get("eps", 1e-5), options.get("training", False)
    mean, variance = mean.to(x.dtype), variance.to(x.dtype)
    statistics, wanted = (mean, variance, mean, torch.rsqrt(variance + eps)), [True, True, True]
    normalized, rectified = torch.ops.aten.native_batch_norm_backward, torch.ops.aten.threshold_backward
    if not options.get("activation"):
        return lambda: normalized(gradient, x, weight, *statistics, training, eps, wanted)
    y = torch.nn.functional.batch_norm(x, mean, variance, weight, bias, eps=eps) + torch.from_numpy(options["residual"])

    def both():
        of_residual = rectified(gradient, y, 0)
        return (*normalized(of_residual, x, weight, *statistics, training, eps, wanted), of_residual)

    return both


PEERS = (Contender("PyTorch", _torch, "torch"),)
