"""The table of docs/reliability.md: every threat, measured here and now, and the same of peers.

    python -m tests.trust.report [--only PART] [--quick] [--write docs/reliability.md]

What a full run takes is written with the table. `--quick` is what the tests measure: less of all, and no peers. The
exit status is 1 where a target is missed that `rows.MISSED` does not list, or what should hold all the same does not.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastml.learn import machine
from fastml.learn.report import publish
from tests import covered, instrumented, kept, mutants
from tests.fuzz import kept as fuzzed
from tests.trust.figures import Figure, shown
from tests.trust.isolated import ROOT
from tests.trust.rows import MEASURED, MISSED, NOT_REACHED, SET, TESTED, THREATS

BEGIN, END = "<!-- reliability: begin -->", "<!-- reliability: end -->"
# What `make trust` runs before the report; "slow" is the tests that only it runs.
WORDS = ("asan", "ubsan", "checked", "valgrind", "coverage", "fuzz", "mutants", "parallel", "emulated", "wheel", "slow")
RECORDS = (kept, instrumented, covered, fuzzed, mutants)  # figures of earlier runs
COLUMNS = ("row", "threat", "what is measured", "figure", "target", "", "peers", "command")


def name_of(measure: Any) -> str:
    return f"{measure.__module__.rpartition('.')[2]}.{measure.__name__}"


def suite(arguments: tuple[str, ...], environment: dict[str, str]) -> tuple[str, float]:
    """Run tests with these arguments of pytest: how many there were, and how many failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)
    last = done.stdout.splitlines()[-1:]
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", "".join(last))}
    failed = sum(counts.get(word, 0) for word in ("failed", "error", "errors"))
    known = counts.get("xfailed", 0)
    tests = counts.get("passed", 0) + known + failed
    what = f"tests that fail, of {tests}" + (f", {known} of which are known to" if known else "")
    return what, max(failed, int(done.returncode != 0)) if tests else float("nan")


def quoted(words: tuple[str, ...]) -> str:
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def suites() -> list[tuple[int, dict[str, str], tuple[str, ...]]]:
    return [*((row, {}, arguments) for row, arguments in TESTED.items()), *SET]


def command_of(measure: Any) -> str:
    return f"python -m tests.trust.report --only {name_of(measure)}"


def command_of_suite(environment: dict[str, str], arguments: tuple[str, ...]) -> str:
    return "".join(f"{key}={value} " for key, value in environment.items()) + f"pytest {quoted(arguments)}"


def commands() -> list[str]:
    """All that stand in a full table."""
    measured = [command_of(measure) for measure in MEASURED]
    measured += [command_of_suite(environment, arguments) for _, environment, arguments in suites()]
    return measured + [command for record in RECORDS for _, command in record.figures()]


def names() -> list[str]:
    """What `--only` may name a part of."""
    tested = {row for row, *_ in suites()} | {figure.row for record in RECORDS for figure, _ in record.figures()}
    return [*map(name_of, MEASURED), *(f"tests of row {row}" for row in sorted(tested))]


def lines(only: str, thorough: bool) -> Iterator[tuple[Figure, str]]:
    """Each figure and its command."""
    for measure in MEASURED:
        if only in name_of(measure):
            for figure in measure(thorough):
                yield figure, command_of(measure)
    for row, environment, arguments in suites() if thorough else ():
        if only in f"tests of row {row}":
            what, failed = suite(arguments, environment)
            yield Figure(row, what, failed, "= 0"), command_of_suite(environment, arguments)
    for record in RECORDS if thorough else ():
        yield from ((figure, command) for figure, command in record.figures() if only in f"tests of row {figure.row}")


def missed(figure: Figure) -> bool:
    """Whether a target is not reached, and that is not known; or is known, and what holds all the same does not."""
    holds, _ = MISSED.get((figure.row, figure.target), (figure.target, ""))
    return not replace(figure, target=holds).reached


def cells(figure: Figure, command: str) -> tuple[str, ...]:
    peers = "; ".join(f"{name} {shown(value)}" for name, value in figure.peers.items())
    unknown = "not measured yet" if figure.value != figure.value else "look into it"
    _, why = MISSED.get((figure.row, figure.target), ("", unknown))
    verdict = "reached" if figure.reached else f"not reached: {why}"
    value = f"{shown(figure.value)} {figure.unit}".strip()
    return (str(figure.row), THREATS[figure.row], figure.what, value, figure.target, verdict, peers, f"`{command}`")


def times() -> dict[str, float]:
    """Seconds that each word of `make trust` took when it was last run; NaN where that was not kept."""
    records = kept.read(instrumented.KEPT) | kept.read(kept.RECORD)
    records |= {"coverage": kept.read(covered.KEPT), "fuzz": kept.read(fuzzed.RECORD)}
    modules = kept.read(mutants.KEPT)
    records["mutants"] = {"seconds": sum(modules.get(name, {}).get("seconds", math.nan) for name in mutants.SOURCES)}
    return {word: records.get(word, {}).get("seconds", math.nan) for word in WORDS}


def spent(taken: dict[str, float]) -> str:
    """What the words took, in minutes."""
    total = sum(seconds for seconds in taken.values() if not math.isnan(seconds))
    each = [f"{word} {'not timed yet' if math.isnan(seconds) else round(seconds / 60)}"
            for word, seconds in taken.items()]  # fmt: skip
    return f"What else `make trust` runs took {total / 60:.0f} minutes when it was last run: {', '.join(each)}."


def render(measured: list[tuple[Figure, str]], complete: bool, seconds: float) -> str:
    """A table in Markdown, and where its figures come from."""
    origin = machine.origin()
    versions = ", ".join(f"{key} {value}" for key, value in origin["versions"].items())
    rows = [cells(*line) for line in sorted(measured, key=lambda line: line[0].row)]
    missing = [row for row in THREATS if row not in {figure.row for figure, _ in measured}] if complete else []
    told = sorted({*missing, *NOT_REACHED}) if complete else []
    return "\n".join(
        [
            f"{origin['date']}, {origin['machine']}, {origin['threads']} threads, {origin['isa']}; commit",
            f"{origin['commit']}, {versions}. Measured in {seconds / 60:.1f} minutes.",
            *([spent(times())] if complete else []),
            "",
            "| " + " | ".join(COLUMNS) + " |",
            "|" + "|".join("--:" if name in ("row", "figure") else "---" for name in COLUMNS) + "|",
            *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
            *(["", "Not reached, or not in full:", ""] if told else []),
            *(f"* {row}, {THREATS[row]}: {NOT_REACHED.get(row, 'needs what is not installed here')}." for row in told),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What can go wrong at run time, measured.")
    parser.add_argument("--only", default="", help='part of "hostile.attributes", or "tests of row 6"; default: all')
    parser.add_argument("--quick", action="store_true", help="what the tests measure: less, and no peers")
    parser.add_argument("--write", type=Path, help="a file with the two markers")
    options = parser.parse_args()
    complete = not options.only and not options.quick
    if options.write and not complete:
        parser.error("--write replaces the whole table, and goes with neither --only nor --quick")
    if not any(options.only in name for name in names()):
        parser.error(f"--only {options.only} is part of no measurement's name: {', '.join(names())}")
    began, measured = time.monotonic(), []
    for figure, command in lines(options.only, not options.quick):
        measured.append((figure, command))
        found = f"{figure.row:3} {figure.what}: {shown(figure.value)} {figure.unit} {figure.target}"
        print(found + ("" if figure.reached else "  NOT REACHED"), file=sys.stderr)
    if not measured:
        sys.exit("nothing was measured: it needs what is not installed here, or --quick leaves it out")
    publish(render(measured, complete, time.monotonic() - began), options.write, BEGIN, END)
    if any(missed(figure) for figure, _ in measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
