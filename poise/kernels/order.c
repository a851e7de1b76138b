/* Sorting of uniform words: dealt to as many buckets as there are words by their first bits, then by insertion. */
#include <string.h>

#include "order.h"

typedef struct {
    uint64_t word;
    int64_t place;
} numbered;

void random_order(int64_t count, philox_key key, int64_t *places, float *scratch) {
    int bits = 1;
    while (((int64_t)1 << bits) < count) bits++;
    numbered *dealt = (numbered *)scratch;
    uint32_t *start = (uint32_t *)(dealt + count);
    memset(start, 0, sizeof(uint32_t) * (((size_t)1 << bits) + 1));
    /* The words are drawn twice: that is cheaper than to keep them. torch compares them as signed numbers. */
    const uint64_t sign = (uint64_t)1 << 63;
    uint64_t words[4];
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) philox_block(key, (uint64_t)i / 4, words);
        start[((words[i % 4] ^ sign) >> (64 - bits)) + 1]++;
    }
    for (int64_t b = 0; b < (int64_t)1 << bits; b++) start[b + 1] += start[b];
    for (int64_t i = 0; i < count; i++) {
        if (i % 4 == 0) philox_block(key, (uint64_t)i / 4, words);
        const uint64_t word = words[i % 4] ^ sign;
        dealt[start[word >> (64 - bits)]++] = (numbered){word, i};
    }
    for (int64_t i = 1; i < count; i++) {
        const numbered one = dealt[i];
        int64_t to = i;
        for (; to > 0 && dealt[to - 1].word > one.word; to--) dealt[to] = dealt[to - 1];
        dealt[to] = one;
    }
    for (int64_t i = 0; i < count; i++) places[i] = dealt[i].place;
}

typedef struct {
    int64_t count;
    uint64_t stream;
    const int64_t *keys; /* (members, 3) */
    int64_t *places;     /* (members, count) */
} order;

/* The job of one member. */
POISE_EXPORT void poise_order(const void *given, int64_t member, float *scratch) {
    const order *its = given;
    random_order(its->count, philox_key_of(its->keys + 3 * member, its->stream), its->places + member * its->count,
                 scratch);
}
