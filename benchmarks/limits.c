/* The most that one thread of this machine can do: multiply-adds without waiting for memory, reading without computing,
 * changing memory in place, and squashing functions of which each needs the result of the one before. Compiled for the
 * instruction set of the lstm97 build in use, once per float type, with the package's own vectors and exponential.
 */
#include <stddef.h>

#include "_kernel/lanes.h"

#define SIDE 3    /* SIDE x SIDE sums side by side: enough to hide the latency, few enough for 16 registers */
#define STREAMS 8

/* Make the compiler assume that x has changed, without any instruction: else it moves the products out of the loop. */
#if defined(__x86_64__)
#define REFRESH(x) __asm__ volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define REFRESH(x) __asm__ volatile("" : "+w"(x))
#else
#define REFRESH(x) __asm__ volatile("" : "+m"(x))
#endif

static real total(const lanes *sums, int n)
{
    real sum = 0;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < LANES; k++)
            sum += sums[i][k];
    return sum;
}

/* At least n multiply-adds. */
double limits_multiply_add(long n)
{
    lanes a[SIDE], b[SIDE], sums[SIDE * SIDE];
    for (int i = 0; i < SIDE; i++) {
        a[i] = (lanes){0} + (real)0.5;
        b[i] = (lanes){0} + (real)1e-9;
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
        __asm__ volatile("" ::: "memory"); /* the next pass must read again */
    }
    return total(sums, STREAMS);
}

/* Adds to n_bytes (whole vectors, aligned) from beginning to end, `times` times. */
void limits_change(void *buffer, long n_bytes, long times)
{
    lanes *to = buffer;
    const long n = n_bytes / (long)sizeof(lanes);
    lanes change = {0};
    for (long i = 0; i < times; i++) {
        REFRESH(change);
        for (long m = 0; m < n; m++)
            to[m] += change;
        __asm__ volatile("" ::: "memory");
    }
}

/* n logistic functions, each of the result of the one before. */
double limits_squash(long n)
{
    const lanes one = splat(1);
    const lanes by_ln2 = splat((real)ONE_BY_LN2);
    lanes y = {0};
    for (long i = 0; i < n; i++) {
        const exponential e = exp_parts(y, -one, -by_ln2, one);
        y = (e.q - e.p) / ((one + e.power) * e.q - (one - e.power) * e.p);
    }
    return total(&y, 1);
}
