/* One block of Philox4x64-10, for the kernels that draw while they work. */
#ifndef POISE_WORDS_H
#define POISE_WORDS_H

#include "native.h"

typedef struct {
    uint64_t first, second, step, row; /* row: 0, or 1 + a sample's id */
} philox_key;

/* The key and counter of (study seed, member, step) and a stream: `poise.core.rng` has the same line. */
POISE_INLINE philox_key philox_key_of(const int64_t *key, uint64_t stream) {
    return (philox_key){stream ^ ((uint64_t)key[0] * 0x9E3779B97F4A7C15u), (uint64_t)key[1], (uint64_t)key[2], 0};
}

/* Four words: those numbered 4 * block to 4 * block + 3. NumPy counts from 1. */
POISE_INLINE void philox_block(philox_key key, uint64_t block, uint64_t *out) {
    uint64_t a = block + 1, b = 0, c = key.step, d = key.row;
    for (int round = 0; round < 10; round++) {
        const unsigned __int128 left = (unsigned __int128)0xD2E7470EE14C6C93u * a;
        const unsigned __int128 right = (unsigned __int128)0xCA5A826395121157u * c;
        a = (uint64_t)(right >> 64) ^ b ^ key.first;
        b = (uint64_t)right;
        c = (uint64_t)(left >> 64) ^ d ^ key.second;
        d = (uint64_t)left;
        key.first += 0x9E3779B97F4A7C15u;
        key.second += 0xBB67AE8584CAA73Bu;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

#endif
