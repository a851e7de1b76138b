/* A member's batch: its rows gathered, mixed in pairs, and its labels smoothed. */
#ifndef POISE_ROWS_H
#define POISE_ROWS_H

#include "native.h"

typedef struct {
    int64_t rows, columns, targets_width, index_stride;
    const int64_t *index;                    /* (members, rows), `index_stride` apart, places in the data */
    const int64_t *keys;                     /* (members, 3) */
    const float *inputs, *targets, *weights; /* the data: (n, columns), (n, targets_width), (n,) or null */
    float *own_inputs, *own_targets, *own_weights; /* (members, rows, ...) */
    const float *alpha, *share;              /* (members,) of mixup, or null */
    int64_t majority;                        /* whether a row keeps the larger part of itself */
    uint64_t lambda_u, lambda_v, mixed, partner; /* streams of mixup's draws */
    const float *amount;                     /* (members,) of label smoothing, or null */
} batch;

#endif
