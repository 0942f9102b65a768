"""What a library changes of the process that imports it. Nothing here may import fastml before it is asked to."""

import contextlib
import importlib
import importlib.util
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator

from tests.trust.figures import Figure
from tests.trust.isolated import call


def floating_point_control() -> int:
    """The control bits of MXCSR: exceptions that are masked, rounding, and what is done with denormal numbers."""
    import ctypes

    environment = ctypes.create_string_buffer(32)  # x86-64's fenv_t ends with it
    ctypes.CDLL("libm.so.6").fegetenv(environment)
    return int.from_bytes(environment.raw[28:32], "little") & 0xFFC0


def state() -> dict[str, str]:
    """What a library could change behind its caller's back."""
    import gc
    import locale
    import logging
    import platform
    import random
    import resource
    import signal
    import warnings

    import numpy as np

    found = {
        "environment": sorted(os.environ.items()),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "np.errstate": np.geterr(),
        "print options": sorted(np.get_printoptions().items(), key=str),
        "random state": [random.getstate(), np.random.mtrand._rand.get_state()],
        "warning filters": len(warnings.filters),
        "threads": [threading.active_count(), len(os.listdir("/proc/self/task"))],
        "hooks": [sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile(), threading.excepthook],
        "locale": locale.setlocale(locale.LC_ALL),
        "logging": [logging.root.level, len(logging.root.handlers)],
        "limits": [resource.getrlimit(limit) for limit in (resource.RLIMIT_AS, resource.RLIMIT_STACK)],
        "garbage collection": [gc.isenabled(), gc.get_threshold()],
        "recursion and switching": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "folder and path": [os.getcwd(), sys.path],
        "denormals": float(np.float32(1e-40) * np.float32(1)) > 0,
    }
    if platform.machine() == "x86_64" and sys.platform == "linux":
        found["floating-point control"] = floating_point_control()
    return {key: repr(value) for key, value in found.items()}


def changed_by(library: str, use: bool) -> list[str]:
    """What an import changes; with `use`, what calls of all operations do, where scikit-learn has been imported."""
    if use:
        for module in ("sklearn.preprocessing", "sklearn.decomposition", "scipy.linalg"):
            importlib.import_module(module)
    before = state()
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(library)
    if use:
        from tests.trust.work import arrays, calls

        for run in calls(arrays()).values():
            run()
    after = state()
    return [key for key in before if before[key] != after[key] and not (use and key == "threads")]


def import_seconds(first: str, then: str) -> float:
    """Of the second library, the first being there."""
    if first:
        importlib.import_module(first)
    start = time.perf_counter()
    importlib.import_module(then)
    if then == "fastml":
        import fastml

        fastml.conv2d  # noqa: B018  # of what is public, it imports the most
    return time.perf_counter() - start


def imports(thorough: bool) -> Iterator[Figure]:
    """Row 43."""
    libraries = ["sklearn", *(["torch"] if importlib.util.find_spec("torch") else [])] if thorough else []
    peers = {name: ", ".join(call("tests.trust.imports:changed_by", name, False)) or "nothing" for name in libraries}
    kinds = len(state())
    yield Figure(43, f"of {kinds} kinds of state those that `import fastml` changes",
                 len(call("tests.trust.imports:changed_by", "fastml", False)), "= 0", "", peers)  # fmt: skip
    yield Figure(43, "the same, but for threads, of calls of all operations and classes",
                 len(call("tests.trust.imports:changed_by", "fastml", True)), "= 0")  # fmt: skip
    times = {
        name: statistics.median(call("tests.trust.imports:import_seconds", "numpy", name) for _ in range(5))
        for name in ("fastml", *libraries)
    }
    milliseconds = {name: 1000 * seconds for name, seconds in times.items()}
    what = "milliseconds that `import fastml` and its first name take beyond NumPy"
    yield Figure(43, what, milliseconds.pop("fastml"), "< 60", "ms", dict(milliseconds))
