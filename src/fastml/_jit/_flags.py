"""How Numba kernels are compiled: the only fast-math set of the house, and the twin that runs without threads."""

import functools

import numba

# Sums may be reordered into vectors and a * b + c may be fused. NaN and infinity keep their meaning: no nnan, no ninf.
FAST = {"reassoc", "contract", "nsz", "arcp"}

inline = numba.njit(fastmath=FAST, error_model="numpy", nogil=True)
"""For functions that kernels call."""


def kernel(function):
    """Compile a kernel whose last argument is n_threads, when it is first called, once for each of dtype and use.

    One thread runs a serial twin, in which prange is range: it needs no thread pool, starts faster, and works in a
    forked process, where Numba's pool would end it.
    """
    serial = numba.njit(fastmath=FAST, error_model="numpy", nogil=True)(function)
    threaded = numba.njit(fastmath=FAST, error_model="numpy", nogil=True, parallel=True)(function)

    @functools.wraps(function)
    def call(*arguments):
        n_threads = min(arguments[-1], numba.config.NUMBA_NUM_THREADS)
        if n_threads == 1:
            serial(*arguments)
            return
        before = numba.get_num_threads()
        numba.set_num_threads(n_threads)
        try:
            threaded(*arguments)
        finally:
            numba.set_num_threads(before)

    return call
