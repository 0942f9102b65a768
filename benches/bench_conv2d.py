"""fastml.conv2d against NumPy and PyTorch; weights are prepared in every call, by all of them."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.conv2d import PEERS


@cells("conv2d", *OWN, *PEERS)
def test_conv2d(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
