/* Kernels work on one member at a time, so that its numbers stay in the core's cache from one to the next. */
#ifndef POISE_MEMBERS_H
#define POISE_MEMBERS_H

#include <stdatomic.h>

#include "native.h"

/* A piece of a training step: what to do, and its arguments. It may write to its own member's numbers alone. */
typedef struct {
    void (*work)(const void *its, int64_t member, float *scratch);
    const void *its;
} job;

typedef struct {
    int64_t members, count;
    const job *jobs; /* done one after the other for each member */
    float *scratch;  /* (threads, scratch_size) floats */
    int64_t scratch_size;
    _Atomic int64_t next, thread; /* the first member, and the first thread's scratch, that is free; 0 to begin with */
} jobs;

#endif
