/* A network as a chain of layers on one member's numbers, and the loss behind it. */
#ifndef POISE_CHAIN_H
#define POISE_CHAIN_H

#include "native.h"
#include "product.h"

enum layer_kind {
    LINEAR, BATCH_NORM, FIXED_NORM, ACTIVATION, DROPOUT, NOISE, ADD, COLUMNS, PIECEWISE, LEVELS, PERIODIC, BINS, EMBEDDED,
    FRONT_SCALE
};
enum activation_kind { RELU, SILU, MISH, SELU, TANH, GELU };
enum loss_kind { CROSS_ENTROPY, SQUARED_ERROR };

/* One layer, the same for all members. Places are counted in floats: of values, gradients and what is kept for the
   way back, in the member's scratch; of parameters, in its row. -1 is nothing; as a source, -1 - n is the network's
   input from column n on. */
typedef struct {
    int64_t kind, detail;            /* `detail`: which activation, or how many bins a column has */
    int64_t inputs, outputs;         /* widths */
    int64_t source, source_stride;   /* the value that goes in, and the floats from one of its rows to the next */
    int64_t target, target_stride;   /* the value that comes out; the source itself, if that is changed in place */
    int64_t source_grad, target_grad; /* their gradients, with the strides of the values */
    int64_t add;                     /* whether the source's gradient is added to what is there already */
    int64_t learned;                 /* the first of the source's columns of which a product owes the gradient */
    int64_t onto;                    /* whether a product is added to what its target holds */
    int64_t weight, weight_stride, bias; /* parameters; of a product's weights, the floats from one row to the next */
    int64_t scaled, scaled_grad;     /* in the scratch: the weights that a product takes in place of the parameters */
    int64_t kept;                    /* what the forward pass leaves for the backward pass */
    uint64_t stream;                 /* of random words */
    const float *dial;               /* (members,) strength */
    float *running_mean, *running_var; /* (members, outputs) */
    const float *low, *slope;        /* (members, inputs, bins) of piecewise features */
    const int64_t *columns;          /* (inputs,) which of the input's */
    float momentum, eps;
} layer;

/* The loss of some columns of the output: one task's. */
typedef struct {
    int64_t kind, first, width; /* columns of outputs and targets */
    int64_t known;              /* the column of the targets that says how far a label is known, -1 if all are */
    const float *class_weights; /* (width,) or null */
} loss;

/* One step of all members: what they share, and where each finds its own. */
typedef struct {
    int64_t rows, parameters;
    int64_t columns, targets_width, outputs_width;
    int64_t layers_count, losses_count, output, output_grad;
    int64_t narrow; /* whether products round their operands to bfloat16, where that is faster */
    const layer *layers;
    const loss *losses;
    const float *params;     /* (members, parameters) */
    float *grads;            /* (members, parameters) */
    const int64_t *keys;     /* (members, 3) */
    const float *inputs;     /* (members, rows, columns) */
    const float *targets;    /* (members, rows, targets_width) */
    const float *weights;    /* (members, rows) or null */
    float *terms;            /* (members, losses_count) */
} chain;

/* Outputs of all members on rows of one data set: forward only, some rows at a time. */
typedef struct {
    const chain *net;     /* of `rows` rows at most; its inputs are the data (n, columns) */
    int64_t total;        /* rows to answer for */
    const int64_t *index; /* (members, total) places in the data, or null: the first `total`, for every member */
    const uint8_t *chosen; /* (members,) whether a member answers, or null: all do */
    int64_t spare;        /* the place in the scratch where picked rows are put */
    float *outputs;       /* (members, total, outputs_width), or null if only statistics are wanted */
} answers;

#endif
