"""fastml.max_pool2d against NumPy and PyTorch, which has another kernel for channels_last, a faster one."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.max_pool2d import PEERS


@cells("max_pool2d", *OWN, *PEERS)
def test_max_pool2d(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
