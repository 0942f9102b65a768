"""fastml.batch_norm_backward against NumPy and the functions behind PyTorch's autograd, so that no graph is timed."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.batch_norm_backward import PEERS


@cells("batch_norm_backward", *OWN, *PEERS)
def test_batch_norm_backward(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
