/* Bytes interpolated along a line that is stretched: eight pairs of neighbours lie within sixteen bytes, and are
   shuffled into their places. */

enum { LONGEST = 4096 }; /* pixels of a line that there is room for; longer ones are read pair by pair */

typedef struct {
    int64_t count; /* pixels in whole blocks of eight that are shuffled */
    int32_t base[LONGEST / 8];
    uint8_t order[2 * LONGEST];
} bytes_stretch;

/* Where each block of a line is read, as far as blocks lie within sixteen bytes. */
static bytes_stretch bytes_stretch_of(const int32_t *place, int64_t width) {
    bytes_stretch s;
    s.count = 0;
    if (width < 16 || width > LONGEST) return s;
    for (int64_t j = 0; j + 8 <= width; j += 8) {
        int32_t low = place[j] < place[j + 7] ? place[j] : place[j + 7];
        int32_t base = low < (int32_t)width - 16 ? low : (int32_t)width - 16; /* never beyond the line */
        for (int64_t k = 0; k < 8; k++) {
            int32_t from = place[j + k] - base;
            if (from > 14) return s;
            s.order[2 * (j + k)] = (uint8_t)from;
            s.order[2 * (j + k) + 1] = (uint8_t)(from + 1);
        }
        s.base[j / 8] = base;
        s.count = j + 8;
    }
    return s;
}

#if defined(__GNUC__) && !defined(__clang__)
typedef uint8_t sixteen __attribute__((vector_size(16), aligned(1), may_alias));
#define SHUFFLED(in, order) __builtin_shuffle(*(const sixteen *)(in), *(const sixteen *)(order))
#else
typedef struct {
    uint8_t byte[16];
} sixteen;
POISE_INLINE sixteen SHUFFLED(const uint8_t *in, const uint8_t *order) {
    sixteen found;
    for (int k = 0; k < 16; k++) found.byte[k] = in[order[k]];
    return found;
}
#endif

POISE_CLONES static void bytes_along(
    const uint8_t *restrict in, int16_t *restrict out, int64_t width, const int32_t *restrict place,
    const int16_t *restrict right, const bytes_stretch *restrict s
) {
    for (int64_t j = 0; j < s->count; j += 8) {
        uint16_t pair[8];
        sixteen near = SHUFFLED(in + s->base[j / 8], s->order + 2 * j);
        memcpy(pair, &near, sizeof pair);
        for (int k = 0; k < 8; k++) out[j + k] = LERP(LEFT_OF(pair[k]), RIGHT_OF(pair[k]), right[j + k]);
    }
    for (int64_t j = s->count; j < width; j++) {
        int16_t a = (int16_t)(in[place[j]] << 7), b = (int16_t)(in[place[j] + 1] << 7);
        out[j] = LERP(a, b, right[j]);
    }
}
