/* What this machine can do at most, for one thread: multiply-adds without waiting for memory, reading without
 * computing. Compiled for the instruction set of the lstm97 build in use, once per float type (REAL).
 */
#include <stddef.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

typedef REAL lanes __attribute__((vector_size(VECTOR_BYTES)));
#define LANES (VECTOR_BYTES / sizeof(REAL))
#define SIDE 3   /* SIDE x SIDE sums side by side: enough to hide the latency, few enough for 16 registers */
#define STREAMS 8

/* Make the compiler believe that x has changed, at no cost: else it would move the products out of the loop. */
#if defined(__x86_64__)
#define REFRESH(x) __asm__ volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define REFRESH(x) __asm__ volatile("" : "+w"(x))
#else
#define REFRESH(x) __asm__ volatile("" : "+m"(x))
#endif

static REAL total(const lanes *sums, int n)
{
    REAL sum = 0;
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < LANES; k++)
            sum += sums[i][k];
    return sum;
}

/* At least n multiply-adds. */
double limits_multiply_add(long n)
{
    lanes a[SIDE], b[SIDE], sums[SIDE * SIDE];
    for (int i = 0; i < SIDE; i++) {
        a[i] = (lanes){0} + (REAL)0.5;
        b[i] = (lanes){0} + (REAL)1e-9;
    }
    for (int i = 0; i < SIDE * SIDE; i++)
        sums[i] = (lanes){0};
    const long per_turn = SIDE * SIDE * LANES;
    for (long done = 0; done < n; done += per_turn) {
        for (int i = 0; i < SIDE; i++)
            REFRESH(a[i]);
        for (int i = 0; i < SIDE; i++)
            for (int j = 0; j < SIDE; j++)
                sums[i * SIDE + j] += a[i] * b[j];
    }
    return total(sums, SIDE * SIDE);
}

/* Reads n_bytes (whole vectors, aligned) from beginning to end, `times` times. */
double limits_read(const void *buffer, long n_bytes, long times)
{
    const lanes *from = buffer;
    const long n = n_bytes / (long)sizeof(lanes);
    lanes sums[STREAMS];
    for (int k = 0; k < STREAMS; k++)
        sums[k] = (lanes){0};
    for (long i = 0; i < times; i++) {
        long m = 0;
        for (; m + STREAMS <= n; m += STREAMS)
            for (int k = 0; k < STREAMS; k++)
                sums[k] += from[m + k];
        for (; m < n; m++)
            sums[0] += from[m];
        __asm__ volatile("" ::: "memory"); /* the next pass is to read again */
    }
    return total(sums, STREAMS);
}
