/* Kernels that move or blank pixels, for one type of pixel: PIXEL, with NAME(x) for its functions. Included twice. */

/* By 32 pixels, the last of which may be written twice: a rest of single pixels would take as long as the vectors. */
POISE_CLONES static void NAME(reversed)(const PIXEL *restrict last, PIXEL *restrict out, int64_t count) {
    if (count < 32) {
        for (int64_t j = 0; j < count; j++) out[j] = last[-j];
        return;
    }
    for (int64_t j = 0; j < count; j += 32) {
        const int64_t first = j + 32 <= count ? j : count - 32;
        for (int64_t k = 0; k < 32; k++) out[first + k] = last[-first - k];
    }
}

/* out[c, i, j] = mirrored in[c, i + down, j + across]. `columns` has room for a row. */
static void NAME(move)(const PIXEL *in, PIXEL *out, Shape s, const float *step, int32_t *columns) {
    int64_t down = (int64_t)step[1], across = (int64_t)step[2], width = s.width, height = s.height;
    int mirror = step[3] != 0.0f, upside = step[4] != 0.0f, padding = (int)step[5];
    int64_t first = least(width, most(0, -across)), end = most(first, least(width, width - across));
    for (int64_t j = 0; j < width; j++) {
        int64_t from = source(j + across, width, padding);
        columns[j] = (int32_t)(from < 0 || !mirror ? from : width - 1 - from);
    }
    for (int64_t c = 0; c < s.channels; c++) {
        for (int64_t i = 0; i < height; i++, out += width) {
            int64_t from = source(i + down, height, padding);
            if (from < 0) {
                memset(out, 0, (size_t)width * sizeof(PIXEL));
                continue;
            }
            const PIXEL *row = in + (c * height + (upside ? height - 1 - from : from)) * width;
            for (int64_t j = 0; j < first; j++) out[j] = columns[j] < 0 ? 0 : row[columns[j]];
            if (mirror)
                NAME(reversed)(row + width - 1 - first - across, out + first, end - first);
            else
                memcpy(out + first, row + first + across, (size_t)(end - first) * sizeof(PIXEL));
            for (int64_t j = end; j < width; j++) out[j] = columns[j] < 0 ? 0 : row[columns[j]];
        }
    }
}

/* One pixel that is read at or beyond the border. */
static PIXEL NAME(border)(const PIXEL *in, float x, float y, Shape s, int padding) {
    x = inner(x, s.width, padding);
    y = inner(y, s.height, padding);
    if (!(x > -1.0f && x < (float)s.width && y > -1.0f && y < (float)s.height)) return 0;
    float left = floorf(x), top = floorf(y), value = 0.0f;
    for (int k = 0; k < 4; k++) {
        int64_t i = (int64_t)top + (k >> 1), j = (int64_t)left + (k & 1);
        float weight = (k & 1 ? x - left : 1.0f - (x - left)) * (k >> 1 ? y - top : 1.0f - (y - top));
        if (i >= 0 && i < s.height && j >= 0 && j < s.width) value += weight * (float)in[i * s.width + j];
    }
    return ROUNDED(value);
}

/* Where one row of the result is read; floats in float arithmetic, because it runs over whole vectors. */
POISE_CLONES static void NAME(row_places)(
    const float *restrict map, float row, Shape s, float *restrict x, float *restrict y, int32_t *restrict place,
    LINE *restrict right, LINE *restrict low
) {
    float middle = 0.5f * (float)(s.width - 1), x0 = map[1] * row + map[2] + middle;
    float y0 = map[4] * row + map[5] + 0.5f * (float)(s.height - 1);
    float last = (float)(s.width - 2), bottom = (float)(s.height - 2);
    int32_t width = (int32_t)s.width;
    for (int32_t j = 0; j < width; j++) {
        float column = (float)j - middle;
        x[j] = map[0] * column + x0;
        y[j] = map[3] * column + y0;
        /* Beyond the border some pixel is read in its place, and written over. */
        float left = floorf(clamped(x[j], last)), top = floorf(clamped(y[j], bottom));
        place[j] = (int32_t)top * width + (int32_t)left;
        right[j] = WEIGHED(clamped(x[j] - left, 1.0f));
        low[j] = WEIGHED(clamped(y[j] - top, 1.0f));
    }
}

/* Pairs of neighbours, one by one: a processor gathers vectors no faster, and bytes not at all. */
static void NAME(pairs)(const PIXEL *in, NAME(pair) *out, int64_t count, const int32_t *place) {
    for (int64_t j = 0; j < count; j++) memcpy(out + j, in + place[j], sizeof *out);
}

/* Bilinear means of pairs that stand above each other. They are narrowed in a loop of their own, here and below, because
   compilers overlook the product's instruction in front of it. */
POISE_CLONES static void NAME(fours)(
    const NAME(pair) *restrict above, const NAME(pair) *restrict below, PIXEL *restrict out, int64_t count,
    const LINE *restrict right, const LINE *restrict low
) {
    LINE mean[PIECE];
    for (int64_t first = 0; first < count; first += PIECE) {
        int64_t own = least(PIECE, count - first);
        for (int64_t k = 0, j = first; k < own; k++, j++) {
            LINE top = LERP(LEFT_OF(above[j]), RIGHT_OF(above[j]), right[j]);
            LINE bottom = LERP(LEFT_OF(below[j]), RIGHT_OF(below[j]), right[j]);
            mean[k] = LERP(top, bottom, low[j]);
        }
        for (int64_t k = 0; k < own; k++) out[first + k] = NARROWED(mean[k]);
    }
}

POISE_CLONES static void NAME(between)(
    const LINE *restrict upper, const LINE *restrict lower, PIXEL *restrict out, int64_t width, const LINE *restrict low
) {
    LINE mean[PIECE];
    for (int64_t first = 0; first < width; first += PIECE) {
        int64_t own = least(PIECE, width - first);
        for (int64_t k = 0, j = first; k < own; k++, j++) mean[k] = LERP(upper[j], lower[j], low[j]);
        for (int64_t k = 0; k < own; k++) out[first + k] = NARROWED(mean[k]);
    }
}

/* The same as `affine` for a map that only scales, mirrors and shifts, within the image or with repeated borders: each
   row of the image is interpolated once. `room` holds five rows. */
static void NAME(enlarge)(const PIXEL *in, PIXEL *out, Shape s, const float *step, float *room) {
    int64_t width = s.width, height = s.height;
    int32_t *place = (int32_t *)room;
    LINE *right = (LINE *)(room + width);
    LINE *line[2] = {(LINE *)(room + 2 * width), (LINE *)(room + 3 * width)};
    LINE *low = (LINE *)(room + 4 * width);
    float middle = 0.5f * (float)(width - 1), centre = 0.5f * (float)(height - 1);
    for (int64_t j = 0; j < width; j++) {
        float x = clamped(step[1] * ((float)j - middle) + (step[3] + middle), (float)(width - 1));
        float left = floorf(clamped(x, (float)(width - 2)));
        place[j] = (int32_t)left;
        right[j] = WEIGHED(x - left);
    }
    NAME(stretch) stretch = NAME(stretch_of)(place, width);
    for (int64_t c = 0; c < s.channels; c++, in += width * height) {
        int64_t held[2] = {-1, -1}; /* which row stands in which line: neighbours never share one */
        for (int64_t i = 0; i < height; i++, out += width) {
            float y = clamped(step[5] * ((float)i - centre) + (step[6] + centre), (float)(height - 1));
            float top = floorf(clamped(y, (float)(height - 2)));
            int64_t upper = (int64_t)top;
            for (int64_t row = upper; row <= upper + 1; row++) {
                if (held[row & 1] == row) continue;
                held[row & 1] = row;
                NAME(along)(in + row * width, line[row & 1], width, place, right, &stretch);
            }
            for (int64_t j = 0; j < width; j++) low[j] = WEIGHED(y - top);
            NAME(between)(line[upper & 1], line[(upper + 1) & 1], out, width, low);
        }
    }
}

/* One row's pixels at and beyond the border; `inside` of them none are. */
static void NAME(borders)(const PIXEL *in, PIXEL *out, Shape s, const float *x, const float *y, int padding) {
    int64_t width = s.width, height = s.height, first = 0, end = width, start = 0, stop = width;
    float last = (float)(width - 1), bottom = (float)(height - 1);
    /* A line enters the image once and leaves it once. */
#define INSIDE(j) (x[j] >= 0.0f && x[j] < last && y[j] >= 0.0f && y[j] < bottom)
    while (first < width && !INSIDE(first)) first++;
    while (end > first && !INSIDE(end - 1)) end--;
    if (first == 0 && end == width) return;
    /* Beyond a border of zeros is nothing to read. */
#define NEAR(j) (x[j] > -1.0f && x[j] < (float)width && y[j] > -1.0f && y[j] < (float)height)
    while (padding == ZERO && start < width && !NEAR(start)) start++;
    while (padding == ZERO && stop > start && !NEAR(stop - 1)) stop--;
    first = least(most(first, start), stop), end = most(first, least(end, stop));
#undef INSIDE
#undef NEAR
    for (int64_t c = 0; c < s.channels; c++, in += width * height, out += width * height) {
        memset(out, 0, (size_t)start * sizeof(PIXEL));
        memset(out + stop, 0, (size_t)(width - stop) * sizeof(PIXEL));
        for (int64_t j = start; j < first; j++) out[j] = NAME(border)(in, x[j], y[j], s, padding);
        for (int64_t j = end; j < stop; j++) out[j] = NAME(border)(in, x[j], y[j], s, padding);
    }
}

/* out = in read at map (x, y, 1) from the centre, bilinear. `room` holds nine numbers for each pixel of a block. */
static void NAME(affine)(const PIXEL *in, PIXEL *out, Shape s, const float *step, float *room) {
    int padding = (int)step[7];
    int64_t width = s.width, height = s.height, plane = width * height, rows = rows_of_block(width);
    int64_t block = rows * width;
    float *x = room, *y = room + block;
    int32_t *place = (int32_t *)(room + 2 * block);
    LINE *right = (LINE *)(room + 3 * block), *low = (LINE *)(room + 4 * block);
    NAME(pair) *above = (NAME(pair) *)(room + 5 * block), *below = (NAME(pair) *)(room + 7 * block);
    if (step[2] == 0.0f && step[4] == 0.0f && padding == EDGE && width > 1 && height > 1) {
        NAME(enlarge)(in, out, s, step, room);
        return;
    }
    for (int64_t i = 0; i < height; i += rows, out += block) {
        int64_t own = least(rows, height - i), count = own * width;
        for (int64_t k = 0, at = 0; k < own; k++, at += width) {
            float row = (float)(i + k) - 0.5f * (float)(height - 1);
            NAME(row_places)(step + 1, row, s, x + at, y + at, place + at, right + at, low + at);
        }
        /* Blocks, because a vector that is read right after its numbers were written one by one has to wait. */
        for (int64_t c = 0; c < s.channels && width > 1 && height > 1; c++) {
            NAME(pairs)(in + c * plane, above, count, place);
            NAME(pairs)(in + c * plane + width, below, count, place);
            NAME(fours)(above, below, out + c * plane, count, right, low);
        }
        for (int64_t k = 0, at = 0; k < own; k++, at += width)
            NAME(borders)(in, out + at, s, x + at, y + at, padding);
    }
}

/* A box filled with one value, or with each channel's mean of the whole image. */
static void NAME(blank)(PIXEL *image, Shape s, const float *step) {
    int64_t top = most(0, (int64_t)step[1]), left = most(0, (int64_t)step[2]);
    int64_t bottom = least(s.height, (int64_t)step[3]), right = least(s.width, (int64_t)step[4]);
    int64_t plane = s.height * s.width;
    for (int64_t c = 0; c < s.channels; c++, image += plane) {
        float value = step[5];
        if (step[6] != 0.0f) {
            double sum = 0.0;
            for (int64_t k = 0; k < plane; k++) sum += (double)image[k];
            value = (float)(sum / (double)plane);
        }
        PIXEL fill = ROUNDED(value);
        for (int64_t i = top; i < bottom; i++)
            for (int64_t j = left; j < right; j++) image[i * s.width + j] = fill;
    }
}

/* Squares of a grid set to 0: pixels whose places, counted from (-down, -across), fall into the first `side` of each
   `period`. */
static void NAME(grid)(PIXEL *image, Shape s, const float *step) {
    int64_t period = most(1, (int64_t)step[1]), side = (int64_t)step[2];
    int64_t down = (int64_t)step[3], across = (int64_t)step[4];
    for (int64_t c = 0; c < s.channels; c++)
        for (int64_t i = 0; i < s.height; i++, image += s.width) {
            if ((i + down) % period >= side) continue;
            for (int64_t j = -(across % period); j < s.width; j += period)
                for (int64_t k = most(j, 0); k < least(j + side, s.width); k++) image[k] = 0;
        }
}
