"""fastml.PCA against the classes of scikit-learn and scikit-learn-intelex: fit, from new data, and transform.

With `svd_solver="auto"`; those of another one, "scikit-learn full" and so on, enter pairs alone.
"""

from dataclasses import replace

from sklearn import decomposition

from fastml.learn.harness import OWN, Contender

SLOW = ("fit random 2000x2000 to 20",)  # with scikit-learn's "full", beside what is not fit


def _sklearn(case, args, options):
    return case.call(decomposition.PCA, args, {**options, "random_state": 0})


def _intelex(case, args, options):
    from sklearnex.decomposition import PCA

    return case.call(PCA, args, {**options, "random_state": 0})


def _solver(contender, solver):
    """The same with another solver, for fits."""

    def prepare(case, args, options):
        return contender.prepare(case, args, {**options, "svd_solver": solver, "random_state": 0})

    return replace(
        contender, name=f"{contender.name} {solver}", prepare=prepare, takes=lambda case: case.method == "fit",
        exact=contender.exact and solver == "full",
    )  # fmt: skip


OWN = OWN[:1]  # the backends are compared by the function behind it
PEERS = (Contender("scikit-learn", _sklearn), Contender("scikit-learn-intelex", _intelex, "sklearnex"))
FORCED = tuple(_solver(contender, solver) for contender in (OWN[0], PEERS[0]) for solver in ("full", "randomized"))
