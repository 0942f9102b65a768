/* One pass: each value is read once, finished while it is in a register, and written once. */
#include <stddef.h>

/* out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN */
void normalize_add_relu(const float *x, const float *scale, const float *shift, const float *residual, float *restrict out,
                        ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t i = 0; i < rows; i++) {
        float a = scale[i], b = shift[i]; /* `restrict` says that writing to out does not change them, nor x */
        for (ptrdiff_t j = 0; j < columns; j++) {
            float value = a * x[i * columns + j] + b + residual[i * columns + j];
            out[i * columns + j] = value < 0 ? 0 : value; /* not fmaxf: a NaN is not below zero, and stays */
        }
    }
}
