/* Vector helpers: what a C compiler will not do for a plain loop, and nothing else.

   GCC and clang vector extensions, and next to no intrinsics: the same lines become SSE2, AVX2 or NEON, and
   `a * b + c` becomes one FMA under -ffp-contract=fast. Everything is static inline, so that no function compiled for a
   newer processor can be picked by the linker for an older one. */

#ifndef FASTML_SIMD_H
#define FASTML_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX__)
#define VECTOR_BYTES 32 /* 16 registers of 32 bytes */
#else
#define VECTOR_BYTES 16 /* SSE2 and NEON */
#endif

/* Vectors that may lie anywhere in memory: loads and stores through these types are unaligned ones. (memcpy of an array
   of vectors would do as well, but keeps the whole array in memory: conv2d was 8 times slower, measured.) */
typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double vector_f64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

/* The outcome of a comparison: all bits of a lane, or none. */
typedef int32_t mask_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t mask_f64 __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE static inline __attribute__((always_inline))
#define AT(pointer, i) ((pointer) ? (pointer) + (i) : (pointer)) /* NULL stays NULL */

/* A statement compiled twice, in which the flag is a constant: an enum hides the variable of that name, and INLINE
   functions know what they are given. Left to itself, GCC asks for flags at each vector. */
#define FIX(flag, ...)                                                                                                 \
    if (flag) {                                                                                                        \
        enum { flag = 1 };                                                                                             \
        __VA_ARGS__;                                                                                                   \
    } else {                                                                                                           \
        enum { flag = 0 };                                                                                             \
        __VA_ARGS__;                                                                                                   \
    }

/* Keep a vector in its register: GCC would load a value that is used twice a second time, as part of the instruction. */
#if defined(__SSE2__)
#define KEEP(vector) __asm__("" : "+x"(vector))
#elif defined(__aarch64__)
#define KEEP(vector) __asm__("" : "+w"(vector))
#else
#define KEEP(vector)
#endif

/* max(y, 0), but NaN and -0 stay, as in y < 0 ? 0 : y. */
#define DEFINE_RELU(SUFFIX, VECTOR, MASK)                                                                              \
    INLINE VECTOR relu_##SUFFIX(VECTOR y) { return (VECTOR)(~(MASK)(y < 0) & (MASK)y); }
DEFINE_RELU(f32, vector_f32, mask_f32)
DEFINE_RELU(f64, vector_f64, mask_f64)

/* The values in even and in odd places of two vectors, in the order that one instruction gives; IN_ORDER mends it, once
   for a vector of results. FRONT and BACK take values in turn from the front or the back halves of two vectors. */
#if VECTOR_BYTES == 32
#define EVENS_F32 0, 2, 8, 10, 4, 6, 12, 14
#define EVENS_F64 0, 4, 2, 6
#define ODDS_F32 1, 3, 9, 11, 5, 7, 13, 15
#define ODDS_F64 1, 5, 3, 7
#define IN_ORDER_F32 0, 1, 4, 5, 2, 3, 6, 7
#define IN_ORDER_F64 0, 2, 1, 3
#define SHIFTED_F32 1, 2, 3, 4, 5, 6, 7, 8
#define SHIFTED_F64 1, 2, 3, 4
#define FRONT_F32 0, 8, 1, 9, 2, 10, 3, 11
#define FRONT_F64 0, 4, 1, 5
#define BACK_F32 4, 12, 5, 13, 6, 14, 7, 15
#define BACK_F64 2, 6, 3, 7
#define LANE_NUMBERS_F32 {0, 1, 2, 3, 4, 5, 6, 7}
#define LANE_NUMBERS_F64 {0, 1, 2, 3}
#else
#define EVENS_F32 0, 2, 4, 6
#define EVENS_F64 0, 2
#define ODDS_F32 1, 3, 5, 7
#define ODDS_F64 1, 3
#define IN_ORDER_F32 0, 1, 2, 3
#define IN_ORDER_F64 0, 1
#define SHIFTED_F32 1, 2, 3, 4
#define SHIFTED_F64 1, 2
#define FRONT_F32 0, 4, 1, 5
#define FRONT_F64 0, 2
#define BACK_F32 2, 6, 3, 7
#define BACK_F64 1, 3
#define LANE_NUMBERS_F32 {0, 1, 2, 3}
#define LANE_NUMBERS_F64 {0, 1}
#endif
#ifdef __clang__
#define SHUFFLE(MASK, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(MASK, a, b, ...) __builtin_shuffle(a, b, (MASK){__VA_ARGS__})
#endif

/* sum(x - shift) and sum((x - shift)^2) of `rows` rows of n contiguous values, in float64. A compiler may not reorder a
   sum, so one accumulator would wait for each addition; here are 4 vectors of 4 lanes, added in the same order. */
typedef double lanes_f64 __attribute__((vector_size(32), aligned(8), may_alias));
typedef float lanes_f32 __attribute__((vector_size(16), aligned(4), may_alias));
/* 4 values as doubles. Written out, it is one instruction; GCC 12 makes 4 of __builtin_convertvector. */
#define FOUR_DOUBLES(x) ((lanes_f64){(x)[0], (x)[1], (x)[2], (x)[3]})

/* x - shift as x * 1 - shift, which is as exact: conversions and additions share two units of a processor that has two
   more for FMA. Sums of float32 take 2.1 cycles for 8 values instead of 3.0 (Zen 4, measured). */
#if defined(__FMA__)
#define LESS(x, one, shift) ((x) * (one) - (shift))
#else
#define LESS(x, one, shift) ((x) - (shift))
#endif
static inline double hidden_one(void) { /* from the compiler, which would leave the multiplication out */
    volatile double one = 1;
    return one;
}

#define DEFINE_SHIFTED_SUMS(SUFFIX, REAL)                                                                              \
    static inline void shifted_sums_##SUFFIX(ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t n, const REAL *x,             \
                                             double shift, double *out) {                                              \
        lanes_f64 sum[4] = {{0}}, square[4] = {{0}}, one = hidden_one() - (lanes_f64){0};                              \
        double total = 0, squares = 0;                                                                                 \
        for (; rows > 0; rows--, x += stride) {                                                                        \
            ptrdiff_t i = 0;                                                                                           \
            for (; i + 16 <= n; i += 16) {                                                                             \
                _Pragma("GCC unroll 4") for (int v = 0; v < 4; v++) {                                                  \
                    lanes_f64 d = LESS(FOUR_DOUBLES(x + i + 4 * v), one, shift);                                       \
                    sum[v] += d;                                                                                       \
                    square[v] += d * d;                                                                                \
                }                                                                                                      \
            }                                                                                                          \
            for (; i + 4 <= n; i += 4) {                                                                               \
                lanes_f64 d = LESS(FOUR_DOUBLES(x + i), one, shift);                                                   \
                sum[0] += d;                                                                                           \
                square[0] += d * d;                                                                                    \
            }                                                                                                          \
            for (; i < n; i++) {                                                                                       \
                double d = (double)x[i] - shift;                                                                       \
                total += d;                                                                                            \
                squares += d * d;                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
        lanes_f64 s = (sum[0] + sum[1]) + (sum[2] + sum[3]);                                                           \
        lanes_f64 q = (square[0] + square[1]) + (square[2] + square[3]);                                               \
        out[0] = total + ((s[0] + s[1]) + (s[2] + s[3]));                                                              \
        out[1] = squares + ((q[0] + q[1]) + (q[2] + q[3]));                                                            \
    }
DEFINE_SHIFTED_SUMS(f32, float)
DEFINE_SHIFTED_SUMS(f64, double)

/* `rows` rows, a constant where this is inlined, of each of the four streams of the next function. */
#define DEFINE_ADD_ROWS(SUFFIX, REAL)                                                                                  \
    INLINE void add_rows_##SUFFIX(int rows, ptrdiff_t stride, ptrdiff_t apart, ptrdiff_t n, lanes_f64 one,             \
                                  const REAL *x, const double *shift, double *total, double *squares) {                \
        const REAL *y = x + apart, *z = y + apart, *w = z + apart;                                                     \
        for (ptrdiff_t j = 0; j < n; j += 4) {                                                                         \
            lanes_f64 s = *(const lanes_f64 *)(shift + j), t = {0}, p = {0}, q = {0};                                  \
            _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {                                                   \
                ptrdiff_t i = r * stride + j;                                                                          \
                lanes_f64 a = LESS(FOUR_DOUBLES(x + i), one, s), b = LESS(FOUR_DOUBLES(y + i), one, s);                \
                lanes_f64 c = LESS(FOUR_DOUBLES(z + i), one, s), d = LESS(FOUR_DOUBLES(w + i), one, s);                \
                t = r ? t + ((a + b) + (c + d)) : (a + b) + (c + d);                                                   \
                p += a * a;                                                                                            \
                q += b * b;                                                                                            \
                p += c * c;                                                                                            \
                q += d * d;                                                                                            \
            }                                                                                                          \
            *(lanes_f64 *)(total + j) += t;                                                                            \
            *(lanes_f64 *)(squares + j) += p + q;                                                                      \
        }                                                                                                              \
    }
DEFINE_ADD_ROWS(f32, float)
DEFINE_ADD_ROWS(f64, double)

/* The same down each of n columns, a multiple of 4, added to `total` and `squares`: `rows` rows from each of 4 places,
   `apart` values from one another. Four streams keep more of memory's answers on their way than one: a float32 value
   takes 0.13 ns instead of 0.22 (one thread, 200 MB, measured). Four rows are summed up in registers before they join
   the others: a quarter goes through memory, and a sum of 256 squares is rounded 25 times in a row, and not 256. */
#define DEFINE_SHIFTED_COLUMN_SUMS(SUFFIX, REAL)                                                                       \
    static inline void shifted_column_sums_##SUFFIX(ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t apart, ptrdiff_t n,    \
                                                    const REAL *x, const double *shift, double *total,                 \
                                                    double *squares) {                                                 \
        lanes_f64 one = hidden_one() - (lanes_f64){0};                                                                 \
        for (; rows >= 4; rows -= 4, x += 4 * stride)                                                                  \
            add_rows_##SUFFIX(4, stride, apart, n, one, x, shift, total, squares);                                     \
        for (; rows > 0; rows--, x += stride)                                                                          \
            add_rows_##SUFFIX(1, stride, apart, n, one, x, shift, total, squares);                                     \
    }
DEFINE_SHIFTED_COLUMN_SUMS(f32, float)
DEFINE_SHIFTED_COLUMN_SUMS(f64, double)

/* Copy past the caches: a plain store may first read the line that it writes to, a third of all bytes that then move.
   Only for large arrays that are not read again soon. By intrinsics: GCC has no other word for it. */
static inline void stream(ptrdiff_t n_bytes, const void *from, void *to) {
    const char *source = from;
    char *target = to;
#if defined(__SSE2__)
    ptrdiff_t head = -(intptr_t)to & (VECTOR_BYTES - 1);
    if (head > n_bytes) head = n_bytes;
    memcpy(target, source, head);
    for (source += head, target += head, n_bytes -= head; n_bytes >= VECTOR_BYTES; n_bytes -= VECTOR_BYTES) {
#if defined(__AVX__)
        _mm256_stream_si256((__m256i *)target, _mm256_loadu_si256((const __m256i *)source));
#else
        _mm_stream_si128((__m128i *)target, _mm_loadu_si128((const __m128i *)source));
#endif
        source += VECTOR_BYTES, target += VECTOR_BYTES;
    }
    _mm_sfence(); /* such stores are in no order with others */
#endif
    memcpy(target, source, n_bytes);
}

/* One name for both precisions; the type of a pointer chooses, at compile time. */
#define BY_TYPE(pointer, name)                                                                                         \
    _Generic((pointer), float *: name##_f32, const float *: name##_f32, double *: name##_f64, const double *: name##_f64)
#define shifted_column_sums(rows, stride, apart, n, x, ...)                                                            \
    BY_TYPE(x, shifted_column_sums)(rows, stride, apart, n, x, __VA_ARGS__)
#define shifted_sums(rows, stride, n, x, ...) BY_TYPE(x, shifted_sums)(rows, stride, n, x, __VA_ARGS__)

#endif
