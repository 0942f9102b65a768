/* y = (x - shift) * factor + offset, forwards and backwards: a row of pixels of one channel, or a row of channels.

   All arrays may lie anywhere, and `out` may be x or the residual itself: each value is read before it is written. A
   compiler would have to rule that out before it makes vectors of a plain loop. Flags do not change within a call: a
   compiler takes them out of the loops. The last vector of a row overlaps the one before, so that planes of 7 x 7
   and 14 x 14 pixels, which are common, have no single values left over. */

#ifndef FASTML_NORMALIZE_H
#define FASTML_NORMALIZE_H

#include "simd.h"

#define AT(pointer, i) ((pointer) ? (pointer) + (i) : (pointer)) /* NULL stays NULL */

#define DEFINE_NORMALIZE(SUFFIX, REAL, VECTOR, MASK)                                                                   \
    static inline VECTOR line_##SUFFIX(const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset,                      \
                                       const REAL *residual) {                                                         \
        VECTOR y = (*(const VECTOR *)x - shift) * factor + offset;                                                     \
        if (residual) y += *(const VECTOR *)residual;                                                                  \
        return y;                                                                                                      \
    }                                                                                                                  \
    static inline VECTOR relu_##SUFFIX(VECTOR y) { /* NaN and -0 stay, as in y < 0 ? 0 : y */                          \
        return (VECTOR)(~(MASK)(y < 0) & (MASK)y);                                                                     \
    }                                                                                                                  \
    static inline REAL line_one_##SUFFIX(REAL x, REAL shift, REAL factor, REAL offset, const REAL *residual) {         \
        REAL y = (x - shift) * factor + offset;                                                                        \
        return residual ? y + *residual : y;                                                                           \
    }                                                                                                                  \
    static inline VECTOR output_##SUFFIX(const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset,                    \
                                         const REAL *residual, int relu) {                                             \
        VECTOR y = line_##SUFFIX(x, shift, factor, offset, residual);                                                  \
        if (relu) y = relu_##SUFFIX(y);                                                                                \
        return y;                                                                                                      \
    }                                                                                                                  \
    static inline void normalize_##SUFFIX(ptrdiff_t n, const REAL *x, REAL shift, REAL factor, REAL offset,            \
                                          const REAL *residual, int relu, REAL *out) {                                 \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, shifts = zero + shift, factors = zero + factor, offsets = zero + offset, last = {0};        \
        ptrdiff_t i = 0;                                                                                               \
        if (n >= LANES) /* read before `out`, which may be x, is written */                                            \
            last = output_##SUFFIX(x + n - LANES, shifts, factors, offsets,                                            \
                                   AT(residual, n - LANES), relu);                                                     \
        for (; i + LANES <= n; i += LANES)                                                                             \
            *(VECTOR *)(out + i) = output_##SUFFIX(x + i, shifts, factors, offsets, AT(residual, i),                   \
                                                   relu);                                                              \
        if (n >= LANES) {                                                                                              \
            *(VECTOR *)(out + n - LANES) = last;                                                                       \
            return;                                                                                                    \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL y = line_one_##SUFFIX(x[i], shift, factor, offset, AT(residual, i));                                  \
            out[i] = relu && y < 0 ? 0 : y;                                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void normalize_columns_##SUFFIX(ptrdiff_t n, const REAL *x, const REAL *shift, const REAL *factor,   \
                                                  const REAL *offset, const REAL *residual, int relu, REAL *out) {     \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            *(VECTOR *)(out + i) =                                                                                     \
                output_##SUFFIX(x + i, *(const VECTOR *)(shift + i), *(const VECTOR *)(factor + i),                    \
                                *(const VECTOR *)(offset + i), AT(residual, i), relu);                                 \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL y = line_one_##SUFFIX(x[i], shift[i], factor[i], offset[i], AT(residual, i));                         \
            out[i] = relu && y < 0 ? 0 : y;                                                                            \
        }                                                                                                              \
    }
DEFINE_NORMALIZE(f32, float, vector_f32, mask_f32)
DEFINE_NORMALIZE(f64, double, vector_f64, mask_f64)

/* Add a vector to sums in float64: to 8 of them, of which short vectors use the first, or to as many as it has lanes. */
typedef struct {
    lanes_f64 low, high;
} __attribute__((aligned(8), may_alias)) wide;
#if VECTOR_BYTES == 32
#define LANE_NUMBERS_F32 {0, 1, 2, 3, 4, 5, 6, 7}
#define LANE_NUMBERS_F64 {0, 1, 2, 3}
static inline void widen_f32(vector_f32 v, double *sums) {
    ((lanes_f64 *)sums)[0] += (lanes_f64){v[0], v[1], v[2], v[3]};
    ((lanes_f64 *)sums)[1] += (lanes_f64){v[4], v[5], v[6], v[7]};
}
static inline void widen_f64(vector_f64 v, double *sums) { *(vector_f64 *)sums += v; }
static inline wide widened_f32(vector_f32 v, wide sums) {
    sums.low += (lanes_f64){v[0], v[1], v[2], v[3]};
    sums.high += (lanes_f64){v[4], v[5], v[6], v[7]};
    return sums;
}
static inline wide widened_f64(vector_f64 v, wide sums) {
    sums.low += v;
    return sums;
}
#else
#define LANE_NUMBERS_F32 {0, 1, 2, 3}
#define LANE_NUMBERS_F64 {0, 1}
static inline void widen_f32(vector_f32 v, double *sums) { *(lanes_f64 *)sums += (lanes_f64){v[0], v[1], v[2], v[3]}; }
static inline void widen_f64(vector_f64 v, double *sums) { *(vector_f64 *)sums += v; }
static inline wide widened_f32(vector_f32 v, wide sums) {
    sums.low += (lanes_f64){v[0], v[1], v[2], v[3]};
    return sums;
}
static inline wide widened_f64(vector_f64 v, wide sums) {
    sums.low += (lanes_f64){v[0], v[1], 0, 0};
    return sums;
}
#endif

/* Backwards. The gradient g that passes the ReLU is where y, computed again as forwards, is not 0 or less. Sums of g
   and of g * (x - shift) are added up in the type of x over 4 vectors, in float64 beyond: for each lane of a vector, so
   that the lanes are added once for a channel.
   grad_x = g * factor - (x - shift) * curve + rest, without the last two where the statistics are constants. */
#define DEFINE_GRADIENTS(SUFFIX, REAL, VECTOR, MASK, LANE_NUMBERS)                                                     \
    static inline VECTOR passed_##SUFFIX(const REAL *grad, const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset,  \
                                         const REAL *residual, int relu) {                                             \
        VECTOR g = *(const VECTOR *)grad;                                                                              \
        if (!relu) return g;                                                                                           \
        return (VECTOR)(~(MASK)(line_##SUFFIX(x, shift, factor, offset, residual) <= 0) & (MASK)g);                    \
    }                                                                                                                  \
    static inline REAL passed_one_##SUFFIX(REAL grad, REAL x, REAL shift, REAL factor, REAL offset,                    \
                                           const REAL *residual, int relu) {                                           \
        return relu && line_one_##SUFFIX(x, shift, factor, offset, residual) <= 0 ? 0 : grad;                          \
    }                                                                                                                  \
    static inline void gradient_sums_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, REAL shift, REAL factor,   \
                                              REAL offset, const REAL *residual, int relu, double *sums,               \
                                              double *products) {                                                      \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, shifts = zero + shift, factors = zero + factor, offsets = zero + offset;                    \
        wide all_g = *(const wide *)sums, all_gd = *(const wide *)products; /* in registers meanwhile */               \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 * LANES <= n; i += 4 * LANES) {                                                                   \
            VECTOR s = {0}, p = {0};                                                                                   \
            _Pragma("GCC unroll 4") for (ptrdiff_t at = i; at < i + 4 * LANES; at += LANES) {                          \
                VECTOR g = passed_##SUFFIX(grad + at, x + at, shifts, factors, offsets,                                \
                                           AT(residual, at), relu);                                                    \
                s += g;                                                                                                \
                p += g * (*(const VECTOR *)(x + at) - shifts);                                                         \
            }                                                                                                          \
            all_g = widened_##SUFFIX(s, all_g);                                                                        \
            all_gd = widened_##SUFFIX(p, all_gd);                                                                      \
        }                                                                                                              \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR g = passed_##SUFFIX(grad + i, x + i, shifts, factors, offsets, AT(residual, i),                     \
                                       relu);                                                                          \
            all_g = widened_##SUFFIX(g, all_g);                                                                        \
            all_gd = widened_##SUFFIX(g * (*(const VECTOR *)(x + i) - shifts), all_gd);                                \
        }                                                                                                              \
        if (i < n && n >= LANES) { /* the vector that ends the row, without the lanes that were counted */             \
            VECTOR g = passed_##SUFFIX(grad + n - LANES, x + n - LANES, shifts, factors, offsets,                      \
                                       AT(residual, n - LANES), relu);                                                 \
            VECTOR d = *(const VECTOR *)(x + n - LANES) - shifts;                                                      \
            MASK lane_numbers = LANE_NUMBERS, ours = lane_numbers >= (int)(LANES - n + i);                             \
            all_g = widened_##SUFFIX((VECTOR)(ours & (MASK)g), all_g);                                                 \
            all_gd = widened_##SUFFIX((VECTOR)(ours & (MASK)(g * d)), all_gd);                                         \
            i = n;                                                                                                     \
        }                                                                                                              \
        *(wide *)sums = all_g;                                                                                         \
        *(wide *)products = all_gd;                                                                                    \
        for (; i < n; i++) {                                                                                           \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift, factor, offset, AT(residual, i), relu);                 \
            sums[i % LANES] += g;                                                                                      \
            products[i % LANES] += g * (x[i] - shift);                                                                 \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_sums_columns_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, const REAL *shift, \
                                                      const REAL *factor, const REAL *offset, const REAL *residual,    \
                                                      int relu, double *sum, double *product) {                        \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR s = *(const VECTOR *)(shift + i);                                                                   \
            VECTOR g = passed_##SUFFIX(grad + i, x + i, s, *(const VECTOR *)(factor + i),                              \
                                       *(const VECTOR *)(offset + i),                                                  \
                                       AT(residual, i), relu);                                                         \
            widen_##SUFFIX(g, sum + i);                                                                                \
            widen_##SUFFIX(g * (*(const VECTOR *)(x + i) - s), product + i);                                           \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift[i], factor[i], offset[i],                                \
                                         AT(residual, i), relu);                                                       \
            sum[i] += g;                                                                                               \
            product[i] += g * (x[i] - shift[i]);                                                                       \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, REAL shift, REAL factor,        \
                                         REAL offset, REAL curve, REAL rest, const REAL *residual, int relu,           \
                                         int training, REAL *grad_x, REAL *grad_residual) {                            \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, shifts = zero + shift, factors = zero + factor, offsets = zero + offset;                    \
        for (ptrdiff_t i = 0; i < n && n >= LANES; i += LANES) {                                                       \
            ptrdiff_t at = i + LANES <= n ? i : n - LANES;                                                             \
            VECTOR g = passed_##SUFFIX(grad + at, x + at, shifts, factors, offsets,                                    \
                                       AT(residual, at), relu);                                                        \
            if (grad_residual) *(VECTOR *)(grad_residual + at) = g;                                                    \
            g *= factor;                                                                                               \
            if (training) g += rest - (*(const VECTOR *)(x + at) - shift) * curve;                                     \
            *(VECTOR *)(grad_x + at) = g;                                                                              \
        }                                                                                                              \
        for (ptrdiff_t i = 0; i < n && n < LANES; i++) {                                                               \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift, factor, offset, AT(residual, i), relu);                 \
            if (grad_residual) grad_residual[i] = g;                                                                   \
            grad_x[i] = training ? g * factor + (rest - (x[i] - shift) * curve) : g * factor;                          \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_columns_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, const REAL *shift,      \
                                                 const REAL *factor, const REAL *offset, const REAL *curve,            \
                                                 const REAL *rest, const REAL *residual, int relu, int training,       \
                                                 REAL *grad_x, REAL *grad_residual) {                                  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR s = *(const VECTOR *)(shift + i), f = *(const VECTOR *)(factor + i);                                \
            VECTOR g = passed_##SUFFIX(grad + i, x + i, s, f, *(const VECTOR *)(offset + i),                           \
                                       AT(residual, i), relu);                                                         \
            if (grad_residual) *(VECTOR *)(grad_residual + i) = g;                                                     \
            g *= f;                                                                                                    \
            VECTOR bend = (*(const VECTOR *)(x + i) - s) * *(const VECTOR *)(curve + i);                               \
            if (training) g += *(const VECTOR *)(rest + i) - bend;                                                     \
            *(VECTOR *)(grad_x + i) = g;                                                                               \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift[i], factor[i], offset[i],                                \
                                         AT(residual, i), relu);                                                       \
            if (grad_residual) grad_residual[i] = g;                                                                   \
            grad_x[i] = training ? g * factor[i] + (rest[i] - (x[i] - shift[i]) * curve[i]) : g * factor[i];           \
        }                                                                                                              \
    }
DEFINE_GRADIENTS(f32, float, vector_f32, mask_f32, LANE_NUMBERS_F32)
DEFINE_GRADIENTS(f64, double, vector_f64, mask_f64, LANE_NUMBERS_F64)

/* (x - mean) / scale in float64, rounded once. For float32 the caller gives 1 / scale, and it is a multiplication,
   which takes two fifths off the time of one thread (measured): of float64's roundings float32 shows nothing. float64
   is divided, as the definition says. */
#define DEFINE_STANDARDIZE(SUFFIX, REAL, LANES_OF_REAL, SCALED)                                                        \
    static inline void standardize_columns_##SUFFIX(ptrdiff_t n, const REAL *x, const double *mean, const double *scale,\
                                                    REAL *out) {                                                       \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 <= n; i += 4) {                                                                                   \
            lanes_f64 d = FOUR_DOUBLES(x + i) - *(const lanes_f64 *)(mean + i);                                        \
            *(LANES_OF_REAL *)(out + i) = __builtin_convertvector(d SCALED *(const lanes_f64 *)(scale + i), LANES_OF_REAL);\
        }                                                                                                              \
        for (; i < n; i++) out[i] = (REAL)((x[i] - mean[i]) SCALED scale[i]);                                          \
    }                                                                                                                  \
    static inline void standardize_row_##SUFFIX(ptrdiff_t n, const REAL *x, double mean, double scale, REAL *out) {    \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 <= n; i += 4) {                                                                                   \
            lanes_f64 d = FOUR_DOUBLES(x + i) - mean;                                                                  \
            *(LANES_OF_REAL *)(out + i) = __builtin_convertvector(d SCALED scale, LANES_OF_REAL);                      \
        }                                                                                                              \
        for (; i < n; i++) out[i] = (REAL)((x[i] - mean) SCALED scale);                                                \
    }
DEFINE_STANDARDIZE(f32, float, lanes_f32, *)
DEFINE_STANDARDIZE(f64, double, lanes_f64, /)

#define standardize_columns(n, x, ...) BY_TYPE(x, standardize_columns)(n, x, __VA_ARGS__)
#define standardize_row(n, x, ...) BY_TYPE(x, standardize_row)(n, x, __VA_ARGS__)
#define normalize(n, x, ...) BY_TYPE(x, normalize)(n, x, __VA_ARGS__)
#define normalize_columns(n, x, ...) BY_TYPE(x, normalize_columns)(n, x, __VA_ARGS__)
#define gradient_sums(n, grad, ...) BY_TYPE(grad, gradient_sums)(n, grad, __VA_ARGS__)
#define gradient_sums_columns(n, grad, ...) BY_TYPE(grad, gradient_sums_columns)(n, grad, __VA_ARGS__)
#define gradient(n, grad, ...) BY_TYPE(grad, gradient)(n, grad, __VA_ARGS__)
#define gradient_columns(n, grad, ...) BY_TYPE(grad, gradient_columns)(n, grad, __VA_ARGS__)

#endif
