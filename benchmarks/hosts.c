/* Loops of a compiled host: step after step over the same n rows of inputs and targets, from a reset state. */
#include <stddef.h>

/* Calls functions of lstm97.cython_api. A pass without targets is inference. */
typedef int step_call(void *, const void *, void *);
typedef int learn_call(void *, const void *, const void *, double, void *);
typedef void reset_call(void *);

int go_bound(void *stream, step_call *step, learn_call *learn, reset_call *reset, const char *x, size_t x_bytes,
             const char *target, size_t target_bytes, double rate, void *y, long n, long passes)
{
    int status = 0;
    for (long pass = 0; pass < passes; pass++) {
        reset(stream);
        for (long t = 0; t < n; t++)
            status |= target ? learn(stream, x + t * x_bytes, target + t * target_bytes, rate, y)
                             : step(stream, x + t * x_bytes, y);
    }
    return status;
}

#ifdef EXPORTED
/* Calls the functions of an exported file. */
#include EXPORTED

static hosted_weights weights;
static hosted_state state;

int go_exported(const hosted_real *x, const hosted_real *target, double rate, hosted_real *y, long n, long passes)
{
    int status = 0;
    weights = hosted_initial;
    for (long pass = 0; pass < passes; pass++) {
        hosted_reset(&state);
        for (long t = 0; t < n; t++)
            status |= target ? hosted_learn(&weights, &state, x + t * HOSTED_N_INPUTS, target + t * HOSTED_N_OUTPUTS,
                                            (hosted_real)rate, y)
                             : hosted_step(&weights, &state, x + t * HOSTED_N_INPUTS, y);
    }
    return status;
}
#endif
