/* Three passes over memory, for one multiplication, two additions and a comparison. */
#include <stddef.h>

/* out = max(scale * x + shift + residual, 0), a scale and a shift for each row of x; NaN stays NaN */
void normalize_add_relu(const float *x, const float *scale, const float *shift, const float *residual, float *out,
                        ptrdiff_t rows, ptrdiff_t columns) {
    for (ptrdiff_t i = 0; i < rows; i++)
        for (ptrdiff_t j = 0; j < columns; j++)
            out[i * columns + j] = scale[i] * x[i * columns + j] + shift[i];
    for (ptrdiff_t i = 0; i < rows * columns; i++)
        out[i] += residual[i];
    for (ptrdiff_t i = 0; i < rows * columns; i++)
        out[i] = out[i] < 0 ? 0 : out[i];
}
