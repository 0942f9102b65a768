"""What commands that take long have found when they were last run: files in docs/measured, with their origin.

    python -m tests.kept emulated -- COMMAND...    # run tests; keep how many there were and failed, and the time

A command may run pytest several times. What a shell does not find (status 127) says nothing of the tests, and is not
kept.
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.trust.figures import Figure

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "measured"
RECORD = FOLDER / "words.json"
# Words of the Makefile that are about a row of docs/reliability.md.
WORDS = {
    "parallel": (34, "tests of kernels that fail where four threads run each at once"),
    "emulated": (44, "tests of Cython's kernels that fail on an emulated Nehalem or Haswell"),
    "aarch64": (44, "tests of Cython's kernels that fail on an emulated Cortex-A72"),
    "wheel": (44, "tests that fail on the wheel, where no compiler is; it is built twice, to the same bytes"),
}
LAST_LINE = re.compile(r"=* ?(\d+ \w+(, | in ))+[\d.]+s")  # of pytest


class Tests(NamedTuple):
    tests: int
    failed: int
    seconds: int
    status: int


def read(path: Path) -> dict[str, Any]:
    """What a file has; nothing where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def keep(path: Path, found: dict[str, Any], key: str = "") -> None:
    """Write what was found, and where and when: all of a file, or what it has of a key."""
    from fastml.learn import machine

    found = found | machine.origin()
    whole = dict(sorted((read(path) | {key: found}).items())) if key else found
    path.write_text(json.dumps(whole, indent=1) + "\n")


def when(last: dict[str, Any], size: str = "") -> str:
    """How large the last run was, as a format, how long it took if that was kept, and of what it was."""
    seconds = "{seconds} s, " if "seconds" in last else ""
    return f"{size}{seconds}{{date}}, {{commit}}".format(**last) if last else "never run"


def tested(command: list[str], environment: Mapping[str, str] | None = None) -> Tests:
    """Run a command that runs pytest, and pass on what it prints."""
    began, counts = time.monotonic(), Counter[str]()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if LAST_LINE.match(line):
                counts.update({name: int(number) for number, name in re.findall(r"(\d+) (\w+)", line)})
    failed = counts["failed"] + counts["errors"] + counts["error"]
    failed = max(failed, int(process.returncode != 0))  # Python may not have lived to count
    return Tests(counts["passed"] + failed, failed, round(time.monotonic() - began), process.returncode)


def run(word: str, command: list[str], record: Path = RECORD) -> int:
    """The status of a command, whose outcome is kept."""
    outcome = tested(command)
    if outcome.status != 127:
        keep(record, {name: value for name, value in outcome._asdict().items() if name != "status"}, word)
    return outcome.status


def figures(record: Path = RECORD) -> Iterator[tuple[Figure, str]]:
    """Rows 34 and 44: what each word has found when it was last run, and the command. NaN where it never was."""
    for word, (row, what) in WORDS.items():
        last = read(record).get(word, {})
        where = when(last, "{tests} tests, ")
        yield Figure(row, f"{what} ({where})", last.get("failed", float("nan")), "= 0"), f"make {word}"


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        sys.exit("python -m tests.kept WORD -- COMMAND...")
    sys.exit(run(sys.argv[1], sys.argv[3:]))
