/* See rows.h. The draws are those of `poise.core.mixing`, word for word. */
#include "rows.h"

#include <math.h>

#include "order.h"

/* Write one stream's words, as many as `count`, to `words`; room for 3 more. */
static void draw(philox_key key, int64_t count, uint64_t *words) {
    for (int64_t i = 0; i < count; i += 4) philox_block(key, (uint64_t)i / 4, words + i);
}

static double open_unit(uint64_t word) { return ((double)(word >> 12) + 0.5) * 0x1p-52; }

/* The weight of each row's partner: 1 - lambda, lambda ~ Beta(alpha, alpha) (Devroye 1996), 0 for rows left alone. */
static void draw_taken(const batch *its, int64_t member, float *taken, uint64_t *words) {
    const int64_t *key = its->keys + 3 * member;
    const double power = its->alpha[member] < 1e-4 ? 1e-4 : its->alpha[member];
    uint64_t *first = words, *second = words + its->rows + 4;
    uint32_t *third = (uint32_t *)(second + its->rows + 4);
    draw(philox_key_of(key, its->lambda_u), its->rows, first);
    draw(philox_key_of(key, its->lambda_v), its->rows, second);
    draw(philox_key_of(key, its->mixed), (its->rows + 1) / 2, (uint64_t *)third);
    for (int64_t r = 0; r < its->rows; r++) {
        const double way = -log(open_unit(first[r])) / power, turn = cos(6.283185307179586 * open_unit(second[r]));
        const double spread = expm1(way > 700 ? 700 : way) * turn * turn;
        const double root = sqrt(1 + 1 / (spread < 1e-300 ? 1e-300 : spread));
        double kept = 0.5 + (turn > 0 ? 1 : turn < 0 ? -1 : 0) / (2 * root);
        if (its->majority && kept < 1 - kept) kept = 1 - kept;
        const float chance = ((float)(int32_t)(third[r] >> 9) + 0.5f) * 0x1p-23f;
        taken[r] = chance < its->share[member] && its->alpha[member] > 0 ? (float)(1 - kept) : 0;
    }
}

/* a + weight (b - a), as torch.lerp has it: exact at both ends. */
POISE_INLINE float between(float a, float b, float weight) {
    return weight < 0.5f ? a + weight * (b - a) : b - (b - a) * (1 - weight);
}

POISE_CLONES static void mix(int64_t width, const float *own, const float *other, float weight, float *to) {
    for (int64_t n = 0; n < width; n++) to[n] = between(own[n], other[n], weight);
}

/* The job of one member; the scratch holds 3 floats a row and those of an order. */
POISE_EXPORT void poise_rows(const void *given, int64_t member, float *scratch) {
    const batch *its = given;
    const int64_t rows = its->rows, *index = its->index + member * its->index_stride;
    float *taken = scratch;
    int64_t *partner = 0;
    if (its->alpha) {
        partner = (int64_t *)(scratch + (rows + 15) / 16 * 16);
        float *rest = (float *)(partner + rows);
        draw_taken(its, member, taken, (uint64_t *)rest);
        random_order(rows, philox_key_of(its->keys + 3 * member, its->partner), partner, rest);
    }
    const int64_t width = its->columns, labels = its->targets_width;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t own = index[r], other = partner ? index[partner[r]] : own;
        const float weight = partner ? taken[r] : 0;
        float *to = its->own_targets + (member * rows + r) * labels;
        mix(width, its->inputs + own * width, its->inputs + other * width, weight,
            its->own_inputs + (member * rows + r) * width);
        /* A row that takes nothing from its partner does not take its missing label either. */
        mix(labels, its->targets + own * labels, its->targets + (weight > 0 ? other : own) * labels, weight, to);
        if (its->weights) {
            its->own_weights[member * rows + r] = between(its->weights[own], its->weights[other], weight);
        }
        if (its->amount) {
            const float amount = its->amount[member], spread = amount / (float)labels;
            for (int64_t k = 0; k < labels; k++) to[k] = (1 - amount) * to[k] + spread;
        }
    }
}
