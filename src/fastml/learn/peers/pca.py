"""fastml.pca against NumPy's matrix product: components from new data. Whole algorithms by NumPy enter pairs alone."""

from benches.harness import OWN, Contender, cells, run
from fastml.learn.ladders import pca


def _step(function):
    def prepare(case, args, options):
        return lambda: function(*args, options["n_components"])[0]

    return Contender(f"step {function.__name__}", prepare)


PEERS = ()
FORCED = tuple(_step(function) for function in pca.STEPS)


@cells("pca", *OWN, *PEERS)
def test_pca(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
