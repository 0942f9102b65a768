"""Count, mean and sum of squared deviations, NaN left out. The specification is `fastml._ref.moments`."""
from cython.parallel cimport prange
from libc.math cimport NAN, isfinite
from libc.string cimport memset

import numpy as np

from fastml._core._interrupt cimport Watch, end_watch, interrupted, interrupted_at, start_watch
from fastml._core._stats cimport BLOCK, PANEL, WIDE, Stats, heaviest_of, merge, merge_row, merge_rows, origin_of
from fastml._core._types cimport floating


def loops(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] sample_weight,  # IN (samples,), or (0,) for weights of 1
    int axis,  # 0: a mean for each column; 1: for each row
    double[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """The definition, compiled: the mean of each feature, then its squared deviations.

    With axis=0 it reads down the columns: of every cache line that comes from memory, one value is used.
    """
    cdef Py_ssize_t features = x.shape[1 - axis], samples = x.shape[axis]
    cdef Py_ssize_t feature_step = 1 if axis == 0 else x.shape[1], sample_step = x.shape[1] if axis == 0 else 1
    cdef const double* weight = &sample_weight[0] if sample_weight.shape[0] else NULL
    cdef Py_ssize_t j
    for j in prange(features, nogil=True, num_threads=n_threads, schedule="static"):
        _two_passes(&x[0, 0] + j * feature_step, weight, samples, sample_step, &count[j], &mean[j], &m2[j])


cdef void _two_passes(
    const floating* x, const double* weight, Py_ssize_t n, Py_ssize_t step, double* count, double* mean, double* m2
) noexcept nogil:
    cdef double total = 0, found = 0, squares = 0, w = 1
    cdef Py_ssize_t i
    for i in range(n):
        w = weight[i] if weight is not NULL else 1
        if x[i * step] == x[i * step] and w > 0:
            total += w * x[i * step]
            found += w
    mean[0] = total / found if found else NAN
    for i in range(n):
        w = weight[i] if weight is not NULL else 1
        if x[i * step] == x[i * step] and w > 0:
            squares += w * (x[i * step] - mean[0]) * (x[i * step] - mean[0])
    count[0], m2[0] = found, squares if found else 0


def rows(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] sample_weight,  # IN (samples,), or (0,) for weights of 1
    int axis,  # 0: a mean for each column; 1: for each row
    double[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """The same two passes in the order of memory: a sum for each of 64 columns, and every cache line is used whole."""
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], j
    cdef const double* weight = &sample_weight[0] if sample_weight.shape[0] else NULL
    with nogil:
        if axis == 1:
            for j in prange(n, num_threads=n_threads, schedule="static"):
                _two_passes(&x[j, 0], weight, columns, 1, &count[j], &mean[j], &m2[j])
        else:
            for j in prange(0, columns, PANEL, num_threads=n_threads, schedule="static"):
                _sums_of_rows(&x[0, j], weight, n, columns, min(PANEL, columns - j), False, &count[j], &mean[j], &m2[j])
                _sums_of_rows(&x[0, j], weight, n, columns, min(PANEL, columns - j), True, &count[j], &mean[j], &m2[j])


cdef void _sums_of_rows(
    const floating* x, const double* weight, Py_ssize_t n, Py_ssize_t stride, Py_ssize_t width, bint deviations,
    double* count, double* mean, double* m2,
) noexcept nogil:
    cdef double total[PANEL]
    cdef double found[PANEL]
    cdef double w = 1, d
    cdef Py_ssize_t i, j
    memset(total, 0, sizeof(total))
    memset(found, 0, sizeof(found))
    for i in range(n):
        w = weight[i] if weight is not NULL else 1
        for j in range(width):
            if x[i * stride + j] == x[i * stride + j] and w > 0:
                d = x[i * stride + j]
                if deviations:
                    total[j] += w * (d - mean[j]) * (d - mean[j])
                else:
                    total[j] += w * d
                    found[j] += w
    for j in range(width):
        if deviations:
            m2[j] = total[j] if count[j] else 0
        else:
            count[j], mean[j] = found[j], total[j] / found[j] if found[j] else NAN


def unshifted(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] sample_weight,  # IN (samples,), or (0,) for weights of 1
    int axis,  # 0: a mean for each column; 1: for each row
    double[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """One pass, sum of x and sum of x * x, and m2 = squares - sum * sum / count: half the bytes, and wrong.

    Where the mean is large against the spread the two terms agree in most of their digits, and the difference keeps
    what is left. It is the formula of many textbooks.
    """
    cdef Py_ssize_t n = x.shape[0], columns = x.shape[1], j
    cdef const double* weight = &sample_weight[0] if sample_weight.shape[0] else NULL
    for j in prange(x.shape[1 - axis], nogil=True, num_threads=n_threads, schedule="static"):
        if axis == 1:
            _one_pass(&x[j, 0], weight, columns, 1, &count[j], &mean[j], &m2[j])
        else:
            _one_pass(&x[0, j], weight, n, columns, &count[j], &mean[j], &m2[j])


cdef void _one_pass(
    const floating* x, const double* weight, Py_ssize_t n, Py_ssize_t step, double* count, double* mean, double* m2
) noexcept nogil:
    cdef double total = 0, found = 0, squares = 0, w = 1
    cdef Py_ssize_t i
    for i in range(n):
        w = weight[i] if weight is not NULL else 1
        if x[i * step] == x[i * step] and w > 0:
            total += w * x[i * step]
            squares += w * x[i * step] * x[i * step]
            found += w
    count[0], mean[0] = found, total / found if found else NAN
    m2[0] = squares - total * total / found if found else 0


def blocks(
    const floating[:, ::1] x,  # IN (rows, columns)
    const double[::1] sample_weight,  # IN (samples,), or (0,) for weights of 1
    int axis,  # 0: a mean for each column; 1: for each row
    double[::1] count,  # OUT (features,)
    double[::1] mean,  # OUT (features,)
    double[::1] m2,  # OUT (features,)
    Py_ssize_t n_threads,
):
    """One pass, in the order of memory: shifted sums of blocks in cache, merged by Chan's formula in a fixed order.

    Buys a factor of two in bytes (one pass instead of two), and vectors. Work is cut by the shape alone, so that any
    number of threads gives the same bits.
    """
    cdef Py_ssize_t rows = x.shape[0], columns = x.shape[1], features = x.shape[1 - axis]
    cdef const double* weight = &sample_weight[0] if sample_weight.shape[0] else NULL
    cdef Py_ssize_t panels = (columns + WIDE - 1) // WIDE
    # about 64 tasks; a wide matrix has enough panels, a narrow one is cut into chunks of rows as well
    cdef Py_ssize_t chunks = 1 if axis == 1 else min(max(64 // panels, 1), (rows + BLOCK - 1) // BLOCK)
    cdef double[:, :, ::1] scratch = np.zeros((chunks, features, 3))
    cdef Stats* partial = <Stats*>&scratch[0, 0, 0]
    cdef Stats* left
    cdef Stats* right
    cdef Py_ssize_t task, j, pair, heaviest, apart = 1
    cdef Watch watch = start_watch()
    with nogil:
        if axis == 1:
            for j in prange(rows, num_threads=n_threads, schedule="static"):
                if not interrupted_at(&watch, j, columns):
                    mean[j] = heaviest_of(&x[j, 0], weight, columns, 1)
                    merge_row(&partial[j], &x[j, 0], weight, columns, mean[j])
        else:
            heaviest = _heaviest_row(weight, rows)
            for task in prange(panels, num_threads=n_threads, schedule="static"):
                if not interrupted(&watch):
                    _origins(&x[0, task * WIDE], weight, rows, columns, min(WIDE, columns - task * WIDE), heaviest,
                             &mean[task * WIDE])
            for task in prange(chunks * panels, num_threads=n_threads, schedule="static"):
                if not interrupted(&watch):
                    _one_panel(&x[0, 0], weight, rows, columns, task // panels, chunks, task % panels, &mean[0],
                               partial)
        while apart < chunks:  # pairs, and pairs of them: less rounding than one chunk after the other
            for pair in range((chunks + apart - 1) // (2 * apart)):
                left = partial + pair * 2 * apart * features
                right = left + apart * features
                for j in range(features):
                    merge(&left[j], right[j].count, right[j].mean, right[j].m2)
            apart *= 2
        for j in range(features):
            count[j] = partial[j].count
            mean[j] = mean[j] + partial[j].mean if count[j] else NAN
            m2[j] = partial[j].m2
    end_watch(&watch)


cdef Py_ssize_t _heaviest_row(const double* weight, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i, best = 0
    if weight is not NULL:
        for i in range(rows):
            if weight[i] > weight[best]:
                best = i
    return best


cdef void _origins(
    const floating* x, const double* weight, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t width,
    Py_ssize_t heaviest, double* origin
) noexcept nogil:
    """An origin for each of `width` <= WIDE columns; with weights the value of the heaviest row, or if that is not
    finite, the finite one of the greatest weight, for which these columns are read once more."""
    cdef double most[WIDE]
    cdef bint finite = True
    cdef Py_ssize_t i, j
    for j in range(width):
        origin[j] = x[heaviest * columns + j] if weight is not NULL else origin_of(x + j, rows, columns)
        finite &= isfinite(origin[j]) != 0
    if finite:
        return
    for j in range(width):
        most[j], origin[j] = -1, 0
    for i in range(rows):
        for j in range(width):
            if weight[i] > most[j] and isfinite(x[i * columns + j]):
                most[j], origin[j] = weight[i], x[i * columns + j]


cdef void _one_panel(
    const floating* x, const double* weight, Py_ssize_t rows, Py_ssize_t columns, Py_ssize_t chunk, Py_ssize_t chunks,
    Py_ssize_t panel, const double* origin, Stats* partial,
) noexcept nogil:
    cdef Py_ssize_t first = rows * chunk // chunks // 4 * 4, last = rows * (chunk + 1) // chunks // 4 * 4
    cdef Py_ssize_t column = panel * WIDE
    if chunk == chunks - 1:
        last = rows
    merge_rows(&partial[chunk * columns + column], x + first * columns + column,
               NULL if weight is NULL else weight + first, last - first, rows - last,
               columns, min(WIDE, columns - column), origin + column)
