/* Matrix products: the right matrix is packed panel by panel, and a tile of the result stays in registers. */
#include <string.h>

#include "product.h"
#include "turn.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#if defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10
#define PAIRS 1 /* the compiler knows AVX-512's products of pairs of bfloat16 */
#endif
#endif

enum { DEPTH = 256, PANEL = 32 }; /* a panel of DEPTH x PANEL floats */

/* Copy right[depth][columns] into panel[depth][wide], with zeros behind the last column. */
POISE_INLINE void pack(int64_t depth, int64_t columns, int64_t wide, matrix right, float *panel) {
    if (right.column == 1) {
        for (int64_t k = 0; k < depth; k++) {
            const float *from = right.data + k * right.row;
            for (int64_t n = 0; n < columns; n++) panel[k * wide + n] = from[n];
            for (int64_t n = columns; n < wide; n++) panel[k * wide + n] = 0;
        }
    } else {
        if (columns < wide) memset(panel, 0, sizeof(float) * (size_t)(depth * wide));
        if (right.row == 1) {
            turn_matrix(columns, depth, right.data, right.column, panel, wide);
            return;
        }
        for (int64_t n = 0; n < columns; n++) {
            const float *from = right.data + n * right.column;
            for (int64_t k = 0; k < depth; k++) panel[k * wide + n] = from[k * right.row];
        }
    }
}

#define VECTOR(name) name##_plain
#define WIDTH 4
#define HEIGHT 4
#define TARGET
typedef float plain __attribute__((vector_size(16), aligned(4)));
#define TYPE plain
#define LOAD(p) (*(const plain *)(p))
#define STORE(p, v) (*(plain *)(p) = (v))
#define EACH(x) ((plain){(x), (x), (x), (x)})
#define FUSED(a, b, c) ((c) + (a) * (b))
#include "product_tile.h"

#ifdef X86
#define VECTOR(name) name##_avx2
#define WIDTH 8
#define HEIGHT 4
#define TARGET __attribute__((target("avx2,fma")))
#define TYPE __m256
#define LOAD(p) _mm256_loadu_ps(p)
#define STORE(p, v) _mm256_storeu_ps((p), (v))
#define EACH(x) _mm256_set1_ps(x)
#define FUSED(a, b, c) _mm256_fmadd_ps((a), (b), (c))
#include "product_tile.h"

#define VECTOR(name) name##_avx512
#define WIDTH 16
#define HEIGHT 8
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,fma")))
#define TYPE __m512
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps((p), (v))
#define EACH(x) _mm512_set1_ps(x)
#define FUSED(a, b, c) _mm512_fmadd_ps((a), (b), (c))
#include "product_tile.h"
#endif

#ifdef PAIRS
#define PAIRED
#define VECTOR(name) name##_bfloat16
#define WIDTH 16
#define HEIGHT 8
#define TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,fma")))
#define TYPE __m512 /* of sums; of operands, 16 pairs */
#define LOAD(p) _mm512_loadu_ps(p)
#define STORE(p, v) _mm512_storeu_ps((p), (v))
#define EACH(x) _mm512_set1_ps(x)
#define FUSED(a, b, c) _mm512_dpbf16_ps((c), (__m512bh)(a), (__m512bh)(b))
#include "product_tile.h"
#include "product_bfloat16.h"
#endif

static int has_bfloat16(void) {
#ifdef PAIRS
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
#else
    return 0;
#endif
}

void product(int64_t rows, int64_t columns, int64_t depth, matrix left, matrix right, float *c, int64_t stride,
             const float *bias, int add, int narrow, float *scratch) {
#ifdef PAIRS
    if (narrow && has_bfloat16() && (left.row == 1 || left.column == 1) && (right.row == 1 || right.column == 1)) {
        product_bfloat16(rows, columns, depth, left, right, c, stride, bias, add, scratch);
        return;
    }
#endif
#ifdef X86
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        product_avx512(rows, columns, depth, left, right, c, stride, bias, add, scratch);
        return;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        product_avx2(rows, columns, depth, left, right, c, stride, bias, add, scratch);
        return;
    }
#endif
    product_plain(rows, columns, depth, left, right, c, stride, bias, add, scratch);
}

/* Write to `found` whether a narrow product rounds to bfloat16 here. */
POISE_EXPORT void poise_has_bfloat16(int64_t *found) { *found = has_bfloat16(); }

/* For tests and timing: a batch of products of contiguous matrices; `turned` bits: 1 left, 2 right is transposed. */
POISE_EXPORT void poise_products(int64_t members, int64_t rows, int64_t columns, int64_t depth, const float *left,
                                 const float *right, float *c, int64_t turned, int64_t narrow) {
    float scratch[PRODUCT_SCRATCH];
    for (int64_t m = 0; m < members; m++) {
        const float *a = left + m * rows * depth, *b = right + m * depth * columns;
        const matrix l = turned & 1 ? (matrix){a, 1, rows} : (matrix){a, depth, 1};
        const matrix r = turned & 2 ? (matrix){b, 1, depth} : (matrix){b, columns, 1};
        product(rows, columns, depth, l, r, c + m * rows * columns, columns, 0, 0, (int)narrow, scratch);
    }
}
