"""What SECURITY.md promises: no compiled code from a cache, and pickles of plain values."""

import importlib
import io
import pickle
import pkgutil

import numba
import numpy as np
import pytest

import fastml
from fastml import _jit
from tests.test_dispatch import printed

# Numba looks for a function's compiled code below NUMBA_CACHE_DIR, under a name that anybody can work out, and
# unpickles what it finds. Here everybody may write there, and somebody has: what they left, unpickled, makes a folder.
PLANTED = """if True:
    import contextlib, importlib, os, pathlib, pickle, numba, numpy as np
    from numba.core.caching import FunctionCache
    class Planted:
        def __reduce__(self):
            return os.mkdir, (os.environ["MARK"],)
    def plant(function):
        cache = FunctionCache(function)
        os.makedirs(cache.cache_path, exist_ok=True)
        pathlib.Path(cache._cache_file._index_path).write_bytes(pickle.dumps(Planted()))
    module = importlib.import_module("fastml._jit.max_pool2d")
    dispatchers = [value for value in vars(module).values() if hasattr(value, "py_func")]
    kernels = [value for value in vars(module).values() if hasattr(value, "__wrapped__")]
    functions = {*(value.py_func for value in dispatchers), *(value.__wrapped__ for value in kernels)} - {None}
    assert len(functions) > 2
    for function in functions:
        plant(function)
    folder = pathlib.Path(os.environ["NUMBA_CACHE_DIR"])
    before = sorted(folder.rglob("*"))
    assert len(before) > len(functions), "nothing was planted"
    import fastml
    for n_threads in 1, 2:
        fastml.max_pool2d(np.ones((1, 1, 8, 8)), 2, n_threads=n_threads, backend="numba")
    print(os.path.exists(os.environ["MARK"]), sorted(folder.rglob("*")) == before)
    with contextlib.suppress(Exception):  # with a cache it is loaded: the plant is a good one
        numba.njit(cache=True)(next(iter(functions))).compile("void()")
    print(os.path.exists(os.environ["MARK"]))"""


def test_a_planted_cache_of_numba_is_not_loaded_and_none_is_written(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    lines = printed(PLANTED, NUMBA_CACHE_DIR=str(folder), MARK=str(tmp_path / "mark")).splitlines()
    assert lines == ["False True", "True"]


def dispatchers():
    """Everything in `_jit` that Numba compiles, with the twins of each kernel."""
    for found in pkgutil.iter_modules(_jit.__path__):
        module = importlib.import_module(f"fastml._jit.{found.name}")
        for name, value in vars(module).items():
            cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
            for inner in (value, *cells):
                if isinstance(inner, numba.core.dispatcher.Dispatcher):
                    yield f"{found.name}.{name}", inner


def test_no_kernel_of_numba_has_a_cache():
    found = list(dispatchers())
    assert len({name for name, _ in found}) < len(found), "a kernel has two twins"
    assert [name for name, one in found if not isinstance(one._cache, numba.core.caching.NullCache)] == []
    cached = numba.njit(cache=True)(lambda: 0)
    assert not isinstance(cached._cache, numba.core.caching.NullCache)


class Plain(pickle.Unpickler):
    """Builds arrays and the classes of fastml, and nothing else."""

    ARRAYS = ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer")

    def find_class(self, module, name):
        found = super().find_class(module, name)
        ours = module.startswith("fastml.") and isinstance(found, type) and found.__module__ == module
        arrays = module.partition(".")[0] == "numpy" and name in self.ARRAYS
        if not (ours or arrays):
            raise pickle.UnpicklingError(f"{module}.{name}")
        return found


X = np.random.default_rng(0).normal(size=(20, 4))
HOLDERS = {
    "Conv2d": lambda: fastml.Conv2d(np.ones((2, 3, 3, 3), np.float32), padding=1, input_size=8),
    "StandardScaler": lambda: fastml.StandardScaler().fit(X),
    "PCA": lambda: fastml.PCA(2, random_state=0).fit(X),
    "IncrementalPCA": lambda: fastml.IncrementalPCA(2).fit(X),
    "TruncatedSVD": lambda: fastml.TruncatedSVD(2).fit(X),
    "Moments": lambda: fastml.moments(X),
    "PCAResult": lambda: fastml.pca(X, 2),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_a_pickle_holds_arrays_and_plain_values(name):
    made = HOLDERS[name]()
    loaded = Plain(io.BytesIO(pickle.dumps(made))).load()
    assert type(loaded) is type(made) and type(made) is getattr(fastml, name)


def test_a_pickle_that_calls_something_is_refused_here():
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        Plain(io.BytesIO(pickle.dumps(print))).load()
