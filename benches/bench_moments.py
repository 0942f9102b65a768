"""fastml.moments against NumPy and what scikit-learn-intelex has for means and variances."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.moments import PEERS


@cells("moments", *OWN, *PEERS)
def test_moments(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
