"""fastml.avg_pool2d_backward against NumPy and the function behind PyTorch's autograd, so that no graph is timed."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.avg_pool2d_backward import PEERS


@cells("avg_pool2d_backward", *OWN, *PEERS)
def test_avg_pool2d_backward(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
