"""Each gradient goes to all of its window, divided. The specification is `fastml._ref.avg_pool2d_backward`."""
from cython.parallel cimport prange, threadid

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


def loops(
    const floating[:, :, ::1] grad_out,  # IN (planes, out_h, out_w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] grad_x,  # OUT (planes, h, w)
    Py_ssize_t n_threads,
):
    """The definition, compiled: a plane of float64 sums, to which every window adds its share."""
    cdef Py_ssize_t p, h = grad_x.shape[1], w = grad_x.shape[2]
    cdef double[:, ::1] sums = working_memory("sums", n_threads, h * w, "d")
    for p in prange(grad_x.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        _plane(&grad_out[p, 0, 0], grad_out.shape[1], grad_out.shape[2], kernel_h, kernel_w, stride_h, stride_w,
               pad_top, pad_left, rows, columns, &sums[threadid(), 0], &grad_x[p, 0, 0], h, w)


cdef void _plane(
    const floating* grad_out, Py_ssize_t out_h, Py_ssize_t out_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t pad_top, Py_ssize_t pad_left, const double[::1] rows,
    const double[::1] columns, double* sums, floating* grad_x, Py_ssize_t h, Py_ssize_t w
) noexcept nogil:
    cdef Py_ssize_t i, j, y, column
    for i in range(h * w):
        sums[i] = 0
    for i in range(out_h):
        for j in range(out_w):
            for y in range(max(i * stride_h - pad_top, 0), min(i * stride_h - pad_top + kernel_h, h)):
                for column in range(max(j * stride_w - pad_left, 0), min(j * stride_w - pad_left + kernel_w, w)):
                    sums[y * w + column] += grad_out[i * out_w + j] / (rows[i] * columns[j])
    for i in range(h * w):
        grad_x[i] = <floating>sums[i]


def rows(
    const floating[:, :, ::1] grad_out,  # IN (planes, out_h, out_w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] grad_x,  # OUT (planes, h, w)
    Py_ssize_t n_threads,
):
    """A row of grad_x at a time: the rows of windows over it are summed, then spread along it. Vectors, scratch in L1.

    Buys kernel_h + kernel_w additions a value instead of their product, and no plane of sums. Every row of grad_x is
    one task's, so that overlapping windows are no race.
    """
    cdef Py_ssize_t task, h = grad_x.shape[1], w = grad_x.shape[2], out_w = grad_out.shape[2]
    cdef Py_ssize_t reach = max((out_w - 1) * stride_w + kernel_w, pad_left + w)
    cdef double[:, ::1] sums = working_memory("sums", n_threads, out_w, "d")
    cdef double[:, ::1] padded = working_memory("padded", n_threads, reach, "d")
    cdef Watch watch = start_watch()
    for task in prange(grad_x.shape[0] * h, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, task, w):
            _row(&grad_out[task // h, 0, 0], grad_out.shape[1], out_w, kernel_h, kernel_w, stride_h, stride_w,
                 task % h + pad_top, pad_left, &rows[0], &columns[0], &sums[threadid(), 0], &padded[threadid(), 0],
                 reach, &grad_x[task // h, task % h, 0], w)
    end_watch(&watch)


cdef void _row(
    const floating* grad_out, Py_ssize_t out_h, Py_ssize_t out_w, Py_ssize_t kernel_h, Py_ssize_t kernel_w,
    Py_ssize_t stride_h, Py_ssize_t stride_w, Py_ssize_t y, Py_ssize_t pad_left, const double* rows,
    const double* columns, double* sums, double* padded, Py_ssize_t reach, floating* grad_x, Py_ssize_t w
) noexcept nogil:
    # the windows over row y of the padded image: those that start at y - kernel_h + 1 or later, and not after y
    cdef Py_ssize_t first = max((y - kernel_h) // stride_h + 1, 0) if y >= kernel_h else 0
    cdef Py_ssize_t last = min(y // stride_h + 1, out_h), i, j, k
    for j in range(out_w):
        sums[j] = 0
    for i in range(first, last):
        for j in range(out_w):
            sums[j] += grad_out[i * out_w + j] / (rows[i] * columns[j])
    for j in range(reach):
        padded[j] = 0
    for k in range(kernel_w):
        if stride_w == 1:
            _spread(sums, out_w, 1, padded + k)
        elif stride_w == 2:  # a constant stride becomes shuffles
            _spread(sums, out_w, 2, padded + k)
        else:
            _spread(sums, out_w, stride_w, padded + k)
    for j in range(w):
        grad_x[j] = <floating>padded[pad_left + j]


cdef inline void _spread(const double* sums, Py_ssize_t n, Py_ssize_t stride, double* padded) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        padded[j * stride] += sums[j]
