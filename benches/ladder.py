"""The ladders that the chapters of docs/ladder/ tell, timed, into the file that their tables are made of.

    python -m benches.ladder [NAME ...] [--rounds 3] [--write docs/measured/ladders.json]

Each as `fastml ladder NAME --all` does it. Without a file, JSON is printed; in a file, ladders of other names stay.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fastml.learn import ladder, machine, stages

CHAPTERS = Path(__file__).parents[1] / "docs" / "ladder"


def chapters() -> list[str]:
    """Ladders that have a page."""
    told = {path.stem for path in CHAPTERS.glob("*.md")}
    return [name for name in stages.names() if name in told]


def measured(name: str, rounds: int, rates: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the figures of a ladder come from, what the machine does at best, and a list of rows for each case."""
    found = []
    for shown in stages.chapter(name):
        print(f"{name}: {shown.case}", file=sys.stderr)
        found.append(ladder.measure(name, shown, rounds))
    return {"origin": machine.origin(), "rates": rates, "stages": found}


def main() -> None:
    parser = argparse.ArgumentParser(description="The ladders of the chapters, timed.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every ladder that has a chapter")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="a JSON file; what it holds of other ladders stays")
    options = parser.parse_args()
    for name in options.names:
        stages.every(name)  # raises if there is none, before minutes have passed
    rates = machine.rates(fresh=True)["rates"]
    kept = json.loads(options.write.read_text("utf-8")) if options.write and options.write.exists() else {}
    for name in options.names or chapters():
        kept[name] = measured(name, options.rounds, rates)
        text = json.dumps(kept, indent=1)
        if options.write:  # after each, as all of them take minutes
            options.write.write_text(text + "\n", encoding="utf-8")
    if not options.write:
        print(text)


if __name__ == "__main__":
    main()
