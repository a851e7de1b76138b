/* Images edited row by row: each row of a batch has its own program of a few steps, run while the image is in cache. */

#include <stdlib.h>

#include "images.h"
#include "images_colors.h"
#include "images_levels.h"

/* Bytes, in words of 16 bits: pixels are held in 1/128 of a level, weights in 1/32768, those of sums in 1/65536, so that
   a vector has as many of them as can be. The products are written as compilers know the instruction. */
#define PIXEL uint8_t
#define NAME(x) bytes_##x
#define TOP 255.0f
#define ROUNDED(x) ((uint8_t)((x) + 0.5f))
#define LINE int16_t
#define WEIGHED(x) ((int16_t)((x) * 32767.0f + 0.5f))
#define LERP(a, b, w) ((int16_t)((a) + (int16_t)(((((int32_t)(int16_t)((b) - (a)) * (int32_t)(w)) >> 14) + 1) >> 1)))
#define NARROWED(x) ((uint8_t)(((x) + 64) >> 7))
typedef uint16_t bytes_pair; /* the left one is the low byte */
#define LEFT_OF(p) ((int16_t)(((p) & 255) << 7))
#define RIGHT_OF(p) ((int16_t)(((p) >> 8) << 7))
#define SUM uint16_t
#define PART(x, w) ((uint16_t)(((uint32_t)(uint16_t)(x) * (uint32_t)(w)) >> 16))
#define WHOLE 65536.0
#define SHARE(x) ((x) * WHOLE + 0.5)
#define MOST_SHARE 65535.0
#define LEAST (1.0f / 65536.0f)
#define SUMMAND(x) ((x) << 7)
#define RESULT(x, lost) ((uint8_t)(((x) + (lost) + 64) >> 7)) /* each product is rounded down, in two passes */
#define LEVELS_OF levels_of_bytes

POISE_CLONES static void bytes_grey_of(
    const uint8_t *restrict red, const uint8_t *restrict green, const uint8_t *restrict blue, uint8_t *restrict out,
    int64_t count
) {
    uint16_t level[CHUNK]; /* in 1/256; the weights sum to 1 */
    for (int64_t k = 0; k < count; k++)
        level[k] = (uint16_t)(PART(red[k] << 8, 19595) + PART(green[k] << 8, 38470) + PART(blue[k] << 8, 7471));
    for (int64_t k = 0; k < count; k++) out[k] = (uint8_t)((level[k] + 129) >> 8); /* each product is rounded down */
}

#include "images_stretch.h"
#include "images_places.h"
#include "images_pixels.h"
#include "images_program.h"
#undef PIXEL
#undef NAME
#undef TOP
#undef ROUNDED
#undef LINE
#undef WEIGHED
#undef LERP
#undef NARROWED
#undef LEFT_OF
#undef RIGHT_OF
#undef SUM
#undef PART
#undef WHOLE
#undef SHARE
#undef MOST_SHARE
#undef LEAST
#undef SUMMAND
#undef RESULT
#undef LEVELS_OF

#define PIXEL float
#define NAME(x) floats_##x
#define TOP 1.0f
#define ROUNDED(x) (x)
#define LINE float
#define WEIGHED(x) (x)
#define LERP(a, b, w) ((a) + (w) * ((b) - (a)))
#define NARROWED(x) (x)
typedef struct {
    float left, right;
} floats_pair;
#define LEFT_OF(p) ((p).left)
#define RIGHT_OF(p) ((p).right)
#define SUM float
#define PART(x, w) ((x) * (w))
#define WHOLE 1.0
#define SHARE(x) (x)
#define MOST_SHARE 1.0
#define LEAST 1e-9f
#define SUMMAND(x) (x)
#define RESULT(x, lost) (x)
#define LEVELS_OF levels_of_floats

POISE_CLONES static void floats_grey_of(
    const float *restrict red, const float *restrict green, const float *restrict blue, float *restrict out, int64_t count
) {
    for (int64_t k = 0; k < count; k++) out[k] = LUMA(red[k], green[k], blue[k]);
}

/* Floats are interpolated along a line as they are read. */
typedef int floats_stretch;
static floats_stretch floats_stretch_of(const int32_t *place, int64_t width) {
    (void)place, (void)width;
    return 0;
}
POISE_CLONES static void floats_along(
    const float *restrict in, float *restrict out, int64_t width, const int32_t *restrict place,
    const float *restrict right, const floats_stretch *stretch
) {
    (void)stretch;
    for (int64_t j = 0; j < width; j++) out[j] = LERP(in[place[j]], in[place[j] + 1], right[j]);
}
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
    /* A second image; then what a step may need: nine numbers for each pixel of a block, or an image of floats and some. */
    size_t image = ((size_t)size * (bytes ? 1 : sizeof(float)) + 63) / 64 * 64;
    char *buffer = malloc(image + (size_t)(size + 9 * rows_of_block(width) * width + 4 * MOST_REACH) * sizeof(float));
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
