/* Random words of samples: of each member's key (study seed, member, ...), and each row's visit (sample id, epoch). */
#include "words.h"

/* Fill out[members][rows][count]; keys[members][3], of which the step is not read, and visits[members][rows][2]. */
POISE_EXPORT void poise_visit_words(
    uint64_t *out, const int64_t *keys, const int64_t *visits, int64_t members, int64_t rows, uint64_t stream, int64_t count
) {
    for (int64_t place = 0; place < members * rows; place++) {
        philox_key key = philox_key_of(keys + 3 * (place / rows), stream);
        key.row = (uint64_t)visits[2 * place] + 1;
        key.step = (uint64_t)visits[2 * place + 1];
        for (int64_t k = 0; k < count; k += 4) {
            uint64_t four[4];
            philox_block(key, (uint64_t)k / 4, four);
            for (int64_t n = 0; n < 4 && k + n < count; n++) *out++ = four[n];
        }
    }
}
