/* The product for one instruction set; `product.c` includes this once for each, with these names defined:
   VECTOR(name), WIDTH (floats a vector), HEIGHT (rows a tile), TARGET, TYPE, LOAD, STORE, EACH, FUSED.
   With PAIRED there is the tile alone: `product_bfloat16.h` goes over the matrices in its own way. */

/* A tile of HEIGHT rows and `vectors` vectors; rows beyond `rows` repeat the last one and are not stored. */
TARGET static inline __attribute__((always_inline)) void VECTOR(tile)(
    const int vectors, int64_t rows, int64_t columns, int64_t depth, matrix left, const float *panel, float *c,
    int64_t stride, const float *bias, int add) {
    TYPE sum[HEIGHT][2];
    const float *row[HEIGHT];
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; i++) {
        row[i] = left.data + (i < rows ? i : rows - 1) * left.row;
        for (int v = 0; v < 2; v++) sum[i][v] = EACH(0.0f);
    }
    const int whole = columns == vectors * WIDTH;
    int64_t place = 0;
    for (int64_t k = 0; k < depth; k++, place += left.column, panel += vectors * WIDTH) {
        const TYPE first = LOAD(panel), second = vectors > 1 ? LOAD(panel + WIDTH) : EACH(0.0f);
#pragma GCC unroll 8
        for (int i = 0; i < HEIGHT; i++) {
            const TYPE value = EACH(row[i][place]);
            sum[i][0] = FUSED(value, first, sum[i][0]);
            if (vectors > 1) sum[i][1] = FUSED(value, second, sum[i][1]);
        }
    }
    if (whole && bias) {
        const TYPE first = LOAD(bias), second = vectors > 1 ? LOAD(bias + WIDTH) : EACH(0.0f);
#pragma GCC unroll 8
        for (int i = 0; i < HEIGHT; i++) {
            sum[i][0] += first;
            sum[i][1] += second;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < HEIGHT; i++) {
        if (i >= rows) break;
        float *to = c + i * stride;
        if (whole) {
            if (add) sum[i][0] += LOAD(to);
            STORE(to, sum[i][0]);
            if (vectors > 1) {
                if (add) sum[i][1] += LOAD(to + WIDTH);
                STORE(to + WIDTH, sum[i][1]);
            }
        } else {
            float edge[2 * WIDTH];
            STORE(edge, sum[i][0]);
            STORE(edge + WIDTH, sum[i][1]);
            for (int64_t n = 0; n < columns; n++) {
                to[n] = edge[n] + (bias ? bias[n] : 0.0f) + (add ? to[n] : 0.0f);
            }
        }
    }
}

#ifndef PAIRED
TARGET static void VECTOR(product)(int64_t rows, int64_t columns, int64_t depth, matrix left, matrix right, float *c,
                                   int64_t stride, const float *bias, int add, float *scratch) {
    for (int64_t from = 0; from < columns; from += 2 * WIDTH) {
        const int64_t own = columns - from < 2 * WIDTH ? columns - from : 2 * WIDTH;
        const int vectors = own > WIDTH ? 2 : 1;
        for (int64_t deep = 0; deep < depth; deep += DEPTH) {
            const int64_t part = depth - deep < DEPTH ? depth - deep : DEPTH;
            const matrix its = {right.data + deep * right.row + from * right.column, right.row, right.column};
            pack(part, own, vectors * WIDTH, its, scratch);
            const float *first_bias = bias && deep == 0 ? bias + from : 0;
            for (int64_t top = 0; top < rows; top += HEIGHT) {
                const int64_t high = rows - top < HEIGHT ? rows - top : HEIGHT;
                const matrix above = {left.data + top * left.row + deep * left.column, left.row, left.column};
                float *to = c + top * stride + from;
                if (vectors > 1) {
                    VECTOR(tile)(2, high, own, part, above, scratch, to, stride, first_bias, add || deep);
                } else {
                    VECTOR(tile)(1, high, own, part, above, scratch, to, stride, first_bias, add || deep);
                }
            }
        }
    }
}
#endif

#undef VECTOR
#undef WIDTH
#undef HEIGHT
#undef TARGET
#undef TYPE
#undef LOAD
#undef STORE
#undef EACH
#undef FUSED
#undef PAIRED
