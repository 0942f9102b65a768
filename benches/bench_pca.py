"""fastml.pca against NumPy's matrix product: components from new data."""

from benches.harness import OWN, cells, run

PEERS = ()


@cells("pca", *OWN, *PEERS)
def test_pca(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
