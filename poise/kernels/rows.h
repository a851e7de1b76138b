/* A member's batch: its rows gathered, and edited by the parts of the batch stage, one after the other. */
#ifndef POISE_ROWS_H
#define POISE_ROWS_H

#include "native.h"

enum edit_kind { INPUT_NOISE, SWAP_NOISE, CUT_MIX, MIXUP, LABEL_SMOOTHING };

/* One part. A member at whose dials it does nothing passes it by. */
typedef struct {
    int64_t kind;
    int64_t majority;    /* MIXUP: whether a row keeps the larger part of itself */
    const float *dial;   /* (members,) scale, p, alpha, alpha, amount */
    const float *share;  /* (members,) of CUT_MIX and MIXUP: the probability that a row is mixed */
    uint64_t streams[5]; /* of its draws: INPUT_NOISE noise; SWAP_NOISE swapped, partner; CUT_MIX and MIXUP the beta law's
                            two, mixed, partner, and of CUT_MIX taken */
} edit;

/* The columns that belong together: `columns` from `first` to before `past`; `id` numbers their draws. */
typedef struct {
    int64_t id, first, past;
} group;

/* The columns of one class task: LABEL_SMOOTHING spreads within them; `known` as in chain.h. */
typedef struct {
    int64_t first, width, known;
} span;

typedef struct {
    int64_t rows, columns, targets_width, index_stride;
    const int64_t *index;                    /* (members, rows), `index_stride` apart, places in the data */
    const int64_t *keys;                     /* (members, 3) */
    const float *inputs, *targets, *weights; /* the data: (n, columns), (n, targets_width), (n,) or null */
    float *own_inputs, *own_targets, *own_weights; /* (members, rows, ...) */
    const edit *edits;
    const group *groups;     /* by rising id */
    const int64_t *order;    /* (columns,) the columns, group by group */
    const int64_t *noised;   /* those that INPUT_NOISE changes, rising */
    const span *spans;
    int64_t edits_count, groups_count, noised_count, spans_count;
} batch;

#endif
