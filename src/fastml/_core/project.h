/* Centred rows times a basis: 12 vectors of sums in registers, as 4 rows x 3 vectors of components, 6 x 2 or 12 x 1. */

#ifndef FASTML_PROJECT_H
#define FASTML_PROJECT_H

#include "simd.h"

#define PITCH 128 /* values from one centred row to the next, a constant: so 12 rows need one register */

/* sums[i][c] += sum over j < n of x[i][j] * basis[j][c], for `rows` rows and `vectors` of components, constants where
   this is inlined. Rows of sums are `width` values apart. */
#define DEFINE_PROJECT(SUFFIX, REAL, VECTOR)                                                                           \
    INLINE void project_some_##SUFFIX(int rows, int vectors, ptrdiff_t n, const REAL *x, const REAL *basis,            \
                                      REAL *sums, ptrdiff_t width) {                                                   \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR sum[12];                                                                                                \
        _Pragma("GCC unroll 12") for (int i = 0; i < rows; i++)                                                        \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                                                  \
                sum[i * vectors + v] = *(VECTOR *)(sums + i * width + v * LANES);                                      \
        for (ptrdiff_t j = 0; j < n; j++, basis += vectors * LANES) {                                                  \
            VECTOR b[3];                                                                                               \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) b[v] = ((const VECTOR *)basis)[v];               \
            _Pragma("GCC unroll 12") for (int i = 0; i < rows; i++)                                                    \
                _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                                              \
                    sum[i * vectors + v] += x[i * PITCH + j] * b[v];                                                   \
        }                                                                                                              \
        _Pragma("GCC unroll 12") for (int i = 0; i < rows; i++)                                                        \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                                                  \
                *(VECTOR *)(sums + i * width + v * LANES) = sum[i * vectors + v];                                      \
    }                                                                                                                  \
    INLINE void project_all_##SUFFIX(int vectors, ptrdiff_t rows, ptrdiff_t n, const REAL *x, const REAL *basis,       \
                                     REAL *sums, ptrdiff_t width, const REAL *next, ptrdiff_t apart) {                 \
        int some = 12 / vectors;                                                                                       \
        for (; rows > 0; rows -= some, x += some * PITCH, sums += some * width) {                                      \
            for (int i = 0; apart && i < some; i++, next += apart)                                                     \
                for (ptrdiff_t j = 0; j < n; j += 64 / sizeof(REAL)) __builtin_prefetch(next + j, 0, 2);               \
            project_some_##SUFFIX(some, vectors, n, x, basis, sums, width);                                            \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void project_##SUFFIX(                                                            \
        ptrdiff_t vectors, ptrdiff_t rows, ptrdiff_t n, const REAL *x, const REAL *basis, REAL *sums, ptrdiff_t width, \
        const REAL *next, ptrdiff_t apart) {                                                                           \
        if (vectors == 3) project_all_##SUFFIX(3, rows, n, x, basis, sums, width, next, apart);                        \
        else if (vectors == 2) project_all_##SUFFIX(2, rows, n, x, basis, sums, width, next, apart);                   \
        else project_all_##SUFFIX(1, rows, n, x, basis, sums, width, next, apart);                                     \
    }
DEFINE_PROJECT(f32, float, vector_f32)
DEFINE_PROJECT(f64, double, vector_f64)

/* As above, for any number of rows: up to 11 more than `rows` are read and computed, which must be memory. And before
   every few rows as many of the next ones, `apart` values from one to another (0: none), are asked for from memory: the
   processor does not guess them, and would wait for memory and multiply in turns (1.5 times as long, measured). */
#define project(vectors, rows, n, x, ...) BY_TYPE(x, project)(vectors, rows, n, x, __VA_ARGS__)

#endif
