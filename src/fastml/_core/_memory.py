"""Memory that kernels work in, kept from one call to the next.

Memory that is asked for in each call is given back in each call, and then the system has to clear it, page by page, for
the next one: for a few megabytes this takes as long as a convolution (measured).
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MOST_KEPT = 2**25  # bytes, of one use in one thread; what is larger is given back
_kept = threading.local()


def working_memory(use: str, rows: int, size: int, dtype: DTypeLike) -> NDArray[Any]:
    """An array (rows, size or a little more) with anything in it, for this thread until it asks for the same use again."""
    n_bytes = rows * (-(-size * np.dtype(dtype).itemsize // 64) * 64)  # rows begin where a line of the cache does
    buffers = _kept.__dict__
    buffer = buffers.get(use)
    if buffer is None or buffer.size < n_bytes:
        buffer = np.empty(n_bytes + 64, np.uint8)
        buffer = buffer[-buffer.ctypes.data % 64 :]  # where a line of the cache begins
        if n_bytes <= MOST_KEPT:
            buffers[use] = buffer
    return buffer[:n_bytes].view(dtype).reshape(rows, -1)
