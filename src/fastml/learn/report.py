"""The results table of a benchmark file: printed, or written into the README between its markers.

    python -m fastml.learn.report .bench/latest.json [--write README.md] [--keep docs/measured/benches.json]

What is kept of a file is enough to make the table of it again, and to tell whether kernels have changed since.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from fastml.learn.provenance import operation_hash

OURS = "fastml cython"
PEERS = ("NumPy", "NumPy expression", "scikit-learn", "scikit-learn-intelex", "PyTorch", "PyTorch channels_last",
         "ONNX Runtime")  # fmt: skip
COUNTED_IN_FLOPS = ("conv2d", "Conv2d", "ResNet18", "pca", "PCA")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def load(path: Path) -> tuple[dict[str, Any], dict[tuple[str, str, str], dict[str, dict[str, Any]]]]:
    """The file, and for each (op, case, dtype) the rows by contender."""
    data = json.loads(path.read_text(encoding="utf-8"))
    groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for bench in data["benchmarks"]:
        info = bench["extra_info"]
        row = {**info, "seconds": bench["stats"]["median"]}
        groups.setdefault((info["op"], info["case"], info["dtype"]), {})[info["contender"]] = row
    return data, groups


def kept(data: dict[str, Any]) -> dict[str, Any]:
    """Of a benchmark file, what the table is made of."""
    machine = data["machine_info"]
    benches = [
        {"stats": {key: bench["stats"][key] for key in ("median", "iqr", "rounds")}, "extra_info": bench["extra_info"]}
        for bench in data["benchmarks"]
    ]
    return {
        "datetime": data["datetime"],
        "commit_info": {key: data["commit_info"].get(key) for key in ("id", "dirty")},
        "machine_info": {"cpu": {"brand_raw": processor(machine)}, "fastml": machine.get("fastml", {})},
        "benchmarks": benches,
    }


def processor(machine: dict[str, Any]) -> str:
    """Its name in a benchmark file."""
    return str(machine.get("cpu", {}).get("brand_raw") or machine["machine"])


def changed(groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> list[str]:
    """A line that names the operations whose kernels are other ones today than those that were measured."""
    rows = [row for entered in groups.values() for row in entered.values()]
    stale = {row["op"] for row in rows if row.get("kernels") != operation_hash(row["op"])}
    return [f"**Measured on older code**: kernels of {', '.join(sorted(stale))} have changed since.", ""] * bool(stale)


def significant(value: float) -> str:
    """Three significant digits."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def table(groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> list[str]:
    peers = [peer for peer in PEERS if any(peer in rows for rows in groups.values())]
    ratios = [f"{peer} / fastml" for peer in peers]
    head = ["operation", "case", "dtype", "fastml ms", "rate", "% of roofline", "Numba ms", *ratios]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|" + "--:|" * (len(head) - 3)]
    for (op, case, dtype), rows in groups.items():
        own = rows[OURS]
        gflops = op in COUNTED_IN_FLOPS
        rate = f"{significant(own['GFLOP/s'])} GFLOP/s" if gflops else f"{significant(own['GB/s'])} GB/s"
        numba = significant(rows["fastml numba"]["seconds"] * 1e3) if "fastml numba" in rows else ""
        ratios = [significant(rows[peer]["seconds"] / own["seconds"]) if peer in rows else "" for peer in peers]
        share = f"{own['% of roofline']:.0f}"
        cells = [op, case, dtype, significant(own["seconds"] * 1e3), rate, share, numba, *ratios]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def parts(groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> list[str]:
    """The table, and another one for the cases in which there is little to compute."""
    is_small = {key: next(iter(rows.values()))["small"] for key, rows in groups.items()}
    large, small = ({key: groups[key] for key in groups if is_small[key] == wanted} for wanted in (False, True))
    lines = table(large) if large else []
    if small:
        lines += ["", "**Small inputs**, where the time is that of checking arguments and calling the kernel", ""]
        lines += table(small)
    return lines


def losses(groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> list[str]:
    """Every case in which a peer was faster in this run."""
    lines = []
    for (op, case, dtype), rows in groups.items():
        for peer in (peer for peer in PEERS if peer in rows):
            ratio = rows[peer]["seconds"] / rows[OURS]["seconds"]
            if ratio < 1:
                lines.append(f"* {op}, {case}, {dtype}: {peer} takes {significant(ratio)} of fastml's time.")
    return lines or ["In this run, nowhere."]


def errors(groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]]) -> list[str]:
    """Every contender whose answer is off by more than 100 roundings in float32, or than 1e-12 in float64."""
    lines = []
    for (op, case, dtype), rows in groups.items():
        for name, row in rows.items():
            if row["max_error"] > {"float32": 6e-6, "float64": 1e-12}[dtype]:
                lines.append(f"* {op}, {case}, {dtype}: {name}, {row['max_error']:.0e}.")
    return lines or ["In this run, nobody's."]


def render(path: Path) -> str:
    data, groups = load(path)
    machine, first = data["machine_info"], data["benchmarks"][0]["extra_info"]
    versions = ", ".join(f"{name} {version}" for name, version in machine.get("fastml", {}).items())
    return "\n".join(
        [
            f"{data['datetime'][:10]}, {processor(machine)}, {first['threads']} threads, {first['isa']};",
            f"commit {_commit(data)}, {versions}.",
            "Medians; a ratio above 1 means that fastml is faster. GB/s and GFLOP/s count what must be moved and",
            "computed at the least; % of roofline is the time that this takes at the bandwidth (of memory, or of the",
            "cache that the arrays fit into) and flops measured in this run, over fastml's time. One run on a shared",
            "machine is noisy: `fastml versus` measures pairs.",
            "",
            *changed(groups),
            *parts(groups),
            "",
            "**Where fastml loses**",
            "",
            *losses(groups),
            "",
            "**Whose answer is off** by more than 100 roundings of float32, or by 1e-12 in float64, in which the",
            "reference is computed, too: largest error, as a share of the largest value.",
            "",
            *errors(groups),
        ]
    )


def _commit(data: dict[str, Any]) -> str:
    info = data["commit_info"]
    return f"{(info['id'] or 'unknown')[:7]}{'+' * bool(info['dirty'])}"


def publish(text: str, path: Path | None, begin: str = BEGIN, end: str = END) -> None:
    """Print it, or write it into a file between its markers."""
    if not path:
        print(text)
        return
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} lacks the markers {begin} and {end}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="The results table of a benchmark file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--write", type=Path, help="a file with the two markers")
    parser.add_argument("--keep", type=Path, help="where to keep what the table is made of")
    options = parser.parse_args()
    if options.keep:
        data = json.loads(options.file.read_text(encoding="utf-8"))
        options.keep.write_text(json.dumps(kept(data), indent=0) + "\n", encoding="utf-8")
    publish(render(options.file), options.write)


if __name__ == "__main__":
    main()
