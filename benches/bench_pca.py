"""fastml.pca and fastml.PCA against NumPy's matrix product and scikit-learn: fit, from new data."""

from sklearn import decomposition

import fastml
from benches.harness import Contender, cells, run


def _estimator(base):
    return lambda case, args, options: lambda: base(**options, random_state=0).fit(args[0])


PEERS = (
    Contender("fastml PCA", _estimator(fastml.PCA)),
    Contender("scikit-learn", _estimator(decomposition.PCA)),
)


@cells("pca", *PEERS)
def test_pca(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
