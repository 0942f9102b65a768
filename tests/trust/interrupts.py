"""Ctrl-C in the midst of a long call: how long until it is answered, and is everything usable after it?"""

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.trust.figures import Figure
from tests.trust.isolated import Died, call, outcomes
from tests.trust.work import operations

LONG = ("conv2d", "conv2d 1x1", "conv2d_backward", "pca", "PCA")  # calls that compute more than they read


def interrupted(library: str, name: str, scale: int) -> tuple[float, float, bool]:
    """Seconds a call takes, seconds from Ctrl-C in its midst to KeyboardInterrupt, and whether all is well after it."""
    import signal

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    if library == "fastml":
        from tests.trust.work import arrays, bits, calls

        operation = calls(arrays(scale))[name]
        small = calls(arrays(1))[name]
    else:
        operation, small, bits = big_peer_calls(scale)[name], big_peer_calls(1)[name], bytes
    expected = bits(small())
    start = time.perf_counter()
    operation()
    whole = time.perf_counter() - start
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


def big_peer_calls(scale: int) -> dict[str, Any]:
    import numpy as np

    from tests.trust.work import arrays

    given = arrays(scale)
    long = np.ones((2000, 4_000 * scale))
    found = {"NumPy matmul": lambda: (long @ long.T).tobytes()}
    if importlib.util.find_spec("torch"):
        import torch

        x, weight = torch.from_numpy(given["x"]), torch.from_numpy(given["weight"])
        found["PyTorch conv2d"] = lambda: torch.nn.functional.conv2d(x, weight, padding=1).numpy().tobytes()
    return found


def interrupts(thorough: bool) -> Iterator[Figure]:
    """Row 37: in each operation on 512 images of 32 x 90 x 90, or as much in rows, in some on 2048 of them."""
    asked = [[name, 128] for name in operations()] + [[name, 512] for name in LONG]
    asked = asked if thorough else [["conv2d", 64], ["moments", 4], ["PCA", 4]]
    results = outcomes("tests.trust.interrupts:interrupted", [["fastml", *one] for one in asked], 120)
    unusable = sum(isinstance(result, Died) or not result[2] for result in results)
    yield Figure(37, f"of {len(asked)} calls those after which something does not work, or is wrong", unusable, "= 0")
    died = (float("inf"), float("inf"))
    waits = [(*(died if isinstance(result, Died) else (result[1], result[0])), name, scale)
             for (name, scale), result in zip(asked, results, strict=True)]  # fmt: skip
    peers = {}
    for name in big_peer_calls(1) if thorough else ():
        seconds, waited, _ = call("tests.trust.interrupts:interrupted", "peer", name, 128, seconds=120)
        peers[name] = f"{waited:.2f} of {seconds:.2f}"
    for scale in sorted({scale for _, scale in asked}):
        waited, seconds, name, _ = max(wait for wait in waits if wait[3] == scale)
        what = f"longest time until Ctrl-C is answered, on {4 * scale} images or {20000 * scale} rows: {name}, "
        yield Figure(37, f"{what}which takes {seconds:.2f} s", waited, "< 0.5", "s", peers if scale == 512 else {})
