"""fastml.max_pool2d against NumPy and PyTorch, which has another kernel for channels_last, a faster one."""

from fastml.learn.harness import Contender


def _torch(case, args, options):
    import torch

    x = torch.from_numpy(args[0])
    return lambda: torch.nn.functional.max_pool2d(x, **options)


def _torch_channels_last(case, args, options):
    import torch

    x = torch.from_numpy(args[0]).contiguous(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.max_pool2d(x, **options)


PEERS = (
    Contender("PyTorch", _torch, "torch"),
    Contender(
        "PyTorch channels_last", _torch_channels_last, "torch", lambda case: not case.options.get("return_indices")
    ),
)
