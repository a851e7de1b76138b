/* The layers of a chain but for its products: passes over one member's activations (rows, width), row by row. Where a
   member's dial is neutral, they are left out. */
#ifndef POISE_LAYERS_H
#define POISE_LAYERS_H

#include "chain.h"
#include "words.h"

/* to[n] = the sum over rows of from[row][n]. */
void sum_rows(int64_t rows, int64_t width, const float *from, int64_t stride, float *to);

/* In place: share (weight (x - mean) / sqrt(var + eps) + bias) + (1 - share) x, over the rows; running statistics move,
   unless the share is 0.
   `kept` receives the standardised values (rows, width), and then 1 / sqrt(var + eps) (width). */
void batch_norm(int64_t rows, int64_t width, float *x, float *kept, const float *weight, const float *bias, float share,
                float *running_mean, float *running_var, float momentum, float eps);
void batch_norm_back(int64_t rows, int64_t width, const float *kept, float *back, const float *weight, float share,
                     float *weight_grad, float *bias_grad);

/* The same by running statistics, which stay as they are. */
void fixed_norm(int64_t rows, int64_t width, float *x, const float *weight, const float *bias, float share,
                const float *running_mean, const float *running_var, float eps);

/* In place; `kept` receives what the gradient is multiplied by: bytes 0 or 1 for RELU, floats otherwise. */
void activate(int64_t count, float *x, float *kept, int64_t kind);
void activate_back(int64_t count, const float *kept, float *back, int64_t kind);

/* In place: x / (1 - p) where a 16-bit number of the stream is not below p, else 0. `kept` receives bytes 0 or 1. */
void drop(int64_t count, float *x, float *kept, float p, philox_key key);
void drop_back(int64_t count, const float *kept, float *back, float p);

/* In place: x + scale n, n normal by inversion of the stream's 23-bit uniforms. */
void add_noise(int64_t count, float *x, float scale, philox_key key);

/* to[row][i] = from[row][columns[i]]. */
void take_columns(int64_t rows, const layer *its, const float *from, float *to);

/* For each column: itself, then clamp((x - low) slope, 0, 1) of each bin. */
void piecewise(int64_t rows, int64_t member, const layer *its, const float *from, float *to);

/* For each column: itself, then cos(2 pi (x frequency + phase)) of each of its frequencies (columns, size). `kept` receives
   -2 pi sin of the same (rows, columns, size). */
void periodic(int64_t rows, const layer *its, const float *from, float *to, float *kept, const float *frequency,
              const float *phase);
void periodic_back(int64_t rows, const layer *its, const float *from, const float *back, const float *kept,
                   float *frequency_grad, float *phase_grad);

/* One task's loss, the mean over rows divided by the number of tasks; its gradient goes to its columns of `back`. */
float task_loss(int64_t rows, const loss *its, int64_t tasks, const float *outputs, int64_t outputs_stride,
                const float *targets, int64_t targets_stride, const float *weights, float *back);

#endif
