/* See layers.h. Sums over rows keep 16 columns in registers; everything else is one value at a time. */
#include "layers.h"

#include <float.h>
#include <math.h>

#include "floats.h"

enum { BLOCK = 64 }; /* columns that are summed at a time */

POISE_CLONES void sum_rows(int64_t rows, int64_t width, const float *from, int64_t stride, float *to) {
    for (int64_t first = 0; first < width; first += BLOCK) {
        const int64_t own = width - first < BLOCK ? width - first : BLOCK;
        float sum[BLOCK] = {0};
        for (int64_t r = 0; r < rows; r++) {
            const float *row = from + r * stride + first;
            for (int64_t n = 0; n < own; n++) sum[n] += row[n];
        }
        for (int64_t n = 0; n < own; n++) to[first + n] = sum[n];
    }
}

POISE_CLONES void batch_norm(int64_t rows, int64_t width, float *x, float *kept, const float *weight, const float *bias,
                             float share, float *running_mean, float *running_var, float momentum, float eps) {
    if (share == 0) return; /* it is not there, whatever the neighbours have */
    float *root = kept + rows * width;
    const float rest = 1.0f - share, part = 1.0f / (float)rows;
    const float unbiased = (float)((double)rows / (double)(rows - 1));
    for (int64_t first = 0; first < width; first += BLOCK) {
        const int64_t own = width - first < BLOCK ? width - first : BLOCK;
        float mean[BLOCK] = {0}, var[BLOCK] = {0}, gain[BLOCK], offset[BLOCK], inverse[BLOCK];
        for (int64_t r = 0; r < rows; r++) {
            const float *row = x + r * width + first;
            for (int64_t n = 0; n < own; n++) mean[n] += row[n];
        }
        for (int64_t n = 0; n < own; n++) mean[n] *= part;
        for (int64_t r = 0; r < rows; r++) {
            const float *row = x + r * width + first;
            for (int64_t n = 0; n < own; n++) var[n] += (row[n] - mean[n]) * (row[n] - mean[n]);
        }
        for (int64_t n = 0; n < own; n++) {
            var[n] *= part;
            inverse[n] = root[first + n] = 1.0f / sqrtf(var[n] + eps);
            gain[n] = weight[first + n] * share;
            offset[n] = bias[first + n] * share;
            running_mean[first + n] = running_mean[first + n] * (1.0f - momentum) + momentum * mean[n];
            running_var[first + n] = running_var[first + n] * (1.0f - momentum) + momentum * (var[n] * unbiased);
        }
        for (int64_t r = 0; r < rows; r++) {
            float *row = x + r * width + first, *own_kept = kept + r * width + first;
            for (int64_t n = 0; n < own; n++) {
                const float standard = (row[n] - mean[n]) * inverse[n];
                own_kept[n] = standard;
                row[n] = (standard * gain[n] + offset[n]) + row[n] * rest;
            }
        }
    }
}

POISE_CLONES void batch_norm_back(int64_t rows, int64_t width, const float *kept, float *back, const float *weight,
                                  float share, float *weight_grad, float *bias_grad) {
    if (share == 0) {
        memset(weight_grad, 0, sizeof(float) * (size_t)width);
        memset(bias_grad, 0, sizeof(float) * (size_t)width);
        return;
    }
    const float *root = kept + rows * width;
    const float rest = 1.0f - share, part = 1.0f / (float)rows;
    for (int64_t first = 0; first < width; first += BLOCK) {
        const int64_t own = width - first < BLOCK ? width - first : BLOCK;
        float total[BLOCK] = {0}, along[BLOCK] = {0}, slope[BLOCK];
        for (int64_t r = 0; r < rows; r++) {
            const float *row = back + r * width + first, *standard = kept + r * width + first;
            for (int64_t n = 0; n < own; n++) {
                total[n] += row[n];
                along[n] += row[n] * standard[n];
            }
        }
        for (int64_t n = 0; n < own; n++) {
            weight_grad[first + n] = share * along[n];
            bias_grad[first + n] = share * total[n];
            slope[n] = weight[first + n] * share * root[first + n];
            total[n] *= part;
            along[n] *= part;
        }
        for (int64_t r = 0; r < rows; r++) {
            float *row = back + r * width + first;
            const float *standard = kept + r * width + first;
            for (int64_t n = 0; n < own; n++) {
                row[n] = slope[n] * (row[n] - total[n] - standard[n] * along[n]) + row[n] * rest;
            }
        }
    }
}

POISE_CLONES void fixed_norm(int64_t rows, int64_t width, float *x, const float *weight, const float *bias, float share,
                             const float *running_mean, const float *running_var, float eps) {
    for (int64_t first = 0; first < width; first += BLOCK) {
        const int64_t own = width - first < BLOCK ? width - first : BLOCK;
        float factor[BLOCK], shift[BLOCK];
        for (int64_t n = 0; n < own; n++) {
            const float slope = weight[first + n] * share * (1.0f / sqrtf(running_var[first + n] + eps));
            shift[n] = bias[first + n] * share - running_mean[first + n] * slope;
            factor[n] = slope + (1.0f - share);
        }
        for (int64_t r = 0; r < rows; r++) {
            float *row = x + r * width + first;
            for (int64_t n = 0; n < own; n++) row[n] = row[n] * factor[n] + shift[n];
        }
    }
}

POISE_CLONES void activate(int64_t count, float *x, float *kept, int64_t kind) {
    uint8_t *gate = (uint8_t *)kept;
    switch (kind) {
    case RELU:
        for (int64_t i = 0; i < count; i++) {
            gate[i] = !(x[i] <= 0); /* so that NaN stays */
            x[i] = x[i] <= 0 ? 0 : x[i];
        }
        break;
    case SILU:
        for (int64_t i = 0; i < count; i++) {
            const float share = 1 / (1 + exponential(-x[i]));
            kept[i] = share * (1 + x[i] * (1 - share));
            x[i] = x[i] * share;
        }
        break;
    case MISH: /* tanh(log(1 + e)) = n / (n + 2), n = e (e + 2); from x = 20 on it is 1 */
        for (int64_t i = 0; i < count; i++) {
            const float e = exponential(x[i] > 20 ? 20 : x[i]), n = e * (e + 2), t = n / (n + 2);
            kept[i] = t + x[i] * (1 - t * t) * (e / (1 + e));
            x[i] = x[i] * t;
        }
        break;
    case SELU: {
        const float scale = 1.0507009873554804934193349852946f, alpha = 1.6732632423543772848170429916717f;
        for (int64_t i = 0; i < count; i++) {
            const float e = scale * alpha * exponential(x[i]);
            kept[i] = x[i] <= 0 ? e : scale;
            x[i] = x[i] <= 0 ? scale * alpha * expm1f(x[i]) : scale * x[i];
        }
        break;
    }
    case GELU:
        for (int64_t i = 0; i < count; i++) {
            const float bell = exponential(-0.5f * x[i] * x[i]), share = normal_share(x[i], bell);
            kept[i] = share + x[i] * bell * 0.398942280401f;
            x[i] = x[i] * share;
        }
        break;
    default: /* TANH */
        for (int64_t i = 0; i < count; i++) {
            const float t = tanhf(x[i]);
            kept[i] = 1 - t * t;
            x[i] = t;
        }
    }
}

POISE_CLONES void activate_back(int64_t count, const float *kept, float *back, int64_t kind) {
    if (kind == RELU) {
        const uint8_t *gate = (const uint8_t *)kept;
        for (int64_t i = 0; i < count; i++) back[i] = gate[i] ? back[i] : 0;
    } else {
        for (int64_t i = 0; i < count; i++) back[i] *= kept[i];
    }
}

/* 1 / (1 - p), as `poise.network.dropout` has it: 0 where everything is dropped. */
POISE_INLINE float scale_of(float p) {
    const float stay = 1 - p < FLT_MIN ? FLT_MIN : 1 - p;
    return p < 1 ? 1 / stay : 0;
}

POISE_CLONES void drop(int64_t count, float *x, float *kept, float p, philox_key key) {
    if (p == 0) return;
    uint8_t *gate = (uint8_t *)kept;
    const float limit = rintf(p * 65536);
    /* Signed 16 bits, as `Rng.margin` reads them; at p = 1 nothing stays. */
    const int32_t threshold = p < 1 ? (int32_t)(limit > 65535 ? 65535 : limit) - 32768 : 32768;
    const float scale = scale_of(p);
    uint64_t words[64];
    int16_t numbers[256];
    for (int64_t first = 0; first < count; first += 256) {
        const int64_t own = count - first < 256 ? count - first : 256;
        for (int64_t block = 0; 16 * block < own; block++) {
            philox_block(key, (uint64_t)(first / 16 + block), words + 4 * block);
        }
        memcpy(numbers, words, sizeof numbers);
        for (int64_t i = 0; i < own; i++) {
            gate[first + i] = numbers[i] >= threshold;
            x[first + i] = numbers[i] >= threshold ? x[first + i] * scale : 0;
        }
    }
}

POISE_CLONES void drop_back(int64_t count, const float *kept, float *back, float p) {
    if (p == 0) return;
    const uint8_t *gate = (const uint8_t *)kept;
    const float scale = scale_of(p);
    for (int64_t i = 0; i < count; i++) back[i] = gate[i] ? back[i] * scale : 0;
}

POISE_CLONES void add_noise(int64_t count, float *x, float scale, philox_key key) {
    if (scale == 0) return;
    uint64_t words[64];
    uint32_t numbers[128];
    for (int64_t first = 0; first < count; first += 128) {
        const int64_t own = count - first < 128 ? count - first : 128;
        for (int64_t block = 0; 8 * block < own; block++) {
            philox_block(key, (uint64_t)(first / 8 + block), words + 4 * block);
        }
        memcpy(numbers, words, sizeof numbers);
        for (int64_t i = 0; i < own; i++) {
            const float uniform = ((float)(int32_t)(numbers[i] >> 9) + 0.5f) * 0x1p-23f;
            x[first + i] += scale * normal_of(2 * uniform - 1);
        }
    }
}

void take_columns(int64_t rows, const layer *its, const float *from, float *to) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t n = 0; n < its->inputs; n++) {
            to[r * its->target_stride + n] = from[r * its->source_stride + its->columns[n]];
        }
    }
}

POISE_CLONES void piecewise(int64_t rows, int64_t member, const layer *its, const float *from, float *to) {
    const int64_t size = its->outputs / its->inputs, own = member * its->inputs * (size - 1);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t n = 0; n < its->inputs; n++) {
            const float value = from[r * its->source_stride + its->columns[n]];
            const float *low = its->low + own + n * (size - 1), *slope = its->slope + own + n * (size - 1);
            float *features = to + r * its->target_stride + n * size;
            features[0] = value;
            for (int64_t i = 0; i < size - 1; i++) {
                const float way = (value - low[i]) * slope[i];
                features[i + 1] = way < 0 ? 0 : way > 1 ? 1 : way;
            }
        }
    }
}

POISE_CLONES void periodic(int64_t rows, const layer *its, const float *from, float *to, float *kept,
                           const float *frequency, const float *phase) {
    const int64_t size = its->outputs / its->inputs - 1;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t n = 0; n < its->inputs; n++) {
            const float value = from[r * its->source_stride + its->columns[n]];
            const float *own = frequency + n * size, *begin = phase + n * size;
            float *features = to + r * its->target_stride + n * (size + 1), *slope = kept + (r * its->inputs + n) * size;
            features[0] = value;
            for (int64_t i = 0; i < size; i++) {
                const turned part = turn(value * own[i] + begin[i]);
                features[i + 1] = part.cosine;
                slope[i] = -6.28318530718f * part.sine;
            }
        }
    }
}

POISE_CLONES void periodic_back(int64_t rows, const layer *its, const float *from, const float *back, const float *kept,
                                float *frequency_grad, float *phase_grad) {
    const int64_t size = its->outputs / its->inputs - 1;
    memset(frequency_grad, 0, sizeof(float) * (size_t)(its->inputs * size));
    memset(phase_grad, 0, sizeof(float) * (size_t)(its->inputs * size));
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t n = 0; n < its->inputs; n++) {
            const float value = from[r * its->source_stride + its->columns[n]];
            const float *own = back + r * its->target_stride + n * (size + 1) + 1;
            const float *slope = kept + (r * its->inputs + n) * size;
            float *first = frequency_grad + n * size, *second = phase_grad + n * size;
            for (int64_t i = 0; i < size; i++) {
                const float grad = own[i] * slope[i];
                first[i] += grad * value;
                second[i] += grad;
            }
        }
    }
}
