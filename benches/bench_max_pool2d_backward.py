"""fastml.max_pool2d_backward against NumPy and the function behind PyTorch's autograd, so that no graph is timed."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.max_pool2d_backward import PEERS


@cells("max_pool2d_backward", *OWN, *PEERS)
def test_max_pool2d_backward(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
