"""NumPy's copy from one layout into another, on all threads. Compiled for the baseline: it waits for memory anyway."""
from cython.parallel cimport prange

from fastml._core._types cimport floating


def copy(
    const floating[:, :, :, :, :] source,  # IN any strides
    floating[:, :, :, :, :] to,  # OUT of the same shape, any strides
    Py_ssize_t n_threads,
):
    """A task for each index of the first two axes; the last axis is the inner loop, so it should be the longest."""
    cdef Py_ssize_t second = source.shape[1], task
    for task in prange(source.shape[0] * second, nogil=True, num_threads=n_threads, schedule="static"):
        _plane(source, to, task // second, task % second)


cdef void _plane(
    const floating[:, :, :, :, :] source, floating[:, :, :, :, :] to, Py_ssize_t i, Py_ssize_t j
) noexcept nogil:
    cdef Py_ssize_t a, b, c
    for a in range(source.shape[2]):
        for b in range(source.shape[3]):
            for c in range(source.shape[4]):
                to[i, j, a, b, c] = source[i, j, a, b, c]
