/* Kernels that change the values of pixels, for one type of pixel. Included twice, after images_places.h. */

POISE_CLONES static void NAME(load)(const PIXEL *restrict in, float *restrict x, int64_t count) {
    for (int64_t k = 0; k < count; k++) x[k] = (float)in[k];
}

POISE_CLONES static void NAME(store)(const float *restrict x, PIXEL *restrict out, int64_t count) {
    for (int64_t k = 0; k < count; k++) out[k] = ROUNDED(x[k]);
}

POISE_INLINE void NAME(load_pixels)(
    const PIXEL *in, Pixels *p, int64_t first, int64_t count, int64_t channels, int64_t plane
) {
    NAME(load)(in + first, p->red, count);
    if (channels == 1) return;
    NAME(load)(in + first + plane, p->green, count);
    NAME(load)(in + first + 2 * plane, p->blue, count);
}

POISE_INLINE void NAME(store_pixels)(
    const Pixels *p, PIXEL *out, int64_t first, int64_t count, int64_t channels, int64_t plane
) {
    NAME(store)(p->red, out + first, count);
    if (channels == 1) return;
    NAME(store)(p->green, out + first + plane, count);
    NAME(store)(p->blue, out + first + 2 * plane, count);
}

/* The edits as one matrix; `out` may be `in`. */
static void NAME(color_linear)(const PIXEL *in, PIXEL *out, int64_t plane, int64_t channels, Edits e) {
    double means[3] = {0.0, 0.0, 0.0};
    float matrix[12];
    Pixels p;
    float *x[3] = {p.red, p.green, p.blue};
    for (int64_t k = 0; k < plane; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        NAME(load_pixels)(in, &p, k, count, channels, plane);
        for (int64_t c = 0; c < channels; c++) means[c] += sum_of(x[c], count) / (double)plane;
    }
    matrix_of(e, channels, means, matrix);
    for (int64_t k = 0; k < plane; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        NAME(load_pixels)(in, &p, k, count, channels, plane);
        if (channels == 3) linear(&p, count, matrix, TOP);
        for (int64_t n = 0; n < count && channels == 1; n++) p.red[n] = clamped(matrix[0] * p.red[n] + matrix[9], TOP);
        NAME(store_pixels)(&p, out, k, count, channels, plane);
    }
}

/* Brightness, contrast, saturation and hue in the step's order; `out` may be `in`. `room` holds an image of floats. */
static void NAME(color)(const PIXEL *in, PIXEL *out, Shape s, const float *step, float *room) {
    int64_t plane = s.height * s.width, channels = s.channels;
    Edits e = edits_of(step);
    Pixels p;
    float *x[3] = {p.red, p.green, p.blue};
    double sum[3] = {0.0, 0.0, 0.0};
    int contrast = 0, kept = e.order % 10 != CONTRAST; /* kept: what comes before contrast is computed once */
    for (int order = e.order; order > 0; order /= 10) contrast |= order % 10 == CONTRAST;
    if (e.linear) {
        NAME(color_linear)(in, out, plane, channels, e);
        return;
    }
    for (int64_t k = 0; k < plane; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        NAME(load_pixels)(in, &p, k, count, channels, plane);
        edit_chunk(&p, count, channels, e, 0, 0.0f, TOP);
        if (!contrast) NAME(store_pixels)(&p, out, k, count, channels, plane);
        for (int64_t c = 0; c < channels && contrast; c++) {
            sum[c] += sum_of(x[c], count) / (double)plane;
            if (kept) memcpy(room + c * plane + k, x[c], (size_t)count * sizeof(float));
        }
    }
    float mean = (float)(channels == 1 ? sum[0] : LUMA(sum[0], sum[1], sum[2]));
    for (int64_t k = 0; k < plane && contrast; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        if (!kept) NAME(load_pixels)(in, &p, k, count, channels, plane);
        for (int64_t c = 0; c < channels && kept; c++)
            memcpy(x[c], room + c * plane + k, (size_t)count * sizeof(float));
        edit_chunk(&p, count, channels, e, 1, mean, TOP);
        NAME(store_pixels)(&p, out, k, count, channels, plane);
    }
}

static void NAME(gray)(const PIXEL *in, PIXEL *out, Shape s) {
    int64_t plane = s.height * s.width;
    Pixels p;
    for (int64_t k = 0; k < plane; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        NAME(load_pixels)(in, &p, k, count, s.channels, plane);
        if (s.channels == 3) luma_of(&p, count);
        NAME(store)(p.red, out + k, count);
        for (int64_t c = 1; c < s.channels; c++) memcpy(out + c * plane + k, out + k, (size_t)count * sizeof(PIXEL));
    }
}

/* out = s + factor (in - s), s smoothed by Pillow's kernel; pixels at the border stay. `room` holds four rows. */
static void NAME(sharpen)(const PIXEL *in, PIXEL *out, Shape s, float factor, float *room) {
    int64_t width = s.width, height = s.height;
    float *row[3] = {room, room + width, room + 2 * width}, *sharp = room + 3 * width;
    size_t size = (size_t)width * sizeof(PIXEL);
    for (int64_t c = 0; c < s.channels; c++, in += height * width, out += height * width)
        for (int64_t i = 0; i < height; i++) {
            memcpy(out + i * width, in + i * width, size);
            NAME(load)(in + i * width, row[i % 3], width);
            if (i < 2 || width < 3) continue;
            sharpen_row(row[(i - 2) % 3], row[(i - 1) % 3], row[i % 3], sharp, width, factor, TOP);
            NAME(store)(sharp + 1, out + (i - 1) * width + 1, width - 2);
        }
}

/* A Gaussian of the given deviation, cut off at `reach` pixels, border pixels repeated. `room` holds an image and
   two rows of floats. */
static void NAME(blur)(const PIXEL *in, PIXEL *out, Shape s, const float *step, float *room) {
    int reach = (int)step[2];
    int64_t width = s.width, height = s.height;
    float weight[2 * MOST_REACH + 1], total = 0.0f;
    float *row = room, *wide = room + width, *planes = wide + width + 2 * reach;
    for (int k = -reach; k <= reach; k++) {
        weight[k + reach] = expf(-0.5f * (float)(k * k) / (step[1] * step[1]));
        total += weight[k + reach];
    }
    for (int k = 0; k <= 2 * reach; k++) weight[k] /= total;
    const float *rows[2 * MOST_REACH + 1];
    for (int64_t c = 0; c < s.channels; c++, in += width * height, out += width * height) {
        for (int64_t i = 0; i < height; i++) {
            NAME(load)(in + i * width, wide + reach, width);
            for (int k = 0; k < reach; k++) {
                wide[k] = wide[reach];
                wide[reach + width + k] = wide[reach + width - 1];
            }
            for (int k = 0; k <= 2 * reach; k++) rows[k] = wide + k;
            taps(rows, weight, 2 * reach + 1, planes + i * width, width);
        }
        for (int64_t i = 0; i < height; i++) {
            for (int k = -reach; k <= reach; k++) rows[k + reach] = planes + most(0, least(height - 1, i + k)) * width;
            taps(rows, weight, 2 * reach + 1, row, width);
            NAME(store)(row, out + i * width, width);
        }
    }
}
