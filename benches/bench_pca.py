"""fastml.pca against NumPy's matrix product: components from new data. Whole algorithms by NumPy enter pairs alone."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.pca import PEERS


@cells("pca", *OWN, *PEERS)
def test_pca(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
