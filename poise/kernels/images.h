/* What the kernels for images share. One image is channels x height x width, contiguous, of bytes or of floats. */

#ifndef POISE_IMAGES_H
#define POISE_IMAGES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "native.h"

enum { STEP = 8 };           /* numbers of one step of a program: what to do, and seven numbers for it */
enum { CHUNK = 512, PIECE = 256, BLOCK = 1024 };        /* pixels that colours are computed for at a time: a few KB of the nearest cache */
enum { LEVELS = 256, MOST_REACH = 64 };

/* The numbers are those of poise/kernels/images.py. */
enum { NOTHING, MOVE, AFFINE, BLANK, COLOR, SHARPEN, POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE, GRAY, BLUR, GRID };
enum { ZERO, EDGE, REFLECT, SYMMETRIC };
enum { BRIGHTNESS = 1, CONTRAST, SATURATION, HUE };

typedef struct {
    int64_t channels, height, width;
} Shape;

/* ITU-R BT.601 luma, as Pillow's and torchvision's grey. */
#define LUMA(red, green, blue) (0.299f * (red) + 0.587f * (green) + 0.114f * (blue))

POISE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
POISE_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
/* Rows that are resampled at a time: about as many pixels as BLOCK. */
POISE_INLINE int64_t rows_of_block(int64_t width) { return width >= BLOCK ? 1 : BLOCK / most(width, 1); }
POISE_INLINE int same(const float *x, const float *y, int count) {
    for (int k = 0; k < count; k++)
        if (x[k] != y[k]) return 0;
    return 1;
}
POISE_INLINE float clamped(float x, float top) { return x < 0.0f ? 0.0f : (x > top ? top : x); }

/* The pixel that stands at a whole place along one side; -1 for the 0 beyond the border. */
POISE_INLINE int64_t source(int64_t place, int64_t size, int padding) {
    if (place >= 0 && place < size) return place;
    if (padding == ZERO) return -1;
    if (padding == REFLECT) {
        int64_t period = most(2 * (size - 1), 1);
        place = ((place % period) + period) % period;
        place = least(place, period - place);
    } else if (padding == SYMMETRIC) {
        place = ((place % (2 * size)) + 2 * size) % (2 * size);
        place = least(place, 2 * size - 1 - place);
    }
    return most(0, least(place, size - 1));
}

/* A real place brought into the image, as torch's grid_sample does it; a place beyond it stays for ZERO. */
POISE_INLINE float inner(float place, int64_t size, int padding) {
    if (padding == ZERO) return place;
    if (padding != EDGE) {
        float low = padding == REFLECT ? 0.0f : -0.5f;
        float span = padding == REFLECT ? (float)(size - 1) : (float)size;
        if (span == 0.0f) return 0.0f;
        place = fabsf(place - low);
        float turns = floorf(place / span), rest = place - turns * span;
        place = ((int64_t)turns & 1 ? span - rest : rest) + low;
    }
    return clamped(place, (float)(size - 1));
}

#endif
