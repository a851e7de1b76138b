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
    if (s.channels == 1 && in != out) memcpy(out, in, (size_t)plane * sizeof(PIXEL));
    for (int64_t k = 0; k < plane && s.channels == 3; k += CHUNK) {
        int64_t count = least(CHUNK, plane - k);
        PIXEL grey[CHUNK];
        NAME(grey_of)(in + k, in + plane + k, in + 2 * plane + k, grey, count);
        for (int64_t c = 0; c < 3; c++) memcpy(out + c * plane + k, grey, (size_t)count * sizeof(PIXEL));
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

/* The sum's next `count` pairs of rows, each at one distance from the middle row; the first time with that row. */
POISE_INLINE void NAME(weigh_some)(
    const SUM *const *row, const SUM *weight, int reach, int first, int count, SUM *restrict sum, int64_t width
) {
    const SUM *middle = row[0], *up[4], *down[4];
    SUM own[4];
    for (int k = 0; k < count; k++) {
        int pair = first + k <= reach ? first + k : 0;
        up[k] = row[-pair], down[k] = row[pair], own[k] = pair ? weight[pair] : (SUM)0;
    }
    for (int64_t j = 0; j < width; j++) {
        SUM total = first == 1 ? (SUM)PART(middle[j], weight[0]) : sum[j];
        for (int k = 0; k < count; k++) total = (SUM)(total + PART((SUM)(up[k][j] + down[k][j]), own[k]));
        sum[j] = total;
    }
}

/* Each number of pairs up to four has its own loop. */
POISE_CLONES static void NAME(weigh_rows)(
    const SUM *const *row, const SUM *weight, int reach, SUM *restrict sum, int64_t width
) {
    if (reach == 1) NAME(weigh_some)(row, weight, reach, 1, 1, sum, width);
    if (reach == 2) NAME(weigh_some)(row, weight, reach, 1, 2, sum, width);
    if (reach == 3) NAME(weigh_some)(row, weight, reach, 1, 3, sum, width);
    if (reach > 3) NAME(weigh_some)(row, weight, reach, 1, 4, sum, width);
    for (int first = 5; first <= reach; first += 4) NAME(weigh_some)(row, weight, reach, first, 4, sum, width);
}

POISE_CLONES static void NAME(widen)(const PIXEL *restrict in, SUM *restrict out, int64_t width) {
    for (int64_t j = 0; j < width; j++) out[j] = (SUM)SUMMAND(in[j]);
}

POISE_CLONES static void NAME(narrow)(const SUM *restrict in, PIXEL *restrict out, int64_t width, SUM lost) {
    (void)lost;
    for (int64_t j = 0; j < width; j++) out[j] = RESULT(in[j], lost);
}

/* A Gaussian of the given deviation, cut off at `reach` pixels, border pixels repeated. `room` holds an image, two rows
   and four reaches. */
static void NAME(blur)(const PIXEL *in, PIXEL *out, Shape s, const float *step, void *room) {
    int reach = (int)step[2];
    int64_t width = s.width, height = s.height;
    float bell[MOST_REACH + 1], total = 0.0f;
    SUM weight[MOST_REACH + 1];
    for (int k = 0; k <= reach; k++) {
        bell[k] = expf(-0.5f * (float)(k * k) / (step[1] * step[1]));
        total += k == 0 ? 1.0f : 2.0f * bell[k];
    }
    while (reach > 1 && bell[reach] < LEAST * total) reach--; /* what adds nothing */
    double rest = 1.0;
    for (int k = reach; k > 0; k--) {
        weight[k] = (SUM)SHARE(bell[k] / total);
        rest -= 2.0 * (double)weight[k] / WHOLE;
    }
    double middle = SHARE(rest);
    weight[0] = (SUM)(middle < MOST_SHARE ? middle : MOST_SHARE);
    /* The last rows that were summed along, in a ring that holds as many as one row of the result needs. */
    int64_t held = least(height, 2 * reach + 1), done = 0;
    SUM *sum = room, *wide = sum + width, *lines = wide + width + 2 * reach;
    const SUM *rows[2 * MOST_REACH + 1];
    for (int64_t c = 0; c < s.channels; c++, in += width * height, out += width * height, done = 0)
        for (int64_t i = 0; i < height; i++) {
            for (; done < least(height, i + reach + 1); done++) {
                NAME(widen)(in + done * width, wide + reach, width);
                for (int k = 0; k < reach; k++) {
                    wide[k] = wide[reach];
                    wide[reach + width + k] = wide[reach + width - 1];
                }
                for (int k = 0; k <= 2 * reach; k++) rows[k] = wide + k;
                NAME(weigh_rows)(rows + reach, weight, reach, lines + done % held * width, width);
            }
            for (int k = -reach; k <= reach; k++)
                rows[k + reach] = lines + most(0, least(height - 1, i + k)) % held * width;
            NAME(weigh_rows)(rows + reach, weight, reach, sum, width);
            NAME(narrow)(sum, out + i * width, width, (SUM)least(reach + 1, 60));
        }
}
