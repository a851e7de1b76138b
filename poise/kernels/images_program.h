/* One image through its steps, for one type of pixel. Included twice. */

/* The image goes from buffer to buffer and ends in `out`; `other` is another image, `room` see poise_images. */
static void NAME(run)(
    const PIXEL *in, PIXEL *out, PIXEL *other, Shape s, const float *steps, int64_t count, void *room
) {
    size_t size = (size_t)(s.channels * s.height * s.width) * sizeof(PIXEL);
    static const float still[4] = {0.0f}, identity[6] = {1.0f, 0.0f, 0.0f, 0.0f, 1.0f, 0.0f};
    const PIXEL *now = in;
    for (int64_t k = 0; k < count; k++) {
        const float *step = steps + k * STEP;
        PIXEL *free_buffer = now == out ? other : out;
        PIXEL *own = now == in ? out : (now == out ? out : other); /* where an edit in place may write */
        switch ((int)step[0]) {
        case MOVE:
            if (same(step + 1, still, 4)) continue;
            NAME(move)(now, free_buffer, s, step, (int32_t *)room);
            now = free_buffer;
            continue;
        case AFFINE:
            if (same(step + 1, identity, 6)) continue;
            NAME(affine)(now, free_buffer, s, step, (float *)room);
            now = free_buffer;
            continue;
        case SHARPEN:
            if (step[1] == 1.0f) continue;
            NAME(sharpen)(now, free_buffer, s, step[1], (float *)room);
            now = free_buffer;
            continue;
        case BLUR:
            if (step[1] <= 0.0f || step[2] <= 0.0f) continue;
            NAME(blur)(now, free_buffer, s, step, (float *)room);
            now = free_buffer;
            continue;
        case POSTERIZE:
        case SOLARIZE:
        case AUTOCONTRAST:
        case EQUALIZE:
            LEVELS_OF(now, free_buffer, s, step, room);
            now = free_buffer;
            continue;
        case BLANK:
        case GRID:
            if (now == in) memcpy(out, in, size);
            if (step[0] == BLANK)
                NAME(blank)(own, s, step);
            else
                NAME(grid)(own, s, step);
            break;
        case COLOR:
            NAME(color)(now, own, s, step, (float *)room);
            break;
        case GRAY:
            NAME(gray)(now, own, s);
            break;
        default:
            continue;
        }
        now = own;
    }
    if (now != out) memcpy(out, now, size);
}
