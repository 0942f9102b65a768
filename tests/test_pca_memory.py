"""What PCA takes to work in: blocks and small square matrices, and never a centred copy."""

import sys
import tracemalloc

import numpy as np
import pytest

import fastml
from fastml import PCA
from tests.test_dispatch import printed

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
BLOCKS = 3 * 2**20  # what does not grow with the data: packed rows, sums of chunks


def most_memory(action):
    """Bytes of arrays at the highest, beside those that were there before: NumPy's, and the work space of LAPACK."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = action()
        return tracemalloc.get_traced_memory()[1] - before, result
    finally:
        tracemalloc.stop()


def tall(rows, columns, dtype, lowest):
    """Columns whose scale falls from 1 to `lowest`, far from zero."""
    X = np.random.default_rng(0).standard_normal((rows, columns), dtype)
    X *= np.geomspace(1, lowest, columns).astype(dtype)
    X += 3
    return X


@DTYPES
@pytest.mark.parametrize("k", [10, None])
@pytest.mark.parametrize("solver, lowest, used", [
    ("auto", 0.5, "covariance_eigh"), ("covariance_eigh", 0.5, "covariance_eigh"), ("full", 1, "full"),
    ("randomized", 0.5, "covariance_eigh"), ("arpack", 0.5, "arpack"),
    ("auto", 1e-3, "covariance_eigh"),  # float32 is computed again, in float64
    ("auto", 1e-8, "full"), ("full", 1e-8, "full"),  # by QR
])  # fmt: skip
def test_a_fit_takes_less_than_a_quarter_of_the_data(dtype, k, solver, lowest, used):
    if solver == "arpack" and k is None:
        k = 30
    X = tall(60_000, 100, dtype, lowest)
    if dtype is np.float32 and lowest == 1e-8:
        X -= 3  # or its digits were lost
        X[:, 60:] *= 1e-3
    PCA(k, svd_solver=solver).fit(X[:300])  # what is loaded and kept
    most, model = most_memory(lambda: PCA(k, svd_solver=solver, random_state=0).fit(X))
    assert most < X.nbytes / 4
    assert model.svd_solver_ == used or (k == 10 and lowest < 1)  # the first ones may be all right
    given = X.copy()
    most, _ = most_memory(lambda: PCA(k, svd_solver=solver, random_state=0).fit_transform(X))
    assert most < X.nbytes / 4 + len(X) * (k or 100) * X.itemsize
    np.testing.assert_array_equal(X, given)


@DTYPES
@pytest.mark.parametrize("solver", ["auto", "covariance_eigh", "full", "randomized", "arpack"])
def test_ten_times_as_many_rows_as_columns(dtype, solver):
    """The scatter matrix is then a tenth of the data in float64, and as it is float64 always, a fifth in float32."""
    X = tall(10_400, 1040, dtype, 0.5)
    PCA(2, svd_solver=solver).fit(X[:, :50])
    most, _ = most_memory(lambda: PCA(10, svd_solver=solver, random_state=0).fit(X))
    in_float64 = solver == "full" and dtype is np.float32  # and so are the blocks, which do not grow with the data
    assert most < X.nbytes / 4 + in_float64 * BLOCKS


@DTYPES
@pytest.mark.parametrize("solver", ["auto", "full", "arpack"])
@pytest.mark.parametrize("lowest", [0.5, 1e-9])
def test_wide_data_are_not_copied_either(dtype, solver, lowest):
    X = tall(100, 60_000, dtype, 1)
    X *= np.geomspace(1, lowest, 100).astype(dtype)[:, np.newaxis]
    fastml.pca(X[:, :300], 5, solver=solver)
    most, _ = most_memory(lambda: fastml.pca(X, 5, solver=solver))
    vectors = 5 * 60_000 * 8 * 5  # components: float64, their QR decomposition, signs, the dtype
    assert most < X.nbytes / 4 + vectors


@DTYPES
def test_other_layouts_are_copied_once(dtype):
    X = tall(60_000, 100, dtype, 0.5)
    for given in (np.asfortranarray(X), np.repeat(X[:30_000], 2, axis=0)[::2], X[:, ::2]):
        for transform in (False, True):
            action = PCA(10).fit_transform if transform else PCA(10).fit
            most, _ = most_memory(lambda: action(given))  # noqa: B023
            assert given.nbytes <= most < 1.25 * given.nbytes + transform * len(X) * 10 * X.itemsize


PEAK = """if True:
    import numpy as np
    from fastml import PCA
    def status(name):
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
    for dtype, offset, lowest in ((np.float32, 0, 1e-12), (np.float64, 3, 1e-8)):
        X = np.random.default_rng(0).standard_normal((300_000, 60), dtype)
        X *= np.geomspace(1, lowest, 60).astype(dtype)
        X += dtype(offset)
        for solver in ("covariance_eigh", "auto", "full", "arpack"):
            PCA(30, svd_solver=solver).fit(X[:1000])
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the highest so far is forgotten
            before = status("VmRSS")
            PCA(None if solver != "arpack" else 5, svd_solver=solver, random_state=0).fit(X)
            most = status("VmHWM") - before
            if most > X.nbytes / 4:
                print(dtype.__name__, solver, most / X.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/clear_refs")
def test_the_process_does_not_grow_by_more_either():
    """NumPy does not tell of what its own LAPACK allocates."""
    assert printed(PEAK) == ""
