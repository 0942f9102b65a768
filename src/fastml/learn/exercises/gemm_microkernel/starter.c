/* The definition: each value of the product is a row of a times a column of b, which is not in the order of memory. */
#include <stddef.h>

/* out (m, n) = a (m, k) @ b (k, n) */
void matmul(const float *a, const float *b, float *out, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            float total = 0;
            for (ptrdiff_t p = 0; p < k; p++)
                total += a[i * k + p] * b[p * n + j];
            out[i * n + j] = total;
        }
}
