"""fastml.PCA against the classes of scikit-learn and scikit-learn-intelex: fit, from new data, and transform."""

from benches.harness import cells, run
from fastml.learn.peers.pca_estimator import OWN, PEERS


@cells("PCA", *OWN, *PEERS)
def test_pca_estimator(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
