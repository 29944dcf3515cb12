/* What Cython cannot express well: the float type of a build, vectors of it, and the vector exponential.
 *
 *   real    the build's float type: LSTM97_REAL, float or double
 *   lanes   a vector of LANES reals, as wide as the instruction set the build is compiled for
 *   word    a signed integer as wide as a real;  words: a vector of them
 *
 * The operators + - * / work on lanes; a loop over a row steps by LANES. Rows are padded to ROW_BYTES, which every
 * vector width divides, so that the layout of a network does not depend on the build.
 */
#ifndef LSTM97_LANES_H
#define LSTM97_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef LSTM97_REAL
#define LSTM97_REAL double
#define LSTM97_REAL_IS_DOUBLE 1
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define ROW_BYTES 64

typedef LSTM97_REAL real;
#if LSTM97_REAL_IS_DOUBLE
typedef int64_t word;
#else
typedef int32_t word;
#endif
typedef real lanes __attribute__((vector_size(VECTOR_BYTES)));
typedef word words __attribute__((vector_size(VECTOR_BYTES)));
/* A vector in memory may start at any real (a unit kind's lanes begin where the ones before end). */
typedef real lanes_in_memory __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real))));

#define LANES ((ptrdiff_t)(VECTOR_BYTES / sizeof(real)))
#define MOST_LANES 16                      /* of any build */
#define VECTORS (ROW_BYTES / VECTOR_BYTES) /* how many make the smallest row */
#define ROW_LANES ((ptrdiff_t)(ROW_BYTES / sizeof(real)))
#define WIDE 4                             /* how many are summed side by side where rows are long enough */
#define ROWS (8 / VECTORS)                 /* how many rows of partials are settled side by side */

static inline lanes load(const real *from) { return *(const lanes_in_memory *)from; }
static inline void store(real *to, lanes x) { *(lanes_in_memory *)to = x; }
static inline lanes splat(real x) { return x - (lanes){0}; }
static inline lanes choose(words mask, lanes yes, lanes no)
{
    return (lanes)(((words)yes & mask) | ((words)no & ~mask));
}
/* The first n numbers, fewer than LANES, and zeros. */
static inline lanes load_some(const real *from, ptrdiff_t n)
{
    static const word which[2 * VECTOR_BYTES / sizeof(word)] = {
        [0 ... VECTOR_BYTES / sizeof(word) - 1] = -1 /* then 0 */
    };
    words mask;
    memcpy(&mask, which + LANES - n, sizeof mask);
    return choose(mask, load(from), (lanes){0});
}
/* x within +-limit; NaN stays NaN. The x86 instructions return their second operand if one is NaN. */
#if defined(__SSE2__)
#include <immintrin.h>
#define JOIN(a, b, c) a##b##c
#define INTRINSIC(prefix, name, suffix) JOIN(prefix, name, suffix)
#if VECTOR_BYTES == 64
#define PREFIX _mm512
#elif VECTOR_BYTES == 32
#define PREFIX _mm256
#else
#define PREFIX _mm
#endif
#if LSTM97_REAL_IS_DOUBLE
#define SUFFIX pd
#define MASK_SUFFIX pd_mask
#else
#define SUFFIX ps
#define MASK_SUFFIX ps_mask
#endif
static inline lanes clamped(lanes x, lanes limit)
{
    return INTRINSIC(PREFIX, _max_, SUFFIX)(-limit, INTRINSIC(PREFIX, _min_, SUFFIX)(limit, x));
}
#else
static inline lanes clamped(lanes x, lanes limit)
{
    return choose(x > limit, limit, choose(x < -limit, -limit, x));
}
#endif
/* Lane l of the result: lane index[l] of the `width` (one or two) vectors from on. Where this takes an instruction or
 * two, REGISTERS is the number of vectors that a small network's hidden layer may fill to be kept in registers. */
#if defined(__AVX512F__)
#define REGISTERS 2
static inline lanes picked(const lanes *from, int width, const word *index)
{
    const __m512i which = _mm512_loadu_si512(index);
    if (width == 1) return INTRINSIC(PREFIX, _permutexvar_, SUFFIX)(which, from[0]);
    return INTRINSIC(PREFIX, _permutex2var_, SUFFIX)(from[0], which, from[1]);
}
#elif defined(__AVX2__)
#define REGISTERS 2
static inline lanes picked(const lanes *from, int width, const word *index)
{
    const words which = (words)_mm256_loadu_si256((const __m256i *)index);
#if LSTM97_REAL_IS_DOUBLE /* there is an instruction for 32-bit lanes only: pick both halves */
    const __m256i halves = (__m256i)(which * (((word)2 << 32) + 2) + ((word)1 << 32));
#else
    const __m256i halves = (__m256i)which;
#endif
    const lanes first = (lanes)_mm256_permutevar8x32_ps((__m256)from[0], halves);
    if (width == 1) return first;
    return choose(which < (word)LANES, first, (lanes)_mm256_permutevar8x32_ps((__m256)from[1], halves));
}
#else
#define REGISTERS 0
static inline lanes picked(const lanes *from, int width, const word *index) { return from[0]; }
#endif
/* 1 / (sqrt(x) factor + epsilon), for normal x above 0. In float by the instructions' estimates of 12 bits or more, each
 * improved by a step of Newton's method, which takes half the time of a root and a division. */
static inline lanes one_by_root(lanes x, lanes factor, lanes epsilon)
{
#if defined(__SSE2__) && LSTM97_REAL_IS_DOUBLE
    return splat(1) / (INTRINSIC(PREFIX, _sqrt_, SUFFIX)(x) * factor + epsilon);
#elif defined(__SSE2__)
#if VECTOR_BYTES == 64
#define ESTIMATE(of) _mm512_##of##14_ps
#else
#define ESTIMATE(of) INTRINSIC(PREFIX, _##of##_, SUFFIX)
#endif
    const lanes y = ESTIMATE(rsqrt)(x), root = x * y, rest = (real)1 - root * y;
    const lanes sum = root * (factor + (real)0.5 * factor * rest) + epsilon;
    const lanes z = ESTIMATE(rcp)(sum);
    return z + z * ((real)1 - sum * z);
#else
    for (int i = 0; i < LANES; i++)
        x[i] = 1 / ((sizeof(real) == sizeof(double) ? sqrt(x[i]) : sqrtf(x[i])) * factor[i] + epsilon[i]);
    return x;
#endif
}
/* What a rule of learning multiplies with; see rules.pxi. */
typedef struct { lanes rate, m_kept, m_part, v_kept, root, epsilon; } factors;
static inline lanes magnitude(lanes x) { return choose(x < splat(0), -x, x); }
/* Any finite number plus one of this size is finite: it is less than half a unit in the last place of the largest. */
#if LSTM97_REAL_IS_DOUBLE
#define HARMLESS 0x1p960
#define SMALLEST 0x1p-1022 /* normal number */
#define MODERATE 0x1p400 /* a gradient whose square is finite, and harmless times MOST_RATE */
#define MOST_ROOT 0x1p500 /* a factor for which one_by_root is finite; more would make no rate smaller that matters */
#define OF_MEAN 0x1p424 /* times this, a sum m of gradients is finite as long as it is below 2^600: harmless, too */
#else
#define HARMLESS 0x1p96
#define SMALLEST 0x1p-126f
#define MODERATE 0x1p40
#define MOST_ROOT 0x1p61
#define OF_MEAN 0x1p68f /* below 2^60 */
#endif
#define MOST_RATE 65536.0

/* Whether all lanes are 0, and none is NaN. */
#if defined(__AVX512F__)
static inline int is_zero(lanes x)
{
    return INTRINSIC(PREFIX, _cmp_, MASK_SUFFIX)(x, (lanes){0}, _CMP_NEQ_UQ) == 0;
}
#elif defined(__AVX__)
static inline int is_zero(lanes x)
{
    const lanes differs = INTRINSIC(PREFIX, _cmp_, SUFFIX)(x, (lanes){0}, _CMP_NEQ_UQ);
    return INTRINSIC(PREFIX, _movemask_, SUFFIX)(differs) == 0;
}
#elif defined(__SSE2__)
static inline int is_zero(lanes x)
{
    return INTRINSIC(PREFIX, _movemask_, SUFFIX)(INTRINSIC(PREFIX, _cmpneq_, SUFFIX)(x, (lanes){0})) == 0;
}
#else
static inline int is_zero(lanes x)
{
    for (int i = 0; i < LANES; i++)
        if (x[i] != 0) return 0;
    return 1;
}
#endif
/* Whether any lane is above the limit; NaN is not. */
static inline int any_above(lanes x, lanes limit)
{
#if defined(__AVX512F__)
    return INTRINSIC(PREFIX, _cmp_, MASK_SUFFIX)(x, limit, _CMP_GT_OQ) != 0;
#elif defined(__AVX__)
    return INTRINSIC(PREFIX, _movemask_, SUFFIX)(INTRINSIC(PREFIX, _cmp_, SUFFIX)(x, limit, _CMP_GT_OQ)) != 0;
#elif defined(__SSE2__)
    return INTRINSIC(PREFIX, _movemask_, SUFFIX)(INTRINSIC(PREFIX, _cmpgt_, SUFFIX)(x, limit)) != 0;
#else
    for (int i = 0; i < LANES; i++)
        if (x[i] > limit[i]) return 1;
    return 0;
#endif
}
static inline lanes where_positive(lanes x, lanes yes, lanes no) { return choose(x > splat(0), yes, no); }
static inline lanes larger(lanes a, lanes b) { return choose(a > b, a, b); }
static inline real largest_of(lanes x)
{
    real top = x[0];
    for (int i = 1; i < LANES; i++) top = x[i] > top ? x[i] : top;
    return top;
}
static inline real sum_of(lanes x)
{
#if VECTOR_BYTES == 64
    return INTRINSIC(PREFIX, _reduce_add_, SUFFIX)(x);
#else
    for (int n = LANES / 2; n; n /= 2)
        for (int i = 0; i < n; i++) x[i] += x[i + n];
    return x[0];
#endif
}

/* exp(x) = power (q + p) / (q - p): power = 2^n and r = x - n ln 2 in [-ln 2 / 2, ln 2 / 2], whose exponential is the
 * diagonal Pade approximant with q even and p odd in r, of order 6 for double (its error is 2e-19) and 3 for float
 * (6e-9). Left in parts: a squashing function needs one division either way, and a difference such as 1 - exp(x) must
 * not cancel near 0. x outside +-LIMIT counts as +-LIMIT, so that all stays finite and normal; NaN stays NaN.
 *
 * x = scale a. A small network waits for every operation of the longest chain, which is the one through r. So the
 * constants scale / ln 2 and 1 / |scale| come ready-made, the polynomials are not evaluated by Horner's rule, and LIMIT
 * is a branch that is hardly ever taken. Where a multiply-add rounds once, one is enough for r: it takes LN2, rounded,
 * for ln 2, and 1 - n LN2_REST in power makes up for the difference. That changes no power near 1, where a difference
 * from 1 would feel it. */
typedef struct { lanes q, p, power; } exponential;

#define ONE_BY_LN2 1.4426950408889634

#if LSTM97_REAL_IS_DOUBLE
#define LIMIT 690.0
#define ROUND 6755399441055744.0      /* 1.5 * 2^52: adding it leaves the nearest integer in the low mantissa bits */
#define LN2 0x1.62e42fefa39efp-1
#define LN2_REST 0x1.abc9e3b39803fp-56
#define LN2_HIGH 0x1.62e42feep-1      /* ln 2 in two parts; n * LN2_HIGH is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#else
#define LIMIT 82.0f
#define ROUND 12582912.0f             /* 1.5 * 2^23 */
#define LN2 0x1.62e43p-1f
#define LN2_REST -0x1.05c61p-29f
#define LN2_HIGH 0x1.62e4p-1f
#define LN2_LOW 0x1.7f7d1cp-20f
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#endif

static inline exponential exp_parts(lanes a, lanes scale, lanes scale_by_ln2, lanes one_by_scale)
{
    const lanes shift = splat((real)ROUND);
    if (__builtin_expect(any_above((a * scale) * (a * scale), splat((real)LIMIT * (real)LIMIT)), 0))
        a = clamped(a, one_by_scale * (real)LIMIT);
    const lanes shifted = a * scale_by_ln2 + shift;
    const lanes n = shifted - shift;
    lanes power = (lanes)((((words)shifted - (words)shift) + EXPONENT_BIAS) << MANTISSA_BITS);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const lanes r = n * (real)-LN2 + a * scale;
    power -= power * (n * (real)LN2_REST);
#else
    const lanes r = (n * (real)-LN2_HIGH + a * scale) - n * (real)LN2_LOW;
#endif
    const lanes r2 = r * r;
#if LSTM97_REAL_IS_DOUBLE
    const lanes q = (r2 * r2) * (r2 + (real)840) + (r2 * (real)75600 + (real)665280);
    const lanes p = (r2 * r) * (r2 * (real)42 + (real)10080) + r * (real)332640;
#else
    const lanes q = r2 * (real)12 + (real)120;
    const lanes p = r2 * r + r * (real)60;
#endif
    return (exponential){q, p, power};
}

/* A tile of a product of matrices: c_r += sum_k a_rk b_k for `height` rows of c, `width` vectors of each, held in
 * registers. Neighbouring rows are c_row, a_row, b_term reals apart, neighbouring terms of a a_term. The largest tile is
 * as large as the registers hold beside a row of b and a factor. In C, as only constant bounds that every compiler
 * unrolls keep the sums out of memory. */
#if VECTOR_BYTES == 64
#define TILE_ROWS 8
#else
#define TILE_ROWS 4
#endif
#define TILE_WIDTH 3

static inline __attribute__((always_inline)) void tile(
    real *c, ptrdiff_t c_row, const real *a, ptrdiff_t a_row, ptrdiff_t a_term, const real *b, ptrdiff_t b_term,
    ptrdiff_t n_terms, const int height, const int width)
{
    lanes sums[TILE_ROWS][TILE_WIDTH], b_k[TILE_WIDTH];
#pragma GCC unroll 8
    for (int r = 0; r < height; r++)
#pragma GCC unroll 3
        for (int i = 0; i < width; i++) sums[r][i] = load(c + r * c_row + i * LANES);
    for (; n_terms > 0; n_terms--, a += a_term, b += b_term) {
#pragma GCC unroll 3
        for (int i = 0; i < width; i++) b_k[i] = load(b + i * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < height; r++) {
            const lanes a_rk = splat(a[r * a_row]);
#pragma GCC unroll 3
            for (int i = 0; i < width; i++) sums[r][i] += b_k[i] * a_rk;
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < height; r++)
#pragma GCC unroll 3
        for (int i = 0; i < width; i++) store(c + r * c_row + i * LANES, sums[r][i]);
}

static inline void add_tile(
    real *c, ptrdiff_t c_row, const real *a, ptrdiff_t a_row, ptrdiff_t a_term, const real *b, ptrdiff_t b_term,
    ptrdiff_t n_terms, int height, int width)
{
#define CASE(height, width) \
    case 4 * height + width: tile(c, c_row, a, a_row, a_term, b, b_term, n_terms, height, width); break;
#define CASES(height) CASE(height, 1) CASE(height, 2) CASE(height, 3)
    switch (4 * height + width) {
#if TILE_ROWS == 8
        CASES(8)
#endif
        CASES(4) CASES(2) CASES(1)
    }
#undef CASE
#undef CASES
}

/* Lane i of the result: lane which[i] of a and b in a row. */
static inline lanes shuffled(lanes a, lanes b, words which)
{
#if defined(__clang__) && REGISTERS /* which has the other compilers' builtin only for indices that are literals */
    const lanes both[2] = {a, b};
    return picked(both, 2, (const word *)&which);
#elif defined(__clang__)
    lanes found;
    for (int i = 0; i < LANES; i++) found[i] = which[i] < LANES ? a[which[i]] : b[which[i] - LANES];
    return found;
#else
    return __builtin_shuffle(a, b, which);
#endif
}

/* The sums of each two neighbours among the lanes of x, then of y. */
static inline lanes sums_of_pairs(lanes x, lanes y)
{
    words even;
    for (int i = 0; i < LANES; i++) even[i] = 2 * i;
    return shuffled(x, y, even) + shuffled(x, y, even + 1);
}

/* to_j = the sum of a_v b_v over the cells v of block j, for blocks of the same size: of 2 or 4, LANES blocks at once.
 * Called from many places that are inlined, so it is not. */
static __attribute__((noinline, unused)) void sum_blocks_of_equal_size(
    real *to, const real *a, const real *b, ptrdiff_t n_blocks, ptrdiff_t size)
{
    ptrdiff_t j = 0;
    for (; (size == 2 || size == 4) && j + LANES <= n_blocks; j += LANES) {
        lanes products[4];
        for (ptrdiff_t i = 0; i < size; i++)
            products[i] = load(a + size * j + i * LANES) * load(b + size * j + i * LANES);
        const lanes sums = sums_of_pairs(products[0], products[1]);
        store(to + j, size == 2 ? sums : sums_of_pairs(sums, sums_of_pairs(products[2], products[3])));
    }
    for (; j < n_blocks; j++) {
        real sum = a[size * j] * b[size * j];
        for (ptrdiff_t v = size * j + 1; v < size * (j + 1); v++) sum += a[v] * b[v];
        to[j] = sum;
    }
}

/* LANES vectors as the rows of a matrix: exchange it with its transpose. Halves of ever larger blocks change places. */
static inline __attribute__((always_inline)) void transpose(lanes *rows)
{
#pragma GCC unroll 4
    for (int d = 1; d < LANES; d *= 2) {
        words low, high; /* of two rows a and b: where (i & d), b's lane i - d or i; else a's lane i or i + d */
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            low[i] = i & d ? LANES + i - d : i;
            high[i] = i & d ? LANES + i : i + d;
        }
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++)
            if (!(r & d)) {
                const lanes a = rows[r], b = rows[r + d];
                rows[r] = shuffled(a, b, low);
                rows[r + d] = shuffled(a, b, high);
            }
    }
}

/* A tile of a product of matrices whose terms are vectors, one after the other in rows of `row` reals: c_ru += the sum of
 * the lanes of sum_k a_kr b_ku, for `height` rows but the first `skipped` ones, and `width` columns of c. Neighbouring
 * terms of a and b are a_term and b_term reals apart; `which`, unless it is NULL, has the numbers of the terms of a. */
#define DOT_ROWS 4
#if VECTOR_BYTES == 64
#define DOT_WIDTH 6
#else
#define DOT_WIDTH 2
#endif

static inline __attribute__((always_inline)) void dot_tile(
    real *c, ptrdiff_t c_row, const real *a, ptrdiff_t a_term, const int32_t *which, const real *b, ptrdiff_t b_term,
    ptrdiff_t row, ptrdiff_t n_terms, ptrdiff_t skipped, const int height, const int width)
{
    lanes sums[DOT_ROWS * DOT_WIDTH], kept[DOT_ROWS * DOT_WIDTH], b_k[DOT_WIDTH];
#pragma GCC unroll 24
    for (int i = 0; i < height * width; i++) sums[i] = splat(0);
    for (ptrdiff_t k = 0; k < n_terms; k++) {
        const real *a_k = a + (which ? which[k] : k) * a_term;
        for (ptrdiff_t i = 0; i < row; i += LANES) {
#pragma GCC unroll 6
            for (int u = 0; u < width; u++) b_k[u] = load(b + k * b_term + u * row + i);
#pragma GCC unroll 4
            for (int r = 0; r < height; r++) {
                const lanes a_kr = load(a_k + r * row + i);
#pragma GCC unroll 6
                for (int u = 0; u < width; u++) sums[r * width + u] += a_kr * b_k[u];
            }
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < height * width; i++) kept[i] = sums[i];
#pragma GCC unroll 1
    for (ptrdiff_t i = skipped * width; i < height * width; i++) c[i / width * c_row + i % width] += sum_of(kept[i]);
}

static __attribute__((noinline, unused)) void add_dots(
    real *c, ptrdiff_t c_row, const real *a, ptrdiff_t a_term, const int32_t *which, const real *b, ptrdiff_t b_term,
    ptrdiff_t row, ptrdiff_t n_terms, ptrdiff_t n_rows, ptrdiff_t n_columns)
{
#define CASE(height, width) \
    case 8 * height + width: \
        dot_tile( \
            c + r * c_row + u, c_row, a + r * row, a_term, which, b + u * row, b_term, row, n_terms, skipped, height, \
            width); \
        break;
#define CASES(width) CASE(DOT_ROWS, width) CASE(1, width)
    for (ptrdiff_t u = 0, width; u < n_columns; u += width) {
        width = n_columns - u >= DOT_WIDTH ? DOT_WIDTH : n_columns - u >= 2 ? 2 : 1;
        const ptrdiff_t height = n_rows >= DOT_ROWS ? DOT_ROWS : 1;
        for (ptrdiff_t next = 0; next < n_rows; next += height) { /* the last tile may reach back into the one before */
            const ptrdiff_t r = next + height <= n_rows ? next : n_rows - height, skipped = next - r;
            switch (8 * height + width) {
#if DOT_WIDTH == 6
                CASES(6)
#endif
                CASES(2) CASES(1)
            }
        }
    }
#undef CASE
#undef CASES
}

#endif
