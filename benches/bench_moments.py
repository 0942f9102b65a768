"""fastml.moments against NumPy."""

from benches.harness import cells, run


@cells("moments")
def test_moments(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
