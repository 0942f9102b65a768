"""fastml.avg_pool2d against NumPy and PyTorch."""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    x = torch.from_numpy(args[0])
    return lambda: torch.nn.functional.avg_pool2d(x, **options)


PEERS = (Contender("PyTorch", _torch, "torch"),)
