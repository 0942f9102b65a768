"""fastml.moments against NumPy and what scikit-learn-intelex has for means and variances."""

from fastml.learn.harness import Contender


def _intelex(case, args, options):
    from sklearnex.basic_statistics import BasicStatistics

    (x,) = args
    return lambda: BasicStatistics(["mean", "sum_squares_centered"]).fit(x)


PEERS = (Contender("scikit-learn-intelex", _intelex, "sklearnex"),)
