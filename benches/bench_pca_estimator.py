"""fastml.PCA against the classes of scikit-learn and scikit-learn-intelex: fit, from new data."""

from sklearn import decomposition

from benches.harness import OWN, Contender, cells, run


def _sklearn(case, args, options):
    return case.call(decomposition.PCA, args, {**options, "random_state": 0})


def _intelex(case, args, options):
    from sklearnex.decomposition import PCA

    return case.call(PCA, args, {**options, "random_state": 0})


OWN = OWN[:1]  # the backends are compared by the function behind it
PEERS = (Contender("scikit-learn", _sklearn), Contender("scikit-learn-intelex", _intelex, "sklearnex"))


@cells("PCA", *OWN, *PEERS)
def test_pca_estimator(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
