/* One training step of a chain of layers, member by member: forward, loss, backward.

   A member's values stay in the core's cache from the first layer to the last, so each layer may be a simple pass of
   its own. No sum runs over members, and each runs over the rows in order. */
#include <math.h>
#include <string.h>

#include "bins.h"
#include "chain.h"
#include "front.h"
#include "layers.h"

/* A place in the scratch or, below 0, in the input: that is never written, its gradient is not asked for. */
POISE_INLINE float *at(const float *input, float *scratch, int64_t place) {
    return place < 0 ? (float *)input + (-1 - place) : scratch + place;
}

/* The weights of a product, and where their gradient goes: the parameters, or scaled ones in the scratch. */
POISE_INLINE const float *weights_of(const layer *its, const float *params, const float *scratch) {
    return its->scaled < 0 ? params + its->weight : scratch + its->scaled;
}

POISE_INLINE float *weights_grad_of(const layer *its, float *grads, float *scratch) {
    return its->scaled < 0 ? grads + its->weight : scratch + its->scaled_grad;
}

static void chain_forward(const chain *net, int64_t member, const float *input, float *scratch) {
    const float *params = net->params + member * net->parameters;
    const int64_t *key = net->keys + 3 * member;
    const int narrow = (int)net->narrow;
    for (int64_t i = 0; i < net->layers_count; i++) {
        const layer *its = net->layers + i;
        const float *from = at(input, scratch, its->source);
        float *to = at(input, scratch, its->target);
        switch (its->kind) {
        case LINEAR: {
            const matrix left = {from, its->source_stride, 1};
            const matrix right = {weights_of(its, params, scratch), 1, its->weight_stride};
            product(net->rows, its->outputs, its->inputs, left, right, to, its->target_stride,
                    its->bias < 0 ? 0 : params + its->bias, (int)its->onto, narrow, scratch);
            break;
        }
        case BATCH_NORM:
            batch_norm(net->rows, its->outputs, to, scratch + its->kept, params + its->weight, params + its->bias,
                       its->dial[member], its->running_mean + member * its->outputs,
                       its->running_var + member * its->outputs, its->momentum, its->eps);
            break;
        case FIXED_NORM:
            fixed_norm(net->rows, its->outputs, to, params + its->weight, params + its->bias, its->dial[member],
                       its->running_mean + member * its->outputs, its->running_var + member * its->outputs, its->eps);
            break;
        case ACTIVATION:
            activate(net->rows * its->outputs, to, scratch + its->kept, its->detail);
            break;
        case DROPOUT:
            drop(net->rows * its->outputs, to, scratch + its->kept, its->dial[member], philox_key_of(key, its->stream));
            break;
        case NOISE:
            add_noise(net->rows * its->outputs, to, its->dial[member], philox_key_of(key, its->stream));
            break;
        case ADD:
            for (int64_t n = 0; n < net->rows * its->outputs; n++) to[n] += from[n];
            break;
        case COLUMNS:
            take_columns(net->rows, its, from, to);
            break;
        case PIECEWISE:
            piecewise(net->rows, member, its, from, to);
            break;
        case BINS:
            bins(net->rows, member, its, from, to, weights_of(its, params, scratch), its->bias < 0 ? 0 : params + its->bias,
                 scratch + its->kept, scratch);
            break;
        case EMBEDDED:
            embedded(net->rows, member, its, from, to, params + its->weight, params + its->bias, scratch + its->kept);
            break;
        case PERIODIC:
            periodic(net->rows, its, from, to, scratch + its->kept, params + its->weight, params + its->bias);
            break;
        case LEVELS: {
            const matrix left = {from, its->source_stride, 1}, right = {params + its->weight, its->outputs, 1};
            product(net->rows, its->outputs, its->inputs, left, right, to, its->target_stride, 0, 0, narrow,
                    scratch);
            break;
        }
        case FRONT_SCALE:
            front_scale(its, its->dial[member], params + its->weight, params + its->bias, scratch + its->kept, to);
            break;
        }
    }
}

static void chain_backward(const chain *net, int64_t member, const float *input, float *scratch) {
    const float *params = net->params + member * net->parameters;
    float *grads = net->grads + member * net->parameters;
    const int narrow = (int)net->narrow;
    for (int64_t i = net->layers_count - 1; i >= 0; i--) {
        const layer *its = net->layers + i;
        const float *from = at(input, scratch, its->source);
        float *back = scratch + its->target_grad;
        switch (its->kind) {
        case LINEAR: {
            /* d weight = back^T from, d bias = the sum of back's rows, d from = back weight */
            const matrix turned = {back, 1, its->target_stride}, straight = {back, its->target_stride, 1};
            const matrix value = {from, its->source_stride, 1};
            const matrix weight = {weights_of(its, params, scratch), its->weight_stride, 1};
            product(its->outputs, its->inputs, net->rows, turned, value, weights_grad_of(its, grads, scratch),
                    its->weight_stride, 0, 0, narrow, scratch);
            if (its->bias >= 0) sum_rows(net->rows, its->outputs, back, its->target_stride, grads + its->bias);
            if (its->source_grad >= 0) {
                const matrix part = {weight.data + its->learned, weight.row, 1};
                product(net->rows, its->inputs - its->learned, its->outputs, straight, part,
                        scratch + its->source_grad + its->learned, its->source_stride, 0, (int)its->add, narrow,
                        scratch);
            }
            break;
        }
        case BATCH_NORM:
            batch_norm_back(net->rows, its->outputs, scratch + its->kept, back, params + its->weight,
                            its->dial[member], grads + its->weight, grads + its->bias);
            break;
        case ACTIVATION:
            activate_back(net->rows * its->outputs, scratch + its->kept, back, its->detail);
            break;
        case DROPOUT:
            drop_back(net->rows * its->outputs, scratch + its->kept, back, its->dial[member]);
            break;
        case ADD: {
            if (its->source_grad < 0) break;
            float *to = scratch + its->source_grad;
            for (int64_t n = 0; n < net->rows * its->outputs; n++) to[n] = its->add ? to[n] + back[n] : back[n];
            break;
        }
        case BINS:
            bins_back(net->rows, its, back, weights_grad_of(its, grads, scratch), its->bias < 0 ? 0 : grads + its->bias,
                      scratch + its->kept, scratch);
            break;
        case EMBEDDED:
            embedded_back(net->rows, its, back, grads + its->weight, grads + its->bias, scratch + its->kept);
            break;
        case PERIODIC:
            periodic_back(net->rows, its, from, back, scratch + its->kept, grads + its->weight, grads + its->bias);
            break;
        case LEVELS: {
            const matrix turned = {from, 1, its->source_stride}, value = {back, its->target_stride, 1};
            product(its->inputs, its->outputs, net->rows, turned, value, grads + its->weight, its->outputs, 0, 0,
                    narrow, scratch);
            break;
        }
        case FRONT_SCALE:
            front_scale_back(its, its->dial[member], params + its->weight, scratch + its->kept, back,
                             grads + its->weight, grads + its->bias);
            break;
        default: /* noise passes the gradient on; fixed features of the input take none */
            break;
        }
    }
}

static void chain_loss(const chain *net, int64_t member, float *scratch) {
    const float *outputs = scratch + net->output;
    float *back = scratch + net->output_grad;
    const float *targets = net->targets + member * net->rows * net->targets_width;
    const float *weights = net->weights ? net->weights + member * net->rows : 0;
    for (int64_t i = 0; i < net->losses_count; i++) {
        net->terms[member * net->losses_count + i] =
            task_loss(net->rows, net->losses + i, net->losses_count, outputs, net->outputs_width, targets,
                      net->targets_width, weights, back);
    }
}

/* The job of one member: its losses and its gradients, on its own batch. */
POISE_EXPORT void poise_chain(const void *its, int64_t member, float *scratch) {
    const chain *net = its;
    const float *input = net->inputs + member * net->rows * net->columns;
    chain_forward(net, member, input, scratch);
    chain_loss(net, member, scratch);
    chain_backward(net, member, input, scratch);
}

/* The job of one member: its outputs. */
POISE_EXPORT void poise_answers(const void *given, int64_t member, float *scratch) {
    const answers *its = given;
    if (its->chosen && !its->chosen[member]) return;
    for (int64_t first = 0; first < its->total; first += its->net->rows) {
        chain net = *its->net;
        if (its->total - first < net.rows) net.rows = its->total - first;
        const float *input = net.inputs + first * net.columns;
        if (its->index) {
            const int64_t *index = its->index + member * its->total + first;
            for (int64_t r = 0; r < net.rows; r++) {
                memcpy(scratch + its->spare + r * net.columns, net.inputs + index[r] * net.columns,
                       sizeof(float) * (size_t)net.columns);
            }
            input = scratch + its->spare;
        }
        chain_forward(&net, member, input, scratch);
        if (its->outputs) {
            memcpy(its->outputs + (member * its->total + first) * net.outputs_width, scratch + net.output,
                   sizeof(float) * (size_t)(net.rows * net.outputs_width));
        }
    }
}
