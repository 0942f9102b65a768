/* y = (x - shift) * factor + offset, forwards and backwards: one channel of images, or rows of channels.

   All arrays may lie anywhere, and `out` may be x or the residual itself: each value is read before it is written. A
   compiler would have to rule that out before it makes vectors of a plain loop. The last vector of a plane overlaps the
   one before, so that planes of 7 x 7 and 14 x 14 pixels, which are common, have no single values left over. */

#ifndef FASTML_NORMALIZE_H
#define FASTML_NORMALIZE_H

#include "simd.h"

#define DEFINE_NORMALIZE(SUFFIX, REAL, VECTOR, MASK)                                                                   \
    INLINE VECTOR line_##SUFFIX(const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset, const REAL *residual) {     \
        VECTOR y = (*(const VECTOR *)x - shift) * factor + offset;                                                     \
        if (residual) y += *(const VECTOR *)residual;                                                                  \
        return y;                                                                                                      \
    }                                                                                                                  \
    INLINE VECTOR output_##SUFFIX(const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset, const REAL *residual,     \
                                  int relu) {                                                                          \
        VECTOR y = line_##SUFFIX(x, shift, factor, offset, residual);                                                  \
        return relu ? relu_##SUFFIX(y) : y;                                                                            \
    }                                                                                                                  \
    INLINE REAL line_one_##SUFFIX(REAL x, REAL shift, REAL factor, REAL offset, const REAL *residual) {                \
        REAL y = (x - shift) * factor + offset;                                                                        \
        return residual ? y + *residual : y;                                                                           \
    }                                                                                                                  \
    INLINE REAL output_one_##SUFFIX(REAL x, REAL shift, REAL factor, REAL offset, const REAL *residual, int relu) {    \
        REAL y = line_one_##SUFFIX(x, shift, factor, offset, residual);                                                \
        return relu && y < 0 ? 0 : y;                                                                                  \
    }                                                                                                                  \
    INLINE void normalize_plane_##SUFFIX(ptrdiff_t n, const REAL *x, REAL shift, REAL factor, REAL offset,             \
                                         const REAL *residual, int relu, REAL *out) {                                  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, s = zero + shift, f = zero + factor, o = zero + offset;                                     \
        ptrdiff_t i = 0, end = n - LANES;                                                                              \
        if (end < 0) {                                                                                                 \
            for (; i < n; i++)                                                                                         \
                out[i] = output_one_##SUFFIX(x[i], shift, factor, offset, AT(residual, i), relu);                      \
            return;                                                                                                    \
        }                                                                                                              \
        VECTOR last = output_##SUFFIX(x + end, s, f, o, AT(residual, end), relu); /* before `out`, which may be x */   \
        for (; i <= end; i += LANES)                                                                                   \
            *(VECTOR *)(out + i) = output_##SUFFIX(x + i, s, f, o, AT(residual, i), relu);                             \
        *(VECTOR *)(out + end) = last;                                                                                 \
    }                                                                                                                  \
    INLINE void normalize_row_##SUFFIX(ptrdiff_t n, const REAL *x, const REAL *shift, const REAL *factor,              \
                                       const REAL *offset, const REAL *residual, int relu, REAL *out) {                \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES)                                                                             \
            *(VECTOR *)(out + i) =                                                                                     \
                output_##SUFFIX(x + i, *(const VECTOR *)(shift + i), *(const VECTOR *)(factor + i),                    \
                                *(const VECTOR *)(offset + i), AT(residual, i), relu);                                 \
        for (; i < n; i++)                                                                                             \
            out[i] = output_one_##SUFFIX(x[i], shift[i], factor[i], offset[i], AT(residual, i), relu);                 \
    }                                                                                                                  \
    static inline void normalize_##SUFFIX(ptrdiff_t images, ptrdiff_t stride, ptrdiff_t n, const REAL *x, REAL shift,  \
                                          REAL factor, REAL offset, const REAL *residual, int relu, REAL *out) {       \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, for (ptrdiff_t at = 0; at < images * stride; at += stride)                                  \
            normalize_plane_##SUFFIX(n, x + at, shift, factor, offset, add ? residual + at : NULL, relu, out + at)))   \
    }                                                                                                                  \
    static inline void normalize_columns_##SUFFIX(ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, const REAL *x,        \
                                                  const REAL *shift, const REAL *factor, const REAL *offset,           \
                                                  const REAL *residual, int relu, REAL *out) {                         \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, for (ptrdiff_t at = 0; at < rows * stride; at += stride)                                    \
            normalize_row_##SUFFIX(n, x + at, shift, factor, offset, add ? residual + at : NULL, relu, out + at)))     \
    }
DEFINE_NORMALIZE(f32, float, vector_f32, mask_f32)
DEFINE_NORMALIZE(f64, double, vector_f64, mask_f64)

/* A vector added to float64 sums of its lanes: `widen` to sums in memory, `widened` to such as stay in registers, which
   are 8, and short vectors use the first. */
typedef struct {
    lanes_f64 low, high;
} wide;
#if VECTOR_BYTES == 32
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
   and of g * (x - shift) are added up in the type of x over 4 vectors of a plane, or 4 rows of a matrix, and in float64
   beyond; for each lane of a vector, so that the lanes of a plane are added once for a channel.
   grad_x = g * factor - (x - shift) * curve + rest, without the last two where the statistics are constants. */
#define DEFINE_GRADIENTS(SUFFIX, REAL, VECTOR, MASK, LANE_NUMBERS)                                                     \
    INLINE VECTOR passed_##SUFFIX(const REAL *grad, const REAL *x, VECTOR shift, VECTOR factor, VECTOR offset,         \
                                  const REAL *residual, int relu) {                                                    \
        VECTOR g = *(const VECTOR *)grad;                                                                              \
        if (!relu) return g;                                                                                           \
        return (VECTOR)(~(MASK)(line_##SUFFIX(x, shift, factor, offset, residual) <= 0) & (MASK)g);                    \
    }                                                                                                                  \
    INLINE REAL passed_one_##SUFFIX(REAL grad, REAL x, REAL shift, REAL factor, REAL offset, const REAL *residual,     \
                                    int relu) {                                                                        \
        return relu && line_one_##SUFFIX(x, shift, factor, offset, residual) <= 0 ? 0 : grad;                          \
    }                                                                                                                  \
    INLINE void sums_plane_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, REAL shift, REAL factor,             \
                                    REAL offset, const REAL *residual, int relu, wide *sum, wide *product) {           \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, d = zero + shift, f = zero + factor, o = zero + offset;                                     \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 * LANES <= n; i += 4 * LANES) {                                                                   \
            VECTOR s = {0}, p = {0};                                                                                   \
            _Pragma("GCC unroll 4") for (ptrdiff_t at = i; at < i + 4 * LANES; at += LANES) {                          \
                VECTOR g = passed_##SUFFIX(grad + at, x + at, d, f, o, AT(residual, at), relu);                        \
                s += g;                                                                                                \
                p += g * (*(const VECTOR *)(x + at) - d);                                                              \
            }                                                                                                          \
            *sum = widened_##SUFFIX(s, *sum);                                                                          \
            *product = widened_##SUFFIX(p, *product);                                                                  \
        }                                                                                                              \
        if (i == n) return;                                                                                            \
        VECTOR s = {0}, p = {0}; /* less than 4 vectors are left, of which the last may be a part of one */            \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR g = passed_##SUFFIX(grad + i, x + i, d, f, o, AT(residual, i), relu);                               \
            s += g;                                                                                                    \
            p += g * (*(const VECTOR *)(x + i) - d);                                                                   \
        }                                                                                                              \
        if (i < n && n >= LANES) { /* the vector that ends the plane, without the lanes that were counted */           \
            ptrdiff_t at = n - LANES;                                                                                  \
            MASK lane_numbers = LANE_NUMBERS, ours = lane_numbers >= (int)(i - at);                                    \
            VECTOR g = passed_##SUFFIX(grad + at, x + at, d, f, o, AT(residual, at), relu);                            \
            s += (VECTOR)(ours & (MASK)g);                                                                             \
            p += (VECTOR)(ours & (MASK)(g * (*(const VECTOR *)(x + at) - d)));                                         \
            i = n;                                                                                                     \
        }                                                                                                              \
        for (int lane = 0; i < n; i++, lane++) { /* a plane of less than a vector */                                   \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift, factor, offset, AT(residual, i), relu);                 \
            s[lane] = g;                                                                                               \
            p[lane] = g * (x[i] - shift);                                                                              \
        }                                                                                                              \
        *sum = widened_##SUFFIX(s, *sum);                                                                              \
        *product = widened_##SUFFIX(p, *product);                                                                      \
    }                                                                                                                  \
    static inline void gradient_sums_##SUFFIX(ptrdiff_t images, ptrdiff_t stride, ptrdiff_t n, const REAL *grad,       \
                                              const REAL *x, REAL shift, REAL factor, REAL offset,                     \
                                              const REAL *residual, int relu, double *sum, double *product) {          \
        wide sums = {{0}}, products = {{0}};                                                                           \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, for (ptrdiff_t at = 0; at < images * stride; at += stride)                                  \
            sums_plane_##SUFFIX(n, grad + at, x + at, shift, factor, offset, add ? residual + at : NULL, relu, &sums,  \
                                &products)))                                                                           \
        *sum = *product = 0;                                                                                           \
        for (int i = 0; i < 4; i++) {                                                                                  \
            *sum += sums.low[i] + sums.high[i];                                                                        \
            *product += products.low[i] + products.high[i];                                                            \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void sums_columns_##SUFFIX(ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, const REAL *grad, const REAL *x,  \
                                      const REAL *shift, const REAL *factor, const REAL *offset,                       \
                                      const REAL *residual, int relu, double *sum, double *product) {                  \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR d = *(const VECTOR *)(shift + i), f = *(const VECTOR *)(factor + i);                                \
            VECTOR o = *(const VECTOR *)(offset + i), s = {0}, p = {0};                                                \
            for (ptrdiff_t at = i; at < rows * stride; at += stride) {                                                 \
                VECTOR g = passed_##SUFFIX(grad + at, x + at, d, f, o, AT(residual, at), relu);                        \
                s += g;                                                                                                \
                p += g * (*(const VECTOR *)(x + at) - d);                                                              \
            }                                                                                                          \
            widen_##SUFFIX(s, sum + i);                                                                                \
            widen_##SUFFIX(p, product + i);                                                                            \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL s = 0, p = 0;                                                                                         \
            for (ptrdiff_t at = i; at < rows * stride; at += stride) {                                                 \
                REAL g = passed_one_##SUFFIX(grad[at], x[at], shift[i], factor[i], offset[i], AT(residual, at), relu); \
                s += g;                                                                                                \
                p += g * (x[at] - shift[i]);                                                                           \
            }                                                                                                          \
            sum[i] += s;                                                                                               \
            product[i] += p;                                                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_sums_columns_##SUFFIX(                                                                 \
        ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, const REAL *grad, const REAL *x, const REAL *shift,             \
        const REAL *factor, const REAL *offset, const REAL *residual, int relu, double *sum, double *product) {        \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, for (ptrdiff_t i = 0; i < rows; i += 4)                                                     \
            sums_columns_##SUFFIX(rows - i < 4 ? rows - i : 4, stride, n, grad + i * stride, x + i * stride, shift,    \
                                  factor, offset, add ? residual + i * stride : NULL, relu, sum, product)))            \
    }                                                                                                                  \
    INLINE void gradient_plane_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, REAL shift, REAL factor,         \
                                        REAL offset, REAL curve, REAL rest, const REAL *residual, int relu,            \
                                        int training, REAL *grad_x, REAL *grad_residual) {                             \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        VECTOR zero = {0}, s = zero + shift, f = zero + factor, o = zero + offset;                                     \
        ptrdiff_t i = 0;                                                                                               \
        if (n < LANES) {                                                                                               \
            for (; i < n; i++) {                                                                                       \
                REAL g = passed_one_##SUFFIX(grad[i], x[i], shift, factor, offset, AT(residual, i), relu);             \
                if (grad_residual) grad_residual[i] = g;                                                               \
                grad_x[i] = training ? g * factor + (rest - (x[i] - shift) * curve) : g * factor;                      \
            }                                                                                                          \
            return;                                                                                                    \
        }                                                                                                              \
        for (; i < n; i += LANES) {                                                                                    \
            ptrdiff_t at = i + LANES <= n ? i : n - LANES;                                                             \
            VECTOR g = passed_##SUFFIX(grad + at, x + at, s, f, o, AT(residual, at), relu);                            \
            if (grad_residual) *(VECTOR *)(grad_residual + at) = g;                                                    \
            g *= factor;                                                                                               \
            if (training) g += rest - (*(const VECTOR *)(x + at) - s) * curve;                                         \
            *(VECTOR *)(grad_x + at) = g;                                                                              \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_##SUFFIX(ptrdiff_t images, ptrdiff_t stride, ptrdiff_t n, const REAL *grad,            \
                                         const REAL *x, REAL shift, REAL factor, REAL offset, REAL curve, REAL rest,   \
                                         const REAL *residual, int relu, int training, REAL *grad_x,                   \
                                         REAL *grad_residual) {                                                        \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, FIX(training, for (ptrdiff_t at = 0; at < images * stride; at += stride)                    \
            gradient_plane_##SUFFIX(n, grad + at, x + at, shift, factor, offset, curve, rest,                          \
                                    add ? residual + at : NULL, relu, training, grad_x + at,                           \
                                    add ? grad_residual + at : NULL))))                                                \
    }                                                                                                                  \
    INLINE void gradient_row_##SUFFIX(ptrdiff_t n, const REAL *grad, const REAL *x, const REAL *shift,                 \
                                      const REAL *factor, const REAL *offset, const REAL *curve, const REAL *rest,     \
                                      const REAL *residual, int relu, int training, REAL *grad_x,                      \
                                      REAL *grad_residual) {                                                           \
        enum { LANES = VECTOR_BYTES / sizeof(REAL) };                                                                  \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + LANES <= n; i += LANES) {                                                                           \
            VECTOR s = *(const VECTOR *)(shift + i), f = *(const VECTOR *)(factor + i);                                \
            VECTOR g = passed_##SUFFIX(grad + i, x + i, s, f, *(const VECTOR *)(offset + i), AT(residual, i), relu);   \
            if (grad_residual) *(VECTOR *)(grad_residual + i) = g;                                                     \
            g *= f;                                                                                                    \
            if (training)                                                                                              \
                g += *(const VECTOR *)(rest + i) - (*(const VECTOR *)(x + i) - s) * *(const VECTOR *)(curve + i);      \
            *(VECTOR *)(grad_x + i) = g;                                                                               \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            REAL g = passed_one_##SUFFIX(grad[i], x[i], shift[i], factor[i], offset[i], AT(residual, i), relu);        \
            if (grad_residual) grad_residual[i] = g;                                                                   \
            grad_x[i] = training ? g * factor[i] + (rest[i] - (x[i] - shift[i]) * curve[i]) : g * factor[i];           \
        }                                                                                                              \
    }                                                                                                                  \
    static inline void gradient_columns_##SUFFIX(                                                                      \
        ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, const REAL *grad, const REAL *x, const REAL *shift,             \
        const REAL *factor, const REAL *offset, const REAL *curve, const REAL *rest, const REAL *residual, int relu,   \
        int training, REAL *grad_x, REAL *grad_residual) {                                                             \
        int add = residual != NULL;                                                                                    \
        FIX(add, FIX(relu, FIX(training, for (ptrdiff_t at = 0; at < rows * stride; at += stride)                      \
            gradient_row_##SUFFIX(n, grad + at, x + at, shift, factor, offset, curve, rest,                            \
                                  add ? residual + at : NULL, relu, training, grad_x + at,                             \
                                  add ? grad_residual + at : NULL))))                                                  \
    }
DEFINE_GRADIENTS(f32, float, vector_f32, mask_f32, LANE_NUMBERS_F32)
DEFINE_GRADIENTS(f64, double, vector_f64, mask_f64, LANE_NUMBERS_F64)

/* (x - mean) / scale in float64, rounded once. For float32 the caller gives 1 / scale, and it is a multiplication,
   which takes two fifths off the time of one thread (measured): of float64's roundings float32 shows nothing. float64
   is divided, as the definition says. */
#define DEFINE_STANDARDIZE(SUFFIX, REAL, LANES_OF_REAL, SCALED)                                                        \
    static inline void standardize_columns_##SUFFIX(ptrdiff_t n, const REAL *x, const double *mean,                    \
                                                    const double *scale,                                               \
                                                    REAL *out) {                                                       \
        lanes_f64 one = hidden_one() - (lanes_f64){0};                                                                 \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 <= n; i += 4) {                                                                                   \
            lanes_f64 d = LESS(FOUR_DOUBLES(x + i), one, *(const lanes_f64 *)(mean + i));                              \
            d = d SCALED *(const lanes_f64 *)(scale + i);                                                              \
            *(LANES_OF_REAL *)(out + i) = __builtin_convertvector(d, LANES_OF_REAL);                                   \
        }                                                                                                              \
        for (; i < n; i++) out[i] = (REAL)((x[i] - mean[i]) SCALED scale[i]);                                          \
    }                                                                                                                  \
    static inline void standardize_row_##SUFFIX(ptrdiff_t n, const REAL *x, double mean, double scale, REAL *out) {    \
        lanes_f64 one = hidden_one() - (lanes_f64){0};                                                                 \
        ptrdiff_t i = 0;                                                                                               \
        for (; i + 4 <= n; i += 4) {                                                                                   \
            lanes_f64 d = LESS(FOUR_DOUBLES(x + i), one, mean);                                                        \
            *(LANES_OF_REAL *)(out + i) = __builtin_convertvector(d SCALED scale, LANES_OF_REAL);                      \
        }                                                                                                              \
        for (; i < n; i++) out[i] = (REAL)((x[i] - mean) SCALED scale);                                                \
    }
DEFINE_STANDARDIZE(f32, float, lanes_f32, *)
DEFINE_STANDARDIZE(f64, double, lanes_f64, /)

#define standardize_columns(n, x, ...) BY_TYPE(x, standardize_columns)(n, x, __VA_ARGS__)
#define standardize_row(n, x, ...) BY_TYPE(x, standardize_row)(n, x, __VA_ARGS__)
#define normalize(images, stride, n, x, ...) BY_TYPE(x, normalize)(images, stride, n, x, __VA_ARGS__)
#define normalize_columns(rows, stride, n, x, ...) BY_TYPE(x, normalize_columns)(rows, stride, n, x, __VA_ARGS__)
#define gradient_sums(images, stride, n, x, ...) BY_TYPE(x, gradient_sums)(images, stride, n, x, __VA_ARGS__)
#define gradient_sums_columns(rows, stride, n, x, ...)                                                                 \
    BY_TYPE(x, gradient_sums_columns)(rows, stride, n, x, __VA_ARGS__)
#define gradient(images, stride, n, x, ...) BY_TYPE(x, gradient)(images, stride, n, x, __VA_ARGS__)
#define gradient_columns(rows, stride, n, x, ...) BY_TYPE(x, gradient_columns)(rows, stride, n, x, __VA_ARGS__)

#endif
