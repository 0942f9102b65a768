"""A child of `python -m tests.fuzz`: it makes inputs and checks them, until time is over, or it dies of one.

    python -m tests.fuzz.engine FOLDER ENGINE SEED SECONDS tests.fuzz.checks:check

In the folder it leaves, for its parent: `current`, the number of inputs so far and the one that is being checked;
`failed`, a line of JSON for each that failed, [kind, input, what was seen]; `corpus/`, inputs that reached what none
had reached before.
"""

import importlib
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from random import Random

LONGEST = 160  # bytes of an input; few calls make that many choices
MEMORY = 2**33  # address space: what claims to need more is to raise
SEEN = 1000  # characters of what was seen, the last ones
HEADER = struct.Struct("<QI")  # the number of an input, and its length
GUIDED_BY = ["fastml._validate", "fastml.ops", "fastml._dispatch", "fastml._needs"]


class Noted:
    """A check that leaves word of what it checks, and of failures: one of each kind, and then only shorter ones."""

    def __init__(self, check: Callable[[bytes], None], folder: Path) -> None:
        self.check, self.number, self.shortest = check, 0, dict[str, int]()
        self.current = os.open(folder / "current", os.O_WRONLY | os.O_CREAT)
        self.failed = folder / "failed"

    def __call__(self, data: bytes) -> None:
        self.number += 1
        os.pwrite(self.current, HEADER.pack(self.number, len(data)) + data, 0)
        try:
            self.check(data)
        except Exception as error:
            kind = getattr(error, "kind", f"the check itself: {error!r}")
            if len(data) < self.shortest.get(kind, LONGEST + 1):
                self.shortest[kind] = len(data)
                seen = getattr(error, "seen", "").removesuffix("\n")[-SEEN:]
                with open(self.failed, "a") as file:
                    file.write(json.dumps([kind, data.hex(), seen]) + "\n")


def by_atheris(check: str, folder: Path, seed: int, seconds: float) -> None:
    """libFuzzer, which sees the branches of the modules that look at arguments."""
    import atheris

    with atheris.instrument_imports(include=GUIDED_BY):
        import fastml

        for name in fastml.__all__:
            getattr(fastml, name)
    options = {"max_total_time": max(round(seconds), 1), "max_len": LONGEST, "len_control": 0, "seed": seed,
               "rss_limit_mb": 0, "timeout": 100_000, "verbosity": 0, "artifact_prefix": f"{folder}/"}  # fmt: skip
    arguments = [f"-{name}={value}" for name, value in options.items()]
    with watched(check, folder) as noted:
        atheris.Setup([sys.argv[0], *arguments, str(folder / "corpus")], noted)
        atheris.Fuzz()


def at_random(check: str, folder: Path, seed: int, seconds: float) -> None:
    """Inputs that were kept, changed at random, by what tracing sees of the same modules."""
    from tests.fuzz import kept

    end, random = time.monotonic() + seconds, Random(seed)
    old = [path.read_bytes() for path in sorted((folder / "corpus").iterdir())]
    corpus, seen = [b""], set[object]()
    with watched(check, folder) as noted:
        while time.monotonic() < end:
            data = old.pop(0) if old else changed(random.choice(corpus), random)
            arcs = kept.covered(noted, data)
            if not arcs <= seen:
                seen |= arcs
                corpus.append(data)
                (folder / "corpus" / sha1(data).hexdigest()).write_bytes(data)


def changed(data: bytes, random: Random) -> bytes:
    """A few bytes put in, taken out, or others instead."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(changed))
        stop = start + random.choice((0, 0, 1, 1, 1, 4))
        changed[start:stop] = random.randbytes(random.choice((0, 1, 1, 1, 8)))
    return bytes(changed[:LONGEST])


@contextmanager
def watched(check: str, folder: Path) -> Iterator[Noted]:
    """The check, with kernels watched."""
    from tests.fuzz import checks

    module, _, name = check.partition(":")
    with checks.watching():
        yield Noted(getattr(importlib.import_module(module), name), folder)


ENGINES = {"atheris": by_atheris, "random": at_random}


def main() -> None:
    folder, engine, seed, seconds, check = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    ENGINES[engine](check, Path(folder), int(seed), float(seconds))


if __name__ == "__main__":
    main()
