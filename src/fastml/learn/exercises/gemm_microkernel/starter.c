/* Rows of the product, in the order of memory, yet each multiplication loads and stores its sum. */
#include <stddef.h>

/* out (m, n) = a (m, k) @ b (k, n) */
void matmul(const float *a, const float *b, float *out, ptrdiff_t m, ptrdiff_t k, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < m; i++) {
        for (ptrdiff_t j = 0; j < n; j++)
            out[i * n + j] = 0;
        for (ptrdiff_t p = 0; p < k; p++)
            for (ptrdiff_t j = 0; j < n; j++)
                out[i * n + j] += a[i * k + p] * b[p * n + j];
    }
}
