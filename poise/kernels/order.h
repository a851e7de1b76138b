/* A random order: places sorted by random words, as `torch.argsort(words, stable=True)` sorts them. */
#ifndef POISE_ORDER_H
#define POISE_ORDER_H

#include "native.h"
#include "words.h"

/* Floats that an order of `count` places works in. */
#define ORDER_SCRATCH(count) (8 * (count) + 64)

/* Write the order of `count` places by the words of a key to `places`. */
void random_order(int64_t count, philox_key key, int64_t *places, float *scratch);

#endif
