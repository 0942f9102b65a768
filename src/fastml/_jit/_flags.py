"""How Numba kernels are compiled: the only fast-math set of the house, and the twin that runs without threads."""

import functools
import math

import numba
import numpy as np

# Sums may be reordered into vectors and a * b + c may be fused. NaN and infinity keep their meaning: no nnan, no ninf.
FAST = {"reassoc", "contract", "nsz", "arcp"}

# An index of an unsigned type cannot be negative: Numba leaves out the step that would count it from the end, and LLVM
# makes vectors. Flat arrays and offsets of this type also do without slices, which cost 10 to 25 ns each (measured).
U = np.uint64
ONE, TWO = U(1), U(2)

inline = numba.njit(fastmath=FAST, error_model="numpy", nogil=True)
"""For functions that kernels call."""


@inline
def if_finite(lost):
    """What rounding a mean has lost, if it means something: not where a mean, a weight or a gradient is infinite."""
    return lost if math.isfinite(lost) else 0.0


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
