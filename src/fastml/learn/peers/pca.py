"""fastml.pca against NumPy's matrix product: components from new data. Whole algorithms by NumPy enter pairs alone."""

from fastml.learn.harness import Contender
from fastml.learn.ladders import pca


def _step(function):
    def prepare(case, args, options):
        return lambda: function(*args, options["n_components"])[0]

    return Contender(f"step {function.__name__}", prepare)


PEERS = ()
FORCED = tuple(_step(function) for function in pca.STEPS)
