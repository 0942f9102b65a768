"""fastml.conv2d against NumPy and PyTorch; weights are prepared in every call, by all of them."""

from benches.harness import OWN, Contender, cells, run


def _torch(case, args, options):
    import torch

    x, weight, bias = (torch.from_numpy(array) for array in args)
    return lambda: torch.nn.functional.conv2d(x, weight, bias, **options)


PEERS = (Contender("PyTorch", _torch, "torch"),)


@cells("conv2d", *OWN, *PEERS)
def test_conv2d(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
