"""fastml.StandardScaler against scikit-learn's, and what scikit-learn-intelex has in its place."""

from benches.harness import cells, run
from fastml.learn.peers.standard_scaler import OWN, PEERS


@cells("StandardScaler", *OWN, *PEERS)
def test_standard_scaler(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
