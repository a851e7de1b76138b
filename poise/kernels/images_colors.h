/* Kernels for colours: arithmetic in floats on a few hundred pixels at a time, whatever type the pixels have. */

/* x, y, z: red, green and blue of a chunk, or one of them grey. The top is 1 for floats and 255 for bytes. */
typedef struct {
    float red[CHUNK], green[CHUNK], blue[CHUNK];
} Pixels;

POISE_CLONES static void brighten(float *restrict x, int64_t count, float factor, float top) {
    for (int64_t k = 0; k < count; k++) x[k] = clamped(x[k] * factor, top);
}

POISE_CLONES static void away_from(float *restrict x, int64_t count, float base, float factor, float top) {
    for (int64_t k = 0; k < count; k++) x[k] = clamped(x[k] + (factor - 1.0f) * (x[k] - base), top);
}

POISE_CLONES static void saturate(Pixels *p, int64_t count, float factor, float top) {
    for (int64_t k = 0; k < count; k++) {
        float base = LUMA(p->red[k], p->green[k], p->blue[k]);
        p->red[k] = clamped(p->red[k] + (factor - 1.0f) * (p->red[k] - base), top);
        p->green[k] = clamped(p->green[k] + (factor - 1.0f) * (p->green[k] - base), top);
        p->blue[k] = clamped(p->blue[k] + (factor - 1.0f) * (p->blue[k] - base), top);
    }
}

POISE_INLINE float of_hue(float value, float chroma, float place) {
    place = place - 6.0f * floorf(place * (1.0f / 6.0f));
    float other = 4.0f - place;
    float share = place < other ? place : other;
    return value - chroma * clamped(share, 1.0f);
}

/* Hue in HSV moved by `turns` of the circle. Shares of 0 and 1 for conditions, so that it runs over whole vectors. */
POISE_CLONES static void turn_hue(Pixels *p, int64_t count, float turns, float top) {
    float *restrict red = p->red, *restrict green = p->green, *restrict blue = p->blue;
    float moved = 6.0f * turns + 12.0f; /* 12: never negative */
    for (int64_t k = 0; k < count; k++) {
        float r = red[k], g = green[k], b = blue[k];
        float more = r > g ? r : g, less = r < g ? r : g;
        float value = more > b ? more : b, lowest = less < b ? less : b;
        float chroma = value - lowest, some = chroma == 0.0f ? 1.0f : chroma, part = 1.0f / some;
        float of_red = value == r ? 1.0f : 0.0f, of_green = (1.0f - of_red) * (value == g ? 1.0f : 0.0f);
        float of_blue = 1.0f - of_red - of_green;
        float from_red = of_red * ((g - b) * part), from_green = of_green * (2.0f + (b - r) * part);
        float sixth = moved + from_red + from_green + of_blue * (4.0f + (r - g) * part);
        red[k] = clamped(of_hue(value, chroma, sixth + 5.0f), top);
        green[k] = clamped(of_hue(value, chroma, sixth + 3.0f), top);
        blue[k] = clamped(of_hue(value, chroma, sixth + 1.0f), top);
    }
}

/* The sum in sixteen parts: compilers may not reorder a sum of floats by themselves. */
POISE_CLONES static double sum_of(const float *restrict x, int64_t count) {
    float part[16] = {0.0f};
    double sum = 0.0;
    int64_t whole = count - count % 16;
    for (int64_t k = 0; k < whole; k += 16)
        for (int64_t n = 0; n < 16; n++) part[n] += x[k + n];
    for (int64_t k = whole; k < count; k++) sum += (double)x[k];
    for (int64_t n = 0; n < 16; n++) sum += (double)part[n];
    return sum;
}

POISE_CLONES static void sharpen_row(
    const float *restrict above, const float *restrict x, const float *restrict below, float *restrict out,
    int64_t width, float factor, float top
) {
    for (int64_t j = 1; j < width - 1; j++) {
        float upper = above[j - 1] + above[j] + above[j + 1], lower = below[j - 1] + below[j] + below[j + 1];
        float smooth = (upper + lower + x[j - 1] + x[j + 1] + 5.0f * x[j]) * (1.0f / 13.0f);
        out[j] = clamped(x[j] + (factor - 1.0f) * (x[j] - smooth), top);
    }
}

/* out = 3 x 3 matrix times the pixel, plus an offset, clamped once. */
POISE_CLONES static void linear(Pixels *p, int64_t count, const float *m, float top) {
    for (int64_t k = 0; k < count; k++) {
        float r = p->red[k], g = p->green[k], b = p->blue[k];
        p->red[k] = clamped(m[0] * r + m[1] * g + m[2] * b + m[9], top);
        p->green[k] = clamped(m[3] * r + m[4] * g + m[5] * b + m[10], top);
        p->blue[k] = clamped(m[6] * r + m[7] * g + m[8] * b + m[11], top);
    }
}

/* The colour edits of one step: their numbers, and their order as decimal digits, the first one last. */
typedef struct {
    float strength[5];
    int order, linear;
} Edits;

POISE_INLINE Edits edits_of(const float *step) {
    Edits e = {{0.0f, step[1], step[2], step[3], step[4]}, (int)step[5], step[6] != 0.0f};
    return e;
}

/* Run on a chunk the edits before contrast (part 0), or contrast, which keeps `mean`, and those after (part 1). */
static void edit_chunk(Pixels *p, int64_t count, int64_t channels, Edits e, int part, float mean, float top) {
    float *x[3] = {p->red, p->green, p->blue};
    int now = 0;
    for (int order = e.order; order > 0; order /= 10) {
        int edit = order % 10;
        float strength = e.strength[edit];
        now |= edit == CONTRAST;
        if (now != part) continue;
        for (int64_t c = 0; c < channels && edit <= CONTRAST; c++) {
            if (edit == BRIGHTNESS) brighten(x[c], count, strength, top);
            if (edit == CONTRAST) away_from(x[c], count, mean, strength, top);
        }
        if (channels == 1) continue;
        if (edit == SATURATION) saturate(p, count, strength, top);
        if (edit == HUE && strength != 0.0f) turn_hue(p, count, strength, top);
    }
}

/* The edits without a clamp between them, as one matrix and offset: hue then is a rotation in YIQ. */
static void matrix_of(Edits e, int64_t channels, const double *means, float *matrix) {
    static const double weight[3] = {0.299, 0.587, 0.114}; /* of Y; I and Q are NTSC's */
    static const double in_phase[3] = {0.595716, -0.274453, -0.321263}, quadrature[3] = {0.211456, -0.522591, 0.311135};
    double m[3][4] = {{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}};
    for (int order = e.order; order > 0; order /= 10) {
        int edit = order % 10;
        double f = (double)e.strength[edit], now[3][4], luma[4];
        memcpy(now, m, sizeof m);
        for (int k = 0; k < 4; k++)
            luma[k] = channels == 1 ? m[0][k] : weight[0] * m[0][k] + weight[1] * m[1][k] + weight[2] * m[2][k];
        double mean = luma[0] * means[0] + luma[1] * means[1] + luma[2] * means[2] + luma[3];
        double cosine = cos(6.283185307179586 * f), sine = sin(6.283185307179586 * f);
        for (int c = 0; c < channels; c++)
            for (int k = 0; k < 4; k++) {
                double other = edit == SATURATION ? luma[k] : 0.0;
                if (edit == CONTRAST && k == 3) other = mean;
                if (edit != HUE) m[c][k] = now[c][k] + (f - 1.0) * (now[c][k] - other);
            }
        if (edit != HUE || channels == 1) continue;
        for (int k = 0; k < 4; k++) {
            double i = 0.0, q = 0.0;
            for (int c = 0; c < 3; c++) {
                i += in_phase[c] * now[c][k];
                q += quadrature[c] * now[c][k];
            }
            double di = cosine * i + sine * q - i, dq = cosine * q - sine * i - q;
            m[0][k] = now[0][k] + 0.956296 * di + 0.621024 * dq;
            m[1][k] = now[1][k] - 0.272122 * di - 0.647381 * dq;
            m[2][k] = now[2][k] - 1.106989 * di + 1.704615 * dq;
        }
    }
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < 3; k++) matrix[3 * c + k] = (float)m[c][k];
        matrix[9 + c] = (float)m[c][3];
    }
}
