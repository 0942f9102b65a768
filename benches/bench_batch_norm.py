"""fastml.batch_norm against NumPy and PyTorch, running statistics included."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.batch_norm import PEERS


@cells("batch_norm", *OWN, *PEERS)
def test_batch_norm(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
