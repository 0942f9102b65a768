/* Convolution for a single output: rows of windows, vectors along the row, finished in registers. */

#ifndef FASTML_DEPTHWISE_H
#define FASTML_DEPTHWISE_H

#include "tile.h"

#define DEFINE_DEPTHWISE(SUFFIX, REAL, VECTOR, MASK, EVENS, ODDS, IN_ORDER, LANE_NUMBERS)                             \
    INLINE void finish_##SUFFIX(VECTOR y, const REAL *residual, int relu, ptrdiff_t n, REAL *out) {                    \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        if (n >= LANES) {                                                                                              \
            if (residual) y += *(const VECTOR *)residual;                                                              \
            *(VECTOR *)out = relu ? relu_##SUFFIX(y) : y;                                                              \
        } else {                                                                                                       \
            REAL part[LANES];                                                                                          \
            *(VECTOR *)part = y;                                                                                       \
            finish_part_##SUFFIX(1, n, part, 0, residual, relu, out, 0);                                               \
        }                                                                                                              \
    }                                                                                                                  \
    /* Any number of taps, for `vectors` at a time: one weight is loaded for all of them. x is a padded copy of the     \
       image, tap k of neighbouring windows `offset[k]` from the first window's place, next to each other. */          \
    INLINE void weigh_##SUFFIX(int vectors, ptrdiff_t taps, const REAL *weight, const REAL *x, const int32_t *offset,  \
                               REAL bias, const REAL *residual, int relu, ptrdiff_t n, REAL *out) {                    \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR sum[8];                                                                                                 \
        _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++) sum[v] = bias - (VECTOR){0};                         \
        for (ptrdiff_t k = 0; k < taps; k++) {                                                                         \
            const VECTOR *row = (const VECTOR *)(x + offset[k]);                                                       \
            _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++) sum[v] += weight[k] * row[v];                    \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int v = 0; v < vectors; v++)                                                      \
            finish_##SUFFIX(sum[v], AT(residual, v * LANES), relu, n - v * LANES, out + v * LANES);                    \
    }                                                                                                                  \
    static __attribute__((noinline)) void weigh_row_##SUFFIX(                                                          \
        ptrdiff_t n, ptrdiff_t taps, const REAL *weight, const REAL *x, const int32_t *offset, REAL bias,              \
        const REAL *residual, int relu, REAL *out) {                                                                   \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t j = 0;                                                                                               \
        for (; j + 8 * LANES <= n; j += 8 * LANES)                                                                     \
            weigh_##SUFFIX(8, taps, weight, x + j, offset, bias, AT(residual, j), relu, n - j, out + j);               \
        for (; j + 2 * LANES < n; j += 3 * LANES)                                                                      \
            weigh_##SUFFIX(3, taps, weight, x + j, offset, bias, AT(residual, j), relu, n - j, out + j);               \
        if (j < n) weigh_##SUFFIX(2, taps, weight, x + j, offset, bias, AT(residual, j), relu, n - j, out + j);        \
    }                                                                                                                  \
    /* The 3 taps in one row of a vector of windows; with stride 2, all in the order that SHUFFLE gives. */             \
    INLINE void taps_##SUFFIX(int stride, const REAL *x, VECTOR *tap) {                                                \
        if (stride == 1) {                                                                                             \
            for (int k = 0; k < 3; k++) tap[k] = *(const VECTOR *)(x + k);                                             \
        } else {                                                                                                       \
            const VECTOR *v = (const VECTOR *)x, *next = (const VECTOR *)(x + 1);                                      \
            tap[0] = SHUFFLE(MASK, v[0], v[1], EVENS), tap[1] = SHUFFLE(MASK, v[0], v[1], ODDS);                       \
            tap[2] = SHUFFLE(MASK, next[0], next[1], ODDS);                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    /* 3 x 3 windows of one channel: a row of them, or two (`pair`), which share two of the rows that they read. x[i]   \
       is where the first window begins in row i, `pad` before the image, whose rows have w values; what is read beyond \
       does not count. */                                                                                              \
    INLINE void windows_##SUFFIX(int stride, int pair, ptrdiff_t n, const REAL *weight, const REAL *const *x,          \
                                 ptrdiff_t w, ptrdiff_t pad, REAL bias, const REAL *residual, int relu, REAL *out,     \
                                 ptrdiff_t pitch) {                                                                    \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        const REAL *top = x[0], *second_row = x[1], *third_row = x[2], *bottom = x[2 + pair];                          \
        MASK lane = LANE_NUMBERS;                                                                                      \
        if (stride == 2) lane = (MASK){IN_ORDER};                                                                      \
        VECTOR k[9];                                                                                                   \
        _Pragma("GCC unroll 9") for (int i = 0; i < 9; i++) k[i] = weight[i] - (VECTOR){0};                            \
        for (ptrdiff_t j = 0; j < n; j += LANES) {                                                                     \
            if (j + LANES > n && n > LANES) j = n - LANES;                                                             \
            ptrdiff_t first = j * stride - pad;                                                                        \
            int edge = first < 0 || first + (LANES - 1) * stride + 2 >= w;                                             \
            VECTOR y = bias - (VECTOR){0}, z = y;                                                                      \
            _Pragma("GCC unroll 4") for (int i = 0; i < 3 + pair; i++) {                                               \
                VECTOR tap[3];                                                                                         \
                taps_##SUFFIX(stride, (i == 0 ? top : i == 1 ? second_row : i == 2 ? third_row : bottom) + j * stride, tap); \
                _Pragma("GCC unroll 3") for (int c = 0; c < 3; c++) {                                                  \
                    if (edge) {                                                                                        \
                        MASK column = lane * stride + (int)(first + c);                                                \
                        tap[c] = (VECTOR)((MASK)tap[c] & (column >= 0) & (column < (int)w));                           \
                    }                                                                                                  \
                    if (i > 0 && i < 3 && pair) KEEP(tap[c]);                                                          \
                    if (i < 3) y += k[i % 3 * 3 + c] * tap[c];                                                         \
                    if (i > 0 && pair) z += k[(i + 2) % 3 * 3 + c] * tap[c];                                           \
                }                                                                                                      \
            }                                                                                                          \
            if (stride == 2) y = SHUFFLE(MASK, y, y, IN_ORDER);                                                        \
            finish_##SUFFIX(y, AT(residual, j), relu, n - j, out + j);                                                 \
            if (pair) finish_##SUFFIX(z, AT(residual, pitch + j), relu, n - j, out + pitch + j);                       \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void weigh_3x3_##SUFFIX(                                                          \
        int stride, int pair, ptrdiff_t n, const REAL *weight, const REAL *const *x, ptrdiff_t w, ptrdiff_t pad,       \
        REAL bias, const REAL *residual, int relu, REAL *out, ptrdiff_t pitch) {                                       \
        if (stride == 2) windows_##SUFFIX(2, 0, n, weight, x, w, pad, bias, residual, relu, out, pitch);               \
        else FIX(pair, windows_##SUFFIX(1, pair, n, weight, x, w, pad, bias, residual, relu, out, pitch))              \
    }
DEFINE_DEPTHWISE(f32, float, vector_f32, mask_f32, EVENS_F32, ODDS_F32, IN_ORDER_F32, LANE_NUMBERS_F32)
DEFINE_DEPTHWISE(f64, double, vector_f64, mask_f64, EVENS_F64, ODDS_F64, IN_ORDER_F64, LANE_NUMBERS_F64)

#define weigh_row(n, taps, weight, ...) BY_TYPE(weight, weigh_row)(n, taps, weight, __VA_ARGS__)
#define weigh_3x3(stride, pair, n, weight, x, ...)                                                                     \
    BY_TYPE(weight, weigh_3x3)(stride, pair, n, weight, (void *)(x), __VA_ARGS__)

#endif
