/* See rows.h. The draws are those of `poise.batch` and `poise.core.mixing`, word for word. */
#include "rows.h"

#include <math.h>
#include <string.h>

#include "floats.h"
#include "order.h"

/* One member's rows while they are edited, and where the rows stand as they were before the present edit. */
typedef struct {
    const batch *its;
    const int64_t *key;
    float *inputs, *targets, *weights;
    const float *old_inputs, *old_targets, *old_weights;
    const int64_t *places; /* of the old rows, null for 0, 1, ... */
    float *spare;          /* for a copy of the old rows */
    float *taken;          /* (rows,) the weight of each row's partner */
    int64_t *partner;      /* (rows,) */
    float *rest;           /* for draws */
} rows_now;

/* Numbers of one stream, asked for in rising order or not; a block is drawn when a number of another is asked for. */
typedef struct {
    philox_key key;
    uint64_t block;
    uint64_t words[4];
} numbers;

POISE_INLINE numbers numbers_of(const int64_t *key, uint64_t stream) {
    return (numbers){philox_key_of(key, stream), UINT64_MAX, {0}};
}

POISE_INLINE uint64_t word_at(numbers *its, int64_t place) {
    const uint64_t block = (uint64_t)place / 4;
    if (block != its->block) philox_block(its->key, its->block = block, its->words);
    return its->words[place % 4];
}

POISE_INLINE uint32_t half_at(numbers *its, int64_t place) {
    return (uint32_t)(word_at(its, place / 2) >> (place % 2 ? 32 : 0));
}

POISE_INLINE float uniform_of(uint32_t half) { return ((float)(int32_t)(half >> 9) + 0.5f) * 0x1p-23f; }

POISE_INLINE double open_unit(uint64_t word) { return ((double)(word >> 12) + 0.5) * 0x1p-52; }

/* a + weight (b - a), as torch.lerp has it: exact at both ends. */
POISE_INLINE float between(float a, float b, float weight) {
    return weight < 0.5f ? a + weight * (b - a) : b - (b - a) * (1 - weight);
}

/* Keep the rows as they are now, unless they are still those of the data. */
static void remember(rows_now *now, int edited) {
    const batch *its = now->its;
    if (!edited) return;
    const size_t inputs = (size_t)(its->rows * its->columns), targets = (size_t)(its->rows * its->targets_width);
    memcpy(now->spare, now->inputs, sizeof(float) * inputs);
    memcpy(now->spare + inputs, now->targets, sizeof(float) * targets);
    if (now->weights) memcpy(now->spare + inputs + targets, now->weights, sizeof(float) * (size_t)its->rows);
    now->old_inputs = now->spare, now->old_targets = now->spare + inputs;
    now->old_weights = now->spare + inputs + targets;
    now->places = 0;
}

POISE_INLINE int64_t old_place(const rows_now *now, int64_t row) { return now->places ? now->places[row] : row; }

POISE_CLONES static void normals(int64_t count, const uint32_t *halves, float *to) {
    for (int64_t i = 0; i < count; i++) to[i] = normal_of(2 * uniform_of(halves[i]) - 1);
}

static void add_input_noise(rows_now *now, const edit *part, float scale) {
    enum { MANY = 128 };
    const batch *its = now->its;
    numbers drawn = numbers_of(now->key, part->streams[0]);
    uint32_t halves[MANY];
    float noise[MANY], *places[MANY];
    int64_t held = 0;
    for (int64_t r = 0; r < its->rows; r++) {
        for (int64_t i = 0; i < its->noised_count; i++) {
            const int64_t place = r * its->columns + its->noised[i];
            halves[held] = half_at(&drawn, place);
            places[held++] = now->inputs + place;
            if (held < MANY && (r + 1 < its->rows || i + 1 < its->noised_count)) continue;
            normals(held, halves, noise);
            for (int64_t n = 0; n < held; n++) *places[n] += noise[n] * scale;
            held = 0;
        }
    }
}

static void take_group(const rows_now *now, const group *own, int64_t row, int64_t other) {
    const batch *its = now->its;
    float *to = now->inputs + row * its->columns;
    const float *from = now->old_inputs + old_place(now, other) * its->columns;
    for (int64_t n = own->first; n < own->past; n++) to[its->order[n]] = from[its->order[n]];
}

static void swap(rows_now *now, const edit *part, float p) {
    const batch *its = now->its;
    numbers chosen = numbers_of(now->key, part->streams[0]), others = numbers_of(now->key, part->streams[1]);
    for (int64_t r = 0; r < its->rows; r++) {
        for (int64_t i = 0; i < its->groups_count; i++) {
            const int64_t place = r * its->columns + its->groups[i].id;
            if (!(uniform_of(half_at(&chosen, place)) < p)) continue;
            /* A step of 1 .. rows - 1 along the batch never ends at the row itself. */
            const int64_t step = 1 + (int64_t)floor(open_unit(word_at(&others, place)) * (double)(its->rows - 1));
            take_group(now, its->groups + i, r, (r + step) % its->rows);
        }
    }
}

/* Beta(alpha, alpha) (Devroye 1996). */
static double beta_of(double power, uint64_t first, uint64_t second) {
    const double way = -log(open_unit(first)) / power, turn = cos(6.283185307179586 * open_unit(second));
    const double spread = expm1(way > 700 ? 700 : way) * turn * turn;
    const double root = sqrt(1 + 1 / (spread < 1e-300 ? 1e-300 : spread));
    return 0.5 + (turn > 0 ? 1 : turn < 0 ? -1 : 0) / (2 * root);
}

/* Draw each row's partner, and what `taken` is from it: of MIXUP the weight, of CUT_MIX the planned share, 0 for rows
   that are left alone. */
static void draw_partners(rows_now *now, const edit *part, float alpha, float share) {
    const int64_t *key = now->key;
    const double power = alpha < 1e-4 ? 1e-4 : alpha;
    numbers first = numbers_of(key, part->streams[0]), second = numbers_of(key, part->streams[1]);
    numbers third = numbers_of(key, part->streams[2]);
    for (int64_t r = 0; r < now->its->rows; r++) {
        now->taken[r] = 0;
        if (!(uniform_of(half_at(&third, r)) < share)) continue;
        double kept = beta_of(power, word_at(&first, r), word_at(&second, r));
        if (part->majority && kept < 1 - kept) kept = 1 - kept;
        now->taken[r] = (float)(part->kind == MIXUP ? 1 - kept : kept);
    }
    random_order(now->its->rows, philox_key_of(key, part->streams[3]), now->partner, now->rest);
}

POISE_CLONES static void mix(int64_t width, const float *other, float weight, float *to) {
    for (int64_t n = 0; n < width; n++) to[n] = between(to[n], other[n], weight);
}

static void mix_labels(rows_now *now, int64_t row, float weight) {
    const int64_t labels = now->its->targets_width, other = old_place(now, now->partner[row]);
    /* A row that takes nothing from its partner does not take its missing label either. */
    if (weight > 0) mix(labels, now->old_targets + other * labels, weight, now->targets + row * labels);
    if (now->weights) now->weights[row] = between(now->weights[row], now->old_weights[other], weight);
}

static void mix_rows(rows_now *now) {
    const int64_t width = now->its->columns;
    for (int64_t r = 0; r < now->its->rows; r++) {
        mix(width, now->old_inputs + old_place(now, now->partner[r]) * width, now->taken[r], now->inputs + r * width);
        mix_labels(now, r, now->taken[r]);
    }
}

static void cut_rows(rows_now *now, const edit *part) {
    const batch *its = now->its;
    numbers drawn = numbers_of(now->key, part->streams[4]);
    for (int64_t r = 0; r < its->rows; r++) {
        int64_t count = 0;
        for (int64_t i = 0; now->taken[r] > 0 && i < its->groups_count; i++) {
            if (!(uniform_of(half_at(&drawn, r * its->columns + its->groups[i].id)) < now->taken[r])) continue;
            take_group(now, its->groups + i, r, now->partner[r]);
            count++;
        }
        mix_labels(now, r, (float)((double)count / (double)its->groups_count));
    }
}

static void smooth(rows_now *now, float amount) {
    const batch *its = now->its;
    for (int64_t i = 0; i < its->spans_count; i++) {
        const span *own = its->spans + i;
        for (int64_t r = 0; r < its->rows; r++) {
            float *row = now->targets + r * its->targets_width, *to = row + own->first;
            const float known = own->known < 0 ? 1 : row[own->known], spread = amount * known / (float)own->width;
            for (int64_t k = 0; k < own->width; k++) to[k] = (1 - amount) * to[k] + spread;
        }
    }
}

static void gather(int64_t rows, int64_t width, const int64_t *index, const float *from, float *to) {
    for (int64_t r = 0; r < rows; r++) {
        memcpy(to + r * width, from + index[r] * width, sizeof(float) * (size_t)width);
    }
}

/* The job of one member; the scratch holds 11 floats a row and 128, and then a copy of the batch. */
POISE_EXPORT void poise_rows(const void *given, int64_t member, float *scratch) {
    const batch *its = given;
    const int64_t rows = its->rows, *index = its->index + member * its->index_stride;
    rows_now now = {
        .its = its, .key = its->keys + 3 * member, .places = index, .taken = scratch,
        .inputs = its->own_inputs + member * rows * its->columns,
        .targets = its->own_targets + member * rows * its->targets_width,
        .weights = its->weights ? its->own_weights + member * rows : 0,
        .old_inputs = its->inputs, .old_targets = its->targets, .old_weights = its->weights,
        .partner = (int64_t *)(scratch + (rows + 15) / 16 * 16),
    };
    now.rest = (float *)(now.partner + rows);
    now.spare = scratch + 11 * rows + 128;
    gather(rows, its->columns, index, its->inputs, now.inputs);
    gather(rows, its->targets_width, index, its->targets, now.targets);
    if (now.weights) gather(rows, 1, index, its->weights, now.weights);
    int edited = 0;
    for (int64_t i = 0; i < its->edits_count; i++) {
        const edit *part = its->edits + i;
        const float dial = part->dial[member], share = part->share ? part->share[member] : 1;
        if (!(dial > 0 && share > 0)) continue;
        if (part->kind == SWAP_NOISE || part->kind == CUT_MIX || part->kind == MIXUP) remember(&now, edited);
        switch (part->kind) {
        case INPUT_NOISE: add_input_noise(&now, part, dial); break;
        case SWAP_NOISE: swap(&now, part, dial); break;
        case CUT_MIX:
            draw_partners(&now, part, dial, share);
            cut_rows(&now, part);
            break;
        case MIXUP:
            draw_partners(&now, part, dial, share);
            mix_rows(&now);
            break;
        default: smooth(&now, dial);
        }
        edited = 1;
    }
}
