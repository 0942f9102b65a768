"""Check the files in dist/: what the wheel must and must not hold, that it is small, and that the sdist is complete."""

import sys
import tarfile
import zipfile
from pathlib import Path

MOST_BYTES = 8 * 2**20

folder = Path(sys.argv[1])
(wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
names = zipfile.ZipFile(wheel).namelist()
kernels = [path.stem for path in Path("src/fastml/_core").glob("*.pyx")]
levels = sorted({name.split("/")[2] for name in names if name.endswith(".so")})

assert wheel.stat().st_size < MOST_BYTES, f"{wheel.name} has {wheel.stat().st_size} bytes"
assert "baseline" in levels
for level in levels:
    for kernel in kernels:
        assert any(name.startswith(f"fastml/_core/{level}/{kernel}.") for name in names), (level, kernel)
for name in ("fastml/py.typed", "fastml/__init__.pyi"):
    assert name in names, name
exercises = {name for name in names if name.startswith("fastml/learn/exercises/")}
assert not [name for name in set(names) - exercises if name.endswith((".c", ".pyx", ".pxd", ".h", ".html"))]
for path in Path("src/fastml/learn/exercises").glob("*/*.*"):
    assert str(path.relative_to("src")) in exercises, path
assert not [name for name in names if name.startswith(("tests", "benches"))]

with tarfile.open(sdist) as archive:
    inside = {name.partition("/")[2] for name in archive.getnames()}
needed = ("setup.py", "src/fastml/_core/simd.h", "src/fastml/_core/_stats.pxd", "tests/test_rungs.py", ".ci/run")
for path in (*needed, "Makefile"):
    assert path in inside, path
assert not [name for name in inside if name.endswith((".so", ".c")) and "/learn/exercises/" not in name]
assert "src/fastml/learn/exercises/gemm_microkernel/solution.c" in inside
print(f"{wheel.name}: {wheel.stat().st_size / 2**20:.1f} MB, levels {', '.join(levels)}; {sdist.name} is complete")
