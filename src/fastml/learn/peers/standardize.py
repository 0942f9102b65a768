"""fastml.standardize against NumPy: statistics and output, from new data; or the output alone, statistics given.

With statistics given, the expression that everybody writes is a contender of its own.
"""

from benches.harness import OWN, Contender, cells, run


def _expression(case, args, options):
    (x,), mean, std = args, options["mean"], options["std"]
    return lambda: (x - mean) / std


PEERS = (Contender("NumPy expression", _expression, takes=lambda case: "mean" in case.options),)


@cells("standardize", *OWN, *PEERS)
def test_standardize(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
