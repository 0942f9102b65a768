"""The native build, and nothing else: every `_core/*.pyx` once per instruction-set level.

FASTML_NO_OPENMP=1  build without threads        FASTML_BUILD=asan, or another of BUILDS: see tests/instrumented.py
FASTML_NATIVE=1     add -march=native to the best level, for study on this machine only
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("src/fastml/_core")
NATIVE, NO_OPENMP = (os.environ.get(f"FASTML_{key}") == "1" for key in ("NATIVE", "NO_OPENMP"))
BUILD = os.environ.get("FASTML_BUILD", "")
LEVELS = {"baseline": []}
if sysconfig.get_platform().endswith(("x86_64", "amd64")):  # of the Python that it is for, not of this machine
    LEVELS["v3"] = ["-march=native"] if NATIVE else ["-march=x86-64-v3"]  # AVX2, FMA
elif NATIVE:
    LEVELS["baseline"] = ["-march=native"]

# "" is what is shipped, valgrind the same with line numbers, python nothing. Python's -fwrapv would blind ubsan.
BUILDS = {"": "-O3 -g0", "python": "", "valgrind": "-O3 -g", "checked": "-O1 -g -UNDEBUG",
          "coverage": "-O0 -g0 --coverage -fprofile-update=atomic",
          "asan": "-O1 -g -fno-omit-frame-pointer -fsanitize=address",
          "ubsan": "-O1 -g -fno-wrapv -fsanitize=undefined,float-cast-overflow"}  # fmt: skip
# No -ffast-math: NaN and infinity mean something here. These three let the compiler vectorise and use FMA all the same.
OPTIMIZE = [*BUILDS[BUILD].split(), "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
QUIET = ["-Wno-unused-function", "-Wno-unknown-pragmas", "-Wno-psabi"]  # no vector is passed between functions
LINK = OPTIMIZE if BUILD or sys.platform == "darwin" else ["-Wl,-s"]  # stripped: wheels stay small, and without paths
if sys.platform == "linux":  # the table of other libraries' functions is filled first, and then read-only
    LINK = [*LINK, "-Wl,-z,relro,-z,now"]
SERIAL = ["-fno-openmp"] if BUILD == "coverage" else []  # gcov leaves out what OpenMP makes functions of
CHECKS = dict.fromkeys(("boundscheck", "initializedcheck", "nonecheck"), BUILD == "checked")
DIRECTIVES = {"wraparound": False, "cdivision": True, "binding": True} | CHECKS


def openmp_flags() -> list[str]:
    """The flag that turns OpenMP on, or nothing (with one warning) where the compiler does not have it."""
    if NO_OPENMP:
        return []
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    with tempfile.TemporaryDirectory() as folder:
        source = b"#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
        command = [*compiler, "-fopenmp", "-x", "c", "-", "-o", f"{folder}/probe"]
        if shutil.which(compiler[0]) and subprocess.run(command, input=source, capture_output=True).returncode == 0:
            return ["-fopenmp"]
    print("fastml: WARNING: the C compiler has no OpenMP; kernels will run on one thread.", file=sys.stderr)
    return []


def extensions(openmp: list[str], folder: str) -> list[Extension]:
    built = []
    for level, march in LEVELS.items():
        modules = [
            Extension(
                f"fastml._core.{level}.{source.stem}", [str(source)], [str(CORE)], extra_link_args=[*LINK, *openmp],
                depends=["setup.py", *map(str, (*CORE.glob("*.pxd"), *CORE.glob("*.h")))],
                extra_compile_args=[*OPTIMIZE, *march, *openmp, *QUIET, *(SERIAL if source.stem != "_system" else ())],
            )
            for source in sorted(CORE.glob("*.pyx"))
        ]  # fmt: skip
        built += cythonize(modules, build_dir=f"{folder}/{level}", compiler_directives=DIRECTIVES, include_path=["src"],
                           nthreads=os.cpu_count())  # fmt: skip
    return built


if __name__ == "__main__":  # cythonize starts worker processes, which import this file
    openmp = openmp_flags()
    variant = {BUILD: BUILD, "native": NATIVE, "serial": not openmp}  # each has objects of its own
    folder = "-".join(["build/kernels", *(name for name, on in variant.items() if on)])
    setup(
        ext_modules=[] if BUILD == "python" else extensions(openmp, folder),
        options={"build": {"build_base": folder}, "build_ext": {"parallel": os.cpu_count()}},
    )
