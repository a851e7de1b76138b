/* A factor for each group of inputs, taken into the first product's weights. */
#ifndef POISE_FRONT_H
#define POISE_FRONT_H

#include "chain.h"

/* to[o][i] = weight[o][i] (1 + speed factor[columns[i]]), for `outputs` rows of `inputs` weights, which lie densely. `kept` has room for
   2 x inputs: the scales, and sums on the way back. */
void front_scale(const layer *its, float speed, const float *weight, const float *factor, float *kept, float *to);

/* From the gradient `back` of what front_scale wrote, that of the weights and of the `detail` factors. */
void front_scale_back(const layer *its, float speed, const float *weight, float *kept, const float *back,
                      float *weight_grad, float *factor_grad);

#endif
