/* What the gradient of a convolution's weights is made of: products of gradients with what the taps of a kernel saw.

   `x` is where the first tap saw its value for the first pixel; tap t saw its own offset[t] further. For the pixel to the
   right all is `right` further, for the row below, `down`. */

#ifndef FASTML_CONV2D_BACKWARD_H
#define FASTML_CONV2D_BACKWARD_H

#include "simd.h"

typedef int32_t four_f32 __attribute__((vector_size(16)));
typedef int64_t four_f64 __attribute__((vector_size(32)));

#define OUTER_TAPS 6
#define DOT_TAPS 9

/* Gradients of 2 vectors of outputs, `apart` values from one output to the next, as (n, 2 vectors): pixel after pixel.
   Outputs from `outputs` on are absent, and zero. Four times four values change places in 8 instructions. */
#define DEFINE_INTERLEAVE(SUFFIX, REAL, LANES_4, MASK)                                                                 \
    static void interleave_##SUFFIX(ptrdiff_t outputs, ptrdiff_t n, ptrdiff_t apart, const REAL *grad, REAL *out) {    \
        enum { WIDTH = 2 * VECTOR_BYTES / sizeof(REAL) };                                                              \
        for (int o = 0; o < WIDTH; o += 4, grad += 4 * apart, out += 4) {                                              \
            ptrdiff_t p = 0;                                                                                           \
            for (; p + 4 <= n && o + 4 <= outputs; p += 4) {                                                           \
                const REAL *from = grad + p;                                                                           \
                REAL *to = out + p * WIDTH;                                                                            \
                LANES_4 a = *(const LANES_4 *)from, b = *(const LANES_4 *)(from + apart);                              \
                LANES_4 c = *(const LANES_4 *)(from + 2 * apart), d = *(const LANES_4 *)(from + 3 * apart);            \
                LANES_4 ac = SHUFFLE(MASK, a, c, 0, 4, 1, 5), bd = SHUFFLE(MASK, b, d, 0, 4, 1, 5);                    \
                *(LANES_4 *)to = SHUFFLE(MASK, ac, bd, 0, 4, 1, 5);                                                    \
                *(LANES_4 *)(to + WIDTH) = SHUFFLE(MASK, ac, bd, 2, 6, 3, 7);                                          \
                ac = SHUFFLE(MASK, a, c, 2, 6, 3, 7), bd = SHUFFLE(MASK, b, d, 2, 6, 3, 7);                            \
                *(LANES_4 *)(to + 2 * WIDTH) = SHUFFLE(MASK, ac, bd, 0, 4, 1, 5);                                      \
                *(LANES_4 *)(to + 3 * WIDTH) = SHUFFLE(MASK, ac, bd, 2, 6, 3, 7);                                      \
            }                                                                                                          \
            for (; p < n; p++)                                                                                         \
                for (int i = 0; i < 4; i++) out[p * WIDTH + i] = o + i < outputs ? grad[i * apart + p] : 0;            \
        }                                                                                                              \
    }
DEFINE_INTERLEAVE(f32, float, lanes_f32, four_f32)
DEFINE_INTERLEAVE(f64, double, lanes_f64, four_f64)

/* sums[t][o] += sum over pixels of x[offset[t]] * grad[o], for 1 to 6 taps and 2 vectors of outputs, which are those of
   interleave. 12 sums, 2 vectors of gradients and 1 broadcast value are 15 of the 16 registers that SSE and AVX have; 8
   loads for 12 multiplications leave these as the limit: 98 % of the FMA peak with 6 taps, 92 % with 4 (Zen 4, measured).
   No sum is over lanes, and no lane is a pixel: rows of 14 are as fast as long ones, stride 2 as stride 1. */
#define DEFINE_OUTER(SUFFIX, REAL, VECTOR)                                                                             \
    INLINE void outer_some_##SUFFIX(int taps, ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t down,        \
                                    ptrdiff_t right, const ptrdiff_t *offset, const REAL *grad, REAL *sums) {          \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR sum[OUTER_TAPS][2] = {{{0}}};                                                                           \
        for (; rows > 0; rows--, x += down) {                                                                          \
            const REAL *value = x;                                                                                     \
            for (ptrdiff_t j = 0; j < columns; j++, value += right, grad += 2 * LANES) {                               \
                VECTOR low = *(const VECTOR *)grad, high = *(const VECTOR *)(grad + LANES);                            \
                _Pragma("GCC unroll 6") for (int t = 0; t < taps; t++) {                                               \
                    sum[t][0] += value[offset[t]] * low;                                                               \
                    sum[t][1] += value[offset[t]] * high;                                                              \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 6") for (int t = 0; t < taps; t++, sums += 2 * LANES) {                                    \
            *(VECTOR *)sums += sum[t][0];                                                                              \
            *(VECTOR *)(sums + LANES) += sum[t][1];                                                                    \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void outer_product_##SUFFIX(                                                      \
        ptrdiff_t taps, ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t down, ptrdiff_t right,             \
        const ptrdiff_t *offset, const REAL *grad, REAL *sums) {                                                       \
        switch (taps) {                                                                                                \
        case 1: outer_some_##SUFFIX(1, rows, columns, x, down, right, offset, grad, sums); break;                      \
        case 2: outer_some_##SUFFIX(2, rows, columns, x, down, right, offset, grad, sums); break;                      \
        case 3: outer_some_##SUFFIX(3, rows, columns, x, down, right, offset, grad, sums); break;                      \
        case 4: outer_some_##SUFFIX(4, rows, columns, x, down, right, offset, grad, sums); break;                      \
        case 5: outer_some_##SUFFIX(5, rows, columns, x, down, right, offset, grad, sums); break;                      \
        default: outer_some_##SUFFIX(6, rows, columns, x, down, right, offset, grad, sums);                            \
        }                                                                                                              \
    }
DEFINE_OUTER(f32, float, vector_f32)
DEFINE_OUTER(f64, double, vector_f64)

/* sums[t] += sum over pixels of x[offset[t]] * grad, for up to 9 taps and one output, in vectors along the rows; `right` is
   1, and `pitch` leads from a row of gradients to the next. The last vector of a row may reach over its end: what lies
   there is read, so it must be memory, but no part of it, not even NaN, gets into a sum. 10 loads for 9 multiplications
   are 90 % of the FMA peak at best; 60 % are reached, as every other load straddles two cache lines (Zen 4, measured). */
#define DEFINE_DOTS(SUFFIX, REAL, VECTOR, MASK)                                                                        \
    static __attribute__((noinline)) void dot_products_##SUFFIX(                                                       \
        ptrdiff_t taps, ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t down, const ptrdiff_t *offset,     \
        const REAL *grad, ptrdiff_t pitch, REAL *sums) {                                                               \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR sum[DOT_TAPS] = {{0}};                                                                                  \
        MASK inside = {0};                                                                                             \
        ptrdiff_t at[DOT_TAPS], last = (columns - 1) / LANES * LANES;                                                  \
        for (int t = 0; t < DOT_TAPS; t++) at[t] = offset[t < taps ? t : 0];                                           \
        for (int i = 0; i < LANES; i++) inside[i] = last + i < columns ? -1 : 0;                                       \
        for (; rows > 0; rows--, x += down, grad += pitch) {                                                           \
            for (ptrdiff_t j = 0; j < last; j += LANES) {                                                              \
                VECTOR g = *(const VECTOR *)(grad + j);                                                                \
                _Pragma("GCC unroll 9") for (int t = 0; t < DOT_TAPS; t++)                                             \
                    sum[t] += g * *(const VECTOR *)(x + at[t] + j);                                                    \
            }                                                                                                          \
            VECTOR g = (VECTOR)(*(const MASK *)(grad + last) & inside);                                                \
            _Pragma("GCC unroll 9") for (int t = 0; t < DOT_TAPS; t++)                                                 \
                sum[t] += g * (VECTOR)(*(const MASK *)(x + at[t] + last) & inside);                                    \
        }                                                                                                              \
        for (int t = 0; t < taps; t++)                                                                                 \
            for (int i = 0; i < LANES; i++) sums[t] += sum[t][i];                                                      \
    }
typedef int32_t loose_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef int64_t loose_f64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
DEFINE_DOTS(f32, float, vector_f32, loose_f32)
DEFINE_DOTS(f64, double, vector_f64, loose_f64)

#define interleave(outputs, n, apart, grad, ...) BY_TYPE(grad, interleave)(outputs, n, apart, grad, __VA_ARGS__)
#define outer_product(taps, rows, columns, x, ...) BY_TYPE(x, outer_product)(taps, rows, columns, x, __VA_ARGS__)
#define dot_products(taps, rows, columns, x, ...) BY_TYPE(x, dot_products)(taps, rows, columns, x, __VA_ARGS__)

#endif
