"""The checks that scikit-learn makes of its own estimators, and has others make of theirs."""

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.trust.figures import Figure

CLASSES = ("StandardScaler", "PCA", "IncrementalPCA", "TruncatedSVD")


def statuses(estimator: Any) -> Counter[str]:
    """How many checks passed, failed, were skipped as they need another library, or are expected to fail (xfail)."""
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Counter(check["status"] for check in check_estimator(estimator, on_fail=None, on_skip=None))


def checks(thorough: bool) -> Iterator[Figure]:
    """Row 30: a check counts as done if it passed or failed."""
    import sklearn.decomposition
    import sklearn.preprocessing

    import fastml

    for name in CLASSES:
        theirs = sklearn.preprocessing if name == "StandardScaler" else sklearn.decomposition
        found = {library: statuses(getattr(module, name)())
                 for library, module in (("fastml", fastml), ("scikit-learn", theirs))}  # fmt: skip
        done = {library: counts["passed"] + counts["failed"] for library, counts in found.items()}
        peers = {"scikit-learn": f"{found['scikit-learn']['failed']} of {done['scikit-learn']}"}
        what = (f"checks of scikit-learn's estimators that fail, {name}, of {done['fastml']} "
                f"({found['fastml'].total() - done['fastml']} more are skipped)")  # fmt: skip
        yield Figure(30, what, found["fastml"]["failed"] if done["fastml"] else float("nan"), "= 0", "", dict(peers))
