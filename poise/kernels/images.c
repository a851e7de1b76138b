/* Images edited row by row: each row of a batch has its own program of a few steps, run while the image is in cache. */

#include <stdlib.h>

#include "images.h"
#include "images_colors.h"
#include "images_levels.h"

/* Bytes: bilinear weights of 11 bits make 30-bit sums; results are rounded to the nearest level. */
#define PIXEL uint8_t
#define NAME(x) bytes_##x
#define TOP 255.0f
#define ROUNDED(x) ((uint8_t)((x) + 0.5f))
#define BEYOND 2
#define WEIGHT int32_t
#define WEIGHED(x) ((int32_t)((x) * 2048.0f + 0.5f))

/* Two neighbours at a time, as the low bytes of a word: compilers then gather whole vectors. */
typedef int32_t any_int __attribute__((aligned(1), may_alias));
POISE_CLONES static void bytes_inside(
    const uint8_t *restrict in, uint8_t *restrict out, int64_t width, int64_t count, const int32_t *restrict place,
    const int32_t *restrict right, const int32_t *restrict low
) {
    const uint8_t *below = in + width;
    for (int64_t j = 0; j < count; j++) {
        int32_t upper = *(const any_int *)(in + place[j]), lower = *(const any_int *)(below + place[j]);
        int32_t a = upper & 255, b = (upper >> 8) & 255, c = lower & 255, d = (lower >> 8) & 255;
        int32_t top = (a << 11) + right[j] * (b - a), bottom = (c << 11) + right[j] * (d - c);
        out[j] = (uint8_t)(((top << 11) + low[j] * (bottom - top) + (1 << 21)) >> 22);
    }
}
#define LEVELS_OF levels_of_bytes
#include "images_places.h"
#include "images_pixels.h"
#include "images_program.h"
#undef PIXEL
#undef NAME
#undef TOP
#undef ROUNDED
#undef BEYOND
#undef WEIGHT
#undef WEIGHED
#undef LEVELS_OF

#define PIXEL float
#define NAME(x) floats_##x
#define TOP 1.0f
#define ROUNDED(x) (x)
#define BEYOND 0
#define WEIGHT float
#define WEIGHED(x) (x)

POISE_CLONES static void floats_inside(
    const float *restrict in, float *restrict out, int64_t width, int64_t count, const int32_t *restrict place,
    const float *restrict right, const float *restrict low
) {
    const float *below = in + width;
    for (int64_t j = 0; j < count; j++) {
        float top = in[place[j]] + right[j] * (in[place[j] + 1] - in[place[j]]);
        float bottom = below[place[j]] + right[j] * (below[place[j] + 1] - below[place[j]]);
        out[j] = top + low[j] * (bottom - top);
    }
}
#define LEVELS_OF levels_of_floats
#include "images_places.h"
#include "images_pixels.h"
#include "images_program.h"

/* The lowest and the highest of some floats, NaN passed over. */
POISE_CLONES static void ends_of(const float *restrict x, int64_t count, float *ends) {
    float low[16], high[16];
    for (int n = 0; n < 16; n++) {
        low[n] = ends[0];
        high[n] = ends[1];
    }
    for (int64_t k = 0; k + 16 <= count; k += 16)
        for (int n = 0; n < 16; n++) {
            low[n] = x[k + n] < low[n] ? x[k + n] : low[n];
            high[n] = x[k + n] > high[n] ? x[k + n] : high[n];
        }
    for (int64_t k = count - count % 16; k < count; k++) {
        low[0] = x[k] < low[0] ? x[k] : low[0];
        high[0] = x[k] > high[0] ? x[k] : high[0];
    }
    for (int n = 0; n < 16; n++) {
        ends[0] = low[n] < ends[0] ? low[n] : ends[0];
        ends[1] = high[n] > ends[1] ? high[n] : ends[1];
    }
}

/* Edit `rows` images. steps: (rows, count, STEP). If `ends` is given, the floats' lowest and highest value join
   it. */
POISE_EXPORT void poise_images(
    const void *in, void *out, int64_t rows, int64_t channels, int64_t height, int64_t width, int64_t bytes,
    const float *steps, int64_t count, float *ends, int64_t *short_of_memory
) {
    Shape s = {channels, height, width};
    int64_t size = channels * height * width;
    /* A second image; then what a step may need: five rows, or an image of floats and some. */
    size_t image = ((size_t)size * (bytes ? 1 : sizeof(float)) + 63) / 64 * 64;
    char *buffer = malloc(image + (size_t)(size + 6 * width + 4 * MOST_REACH) * sizeof(float));
    *short_of_memory = buffer == NULL;
    if (buffer == NULL) return;
    void *room = buffer + image;
    for (int64_t row = 0; row < rows; row++) {
        const float *own = steps + row * count * STEP;
        if (bytes) {
            const uint8_t *from = (const uint8_t *)in + row * size;
            bytes_run(from, (uint8_t *)out + row * size, (uint8_t *)buffer, s, own, count, room);
            continue;
        }
        const float *from = (const float *)in + row * size;
        if (ends != NULL) ends_of(from, size, ends);
        floats_run(from, (float *)out + row * size, (float *)buffer, s, own, count, room);
    }
    free(buffer);
}

POISE_CLONES static void mix_floats(
    const float *restrict x, const float *restrict y, float *restrict out, int64_t size, float taken
) {
    /* As torch's lerp: exact at both ends. */
    float kept = 1.0f - taken;
    if (taken < 0.5f)
        for (int64_t k = 0; k < size; k++) out[k] = x[k] + taken * (y[k] - x[k]);
    else
        for (int64_t k = 0; k < size; k++) out[k] = y[k] - kept * (y[k] - x[k]);
}

POISE_CLONES static void mix_bytes(
    const uint8_t *restrict x, const uint8_t *restrict y, uint8_t *restrict out, int64_t size, int32_t taken
) {
    for (int64_t k = 0; k < size; k++)
        out[k] = (uint8_t)(((int32_t)x[k] * 32768 + taken * ((int32_t)y[k] - (int32_t)x[k]) + 16384) >> 15);
}

/* Row i of rows first .. last becomes (1 - taken) x_i + taken x_partner. */
POISE_EXPORT void poise_mix(
    const void *in, void *out, int64_t first, int64_t last, int64_t size, int64_t bytes, const int64_t *partner,
    const float *taken
) {
    for (int64_t row = first; row < last; row++) {
        int64_t here = row * size, there = partner[row] * size;
        size_t width = bytes ? 1 : sizeof(float);
        if (taken[row] == 0.0f)
            memcpy((char *)out + (size_t)here * width, (const char *)in + (size_t)here * width, (size_t)size * width);
        else if (bytes)
            mix_bytes((const uint8_t *)in + here, (const uint8_t *)in + there, (uint8_t *)out + here, size,
                      (int32_t)rintf(taken[row] * 32768.0f));
        else
            mix_floats((const float *)in + here, (const float *)in + there, (float *)out + here, size, taken[row]);
    }
}

/* Rows first .. last with the box (top, left, bottom, right) of each taken from its partner; a pixel has `width`
   bytes. */
POISE_EXPORT void poise_cut_mix(
    const char *in, char *out, int64_t first, int64_t last, int64_t channels, int64_t height, int64_t columns,
    int64_t width, const int64_t *partner, const int64_t *boxes
) {
    int64_t line = columns * width, size = channels * height * line;
    for (int64_t row = first; row < last; row++) {
        const int64_t *box = boxes + 4 * row;
        const char *there = in + partner[row] * size;
        char *here = out + row * size;
        memcpy(here, in + row * size, (size_t)size);
        int64_t top = most(0, box[0]), bottom = least(height, box[2]);
        int64_t left = most(0, box[1]), right = least(columns, box[3]);
        if (right <= left) continue;
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = top; i < bottom; i++) {
                int64_t place = (c * height + i) * line + left * width;
                memcpy(here + place, there + place, (size_t)((right - left) * width));
            }
    }
}

POISE_CLONES static void scaled(
    const uint8_t *restrict in, float *restrict out, int64_t count, float factor, float offset
) {
    for (int64_t k = 0; k < count; k++) out[k] = (float)in[k] * factor + offset;
}

/* Bytes as standardised floats: factor_c x + offset_c. */
POISE_EXPORT void poise_floats(
    const uint8_t *in, float *out, int64_t rows, int64_t channels, int64_t plane, const float *factor,
    const float *offset
) {
    for (int64_t k = 0; k < rows * channels; k++)
        scaled(in + k * plane, out + k * plane, plane, factor[k % channels], offset[k % channels]);
}
