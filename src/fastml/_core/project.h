/* Rows minus a mean, times the columns of a basis: 4 rows x up to 3 vectors of columns, all sums in registers. */

#ifndef FASTML_PROJECT_H
#define FASTML_PROJECT_H

#include "simd.h"

/* sums[i][c] += sum over j of (x[i][j] - mean[j]) * basis[j][c], for `rows` <= 4 rows of x, `pitch` apart (for those that
   are missing the last one stands in), and `vectors` of columns c. Rows of basis and of sums are 3 vectors. Subtractions
   have units of their own beside those of FMA (Zen 4): a centred copy would cost more than they do. */
#define DEFINE_PROJECT(SUFFIX, REAL, VECTOR)                                                                           \
    INLINE void project_on_##SUFFIX(int vectors, ptrdiff_t n, ptrdiff_t rows, const REAL *x, ptrdiff_t pitch,          \
                                    const REAL *mean, const REAL *basis, REAL *sums) {                                 \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        const REAL *row[4];                                                                                            \
        VECTOR sum[4][3];                                                                                              \
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {                                                          \
            row[i] = x + (i < rows ? i : rows - 1) * pitch;                                                            \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) sum[i][v] = ((VECTOR *)sums)[3 * i + v];         \
        }                                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++, basis += 3 * LANES) {                                                        \
            VECTOR b[3];                                                                                               \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) b[v] = ((const VECTOR *)basis)[v];               \
            _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {                                                      \
                REAL d = row[i][j] - mean[j];                                                                          \
                _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) sum[i][v] += d * b[v];                       \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)                                                            \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) ((VECTOR *)sums)[3 * i + v] = sum[i][v];         \
    }                                                                                                                  \
    static __attribute__((noinline)) void project_##SUFFIX(ptrdiff_t vectors, ptrdiff_t n, ptrdiff_t rows,             \
                                                           const REAL *x, ptrdiff_t pitch, const REAL *mean,           \
                                                           const REAL *basis, REAL *sums) {                            \
        if (vectors == 3) project_on_##SUFFIX(3, n, rows, x, pitch, mean, basis, sums);                                \
        else if (vectors == 2) project_on_##SUFFIX(2, n, rows, x, pitch, mean, basis, sums);                           \
        else project_on_##SUFFIX(1, n, rows, x, pitch, mean, basis, sums);                                             \
    }
DEFINE_PROJECT(f32, float, vector_f32)
DEFINE_PROJECT(f64, double, vector_f64)

#define project(vectors, n, rows, x, ...) BY_TYPE(x, project)(vectors, n, rows, x, __VA_ARGS__)

#endif
