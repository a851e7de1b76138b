/* The end of a step: clip, decay, Adam, soft threshold and average in one pass over a member's parameters. */
#ifndef POISE_UPDATE_H
#define POISE_UPDATE_H

#include "native.h"

/* Neighbouring parameters that are treated alike. */
typedef struct {
    int64_t first, past;
    int64_t decays, thresholds; /* whether decay and soft threshold select them */
} segment;

typedef struct {
    int64_t parameters, segments_count;
    const segment *segments;
    float *params, *grads, *first, *second; /* (members, parameters) */
    float *shadow;                          /* (members, parameters) or null */
    const float *limit;                     /* (members,) largest norm of the gradient, or null */
    const float *decay;                     /* (members,) factor of the weights, or null */
    const float *threshold;                 /* (members,) of the weights, times the effective step, or null */
    const float *gain;                      /* (members,) share of the new weights in the average, or null */
    const float *lr, *step;                 /* (members,) the rate; and divided by the first moment's correction */
    const float *corrected;                 /* the root of the second moment's correction, of all members */
    float new_first, keep_second, new_second, eps;
} update;

/* The penalty of a soft threshold, for the log: weight sum |w|. */
typedef struct {
    int64_t parameters, segments_count;
    const segment *segments;
    const float *params; /* (members, parameters) */
    const float *weight; /* (members,) */
    float *terms;        /* (members,) */
} report;

#endif
