/* Edits that are defined on the 256 levels of a byte: for bytes a table, for floats the same arithmetic. */

/* Pillow's equalisation: the table that makes a channel's histogram flat. Returns 0 where it stays as it is. */
static int flat_table(const int32_t *counts, int32_t *table) {
    int64_t total = 0, below = 0;
    int highest = 0;
    for (int v = 0; v < LEVELS; v++) {
        total += counts[v];
        if (counts[v]) highest = v;
    }
    int64_t step = (total - counts[highest]) / (LEVELS - 1);
    if (step == 0) return 0;
    for (int v = 0; v < LEVELS; v++) {
        table[v] = (int32_t)least((step / 2 + below) / step, LEVELS - 1);
        below += counts[v];
    }
    return 1;
}

/* In four parts, because neighbours are often equal, and a count that was just written takes a while to be read. */
static void count_levels(const uint8_t *in, int64_t plane, int32_t *counts) {
    int32_t part[4][LEVELS] = {{0}};
    int64_t whole = plane - plane % 4;
    for (int64_t k = 0; k < whole; k += 4)
        for (int n = 0; n < 4; n++) part[n][in[k + n]]++;
    for (int64_t k = whole; k < plane; k++) part[0][in[k]]++;
    for (int v = 0; v < LEVELS; v++) counts[v] = part[0][v] + part[1][v] + part[2][v] + part[3][v];
}

static void table_of_bytes(const uint8_t *in, int64_t plane, int operation, uint8_t *table) {
    int32_t counts[LEVELS] = {0}, flat[LEVELS];
    int low = 255, high = 0;
    if (operation == EQUALIZE) count_levels(in, plane, counts);
    if (operation == AUTOCONTRAST)
        for (int64_t k = 0; k < plane; k++) {
            low = in[k] < low ? in[k] : low;
            high = in[k] > high ? in[k] : high;
        }
    int stays = operation == EQUALIZE ? !flat_table(counts, flat) : operation == AUTOCONTRAST && high <= low;
    for (int v = 0; v < LEVELS; v++) {
        int to = v;
        if (operation == EQUALIZE && !stays) to = flat[v];
        if (operation == AUTOCONTRAST && !stays)
            to = (int)rintf(clamped((float)(v - low) * 255.0f / (float)(high - low), 255.0f));
        table[v] = (uint8_t)to;
    }
}

POISE_CLONES static void mask_bytes(const uint8_t *restrict in, uint8_t *restrict out, int64_t count, uint8_t mask) {
    for (int64_t k = 0; k < count; k++) out[k] = in[k] & mask;
}

POISE_CLONES static void invert_bytes(const uint8_t *restrict in, uint8_t *restrict out, int64_t count, uint8_t first) {
    for (int64_t k = 0; k < count; k++) out[k] = in[k] >= first ? (uint8_t)(255 - in[k]) : in[k];
}

static void levels_of_bytes(const uint8_t *in, uint8_t *out, Shape s, const float *step, void *room) {
    (void)room; /* for floats only */
    int64_t plane = s.height * s.width;
    uint8_t table[LEVELS];
    float first = ceilf(255.0f * step[1] - 0.25f); /* of the levels that are inverted */
    if (step[0] == POSTERIZE) {
        int cleared = (int)rintf(step[1]);
        mask_bytes(in, out, s.channels * plane, cleared >= 8 ? 0 : (uint8_t)(255 << cleared));
        return;
    }
    if (step[0] == SOLARIZE && first <= 255.0f) {
        invert_bytes(in, out, s.channels * plane, (uint8_t)(first < 0.0f ? 0.0f : first));
        return;
    }
    if (step[0] == SOLARIZE) {
        memcpy(out, in, (size_t)(s.channels * plane));
        return;
    }
    for (int64_t c = 0; c < s.channels; c++, in += plane, out += plane) {
        table_of_bytes(in, plane, (int)step[0], table);
        for (int64_t k = 0; k < plane; k++) out[k] = table[in[k]];
    }
}

POISE_CLONES static void posterize(const float *restrict in, float *restrict out, int64_t plane, float step) {
    for (int64_t k = 0; k < plane; k++) out[k] = floorf(rintf(in[k] * 255.0f) / step) * step / 255.0f;
}

POISE_CLONES static void solarize(const float *restrict in, float *restrict out, int64_t plane, float threshold) {
    for (int64_t k = 0; k < plane; k++) out[k] = in[k] >= threshold ? 1.0f - in[k] : in[k];
}

POISE_CLONES static void stretch(const float *restrict in, float *restrict out, int64_t plane) {
    float low[16], high[16];
    for (int n = 0; n < 16; n++) low[n] = high[n] = in[0];
    for (int64_t k = 0; k + 16 <= plane; k += 16)
        for (int n = 0; n < 16; n++) {
            low[n] = in[k + n] < low[n] ? in[k + n] : low[n];
            high[n] = in[k + n] > high[n] ? in[k + n] : high[n];
        }
    for (int64_t k = plane - plane % 16; k < plane; k++) {
        low[0] = in[k] < low[0] ? in[k] : low[0];
        high[0] = in[k] > high[0] ? in[k] : high[0];
    }
    for (int n = 1; n < 16; n++) {
        low[0] = low[n] < low[0] ? low[n] : low[0];
        high[0] = high[n] > high[0] ? high[n] : high[0];
    }
    float base = low[0], range = high[0] - low[0];
    for (int64_t k = 0; k < plane; k++) out[k] = range > 0.0f ? (in[k] - base) / range : in[k];
}

/* Never outside the table, also for NaN. */
POISE_CLONES static void levels(const float *restrict in, uint8_t *restrict out, int64_t plane) {
    for (int64_t k = 0; k < plane; k++) {
        float level = (in[k] < 1.0f ? in[k] : 1.0f) * 255.0f;
        out[k] = (uint8_t)rintf(level > 0.0f ? level : 0.0f);
    }
}

static void equalize(const float *in, float *out, int64_t plane, uint8_t *level) {
    int32_t counts[LEVELS] = {0}, table[LEVELS];
    float value[LEVELS];
    levels(in, level, plane);
    count_levels(level, plane, counts);
    if (!flat_table(counts, table)) {
        memcpy(out, in, (size_t)plane * sizeof(float));
        return;
    }
    for (int v = 0; v < LEVELS; v++) value[v] = (float)table[v] / 255.0f;
    for (int64_t k = 0; k < plane; k++) out[k] = value[level[k]];
}

static void levels_of_floats(const float *in, float *out, Shape s, const float *step, void *room) {
    int64_t plane = s.height * s.width;
    int operation = (int)step[0];
    float halved = exp2f(rintf(step[1]));
    for (int64_t c = 0; c < s.channels; c++, in += plane, out += plane) {
        if (operation == POSTERIZE && halved != 1.0f) posterize(in, out, plane, halved);
        if (operation == POSTERIZE && halved == 1.0f) memcpy(out, in, (size_t)plane * sizeof(float));
        if (operation == SOLARIZE) solarize(in, out, plane, step[1] - 0.25f / 255.0f);
        if (operation == AUTOCONTRAST) stretch(in, out, plane);
        if (operation == EQUALIZE) equalize(in, out, plane, (uint8_t *)room);
    }
}
