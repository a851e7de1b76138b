/* Matrix products of one member: small, dense, float32, in the core's cache. */
#ifndef POISE_PRODUCT_H
#define POISE_PRODUCT_H

#include "native.h"

/* Floats that a product needs to work in: one packed panel; in bfloat16, half of one and 128 rows of the left matrix. */
#define PRODUCT_SCRATCH (128 * 32 + 128 * 128)

/* A matrix by its first element and the distances, in floats, from one row and from one column to the next. */
typedef struct {
    const float *data;
    int64_t row, column;
} matrix;

/* c (rows, columns; `stride` floats a row) = left (rows, depth) right (depth, columns), plus `bias` (columns) if there
   is one, plus c itself if `add`. Every sum runs over the depth in order, whatever stands beside it. With `narrow`, both
   are rounded to bfloat16 first where the processor multiplies that faster (AVX-512 BF16), and summed in float32. */
void product(int64_t rows, int64_t columns, int64_t depth, matrix left, matrix right, float *c, int64_t stride,
             const float *bias, int add, int narrow, float *scratch);

#endif
