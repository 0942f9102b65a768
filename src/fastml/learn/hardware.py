"""What the processor counts while a call runs: instructions, cycles, cache misses. Linux only, by perf_event_open.

Many virtual machines hide these counters, and many systems refuse them to users: `Unavailable` says why. Counted is
what this thread does outside the kernel of the system, so a call should use one thread.
"""

import contextlib
import ctypes
import errno
import os
import platform
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As in linux/perf_event.h: the kind of event, and its number there. A processor may lack some of them.
HARDWARE, CACHE = 0, 3
L1_READ_MISSES = 0 | 0 << 8 | 1 << 16
EVENTS = {
    "instructions": (HARDWARE, 1),
    "cycles": (HARDWARE, 0),
    "l1_misses": (CACHE, L1_READ_MISSES),
    "llc_misses": (HARDWARE, 3),
}
SYSTEM_CALL = {"x86_64": 298, "aarch64": 241}
ENABLE, DISABLE = 0x2400, 0x2401
READING = struct.Struct("=QQQ")  # the count; nanoseconds it was asked for; nanoseconds it went on
ATTRIBUTES = struct.Struct("=IIQQQQQ64x")  # type, size, config, period, sample type, read format, flags; the rest is 0
STOPPED, USER_ONLY = 1 << 0, 1 << 5 | 1 << 6  # begins stopped; leaves out the kernel and the hypervisor
TIMES = 1 | 2  # a reading tells how long the event was asked for, and how long it was counted
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
BLOCKS, SECONDS = 5, 0.05  # the median of so many blocks, each of at least so long


class Unavailable(Exception):
    """This source of counts cannot be had here."""


def count(call: Callable[[], Any]) -> dict[str, float | None]:
    """What one call takes, by name of the event, in the steady state; None for what this processor does not count.

    Raises Unavailable where there are no counters, or they are refused.
    """
    with _opened() as counters:
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < SECONDS or not calls:
            call()
            calls += 1
        blocks = [_block(call, calls, counters) for _ in range(BLOCKS)]
    found = {name: [block[name] for block in blocks if name in block] for name in EVENTS}
    return {name: statistics.median(values) if values else None for name, values in found.items()}


def why_not() -> str:
    """Why `count` cannot be used here; empty where it can."""
    try:
        with _opened():
            return ""
    except Unavailable as error:
        return str(error)


@contextlib.contextmanager
def _opened() -> Iterator[dict[str, int]]:
    """File descriptors of the events that this machine counts: at least instructions, which come first."""
    counters: dict[str, int] = {}
    try:
        for name, event in EVENTS.items():
            try:
                counters[name] = _open(*event)
            except OSError as error:
                if not counters:
                    raise Unavailable(_reason(error.errno)) from None
        yield counters
    finally:
        for descriptor in counters.values():
            os.close(descriptor)


def _open(kind: int, number: int) -> int:
    """A counter of this thread, stopped. Raises OSError."""
    call = SYSTEM_CALL.get(platform.machine()) if platform.system() == "Linux" else None
    if call is None:
        raise OSError(errno.ENOSYS, "no perf_event_open")
    attributes = ATTRIBUTES.pack(kind, ATTRIBUTES.size, number, 0, 0, TIMES, STOPPED | USER_ONLY)
    this_thread, any_processor, no_group, flags = 0, -1, -1, 0
    system = ctypes.CDLL(None, use_errno=True)
    numbers = map(ctypes.c_long, (this_thread, any_processor, no_group, flags))
    descriptor: int = system.syscall(ctypes.c_long(call), attributes, *numbers)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "perf_event_open")
    return descriptor


def _block(call: Callable[[], Any], calls: int, counters: dict[str, int]) -> dict[str, float]:
    """What one of `calls` calls takes, by the events that the processor found time to count."""
    from fcntl import ioctl  # not on Windows

    before = {name: os.read(descriptor, READING.size) for name, descriptor in counters.items()}
    for descriptor in counters.values():
        ioctl(descriptor, ENABLE, 0)
    for _ in range(calls):
        call()
    for descriptor in counters.values():
        ioctl(descriptor, DISABLE, 0)
    found = {name: _value(before[name], os.read(descriptor, READING.size)) for name, descriptor in counters.items()}
    return {name: value / calls for name, value in found.items() if value is not None}


def _value(before: bytes, after: bytes) -> float | None:
    """A count, as if it had gone on all the time: a processor with few counters gives them to events in turn.

    >>> _value(struct.pack("=QQQ", 100, 2, 1), struct.pack("=QQQ", 300, 10, 5))
    400.0
    """
    counted, asked, running = (b - a for a, b in zip(*map(READING.unpack, (before, after)), strict=True))
    return counted * asked / running if running else None


def _reason(number: int | None) -> str:
    if number in (errno.EACCES, errno.EPERM):
        level = PARANOID.read_text(encoding="utf-8").strip() if PARANOID.exists() else "missing"
        return f"the system refuses hardware counters (perf_event_paranoid is {level}; 2 or less lets users count)"
    if number == errno.ENOSYS:
        return "hardware counters are read by perf_event_open of Linux, on x86-64 and aarch64"
    return "this machine shows no hardware counters, as many virtual ones"
