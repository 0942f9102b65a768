"""fastml.batch_norm against NumPy and PyTorch, running statistics included."""

from benches.harness import Contender, cells, run


def _torch(case, args, options):
    import torch

    tensors = [torch.from_numpy(array) for array in args]
    return lambda: torch.nn.functional.batch_norm(*tensors, **options)


PEERS = (Contender("PyTorch", _torch, "torch"),)


@cells("batch_norm", *PEERS)
def test_batch_norm(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
