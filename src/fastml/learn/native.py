"""A student's function, from a file in Python, C or Cython; the last two by the C compiler of this machine."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fastml.learn.exercise import Exercise

# As fastml's own kernels, but for this machine only.
FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-shared", "-fPIC")


class Unavailable(Exception):
    """What it takes to compile a file is not installed."""


def load(path: Path, exercise: Exercise, folder: Path) -> Callable[..., Any]:
    """The function that an exercise asks for; what must be compiled is put into `folder`.

    Raises Unavailable where a compiler, Cython or Numba is missing, SyntaxError with the compiler's message,
    AttributeError where the function is missing, and whatever a Python file raises when it is run.
    """
    folder = Path(tempfile.mkdtemp(dir=folder))  # a file and its solution may have the same name
    if path.suffix == ".c":
        library = _compiled([str(path)], folder / f"{path.stem}.so", path)
        return _from_c(ctypes.CDLL(str(library)), exercise, path)
    if path.suffix == ".pyx":
        path = _extension(path, folder)
    module = _module(path)
    if not callable(getattr(module, exercise.function, None)):
        raise AttributeError(f"{path.name} does not define a function {exercise.function}")
    return getattr(module, exercise.function)  # type: ignore[no-any-return]


def compiler() -> list[str]:
    """The command of the C compiler. Raises Unavailable."""
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    found = next((words for words in (command, ["cc"]) if shutil.which(words[0])), None)
    if found is None:
        raise Unavailable("this file needs a C compiler, and none is installed; Numba's variants need none")
    return found


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.name.partition(".")[0], path)
    assert spec and spec.loader  # the suffix is a known one
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        raise Unavailable("this file needs Numba: pip install 'fastml-kernels[learn]'") from None
    return module


def _from_c(library: ctypes.CDLL, exercise: Exercise, path: Path) -> Callable[..., None]:
    if not hasattr(library, exercise.function):
        raise AttributeError(f"{path.name} does not define a function {exercise.function}")
    function = getattr(library, exercise.function)
    function.restype = None

    def call(*arrays: np.ndarray[Any, Any]) -> None:
        assert exercise.sizes
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        function(*pointers, *map(ctypes.c_ssize_t, exercise.sizes(*arrays)))

    return call


def _extension(path: Path, folder: Path) -> Path:
    """Compile a Cython file into a module, with OpenMP."""
    if not importlib.util.find_spec("Cython"):
        raise Unavailable("this file needs Cython: pip install cython; Numba's variants do not")
    source = folder / f"{path.stem}.c"
    _run([sys.executable, "-m", "cython", "-3", str(path), "-o", str(source)], path)
    include = [f"-I{sysconfig.get_path('include')}", "-Wno-unused-function", "-fopenmp"]
    return _compiled([str(source), *include], folder / f"{path.stem}{sysconfig.get_config_var('EXT_SUFFIX')}", path)


def _compiled(arguments: list[str], target: Path, path: Path) -> Path:
    _run([*compiler(), *FLAGS, *arguments, "-o", str(target), "-lm"], path)
    return target


def _run(command: list[str], path: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SyntaxError(f"{path.name} does not compile:\n{(done.stderr or done.stdout).strip()}")
