"""Each gradient goes where the index of its maximum says. The specification is `fastml._ref.max_pool2d_backward`."""
from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch
from fastml._core._types cimport floating


def loops(
    const floating[:, :, ::1] grad_out,  # IN (planes, out_h, out_w)
    const int64_t[:, :, ::1] indices,  # IN like grad_out: places in a plane of grad_x, or -1 for none
    floating[:, :, ::1] grad_x,  # OUT (planes, h, w)
    int64_t[::1] wrong,  # OUT (planes,): how many indices are outside, which are left out
    Py_ssize_t n_threads,
):
    """The definition, compiled: zeros everywhere, then every gradient to its place."""
    cdef Py_ssize_t p, size = grad_x.shape[1] * grad_x.shape[2]
    with nogil:
        memset(&grad_x[0, 0, 0], 0, grad_x.shape[0] * size * sizeof(floating))
        for p in range(grad_x.shape[0]):
            wrong[p] = _scatter(
                &grad_out[p, 0, 0], &indices[p, 0, 0], grad_out.shape[1] * grad_out.shape[2], &grad_x[p, 0, 0], size
            )


def planes(
    const floating[:, :, ::1] grad_out,  # IN (planes, out_h, out_w)
    const int64_t[:, :, ::1] indices,  # IN like grad_out: places in a plane of grad_x, or -1 for none
    floating[:, :, ::1] grad_x,  # OUT (planes, h, w)
    int64_t[::1] wrong,  # OUT (planes,): how many indices are outside, which are left out
    Py_ssize_t n_threads,
):
    """A plane is zeroed and filled while it is in cache. Buys one of two trips of grad_x to memory, and threads.

    A plane belongs to one thread, so that overlapping windows are no race, and their sums are taken in one order.
    """
    cdef Py_ssize_t p, size = grad_x.shape[1] * grad_x.shape[2]
    cdef Watch watch = start_watch()
    for p in prange(grad_x.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, p, size):
            memset(&grad_x[p, 0, 0], 0, size * sizeof(floating))
            wrong[p] = _scatter(
                &grad_out[p, 0, 0], &indices[p, 0, 0], grad_out.shape[1] * grad_out.shape[2], &grad_x[p, 0, 0], size
            )
    end_watch(&watch)


cdef int64_t _scatter(
    const floating* grad_out, const int64_t* indices, Py_ssize_t n, floating* grad_x, Py_ssize_t size
) noexcept nogil:
    cdef Py_ssize_t i
    cdef int64_t wrong = 0
    for i in range(n):
        if <uint64_t>indices[i] < <uint64_t>size:  # indices are data: never trusted
            grad_x[indices[i]] += grad_out[i]
        elif indices[i] != -1:
            wrong += 1
    return wrong
