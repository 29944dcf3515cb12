#if HAS_GRADIENTS

/* A change of the weights: step sizes and, with a bound, how much of it is carried out. */
typedef struct {
    lstm97_real rate;
#if IS_ADAM
    lstm97_real m_part; /* what makes a mean of m: (1 - momentum) / (1 - momentum^t) at the t-th update */
#endif
#if HAS_SQUARES
    lstm97_real v_root; /* the root of what makes a mean of v: (1 - decay) / (1 - decay^t) */
#endif
#if HAS_BOUND
    lstm97_real scale; /* 1 / M, or 1 */
#endif
    int is_trial; /* nothing changes, but the next two are found */
    double squares; /* the sum of a g^2, where a is the step size of a weight and g its gradient */
    int is_finite; /* whether all weights would be finite */
} lstm97_update;

/* Sums over many weights: one for each place in a row of 32, as a single sum could not be computed by vectors. */
typedef struct {
    lstm97_real squares[LSTM97_AT_ONCE]; /* of a g^2 */
#if HAS_SQUARES
    lstm97_real v[LSTM97_AT_ONCE];
#endif
    lstm97_bits largest[LSTM97_AT_ONCE]; /* the bits, without the sign, of the largest weight afterwards */
} lstm97_sums;

#if HAS_SQUARES
/* 1 / sqrt(a), near a = 0 a large number: an estimate, whose bits come of half the exponent of a, and Newton's method,
 * each step of which squares the error. Unlike a call of sqrt, compilers can turn this into vector instructions. */
static lstm97_real lstm97_one_by_root(lstm97_real a)
{
    lstm97_bits bits;
    lstm97_real y;
#if SINGLE
    const int n_steps = 3;
    a += 1e-36f;
    memcpy(&bits, &a, sizeof bits);
    bits = UINT32_C(0x5F3759DF) - (bits >> 1);
#else
    const int n_steps = 4;
    a += 1e-300;
    memcpy(&bits, &a, sizeof bits);
    bits = UINT64_C(0x5FE6EB50C7B537A9) - (bits >> 1);
#endif
    memcpy(&y, &bits, sizeof y);
    for (int i = 0; i < n_steps; i++)
        y = y * ((lstm97_real)1.5 - (lstm97_real)0.5 * a * y * y);
    return y;
}
#endif

/* What up to 32 weights with the gradients g change by, before a bound, their step sizes a, and what m and v become. */
static void lstm97_find_changes(const lstm97_update *update,
#if HAS_MEANS
                                const lstm97_real *LSTM97_RESTRICT m, lstm97_real *LSTM97_RESTRICT m_after,
#endif
#if HAS_SQUARES
                                const lstm97_real *LSTM97_RESTRICT v, lstm97_real *LSTM97_RESTRICT v_after,
#endif
                                const lstm97_real *LSTM97_RESTRICT g, lstm97_real *LSTM97_RESTRICT a,
                                lstm97_real *LSTM97_RESTRICT change, int n)
{
    for (int i = 0; i < n; i++) {
#if HAS_SQUARES
        lstm97_real v_i = (lstm97_real)lstm97_decay * v[i] + g[i] * g[i];
        lstm97_real root = v_i * lstm97_one_by_root(v_i);
        a[i] = update->rate / (root * update->v_root + (lstm97_real)lstm97_epsilon);
        v_after[i] = v_i;
#else
        a[i] = update->rate;
#endif
#if HAS_MEANS
        lstm97_real m_i = (lstm97_real)lstm97_momentum * m[i] + g[i];
#if IS_ADAM
        change[i] = a[i] * (m_i * update->m_part);
#else
        change[i] = a[i] * m_i;
#endif
        m_after[i] = m_i;
#else
        change[i] = a[i] * g[i];
#endif
    }
}

/* Change n weights w by their gradients g. In a trial nothing changes, but the sums grow. */
static void lstm97_use_gradients(lstm97_update *update, lstm97_real *LSTM97_RESTRICT w,
#if HAS_MEANS
                                 lstm97_real *LSTM97_RESTRICT m,
#endif
#if HAS_SQUARES
                                 lstm97_real *LSTM97_RESTRICT v,
#endif
                                 const lstm97_real *LSTM97_RESTRICT g, lstm97_sums *LSTM97_RESTRICT sums, int n)
{
    for (int first = 0; first < n; first += LSTM97_AT_ONCE) {
        lstm97_real a[LSTM97_AT_ONCE], change[LSTM97_AT_ONCE];
#if HAS_MEANS
        lstm97_real m_after[LSTM97_AT_ONCE];
#endif
#if HAS_SQUARES
        lstm97_real v_after[LSTM97_AT_ONCE];
#endif
        int n_now = n - first < LSTM97_AT_ONCE ? n - first : LSTM97_AT_ONCE;
        lstm97_find_changes(update,
#if HAS_MEANS
                            m + first, m_after,
#endif
#if HAS_SQUARES
                            v + first, v_after,
#endif
                            g + first, a, change, n_now);
        if (update->is_trial) {
            for (int i = 0; i < n_now; i++) {
                sums->squares[i] += a[i] * g[first + i] * g[first + i];
#if HAS_SQUARES
                sums->v[i] += v_after[i];
#endif
                change[i] += w[first + i];
            }
            for (int i = 0; i < n_now; i++) {
                lstm97_bits bits;
                memcpy(&bits, change + i, sizeof bits);
                bits <<= 1; /* drops the sign */
                sums->largest[i] = bits > sums->largest[i] ? bits : sums->largest[i];
            }
            continue;
        }
#if HAS_MEANS
        lstm97_copy(m + first, m_after, n_now);
#endif
#if HAS_SQUARES
        lstm97_copy(v + first, v_after, n_now);
#endif
#if HAS_BOUND
        lstm97_add_scaled(w + first, change, update->scale, n_now);
#else
        lstm97_add_scaled(w + first, change, 1, n_now);
#endif
    }
}

/* All weights that change by their gradients, source by source. */
static void lstm97_use_all_gradients(lstm97_update *update, lstm97_weights *w, const lstm97_state *s)
{
    lstm97_sums sums;
    memset(&sums, 0, sizeof sums);
#if HAS_UNITS
    for (int m = 0; m < LSTM97_N_SOURCES; m++) {
        lstm97_real g[LSTM97_N_UNITS];
        lstm97_changes_from(m, s, g);
        lstm97_use_gradients(update, w->to_units[m],
#if HAS_MEANS
                             w->m.to_units[m],
#endif
#if HAS_SQUARES
                             w->v.to_units[m],
#endif
                             g, &sums, LSTM97_N_UNITS);
    }
#endif
#if HAS_OUTPUT_SOURCES && !HAS_READOUT
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) {
        lstm97_real g[LSTM97_N_OUTPUTS];
        for (int k = 0; k < LSTM97_N_OUTPUTS; k++) /* (22) */
            g[k] = s->e_k[k] * s->z_k[m];
        lstm97_use_gradients(update, w->to_outputs[m],
#if HAS_MEANS
                             w->m.to_outputs[m],
#endif
#if HAS_SQUARES
                             w->v.to_outputs[m],
#endif
                             g, &sums, LSTM97_N_OUTPUTS);
    }
#endif
    for (int i = 0; i < LSTM97_AT_ONCE; i++) {
        volatile lstm97_bits seen = sums.largest[i]; /* as in all_finite */
        update->is_finite &= seen < lstm97_bits_of_infinity << 1;
        update->squares += sums.squares[i];
    }
    update->is_finite &= lstm97_all_finite(sums.squares, LSTM97_AT_ONCE);
#if HAS_SQUARES
    update->is_finite &= lstm97_all_finite(sums.v, LSTM97_AT_ONCE);
#endif
}

#if HAS_BOUND
/* 1 / M, where M = sum a g^2 / (bound sum e_k^2) is above 1, or else 1. */
static lstm97_real lstm97_scale_of(const lstm97_state *s, double squares)
{
    double allowed = 0;
    for (int k = 0; k < LSTM97_N_OUTPUTS; k++)
        allowed += lstm97_bound * s->e_k[k] * s->e_k[k];
    return squares > allowed && allowed > 0 ? (lstm97_real)(allowed / squares) : 1;
}
#endif

#endif

#if HAS_READOUT

/* Recursive least squares with P = S S'. With f = S'u, where u are the sources of the outputs, v the weight of the
 * error signal, and b = forgetting + v f'f, the gain is k = v S f / b, and S - v S f f' / (b + sqrt(forgetting b)) is
 * the root of P - k (P u)' (J. E. Potter, 1963). The weight is in e_k already. */
typedef struct {
    lstm97_real f[LSTM97_N_OUTPUT_SOURCES];
    lstm97_real s_f[LSTM97_N_OUTPUT_SOURCES]; /* S f */
    lstm97_real weight; /* v */
    lstm97_real b;
} lstm97_gain;

static lstm97_real lstm97_dot(const lstm97_real *a, const lstm97_real *b, int n)
{
    lstm97_real sum = 0;
    for (int i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void lstm97_set_gain(lstm97_gain *gain, const lstm97_weights *w, const lstm97_state *s, lstm97_real weight)
{
    lstm97_fill(gain->f, 0, LSTM97_N_OUTPUT_SOURCES);
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
        lstm97_add_scaled(gain->f, w->root[m], s->z_k[m], LSTM97_N_OUTPUT_SOURCES);
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++)
        gain->s_f[m] = lstm97_dot(w->root[m], gain->f, LSTM97_N_OUTPUT_SOURCES);
    gain->weight = weight;
    gain->b = (lstm97_real)lstm97_forgetting + weight * lstm97_dot(gain->f, gain->f, LSTM97_N_OUTPUT_SOURCES);
}

/* Whether the gain and the output weights after their change are finite. */
static int lstm97_gain_is_finite(const lstm97_gain *gain, const lstm97_weights *w, const lstm97_state *s)
{
    int finite = lstm97_all_finite(&gain->b, 1) && lstm97_all_finite(gain->s_f, LSTM97_N_OUTPUT_SOURCES);
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) {
        lstm97_real after[LSTM97_N_OUTPUTS];
        lstm97_copy(after, w->to_outputs[m], LSTM97_N_OUTPUTS);
        lstm97_add_scaled(after, s->e_k, gain->s_f[m] / gain->b, LSTM97_N_OUTPUTS);
        finite &= lstm97_all_finite(after, LSTM97_N_OUTPUTS);
    }
    return finite;
}

/* Change the output weights by e_k k / v, and S, which forgets. P_mm, the sum of the squares in row m of S, stays at
 * most at its first value: the row of a source that tells nothing, whose P_mm would grow for ever, forgets less. */
static void lstm97_use_gain(const lstm97_gain *gain, lstm97_weights *w, const lstm97_state *s)
{
    double part = gain->weight / (gain->b + sqrt(lstm97_forgetting * gain->b));
    for (int m = 0; m < LSTM97_N_OUTPUT_SOURCES; m++) {
        lstm97_add_scaled(w->to_outputs[m], s->e_k, gain->s_f[m] / gain->b, LSTM97_N_OUTPUTS);
        lstm97_add_scaled(w->root[m], gain->f, (lstm97_real)(-part * gain->s_f[m]), LSTM97_N_OUTPUT_SOURCES);
#if READOUT_FORGETS
        double p = lstm97_dot(w->root[m], w->root[m], LSTM97_N_OUTPUT_SOURCES);
        lstm97_real growth = (lstm97_real)sqrt(lstm97_prior < p / lstm97_forgetting ? lstm97_prior / p
                                                                                    : 1 / lstm97_forgetting);
        for (int i = 0; i < LSTM97_N_OUTPUT_SOURCES; i++)
            w->root[m][i] *= growth;
#endif
    }
}

#endif

/* Changes all weights by the error signals or, if one would not be finite then, none; and what learning keeps. */
static int lstm97_change_by_rule(lstm97_weights *w, lstm97_state *s, lstm97_real rate, lstm97_real weight)
{
#if IS_ADAM
    double m_left = w->m_left > 1e-300 ? w->m_left * lstm97_momentum : 0;
#endif
#if HAS_SQUARES
    double v_left = w->v_left > 1e-300 ? w->v_left * lstm97_decay : 0;
#endif
#if HAS_GRADIENTS
    lstm97_update update;
    update.rate = rate;
#if IS_ADAM
    update.m_part = (lstm97_real)((1 - lstm97_momentum) / (1 - m_left));
#endif
#if HAS_SQUARES
    update.v_root = (lstm97_real)sqrt((1 - lstm97_decay) / (1 - v_left));
#endif
    update.is_trial = 1;
    update.squares = 0;
    update.is_finite = 1;
#else
    (void)rate;
#endif
#if !HAS_READOUT
    (void)weight;
#endif
#if HAS_READOUT
    lstm97_gain gain;
    lstm97_set_gain(&gain, w, s, weight);
    if (!lstm97_gain_is_finite(&gain, w, s))
        return LSTM97_CHANGE_NOT_FINITE;
#endif
#if HAS_GRADIENTS
#if HAS_BOUND
    lstm97_use_all_gradients(&update, w, s);
    update.scale = lstm97_scale_of(s, update.squares);
#else
    if (rate >= 65536 || !lstm97_is_harmless(s))
        lstm97_use_all_gradients(&update, w, s);
#endif
    if (!update.is_finite)
        return LSTM97_CHANGE_NOT_FINITE;
    update.is_trial = 0;
    lstm97_use_all_gradients(&update, w, s);
#endif
#if HAS_READOUT
    lstm97_use_gain(&gain, w, s);
#endif
#if IS_ADAM
    w->m_left = m_left;
#endif
#if HAS_SQUARES
    w->v_left = v_left;
#endif
    return LSTM97_OK;
}
