"""What this machine and build are, and how fast they are at best, kept on disk as it takes seconds to measure.

>>> from fastml.learn import machine
>>> sorted(machine.description())[:4]
['backend', 'backends', 'blas', 'cores']
"""

import contextlib
import datetime
import hashlib
import importlib
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from threadpoolctl import threadpool_info

import fastml
from fastml.learn import provenance, roofline

TYPICAL = {"L1": 2**15, "L2": 2**20, "L3": 2**25}  # bytes, where the system does not tell
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def description() -> dict[str, Any]:
    """`fastml.configuration()`, the processor's name, and the BLAS libraries that NumPy and SciPy have loaded."""
    for name in ("numpy.linalg", "scipy.linalg"):  # each brings its own
        importlib.import_module(name)
    wanted = ("internal_api", "version", "num_threads", "architecture", "threading_layer", "filepath")
    blas = [
        {key: pool[key] for key in wanted if pool.get(key) is not None}
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {**fastml.configuration(), "machine": processor(), "cores": os.cpu_count(), "blas": blas}


def origin() -> dict[str, Any]:
    """Where figures come from: date, commit, processor, threads, instruction set and versions."""
    found = description()
    kept = {key: found[key] for key in ("fastml", "machine", "isa", "threads", "versions")}
    return {"date": str(datetime.date.today()), "commit": provenance.commit(), **kept}


def processor() -> str:
    """The processor's name, as the system knows it.

    >>> processor() != ""
    True
    """
    lines = _text(Path("/proc/cpuinfo")).splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def caches() -> dict[str, int]:
    """Bytes of the first core's caches for data, as the system tells them; else typical ones.

    >>> list(caches())
    ['L1', 'L2', 'L3']
    """
    found = dict(TYPICAL)
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, size = f"L{_text(folder / 'level')}", _text(folder / "size")
        if level in found and _text(folder / "type") != "Instruction" and size:
            found[level] = int(size.rstrip("KMG")) * UNITS.get(size[-1], 1)
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def counts() -> list[int]:
    """Numbers of threads to measure: 1, 2, 4, ... and all that fastml uses.

    >>> counts()[0]
    1
    """
    most = fastml.get_num_threads()
    return sorted({most, *(2**i for i in range(most.bit_length()) if 2**i <= most)})


def _questions() -> Iterator[dict[str, Any]]:
    """Everything there is to measure: a row each, without the answer."""
    for n_threads, dtype in itertools.product(counts(), roofline.DTYPES):
        yield {"what": "flops", "dtype": dtype, "threads": n_threads}
    levels = {level: size // 2 for level, size in caches().items()}
    for n_threads, (level, size), kind in itertools.product(
        counts(), [*levels.items(), ("memory", roofline.LARGEST)], roofline.KINDS
    ):
        private = n_threads if level in ("L1", "L2") else 1  # each core has its own
        yield {"what": "bandwidth", "level": level, "bytes": size * private, "kind": kind, "threads": n_threads}


def rates(
    fresh: bool = False, track: Callable[[list[dict[str, Any]]], Iterable[dict[str, Any]]] = iter
) -> dict[str, Any]:
    """Flops a second by dtype, and bytes a second by level of memory, each by number of threads.

    Read from the user's cache, if this processor was measured with this build and number of threads, unless `fresh`.
    `track` goes through the rows while they are measured: for a progress bar.
    """
    path = kept_at()
    if not fresh and (kept := _kept(path)):
        return kept
    roofline.forget()
    rows = []
    for row in track([*_questions()]):
        if row["what"] == "flops":
            rate = roofline.flops(row["dtype"], row["threads"])
        else:
            rate = roofline.bandwidth(row["kind"], row["bytes"], row["threads"])
        rows.append({**row, "per_second": rate})
    measured = {"machine": processor(), **_build(), "date": str(datetime.date.today()), "rates": rows}
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason to lose what was measured
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    return measured


def _kept(path: Path) -> dict[str, Any]:
    """What was kept; nothing where nothing was, or only a part of it."""
    try:
        return json.loads(_text(path) or "{}")  # type: ignore[no-any-return]
    except ValueError:
        return {}


def disturbed(rows: list[dict[str, Any]]) -> bool:
    """Whether somewhere more threads are clearly slower than one, which no machine is that has nothing else to do."""
    alone = {_key(row): row["per_second"] for row in rows if row["threads"] == 1}
    return any(row["per_second"] < 0.8 * alone[_key(row)] for row in rows)


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("what", "dtype", "level", "kind"))


def _build() -> dict[str, Any]:
    found = fastml.configuration()
    return {key: found[key] for key in ("fastml", "isa", "threads")}


def kept_at() -> Path:
    """The file for this processor, build and number of threads."""
    key = hashlib.sha256(json.dumps([processor(), caches(), _build()]).encode()).hexdigest()[:12]
    return Path(platformdirs.user_cache_path("fastml"), f"roofline-{key}.json")
