# Stable statistics of blocks, shared by moments and batch_norm.
#
# Within a block, sums are taken of x - shift, where shift is a value of the block itself: then sum((x - shift)^2) is at
# most (block length) times the sum of squared deviations, and the correction by sum(x - shift)^2 / n loses at most 8 to
# 10 of float64's 53 bits, whatever the offset of the data. Blocks are merged by Chan's formula. Until the end, means
# are kept relative to an origin, a value of the data that all blocks of a feature share: at the offset itself their
# differences would be rounded.
#
# T. F. Chan, G. H. Golub, R. J. LeVeque (1983), Algorithms for computing the sample variance, Amer. Statistician.
from libc.math cimport INFINITY, NAN, isfinite

from fastml._core._simd cimport shifted_column_sums, shifted_sums
from fastml._core._types cimport floating

cdef enum:
    BLOCK = 256  # rows of a column block
    ROW_BLOCK = 1024  # values of a block of contiguous ones
    PANEL = 64  # columns of a task
    WIDE = 256  # columns of a column block at most: their shifts and sums are 6 KiB and stay in the first-level cache


cdef struct Stats:
    double count
    double mean  # relative to the origin
    double m2


cdef inline double first_finite(const floating* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """The first finite value, or 0."""
    cdef Py_ssize_t i
    for i in range(n):
        if isfinite(x[i * stride]):
            return x[i * stride]
    return 0


cdef inline double middle(double a, double b, double c) noexcept nogil:
    """The median of three; NaN if one is."""
    cdef double low = a if a < b else b, high = b if a < b else a
    return (low if c < low else high if c > high else c) + 0 * (a + b + c)


cdef inline double origin_of(const floating* x, Py_ssize_t n, Py_ssize_t stride) noexcept nogil:
    """A finite value from the middle of three, or 0: the first alone may be an outlier, which would cost digits."""
    cdef double a = first_finite(x, n, stride), b = first_finite(x + n // 2 * stride, n - n // 2, stride)
    cdef double m = middle(a, b, x[(n - 1) * stride])
    return m if isfinite(m) else a


cdef inline double heaviest_of(
    const floating* x, const double* weight, Py_ssize_t n, Py_ssize_t stride
) noexcept nogil:
    """The first finite value of the greatest weight, or 0: what is subtracted should be among what counts."""
    cdef Py_ssize_t i, best = -1
    if weight is NULL:
        return origin_of(x, n, stride)
    for i in range(n):
        if isfinite(x[i * stride]) and (best < 0 or weight[i] > weight[best]):
            best = i
    return x[best * stride] if best >= 0 else 0


cdef inline void merge(Stats* a, double count, double mean, double m2) noexcept nogil:
    cdef double total = a.count + count
    cdef double delta = mean - a.mean
    if count == 0:
        return
    if a.count == 0:
        a.mean, a.m2 = mean, m2
    elif not isfinite(delta):  # infinity in the data, of which the mean is infinite, too
        a.mean += mean
        a.m2 = NAN
    else:
        a.mean += delta * (count / total)
        a.m2 += m2 + delta * delta * (a.count * (count / total))
    a.count = total


cdef inline void merge_sums(Stats* a, double count, double shift, double total, double squares) noexcept nogil:
    """Merge a block given as sums of x minus a shift, which is relative to the origin."""
    cdef double m2
    if count > 0:
        m2 = squares - total * (total / count)
        if squares == INFINITY:  # squares that overflow stay infinite; infinity in the data makes NaN, as in NumPy
            m2 = squares + 0 * total
        merge(a, count, shift + total / count, 0 if m2 < 0 else m2)  # rounding may make it negative


cdef inline void merge_one_by_one(
    Stats* a, const floating* x, const double* weight, Py_ssize_t n, Py_ssize_t stride, double origin
) noexcept nogil:
    """Merge a block with weights or NaN: the slow way. Without weights it is taken only when fast sums came out NaN."""
    cdef double shift = heaviest_of(x, weight, n, stride), total = 0, squares = 0, count = 0, w = 1, d, centre
    cdef Py_ssize_t i
    for i in range(n):
        w = weight[i] if weight is not NULL else 1
        if x[i * stride] == x[i * stride] and w > 0:
            total += w * (x[i * stride] - shift)
            count += w
    centre = total / count if count > 0 and isfinite(total) else 0
    total = 0
    for i in range(n):  # about the mean: an outlier of little weight may be far from all that counts
        w = weight[i] if weight is not NULL else 1
        if x[i * stride] == x[i * stride] and w > 0:
            d = (x[i * stride] - shift) - centre
            total += w * d
            squares += w * d * d
    merge_sums(a, count, (shift - origin) + centre, total, squares)


cdef inline void merge_row(
    Stats* a, const floating* x, const double* weight, Py_ssize_t n, double origin
) noexcept nogil:
    """Merge n contiguous values, block by block; weight may be NULL."""
    cdef double sums[2]
    cdef Py_ssize_t start = 0, length
    while start < n:
        length = min(ROW_BLOCK, n - start)
        sums[0] = NAN
        if weight is NULL:
            shifted_sums(1, 0, length, x + start, x[start], sums)
        if sums[0] == sums[0]:
            merge_sums(a, length, x[start] - origin, sums[0], sums[1])
        else:
            merge_one_by_one(a, x + start, NULL if weight is NULL else weight + start, length, 1, origin)
        start += length


cdef inline void merge_rows(
    Stats* a, const floating* x, const double* weight, Py_ssize_t rows, Py_ssize_t after, Py_ssize_t stride,
    Py_ssize_t width, const double* origin,
) noexcept nogil:
    """Merge `rows` rows into the statistics of `width` <= WIDE columns, each row `stride` values after the last.

    A block has rows from each of four places, a quarter of all rows apart; those left over join the last one. `weight`,
    one for each row, may be NULL. Vectors take up to 3 values more than there are columns, which must be in memory: as
    many rows come `after` these, or the last of these are left over.
    """
    cdef double total[WIDE]
    cdef double squares[WIDE]
    cdef double shift[WIDE]
    cdef Py_ssize_t padded = (width + 3) // 4 * 4, start = 0, length, last, rest, i, j, k
    cdef Py_ssize_t quarter = (rows if padded == width else max(rows - max(3 - after, 0), 0)) // 4
    cdef bint more = rows > 0
    while more:
        length = min(BLOCK // 4, quarter - start)
        more = start + length < quarter
        rest = 0 if more else rows - 4 * quarter
        last = 3 * quarter + start + length - 1 + rest
        for j in range(padded):
            shift[j] = total[j] = squares[j] = 0
        if weight is NULL:
            for j in range(width):
                shift[j] = middle(x[start * stride + j], x[(2 * quarter + start) * stride + j], x[last * stride + j])
            shifted_column_sums(length, stride, quarter * stride, padded, x + start * stride, shift, total, squares)
            for i in range(rows - rest, rows):
                for j in range(width):
                    total[j] += x[i * stride + j] - shift[j]
                    squares[j] += (x[i * stride + j] - shift[j]) * (x[i * stride + j] - shift[j])
        for j in range(width):
            if weight is NULL and total[j] == total[j]:
                merge_sums(&a[j], 4 * length + rest, shift[j] - origin[j], total[j], squares[j])
                continue
            for k in range(4 if length > 0 else 0):
                i = k * quarter + start
                merge_one_by_one(&a[j], x + i * stride + j, NULL if weight is NULL else weight + i, length, stride,
                                 origin[j])
            if rest > 0:
                i = rows - rest
                merge_one_by_one(&a[j], x + i * stride + j, NULL if weight is NULL else weight + i, rest, stride,
                                 origin[j])
        start += length
