/* Convolution for a single output: rows of windows, vectors along the row, finished in registers. */

#ifndef FASTML_DEPTHWISE_H
#define FASTML_DEPTHWISE_H

#include "tile.h"

#define DEFINE_DEPTHWISE(SUFFIX, REAL, VECTOR, MASK, EVENS, ODDS, IN_ORDER, LANE_NUMBERS)                              \
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
    /* Any number of taps, for `vectors` at a time: one weight is loaded for all of them. x is a padded copy of the    \
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
    /* The 3 taps in one row of a vector of windows; with stride 2, all in the order that SHUFFLE gives. */            \
    INLINE void taps_##SUFFIX(int stride, const REAL *x, VECTOR *tap) {                                                \
        if (stride == 1) {                                                                                             \
            for (int k = 0; k < 3; k++) tap[k] = *(const VECTOR *)(x + k);                                             \
        } else {                                                                                                       \
            const VECTOR *v = (const VECTOR *)x, *next = (const VECTOR *)(x + 1);                                      \
            tap[0] = SHUFFLE(MASK, v[0], v[1], EVENS), tap[1] = SHUFFLE(MASK, v[0], v[1], ODDS);                       \
            tap[2] = SHUFFLE(MASK, next[0], next[1], ODDS);                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    /* 3 x 3 windows of one channel: a vector of them, or two (`pair`), one below the other, which share two of the 4  \
       rows that they read. x[i] is where the first window begins in its row i, x[3 + i] where the one below does: so  \
       x[5] is the fourth row. At an `edge`, `inside` masks what does not count. */                                    \
    INLINE void windows_##SUFFIX(int stride, int pair, int edge, ptrdiff_t j, ptrdiff_t n, const VECTOR *k,            \
                                 const MASK *inside, const REAL *const *x, REAL bias, const REAL *residual, int relu,  \
                                 REAL *out) {                                                                          \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR y = bias - (VECTOR){0}, z = y;                                                                          \
        _Pragma("GCC unroll 4") for (int i = 0; i < 3 + pair; i++) {                                                   \
            VECTOR tap[3];                                                                                             \
            taps_##SUFFIX(stride, x[i < 3 ? i : 5] + j * stride, tap);                                                 \
            _Pragma("GCC unroll 3") for (int c = 0; c < 3; c++) {                                                      \
                if (edge) tap[c] = (VECTOR)((MASK)tap[c] & inside[c]);                                                 \
                if (i > 0 && i < 3 && pair) KEEP(tap[c]);                                                              \
                if (i < 3) y += k[i % 3 * 3 + c] * tap[c];                                                             \
                if (i > 0 && pair) z += k[(i + 2) % 3 * 3 + c] * tap[c];                                               \
            }                                                                                                          \
        }                                                                                                              \
        if (stride == 2) y = SHUFFLE(MASK, y, y, IN_ORDER);                                                            \
        finish_##SUFFIX(y, AT(residual, j), relu, edge ? n - j : LANES, out + j);                                      \
        if (pair) finish_##SUFFIX(z, AT(residual, n + j), relu, edge ? n - j : LANES, out + n + j);                    \
    }                                                                                                                  \
    /* The windows j to `end` of all rows. At an edge, masks are those of a column: rows are the inner loop. */        \
    INLINE void columns_##SUFFIX(int stride, int pair, int edge, ptrdiff_t rows, ptrdiff_t j, ptrdiff_t end,           \
                                 ptrdiff_t n, const REAL *weight, const REAL *const *x, ptrdiff_t w, ptrdiff_t pad,    \
                                 REAL bias, const REAL *residual, int relu, REAL *out) {                               \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR k[9];                                                                                                   \
        MASK inside[3], lane = LANE_NUMBERS;                                                                           \
        if (stride == 2) lane = (MASK){IN_ORDER};                                                                      \
        _Pragma("GCC unroll 9") for (int i = 0; i < 9; i++) k[i] = weight[i] - (VECTOR){0};                            \
        _Pragma("GCC unroll 3") for (int c = 0; edge && c < 3; c++) {                                                  \
            MASK column = lane * stride + (int)(j * stride - pad + c);                                                 \
            inside[c] = (column >= 0) & (column < (int)w);                                                             \
        }                                                                                                              \
        for (ptrdiff_t r = 0; r < rows; r += 1 + pair)                                                                 \
            for (ptrdiff_t at = j; at < end; at += LANES)                                                              \
                windows_##SUFFIX(stride, pair, edge, at, n, k, inside, x + 3 * r, bias, AT(residual, r * n), relu,     \
                                 out + r * n);                                                                         \
    }                                                                                                                  \
    /* A function of its own: its masks would take the registers in which the weights stay elsewhere. */               \
    static __attribute__((noinline)) void edge_##SUFFIX(int stride, int pair, ptrdiff_t rows, ptrdiff_t j, ptrdiff_t n,\
                                                        const REAL *weight, const REAL *const *x, ptrdiff_t w,         \
                                                        ptrdiff_t pad, REAL bias, const REAL *residual, int relu,      \
                                                        REAL *out) {                                                   \
        if (stride == 2) columns_##SUFFIX(2, 0, 1, rows, j, j + 1, n, weight, x, w, pad, bias, residual, relu, out);   \
        else FIX(pair, columns_##SUFFIX(1, pair, 1, rows, j, j + 1, n, weight, x, w, pad, bias, residual, relu, out))  \
    }                                                                                                                  \
    INLINE void rows_of_windows_##SUFFIX(int stride, int pair, ptrdiff_t rows, ptrdiff_t n, const REAL *weight,        \
                                         const REAL *const *x, ptrdiff_t w, ptrdiff_t pad, REAL bias,                  \
                                         const REAL *residual, int relu, REAL *out) {                                  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t begin = 0, end, j;                                                                                   \
        for (; begin < n && begin * stride < pad; begin += LANES) {}                                                   \
        for (end = begin; end + LANES <= n && (end + LANES - 1) * stride + 3 <= pad + w; end += LANES) {}              \
        columns_##SUFFIX(stride, pair, 0, rows, begin, end, n, weight, x, w, pad, bias, residual, relu, out);          \
        for (j = 0; j < n; j += LANES) { /* last, when all rows are in the cache */                                    \
            if (j == begin) j = end;                                                                                   \
            if (j >= n) break;                                                                                         \
            if (j + LANES > n && n > LANES) j = n - LANES;                                                             \
            edge_##SUFFIX(stride, pair, rows, j, n, weight, x, w, pad, bias, residual, relu, out);                     \
        }                                                                                                              \
    }                                                                                                                  \
    /* All windows of `rows` rows of n: x[3 * r + i] is where the first one of row r begins in its row i, `pad` before \
       the image, whose rows have w values; what is read beyond them does not count. With `stacked`, rows of windows   \
       follow each other by 1, as the windows in them do. */                                                           \
    static __attribute__((noinline)) void weigh_3x3_##SUFFIX(                                                          \
        int stride, int stacked, ptrdiff_t rows, ptrdiff_t n, const REAL *weight, const REAL *const *x, ptrdiff_t w,   \
        ptrdiff_t pad, REAL bias, const REAL *residual, int relu, REAL *out) {                                         \
        ptrdiff_t pairs = stacked ? rows / 2 * 2 : 0;                                                                  \
        if (pairs) rows_of_windows_##SUFFIX(1, 1, pairs, n, weight, x, w, pad, bias, residual, relu, out);             \
        rows -= pairs, x += 3 * pairs, residual = AT(residual, pairs * n), out += pairs * n;                           \
        if (rows && stride == 1)                                                                                       \
            rows_of_windows_##SUFFIX(1, 0, rows, n, weight, x, w, pad, bias, residual, relu, out);                     \
        if (rows && stride == 2)                                                                                       \
            rows_of_windows_##SUFFIX(2, 0, rows, n, weight, x, w, pad, bias, residual, relu, out);                     \
    }
DEFINE_DEPTHWISE(f32, float, vector_f32, mask_f32, EVENS_F32, ODDS_F32, IN_ORDER_F32, LANE_NUMBERS_F32)
DEFINE_DEPTHWISE(f64, double, vector_f64, mask_f64, EVENS_F64, ODDS_F64, IN_ORDER_F64, LANE_NUMBERS_F64)

#define weigh_row(n, taps, weight, ...) BY_TYPE(weight, weigh_row)(n, taps, weight, __VA_ARGS__)
#define weigh_3x3(stride, stacked, rows, n, weight, x, ...)                                                            \
    BY_TYPE(weight, weigh_3x3)(stride, stacked, rows, n, weight, (void *)(x), __VA_ARGS__)

#endif
