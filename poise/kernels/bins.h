/* Linear layers on piecewise features, without the features: one on all columns' together, or one on each column's. */
#ifndef POISE_BINS_H
#define POISE_BINS_H

#include "chain.h"

/* Of a column's bins, those below a number's own are all 1 and those above all 0. What they add to the outputs is the sum
   of the first bins' weights, which a table holds, and a part of the next weight: two rows of the table, however many
   bins there are. `weight` (outputs, columns, 1 + bins; `weight_stride` floats a row), `bias` (outputs) or null.
   `kept` receives what the way back needs. */
void bins(int64_t rows, int64_t member, const layer *its, const float *from, float *to, const float *weight,
          const float *bias, float *kept, float *scratch);

/* The gradients of weights and bias; `kept` as the forward pass left it, which is used up. */
void bins_back(int64_t rows, const layer *its, const float *back, float *weight_grad, float *bias_grad, float *kept,
               float *scratch);

/* For each column the number itself, then `size` outputs, max(0, a linear layer of its own on the number and its bins):
   `weight` (columns, 1 + bins, size), `bias` (columns, size), to (rows, columns, 1 + size). */
void embedded(int64_t rows, int64_t member, const layer *its, const float *from, float *to, const float *weight,
              const float *bias, float *kept);

/* The gradients of weights and bias. */
void embedded_back(int64_t rows, const layer *its, const float *back, float *weight_grad, float *bias_grad,
                   float *kept);

#endif
