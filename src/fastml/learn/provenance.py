"""Which code a figure is of: its commit, and a hash of the sources of a kernel.

>>> from fastml.learn import provenance
>>> provenance.kernel_hash("fastml._ref.moments:loops") == provenance.kernel_hash("fastml._ref.moments:two_pass")
True
"""

import hashlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from fastml._registry import RUNGS

ROOT = Path(__file__).parents[2]  # of the package's folder
NAMED = re.compile(
    r"^\s*(?:from|import|cimport)\s+(fastml\.[\w.]+)|^\s*cdef extern from \"(\w+\.h)\"|^#include \"(\w+\.h)\"",
    re.MULTILINE,
)
OPS_OF = {  # operations that a class, or a network, is made of
    "StandardScaler": ("moments", "standardize"),
    "PCA": ("pca", "pca_transform"),
    "Conv2d": ("conv2d",),
    "scatter": ("pca",),
    "ResNet18": ("conv2d", "max_pool2d", "avg_pool2d"),
}


def commit() -> str:
    """The commit that the package is at, with a "+" if files of it have changed since; empty if there is none."""
    try:
        return _git("rev-parse", "--short", "HEAD") + "+" * bool(_git("status", "--porcelain", "."))
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT / "fastml"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@cache
def kernel_hash(location: str) -> str:
    """Of the sources that a kernel, "module:function", is made of; empty where they are not installed."""
    return _digest(_sources(location.partition(":")[0]))


@cache
def operation_hash(op: str) -> str:
    """Of the sources of every Cython kernel that may run for an operation, or a class."""
    modules = {rung.kernel.partition(":")[0] for rung in RUNGS if rung.op in OPS_OF.get(op, (op,)) and rung.ships
               and rung.backend == "cython"}  # fmt: skip
    return _digest(path for module in sorted(modules) for path in _sources(module))


def _digest(paths: Iterable[Path]) -> str:
    texts = [path.read_bytes() for path in sorted(set(paths))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()[:12] if texts else ""


@cache
def _sources(module: str) -> tuple[Path, ...]:
    """The file of a module of kernels, and those beside it that it includes or imports, and so on."""
    found: set[Path] = set()
    new = {*_files(module)}
    while new:
        found |= new
        new = {path for source in new for path in _named_in(source)} - found
    return tuple(sorted(found))


def _files(module: str) -> Iterator[Path]:
    stem = ROOT.joinpath(*module.split("."))
    return (path for path in (stem.with_suffix(suffix) for suffix in (".pyx", ".pxd", ".py")) if path.exists())


def _named_in(source: Path) -> Iterator[Path]:
    for module, header, included in NAMED.findall(source.read_text(encoding="utf-8")):
        if module:
            yield from (path for path in _files(module) if path.parent == source.parent)
        else:
            yield source.parent / (header or included)
