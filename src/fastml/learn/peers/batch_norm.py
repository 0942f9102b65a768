"""fastml.batch_norm against NumPy and PyTorch, running statistics included.

Where fastml adds a residual and applies ReLU in the same call, PyTorch takes three; the last two work in place.
"""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    tensors = [torch.from_numpy(array) for array in args]
    normalize, training = torch.nn.functional.batch_norm, options.get("training", False)
    if not options.get("activation"):
        return lambda: normalize(*tensors, training=training)
    residual = torch.from_numpy(options["residual"])
    return lambda: normalize(*tensors, training=training).add_(residual).relu_()


PEERS = (Contender("PyTorch", _torch, "torch"),)
