/* As NumPy does it: an operation at a time, each over all values, and each into a new array. */
#include <stddef.h>
#include <stdlib.h>

/* out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN */
void normalize_add_relu(const float *x, const float *scale, const float *shift, const float *residual, float *out,
                        ptrdiff_t rows, ptrdiff_t columns) {
    ptrdiff_t size = rows * columns;
    float *scaled = malloc(size * sizeof(float)), *shifted = malloc(size * sizeof(float));
    float *added = malloc(size * sizeof(float));
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++)
            scaled[i * columns + j] = scale[i] * x[i * columns + j];
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++)
            shifted[i * columns + j] = scaled[i * columns + j] + shift[i];
    for (ptrdiff_t i = 0; i < size; i++)
        added[i] = shifted[i] + residual[i];
    for (ptrdiff_t i = 0; i < size; i++)
        out[i] = added[i] < 0 ? 0 : added[i];
    free(scaled);
    free(shifted);
    free(added);
}
