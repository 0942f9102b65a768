"""Memory that kernels work in, kept from one call to the next.

Memory that is asked for in each call is given back in each call, and then the system has to clear it, page by page, for
the next one: for a few megabytes this takes as long as a convolution (measured).

Threads work far apart. The processor fetches what it expects a thread to write next, rows ahead, and so takes from its
neighbour what that one works with. With rows side by side, conv2d's `direct` took 1.1 times as long, and where two
cores share no cache 1.4 times (measured).
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

APART = 2**17  # bytes between two rows; 2**16 were not enough (measured)
MOST_KEPT = 2**25  # bytes that are asked for, of one use in one thread; what is larger is given back
_kept = threading.local()


def working_memory(use: str, rows: int, size: int, dtype: DTypeLike, value: float | None = None) -> NDArray[Any]:
    """An array (rows, at least size) for this thread until it asks for the same use again.

    `value` is in the first `size` places of each row, or anything, if None. Rows are for threads of OpenMP; what these
    share is one row.
    """
    asked = -(-size * np.dtype(dtype).itemsize // 64) * 64  # rows begin where a line of the cache does
    n_bytes = rows * (asked + (APART if rows > 1 else 0))
    buffers = _kept.__dict__
    buffer = buffers.get(use)
    if buffer is None or buffer.size < n_bytes:
        buffer = np.empty(n_bytes + 64, np.uint8)
        buffer = buffer[-buffer.ctypes.data % 64 :]
        if rows * asked <= MOST_KEPT:
            buffers[use] = buffer
    memory = buffer[:n_bytes].view(dtype).reshape(rows, -1)
    if value is not None:
        memory[:, :size] = value
    return memory
