/* The data's loss of one task, with its gradient: see layers.h, and `poise.train.losses` for the definition. */
#include <float.h>
#include <math.h>

#include "floats.h"
#include "layers.h"

/* The sum over rows of weight x known, or the number of rows if neither is given. */
static float mass_of(int64_t rows, const loss *its, const float *targets, int64_t stride, const float *weights) {
    if (!weights && its->known < 0) return (float)rows;
    float sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        sum += (weights ? weights[r] : 1) * (its->known < 0 ? 1 : targets[r * stride + its->known]);
    }
    return sum < FLT_MIN ? FLT_MIN : sum;
}

POISE_INLINE float cross_entropy(int64_t width, const float *out, const float *target, const float *class_weights,
                                 float whole, float weight, float *back) {
    float top = out[0], sum = 0, mass = 0, cost = 0;
    for (int64_t k = 1; k < width; k++) top = out[k] > top ? out[k] : top;
    for (int64_t k = 0; k < width; k++) back[k] = exponential(out[k] - top);
    for (int64_t k = 0; k < width; k++) sum += back[k];
    const float level = top + logf(sum), inverse = 1 / sum;
    for (int64_t k = 0; k < width; k++) {
        const float share = target[k] * whole * (class_weights ? class_weights[k] : 1);
        mass += share;
        cost -= share * (out[k] - level);
    }
    for (int64_t k = 0; k < width; k++) {
        const float share = target[k] * whole * (class_weights ? class_weights[k] : 1);
        back[k] = weight * (mass * back[k] * inverse - share);
    }
    return cost;
}

POISE_INLINE float squared_error(int64_t width, const float *out, const float *target, float whole, float weight,
                                 float *back) {
    float cost = 0;
    const float part = 1 / (float)width;
    for (int64_t k = 0; k < width; k++) {
        const float gap = out[k] - target[k] * whole;
        cost += gap * gap;
        back[k] = 2 * part * weight * gap;
    }
    return cost * part;
}

POISE_CLONES float task_loss(int64_t rows, const loss *its, int64_t tasks, const float *outputs, int64_t outputs_stride,
                             const float *targets, int64_t targets_stride, const float *weights, float *back) {
    const float mass = mass_of(rows, its, targets, targets_stride, weights) * (float)tasks;
    double total = 0;
    for (int64_t r = 0; r < rows; r++) {
        const float *out = outputs + r * outputs_stride + its->first, *row = targets + r * targets_stride;
        float *own = back + r * outputs_stride + its->first;
        const float known = its->known < 0 ? 1 : row[its->known];
        const float whole = known > 0 ? 1 / known : 1; /* a mixed row's block holds its known share of a label */
        const float share = (weights ? weights[r] : 1) * known;
        const float cost =
            its->kind == CROSS_ENTROPY
                ? cross_entropy(its->width, out, row + its->first, its->class_weights, whole, share / mass, own)
                : squared_error(its->width, out, row + its->first, whole, share / mass, own);
        total += (double)(share * cost);
    }
    return (float)(total / mass);
}
