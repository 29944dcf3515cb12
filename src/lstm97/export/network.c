// begin template
/* The template of the files that `lstm97.export_c` writes; c.py makes them. As it stands it is a network of the
 * topology that the next comment names, whose weights are all 0. learning.c, which it includes, has the ways to learn
 * other than the paper's.
 *
 * Conditions on the macros of this section are decided when a network is exported, inside comments too: its file has
 * neither these macros nor their directives. What stands between "begin" and "end" is written anew for each network,
 * and this section is left out. lstm97_ and LSTM97_ become the network's name; for float32, lstm97_real becomes float,
 * and functions of it those of float.
 */
#define LEARNS 1
#define IN_FORECASTER 0
#define SINGLE 0
#define HAS_UNITS 1
#define HAS_HIDDEN 1
#define HAS_CELLS 1
#define HAS_OUTPUT_GATES 1
#define HAS_FORGET_GATES 1
#define HAS_RECURRENT 1
#define HAS_BIAS 1
#define HAS_UNBIASED 1
#define HAS_OUTPUT_SOURCES 1
#define HAS_INPUT_TO_OUTPUT 1
#define HAS_OUTPUT_BIAS 1
#define LOGISTIC_OUTPUTS 1
#define SOFTMAX_OUTPUTS 0
#define IDENTITY_OUTPUTS 0
#define CROSS_ENTROPY 0
#define HUBER 0
#define PARTIAL_TARGETS 0
#define HAS_RULE 0
#define HAS_GRADIENTS 0
#define HAS_MEANS 0
#define HAS_SQUARES 0
#define IS_ADAM 0
#define HAS_BOUND 0
#define HAS_READOUT 0
#define READOUT_FORGETS 0
#define SCALES_INPUTS 0
#define SCALES_TARGETS 0
#define STATISTICS_FORGET 0
// end
// begin head
/* An LSTM of 133 weights:
 *
 *     Topology(n_inputs=2, n_outputs=1, blocks=(2, 1), n_hidden=1, output_gates=True, forget_gates=True,
 *         recurrent=True, gate_sources=True, input_to_output=True, bias='gates_and_output',
 *         input_squash='centered2', output_squash='centered', output='logistic')
// end
 *
#if LEARNS
 *     lstm97_weights w = lstm97_initial;                      // weights that may change
#if HAS_MEANS || HAS_SQUARES || HAS_READOUT || SCALES_INPUTS || SCALES_TARGETS
 *                                                             // and what learning keeps from step to step
#endif
#endif
 *     lstm97_state s = {0};                                   // a stream, where it begins
#if LEARNS
 *     status = lstm97_step(&w, &s, x, y);                     // a step: inputs x, outputs y
 *     status = lstm97_learn(&w, &s, x, target, 0.1, y);       // a step, then the weights change
 *     status = lstm97_learn(&w, &s, x, NULL, 0, y);           // a step whose target is not known yet ...
 *     status = lstm97_correct(&w, &s, target, 0.1);           // ... and now it is
#if PARTIAL_TARGETS
 *     target[0] = NAN;                                        // an output without target
#endif
#if HAS_RULE
 *     status = lstm97_learn_weighted(&w, &s, x, target, 0.1, 2, y); // an error signal that counts twice
#endif
#else
 *     status = lstm97_step(&lstm97_initial, &s, x, y);        // a step: inputs x, outputs y
#endif
 *     lstm97_reset(&s);                                       // another stream begins
#if LEARNS
 *     lstm97_get_parameters(&w, p);                           // the weights as Python has them, and back:
 *     status = lstm97_set_parameters(&w, p);
#endif
 *
 * Inside C++, where this file compiles as well, a state begins with {} instead of {0}.
 * A status of 0 means that all is well; the enum below has the others. Any number of states may share the weights.
 * Nothing is allocated, and all variables are the caller's: different states may step in different
#if LEARNS
 * threads at once. While learn or correct changes the weights, no other thread may use them.
#else
 * threads at once.
#endif
 *
 * To have the declarations only, define LSTM97_DECLARATIONS_ONLY before including this file.
 */

#ifndef LSTM97_DECLARED
#define LSTM97_DECLARED

#ifdef __cplusplus
extern "C" {
#endif

typedef double lstm97_real;

enum {
    LSTM97_OK,
    LSTM97_CELL_STATE_NOT_FINITE, /* the weights have not changed; reset the state */
    LSTM97_OUTPUT_NOT_FINITE,     /* the weights have not changed; reset the state */
    LSTM97_CHANGE_NOT_FINITE,     /* the weights have not changed; reset the state, try a smaller learning rate */
#if PARTIAL_TARGETS
    LSTM97_INPUT_NOT_FINITE,      /* x or a parameter is infinite or NaN, or target infinite; nothing has changed */
#else
#if LEARNS && SOFTMAX_OUTPUTS
    LSTM97_INPUT_NOT_FINITE,      /* x, a parameter or part of target is infinite or NaN; nothing has changed */
#else
    LSTM97_INPUT_NOT_FINITE,      /* x, target or a parameter is infinite or not a number; nothing has changed */
#endif
#endif
    LSTM97_BAD_LEARNING_RATE,     /* it is not positive and finite; nothing has changed */
#if HAS_RULE
    LSTM97_NOT_AWAITING,          /* the last step was no learn without a target; nothing has changed */
    LSTM97_BAD_WEIGHT             /* it is negative, infinite or NaN; nothing has changed */
#else
    LSTM97_NOT_AWAITING           /* the last step was no learn without a target; nothing has changed */
#endif
};

enum {
// begin sizes
    LSTM97_N_INPUTS = 2,
    LSTM97_N_OUTPUTS = 1,
    LSTM97_N_HIDDEN = 1,
    LSTM97_N_CELLS = 3,
    LSTM97_N_BLOCKS = 2,
    LSTM97_N_UNITS = 10,
    LSTM97_N_RECURRENT = 10,
    LSTM97_N_SOURCES = 13,
    LSTM97_N_OUTPUT_SOURCES = 7,
    LSTM97_N_PARTIALS = 9,
    LSTM97_N_PARAMETERS = 133
// end
};

/* Where each kind of units begins in y, and where hidden units and biases are among the sources z and z_k. */
enum {
// begin places
    LSTM97_HIDDEN = 0,
    LSTM97_CELL = 1,
    LSTM97_INPUT_GATE = 4,
    LSTM97_OUTPUT_GATE = 6,
    LSTM97_FORGET_GATE = 8,
    LSTM97_BIAS = 12,
    LSTM97_FIRST_BIASED = 4,
    LSTM97_HIDDEN_SOURCE = 2,
    LSTM97_OUTPUT_BIAS = 6
// end
};

#if HAS_MEANS || HAS_SQUARES
/* A number for each weight. */
typedef struct {
#if HAS_UNITS
    lstm97_real to_units[LSTM97_N_SOURCES][LSTM97_N_UNITS];
#endif
#if HAS_OUTPUT_SOURCES && !HAS_READOUT
    lstm97_real to_outputs[LSTM97_N_OUTPUT_SOURCES][LSTM97_N_OUTPUTS];
#endif
} lstm97_memory;
#endif

#if SCALES_INPUTS || SCALES_TARGETS
#if LEARNS
/* What is known of an input, or of the targets of an output. */
typedef struct {
    double count;     /* of the values so far */
    double mean;
    double squares;   /* the sum of the squared differences from the mean */
    double deviation; /* the root of squares / count */
} lstm97_column;
#else
/* What is known of an input, or of the targets of an output. */
typedef struct {
    double mean;
    double deviation;
} lstm97_column;
#endif
#endif

typedef struct {
#if HAS_UNITS
    lstm97_real to_units[LSTM97_N_SOURCES][LSTM97_N_UNITS]; /* from each source of the hidden layer to each unit */
#endif
#if HAS_OUTPUT_SOURCES
    lstm97_real to_outputs[LSTM97_N_OUTPUT_SOURCES][LSTM97_N_OUTPUTS]; /* from each of their sources to each output */
#endif
#if !HAS_UNITS && !HAS_OUTPUT_SOURCES
    unsigned char nothing; /* C has no struct without members */
#endif
#if HAS_MEANS
    lstm97_memory m; /* sums of the gradients, earlier ones counting less */
#endif
#if HAS_SQUARES
    lstm97_memory v; /* sums of the squares of the gradients, earlier ones counting less */
#endif
#if HAS_READOUT
    lstm97_real root[LSTM97_N_OUTPUT_SOURCES][LSTM97_N_OUTPUT_SOURCES]; /* S, of which P = S S' */
#endif
#if IS_ADAM
    double m_left; /* momentum to the power of the updates so far */
#endif
#if HAS_SQUARES
    double v_left; /* decay to the power of the updates so far */
#endif
#if SCALES_INPUTS
    lstm97_column inputs[LSTM97_N_INPUTS];
#endif
#if SCALES_TARGETS
    lstm97_column targets[LSTM97_N_OUTPUTS];
#endif
} lstm97_weights;

typedef struct {
#if HAS_UNITS
    lstm97_real z[LSTM97_N_SOURCES]; /* sources of the hidden layer: inputs, units one step before, 1 */
    lstm97_real y[LSTM97_N_UNITS]; /* activations: hidden units, cells, input, output, forget gates */
#endif
#if HAS_CELLS
    lstm97_real s_c[LSTM97_N_CELLS]; /* cell states */
#endif
#if HAS_OUTPUT_SOURCES
    lstm97_real z_k[LSTM97_N_OUTPUT_SOURCES]; /* sources of the outputs: inputs, hidden units, cells, 1 */
#endif
    lstm97_real y_k[LSTM97_N_OUTPUTS]; /* outputs */
#if SCALES_TARGETS
    lstm97_real in_units[LSTM97_N_OUTPUTS]; /* outputs, in the units of the targets */
#endif
#if LEARNS
#if HAS_FORGET_GATES
    lstm97_real s_before[LSTM97_N_CELLS]; /* cell states one step before */
#endif
#if HAS_CELLS
    lstm97_real g[LSTM97_N_CELLS]; /* squashed net inputs of the cells */
    lstm97_real h[LSTM97_N_CELLS]; /* squashed cell states */
    lstm97_real ds_dw[LSTM97_N_SOURCES][LSTM97_N_PARTIALS]; /* of s_c by weights to cells, input, forget gates */
    lstm97_real partials_bound; /* no number in ds_dw is larger than this */
#endif
#if HAS_RULE
    lstm97_real e_k[LSTM97_N_OUTPUTS]; /* error signals of the outputs */
#else
    lstm97_real e_k[LSTM97_N_OUTPUTS]; /* error signals of the outputs, times the learning rate */
#endif
#if HAS_HIDDEN
    lstm97_real e_i[LSTM97_N_HIDDEN]; /* the same of the hidden units */
#endif
#if HAS_OUTPUT_GATES
    lstm97_real e_out[LSTM97_N_BLOCKS]; /* the same of the output gates */
#endif
#if HAS_CELLS
    lstm97_real e_s[LSTM97_N_CELLS]; /* the same of the cell states */
    int has_partials; /* whether a number in ds_dw may be other than 0 */
#endif
    int is_awaiting; /* whether the last step waits for its target */
#endif
} lstm97_state;

#if !IN_FORECASTER
extern const lstm97_weights lstm97_initial;

#endif
void lstm97_reset(lstm97_state *state);

#if !IN_FORECASTER
/* y may be x. It is written if the outputs are finite. */
int lstm97_step(const lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                lstm97_real y[LSTM97_N_OUTPUTS]);

#endif
#if LEARNS
/* target may be NULL: then this step has no error signal, or correct gives it one before the next step. */
#if PARTIAL_TARGETS
/* Where target is NaN, that output has none; where all of it is NaN, it counts as NULL. */
#endif
#if SOFTMAX_OUTPUTS
/* Where all of target is NaN, it counts as NULL. */
#endif
int lstm97_learn(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                 const lstm97_real *target, lstm97_real learning_rate, lstm97_real y[LSTM97_N_OUTPUTS]);

int lstm97_correct(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                   lstm97_real learning_rate);
#if HAS_RULE

/* The same with an error signal that counts as often as its weight says; at 0 there is none. */
int lstm97_learn_weighted(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                          const lstm97_real *target, lstm97_real learning_rate, lstm97_real weight,
                          lstm97_real y[LSTM97_N_OUTPUTS]);

int lstm97_correct_weighted(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                            lstm97_real learning_rate, lstm97_real weight);
#endif
#endif

#if HAS_OUTPUT_SOURCES && !IN_FORECASTER
/* The weights in the order of Network.parameters in Python: a network that has learned here can go on there, and the
 * other way round. numpy.fromfile reads what fwrite has written, and fread what ndarray.tofile has written. */
void lstm97_get_parameters(const lstm97_weights *weights, lstm97_real p[LSTM97_N_PARAMETERS]);

int lstm97_set_parameters(lstm97_weights *weights, const lstm97_real p[LSTM97_N_PARAMETERS]);
#endif

#ifdef __cplusplus
}
#endif

#endif

#ifndef LSTM97_DECLARATIONS_ONLY

/* Numbers in brackets are the equations of S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", 1997.
 * Indices: k outputs, i hidden units, j blocks, c cells, m sources, u units of the hidden layer. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define LSTM97_RESTRICT __restrict
#else
#define LSTM97_RESTRICT restrict
#endif

#if !IN_FORECASTER
const lstm97_weights lstm97_initial = {
// begin weights
    {{0}},
    {{0}},
// end
};

#endif
/* An integer of the size of lstm97_real. Where the sizes differ, the array has -1 elements: export in float32 then. */
#if SINGLE
typedef uint32_t lstm97_bits;
#else
typedef uint64_t lstm97_bits;
#endif
typedef char lstm97_bits_fit[sizeof(lstm97_bits) == sizeof(lstm97_real) ? 1 : -1];
static const lstm97_bits lstm97_bits_of_infinity = UINT64_C(0x7FF0000000000000);

/* Whether all numbers are finite. They are compared as integers: with -Ofast or -ffast-math a compiler takes it for
 * granted that floats are finite; volatile hides from it where the integer comes from. */
static int lstm97_all_finite(const lstm97_real *a, int n)
{
    lstm97_bits largest = 0;
    for (int i = 0; i < n; i++) {
        lstm97_bits bits;
        memcpy(&bits, a + i, sizeof bits);
        bits <<= 1; /* drops the sign */
        largest = bits > largest ? bits : largest;
    }
    volatile lstm97_bits seen = largest;
    return seen < lstm97_bits_of_infinity << 1;
}

#if PARTIAL_TARGETS || LEARNS && SOFTMAX_OUTPUTS
/* Whether a number is NaN. */
static int lstm97_is_missing(const lstm97_real *a)
{
    lstm97_bits bits;
    memcpy(&bits, a, sizeof bits);
    volatile lstm97_bits seen = bits << 1;
    return seen > lstm97_bits_of_infinity << 1;
}
#endif

static void lstm97_fill(lstm97_real *to, lstm97_real value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = value;
}

static void lstm97_copy(lstm97_real *to, const lstm97_real *from, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = from[i];
}

#if HAS_OUTPUT_SOURCES
static void lstm97_add_scaled(lstm97_real *LSTM97_RESTRICT to, const lstm97_real *LSTM97_RESTRICT from,
                              lstm97_real factor, int n)
{
    for (int i = 0; i < n; i++)
        to[i] += factor * from[i];
}

/* Adds rows of n numbers, each times its factor; four at once, so that the sums are read and written less often. */
static void lstm97_add_rows(lstm97_real *LSTM97_RESTRICT to, const lstm97_real *LSTM97_RESTRICT rows,
                            const lstm97_real *LSTM97_RESTRICT factors, int n_rows, int n)
{
    for (; n_rows >= 4; n_rows -= 4, factors += 4, rows += 4 * n)
        for (int i = 0; i < n; i++)
            to[i] += factors[0] * rows[i] + factors[1] * rows[n + i] +
                     (factors[2] * rows[2 * n + i] + factors[3] * rows[3 * n + i]);
    for (; n_rows > 0; n_rows--, factors++, rows += n)
        lstm97_add_scaled(to, rows, *factors, n);
}
#endif

// begin settings
// end

#if SCALES_INPUTS || LEARNS && SCALES_TARGETS
/* x in deviations from the mean of its column; 0 where the column has always been the same. */
static lstm97_real lstm97_scaled(const lstm97_column *column, lstm97_real x)
{
    return column->deviation > 0 ? (lstm97_real)((x - column->mean) / column->deviation) : 0;
}
#endif

#if LEARNS && SCALES_INPUTS || LEARNS && SCALES_TARGETS
/* Take x into the statistics of its column (B. P. Welford, 1962), unless it is so large that its square overflows. */
static void lstm97_take_in(lstm97_column *column, double x)
{
#if STATISTICS_FORGET
    double kept = lstm97_statistics_decay;
#else
    double kept = 1;
#endif
    double delta = x - column->mean;
    if (delta > 1e150 || delta < -1e150)
        return;
    column->count = kept * column->count + 1;
    column->mean += delta / column->count;
    column->squares = kept * column->squares + delta * (x - column->mean);
    column->deviation = sqrt(column->squares / column->count);
}
#endif

#if HAS_UNITS || LOGISTIC_OUTPUTS || SOFTMAX_OUTPUTS || HAS_GRADIENTS
enum { LSTM97_AT_ONCE = 32 }; /* the most numbers in the loops that compilers are to turn into vector instructions */
#endif

#if HAS_UNITS || LOGISTIC_OUTPUTS || SOFTMAX_OUTPUTS
/* The exponentials of up to 32 numbers: 2^k exp(r), where r is at most log(2) / 2 in size, by the power series of exp.
 * Numbers are kept from overflowing, as with -Ofast infinity may become NaN. The loops are short and have no branches,
 * as compilers turn neither branches nor calls of the C library's exp into vector instructions. */
static void lstm97_exp_some(lstm97_real *a, int n)
{
#if SINGLE
    const lstm97_real most = 80.0f, per_ln2 = 1.44269504f, ln2 = 0.693145752f, ln2_rest = 1.42860677e-6f;
#else
    const lstm97_real most = 700.0, per_ln2 = 1.4426950408889634, ln2 = 0.69314718036912382,
                      ln2_rest = 1.9082149292705877e-10;
#endif
    const int below = 1100; /* any k, so that all places are positive and their integer parts round down */
    lstm97_real places[LSTM97_AT_ONCE];
    for (int i = 0; i < n; i++)
        a[i] = a[i] < -most ? -most : a[i];
    for (int i = 0; i < n; i++)
        a[i] = a[i] > most ? most : a[i];
    for (int i = 0; i < n; i++)
        places[i] = a[i] * per_ln2 + ((lstm97_real)0.5 + below);
    for (int i = 0; i < n; i++)
        places[i] = places[i] > 0 ? places[i] : 0; /* NaN has no integer part */
    for (int i = 0; i < n; i++) {
        int32_t k = (int32_t)places[i] - below;
        lstm97_real r = a[i] - (lstm97_real)k * ln2 - (lstm97_real)k * ln2_rest, power;
#if SINGLE
        lstm97_real sum = 1.98412698e-4f;
        sum = sum * r + 1.38888889e-3f;
        sum = sum * r + 8.33333333e-3f;
        sum = sum * r + 4.16666667e-2f;
        sum = sum * r + 1.66666667e-1f;
        lstm97_bits bits = (lstm97_bits)(k + 127) << 23;
#else
        lstm97_real sum = 1 / 6227020800.0;
        sum = sum * r + 1 / 479001600.0;
        sum = sum * r + 1 / 39916800.0;
        sum = sum * r + 1 / 3628800.0;
        sum = sum * r + 1 / 362880.0;
        sum = sum * r + 1 / 40320.0;
        sum = sum * r + 1 / 5040.0;
        sum = sum * r + 1 / 720.0;
        sum = sum * r + 1 / 120.0;
        sum = sum * r + 1 / 24.0;
        sum = sum * r + 1 / 6.0;
        lstm97_bits bits = (lstm97_bits)(k + 1023) << 52;
#endif
        sum = sum * r + (lstm97_real)0.5;
        sum = sum * r + 1;
        sum = sum * r + 1;
        memcpy(&power, &bits, sizeof power);
        a[i] = sum * power;
    }
}
#endif

#if HAS_UNITS || LOGISTIC_OUTPUTS
/* Squashes n numbers: height / (1 + exp(-steepness a)) + bottom, (3) to (5). */
static void lstm97_squash(lstm97_real *a, lstm97_real steepness, lstm97_real height, lstm97_real bottom, int n)
{
    for (int i = 0; i < n; i++)
        a[i] *= -steepness;
    for (int i = 0; i < n; i += LSTM97_AT_ONCE)
        lstm97_exp_some(a + i, n - i < LSTM97_AT_ONCE ? n - i : LSTM97_AT_ONCE);
    for (int i = 0; i < n; i++)
        a[i] = height / (1 + a[i]) + bottom;
}
#endif

#if HAS_CELLS

#if LEARNS
/* g squashes the cells' net inputs; g_slope is its slope, where its value is y. */
#else
/* g squashes the cells' net inputs. */
#endif
static void lstm97_g(lstm97_real *a)
{
// begin g
    lstm97_squash(a, 1, 4, -2, LSTM97_N_CELLS);
// end
}

#if LEARNS
static lstm97_real lstm97_g_slope(lstm97_real y)
{
// begin g_slope
    return 1 - y * y / 4;
// end
}

/* h squashes the cells' states; h_slope is its slope, where its value is y. */
#else
/* h squashes the cells' states. */
#endif
static void lstm97_h(lstm97_real *a)
{
// begin h
    lstm97_squash(a, 1, 2, -1, LSTM97_N_CELLS);
// end
}

#if LEARNS
static lstm97_real lstm97_h_slope(lstm97_real y)
{
// begin h_slope
    return (1 - y * y) / 2;
// end
}
#endif

/* The block of a cell c. The cells of a block share their gates. */
static int lstm97_block_of(int c)
{
// begin block_of
    static const int blocks[LSTM97_N_CELLS] =
        {0, 0, 1};
    return blocks[c];
// end
}

#endif

#if HAS_UNITS
/* The net inputs (7)-(9) of all units; then the activations of hidden units and gates. */
static void lstm97_squash_units(const lstm97_weights *w, lstm97_state *s, const lstm97_real *x)
{
    lstm97_copy(s->z, x, LSTM97_N_INPUTS);
#if HAS_RECURRENT
    lstm97_copy(s->z + LSTM97_N_INPUTS, s->y, LSTM97_N_RECURRENT);
#endif
#if HAS_BIAS
    s->z[LSTM97_BIAS] = 1;
#endif
    lstm97_fill(s->y, 0, LSTM97_N_UNITS);
    lstm97_add_rows(s->y, w->to_units[0], s->z, LSTM97_N_SOURCES, LSTM97_N_UNITS);
#if HAS_HIDDEN
    lstm97_squash(s->y, 1, 1, 0, LSTM97_N_HIDDEN);
#endif
#if HAS_CELLS
    lstm97_squash(s->y + LSTM97_INPUT_GATE, 1, 1, 0, (int)LSTM97_N_UNITS - (int)LSTM97_INPUT_GATE);
#endif
}
#endif

#if HAS_CELLS
/* The states and the activations of the cells. Returns whether the states are finite. */
static int lstm97_update_cells(lstm97_state *s)
{
    lstm97_real g[LSTM97_N_CELLS], h[LSTM97_N_CELLS];
    lstm97_copy(g, s->y + LSTM97_CELL, LSTM97_N_CELLS);
    lstm97_g(g);
#if LEARNS && HAS_FORGET_GATES
    lstm97_copy(s->s_before, s->s_c, LSTM97_N_CELLS);
#endif
    for (int c = 0; c < LSTM97_N_CELLS; c++) {
        int j = lstm97_block_of(c);
#if HAS_FORGET_GATES
        s->s_c[c] = s->y[LSTM97_FORGET_GATE + j] * s->s_c[c] + s->y[LSTM97_INPUT_GATE + j] * g[c];
#else
        s->s_c[c] += s->y[LSTM97_INPUT_GATE + j] * g[c];
#endif
    }
    lstm97_copy(h, s->s_c, LSTM97_N_CELLS);
    lstm97_h(h);
    for (int c = 0; c < LSTM97_N_CELLS; c++)
#if HAS_OUTPUT_GATES
        s->y[LSTM97_CELL + c] = s->y[LSTM97_OUTPUT_GATE + lstm97_block_of(c)] * h[c];
#else
        s->y[LSTM97_CELL + c] = h[c];
#endif
#if LEARNS
    lstm97_copy(s->g, g, LSTM97_N_CELLS);
    lstm97_copy(s->h, h, LSTM97_N_CELLS);
#endif
    return lstm97_all_finite(s->s_c, LSTM97_N_CELLS);
}
#endif

#if LOGISTIC_OUTPUTS
static void lstm97_squash_outputs(lstm97_real y[LSTM97_N_OUTPUTS])
{
    lstm97_squash(y, 1, 1, 0, LSTM97_N_OUTPUTS);
}
#endif

#if SOFTMAX_OUTPUTS
static void lstm97_squash_outputs(lstm97_real y[LSTM97_N_OUTPUTS])
{
    lstm97_real most = y[0], sum = 0;
    for (int k = 1; k < LSTM97_N_OUTPUTS; k++)
        most = y[k] > most ? y[k] : most;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        y[k] -= most;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k += LSTM97_AT_ONCE)
        lstm97_exp_some(y + k, LSTM97_N_OUTPUTS - k < LSTM97_AT_ONCE ? LSTM97_N_OUTPUTS - k : LSTM97_AT_ONCE);
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        sum += y[k];
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        y[k] /= sum;
}
#endif

/* The outputs, which see the hidden layer of the same step. Returns whether they are finite. */
static int lstm97_compute_outputs(const lstm97_weights *w, lstm97_state *s)
{
#if !HAS_OUTPUT_SOURCES
    (void)w;
#endif
#if HAS_UNITS
    lstm97_copy(s->z_k + LSTM97_HIDDEN_SOURCE, s->y, LSTM97_N_HIDDEN + LSTM97_N_CELLS);
#endif
#if HAS_OUTPUT_BIAS
    s->z_k[LSTM97_OUTPUT_BIAS] = 1;
#endif
    lstm97_fill(s->y_k, 0, LSTM97_N_OUTPUTS);
#if HAS_OUTPUT_SOURCES
    lstm97_add_rows(s->y_k, w->to_outputs[0], s->z_k, LSTM97_N_OUTPUT_SOURCES, LSTM97_N_OUTPUTS);
#endif
#if !IDENTITY_OUTPUTS
    lstm97_squash_outputs(s->y_k);
#endif
#if SCALES_TARGETS
    if (!lstm97_all_finite(s->y_k, LSTM97_N_OUTPUTS))
        return 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        s->in_units[k] = (lstm97_real)(s->y_k[k] * w->targets[k].deviation + w->targets[k].mean);
    return lstm97_all_finite(s->in_units, LSTM97_N_OUTPUTS);
#else
    return lstm97_all_finite(s->y_k, LSTM97_N_OUTPUTS);
#endif
}

static int lstm97_advance(const lstm97_weights *w, lstm97_state *s, const lstm97_real *x)
{
#if !HAS_UNITS && !HAS_INPUT_TO_OUTPUT
    (void)x;
#endif
#if SCALES_INPUTS
    lstm97_real scaled[LSTM97_N_INPUTS];
    for (int m = 0; m < LSTM97_N_INPUTS; m++)
        scaled[m] = lstm97_scaled(&w->inputs[m], x[m]);
    x = scaled;
#endif
#if HAS_INPUT_TO_OUTPUT
    lstm97_copy(s->z_k, x, LSTM97_N_INPUTS);
#endif
#if HAS_UNITS
    lstm97_squash_units(w, s, x);
#endif
#if HAS_CELLS
    if (!lstm97_update_cells(s))
        return LSTM97_CELL_STATE_NOT_FINITE;
#endif
    return lstm97_compute_outputs(w, s) ? LSTM97_OK : LSTM97_OUTPUT_NOT_FINITE;
}

#if LEARNS && !HAS_RULE || LEARNS && HAS_GRADIENTS && !HAS_BOUND || LEARNS && HAS_CELLS
static lstm97_real lstm97_magnitude(const lstm97_real *a, int n)
{
    lstm97_real sum = 0;
    for (int i = 0; i < n; i++)
        sum += fabs(a[i]);
    return sum;
}
#endif

#if LEARNS && HAS_CELLS

#if HAS_FORGET_GATES
/* ds/dw = y_f ds/dw + coefficient z, where y_f is the forget gate. */
#else
/* ds/dw = ds/dw + coefficient z. */
#endif
static void lstm97_update_partials(lstm97_state *s)
{
    lstm97_real coefficient[LSTM97_N_PARTIALS];
#if HAS_FORGET_GATES
    lstm97_real decay[LSTM97_N_PARTIALS];
#endif
    for (int c = 0; c < LSTM97_N_CELLS; c++) {
        int j = lstm97_block_of(c);
        lstm97_real y_in = s->y[LSTM97_INPUT_GATE + j];
#if HAS_FORGET_GATES
        lstm97_real y_f = s->y[LSTM97_FORGET_GATE + j];
#endif
        coefficient[c] = y_in * lstm97_g_slope(s->g[c]); /* (27) */
        coefficient[LSTM97_N_CELLS + c] = s->g[c] * y_in * (1 - y_in); /* (25) */
#if HAS_FORGET_GATES
        coefficient[2 * LSTM97_N_CELLS + c] = s->s_before[c] * y_f * (1 - y_f);
        decay[c] = decay[LSTM97_N_CELLS + c] = decay[2 * LSTM97_N_CELLS + c] = y_f;
#endif
    }
#if HAS_FORGET_GATES
    for (int m = 0; m < LSTM97_N_SOURCES; m++) {
        lstm97_real z = s->z[m], *LSTM97_RESTRICT ds_dw = s->ds_dw[m];
        for (int i = 0; i < LSTM97_N_PARTIALS; i++)
            ds_dw[i] = decay[i] * ds_dw[i] + z * coefficient[i];
    }
#else
    for (int m = 0; m < LSTM97_N_SOURCES; m++)
        lstm97_add_scaled(s->ds_dw[m], coefficient, s->z[m], LSTM97_N_PARTIALS);
#endif
    s->has_partials = 1;
    s->partials_bound += 2 * lstm97_magnitude(coefficient, LSTM97_N_PARTIALS) * /* twice, to cover rounding */
                         lstm97_magnitude(s->z, LSTM97_N_SOURCES);
}

static void lstm97_drop_partials(lstm97_state *s)
{
    for (int m = 0; m < LSTM97_N_SOURCES; m++)
        lstm97_fill(s->ds_dw[m], 0, LSTM97_N_PARTIALS);
    s->partials_bound = 0;
    s->has_partials = 0;
}

#endif

#if LEARNS && HAS_UNITS
/* The error that reaches a source of the outputs through the weights from it. */
static lstm97_real lstm97_error_at(const lstm97_state *s, const lstm97_real *weights)
{
    lstm97_real sum = 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        sum += weights[k] * s->e_k[k];
    return sum;
}
#endif

#if LEARNS

#if PARTIAL_TARGETS
/* The error signal of an output y. */
static lstm97_real lstm97_error_of(lstm97_real target, lstm97_real y)
{
    lstm97_real error = target - y;
#if LOGISTIC_OUTPUTS && !CROSS_ENTROPY
    return error * y * (1 - y);
#else
#if HUBER
    return error > 1 ? 1 : error < -1 ? -1 : error;
#else
    return error;
#endif
#endif
}
#endif

#if HAS_RULE
/* The error signals. */
#else
/* The error signals, times the learning rate. */
#endif
static void lstm97_set_errors(const lstm97_weights *w, lstm97_state *s, const lstm97_real *target, lstm97_real rate)
{
#if !HAS_UNITS
    (void)w;
#endif
#if PARTIAL_TARGETS
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) { /* (19) */
        s->e_k[k] = 0;
        if (!lstm97_is_missing(target + k))
            s->e_k[k] = rate * lstm97_error_of(target[k], s->y_k[k]);
    }
#else
#if LOGISTIC_OUTPUTS
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) { /* (19) */
        lstm97_real y = s->y_k[k];
        s->e_k[k] = rate * (target[k] - y) * y * (1 - y);
    }
#else
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) /* (19) */
        s->e_k[k] = rate * (target[k] - s->y_k[k]);
#endif
#endif
#if HAS_UNITS
    const lstm97_real (*to_outputs)[LSTM97_N_OUTPUTS] = w->to_outputs + LSTM97_HIDDEN_SOURCE;
#endif
#if HAS_HIDDEN
    for (int i = 0; i < LSTM97_N_HIDDEN; i++) /* (20) */
        s->e_i[i] = s->y[i] * (1 - s->y[i]) * lstm97_error_at(s, to_outputs[i]);
#endif
#if HAS_OUTPUT_GATES
    lstm97_fill(s->e_out, 0, LSTM97_N_BLOCKS);
#endif
#if HAS_CELLS
    for (int c = 0; c < LSTM97_N_CELLS; c++) {
        lstm97_real error = lstm97_error_at(s, to_outputs[LSTM97_CELL + c]);
#if HAS_OUTPUT_GATES
        lstm97_real y_out = s->y[LSTM97_OUTPUT_GATE + lstm97_block_of(c)];
        s->e_out[lstm97_block_of(c)] += y_out * (1 - y_out) * s->h[c] * error; /* (21) */
        s->e_s[c] = y_out * lstm97_h_slope(s->h[c]) * error; /* (23) */
#else
        s->e_s[c] = lstm97_h_slope(s->h[c]) * error; /* (23) */
#endif
    }
#endif
}

#endif

#if LEARNS && HAS_UNITS

#if HAS_CELLS
/* The changes of the weights to the gates of all blocks: each the sum of what its block's cells contribute, (26). */
static void lstm97_add_to_gates(lstm97_real *LSTM97_RESTRICT dw, const lstm97_real *e_s,
                                const lstm97_real *ds_dw)
{
    lstm97_fill(dw, 0, LSTM97_N_BLOCKS);
    for (int c = 0; c < LSTM97_N_CELLS; c++)
        dw[lstm97_block_of(c)] += e_s[c] * ds_dw[c];
}
#endif

#if HAS_RULE
/* The gradients of the weights from a source m to the hidden layer. */
#else
/* The changes of the weights from a source m to the hidden layer. */
#endif
static void lstm97_changes_from(int m, const lstm97_state *s, lstm97_real *LSTM97_RESTRICT dw)
{
#if HAS_HIDDEN || HAS_OUTPUT_GATES
    const lstm97_real z = s->z[m];
#endif
#if HAS_CELLS
    const lstm97_real *ds_dw = s->ds_dw[m];
#endif
#if HAS_HIDDEN
    for (int i = 0; i < LSTM97_N_HIDDEN; i++) /* (22) */
        dw[i] = s->e_i[i] * z;
#endif
#if HAS_CELLS
    for (int c = 0; c < LSTM97_N_CELLS; c++) /* (28) */
        dw[LSTM97_CELL + c] = s->e_s[c] * ds_dw[c];
    lstm97_add_to_gates(dw + LSTM97_INPUT_GATE, s->e_s, ds_dw + LSTM97_N_CELLS);
#endif
#if HAS_FORGET_GATES
    lstm97_add_to_gates(dw + LSTM97_FORGET_GATE, s->e_s, ds_dw + 2 * LSTM97_N_CELLS);
#endif
#if HAS_OUTPUT_GATES
    for (int j = 0; j < LSTM97_N_BLOCKS; j++) /* (22) */
        dw[LSTM97_OUTPUT_GATE + j] = s->e_out[j] * z;
#endif
#if HAS_UNBIASED
    if (m == LSTM97_BIAS)
        lstm97_fill(dw, 0, LSTM97_FIRST_BIASED);
#endif
}

#endif

#if LEARNS

#if !HAS_RULE || HAS_GRADIENTS && !HAS_BOUND

#if HAS_RULE
/* Whether a bound on all gradients rules out that their squares or a finite weight overflow. */
#else
/* Whether a bound on all changes rules out that a finite weight overflows. If not, call would_be_finite. */
#endif
static int lstm97_is_harmless(const lstm97_state *s)
{
    lstm97_real errors = lstm97_magnitude(s->e_k, LSTM97_N_OUTPUTS);
    lstm97_real factors = 1;
#if HAS_HIDDEN
    errors += lstm97_magnitude(s->e_i, LSTM97_N_HIDDEN);
#endif
#if HAS_OUTPUT_GATES
    errors += lstm97_magnitude(s->e_out, LSTM97_N_BLOCKS);
#endif
#if HAS_CELLS
    errors += lstm97_magnitude(s->e_s, LSTM97_N_CELLS);
#endif
#if HAS_UNITS
    factors += lstm97_magnitude(s->z, LSTM97_N_SOURCES);
#endif
#if HAS_OUTPUT_SOURCES
    factors += lstm97_magnitude(s->z_k, LSTM97_N_OUTPUT_SOURCES);
#endif
#if HAS_CELLS
    factors += s->partials_bound;
#endif
    lstm97_real bounds[2];
    bounds[0] = factors;
    bounds[1] = errors * factors;
#if HAS_RULE
    return lstm97_all_finite(bounds, 2) && bounds[0] < 1e120 && bounds[1] < 1e120;
#else
    return lstm97_all_finite(bounds, 2) && bounds[0] < 1e290 && bounds[1] < 1e290;
#endif
}

#endif

#if HAS_RULE

#include "learning.c"

#else

/* Whether all weights would be finite after the change. */
static int lstm97_would_be_finite(const lstm97_weights *w, const lstm97_state *s)
{
    int finite = 1;
#if !HAS_UNITS && !HAS_OUTPUT_SOURCES
    (void)w;
    (void)s;
#endif
#if HAS_UNITS
    for (int m = 0; m < LSTM97_N_SOURCES; m++) {
        lstm97_real dw[LSTM97_N_UNITS];
        lstm97_changes_from(m, s, dw);
        lstm97_add_scaled(dw, w->to_units[m], 1, LSTM97_N_UNITS);
        finite &= lstm97_all_finite(dw, LSTM97_N_UNITS);
    }
#endif
#if HAS_OUTPUT_SOURCES
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) {
        lstm97_real after[LSTM97_N_OUTPUTS];
        lstm97_copy(after, w->to_outputs[m], LSTM97_N_OUTPUTS);
        lstm97_add_scaled(after, s->e_k, s->z_k[m], LSTM97_N_OUTPUTS);
        finite &= lstm97_all_finite(after, LSTM97_N_OUTPUTS);
    }
#endif
    return finite;
}

#endif

/* Changes all weights or, if one would not be finite then, none. */
#if HAS_RULE
static int lstm97_change_weights(lstm97_weights *w, lstm97_state *s, const lstm97_real *target, lstm97_real rate,
                                 lstm97_real weight)
#else
static int lstm97_change_weights(lstm97_weights *w, lstm97_state *s, const lstm97_real *target, lstm97_real rate)
#endif
{
#if PARTIAL_TARGETS || LEARNS && SOFTMAX_OUTPUTS
    int n_given = 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        n_given += !lstm97_is_missing(target + k);
    if (n_given == 0)
        return LSTM97_OK;
#endif
    s->is_awaiting = 0;
#if SCALES_TARGETS
    lstm97_real scaled[LSTM97_N_OUTPUTS];
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++) {
        scaled[k] = target[k];
        if (!lstm97_is_missing(target + k)) {
            lstm97_take_in(&w->targets[k], target[k]);
            scaled[k] = lstm97_scaled(&w->targets[k], target[k]);
        }
    }
    target = scaled;
#endif
#if HAS_RULE
    lstm97_set_errors(w, s, target, weight);
    return lstm97_change_by_rule(w, s, rate, weight);
#else
    lstm97_set_errors(w, s, target, rate);
    if (!lstm97_is_harmless(s) && !lstm97_would_be_finite(w, s))
        return LSTM97_CHANGE_NOT_FINITE;
#if HAS_UNITS
    for (int m = 0; m < LSTM97_N_SOURCES; m++) {
        lstm97_real dw[LSTM97_N_UNITS];
        lstm97_changes_from(m, s, dw);
        lstm97_add_scaled(w->to_units[m], dw, 1, LSTM97_N_UNITS);
    }
#endif
#if HAS_OUTPUT_SOURCES
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) /* (22) */
        lstm97_add_scaled(w->to_outputs[m], s->e_k, s->z_k[m], LSTM97_N_OUTPUTS);
#endif
    return LSTM97_OK;
#endif
}

#endif

void lstm97_reset(lstm97_state *state)
{
#if !LEARNS && !HAS_UNITS
    (void)state;
#endif
#if HAS_UNITS
    lstm97_fill(state->y, 0, LSTM97_N_UNITS);
#endif
#if HAS_CELLS
    lstm97_fill(state->s_c, 0, LSTM97_N_CELLS);
#endif
#if LEARNS
#if HAS_CELLS
    lstm97_drop_partials(state);
#endif
    state->is_awaiting = 0;
#endif
}

#if !IN_FORECASTER
int lstm97_step(const lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                lstm97_real y[LSTM97_N_OUTPUTS])
{
    if (!lstm97_all_finite(x, LSTM97_N_INPUTS))
        return LSTM97_INPUT_NOT_FINITE;
#if LEARNS
#if HAS_CELLS
    if (state->has_partials)
        lstm97_drop_partials(state);
#endif
    state->is_awaiting = 0;
#endif
    int status = lstm97_advance(weights, state, x);
    if (status == LSTM97_OK)
#if SCALES_TARGETS
        lstm97_copy(y, state->in_units, LSTM97_N_OUTPUTS);
#else
        lstm97_copy(y, state->y_k, LSTM97_N_OUTPUTS);
#endif
    return status;
}

#endif
#if LEARNS

static int lstm97_check(const lstm97_real *target, lstm97_real learning_rate)
{
#if PARTIAL_TARGETS
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        if (!lstm97_is_missing(target + k) && !lstm97_all_finite(target + k, 1))
            return LSTM97_INPUT_NOT_FINITE;
#else
#if SOFTMAX_OUTPUTS
    int n_missing = 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        n_missing += lstm97_is_missing(target + k);
    if (n_missing < LSTM97_N_OUTPUTS && !lstm97_all_finite(target, LSTM97_N_OUTPUTS))
        return LSTM97_INPUT_NOT_FINITE;
#else
    if (!lstm97_all_finite(target, LSTM97_N_OUTPUTS))
        return LSTM97_INPUT_NOT_FINITE;
#endif
#endif
    return lstm97_all_finite(&learning_rate, 1) && learning_rate > 0 ? LSTM97_OK : LSTM97_BAD_LEARNING_RATE;
}

#if HAS_RULE
static int lstm97_check_weight(lstm97_real weight)
{
    return lstm97_all_finite(&weight, 1) && weight >= 0 ? LSTM97_OK : LSTM97_BAD_WEIGHT;
}

int lstm97_learn_weighted(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                          const lstm97_real *target, lstm97_real learning_rate, lstm97_real weight,
                          lstm97_real y[LSTM97_N_OUTPUTS])
#else
int lstm97_learn(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                 const lstm97_real *target, lstm97_real learning_rate, lstm97_real y[LSTM97_N_OUTPUTS])
#endif
{
    if (!lstm97_all_finite(x, LSTM97_N_INPUTS))
        return LSTM97_INPUT_NOT_FINITE;
    int status = target ? lstm97_check(target, learning_rate) : LSTM97_OK;
#if HAS_RULE
    if (status == LSTM97_OK)
        status = lstm97_check_weight(weight);
#endif
    if (status != LSTM97_OK)
        return status;
    state->is_awaiting = 0;
#if SCALES_INPUTS
    for (int m = 0; m < LSTM97_N_INPUTS; m++)
        lstm97_take_in(&weights->inputs[m], x[m]);
#endif
    status = lstm97_advance(weights, state, x);
    if (status != LSTM97_OK)
        return status;
#if HAS_CELLS
    lstm97_update_partials(state);
#endif
    state->is_awaiting = 1;
#if HAS_RULE
    if (target && weight > 0)
        status = lstm97_change_weights(weights, state, target, learning_rate, weight);
#else
    if (target)
        status = lstm97_change_weights(weights, state, target, learning_rate);
#endif
#if SCALES_TARGETS
    lstm97_copy(y, state->in_units, LSTM97_N_OUTPUTS);
#else
    lstm97_copy(y, state->y_k, LSTM97_N_OUTPUTS);
#endif
    return status;
}

#if HAS_RULE
int lstm97_correct_weighted(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                            lstm97_real learning_rate, lstm97_real weight)
#else
int lstm97_correct(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                   lstm97_real learning_rate)
#endif
{
    int status = lstm97_check(target, learning_rate);
#if HAS_RULE
    if (status == LSTM97_OK)
        status = lstm97_check_weight(weight);
#endif
    if (status != LSTM97_OK)
        return status;
    if (!state->is_awaiting)
        return LSTM97_NOT_AWAITING;
#if HAS_RULE
    return weight > 0 ? lstm97_change_weights(weights, state, target, learning_rate, weight) : LSTM97_OK;
#else
    return lstm97_change_weights(weights, state, target, learning_rate);
#endif
}
#if HAS_RULE

int lstm97_learn(lstm97_weights *weights, lstm97_state *state, const lstm97_real x[LSTM97_N_INPUTS],
                 const lstm97_real *target, lstm97_real learning_rate, lstm97_real y[LSTM97_N_OUTPUTS])
{
    return lstm97_learn_weighted(weights, state, x, target, learning_rate, 1, y);
}

int lstm97_correct(lstm97_weights *weights, lstm97_state *state, const lstm97_real target[LSTM97_N_OUTPUTS],
                   lstm97_real learning_rate)
{
    return lstm97_correct_weighted(weights, state, target, learning_rate, 1);
}
#endif

#endif

#if HAS_OUTPUT_SOURCES && !IN_FORECASTER

#if HAS_UNITS
/* Kinds of units in the order of the parameters: the first unit, how many there are, how many sources each has. */
static const struct { int begin, n, n_sources; } lstm97_kinds[] = {
// begin kinds
    {LSTM97_CELL, 3, 12},
    {LSTM97_INPUT_GATE, 2, 13},
    {LSTM97_OUTPUT_GATE, 2, 13},
    {LSTM97_FORGET_GATE, 2, 13},
    {LSTM97_HIDDEN, 1, 12}
// end
};
enum { LSTM97_N_KINDS = sizeof lstm97_kinds / sizeof lstm97_kinds[0] };
#endif

void lstm97_get_parameters(const lstm97_weights *weights, lstm97_real p[LSTM97_N_PARAMETERS])
{
    lstm97_real *next = p;
#if HAS_UNITS
    for (int kind = 0; kind < LSTM97_N_KINDS; kind++)
        for (int i = 0; i < lstm97_kinds[kind].n; i++)
            for (int m = 0; m < lstm97_kinds[kind].n_sources; m++)
                *next++ = weights->to_units[m][lstm97_kinds[kind].begin + i];
#endif
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
            *next++ = weights->to_outputs[m][k];
}

int lstm97_set_parameters(lstm97_weights *weights, const lstm97_real p[LSTM97_N_PARAMETERS])
{
    const lstm97_real *next = p;
    if (!lstm97_all_finite(p, LSTM97_N_PARAMETERS))
        return LSTM97_INPUT_NOT_FINITE;
#if HAS_UNITS
    for (int kind = 0; kind < LSTM97_N_KINDS; kind++)
        for (int i = 0; i < lstm97_kinds[kind].n; i++)
            for (int m = 0; m < LSTM97_N_SOURCES; m++) /* 0 for sources that a kind lacks */
                weights->to_units[m][lstm97_kinds[kind].begin + i] =
                    m < lstm97_kinds[kind].n_sources ? *next++ : 0;
#endif
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
            weights->to_outputs[m][k] = *next++;
    return LSTM97_OK;
}

#endif

#endif
