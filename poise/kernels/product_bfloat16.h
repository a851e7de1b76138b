/* The product of operands rounded to bfloat16, to nearest and to even between two: pairs of neighbours in the depth take
   the place of floats, so that one instruction multiplies and sums two. Sums are float32. Rounding and packing are one
   pass over each operand. `product.c` includes this after the tile. */

#define PAIRED_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,fma")))

enum { TALL = 128 }; /* rows of the left matrix that are rounded at a time: with DEPTH / 2 pairs each, 64 kB */

PAIRED_TARGET POISE_INLINE __mmask16 lanes(int64_t count) {
    return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

/* 16 pairs: the values of `low` and of `high` side by side. */
PAIRED_TARGET POISE_INLINE __m512i side_by_side(__m512 low, __m512 high) {
    const __m512i turn = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                          21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(turn, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/* 16 pairs of one row of values: those from k on, zeros from `depth` on. */
PAIRED_TARGET POISE_INLINE __m512i pairs_from(const float *row, int64_t k, int64_t depth) {
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(lanes(depth - k - 16), row + k + 16),
                                        _mm512_maskz_loadu_ps(lanes(depth - k), row + k));
}

/* to[k][n], `wide` a row, = the pair from[2k][n], from[2k + 1][n], `stride` floats a row. */
PAIRED_TARGET static void pair_down(int64_t depth, int64_t columns, int64_t wide, const float *from, int64_t stride,
                                    float *to) {
    for (int64_t k = 0; k < depth; k += 2, from += 2 * stride, to += wide) {
        for (int64_t n = 0; n < columns; n += 16) {
            const __mmask16 own = lanes(columns - n);
            const __m512 low = _mm512_maskz_loadu_ps(own, from + n);
            const __m512 high = k + 1 < depth ? _mm512_maskz_loadu_ps(own, from + n + stride) : _mm512_setzero_ps();
            _mm512_storeu_si512(to + n, side_by_side(low, high));
        }
    }
}

/* to[n][k], `wide` a row, = the pair from[n][2k], from[n][2k + 1]. */
PAIRED_TARGET static void pair_along(int64_t rows, int64_t depth, int64_t wide, const float *from, int64_t stride,
                                     float *to) {
    for (int64_t n = 0; n < rows; n++, from += stride, to += wide) {
        for (int64_t k = 0; k < depth; k += 32) _mm512_storeu_si512(to + k / 2, pairs_from(from, k, depth));
    }
}

/* Sixteen by sixteen change places. */
PAIRED_TARGET POISE_INLINE void transpose(__m512i *r) {
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

/* to[k][n], `wide` a row, = the pair from[n][2k], from[n][2k + 1]. */
PAIRED_TARGET static void pair_turned(int64_t depth, int64_t columns, int64_t wide, const float *from, int64_t stride,
                                      float *to) {
    const int64_t pairs = (depth + 1) / 2;
    for (int64_t n = 0; n < columns; n += 16) {
        for (int64_t k = 0; k < pairs; k += 16) {
            __m512i block[16];
#pragma GCC unroll 16
            for (int64_t i = 0; i < 16; i++) {
                const float *row = from + (n + i) * stride;
                block[i] = n + i < columns ? pairs_from(row, 2 * k, depth) : _mm512_setzero_si512();
            }
            transpose(block);
#pragma GCC unroll 16
            for (int64_t i = 0; i < 16; i++) {
                if (k + i < pairs) _mm512_storeu_si512(to + (k + i) * wide + n, block[i]);
            }
        }
    }
}

PAIRED_TARGET static void product_bfloat16(int64_t rows, int64_t columns, int64_t depth, matrix left, matrix right,
                                           float *c, int64_t stride, const float *bias, int add, float *scratch) {
    float *panel = scratch, *block = scratch + DEPTH / 2 * PANEL;
    for (int64_t deep = 0; deep < depth; deep += DEPTH) {
        const int64_t part = depth - deep < DEPTH ? depth - deep : DEPTH, pairs = (part + 1) / 2;
        const float *first_bias = deep == 0 ? bias : 0;
        for (int64_t top = 0; top < rows; top += TALL) {
            const int64_t high = rows - top < TALL ? rows - top : TALL;
            const float *from = left.data + top * left.row + deep * left.column;
            const int turned = left.column != 1;
            const matrix rounded = turned ? (matrix){block, 1, TALL} : (matrix){block, DEPTH / 2, 1};
            if (turned) {
                pair_down(part, high, TALL, from, left.column, block);
            } else {
                pair_along(high, part, DEPTH / 2, from, left.row, block);
            }
            for (int64_t side = 0; side < columns; side += PANEL) {
                const int64_t own = columns - side < PANEL ? columns - side : PANEL;
                const int vectors = own > 16 ? 2 : 1;
                const float *its = right.data + deep * right.row + side * right.column;
                if (right.column == 1) {
                    pair_down(part, own, vectors * 16, its, right.row, panel);
                } else {
                    pair_turned(part, own, vectors * 16, its, right.column, panel);
                }
                for (int64_t i = 0; i < high; i += 8) {
                    const int64_t few = high - i < 8 ? high - i : 8;
                    const matrix above = {block + i * rounded.row, rounded.row, rounded.column};
                    const float *with = first_bias ? first_bias + side : 0;
                    float *to = c + (top + i) * stride + side;
                    if (vectors > 1) {
                        tile_bfloat16(2, few, own, pairs, above, panel, to, stride, with, add || deep);
                    } else {
                        tile_bfloat16(1, few, own, pairs, above, panel, to, stride, with, add || deep);
                    }
                }
            }
        }
    }
}
