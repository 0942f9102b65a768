"""Mean over windows. The specification is `fastml._ref.avg_pool2d`."""
from cython.parallel cimport prange, threadid

from fastml._core._interrupt cimport Watch, end_watch, interrupted_at, start_watch
from fastml._core._pool cimport inner_windows, mean_row, rows_of_band
from fastml._core._simd cimport shifted_sums
from fastml._core._types cimport floating

from fastml._core._memory import working_memory


cdef enum:
    LANES = 4  # windows in a vector: shorter rows are left to the scalar loop


def loops(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """The definition, compiled: every tap of every window, bounds checked at each."""
    cdef Py_ssize_t task, n_rows = out.shape[1]
    for task in prange(out.shape[0] * n_rows, nogil=True, num_threads=n_threads, schedule="static"):
        _windows(
            &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w, (task % n_rows) * stride_h - pad_top,
            stride_w, pad_left, rows[task % n_rows], &columns[0], &out[task // n_rows, task % n_rows, 0], 0,
            out.shape[2],
        )


cdef void _windows(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, double rows, const double* columns, floating* out, Py_ssize_t first,
    Py_ssize_t last
) noexcept nogil:
    """The windows from first to last of one row of windows, which starts at row `top` of the image."""
    cdef Py_ssize_t j, y, column
    cdef double total
    for j in range(first, last):
        total = 0
        for y in range(top, top + kernel_h):
            if not 0 <= y < h:
                continue
            for column in range(j * stride_w - pad_left, j * stride_w - pad_left + kernel_w):
                if 0 <= column < w:
                    total += x[y * w + column]
        out[j] = <floating>(total / (rows * columns[j]))


def rows_first(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """Sums of whole rows first, then across: kernel_h + kernel_w additions a value, vectorised, in float64."""
    cdef Py_ssize_t reach = (out.shape[2] - 1) * stride_w + kernel_w  # where the last window ends
    cdef Py_ssize_t width = max(reach, pad_left + x.shape[2])
    cdef Py_ssize_t task, n_rows = out.shape[1]
    cdef double[:, ::1] padded = working_memory("padded", n_threads, width, "d", 0)  # so that windows need not ask
    cdef double[:, ::1] sums = working_memory("sums", n_threads, out.shape[2], "d")
    cdef Watch watch = start_watch()
    for task in prange(out.shape[0] * n_rows, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, task, x.shape[2]):
            _one_row(
                &x[task // n_rows, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w,
                (task % n_rows) * stride_h - pad_top, stride_w, pad_left, rows[task % n_rows], &columns[0],
                &padded[threadid(), 0], &sums[threadid(), 0], &out[task // n_rows, task % n_rows, 0], out.shape[2],
            )
    end_watch(&watch)


cdef void _one_row(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t stride_w, Py_ssize_t pad_left, double rows, const double* columns, double* padded, double* sums,
    floating* out, Py_ssize_t out_w
) noexcept nogil:
    cdef Py_ssize_t y, j
    cdef double* inside = padded + pad_left
    cdef const floating* source
    for j in range(w):
        inside[j] = 0
    for y in range(max(top, 0), min(top + kernel_h, h)):
        source = x + y * w
        for j in range(w):
            inside[j] += source[j]
    if stride_w == 1:
        _across(padded, kernel_w, 1, sums, out_w)
    elif stride_w == 2:  # a constant stride becomes shuffles, an unknown one would be read value by value
        _across(padded, kernel_w, 2, sums, out_w)
    else:
        _across(padded, kernel_w, stride_w, sums, out_w)
    for j in range(out_w):
        out[j] = <floating>(sums[j] / (rows * columns[j]))


cdef inline void _across(
    const double* padded, Py_ssize_t kernel, Py_ssize_t stride, double* sums, Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t j, k
    for j in range(n):
        sums[j] = 0
    for k in range(kernel):
        for j in range(n):
            sums[j] += padded[j * stride + k]


def unrolled(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """Kernel and stride known to the compiler: a vector of windows at a time, in registers from image to mean.

    Serves 2 x 2 and 3 x 3 windows with stride 2. Buys the trips of the row of sums to the first-level cache and back.
    """
    cdef Py_ssize_t band = rows_of_band(out.shape[0], out.shape[1], n_threads)
    cdef Py_ssize_t bands = (out.shape[1] + band - 1) // band, task, first, last
    cdef Watch watch = start_watch()
    inner_windows(x.shape[2], kernel_w, pad_left, out.shape[2], LANES, &first, &last)
    for task in prange(out.shape[0] * bands, nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, task, band * x.shape[2]):
            _band(x, kernel_h, kernel_w, pad_top, pad_left, rows, columns, first, last, out, task // bands,
                  task % bands * band, band)
    end_watch(&watch)


cdef void _band(
    const floating[:, :, ::1] x, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t pad_top, Py_ssize_t pad_left,
    const double[::1] rows, const double[::1] columns, Py_ssize_t first, Py_ssize_t last, floating[:, :, ::1] out,
    Py_ssize_t plane, Py_ssize_t start, Py_ssize_t band
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(start, min(start + band, out.shape[1])):
        _unrolled_row(
            &x[plane, 0, 0], x.shape[1], x.shape[2], kernel_h, kernel_w, 2 * i - pad_top, pad_left, rows[i],
            &columns[0], first, last, &out[plane, i, 0], out.shape[2],
        )


cdef inline void _unrolled_row(
    const floating* x, Py_ssize_t h, Py_ssize_t w, Py_ssize_t kernel_h, Py_ssize_t kernel_w, Py_ssize_t top,
    Py_ssize_t pad_left, double rows, const double* columns, Py_ssize_t first, Py_ssize_t last, floating* out,
    Py_ssize_t n
) noexcept nogil:
    cdef Py_ssize_t y = max(top, 0), count = min(top + kernel_h, h) - max(top, 0)
    cdef const floating* inside = x + y * w + 2 * first - pad_left
    if first > 0:
        _windows(x, h, w, kernel_h, kernel_w, top, 2, pad_left, rows, columns, out, 0, first)
    if last < n:
        _windows(x, h, w, kernel_h, kernel_w, top, 2, pad_left, rows, columns, out, last, n)
    if last == 0:
        return
    if kernel_w == 2 and count == 2:
        mean_row(2, 2, w, inside, last - first, rows, columns + first, out + first)
    elif kernel_w == 2:
        mean_row(1, 2, w, inside, last - first, rows, columns + first, out + first)
    elif count == 3:
        mean_row(3, 3, w, inside, last - first, rows, columns + first, out + first)
    elif count == 2:
        mean_row(2, 3, w, inside, last - first, rows, columns + first, out + first)
    else:
        mean_row(1, 3, w, inside, last - first, rows, columns + first, out + first)


def whole(
    const floating[:, :, ::1] x,  # IN (planes, h, w)
    Py_ssize_t kernel_h,
    Py_ssize_t kernel_w,
    Py_ssize_t stride_h,
    Py_ssize_t stride_w,
    Py_ssize_t pad_top,
    Py_ssize_t pad_left,
    const double[::1] rows,  # IN (out_h,): the divisor of a window is rows[i] * columns[j]
    const double[::1] columns,  # IN (out_w,)
    floating[:, :, ::1] out,  # OUT (planes, out_h, out_w)
    Py_ssize_t n_threads,
):
    """One window as large as the plane: the sum of contiguous values, in vectors."""
    cdef Py_ssize_t p, size = x.shape[1] * x.shape[2]
    cdef Watch watch = start_watch()
    for p in prange(out.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        if not interrupted_at(&watch, p, size):
            out[p, 0, 0] = <floating>(_sum(&x[p, 0, 0], size) / (rows[0] * columns[0]))
    end_watch(&watch)


cdef double _sum(const floating* x, Py_ssize_t n) noexcept nogil:
    cdef double sums[2]
    shifted_sums(1, 0, n, x, 0, sums)  # the squares, which nobody reads, are left out by the compiler
    return sums[0]
