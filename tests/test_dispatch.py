"""Which kernel runs: backends and who names them, instruction sets, forced algorithms, and what explain() says."""

import importlib
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import fastml
from fastml import _cpu, _dispatch, _validate
from fastml._registry import BACKENDS, OPS, RUNGS
from tests.small_cases import SMALL

X = np.arange(32.0).reshape(1, 2, 4, 4)
CASES = {case.op: case for case in SMALL}  # one of each
OURS = ("FASTML_BACKEND", "FASTML_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def python(code, **environment):
    """Run code in a new interpreter, in an environment that says nothing of backends and threads but what is given."""
    clean = {key: value for key, value in os.environ.items() if key not in OURS}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, timeout=120)


def printed(code, **environment):
    done = python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def environment(monkeypatch, name):
    """FASTML_BACKEND as a new process would find it."""
    monkeypatch.setenv("FASTML_BACKEND", name)
    _dispatch._environment.cache_clear()


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    environment(monkeypatch, "")
    fastml.set_backend(None)
    importlib.import_module("fastml.ops.conv2d")._plans.clear()
    yield
    fastml.set_backend(None)
    fastml.set_num_threads(None)
    monkeypatch.undo()
    _dispatch._environment.cache_clear()


def chosen(**options):
    """The backend that a call would use."""
    return fastml.explain("max_pool2d", X, 2, **options).split()[1].rstrip(",")


def test_cython_is_the_default():
    assert chosen() == "cython"


def test_the_argument_beats_the_context_beats_the_setting_beats_the_environment(monkeypatch):
    environment(monkeypatch, "numba")
    assert chosen() == "numba"
    fastml.set_backend("cython")
    assert chosen() == "cython"
    with fastml.backend("numpy"):
        assert chosen() == "numpy"
        assert chosen(backend="numba") == "numba"
        with fastml.backend("numba"):
            assert chosen() == "numba"
        assert chosen() == "numpy"
    assert chosen() == "cython"
    fastml.set_backend(None)
    assert chosen() == "numba"


def test_the_context_ends_with_an_exception():
    with pytest.raises(KeyError), fastml.backend("numpy"):
        raise KeyError
    assert chosen() == "cython"


def test_the_context_is_of_one_thread():
    seen = []
    with fastml.backend("numpy"):
        other = threading.Thread(target=lambda: seen.append(chosen()))
        other.start()
        other.join()
    assert seen == ["cython"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_environment_names_a_backend(backend):
    assert printed("import fastml; print(fastml.configuration()['backend'])", FASTML_BACKEND=backend) == backend


@pytest.mark.parametrize("name", ("torch", "Cython", ""))
def test_unknown_backends_are_refused(name, monkeypatch):
    message = "must be one of cython, numba, numpy"
    with pytest.raises(ValueError, match=f"^backend {message}"):
        fastml.max_pool2d(X, 2, backend=name)
    with pytest.raises(ValueError, match=f"^backend {message}"):
        fastml.set_backend(name)
    with pytest.raises(ValueError, match=f"^backend {message}"), fastml.backend(name):
        pass
    environment(monkeypatch, "torch")
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^FASTML_BACKEND {message}; got 'torch'"):
            fastml.max_pool2d(X, 2)


def test_the_environment_is_read_once(monkeypatch):
    assert chosen() == "cython"
    monkeypatch.setenv("FASTML_BACKEND", "numba")
    assert chosen() == "cython"
    _dispatch._environment.cache_clear()
    assert chosen() == "numba"


@pytest.mark.parametrize("name", (1, b"numpy", ["numpy"], np, np.array(["numpy", "numba"])))
def test_backends_of_another_type_are_refused(name):
    for refuse in (fastml.set_backend, lambda name: fastml.max_pool2d(X, 2, backend=name)):
        with pytest.raises(TypeError, match="backend must be a string, got "):
            refuse(name)


def test_a_refused_backend_changes_nothing():
    fastml.set_backend("numpy")
    with pytest.raises(ValueError):
        fastml.set_backend("torch")
    assert chosen() == "numpy"


def test_baseline_kernels_can_be_forced():
    code = """if True:
        import sys, numpy as np, fastml
        fastml.max_pool2d(np.ones((1, 1, 4, 4)), 2)
        print(fastml.configuration()["isa"], *(name for name in sys.modules if name.startswith("fastml._core.")))"""
    isa, *modules = printed(code, FASTML_ISA="baseline").split()
    assert isa == "baseline"
    assert "fastml._core.baseline.max_pool2d" in modules
    assert not [name for name in modules if ".v3." in name]


def test_the_best_instruction_set_is_the_default():
    assert printed("import fastml; print(fastml.configuration()['isa'])", FASTML_ISA="") == _cpu._usable()[-1]


@pytest.mark.parametrize("isa", ("nonsense", "v4", "../v3"))
def test_unknown_instruction_sets_are_refused(isa):
    done = python("import numpy as np, fastml; fastml.max_pool2d(np.ones((1, 1, 4, 4)), 2)", FASTML_ISA=isa)
    assert f"ValueError: FASTML_ISA is {isa!r}" in done.stderr


def test_without_numba_its_backend_says_how_to_get_it():
    code = """if True:
        import sys
        sys.modules["numba"] = None
        import numpy as np, fastml
        x = np.ones((1, 1, 4, 4))
        print(fastml.max_pool2d(x, 2).sum())
        fastml.max_pool2d(x, 2, backend="numba")"""
    done = python(code)
    assert done.stdout == "4.0\n"
    assert "ModuleNotFoundError: backend 'numba' needs Numba: pip install 'fastml-kernels[numba]'" in done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", OPS)
def test_explain_names_the_rung_and_does_not_run_it(op, backend, monkeypatch):
    args, options = CASES[op].arguments(np.float32)
    rung = _dispatch.choose(op, CASES[op].problem(np.float32), backend)
    monkeypatch.setattr(_dispatch, "load", lambda rung: pytest.fail("explain() loads a kernel"))
    text = fastml.explain(op, *args, backend=backend, n_threads=3, **options)
    assert f"{op}: {backend}, rung {rung.name!r} ({_dispatch.location(rung)})" in text
    assert rung.idea in text
    assert "float32" in text
    assert "threads: 3" in text


def test_explain_takes_every_argument_of_the_call_and_leaves_out_alone():
    out = np.full((1, 2, 2, 2), -77.0)
    assert "indices int64 (2, 2, 2)" in fastml.explain("max_pool2d", X, 2, return_indices=True, out=out)
    assert (out == -77).all()


def test_explain_refuses_what_the_call_refuses():
    with pytest.raises(ValueError, match="op must be one of moments, "):
        fastml.explain("softmax", X)
    with pytest.raises(ValueError, match="kernel_size"):
        fastml.explain("max_pool2d", X, 0)
    with pytest.raises(ValueError, match="backend must be one of"):
        fastml.explain("max_pool2d", X, 2, backend="torch")


def test_explain_says_why():
    depthwise = fastml.explain("conv2d", X, np.ones((2, 1, 3, 3)), groups=2, backend="cython")
    assert "rung 'depthwise'" in depthwise
    assert "one output a group" in depthwise
    forced = fastml.explain("conv2d", X, np.ones((2, 1, 3, 3)), groups=2, backend="cython", algorithm="im2col")
    assert "rung 'im2col'" in forced
    assert "forced by algorithm='im2col'" in forced


@pytest.mark.parametrize("rung", _dispatch.rungs("conv2d"), ids=lambda rung: f"{rung.backend}-{rung.name}")
def test_an_algorithm_can_be_forced(rung, monkeypatch):
    loaded, load = [], _dispatch.load
    monkeypatch.setattr(_dispatch, "load", lambda rung: loaded.append(rung) or load(rung))
    if not _dispatch.serves(rung, _validate.conv2d(X, np.ones((2, 2, 3, 3)))[0]):
        with pytest.raises(ValueError, match=f"algorithm {rung.name!r} needs {rung.needs}, which"):
            fastml.conv2d(X, np.ones((2, 2, 3, 3)), backend=rung.backend, algorithm=rung.name)
        return
    result = fastml.conv2d(X, np.ones((2, 2, 3, 3)), backend=rung.backend, algorithm=rung.name)
    assert loaded == [rung]
    winograd = rung.name.startswith("winograd")  # whose transforms hold thirds: exact integers do not stay so
    sums = np.broadcast_to([[234, 252], [306, 324]], (1, 2, 2, 2))
    np.testing.assert_allclose(result, sums, rtol=1e-12 if winograd else 0, atol=0)


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match=r"algorithm must be 'auto' or one of loops, rows, im2col, .*; got 'fft'"):
        fastml.conv2d(X, np.ones((2, 2, 3, 3)), algorithm="fft", backend="cython")
    with pytest.raises(ValueError, match=r"algorithm must be 'auto' or one of loops, im2col, winograd_.*; got 'rows'"):
        fastml.conv2d(X, np.ones((2, 2, 3, 3)), algorithm="rows", backend="numpy")
    with pytest.raises(TypeError, match="algorithm must be a string"):
        fastml.conv2d(X, np.ones((2, 2, 3, 3)), algorithm=1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [case for case in SMALL if case.op == "conv2d"], ids=lambda case: case.name)
def test_the_choice_depends_on_one_image_alone(case, backend, monkeypatch):
    one = _dispatch.choose("conv2d", case.problem(np.float32), backend)
    options = {key: value for key, value in case.options.items() if key != "residual"}
    many = replace(case, make=lambda: np.concatenate([case.make()] * 7), options=options)
    for n_threads in (1, 7, None):
        fastml.set_num_threads(n_threads)
        assert _dispatch.choose("conv2d", many.problem(np.float32), backend) == one


CHOICES = (  # image, weights, options, chosen for conv2d and where weights are prepared
    ((3, 224, 224), (64, 3, 7, 7), {"stride": 2, "padding": 3}, "first", "first"),
    ((3, 224, 224), (64, 3, 3, 3), {"padding": 1}, "first", "first"),
    ((64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "winograd", "winograd"),
    ((256, 14, 14), (256, 256, 3, 3), {"padding": 1}, "winograd", "winograd"),
    ((512, 7, 7), (512, 512, 3, 3), {"padding": 1}, "winograd_2x2", "winograd_2x2"),
    ((512, 4, 4), (512, 512, 3, 3), {"padding": 1}, "dots", "dots"),
    ((512, 5, 4), (512, 512, 3, 3), {"padding": 1}, "direct", "direct"),
    ((512, 2, 2), (1000, 512, 1, 1), {}, "dots", "dots"),
    ((512, 2, 3), (1000, 512, 1, 1), {}, "gemm", "gemm"),
    ((64, 2, 2), (15, 64, 3, 3), {"padding": 1}, "direct", "direct"),
    ((512, 7, 7), (1000, 512, 7, 7), {}, "dots", "dots"),  # a fully connected layer
    ((9, 7, 7), (9, 1, 7, 7), {"groups": 9}, "dots", "dots"),  # a weighted mean of a map
    ((2000, 14, 14), (256, 2000, 3, 3), {"padding": 1}, "direct", "direct"),  # more than 1024 channels
    ((8, 8, 8), (8, 8, 3, 3), {"padding": 1}, "direct", "direct"),
    ((12, 5, 5), (4, 12, 3, 3), {}, "direct", "direct"),
    ((12, 5, 5), (3, 12, 3, 3), {}, "direct", "direct"),
    ((12, 5, 5), (1, 12, 3, 3), {}, "direct", "direct"),
    ((11, 5, 5), (1, 11, 3, 3), {}, "depthwise", "depthwise"),
    ((12, 5, 5), (12, 4, 3, 3), {"groups": 3}, "direct", "direct"),
    ((12, 5, 5), (36, 1, 3, 3), {"groups": 12}, "depthwise", "depthwise"),
    ((12, 5, 5), (48, 1, 3, 3), {"groups": 12}, "direct", "direct"),
    ((256, 56, 56), (64, 256, 1, 1), {}, "gemm", "gemm"),
    ((256, 56, 56), (64, 256, 1, 1), {"stride": 2}, "direct", "direct"),
    ((256, 56, 56), (64, 256, 1, 1), {"padding": 1}, "direct", "direct"),
    ((128, 56, 56), (128, 128, 3, 3), {"stride": 2, "padding": 1}, "direct", "direct"),
    ((1, 28, 28), (32, 1, 5, 5), {}, "first", "first"),
    ((64, 120, 120), (64, 64, 3, 3), {"dilation": 50}, "im2col", "im2col"),  # 101 rows copied for 3 that are used
    ((512, 16, 16), (64, 512, 5, 5), {"padding": 6, "dilation": 3}, "im2col", "im2col"),  # rows of 16, gaps of 12
    ((2048, 40, 40), (8, 2048, 31, 31), {"padding": 15}, "im2col", "im2col"),  # 24 windows do not fit
)


@pytest.mark.parametrize(("image", "weight", "options", "name", "prepared"), CHOICES)
def test_the_algorithm_for_an_image(image, weight, options, name, prepared):
    problem, _ = _validate.conv2d(np.empty(image, np.float32), np.empty(weight, np.float32), **options)
    assert _dispatch.choose("conv2d", problem, "cython").name == name
    assert _dispatch.choose("conv2d", problem._replace(prepared=np.empty(1)), "cython").name == prepared


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.op} {case.name}")
def test_the_kernel_that_is_kept_is_the_one_chosen(case):
    for backend in BACKENDS:
        problem = case.problem(np.float32)
        expected = _dispatch.load(_dispatch.choose(case.op, problem, backend))
        for _ in range(2):
            assert _dispatch.kernel(case.op, problem, backend) is expected
        with fastml.backend(backend):
            assert _dispatch.kernel(case.op, problem) is expected


def test_kernels_of_this_instruction_set_are_loaded():
    for rung in RUNGS:
        module = _dispatch.load(rung).__module__
        assert module == _dispatch.location(rung).partition(":")[0]
        if rung.backend == "cython":
            assert module.startswith(f"fastml._core.{_cpu.isa()}.")


def test_configuration_and_what_is_printed_of_it(capsys):
    configuration = fastml.configuration()
    keys = ["fastml", "processor", "isa", "openmp", "threads", "backend", "backends", "versions"]
    assert list(configuration) == keys
    assert configuration["backend"] == "cython"
    assert configuration["isa"] in _cpu.LEVELS
    assert set(configuration["versions"]) >= {"python", "numpy", "scipy", "scikit-learn", "numba"}
    fastml.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == keys
    assert np.__version__ in lines[-1]


def test_explain_says_when_pca_needs_no_kernel():
    assert "no kernel" in fastml.explain("pca", np.ones((3, 5)))
    assert "_core" in fastml.explain("pca", np.ones((5, 3)), backend="cython")
