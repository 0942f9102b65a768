/* Dot products of a few rows with a few others, vectors along the rows: nothing is packed, however few they are. */

#ifndef FASTML_DOTS_H
#define FASTML_DOTS_H

#include "simd.h"

/* sums[i][j] = a_i . b_j for 4 rows of a and `columns`, 1 to 3, of b: rows of n values, `a_pitch` and `b_pitch` apart. As
   many rows of a as there are, `rows`, count; for those that are missing the last one stands in. Each sum is its own
   vector, added up at the end, so that no bit depends on which other products are made beside it. */
#define DEFINE_DOTS(SUFFIX, REAL, VECTOR)                                                                              \
    INLINE REAL total_##SUFFIX(VECTOR sum) {                                                                           \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        REAL lane[LANES];                                                                                              \
        *(VECTOR *)lane = sum;                                                                                         \
        _Pragma("GCC unroll 4") for (int half = LANES / 2; half > 0; half /= 2)                                        \
            for (int l = 0; l < half; l++) lane[l] += lane[l + half];                                                  \
        return lane[0];                                                                                                \
    }                                                                                                                  \
    INLINE void some_dots_##SUFFIX(int columns, ptrdiff_t n, int rows, const REAL *a, ptrdiff_t a_pitch,               \
                                   const REAL *b, ptrdiff_t b_pitch, REAL *sums) {                                     \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        const REAL *row[4] = {a, a + (rows > 1 ? 1 : 0) * a_pitch, a + (rows > 2 ? 2 : rows - 1) * a_pitch,            \
                              a + (rows - 1) * a_pitch};                                                               \
        VECTOR sum[4][3] = {{{0}}};                                                                                    \
        ptrdiff_t k = 0;                                                                                               \
        for (; k + LANES <= n; k += LANES) {                                                                           \
            VECTOR x[3];                                                                                               \
            _Pragma("GCC unroll 3") for (int j = 0; j < columns; j++) x[j] = *(const VECTOR *)(b + j * b_pitch + k);   \
            _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {                                                      \
                VECTOR w = *(const VECTOR *)(row[i] + k);                                                              \
                _Pragma("GCC unroll 3") for (int j = 0; j < columns; j++) sum[i][j] += w * x[j];                       \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)                                                            \
            _Pragma("GCC unroll 3") for (int j = 0; j < columns; j++) sums[3 * i + j] = total_##SUFFIX(sum[i][j]);     \
        for (; k < n; k++)                                                                                             \
            for (int i = 0; i < rows; i++)                                                                             \
                for (int j = 0; j < columns; j++) sums[3 * i + j] += row[i][k] * b[j * b_pitch + k];                   \
    }                                                                                                                  \
    static __attribute__((noinline)) void dots_##SUFFIX(int columns, ptrdiff_t n, int rows, const REAL *a,             \
                                                        ptrdiff_t a_pitch, const REAL *b, ptrdiff_t b_pitch,           \
                                                        REAL *sums) {                                                  \
        if (columns == 3) some_dots_##SUFFIX(3, n, rows, a, a_pitch, b, b_pitch, sums);                                \
        else if (columns == 2) some_dots_##SUFFIX(2, n, rows, a, a_pitch, b, b_pitch, sums);                           \
        else some_dots_##SUFFIX(1, n, rows, a, a_pitch, b, b_pitch, sums);                                             \
    }
DEFINE_DOTS(f32, float, vector_f32)
DEFINE_DOTS(f64, double, vector_f64)

#define dots(columns, n, rows, a, ...) BY_TYPE(a, dots)(columns, n, rows, a, __VA_ARGS__)

#endif
