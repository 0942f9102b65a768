"""fastml.StandardScaler against scikit-learn's, and what scikit-learn-intelex has in its place.

In place, the same array is transformed again and again: its columns have a deviation of almost 1, so that numbers go
down by their mean with every call and stay ordinary ones. What is compared with float64 is the first call.

scikit-learn-intelex has no StandardScaler. Its BasicStatistics stand for `fit`, and the z-scores of daal4py, on which
it is built, for `fit_transform` (they divide by n - 1, which shows as an error). Nothing stands for `transform`.
"""

from sklearn import preprocessing

from fastml.learn.harness import OWN, Contender


def _sklearn(case, args, options):
    return case.call(preprocessing.StandardScaler, args, options)


def _intelex(case, args, options):
    import daal4py
    from sklearnex.basic_statistics import BasicStatistics

    (x,) = args
    if case.method == "fit":
        return lambda: BasicStatistics(["mean", "variance"]).fit(x)
    dtype = "float" if x.itemsize == 4 else "double"
    return lambda: daal4py.normalization_zscore(fptype=dtype, doScale=True).compute(x).normalizedData


OWN = OWN[:1]  # the backends are compared by the functions behind it
PEERS = (
    Contender("scikit-learn", _sklearn),
    Contender("scikit-learn-intelex", _intelex, "sklearnex", lambda case: case.method != "transform"),
)
