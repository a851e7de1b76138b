/* A factor for each group of inputs, taken into the first product's weights: fewer numbers than its inputs are. */
#include <string.h>

#include "front.h"

void front_scale(const layer *its, float speed, const float *weight, const float *factor, float *kept, float *to) {
    const int64_t inputs = its->inputs;
    for (int64_t i = 0; i < inputs; i++) kept[i] = 1.0f + speed * factor[its->columns[i]];
    for (int64_t o = 0; o < its->outputs; o++) {
        for (int64_t i = 0; i < inputs; i++) to[o * inputs + i] = weight[o * inputs + i] * kept[i];
    }
}

void front_scale_back(const layer *its, float speed, const float *weight, float *kept, const float *back,
                      float *weight_grad, float *factor_grad) {
    const int64_t inputs = its->inputs;
    float *sums = kept + inputs;
    memset(sums, 0, sizeof(float) * (size_t)inputs);
    for (int64_t o = 0; o < its->outputs; o++) {
        const float *from = back + o * inputs, *own = weight + o * inputs;
        float *to = weight_grad + o * inputs;
        for (int64_t i = 0; i < inputs; i++) {
            sums[i] += from[i] * own[i];
            to[i] = from[i] * kept[i];
        }
    }
    memset(factor_grad, 0, sizeof(float) * (size_t)its->detail);
    for (int64_t i = 0; i < inputs; i++) factor_grad[its->columns[i]] += speed * sums[i];
}
