/* Linear layers on piecewise features, without the features.

   Outputs are made 64 at a time, from four columns of numbers at a time: they stay in registers meanwhile, and the part
   of the table that they are read from in the innermost cache. */
#include <string.h>

#include "bins.h"
#include "layers.h"
#include "turn.h"

enum { LANES = 16, VECTORS = 4, WIDE = LANES * VECTORS, TOGETHER = 4 };

/* Sixteen floats or whole numbers, wherever they begin. */
typedef float lanes __attribute__((vector_size(64), aligned(4)));
typedef int32_t counts __attribute__((vector_size(64), aligned(4)));

/* What is kept of a batch; `kept_of_bins` of chain.py counts as much. */
typedef struct {
    float *numbers; /* (rows, columns) */
    float *way;     /* (columns, rows) through the bin, 0 to 1 */
    int32_t *below; /* (columns, rows) how many bins are below the number's own */
    int32_t *order; /* (rows,) the rows, those of a bin side by side */
    int32_t *begin; /* (bins + 1,) where the rows of each bin begin */
    float *own;     /* (outputs, columns) gradients of the numbers' own weights */
    float *table;   /* (columns, bins + 1, outputs) sums of the first 0, 1, ... weights; then gradients of these sums */
} kept_bins;

POISE_INLINE kept_bins kept_in(float *kept, int64_t rows, const layer *its) {
    const int64_t count = its->inputs;
    kept_bins found;
    found.numbers = kept;
    found.way = found.numbers + rows * count;
    found.below = (int32_t *)(found.way + rows * count);
    found.order = found.below + rows * count;
    found.begin = found.order + rows;
    found.own = (float *)(found.begin + its->detail + 1);
    found.table = found.own + its->outputs * count;
    return found;
}

/* below[r] = how many bins end at or below a number: `low` are the beginnings of the `size` bins, the first aside. */
POISE_INLINE void count_below(int64_t rows, const float *numbers, int64_t size, const float *low, int32_t *below) {
    int64_t r = 0;
    for (; r + LANES <= rows; r += LANES) {
        const lanes own = *(const lanes *)(numbers + r);
        counts found = {0};
        for (int64_t i = 1; i < size; i++) found -= own >= low[i];
        *(counts *)(below + r) = found;
    }
    for (; r < rows; r++) {
        below[r] = 0;
        for (int64_t i = 1; i < size; i++) below[r] += numbers[r] >= low[i];
    }
}

POISE_CLONES static void find_bins(int64_t rows, int64_t member, const layer *its, const float *from, kept_bins kept) {
    const int64_t size = its->detail, count = its->inputs;
    for (int64_t n = 0; n < count; n++) {
        const float *low = its->low + (member * count + n) * size, *slope = its->slope + (member * count + n) * size;
        float *ways = kept.way + n * rows;
        int32_t *below = kept.below + n * rows;
        for (int64_t r = 0; r < rows; r++) {
            ways[r] = kept.numbers[r * count + n] = from[r * its->source_stride + its->columns[n]];
        }
        count_below(rows, ways, size, low, below);
        for (int64_t r = 0; r < rows; r++) {
            const float way = (ways[r] - low[below[r]]) * slope[below[r]];
            ways[r] = way < 0 ? 0 : way > 1 ? 1 : way;
        }
    }
}

POISE_CLONES static void fill_table(const layer *its, const float *weight, float *table) {
    const int64_t size = its->detail, width = its->outputs;
    for (int64_t n = 0; n < its->inputs; n++) {
        float *sums = table + n * (size + 1) * width;
        memset(sums, 0, sizeof(float) * (size_t)width);
        turn_matrix(width, size, weight + n * (size + 1) + 1, its->weight_stride, sums + width, width);
        for (int64_t i = 2; i <= size; i++) {
            for (int64_t h = 0; h < width; h++) sums[i * width + h] += sums[(i - 1) * width + h];
        }
    }
}

/* to[row] += the sums of `count` columns, from column n on, up to each number of the row. */
POISE_INLINE void add_sums(int64_t rows, const layer *its, kept_bins kept, int64_t n, int count, int64_t first,
                           int64_t wide, float *to) {
    const int64_t width = its->outputs, size = (its->detail + 1) * width;
    for (int64_t r = 0; r < rows; r++) {
        float *sums = to + r * its->target_stride + first;
        const float *begin[TOGETHER];
        float way[TOGETHER];
        for (int c = 0; c < count; c++) {
            begin[c] = kept.table + (n + c) * size + kept.below[(n + c) * rows + r] * width + first;
            way[c] = kept.way[(n + c) * rows + r];
        }
        for (int64_t v = 0; wide == WIDE && v < WIDE; v += LANES) {
            lanes sum = *(lanes *)(sums + v);
            for (int c = 0; c < count; c++) {
                const lanes low = *(const lanes *)(begin[c] + v), high = *(const lanes *)(begin[c] + width + v);
                sum += low + way[c] * (high - low);
            }
            *(lanes *)(sums + v) = sum;
        }
        for (int64_t h = 0; wide < WIDE && h < wide; h++) {
            for (int c = 0; c < count; c++) sums[h] += begin[c][h] + way[c] * (begin[c][h + width] - begin[c][h]);
        }
    }
}

POISE_CLONES static void add_all_sums(int64_t rows, const layer *its, kept_bins kept, float *to) {
    for (int64_t first = 0; first < its->outputs; first += WIDE) {
        const int64_t rest = its->outputs - first;
        int64_t n = 0;
        if (rest >= WIDE) {
            for (; n + TOGETHER <= its->inputs; n += TOGETHER) add_sums(rows, its, kept, n, TOGETHER, first, WIDE, to);
            for (; n < its->inputs; n++) add_sums(rows, its, kept, n, 1, first, WIDE, to);
        } else {
            for (; n < its->inputs; n++) add_sums(rows, its, kept, n, 1, first, rest, to);
        }
    }
}

void bins(int64_t rows, int64_t member, const layer *its, const float *from, float *to, const float *weight,
          const float *bias, float *given, float *scratch) {
    const kept_bins kept = kept_in(given, rows, its);
    const matrix left = {kept.numbers, its->inputs, 1}, right = {weight, its->detail + 1, its->weight_stride};
    find_bins(rows, member, its, from, kept);
    fill_table(its, weight, kept.table);
    product(rows, its->outputs, its->inputs, left, right, to, its->target_stride, bias, 0, 0, scratch);
    add_all_sums(rows, its, kept, to);
}

/* Sort the rows of a column by their bins; within a bin they stay in order. */
static void sort_rows(int64_t rows, const layer *its, kept_bins kept, int64_t column) {
    const int32_t *below = kept.below + column * rows;
    memset(kept.begin, 0, sizeof(int32_t) * (size_t)(its->detail + 1));
    for (int64_t r = 0; r < rows; r++) kept.begin[below[r] + 1]++;
    for (int64_t i = 0; i < its->detail; i++) kept.begin[i + 1] += kept.begin[i];
    /* Each bin's begin moves to its end, which is the next one's begin: a shift by one puts it right again. */
    for (int64_t r = 0; r < rows; r++) kept.order[kept.begin[below[r]]++] = (int32_t)r;
    for (int64_t i = its->detail; i > 0; i--) kept.begin[i] = kept.begin[i - 1];
    kept.begin[0] = 0;
}

/* table[i] += the gradients of the sum of the first i weights: a row's goes to both ends of its bin. */
POISE_INLINE void gather_sums(int64_t rows, const layer *its, kept_bins kept, int64_t column, int64_t first,
                              int64_t wide, const float *back) {
    const float *ways = kept.way + column * rows;
    float *table = kept.table + column * (its->detail + 1) * its->outputs + first;
    for (int64_t i = 0; i < its->detail; i++) {
        float *begin = table + i * its->outputs, *end = begin + its->outputs;
        lanes whole[VECTORS] = {0}, parts[VECTORS] = {0};
        for (int32_t place = kept.begin[i]; place < kept.begin[i + 1]; place++) {
            const int64_t row = kept.order[place];
            const float way = ways[row];
            const float *own = back + row * its->target_stride + first;
            if (wide == WIDE) {
                for (int v = 0; v < VECTORS; v++) {
                    const lanes grad = *(const lanes *)(own + LANES * v);
                    whole[v] += grad;
                    parts[v] += way * grad;
                }
            } else {
                for (int64_t h = 0; h < wide; h++) {
                    begin[h] += own[h] - way * own[h];
                    end[h] += way * own[h];
                }
            }
        }
        for (int v = 0; wide == WIDE && v < VECTORS; v++) {
            *(lanes *)(begin + LANES * v) += whole[v] - parts[v];
            *(lanes *)(end + LANES * v) += parts[v];
        }
    }
}

POISE_CLONES static void gather_all_sums(int64_t rows, const layer *its, kept_bins kept, const float *back) {
    const int64_t size = its->detail, width = its->outputs;
    memset(kept.table, 0, sizeof(float) * (size_t)(its->inputs * (size + 1) * width));
    for (int64_t n = 0; n < its->inputs; n++) {
        sort_rows(rows, its, kept, n);
        int64_t first = 0;
        for (; first + WIDE <= width; first += WIDE) gather_sums(rows, its, kept, n, first, WIDE, back);
        if (first < width) gather_sums(rows, its, kept, n, first, width - first, back);
        /* A bin's weight is in the sums of all bins from it on. */
        float *table = kept.table + n * (size + 1) * width;
        for (int64_t i = size - 1; i > 0; i--) {
            for (int64_t h = 0; h < width; h++) table[i * width + h] += table[(i + 1) * width + h];
        }
    }
}

void bins_back(int64_t rows, const layer *its, const float *back, float *weight_grad, float *bias_grad, float *given,
               float *scratch) {
    const int64_t size = its->detail, width = its->outputs, count = its->inputs;
    const kept_bins kept = kept_in(given, rows, its);
    const matrix left = {back, 1, its->target_stride}, right = {kept.numbers, count, 1};
    product(width, count, rows, left, right, kept.own, count, 0, 0, 0, scratch);
    gather_all_sums(rows, its, kept, back);
    for (int64_t n = 0; n < count; n++) {
        float *grads = weight_grad + n * (size + 1);
        for (int64_t h = 0; h < width; h++) grads[h * its->weight_stride] = kept.own[h * count + n];
        turn_matrix(size, width, kept.table + (n * (size + 1) + 1) * width, width, grads + 1, its->weight_stride);
    }
    if (bias_grad) sum_rows(rows, width, back, its->target_stride, bias_grad);
}

/* What an embedding keeps of a batch; `kept_of_embedding` of chain.py counts as much. */
typedef struct {
    kept_bins bins; /* of which `numbers`, `way`, `below` and `table` (columns, bins + 1, size) count */
    uint8_t *on;    /* (rows, columns, size) whether an output is above 0 */
} kept_embedding;

POISE_INLINE kept_embedding embedding_in(float *kept, int64_t rows, const layer *its) {
    const int64_t count = its->inputs;
    kept_embedding found = {{0}, 0};
    found.bins.numbers = kept;
    found.bins.way = kept + rows * count;
    found.bins.below = (int32_t *)(found.bins.way + rows * count);
    found.bins.table = (float *)(found.bins.below + rows * count);
    found.on = (uint8_t *)(found.bins.table + (its->detail + 1) * (its->outputs - count));
    return found;
}

/* table[n][i] = bias[n] + the sum of column n's first i weights of bins. */
POISE_CLONES static void fill_own_tables(const layer *its, const float *weight, const float *bias, float *table) {
    const int64_t bins = its->detail, size = its->outputs / its->inputs - 1;
    for (int64_t n = 0; n < its->inputs; n++) {
        const float *own = weight + n * (bins + 1) * size;
        float *sums = table + n * (bins + 1) * size;
        memcpy(sums, bias + n * size, sizeof(float) * (size_t)size);
        for (int64_t k = size; k < (bins + 1) * size; k++) sums[k] = sums[k - size] + own[k];
    }
}

POISE_CLONES static void embed_column(int64_t rows, const layer *its, kept_embedding kept, int64_t n,
                                      const float *weight, float *to) {
    const int64_t size = its->outputs / its->inputs - 1, count = its->inputs;
    const float *own = weight + n * (its->detail + 1) * size, *table = kept.bins.table + n * (its->detail + 1) * size;
    for (int64_t r = 0; r < rows; r++) {
        const float number = kept.bins.numbers[r * count + n], way = kept.bins.way[n * rows + r];
        const float *low = table + kept.bins.below[n * rows + r] * size, *high = low + size;
        float *out = to + r * its->target_stride + n * (1 + size);
        uint8_t *on = kept.on + (r * count + n) * size;
        *out++ = number;
        for (int64_t h = 0; h < size; h++) {
            const float value = low[h] + way * (high[h] - low[h]) + number * own[h];
            out[h] = value < 0 ? 0 : value; /* no number stays no number */
            on[h] = value > 0;
        }
    }
}

void embedded(int64_t rows, int64_t member, const layer *its, const float *from, float *to, const float *weight,
              const float *bias, float *given) {
    const kept_embedding kept = embedding_in(given, rows, its);
    find_bins(rows, member, its, from, kept.bins);
    fill_own_tables(its, weight, bias, kept.bins.table);
    for (int64_t n = 0; n < its->inputs; n++) embed_column(rows, its, kept, n, weight, to);
}

/* The gradients of a column's table, weights behind its bias: a row's goes to both ends of its bin. */
POISE_CLONES static void gather_column(int64_t rows, const layer *its, kept_embedding kept, int64_t n,
                                       const float *back, float *table, float *own) {
    const int64_t size = its->outputs / its->inputs - 1, count = its->inputs;
    memset(table, 0, sizeof(float) * (size_t)((its->detail + 1) * size));
    memset(own, 0, sizeof(float) * (size_t)size);
    for (int64_t r = 0; r < rows; r++) {
        const float number = kept.bins.numbers[r * count + n], way = kept.bins.way[n * rows + r];
        float *low = table + kept.bins.below[n * rows + r] * size, *high = low + size;
        const float *grads = back + r * its->target_stride + n * (1 + size) + 1;
        const uint8_t *on = kept.on + (r * count + n) * size;
        for (int64_t h = 0; h < size; h++) {
            const float grad = on[h] ? grads[h] : 0;
            low[h] += grad - way * grad;
            high[h] += way * grad;
            own[h] += number * grad;
        }
    }
    /* A bin's weight is in the sums of all bins from it on, the bias in all. */
    for (int64_t k = its->detail * size - 1; k >= 0; k--) table[k] += table[k + size];
}

void embedded_back(int64_t rows, const layer *its, const float *back, float *weight_grad, float *bias_grad,
                   float *given) {
    const int64_t bins = its->detail, size = its->outputs / its->inputs - 1;
    const kept_embedding kept = embedding_in(given, rows, its);
    for (int64_t n = 0; n < its->inputs; n++) {
        float *grads = weight_grad + n * (bins + 1) * size, *table = kept.bins.table + n * (bins + 1) * size;
        gather_column(rows, its, kept, n, back, table, grads);
        memcpy(bias_grad + n * size, table, sizeof(float) * (size_t)size);
        memcpy(grads + size, table + size, sizeof(float) * (size_t)(bins * size));
    }
}
