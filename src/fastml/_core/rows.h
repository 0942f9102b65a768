/* Rows of images on their way into a convolution and out of it. */

#ifndef FASTML_ROWS_H
#define FASTML_ROWS_H

#include "simd.h"

/* to[t] = row[t * stride] for t from `first` to `last`, and 0 for the others of n. Where first < last, row[first * stride]
   to row[(last - 1) * stride] are in the image. */
#define DEFINE_COPY_ROW(SUFFIX, REAL, VECTOR, MASK, EVENS, ODDS, IN_ORDER)                                             \
    static inline void copy_row_##SUFFIX(const REAL *row, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t last,           \
                                         ptrdiff_t n, REAL *to) {                                                      \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t t = 0;                                                                                               \
        for (; t < first; t++) to[t] = 0;                                                                              \
        if (stride == 1) {                                                                                             \
            for (; t + LANES <= last; t += LANES) *(VECTOR *)(to + t) = *(const VECTOR *)(row + t);                    \
            if (t < last && t > first) { /* the last vector overlaps the one before */                                 \
                *(VECTOR *)(to + last - LANES) = *(const VECTOR *)(row + last - LANES);                                \
                t = last;                                                                                              \
            }                                                                                                          \
        } else if (stride == 2) { /* reads one value more than it needs: the last vector has it before, not behind */  \
            for (; t + LANES < last; t += LANES) {                                                                     \
                const VECTOR *v = (const VECTOR *)(row + 2 * t);                                                       \
                VECTOR evens = SHUFFLE(MASK, v[0], v[1], EVENS);                                                       \
                *(VECTOR *)(to + t) = SHUFFLE(MASK, evens, evens, IN_ORDER);                                           \
            }                                                                                                          \
            if (t < last && t > first) {                                                                               \
                const VECTOR *v = (const VECTOR *)(row + 2 * (last - LANES) - 1);                                      \
                VECTOR odds = SHUFFLE(MASK, v[0], v[1], ODDS);                                                         \
                *(VECTOR *)(to + last - LANES) = SHUFFLE(MASK, odds, odds, IN_ORDER);                                  \
                t = last;                                                                                              \
            }                                                                                                          \
        }                                                                                                              \
        for (; t < last; t++) to[t] = row[t * stride];                                                                 \
        for (; t < n; t++) to[t] = 0;                                                                                  \
    }
DEFINE_COPY_ROW(f32, float, vector_f32, mask_f32, EVENS_F32, ODDS_F32, IN_ORDER_F32)
DEFINE_COPY_ROW(f64, double, vector_f64, mask_f64, EVENS_F64, ODDS_F64, IN_ORDER_F64)

/* Both phases of a row with stride 2, each vector read once: even[t] = row[2 * t] for t from `first` to `last`, odd[t] =
   row[2 * t + 1] for t from `first_odd` to `last_odd`, and 0 for the others of n. */
#define DEFINE_COPY_PHASES(SUFFIX, REAL, VECTOR, MASK, EVENS, ODDS, IN_ORDER)                                          \
    static inline void copy_phases_##SUFFIX(const REAL *row, ptrdiff_t first, ptrdiff_t last, ptrdiff_t first_odd,     \
                                            ptrdiff_t last_odd, ptrdiff_t n, REAL *even, REAL *odd) {                  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t begin = first > first_odd ? first : first_odd, end = last < last_odd ? last : last_odd, t = 0;       \
        int vectors = end - begin >= LANES;                                                                            \
        for (; t < (vectors ? begin : n); t++) {                                                                       \
            even[t] = first <= t && t < last ? row[2 * t] : 0;                                                         \
            odd[t] = first_odd <= t && t < last_odd ? row[2 * t + 1] : 0;                                              \
        }                                                                                                              \
        for (; t < end; t += LANES) {                                                                                  \
            if (t + LANES > end) t = end - LANES; /* the last vector overlaps the one before */                        \
            const VECTOR *v = (const VECTOR *)(row + 2 * t);                                                           \
            VECTOR evens = SHUFFLE(MASK, v[0], v[1], EVENS), odds = SHUFFLE(MASK, v[0], v[1], ODDS);                   \
            *(VECTOR *)(even + t) = SHUFFLE(MASK, evens, evens, IN_ORDER);                                             \
            *(VECTOR *)(odd + t) = SHUFFLE(MASK, odds, odds, IN_ORDER);                                                \
        }                                                                                                              \
        for (; t < n; t++) {                                                                                           \
            even[t] = t < last ? row[2 * t] : 0;                                                                       \
            odd[t] = t < last_odd ? row[2 * t + 1] : 0;                                                                \
        }                                                                                                              \
    }
DEFINE_COPY_PHASES(f32, float, vector_f32, mask_f32, EVENS_F32, ODDS_F32, IN_ORDER_F32)
DEFINE_COPY_PHASES(f64, double, vector_f64, mask_f64, EVENS_F64, ODDS_F64, IN_ORDER_F64)

/* out = sums + bias + residual, then ReLU: what is done while the sums are in the first-level cache. residual may be
   NULL. */
#define DEFINE_FINISH_ROW(SUFFIX, REAL, VECTOR)                                                                        \
    INLINE void finish_some_##SUFFIX(ptrdiff_t n, const REAL *sums, REAL bias, const REAL *residual, int relu,         \
                                     REAL *out) {                                                                      \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t j = 0;                                                                                               \
        for (; j + LANES <= n; j += LANES) {                                                                           \
            VECTOR y = *(const VECTOR *)(sums + j) + bias;                                                             \
            if (residual) y += *(const VECTOR *)(residual + j);                                                        \
            *(VECTOR *)(out + j) = relu ? relu_##SUFFIX(y) : y;                                                        \
        }                                                                                                              \
        for (; j < n; j++) {                                                                                           \
            REAL y = sums[j] + bias;                                                                                   \
            if (residual) y += residual[j];                                                                            \
            out[j] = relu && y < 0 ? 0 : y;                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void finish_row_##SUFFIX(ptrdiff_t n, const REAL *sums, REAL bias, const REAL *residual, int relu,   \
                                           REAL *out) {                                                                \
        if (residual) {                                                                                                \
            FIX(relu, finish_some_##SUFFIX(n, sums, bias, residual, relu, out))                                        \
        } else {                                                                                                       \
            FIX(relu, finish_some_##SUFFIX(n, sums, bias, NULL, relu, out))                                            \
        }                                                                                                              \
    }
DEFINE_FINISH_ROW(f32, float, vector_f32)
DEFINE_FINISH_ROW(f64, double, vector_f64)

#define copy_row(row, ...) BY_TYPE(row, copy_row)(row, __VA_ARGS__)
#define copy_phases(row, ...) BY_TYPE(row, copy_phases)(row, __VA_ARGS__)
#define finish_row(n, sums, ...) BY_TYPE(sums, finish_row)(n, sums, __VA_ARGS__)

#endif
