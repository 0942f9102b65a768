/* One accumulator: every addition waits for the one before it. Give it independent ones to do meanwhile. */
#include <stddef.h>

/* out[0] = the sum of x, which has n values */
void total(const float *x, double *out, ptrdiff_t n) {
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        sum += x[i];
    out[0] = sum;
}
