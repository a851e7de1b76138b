/* See update.h. Value by value: each parameter's result depends on nothing but its own numbers and the clipping. */
#include "update.h"

#include <math.h>

/* min(1, limit / (norm + 1e-6)); 1 where the norm is not finite. Summed in float64, in order. */
POISE_CLONES static float clipping(int64_t count, const float *grads, float limit) {
    double sums[16] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (int64_t n = 0; n < 16; n++) sums[n] += (double)grads[i + n] * grads[i + n];
    }
    for (; i < count; i++) sum += (double)grads[i] * grads[i];
    for (int64_t n = 0; n < 16; n++) sum += sums[n];
    const float norm = (float)sqrt(sum), factor = limit / (norm + 1e-6f);
    return !isfinite(norm) || factor > 1 ? 1 : factor;
}

/* a + weight (b - a), as torch.lerp has it: exact at both ends. */
POISE_INLINE float between(float a, float b, float weight) {
    return weight < 0.5f ? a + weight * (b - a) : b - (b - a) * (1 - weight);
}

/* Adam's step; then, if there is a threshold, w - clamp(w, -t, t), t = threshold lr / (sqrt(v) / corrected + eps). */
POISE_CLONES static void adam(const update *its, int64_t count, float *restrict w, const float *restrict g,
                              float *restrict m, float *restrict v, float clip, float decay, float step,
                              float threshold) {
    const float new_first = its->new_first, keep = its->keep_second, new_second = its->new_second;
    const float inverse = 1 / *its->corrected, eps = its->eps;
    for (int64_t i = 0; i < count; i++) {
        const float grad = g[i] * clip;
        m[i] = m[i] + new_first * (grad - m[i]);
        v[i] = v[i] * keep + new_second * grad * grad;
        const float scale = 1 / (sqrtf(v[i]) * inverse + eps);
        const float moved = w[i] * decay - step * m[i] * scale, t = threshold * scale;
        w[i] = moved - (moved < -t ? -t : moved > t ? t : moved);
    }
}

POISE_CLONES static void average(int64_t count, float *restrict shadow, const float *restrict w, float gain) {
    for (int64_t i = 0; i < count; i++) shadow[i] = between(shadow[i], w[i], gain);
}

/* The job of one member. A few parameters at a time, so that the average finds them in the first cache. */
POISE_EXPORT void poise_update(const void *given, int64_t member, float *scratch) {
    enum { FEW = 1024 };
    const update *its = given;
    const int64_t row = member * its->parameters;
    const int clips = its->limit && its->limit[member] < INFINITY;
    const float clip = clips ? clipping(its->parameters, its->grads + row, its->limit[member]) : 1;
    for (int64_t i = 0; i < its->segments_count; i++) {
        const segment *part = its->segments + i;
        const float decay = its->decay && part->decays ? its->decay[member] : 1;
        const float threshold = its->threshold && part->thresholds ? its->threshold[member] * its->lr[member] : 0;
        for (int64_t first = part->first; first < part->past; first += FEW) {
            const int64_t count = part->past - first < FEW ? part->past - first : FEW, from = row + first;
            adam(its, count, its->params + from, its->grads + from, its->first + from, its->second + from, clip, decay,
                 its->step[member], threshold);
            if (its->gain) average(count, its->shadow + from, its->params + from, its->gain[member]);
        }
    }
    (void)scratch;
}

POISE_CLONES static double absolute(int64_t count, const float *values) {
    double sums[16] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (int64_t n = 0; n < 16; n++) sums[n] += (double)fabsf(values[i + n]);
    }
    for (; i < count; i++) sum += (double)fabsf(values[i]);
    for (int64_t n = 0; n < 16; n++) sum += sums[n];
    return sum;
}

/* The job of one member: what the weights that the threshold selects cost it. */
POISE_EXPORT void poise_report(const void *given, int64_t member, float *scratch) {
    const report *its = given;
    double sum = 0;
    for (int64_t i = 0; its->weight[member] != 0 && i < its->segments_count; i++) {
        const segment *part = its->segments + i;
        if (!part->thresholds) continue;
        sum += absolute(part->past - part->first, its->params + member * its->parameters + part->first);
    }
    its->terms[member] = its->weight[member] * (float)sum;
    (void)scratch;
}
