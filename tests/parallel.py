"""Tests of kernels, each by four threads at once: what `make parallel` does, with pytest-run-parallel.

    python -m tests.parallel                          # test, and write docs/measured/words.json
    python -m tests.parallel tests/test_pca.py        # other arguments of pytest; nothing is written

The plugin itself runs in one thread what changes the process: tests that use pytest's monkeypatch or capsys, as all of
test_dispatch.py do, and those that catch warnings. What else has to is listed here. Its four threads take turns each
microsecond; kernels release the lock, and start threads of their own.
"""

import sys

from fastml._registry import OPS
from tests import kept

THREADS = 4
FILES = ("rungs", "moments_weights", "doors", "layouts", "validate", "validate_images", "dispatch", *OPS)
# Why, and the functions whose callers run in one thread, as the plugin's option has them.
ONE_THREAD = {
    "measures memory of the process": ("tracemalloc.start",),
}


def command(arguments: list[str]) -> list[str]:
    alone = "\n".join(name for names in ONE_THREAD.values() for name in names)
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--parallel-threads={THREADS}",
            "--iterations=1", "-o", f"thread_unsafe_functions={alone}",
            *(arguments or [f"tests/test_{name}.py" for name in FILES])]  # fmt: skip


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(kept.tested(command(given)).status if given else kept.run("parallel", command(given)))
