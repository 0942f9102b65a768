"""fastml.standardize against NumPy: statistics and output, from new data; or the output alone, statistics given."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.standardize import PEERS


@cells("standardize", *OWN, *PEERS)
def test_standardize(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
