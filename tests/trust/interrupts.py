"""Ctrl-C in the midst of a long call: how long until it is answered, and is everything usable after it?"""

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.trust.figures import Figure
from tests.trust.isolated import Died, of_peers, outcomes
from tests.trust.work import arrays, bits, calls, operations

LIMIT = 0.5  # seconds; a shorter call meets it even if it does not answer
LONG, MOST = 1.0, 4e9  # calls are made larger until they take so many seconds, or their arrays so many bytes
QUICK = ("conv2d", "conv2d_backward")  # which compute more than they read, and so are long in little memory
TWO = {f"{library}_NUM_THREADS": "2" for library in ("FASTML", "OMP", "OPENBLAS")}  # with more no call takes long


def interrupted(library: str, name: str) -> tuple[float, float, bool]:
    """Seconds a call takes, seconds from Ctrl-C in its midst to KeyboardInterrupt, and whether all is well after it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    made_of = calls if library == "fastml" else big_peer_calls
    small = made_of(arrays())[name]
    expected = bits(small())
    operation, whole = long_call(name, made_of)
    sent = [0.0]

    def press() -> None:
        time.sleep(min(0.2, whole / 4))
        sent[0] = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    finger = threading.Thread(target=press)
    try:
        finger.start()
        operation()
        time.sleep(1)
        return whole, float("inf"), False
    except KeyboardInterrupt:
        waited = time.perf_counter() - sent[0]
    finger.join()
    return whole, waited, bits(small()) == expected


def long_call(name: str, made_of: Callable[[Any], dict[str, Callable[[], Any]]]) -> tuple[Callable[[], Any], float]:
    """A call that takes LONG or longer, if MOST suffices for that, and how long it takes."""
    scale = 8
    while True:
        given = repeated(scale)
        operation = made_of(given)[name]
        start = time.perf_counter()
        operation()
        whole = time.perf_counter() - start
        if whole >= LONG or sum(array.nbytes for array in given.values()) >= MOST:
            return operation, whole
        del given, operation  # before there are larger ones
        scale *= 2


def repeated(scale: int) -> dict[str, Any]:
    """Arrays of the shapes of `arrays(scale)`: the same images and rows again and again, as drawing takes longer."""
    return {name: np.concatenate([array] * scale) if name in ("x", "X", "pooled") else array
            for name, array in arrays().items()}  # fmt: skip


def big_peer_calls(given: dict[str, Any]) -> dict[str, Callable[[], np.ndarray]]:
    long = np.ones((2000, 64 * len(given["x"])))
    found = {"NumPy matmul": lambda: long @ long.T}
    if importlib.util.find_spec("torch"):
        import torch

        x, weight = torch.from_numpy(given["x"]), torch.from_numpy(given["weight"])
        found["PyTorch conv2d"] = lambda: torch.nn.functional.conv2d(x, weight, padding=1).numpy()
    return found


def interrupts(thorough: bool) -> Iterator[Figure]:
    """Row 37: each operation and class, on as many images or rows as it takes."""
    asked = operations() if thorough else QUICK
    results = outcomes("tests.trust.interrupts:interrupted", [["fastml", name] for name in asked], 120, **TWO)
    unusable = sum(isinstance(result, Died) or not result[2] for result in results)
    yield Figure(37, f"of {len(asked)} calls those after which something does not work, or is wrong", unusable, "= 0")
    waits = [(float("inf"), float("inf"), name) if isinstance(result, Died) else (result[1], result[0], name)
             for name, result in zip(asked, results, strict=True)]  # fmt: skip
    able = sum(seconds > LIMIT for _, seconds, _ in waits)  # to miss the target
    waited, seconds, name = max(waits) if able else (float("nan"), float("nan"), "none")
    asked_of_peers = {peer: ["peer", peer] for peer in (big_peer_calls(arrays(0)) if thorough else ())}
    theirs = of_peers("tests.trust.interrupts:interrupted", asked_of_peers, 120, **TWO)
    peers = {peer: result if isinstance(result, str) else f"{result[1]:.2f} of {result[0]:.2f}"
             for peer, result in theirs.items()}  # fmt: skip
    what = (f"longest time until Ctrl-C is answered, of {len(asked)} calls, made larger until they take {LONG:g} s or "
            f"{MOST / 1e9:g} GB ({able} take longer than {LIMIT} s): {name}, which takes {seconds:.2f} s")  # fmt: skip
    yield Figure(37, what, waited, f"< {LIMIT}", "s", peers)
