"""fastml's scatter matrix, that pca is made of, against the product by NumPy's BLAS of data centred beforehand."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.scatter import PEERS


@cells("scatter", *OWN, *PEERS)
def test_scatter(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
