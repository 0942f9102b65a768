"""fastml's scatter matrix, that pca is made of, against the product by NumPy's BLAS of data centred beforehand.

Of a matrix and its own transpose NumPy asks BLAS for half of the product (`syrk`), and mirrors it. The mean, and to
subtract it, are what fastml does beside, in its time.
"""

import fastml
from fastml import _dispatch, _validate
from fastml._registry import RUNGS
from fastml.learn.harness import Contender


def _kernel(rung):
    """A rung alone, on as many threads as the others."""

    def prepare(case, args, options):
        problem, kernel, n_threads = _validate.scatter(*args), _dispatch.load(rung), fastml.get_num_threads()

        def call():
            kernel(*problem, n_threads)
            return len(problem.x), problem.mean, problem.scatter

        return call

    needs = "numba" if rung.backend == "numba" else ""
    return Contender(f"fastml {rung.backend} {rung.name}", prepare, needs, exact=not rung.fails)


def _product(case, args, options):
    (x,) = args
    mean = x.mean(axis=0, dtype="float64")
    deviation = (x - mean).astype(x.dtype)
    return lambda: (len(x), mean, deviation.T @ deviation)


PEERS = (Contender("product by NumPy", _product),)
FORCED = tuple(_kernel(rung) for rung in RUNGS if rung.op == "pca")
