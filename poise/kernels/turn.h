/* A matrix turned: rows become columns. */
#ifndef POISE_TURN_H
#define POISE_TURN_H

#include "native.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

/* to[column][row] = from[row][column]; `stride` and `to_stride` are the floats from one row to the next. */
POISE_INLINE void turn_matrix(int64_t rows, int64_t columns, const float *from, int64_t stride, float *to,
                              int64_t to_stride) {
    int64_t done = 0;
#if defined(__x86_64__) && defined(__GNUC__)
    /* Four by four: as many columns as rows are in one register each, and change places. */
    for (; done + 4 <= rows; done += 4) {
        const float *own = from + done * stride;
        int64_t k = 0;
        for (; k + 4 <= columns; k += 4) {
            __m128 a = _mm_loadu_ps(own + k), b = _mm_loadu_ps(own + k + stride);
            __m128 c = _mm_loadu_ps(own + k + 2 * stride), d = _mm_loadu_ps(own + k + 3 * stride);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            float *place = to + k * to_stride + done;
            _mm_storeu_ps(place, a);
            _mm_storeu_ps(place + to_stride, b);
            _mm_storeu_ps(place + 2 * to_stride, c);
            _mm_storeu_ps(place + 3 * to_stride, d);
        }
        for (; k < columns; k++) {
            for (int64_t n = 0; n < 4; n++) to[k * to_stride + done + n] = own[k + n * stride];
        }
    }
#endif
    for (; done < rows; done++) {
        for (int64_t k = 0; k < columns; k++) to[k * to_stride + done] = from[done * stride + k];
    }
}

#endif
