"""Gradient of max-pooling. The specification is `fastml._ref.max_pool2d_backward`."""

import numpy as np
from numba import prange

from fastml._jit._flags import kernel


@kernel
def planes(grad_out, indices, grad_x, wrong, n_threads):
    """A plane a task: zeroed, then filled while it is in cache, by one thread, so that overlaps need no locks.

    A scatter has no vectors, in any language. What Numba cannot do is write the zeros past the cache.
    """
    for p in prange(grad_x.shape[0]):
        plane, gradients, where = grad_x[p].reshape(-1), grad_out[p].reshape(-1), indices[p].reshape(-1)
        size = np.uint64(plane.size)
        plane[:] = 0
        outside = 0
        for k in range(where.size):
            if np.uint64(where[k]) < size:  # as unsigned, what is negative is too large: one comparison
                plane[where[k]] += gradients[k]
            elif where[k] != -1:
                outside += 1
        wrong[p] = outside
