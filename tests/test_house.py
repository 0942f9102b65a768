"""The design, kept: which layer imports which, names, signatures, budgets, and what `import fastml` may not do."""

import ast
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

import fastml
from fastml import _dispatch
from fastml._registry import OPS, RUNGS
from fastml._validate import convolutions, gradients, images, matrices, pooling
from tests.test_dispatch import printed

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fastml"
PYTHON = sorted(SOURCE.rglob("*.py"))
CYTHON = sorted([*SOURCE.rglob("*.pyx"), *SOURCE.rglob("*.pxd")])
CODE = {".py", ".pyi", ".pyx", ".pxd", ".h"}
PROBLEMS = {
    "moments": matrices.Moments,
    "standardize": matrices.Standardize,
    "pca": matrices.Pca,
    "pca_transform": matrices.PcaTransform,
    "conv2d": convolutions.Conv2d,
    "max_pool2d": pooling.MaxPool2d,
    "avg_pool2d": pooling.AvgPool2d,
    "batch_norm": images.BatchNorm,
    "max_pool2d_backward": pooling.MaxPool2dBackward,
    "avg_pool2d_backward": pooling.AvgPool2dBackward,
    "batch_norm_backward": images.BatchNormBackward,
    "conv2d_backward": gradients.Conv2dBackward,
}
# What each layer may import of fastml, and of what is neither NumPy nor the standard library. First match counts.
ARROWS = (
    ("ops/explain.py", "ops _validate _dispatch _threads _linalg _registry _cpu _core.baseline._system", ""),
    ("ops/", "ops _validate _dispatch _threads _linalg _registry", ""),
    ("estimators/", "estimators ops _validate _dispatch _threads _linalg", "scipy.sparse sklearn rich tqdm"),
    ("layers/", "layers _validate _dispatch _threads", ""),
    ("learn/roofline.py", "learn _validate _threads _cpu", ""),
    ("learn/ladders/dispatch.py", "_cpu get_num_threads standardize", ""),
    ("learn/ladders/", "", "numba"),
    (
        "learn/",
        "",
        "fastml numba cython sklearn threadpoolctl platformdirs rich typer matplotlib torch onnx onnxruntime sklearnex "
        "daal4py",
    ),
    ("__main__.py", "", ""),
    ("_validate/", "_validate", ""),
    ("_dispatch.py", "_needs _registry _cpu", ""),
    ("_needs.py", "", ""),
    ("_threads.py", "_core.baseline._system _core.baseline._copy", ""),
    ("_cpu.py", "_core.baseline._system", ""),
    ("_registry.py", "", ""),
    ("_linalg.py", "", "scipy threadpoolctl"),
    ("_ref/", "", ""),
    ("_jit/", "_jit._flags", "numba"),
    ("_core/", "_core", "libc cython"),
    ("__init__.py", "", ""),
)


def name(path):
    return str(path.relative_to(SOURCE))


def imported(path):
    """Full names of what a file imports."""
    if path.suffix != ".py":
        pattern = r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(.+)|c?import\s+([\w.]+))"
        for module, names, whole in re.findall(pattern, path.read_text(), re.MULTILINE):
            yield from [f"{module}.{part.split()[0]}" for part in names.split(",")] if module else [whole]
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module, accepted):
    return any(f"{module}.".startswith(f"{prefix}.") for prefix in accepted)


@pytest.mark.parametrize("path", PYTHON + CYTHON, ids=name)
def test_layers_call_only_those_below(path):
    _, own, foreign = next(rule for rule in ARROWS if name(path).startswith(rule[0]))
    accepted = [*(f"fastml.{layer}" for layer in own.split()), *foreign.split(), "numpy", *sys.stdlib_module_names]
    assert [module for module in imported(path) if not within(module, accepted)] == []


LAYERS = (("_ref", ".py"), ("_jit", ".py"), ("_core", ".pyx"))


def stems(folder, suffix):
    return sorted(path.stem for path in (SOURCE / folder).glob(f"*{suffix}") if not path.stem.startswith("_"))


def operation(stem):
    """What a file is about: it is named after an operation, or after one and an algorithm: `conv2d_winograd`."""
    return max((op for op in OPS if f"{stem}_".startswith(f"{op}_")), key=len, default=None)


def test_the_operation_of_a_file_is_the_longest_that_its_name_begins_with():
    stems = ("conv2d", "conv2d_winograd", "batch_norm_backward", "batch_norm_fused", "conv2dwinograd", "winograd")
    assert [*map(operation, stems)] == ["conv2d", "conv2d", "batch_norm_backward", "batch_norm", None, None]


def test_every_operation_is_a_file_in_every_layer():
    for folder, suffix in LAYERS:
        assert set(OPS) <= set(stems(folder, suffix))
    for op in OPS:
        assert (SOURCE / "ops" / f"{op}.py").exists()
        assert (ROOT / "tests" / f"test_{op}.py").exists()


@pytest.mark.parametrize(
    ("folder", "stem"), [(folder, stem) for folder, suffix in LAYERS for stem in stems(folder, suffix)]
)
def test_every_file_of_kernels_holds_a_rung_of_its_operation(folder, stem):
    modules = {(rung.op, rung.kernel.partition(":")[0]) for rung in RUNGS}
    assert (operation(stem), f"fastml.{folder}.{stem}") in modules


def kernels(module):
    """Functions of a module that take n_threads last."""
    for key, value in vars(module).items():
        public = not key.startswith("_") and getattr(value, "__module__", "") == module.__name__
        if public and callable(value) and list(inspect.signature(value).parameters)[-1:] == ["n_threads"]:
            yield f"{module.__name__}:{key}"


def test_the_table_lists_every_kernel_and_no_other():
    in_table = {_dispatch.location(rung) for rung in RUNGS}
    in_table |= {_dispatch.here(rung.prepares) for rung in RUNGS if rung.prepares}
    modules = {location.partition(":")[0] for location in in_table}
    assert {kernel for module in modules for kernel in kernels(importlib.import_module(module))} == in_table


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: f"{rung.op}-{rung.backend}-{rung.name}")
def test_a_rung_has_the_name_of_its_kernel_and_takes_the_problem(rung):
    module, _, function = rung.kernel.partition(":")
    assert operation(module.rpartition(".")[2]) == rung.op
    assert function == rung.name
    parameters = inspect.signature(_dispatch.load(rung)).parameters
    assert tuple(parameters) == (*PROBLEMS[rung.op]._fields, "n_threads")


def test_weights_are_prepared_beside_the_kernel_that_wants_them():
    for rung in (rung for rung in RUNGS if rung.prepares):
        prepares, kernel = (place.partition(":")[0].rpartition(".")[0] for place in (rung.prepares, rung.kernel))
        assert prepares == kernel
        assert list(inspect.signature(_dispatch.preparation(rung)).parameters) == ["weight", "groups", "n_threads"]


def functions(path):
    """(name, lines) of every function of a file. Docstrings of Python, which are the manual, do not count."""
    text = path.read_text()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                manual = (ast.get_docstring(node, clean=False) or "").count("\n")
                yield node.name, node.end_lineno - node.lineno + 1 - manual
        return
    for block in re.split(r"^(?=[^\s)#])", text, flags=re.MULTILINE):
        if re.match(r"(c|cp)?def [^=:]*\(", block):
            yield block.partition("(")[0], len(block.strip().splitlines())


def test_functions_are_at_most_60_lines():
    found = [(name(path), *function) for path in PYTHON + CYTHON for function in functions(path)]
    assert ("_core/conv2d_im2col.pyx", "def im2col") in [function[:2] for function in found]
    assert [function for function in found if function[-1] > 60] == []


def test_files_are_at_most_350_lines():
    files = [path for folder in ("src", "tests", "benches") for path in (ROOT / folder).rglob("*.*")]
    lengths = {path.name: path.read_text().count("\n") for path in files if path.suffix in CODE}
    assert {path: lines for path, lines in lengths.items() if lines > 350} == {}
    assert (ROOT / "setup.py").read_text().count("\n") <= 80


def test_nothing_is_checked_by_an_assert():
    """Which `python -O` leaves out. `learn` asserts what its own code has made sure of."""
    shipped = [path for path in PYTHON + CYTHON if not name(path).startswith("learn/")]
    assert [name(path) for path in shipped if re.search(r"^\s*assert\b", path.read_text(), re.MULTILINE)] == []


IMPORT = """if True:
    import os, sys, threading, numpy as np
    def state():
        tasks = os.listdir("/proc/self/task") if os.path.exists("/proc/self/task") else []
        return dict(os.environ), np.geterr(), np.get_printoptions(), threading.active_count(), len(tasks)
    before = state()
    import fastml
    fastml.explain, fastml.set_backend, fastml.get_num_threads
    assert state() == before, "import fastml changes the process"
    x = np.ones((1, 2, 5, 5))
    fastml.conv2d(x, np.ones((3, 2, 3, 3)))
    fastml.conv2d(x, np.ones((3, 2, 3, 3)), backend="numpy")
    fastml.Conv2d(np.ones((3, 2, 3, 3)), input_size=5)(x)
    assert state() == before, "a small convolution changes the process"
    print(*sorted({module.partition(".")[0] for module in sys.modules} & {"numba", "scipy", "sklearn", "pandas"}))"""


def test_import_changes_nothing_and_loads_nothing_heavy():
    assert printed(IMPORT) == ""


def test_public_names_are_those_of_the_stub_and_resolve():
    stub = ast.parse((SOURCE / "__init__.pyi").read_text())
    names = [alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(names) == fastml.__all__ == sorted(set(fastml.__all__))
    assert set(names) <= set(dir(fastml))
    for key in names:
        assert getattr(fastml, key).__name__ == key
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        fastml.nonsense  # noqa: B018


def test_stub_and_lazy_names_come_from_the_same_modules():
    stub = ast.parse((SOURCE / "__init__.pyi").read_text())
    homes = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert homes == {key: f"fastml.{home}" for key, home in fastml._HOMES.items()}


def test_nothing_is_compiled_with_fast_math():
    flags = importlib.import_module("fastml._jit._flags")
    assert {"reassoc", "contract", "nsz", "arcp"} == flags.FAST
    assert "-ffast-math" not in re.sub(r"#.*", "", (ROOT / "setup.py").read_text())
    for path in (SOURCE / "_jit").glob("*.py"):
        if path.name != "_flags.py":
            assert not re.search(r"\b(n?jit|fastmath|vectorize|guvectorize)\b", path.read_text()), path.name


@pytest.mark.parametrize("op", OPS)
def test_operations_take_and_document_their_arguments(op):
    function = getattr(fastml, op)
    parameters = inspect.signature(function).parameters
    assert list(parameters)[-2:] == ["n_threads", "backend"]
    assert all(parameters[key].default is None for key in ("n_threads", "backend"))
    undocumented = [key for key in parameters if not re.search(rf"\b{key}\b", function.__doc__)]
    assert undocumented == []
    assert re.search(r"^ +Raises ", function.__doc__, re.MULTILINE)


def test_a_layer_takes_and_documents_the_arguments_of_its_operation():
    made, called = inspect.signature(fastml.Conv2d).parameters, inspect.signature(fastml.Conv2d.__call__).parameters
    assert set(made) | set(called) - {"self"} == {*inspect.signature(fastml.conv2d).parameters, "input_size"}
    assert [key for key in made if not re.search(rf"\b{key}\b", fastml.Conv2d.__doc__)] == []
    assert re.search(r"^ +Raises ", fastml.Conv2d.__doc__, re.MULTILINE) and ">>>" in fastml.Conv2d.__doc__


@pytest.mark.parametrize("key", fastml.__all__)
def test_public_names_have_a_docstring_with_an_example(key):
    value = getattr(fastml, key)
    assert value.__doc__
    if inspect.isfunction(value):
        assert ">>>" in value.__doc__
        assert not inspect.signature(value).parameters or "Raises" in value.__doc__


@pytest.mark.parametrize("path", [path for path in CYTHON if path.suffix == ".pyx"], ids=name)
def test_compiled_kernels_release_the_lock(path):
    if path.name != "_system.pyx":
        loops = re.findall(r"prange\(.*", path.read_text())
        assert loops
        assert "nogil" in path.read_text()
