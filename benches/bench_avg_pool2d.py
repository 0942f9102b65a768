"""fastml.avg_pool2d against NumPy and PyTorch."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.avg_pool2d import PEERS


@cells("avg_pool2d", *OWN, *PEERS)
def test_avg_pool2d(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
