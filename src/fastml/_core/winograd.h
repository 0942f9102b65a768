/* The transforms of Winograd convolution with 3 x 3 kernels, for a vector of tiles at a time: lane l is tile l.

   F(m x m, 3 x 3) takes n = m + 2 points of a polynomial product (infinity is one of them): n * n multiplications make
   m * m outputs of 9 taps each, 36 instead of 144 for m = 4, 16 instead of 36 for m = 2. The points for m = 2 are 0, 1,
   -1; for m = 4 they are 0, +-5/8, +-3/2, whose error is less than half of that of 0, +-1, +-2, and whose coefficients are
   exact in binary but for those of the weights. (A. Lavin and S. Gray, Fast algorithms for convolutional neural
   networks, 2016; on points: B. Barabasz et al., Error analysis and improving the accuracy of Winograd convolution,
   2020.) `m` is a constant where these are inlined. */

#ifndef FASTML_WINOGRAD_H
#define FASTML_WINOGRAD_H

#include "simd.h"

#define POINT_A (5.0 / 8) /* +-a and +-b */
#define POINT_B (3.0 / 2)
#define A_2 (POINT_A * POINT_A)
#define B_2 (POINT_B * POINT_B)

/* The polynomial with these 3 coefficients at the n points, each over the product of its distances from the others. */
INLINE void at_points(int m, lanes_f64 g0, lanes_f64 g1, lanes_f64 g2, lanes_f64 *d) {
    const double a = m == 2 ? 1 : POINT_A, b = POINT_B, scale_a = m == 2 ? 0.5 : 1 / (2 * A_2 * (A_2 - B_2));
    const double scale_b = 1 / (2 * B_2 * (B_2 - A_2));
    lanes_f64 even = scale_a * (g0 + a * a * g2), odd = scale_a * (a * g1);
    d[0] = g0 * (m == 2 ? 1 : 1 / (A_2 * B_2));
    d[1] = even + odd, d[2] = even - odd, d[m + 1] = g2;
    if (m == 4) {
        even = scale_b * (g0 + B_2 * g2), odd = scale_b * (b * g1);
        d[3] = even + odd, d[4] = even - odd;
    }
}

#define DEFINE_WINOGRAD(SUFFIX, REAL, VECTOR, MASK, EVENS, ODDS, IN_ORDER, SHIFTED, FRONT, BACK)                       \
    /* m vectors of neighbouring values -> m vectors of every m-th value */                                            \
    INLINE void split_##SUFFIX(int m, const REAL *x, VECTOR *phase) {                                                  \
        const VECTOR *v = (const VECTOR *)x;                                                                           \
        VECTOR evens = SHUFFLE(MASK, v[0], v[1], EVENS), odds = SHUFFLE(MASK, v[0], v[1], ODDS);                       \
        phase[0] = SHUFFLE(MASK, evens, evens, IN_ORDER), phase[1] = SHUFFLE(MASK, odds, odds, IN_ORDER);              \
        if (m == 4) {                                                                                                  \
            evens = SHUFFLE(MASK, v[2], v[3], EVENS), odds = SHUFFLE(MASK, v[2], v[3], ODDS);                          \
            VECTOR even = phase[0], odd = phase[1];                                                                    \
            evens = SHUFFLE(MASK, evens, evens, IN_ORDER), odds = SHUFFLE(MASK, odds, odds, IN_ORDER);                 \
            VECTOR p0 = SHUFFLE(MASK, even, evens, EVENS), p2 = SHUFFLE(MASK, even, evens, ODDS);                      \
            VECTOR p1 = SHUFFLE(MASK, odd, odds, EVENS), p3 = SHUFFLE(MASK, odd, odds, ODDS);                          \
            phase[0] = SHUFFLE(MASK, p0, p0, IN_ORDER), phase[1] = SHUFFLE(MASK, p1, p1, IN_ORDER);                    \
            phase[2] = SHUFFLE(MASK, p2, p2, IN_ORDER), phase[3] = SHUFFLE(MASK, p3, p3, IN_ORDER);                    \
        }                                                                                                              \
    }                                                                                                                  \
    /* A row of an image -> the n columns of its tiles, `plane` apart. Up to a vector of tiles more is read, and one  \
       is written. */                                                                                                  \
    INLINE void split_row_##SUFFIX(int m, const REAL *row, ptrdiff_t tiles, REAL *to, ptrdiff_t plane) {               \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR now[4], next[4];                                                                                        \
        split_##SUFFIX(m, row, next);                                                                                  \
        for (ptrdiff_t j = 0; j < tiles; j += LANES) {                                                                 \
            _Pragma("GCC unroll 4") for (int c = 0; c < m; c++) now[c] = next[c];                                      \
            if (j + LANES <= tiles) split_##SUFFIX(m, row + m * (j + LANES), next);                                    \
            _Pragma("GCC unroll 4") for (int c = 0; c < m; c++) *(VECTOR *)(to + c * plane + j) = now[c];              \
            for (int c = 0; c < 2; c++)                                                                                \
                *(VECTOR *)(to + (m + c) * plane + j) = SHUFFLE(MASK, now[c], next[c], SHIFTED);                       \
        }                                                                                                              \
    }                                                                                                                  \
    /* n values of a polynomial's argument -> what is multiplied at the n points */                                    \
    INLINE void evaluate_##SUFFIX(int m, VECTOR *d) {                                                                  \
        const REAL a = POINT_A, b = POINT_B, a2 = A_2, b2 = B_2;                                                       \
        if (m == 2) {                                                                                                  \
            VECTOR d1 = d[1], d2 = d[2];                                                                               \
            d[0] = d[0] - d2, d[1] = d2 + d1, d[2] = d2 - d1, d[3] = d[3] - d1;                                        \
        } else {                                                                                                       \
            VECTOR even_a = d[4] - b2 * d[2], odd_a = d[3] - b2 * d[1];                                                \
            VECTOR even_b = d[4] - a2 * d[2], odd_b = d[3] - a2 * d[1];                                                \
            d[0] = a2 * b2 * d[0] + (d[4] - (a2 + b2) * d[2]), d[5] = a2 * b2 * d[1] + (d[5] - (a2 + b2) * d[3]);      \
            d[1] = even_a + a * odd_a, d[2] = even_a - a * odd_a;                                                      \
            d[3] = even_b + b * odd_b, d[4] = even_b - b * odd_b;                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    /* products at the n points -> m outputs */                                                                        \
    INLINE void interpolate_##SUFFIX(int m, VECTOR *d) {                                                               \
        const REAL a = POINT_A, b = POINT_B, a2 = A_2, b2 = B_2;                                                       \
        VECTOR even_a = d[1] + d[2], odd_a = d[1] - d[2];                                                              \
        if (m == 2) {                                                                                                  \
            d[0] = d[0] + even_a, d[1] = odd_a + d[3];                                                                 \
        } else {                                                                                                       \
            VECTOR even_b = d[3] + d[4], odd_b = d[3] - d[4];                                                          \
            d[0] = d[0] + even_a + even_b;                                                                             \
            d[1] = a * odd_a + b * odd_b;                                                                              \
            d[2] = a2 * even_a + b2 * even_b;                                                                          \
            d[3] = a2 * a * odd_a + (b2 * b * odd_b + d[5]);                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    /* A vector of tiles, as split_row left them in (row mod m, column, tile), -> its n * n values, `apart` apart. */  \
    INLINE void input_tiles_##SUFFIX(int m, const REAL *x, ptrdiff_t plane, ptrdiff_t across, REAL *to,                \
                                     ptrdiff_t apart) {                                                                \
        const int n = m + 2;                                                                                           \
        VECTOR t[6][6], d[6];                                                                                          \
        _Pragma("GCC unroll 6") for (int j = 0; j < n; j++) {                                                          \
            _Pragma("GCC unroll 6") for (int i = 0; i < n; i++)                                                        \
                d[i] = *(const VECTOR *)(x + (i % m * n + j) * plane + i / m * across);                                \
            evaluate_##SUFFIX(m, d);                                                                                   \
            _Pragma("GCC unroll 6") for (int i = 0; i < n; i++) t[i][j] = d[i];                                        \
        }                                                                                                              \
        _Pragma("GCC unroll 6") for (int i = 0; i < n; i++) {                                                          \
            evaluate_##SUFFIX(m, t[i]);                                                                                \
            _Pragma("GCC unroll 6") for (int j = 0; j < n; j++) *(VECTOR *)(to + (i * n + j) * apart) = t[i][j];       \
        }                                                                                                              \
    }                                                                                                                  \
    /* Sums of a vector of tiles, `apart` apart, -> m rows of pixels, `pitch` apart, and for each tile in `probe` 0 or, \
       where one of its pixels is not finite, NaN. */                                                                  \
    INLINE void output_tiles_##SUFFIX(int m, const REAL *x, ptrdiff_t apart, REAL *to, ptrdiff_t pitch, REAL *probe) { \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        const int n = m + 2;                                                                                           \
        VECTOR t[4][6], d[6], finite = {0};                                                                            \
        _Pragma("GCC unroll 6") for (int j = 0; j < n; j++) {                                                          \
            _Pragma("GCC unroll 6") for (int i = 0; i < n; i++) d[i] = *(const VECTOR *)(x + (i * n + j) * apart);     \
            interpolate_##SUFFIX(m, d);                                                                                \
            _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) t[i][j] = d[i];                                        \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) {                                                          \
            VECTOR *row = (VECTOR *)(to + i * pitch), *y = t[i];                                                       \
            interpolate_##SUFFIX(m, y);                                                                                \
            _Pragma("GCC unroll 4") for (int j = 0; j < m; j++) finite += y[j] * 0;                                    \
            if (m == 2) {                                                                                              \
                row[0] = SHUFFLE(MASK, y[0], y[1], FRONT), row[1] = SHUFFLE(MASK, y[0], y[1], BACK);                   \
            } else {                                                                                                   \
                VECTOR evens = SHUFFLE(MASK, y[0], y[2], FRONT), odds = SHUFFLE(MASK, y[1], y[3], FRONT);              \
                row[0] = SHUFFLE(MASK, evens, odds, FRONT), row[1] = SHUFFLE(MASK, evens, odds, BACK);                 \
                evens = SHUFFLE(MASK, y[0], y[2], BACK), odds = SHUFFLE(MASK, y[1], y[3], BACK);                       \
                row[2] = SHUFFLE(MASK, evens, odds, FRONT), row[3] = SHUFFLE(MASK, evens, odds, BACK);                 \
            }                                                                                                          \
        }                                                                                                              \
        *(VECTOR *)probe = finite;                                                                                     \
    }                                                                                                                  \
    /* 9 weights of 4 outputs, (tap, output), -> what is multiplied at the n * n points, `apart` apart. In float64, so    \
       that only the result is rounded. */                                                                             \
    INLINE void weights_at_points_##SUFFIX(int m, const REAL *weight, REAL *to, ptrdiff_t apart) {                     \
        const int n = m + 2;                                                                                           \
        lanes_f64 t[6][3], d[6];                                                                                       \
        _Pragma("GCC unroll 3") for (int j = 0; j < 3; j++) {                                                          \
            at_points(m, FOUR_DOUBLES(weight + 4 * j), FOUR_DOUBLES(weight + 4 * (j + 3)),                             \
                      FOUR_DOUBLES(weight + 4 * (j + 6)), d);                                                          \
            _Pragma("GCC unroll 6") for (int i = 0; i < n; i++) t[i][j] = d[i];                                        \
        }                                                                                                              \
        _Pragma("GCC unroll 6") for (int i = 0; i < n; i++) {                                                          \
            at_points(m, t[i][0], t[i][1], t[i][2], d);                                                                \
            for (int j = 0; j < n; j++)                                                                                \
                _Pragma("GCC unroll 4") for (int l = 0; l < 4; l++) to[(i * n + j) * apart + l] = (REAL)d[j][l];       \
        }                                                                                                              \
    }                                                                                                                  \
    static __attribute__((noinline)) void weights_at_points_of_##SUFFIX(int m, const REAL *weight, REAL *to,           \
                                                                        ptrdiff_t apart) {                             \
        if (m == 4) weights_at_points_##SUFFIX(4, weight, to, apart);                                                  \
        else weights_at_points_##SUFFIX(2, weight, to, apart);                                                         \
    }                                                                                                                  \
    static __attribute__((noinline)) void split_row_of_##SUFFIX(int m, const REAL *row, ptrdiff_t tiles, REAL *to,     \
                                                                ptrdiff_t plane) {                                     \
        if (m == 4) split_row_##SUFFIX(4, row, tiles, to, plane);                                                      \
        else split_row_##SUFFIX(2, row, tiles, to, plane);                                                             \
    }                                                                                                                  \
    static __attribute__((noinline)) void input_tiles_of_##SUFFIX(int m, const REAL *x, ptrdiff_t plane,               \
                                                                  ptrdiff_t across, REAL *to, ptrdiff_t apart) {       \
        if (m == 4) input_tiles_##SUFFIX(4, x, plane, across, to, apart);                                              \
        else input_tiles_##SUFFIX(2, x, plane, across, to, apart);                                                     \
    }                                                                                                                  \
    static __attribute__((noinline)) void output_tiles_of_##SUFFIX(int m, const REAL *x, ptrdiff_t apart, REAL *to,    \
                                                                   ptrdiff_t pitch, REAL *probe) {                     \
        if (m == 4) output_tiles_##SUFFIX(4, x, apart, to, pitch, probe);                                              \
        else output_tiles_##SUFFIX(2, x, apart, to, pitch, probe);                                                     \
    }
DEFINE_WINOGRAD(f32, float, vector_f32, mask_f32, EVENS_F32, ODDS_F32, IN_ORDER_F32, SHIFTED_F32, FRONT_F32, BACK_F32)
DEFINE_WINOGRAD(f64, double, vector_f64, mask_f64, EVENS_F64, ODDS_F64, IN_ORDER_F64, SHIFTED_F64, FRONT_F64, BACK_F64)

#define weights_at_points(m, weight, ...) BY_TYPE(weight, weights_at_points_of)(m, weight, __VA_ARGS__)
#define split_row(m, row, ...) BY_TYPE(row, split_row_of)(m, row, __VA_ARGS__)
#define input_tiles(m, x, ...) BY_TYPE(x, input_tiles_of)(m, x, __VA_ARGS__)
#define output_tiles(m, x, ...) BY_TYPE(x, output_tiles_of)(m, x, __VA_ARGS__)

#endif
