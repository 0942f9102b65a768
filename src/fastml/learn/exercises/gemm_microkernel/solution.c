/* Six rows by two vectors of the product in registers: twelve independent sums, which wait for nobody, and for two loads
   of b and six of a. What is left over is done in the same way row by row, or value by value. */
#include <stddef.h>
#include <string.h>

enum { LANES = 8, ROWS = 6, COLUMNS = 2 * LANES }; /* 12 vectors of sums, 2 of b, 1 of a: 15 of the 16 of AVX2 */
typedef float vec __attribute__((vector_size(4 * LANES)));

static inline vec load(const float *from) {
    vec value;
    memcpy(&value, from, sizeof value); /* one load, from any address */
    return value;
}

/* A block of `rows` x COLUMNS. Inlined with a constant `rows`, its loops are unrolled and its sums are registers. */
static inline void block(const float *a, const float *b, float *out, ptrdiff_t k, ptrdiff_t n, int rows) {
    vec left[ROWS], right[ROWS];
    for (int i = 0; i < rows; i++)
        left[i] = right[i] = (vec){0};
    for (ptrdiff_t p = 0; p < k; p++) {
        vec b0 = load(b + p * n), b1 = load(b + p * n + LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            left[i] += a[i * k + p] * b0;
            right[i] += a[i * k + p] * b1;
        }
    }
    for (int i = 0; i < rows; i++) {
        memcpy(out + i * n, &left[i], sizeof left[i]);
        memcpy(out + i * n + LANES, &right[i], sizeof right[i]);
    }
}

/* out (m, n) = a (m, k) @ b (k, n) */
void matmul(const float *a, const float *b, float *out, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    ptrdiff_t whole = n / COLUMNS * COLUMNS;
    for (ptrdiff_t j = 0; j < whole; j += COLUMNS) { /* a strip of b stays in the cache for all rows */
        ptrdiff_t i = 0;
        for (; i + ROWS <= m; i += ROWS)
            block(a + i * k, b + j, out + i * n + j, k, n, ROWS);
        for (; i < m; i++)
            block(a + i * k, b + j, out + i * n + j, k, n, 1);
    }
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = whole; j < n; j++) {
            float sum = 0;
            for (ptrdiff_t p = 0; p < k; p++)
                sum += a[i * k + p] * b[p * n + j];
            out[i * n + j] = sum;
        }
}
