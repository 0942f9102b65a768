"""The half of `fastml.learn.cachegrind` that runs inside Valgrind, where each import takes seconds: it has few.

A kernel must be all that is counted, not Python's start: after a first call the process forks twice, the copies call
once and twice, and the difference is one call. Both begin with the same memory and caches, so that all else is equal.
"""

import importlib
import os
import pickle
import sys
from typing import Any

import numpy as np

CALLS = (1, 2)  # of the two copies


def main(path: str) -> None:
    """Run all jobs of a file, and print a line for each: the numbers of the two processes."""
    with open(path, "rb") as file:
        jobs = pickle.load(file)
    for place, arguments in jobs:
        module, _, function = place.partition(":")
        kernel = getattr(importlib.import_module(module), function)
        with np.errstate(all="ignore"):
            kernel(*arguments, 1)
            print(*(_copy(kernel, arguments, calls) for calls in CALLS), flush=True)


def _copy(kernel: Any, arguments: tuple[Any, ...], calls: int) -> int:
    pid = os.fork()
    if not pid:
        for _ in range(calls):
            kernel(*arguments, 1)
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


if __name__ == "__main__":
    main(sys.argv[1])
