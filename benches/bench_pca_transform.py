"""fastml.pca_transform against what scikit-learn's PCA.transform computes: a product, and a row subtracted from it."""

from benches.harness import cells, run
from fastml.learn.harness import OWN
from fastml.learn.peers.pca_transform import PEERS


@cells("pca_transform", *OWN, *PEERS)
def test_pca_transform(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
