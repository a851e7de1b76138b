/* Elementary functions that a compiler turns into vector code: each value's result depends on nothing beside it. */
#ifndef POISE_FLOATS_H
#define POISE_FLOATS_H

#include <math.h>
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

/* sqrt(2) erfinv(y) within 2e-6 of itself. Source: Giles 2010, "Approximating the erfinv function", single precision. */
POISE_INLINE float normal_of(float y) {
    const float w = -logarithm((1 - y) * (1 + y));
    const float near = w - 2.5f, far = sqrtf(w) - 3.0f;
    float p = 2.81022636e-08f, q = -0.000200214257f;
    p = 3.43273939e-07f + p * near, q = 0.000100950558f + q * far;
    p = -3.5233877e-06f + p * near, q = 0.00134934322f + q * far;
    p = -4.39150654e-06f + p * near, q = -0.00367342844f + q * far;
    p = 0.00021858087f + p * near, q = 0.00573950773f + q * far;
    p = -0.00125372503f + p * near, q = -0.0076224613f + q * far;
    p = -0.00417768164f + p * near, q = 0.00943887047f + q * far;
    p = 0.246640727f + p * near, q = 1.00167406f + q * far;
    p = 1.50140941f + p * near, q = 2.83297682f + q * far;
    return (w < 5 ? p : q) * y * 1.41421356237f;
}

/* The standard normal law's share below x, where bell = exp(-x^2 / 2), within 1e-7.
   Source: Abramowitz and Stegun 1964, 7.1.26. */
POISE_INLINE float normal_share(float x, float bell) {
    const float z = fabsf(x) * 0.707106781187f, t = 1 / (1 + 0.3275911f * z);
    float sum = 1.061405429f;
    sum = sum * t - 1.453152027f;
    sum = sum * t + 1.421413741f;
    sum = sum * t - 0.284496736f;
    sum = sum * t + 0.254829592f;
    const float beyond = 0.5f * sum * t * bell;
    return x < 0 ? beyond : 1 - beyond;
}

typedef struct {
    float cosine, sine;
} turned;

/* cos(2 pi t) and sin(2 pi t), within 2e-7. Source: Moshier's Cephes, cosf and sinf, on the nearest quarter turn. */
POISE_INLINE turned turn(float t) {
    const float part = t - rintf(t), quarter = rintf(4 * part);
    const float y = (part - 0.25f * quarter) * 6.28318530718f, z = y * y;
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * y + y;
    const float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
                    0.5f * z + 1;
    const int odd = quarter == 1 || quarter == -1;
    const float cosine = odd ? s : c, sine = odd ? c : s;
    const int left = quarter >= 1 || quarter == -2, below = quarter >= 2 || quarter <= -1;
    return (turned){left ? -cosine : cosine, below ? -sine : sine};
}

#endif
