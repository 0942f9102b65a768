"""fastml.avg_pool2d against NumPy and PyTorch."""

from benches.harness import OWN, Contender, cells, run


def _torch(case, args, options):
    import torch

    x = torch.from_numpy(args[0])
    return lambda: torch.nn.functional.avg_pool2d(x, **options)


PEERS = (Contender("PyTorch", _torch, "torch"),)


@cells("avg_pool2d", *OWN, *PEERS)
def test_avg_pool2d(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
