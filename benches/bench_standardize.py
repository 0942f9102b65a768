"""fastml.standardize and fastml.StandardScaler against NumPy and scikit-learn: statistics and output, from new data."""

from sklearn import preprocessing

import fastml
from benches.harness import Contender, cells, run


def _estimator(base):
    return lambda case, args, options: lambda: base().fit_transform(args[0])


PEERS = (
    Contender("fastml StandardScaler", _estimator(fastml.StandardScaler)),
    Contender("scikit-learn", _estimator(preprocessing.StandardScaler)),
)


@cells("standardize", *PEERS)
def test_standardize(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
