"""fastml.conv2d against NumPy and PyTorch; weights are prepared in every call, by all of them."""

from fastml.learn.harness import Contender, forced


def torch_call(args, options, **memory_format):
    """PyTorch's function on tensors of the memory format; weights in the same one."""
    import torch

    x, weight, bias = (torch.from_numpy(array) for array in args)
    x, weight = x.contiguous(**memory_format), weight.contiguous(**memory_format)
    return lambda: torch.nn.functional.conv2d(x, weight, bias, **options)


def _torch(case, args, options):
    return torch_call(args, options)


def _channels_last(case, args, options):
    import torch

    return torch_call(args, options, memory_format=torch.channels_last)


PEERS = (
    Contender("PyTorch", _torch, "torch"),
    Contender("PyTorch channels_last", _channels_last, "torch", dtypes=("float32",)),
)
FORCED = forced("conv2d")
