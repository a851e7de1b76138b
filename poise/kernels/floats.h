/* Elementary functions that a compiler turns into vector code: each value's result depends on nothing beside it. */
#ifndef POISE_FLOATS_H
#define POISE_FLOATS_H

#include <string.h>

#include "native.h"

POISE_INLINE float float_of(int32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

POISE_INLINE int32_t bits_of(float value) {
    int32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* e^x within 2 units in the last place; x is clamped to [-87, 88], NaN stays NaN. Source: Moshier's Cephes, expf. */
POISE_INLINE float exponential(float x) {
    const float inside = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    /* Adding 1.5 * 2^23 leaves the nearest integer in the low bits. */
    const float shifted = inside * 1.44269504088896341f + 12582912.0f;
    const float whole = shifted - 12582912.0f;
    const float rest = (inside - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * (rest * rest) + rest + 1.0f;
    return sum * float_of((int32_t)((uint32_t)bits_of(shifted) << 23) + (127 << 23));
}

/* log x for a positive, normal x, within 2 units in the last place. Source: Moshier's Cephes, logf. */
POISE_INLINE float logarithm(float x) {
    const int32_t bits = bits_of(x);
    const int32_t above = (bits & 0x007fffff) > 0x3504f3; /* mantissa above sqrt(2) */
    const float power = (float)(((bits >> 23) & 255) - 127 + above);
    const float rest = float_of((bits & 0x007fffff) | ((127 - above) << 23)) - 1.0f;
    const float square = rest * rest;
    float sum = 7.0376836292e-2f;
    sum = sum * rest - 1.1514610310e-1f;
    sum = sum * rest + 1.1676998740e-1f;
    sum = sum * rest - 1.2420140846e-1f;
    sum = sum * rest + 1.4249322787e-1f;
    sum = sum * rest - 1.6668057665e-1f;
    sum = sum * rest + 2.0000714765e-1f;
    sum = sum * rest - 2.4999993993e-1f;
    sum = sum * rest + 3.3333331174e-1f;
    sum = sum * rest * square - 2.12194440e-4f * power - 0.5f * square;
    return rest + sum + 0.693359375f * power;
}

#endif
