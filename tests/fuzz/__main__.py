"""Calls of operations and classes, with arguments that a fuzzer makes up: what `make fuzz` does.

    python -m tests.fuzz --minutes 10         # report what goes wrong, and leave it in tests/fuzz/found
    python -m tests.fuzz --replay 4f21        # one input, as hex or a file, in this process
    python -m tests.fuzz --minutes 60 --keep  # and write tests/fuzz/corpus.txt and docs/measured/fuzz.json anew

An input is a string of bytes: choices, of which `calls.py` draws a call. `checks.py` makes it, and says what must hold.
The engine is atheris (the extra `fuzz`), or without it a plain search that changes inputs at random and is slower to
find branches. It runs in a child, so that a crash ends one child; a child that takes too long over an input is ended.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz.engine import ENGINES, HEADER
from tests.trust.isolated import ROOT, SILENT, reason

FOUND = Path(__file__).parent / "found"
PATIENCE = 10.0  # seconds for an input, of which most take milliseconds
POLL = 0.1
MOST_CRASHES = 100


@dataclass
class Found:
    """What a run has found: by its kind, the shortest input, and what was seen."""

    engine: str
    folder: Path = FOUND
    inputs: int = 0
    crashes: int = 0
    cpu_seconds: float = 0.0
    kinds: dict[str, bytes] = field(default_factory=dict)
    corpus: list[bytes] = field(default_factory=list)

    def add(self, kind: str, data: bytes, seen: str) -> None:
        old = self.kinds.get(kind)
        if old is not None and len(old) <= len(data):
            return
        if old is not None:
            (self.folder / sha1(old).hexdigest()).unlink()
        self.kinds[kind] = data
        self.folder.mkdir(exist_ok=True)
        path = self.folder / sha1(data).hexdigest()
        path.write_bytes(data)
        given = data.hex() if len(data) < 40 else os.path.relpath(path)
        print(f"\n{kind}\n{seen}\n    python -m tests.fuzz --replay {given}", flush=True)


class Child:
    """An engine at work, and its folder."""

    def __init__(self, folder: Path, engine: str, seed: int, seconds: float, check: str) -> None:
        clean = {key: value for key, value in os.environ.items() if key not in SILENT}
        path = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), clean.get("PYTHONPATH")]))
        settings = {"PYTHONPATH": path, "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.fuzz.engine", str(folder), engine, str(seed), str(seconds), check]
        (folder / "current").write_bytes(HEADER.pack(0, 0))
        self.folder = folder
        with open(folder / "printed", "w") as printed:
            self.process = subprocess.Popen(command, cwd=ROOT, env=clean | settings, stdout=printed, stderr=printed)

    def current(self) -> tuple[int, bytes]:
        """The number of the input that is being checked, and the input."""
        content = (self.folder / "current").read_bytes()
        number, length = HEADER.unpack_from(content)
        return number, content[HEADER.size : HEADER.size + length]

    def stopped(self) -> bool:
        """By a signal, for a while."""
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False

    def wait(self, patience: float, meanwhile: Callable[[], None]) -> str:
        """How it ended: "" where its time was over."""
        waited, last = 0.0, 0
        while self.process.poll() is None:
            time.sleep(POLL)
            meanwhile()
            number, _ = self.current()
            waited = 0.0 if number != last or not number else waited + POLL * (not self.stopped())
            last = number
            if waited > patience:
                self.process.kill()
                self.process.wait()
                return f"hangs: over an input for {patience} s"
        printed = (self.folder / "printed").read_text(errors="replace")
        return reason(self.process.returncode, printed) if self.process.returncode else ""


def fuzz(
    found: Found, seconds: float, seed: int, corpus: list[bytes], check: str, patience: float = PATIENCE,
    most_crashes: int = MOST_CRASHES,
) -> None:
    """Run children one after the other until the time is over, or too many have died."""
    end, before = time.monotonic() + seconds, children_seconds()
    with TemporaryDirectory() as name, open(Path(name) / "failed", "a+") as failures:
        folder = Path(name)

        def read() -> None:
            for line in failures:
                kind, given, seen = json.loads(line)
                found.add(kind, bytes.fromhex(given), seen)

        (folder / "corpus").mkdir()
        for data in corpus:
            (folder / "corpus" / sha1(data).hexdigest()).write_bytes(data)
        while time.monotonic() < end and found.crashes < most_crashes:
            child = Child(folder, found.engine, seed + found.crashes, end - time.monotonic(), check)
            ended = child.wait(patience, read)
            read()
            number, data = child.current()
            if not number:
                sys.exit(f"the engine does not start: {ended}")
            found.inputs += number
            if ended:
                found.crashes += 1
                found.add(ended.partition(":")[0] + " " + data[:1].hex(), data, ended)
                (folder / "corpus" / sha1(data).hexdigest()).unlink(missing_ok=True)  # or the next child dies of it
        found.corpus = [path.read_bytes() for path in sorted((folder / "corpus").iterdir())]
    found.cpu_seconds = children_seconds() - before


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def replay(given: str) -> None:
    from tests.fuzz import calls, checks
    from tests.fuzz.choices import Choices

    data = Path(given).read_bytes() if Path(given).exists() else bytes.fromhex(given)
    call = calls.draw(Choices(data))
    print(call.op, *(f"{name} = {value!r}" for name, value in call.arguments.items()), sep="\n    ", flush=True)
    try:
        with checks.watching():
            checks.check(data)
    except checks.Failed as failed:
        sys.exit(f"{failed.kind}\n{failed.seen}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Calls with arguments that a fuzzer makes up.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--engine", choices=ENGINES, help="default: atheris if it is installed")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 2**31)
    parser.add_argument("--keep", action="store_true", help="write the corpus, and what was found, into the repository")
    parser.add_argument("--replay", metavar="HEX_OR_FILE")
    options = parser.parse_args()
    if options.replay is not None:
        return replay(options.replay)
    from tests.fuzz import kept

    found = Found(options.engine or ("atheris" if importlib.util.find_spec("atheris") else "random"))
    print(f"engine {found.engine}, seed {options.seed}, {options.minutes:g} minutes", flush=True)
    began = time.monotonic()
    fuzz(found, 60 * options.minutes, options.seed, kept.corpus(), "tests.fuzz.checks:check")
    failed = len(found.kinds)
    totals = {"engine": found.engine, "inputs": found.inputs, "cpu_seconds": round(found.cpu_seconds),
              "seconds": round(time.monotonic() - began), "crashes": found.crashes, "failed": failed}  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in totals.items()))
    if options.keep:
        kept.keep([*kept.corpus(), *found.corpus], totals)
    return sys.exit(failed > 0)


if __name__ == "__main__":
    main()
