"""Check the files in dist/: what a wheel must and must not hold, that it is small, and that the sdist is complete.

python .ci/check_package.py dist [--wheels NUMBER]
"""

import argparse
import re
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 8 * 2**20
VENDORED = "$ORIGIN/../../../fastml_kernels.libs"  # auditwheel's folder, as the modules look for it
SOURCES = Path("src/fastml")
KERNELS = [path.stem for path in (SOURCES / "_core").glob("*.pyx")]
NEEDED = (
    "setup.py", "Makefile", "SECURITY.md", ".ci/run", ".ci/constraints.txt", ".github/workflows/test.yml",
    "src/fastml/_core/simd.h", "src/fastml/_core/_stats.pxd", "tests/test_rungs.py", "tests/public_api.txt",
    "src/fastml/learn/exercises/gemm_microkernel/solution.c",
)  # fmt: skip


def check_wheel(path: Path) -> str:
    names = zipfile.ZipFile(path).namelist()
    modules = [name for name in names if name.startswith("fastml/_core/") and name.endswith(".so")]
    levels = sorted({name.split("/")[2] for name in modules})
    assert path.stat().st_size < MOST_BYTES, f"{path.name} has {path.stat().st_size} bytes"
    assert levels == (["baseline", "v3"] if "x86_64" in path.name else ["baseline"]), (path.name, levels)
    for level in levels:
        for kernel in KERNELS:
            assert any(name.startswith(f"fastml/_core/{level}/{kernel}.") for name in modules), (level, kernel)
    for name in ("fastml/py.typed", "fastml/__init__.pyi"):
        assert name in names, name
    exercises = {name for name in names if name.startswith("fastml/learn/exercises/")}
    assert not [name for name in set(names) - exercises if name.endswith((".c", ".pyx", ".pxd", ".h", ".html"))]
    for task in (SOURCES / "learn" / "exercises").glob("*/*.*"):
        assert str(task.relative_to("src")) in exercises, task
    assert not [name for name in names if name.startswith(("tests", "benches"))]
    if "linux" in path.name:
        check_modules(path, modules, [name for name in names if re.match(r"fastml_kernels\.libs/.", name)])
    return f"{path.name}: {path.stat().st_size / 2**20:.1f} MB, levels {', '.join(levels)}"


def read_elf(path: Path, names: list[str]) -> str:
    """What is said of the segments and the dynamic tables of files in a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        files = [zipfile.ZipFile(path).extract(name, folder) for name in names]
        return subprocess.run(["readelf", "-lWd", *files], check=True, capture_output=True, text=True).stdout


def check_modules(path: Path, modules: list[str], vendored: list[str]) -> None:
    """The stack is not executable; and in what others install, libraries come from the wheel or from the system."""
    text = read_elf(path, modules)
    for mark in ("GNU_RELRO", "BIND_NOW"):
        assert text.count(mark) == len(modules), "a module whose tables of addresses stay writable"
    stacks = re.findall(r"GNU_STACK(?:\s+0x\w+){5}\s+(\w+)", read_elf(path, modules + vendored))
    assert stacks == ["RW"] * len(modules + vendored), "an executable stack"
    searched = {folder for found in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", text) for folder in found.split(":")}
    if "manylinux" in path.name:
        assert searched <= {VENDORED}, searched
    elif searched:
        print(f"{path.name} is for this machine: it looks for libraries in {', '.join(sorted(searched))}")


def check_sdist(path: Path) -> str:
    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    for name in NEEDED:
        assert name in inside, name
    assert not [name for name in inside if name.endswith((".so", ".c")) and "/learn/exercises/" not in name]
    return f"{path.name} is complete"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheels", type=int, default=1)
    options = parser.parse_args()
    (sdist,), wheels = options.folder.glob("*.tar.gz"), sorted(options.folder.glob("*.whl"))
    assert len(wheels) == options.wheels, f"{len(wheels)} wheels instead of {options.wheels}"
    assert len([*options.folder.iterdir()]) == len(wheels) + 1, "something else is in the folder"
    for wheel in wheels:
        print(check_wheel(wheel))
    print(check_sdist(sdist))
