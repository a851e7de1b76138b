/* Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), as NumPy numbers its blocks. */
#include "native.h"
#include "words.h"

POISE_EXPORT int64_t poise_interface(void) { return POISE_INTERFACE; }

/* Fill out[members][count] with the words of each member's key (study seed, member, step) and a stream. */
POISE_EXPORT void poise_words(uint64_t *out, const int64_t *keys, int64_t members, uint64_t stream, int64_t count) {
    for (int64_t member = 0; member < members; member++) {
        const philox_key key = philox_key_of(keys + 3 * member, stream);
        uint64_t *row = out + member * count;
        int64_t place = 0;
        for (; place + 4 <= count; place += 4) philox_block(key, (uint64_t)place / 4, row + place);
        if (place < count) {
            uint64_t last[4];
            philox_block(key, (uint64_t)place / 4, last);
            for (int64_t i = 0; place + i < count; i++) row[place + i] = last[i];
        }
    }
}

/* Uniforms in (0, 1) of `count` random 32-bit numbers: 23 bits of each, and half a unit. Exact in float. */
POISE_EXPORT void poise_uniforms(float *out, const uint32_t *numbers, int64_t count) {
    for (int64_t i = 0; i < count; i++) out[i] = ((float)(int32_t)(numbers[i] >> 9) + 0.5f) * 0x1p-23f;
}
