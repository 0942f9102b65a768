/* The one microkernel of matrix products: 4 rows of a, up to 3 vectors of columns of b, all sums in registers.

   4 x 3 = 12 sums, 3 vectors of b and 1 value of a, broadcast, are the 16 registers that SSE and AVX have. Each step loads
   3 + 4 times for 12 multiplications, and 12 independent sums hide the 4-cycle latency of 2 FMA units (8 would): 97 to 99 %
   of the peak from 64 steps on (Zen 4, measured; 6 rows x 2 vectors are as fast). Columns of b may start anywhere:
   offset[k] says where step k finds them. So a convolution needs no matrix of patches: its steps are the taps, and
   offset[k] is where the window's tap k lies in a padded image. */

#ifndef FASTML_TILE_H
#define FASTML_TILE_H

#include "simd.h"

#define PANEL 4 /* rows of a */
#define LANES_F32 (VECTOR_BYTES / 4)
#define LANES_F64 (VECTOR_BYTES / 8)

/* sums[i][j] = sum over k of a[k][i] * b[offset[k] + j], added to what is there if `add`, for 4 rows and 1 to 3 vectors,
   a number that is a constant where this is inlined. `pitch` is the distance of two rows of sums. */
#define DEFINE_TILE(SUFFIX, REAL, VECTOR)                                                                              \
    INLINE void steps_##SUFFIX(int vectors, ptrdiff_t depth, const REAL *a, const REAL *b, const int32_t *offset,      \
                               VECTOR (*sum)[3]) {                                                                     \
        for (ptrdiff_t k = 0; k < depth; k++, a += PANEL) {                                                            \
            const VECTOR *row = (const VECTOR *)(b + offset[k]);                                                       \
            VECTOR x[3];                                                                                               \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) x[v] = row[v];                                   \
            _Pragma("GCC unroll 4") for (int i = 0; i < PANEL; i++)                                                    \
                _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) sum[i][v] += a[i] * x[v];                    \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void tile_##SUFFIX(int vectors, ptrdiff_t depth, const REAL *a, const REAL *b, const int32_t *offset,       \
                              int add, REAL *sums, ptrdiff_t pitch) {                                                  \
        VECTOR sum[PANEL][3] = {{{0}}};                                                                                \
        steps_##SUFFIX(vectors, depth, a, b, offset, sum);                                                             \
        _Pragma("GCC unroll 4") for (int i = 0; i < PANEL; i++, sums += pitch)                                         \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) {                                                \
                if (add) sum[i][v] += ((VECTOR *)sums)[v];                                                             \
                ((VECTOR *)sums)[v] = sum[i][v];                                                                       \
            }                                                                                                          \
    }                                                                                                                  \
    INLINE void panels_##SUFFIX(int vectors, ptrdiff_t panels, ptrdiff_t depth, const REAL *a, ptrdiff_t next,         \
                                const REAL *b, const int32_t *offset, int add, REAL *sums, ptrdiff_t pitch) {          \
        for (; panels > 0; panels--, a += next, sums += PANEL * pitch)                                                 \
            tile_##SUFFIX(vectors, depth, a, b, offset, add, sums, pitch);                                             \
    }                                                                                                                  \
    static __attribute__((noinline)) void multiply_##SUFFIX(                                                           \
        ptrdiff_t vectors, ptrdiff_t panels, ptrdiff_t depth, const REAL *a, ptrdiff_t next, const REAL *b,            \
        const int32_t *offset, int add, REAL *sums, ptrdiff_t pitch) {                                                 \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        for (; vectors > 4 || vectors == 3; vectors -= 3, b += 3 * LANES, sums += 3 * LANES)                           \
            panels_##SUFFIX(3, panels, depth, a, next, b, offset, add, sums, pitch);                                   \
        for (; vectors > 1; vectors -= 2, b += 2 * LANES, sums += 2 * LANES)                                           \
            panels_##SUFFIX(2, panels, depth, a, next, b, offset, add, sums, pitch);                                   \
        if (vectors) panels_##SUFFIX(1, panels, depth, a, next, b, offset, add, sums, pitch);                          \
    }
DEFINE_TILE(f32, float, vector_f32)
DEFINE_TILE(f64, double, vector_f64)

/* The same for sums that one tile completes: they start from the bias, and residual and ReLU are done in registers. out
   and residual (or NULL) are `outputs` <= 4 rows, `plane` apart, of n values. What of a tile lies beyond goes through
   memory, by a function of its own: sums that are asked for one by one would all leave the registers. */
#define DEFINE_FINISH_PART(SUFFIX, REAL)                                                                               \
    static __attribute__((noinline)) void finish_part_##SUFFIX(int outputs, ptrdiff_t n, const REAL *sums,             \
                                                               ptrdiff_t pitch, const REAL *residual, int relu,        \
                                                               REAL *out, ptrdiff_t plane) {                           \
        for (int i = 0; i < outputs; i++, sums += pitch) {                                                             \
            for (ptrdiff_t j = 0; j < n; j++) {                                                                        \
                REAL y = residual ? sums[j] + residual[i * plane + j] : sums[j];                                       \
                out[i * plane + j] = relu && y < 0 ? 0 : y;                                                            \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFINE_FINISH_PART(f32, float)
DEFINE_FINISH_PART(f64, double)

#define DEFINE_FINISHED_TILE(SUFFIX, REAL, VECTOR)                                                                     \
    INLINE void finished_tile_##SUFFIX(int vectors, ptrdiff_t depth, const REAL *a, const REAL *b,                     \
                                       const int32_t *offset, int outputs, const REAL *bias, const REAL *residual,     \
                                       int relu, ptrdiff_t n, REAL *out, ptrdiff_t plane) {                            \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR sum[PANEL][3];                                                                                          \
        _Pragma("GCC unroll 4") for (int i = 0; i < PANEL; i++)                                                        \
            _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                                                  \
                sum[i][v] = bias[i < outputs ? i : 0] - (VECTOR){0};                                                   \
        steps_##SUFFIX(vectors, depth, a, b, offset, sum);                                                             \
        if (outputs == PANEL && n >= vectors * LANES) {                                                                \
            _Pragma("GCC unroll 4") for (int i = 0; i < PANEL; i++)                                                    \
                _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++) {                                            \
                    ptrdiff_t at = i * plane + v * LANES;                                                              \
                    if (residual) sum[i][v] += *(const VECTOR *)(residual + at);                                       \
                    *(VECTOR *)(out + at) = relu ? relu_##SUFFIX(sum[i][v]) : sum[i][v];                               \
                }                                                                                                      \
        } else {                                                                                                       \
            REAL part[PANEL * 3 * LANES];                                                                              \
            _Pragma("GCC unroll 4") for (int i = 0; i < PANEL; i++)                                                    \
                _Pragma("GCC unroll 3") for (int v = 0; v < vectors; v++)                                              \
                    *(VECTOR *)(part + (i * vectors + v) * LANES) = sum[i][v];                                         \
            finish_part_##SUFFIX(outputs, n < vectors * LANES ? n : vectors * LANES, part, vectors * LANES, residual,  \
                                 relu, out, plane);                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void multiply_and_finish_##SUFFIX(                                                \
        ptrdiff_t n, ptrdiff_t depth, const REAL *a, const REAL *b, const int32_t *offset, int outputs,                \
        const REAL *bias, const REAL *residual, int relu, REAL *out, ptrdiff_t plane) {                                \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t vectors = (n + LANES - 1) / LANES, j = 0;                                                            \
        for (; vectors > 4 || vectors == 3; vectors -= 3, j += 3 * LANES)                                              \
            finished_tile_##SUFFIX(3, depth, a, b + j, offset, outputs, bias, AT(residual, j), relu, n - j, out + j,   \
                                   plane);                                                                             \
        for (; vectors > 1; vectors -= 2, j += 2 * LANES)                                                              \
            finished_tile_##SUFFIX(2, depth, a, b + j, offset, outputs, bias, AT(residual, j), relu, n - j, out + j,   \
                                   plane);                                                                             \
        if (vectors)                                                                                                   \
            finished_tile_##SUFFIX(1, depth, a, b + j, offset, outputs, bias, AT(residual, j), relu, n - j, out + j,   \
                                   plane);                                                                             \
    }
DEFINE_FINISHED_TILE(f32, float, vector_f32)
DEFINE_FINISHED_TILE(f64, double, vector_f64)

/* The product of `panels` of a, `next` values from one to the next, with `vectors` of columns: by 3 vectors, the last ones
   by 2, as a tile of 2 wastes nothing and one of 1 half. What is read of b stays in the first-level cache for all panels.
   Not inlined: among the caller's variables GCC keeps some of the sums in memory, at half the speed (measured). */
#define multiply(vectors, panels, depth, a, ...) BY_TYPE(a, multiply)(vectors, panels, depth, a, __VA_ARGS__)
#define multiply_and_finish(n, depth, a, ...) BY_TYPE(a, multiply_and_finish)(n, depth, a, __VA_ARGS__)

#endif
