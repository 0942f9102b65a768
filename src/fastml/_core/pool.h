/* Rows of pooling windows with stride 2: a vector of neighbouring windows at a time, from registers.

   `rows` (1 to 3) and `taps` (2 or 3: values of a window in a row) are constants where these are inlined. No load
   reaches beyond the last window: three taps take their last two from a load that starts at 1. The last vector of a row
   overlaps the one before, so that only rows of less than a vector are left to a scalar loop. */

#ifndef FASTML_POOL_H
#define FASTML_POOL_H

#include "simd.h"

/* Ask for what will be read soon. Processors fetch ahead along an array by themselves, but not into the next page of
   4 KiB: for arrays larger than the caches this saves 20 to 50 % of the time (float64, two threads, measured). */
static inline void fetch_next_page(const void *row, const void *next_row) {
    __builtin_prefetch((const char *)row + 4096);
    __builtin_prefetch((const char *)next_row + 4096);
}

/* b > a ? b : a, which has an instruction of its own on x86, in which C has no word for vectors: with NaN in either it
   is a. */
#if defined(__AVX__)
#define MAX_F32(b, a) _mm256_max_ps(b, a)
#define MAX_F64(b, a) _mm256_max_pd(b, a)
#elif defined(__SSE2__)
#define MAX_F32(b, a) _mm_max_ps(b, a)
#define MAX_F64(b, a) _mm_max_pd(b, a)
#else
#define MAX_F32(b, a) select_f32(b > a, b, a)
#define MAX_F64(b, a) select_f64(b > a, b, a)
#endif

typedef int64_t mask_lanes __attribute__((vector_size(32)));

#define DEFINE_MAXIMA(SUFFIX, REAL, VECTOR, MASK, MAX, EVENS, ODDS, IN_ORDER, SHIFTED)                                 \
    static inline VECTOR select_##SUFFIX(MASK mask, VECTOR yes, VECTOR no) {                                           \
        return (VECTOR)((mask & (MASK)yes) | (~mask & (MASK)no)); /* becomes one blend */                              \
    }                                                                                                                  \
    static inline VECTOR greater_##SUFFIX(VECTOR a, VECTOR b) { /* a if equal; NaN in either gives one */              \
        return (VECTOR)((MASK)MAX(b, a) | (b != b));                                                                   \
    }                                                                                                                  \
    static inline VECTOR evens_##SUFFIX(const REAL *x) {                                                               \
        const VECTOR *v = (const VECTOR *)x;                                                                           \
        return SHUFFLE(MASK, v[0], v[1], EVENS);                                                                       \
    }                                                                                                                  \
    static inline VECTOR odds_##SUFFIX(const REAL *x) {                                                                \
        const VECTOR *v = (const VECTOR *)x;                                                                           \
        return SHUFFLE(MASK, v[0], v[1], ODDS);                                                                        \
    }                                                                                                                  \
    static inline VECTOR in_order_##SUFFIX(VECTOR v) { return SHUFFLE(MASK, v, v, IN_ORDER); }                         \
    static inline VECTOR column_##SUFFIX(int rows, ptrdiff_t width, const REAL *x) { /* maximum down the rows */       \
        VECTOR best = *(const VECTOR *)x;                                                                              \
        if (rows > 1) best = greater_##SUFFIX(best, *(const VECTOR *)(x + width));                                     \
        if (rows > 2) best = greater_##SUFFIX(best, *(const VECTOR *)(x + 2 * width));                                 \
        return best;                                                                                                   \
    }                                                                                                                  \
    static inline VECTOR max_windows_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x) {                    \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR low = column_##SUFFIX(rows, width, x), high = column_##SUFFIX(rows, width, x + LANES);                  \
        VECTOR best = SHUFFLE(MASK, low, high, EVENS);                                                                 \
        if (taps == 3) {                                                                                               \
            low = column_##SUFFIX(rows, width, x + 1), high = column_##SUFFIX(rows, width, x + 1 + LANES);             \
            best = greater_##SUFFIX(best, SHUFFLE(MASK, low, high, EVENS));                                            \
        }                                                                                                              \
        return in_order_##SUFFIX(greater_##SUFFIX(best, SHUFFLE(MASK, low, high, ODDS)));                              \
    }                                                                                                                  \
    static inline void keep_##SUFFIX(VECTOR value, REAL tap, VECTOR *best, VECTOR *where) { /* the first of equals */  \
        MASK take = (value > *best) | ((value != value) & (*best == *best));                                           \
        *where = select_##SUFFIX(take, tap - (VECTOR){0}, *where);                                                     \
        *best = select_##SUFFIX(take, value, *best);                                                                   \
    }                                                                                                                  \
    static inline void keep_row_##SUFFIX(int taps, REAL offset, const REAL *x, VECTOR *best, VECTOR *where) {          \
        keep_##SUFFIX(evens_##SUFFIX(x), offset, best, where);                                                         \
        if (taps == 2) {                                                                                               \
            keep_##SUFFIX(odds_##SUFFIX(x), offset + 1, best, where);                                                  \
        } else {                                                                                                       \
            keep_##SUFFIX(evens_##SUFFIX(x + 1), offset + 1, best, where);                                             \
            keep_##SUFFIX(odds_##SUFFIX(x + 1), offset + 2, best, where);                                              \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void max_row_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x, ptrdiff_t n, REAL *out) {  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t j = 0;                                                                                               \
        if (taps == 3 && n >= 2 * LANES) { /* third values are the first ones of the next windows: no second load */   \
            VECTOR low = column_##SUFFIX(rows, width, x), high = column_##SUFFIX(rows, width, x + LANES);              \
            VECTOR first = in_order_##SUFFIX(SHUFFLE(MASK, low, high, EVENS));                                         \
            for (; j + 2 * LANES <= n; j += LANES) {                                                                   \
                const REAL *next = x + 2 * (j + LANES);                                                                \
                fetch_next_page(next, next + width);                                                                   \
                VECTOR second = in_order_##SUFFIX(SHUFFLE(MASK, low, high, ODDS));                                     \
                low = column_##SUFFIX(rows, width, next), high = column_##SUFFIX(rows, width, next + LANES);           \
                VECTOR after = in_order_##SUFFIX(SHUFFLE(MASK, low, high, EVENS));                                     \
                VECTOR third = SHUFFLE(MASK, first, after, SHIFTED);                                                   \
                *(VECTOR *)(out + j) = greater_##SUFFIX(greater_##SUFFIX(first, second), third);                       \
                first = after;                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        for (; j + LANES <= n; j += LANES) {                                                                           \
            fetch_next_page(x + 2 * j, x + 2 * j + width);                                                             \
            *(VECTOR *)(out + j) = max_windows_##SUFFIX(rows, taps, width, x + 2 * j);                                 \
        }                                                                                                              \
        if (j < n) *(VECTOR *)(out + n - LANES) = max_windows_##SUFFIX(rows, taps, width, x + 2 * (n - LANES));        \
    }                                                                                                                  \
    /* `base` is the index of x[0]; the index of a maximum within its window is kept as a REAL, exact up to 2^24 */    \
    static inline void argmax_windows_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x, int64_t base,       \
                                               REAL *out, int64_t *indices) {                                          \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR best = evens_##SUFFIX(x), where = {0};                                                                  \
        keep_row_##SUFFIX(taps, 0, x, &best, &where);                                                                  \
        if (rows > 1) keep_row_##SUFFIX(taps, (REAL)width, x + width, &best, &where);                                  \
        if (rows > 2) keep_row_##SUFFIX(taps, (REAL)(2 * width), x + 2 * width, &best, &where);                        \
        *(VECTOR *)out = in_order_##SUFFIX(best);                                                                      \
        where = in_order_##SUFFIX(where);                                                                              \
        for (int lane = 0; lane < LANES; lane++) indices[lane] = base + 2 * lane + (int32_t)where[lane];               \
    }                                                                                                                  \
    static inline void argmax_row_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x, ptrdiff_t n,            \
                                           int64_t base, REAL *out, int64_t *indices) {                                \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        for (ptrdiff_t j = 0; j < n; j += LANES) {                                                                     \
            ptrdiff_t at = j + LANES <= n ? j : n - LANES;                                                             \
            fetch_next_page(x + 2 * at, x + 2 * at + width);                                                           \
            argmax_windows_##SUFFIX(rows, taps, width, x + 2 * at, base + 2 * at, out + at, indices + at);             \
        }                                                                                                              \
    }
DEFINE_MAXIMA(f32, float, vector_f32, mask_f32, MAX_F32, EVENS_F32, ODDS_F32, IN_ORDER_F32, SHIFTED_F32)
DEFINE_MAXIMA(f64, double, vector_f64, mask_f64, MAX_F64, EVENS_F64, ODDS_F64, IN_ORDER_F64, SHIFTED_F64)

/* Sums of windows in float64, over `rows_divisor * columns[j]`: lanes of 4 doubles, whatever x is. */
#define DEFINE_MEANS(SUFFIX, REAL, LANES_OF_REAL)                                                                      \
    static inline lanes_f64 down_##SUFFIX(int rows, ptrdiff_t width, const REAL *x) { /* sum down the rows */          \
        lanes_f64 sum = FOUR_DOUBLES(x);                                                                               \
        if (rows > 1) sum += FOUR_DOUBLES(x + width);                                                                  \
        if (rows > 2) sum += FOUR_DOUBLES(x + 2 * width);                                                              \
        return sum;                                                                                                    \
    }                                                                                                                  \
    static inline void divide_##SUFFIX(lanes_f64 sum, double divisor, const double *columns, REAL *out) {              \
        sum /= divisor * *(const lanes_f64 *)columns;                                                                  \
        *(LANES_OF_REAL *)out = __builtin_convertvector(sum, LANES_OF_REAL);                                           \
    }                                                                                                                  \
    static inline lanes_f64 sum_windows_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x) {                 \
        lanes_f64 low = down_##SUFFIX(rows, width, x), high = down_##SUFFIX(rows, width, x + 4);                       \
        lanes_f64 first = SHUFFLE(mask_lanes, low, high, 0, 2, 4, 6);                                                  \
        if (taps == 2) return first + SHUFFLE(mask_lanes, low, high, 1, 3, 5, 7);                                      \
        low = down_##SUFFIX(rows, width, x + 1), high = down_##SUFFIX(rows, width, x + 5);                             \
        return first + SHUFFLE(mask_lanes, low, high, 0, 2, 4, 6) + SHUFFLE(mask_lanes, low, high, 1, 3, 5, 7);        \
    }                                                                                                                  \
    static inline void mean_row_##SUFFIX(int rows, int taps, ptrdiff_t width, const REAL *x, ptrdiff_t n,              \
                                         double divisor, const double *columns, REAL *out) {                           \
        ptrdiff_t j = 0;                                                                                               \
        if (taps == 3 && n >= 8) { /* third values are the first ones of the next windows: no second load */           \
            lanes_f64 low = down_##SUFFIX(rows, width, x), high = down_##SUFFIX(rows, width, x + 4);                   \
            lanes_f64 first = SHUFFLE(mask_lanes, low, high, 0, 2, 4, 6);                                              \
            lanes_f64 second = SHUFFLE(mask_lanes, low, high, 1, 3, 5, 7);                                             \
            for (; j + 8 <= n; j += 4) {                                                                               \
                const REAL *next = x + 2 * j + 8;                                                                      \
                fetch_next_page(next, next + width);                                                                   \
                low = down_##SUFFIX(rows, width, next), high = down_##SUFFIX(rows, width, next + 4);                   \
                lanes_f64 after = SHUFFLE(mask_lanes, low, high, 0, 2, 4, 6);                                          \
                lanes_f64 third = SHUFFLE(mask_lanes, first, after, 1, 2, 3, 4);                                       \
                divide_##SUFFIX(first + second + third, divisor, columns + j, out + j);                                \
                first = after, second = SHUFFLE(mask_lanes, low, high, 1, 3, 5, 7);                                    \
            }                                                                                                          \
        }                                                                                                              \
        for (; j < n; j += 4) {                                                                                        \
            ptrdiff_t at = j + 4 <= n ? j : n - 4;                                                                     \
            fetch_next_page(x + 2 * at, x + 2 * at + width);                                                           \
            divide_##SUFFIX(sum_windows_##SUFFIX(rows, taps, width, x + 2 * at), divisor, columns + at, out + at);     \
        }                                                                                                              \
    }
DEFINE_MEANS(f32, float, lanes_f32)
DEFINE_MEANS(f64, double, lanes_f64)

#define max_row(rows, taps, width, x, ...) BY_TYPE(x, max_row)(rows, taps, width, x, __VA_ARGS__)
#define argmax_row(rows, taps, width, x, ...) BY_TYPE(x, argmax_row)(rows, taps, width, x, __VA_ARGS__)
#define mean_row(rows, taps, width, x, ...) BY_TYPE(x, mean_row)(rows, taps, width, x, __VA_ARGS__)

#endif
