// begin template
/* What follows the network in the file of a Forecaster: scaling, lags, intervals and scores, as forecaster.py has them.
 * Names that begin with lstm97_network_ are those of network.c, whose first lines tell how c.py makes files of both.
 * Numbers of the series are double in a float32 file too: of large values, float would lose what changes.
 */
// end
// begin head
/* A forecaster of one series:
 *
 *     Forecaster(cells=16, lags=24, difference=True)
// end
 *
 *     static lstm97_forecaster f;                             // everything it knows
 *     f = lstm97_initial;                                     // where Python was when it wrote this file
 *     forecast = lstm97_learn(&f, value);                     // learns a value, forecasts the next one
 *     forecast = lstm97_learn(&f, NAN);                       // a value is missing: the forecast takes its place
 *     status = lstm97_forecast(&f, 12, forecasts);            // 12 values ahead
 *     status = lstm97_interval(&f, 0.9, &low, &high);         // where the next value will be, with a probability
 *     score = lstm97_score(&f);                               // how unusual the last value was
 *
 * f.status is that of the last call of learn: 0 if all is well; the enum below has the others. Nothing is allocated,
 * and all variables are the caller's: a struct holds all of a forecaster, and may be copied, written to a file and read
 * from it. Different forecasters may learn in different threads at once.
 *
 * To have the declarations only, define LSTM97_DECLARATIONS_ONLY before including this file.
 */

#ifdef LSTM97_DECLARATIONS_ONLY
#define LSTM97_NETWORK_DECLARATIONS_ONLY
#endif

#include "network.c"

#ifndef LSTM97_DECLARED
#define LSTM97_DECLARED

#ifdef __cplusplus
extern "C" {
#endif

enum {
    LSTM97_OK,
    LSTM97_OVERFLOW,        /* a number inside the network would not be finite; learn has reset the network's state */
    LSTM97_VALUE_TOO_LARGE, /* it is infinite, or larger than 1e290; nothing has changed */
    LSTM97_BAD_PROBABILITY, /* it is not above 0 and at most 0.99 */
    LSTM97_TOO_FEW_ERRORS   /* for an interval of that probability */
};

enum {
// begin sizes
    LSTM97_N_LAGS = 24,
    LSTM97_N_RECENT = 256
// end
};

typedef struct {
    lstm97_network_weights weights;
    lstm97_network_state state;
#if DIFFERENCE
    double lags[LSTM97_N_LAGS]; /* differences from value to value, the latest first */
#else
    double lags[LSTM97_N_LAGS]; /* values less the first one, the latest first */
#endif
    double first; /* the first value */
    double last; /* the last value or, where it was missing, its forecast */
    double base; /* what an output of 0 forecasts */
    double scale; /* the mean deviation of values from their base; 0 as long as none can be told */
    double total; /* the sum of the deviations */
#if !DIFFERENCE
    double mean; /* of the values, less the first */
    double sum; /* of the values, each less the first */
#endif
    double n_values;
    double n_scaled; /* how many deviations are in the total */
    double output; /* of the network */
    double forecast; /* of the next value */
    lstm97_network_real errors[LSTM97_N_RECENT]; /* of recent forecasts, scaled */
    int n_errors;
    int place; /* where the next error goes */
    int judged; /* whether the last value had a forecast: 1, its error is the latest; 2, but no scale; 0, none */
    int n_lags; /* how many lags are known */
    int is_awaiting; /* whether the network waits for its target, the next value */
    int status; /* of the last call of learn */
} lstm97_forecaster;

extern const lstm97_forecaster lstm97_initial;

/* Learns from a value, or from NaN that it is missing. Returns the forecast of the next one; NaN before the first value
 * or if the status is not 0. */
double lstm97_learn(lstm97_forecaster *forecaster, double value);

/* Forecasts as many values as the horizon says, as if each had come in as it was forecast. The forecaster is afterwards
 * as it was before, but no other thread may use it meanwhile. */
int lstm97_forecast(lstm97_forecaster *forecaster, int horizon, double *forecasts);

/* The forecast with quantiles of recent errors around it; NaN if the status is not 0. */
int lstm97_interval(const lstm97_forecaster *forecaster, double probability, double *low, double *high);

/* How unusual the last value was among the recent errors, as Forecaster.score; NaN if it had no forecast. */
double lstm97_score(const lstm97_forecaster *forecaster);

#ifdef __cplusplus
}
#endif

#endif

#ifndef LSTM97_DECLARATIONS_ONLY

const lstm97_forecaster lstm97_initial = {
// begin initial
    {{0}},
// end
};

// begin settings
// end

static const double lstm97_largest = 1e290; /* of values: sums of their differences stay finite */
static const double lstm97_smallest_scale = 1e-290;
static const double lstm97_largest_input = 10;
static const double lstm97_largest_error = 1e15; /* of a scaled one */
static const double lstm97_largest_deviation = 100; /* of what goes into the scale, in units of the scale before */

/* An integer of the size of double. Where there is none, the array has -1 elements. */
typedef uint64_t lstm97_bits;
typedef char lstm97_bits_fit[sizeof(lstm97_bits) == sizeof(double) ? 1 : -1];
static const lstm97_bits lstm97_bits_of_infinity = UINT64_C(0x7FF0000000000000);

/* Numbers are compared with infinity as integers, and NaN is made of one: with -Ofast or -ffast-math a compiler takes
 * it for granted that there is neither; volatile hides from it where the integer comes from. */
static lstm97_bits lstm97_bits_of(double a)
{
    lstm97_bits bits;
    memcpy(&bits, &a, sizeof bits);
    volatile lstm97_bits seen = bits << 1; /* drops the sign */
    return seen;
}

static double lstm97_nan(void)
{
    volatile lstm97_bits seen = lstm97_bits_of_infinity + 1 + lstm97_bits_of_infinity / 2047 / 2;
    lstm97_bits bits = seen;
    double a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

/* A number, or what is nearest to it between -most and most. */
static double lstm97_cut(double a, double most)
{
    return a > most ? most : a < -most ? -most : a;
}

/* Keep the last value's error, scaled. */
static void lstm97_record(lstm97_forecaster *f, double error)
{
    f->errors[f->place] = (lstm97_network_real)error;
    f->place = (f->place + 1) % LSTM97_N_RECENT;
    f->n_errors += f->n_errors < LSTM97_N_RECENT;
    f->judged = 1;
}

/* Take a value into the scale and what an output of 0 forecasts, an outlier cut. */
static void lstm97_count(lstm97_forecaster *f, double value)
{
    if (f->n_values == 0)
        f->first = f->last = f->base = value;
    f->n_values += 1;
    double deviation = value - f->base;
    if (f->scale > 0)
        deviation = lstm97_cut(deviation, lstm97_largest_deviation * f->scale);
    double size = deviation < 0 ? -deviation : deviation;
    if (f->total > 0 || size > 0) {
        f->total += size;
        f->n_scaled += 1;
        f->scale = f->total / f->n_scaled;
        if (f->scale < lstm97_smallest_scale)
            f->scale = 0;
    }
#if DIFFERENCE
    f->base = value;
#else
    f->sum += f->mean + deviation;
    f->mean = f->sum / f->n_values;
    f->base = f->first + f->mean;
#endif
}

/* Put what the network sees of the last value before the others. */
static void lstm97_push(double *lags, double seen)
{
    for (int i = LSTM97_N_LAGS - 1; i > 0; i--)
        lags[i] = lags[i - 1];
    lags[0] = seen;
}

/* The inputs of the network: the lags, of which the first n_lags are known, scaled and cut. */
static void lstm97_look(const lstm97_forecaster *f, const double *lags, int n_lags, lstm97_network_real *x)
{
#if DIFFERENCE
    (void)n_lags; /* the others are 0 */
    for (int i = 0; i < LSTM97_N_LAGS; i++)
        x[i] = (lstm97_network_real)lstm97_cut(lags[i] / f->scale, lstm97_largest_input);
#else
    for (int i = 0; i < LSTM97_N_LAGS; i++)
        x[i] = i < n_lags ? (lstm97_network_real)lstm97_cut((lags[i] - f->mean) / f->scale, lstm97_largest_input) : 0;
#endif
}

/* Make the network usable again after an overflow. */
static double lstm97_start_again(lstm97_forecaster *f)
{
    lstm97_network_reset(&f->state);
    f->is_awaiting = 0;
    f->status = LSTM97_OVERFLOW;
    return lstm97_nan();
}

/* Learn from a value, which was forecast if the network waits for it. Returns whether the weights could change. */
static int lstm97_take_in(lstm97_forecaster *f, double value)
{
    if (f->is_awaiting) {
        double error = lstm97_cut((value - f->base) / f->scale, lstm97_largest_error);
        lstm97_network_real target = (lstm97_network_real)error;
        if (lstm97_network_correct(&f->weights, &f->state, &target, (lstm97_network_real)lstm97_learning_rate) !=
            LSTM97_NETWORK_OK)
            return 0;
        f->is_awaiting = 0;
        lstm97_record(f, error - f->output);
    } else if (f->n_values == 0 || f->scale > 0) /* the first value, or the first after an overflow */
        f->judged = 0;
    else if (f->forecast <= value && value <= f->forecast)
        lstm97_record(f, 0);
    else
        f->judged = 2;
    lstm97_count(f, value);
    return 1;
}

double lstm97_learn(lstm97_forecaster *f, double value)
{
    lstm97_network_real x[LSTM97_N_LAGS], y;
    double seen;
    f->status = LSTM97_OK;
    if (lstm97_bits_of(value) > lstm97_bits_of_infinity << 1) { /* NaN */
        if (f->n_values == 0)
            return lstm97_nan();
        value = f->forecast;
        f->judged = 0;
    } else if (lstm97_bits_of(value) > lstm97_bits_of(lstm97_largest)) {
        f->status = LSTM97_VALUE_TOO_LARGE;
        return lstm97_nan();
    } else if (!lstm97_take_in(f, value))
        return lstm97_start_again(f);
#if DIFFERENCE
    seen = value - f->last;
    f->base = value;
#else
    seen = value - f->first;
#endif
    f->last = value;
    lstm97_push(f->lags, seen);
    f->n_lags += f->n_lags < LSTM97_N_LAGS;
    if (f->scale == 0)
        return f->forecast = value;
    lstm97_look(f, f->lags, f->n_lags, x);
    if (lstm97_network_learn(&f->weights, &f->state, x, 0, 0, &y) != LSTM97_NETWORK_OK)
        return lstm97_start_again(f);
    f->output = y;
    f->is_awaiting = 1;
    return f->forecast = f->base + f->scale * f->output;
}

/* All forecasts but the first. The network's activations go on; its partials and weights stay. */
static int lstm97_forecast_on(lstm97_forecaster *f, int horizon, double *forecasts)
{
    lstm97_network_real x[LSTM97_N_LAGS];
    double lags[LSTM97_N_LAGS];
    double base = f->base;
#if DIFFERENCE
    double last = f->last;
#endif
    int n_lags = f->n_lags;
    for (int i = 0; i < LSTM97_N_LAGS; i++)
        lags[i] = f->lags[i];
    for (int i = 1; i < horizon; i++) {
        double value = forecasts[i - 1];
#if DIFFERENCE
        lstm97_push(lags, value - last);
        last = base = value;
#else
        lstm97_push(lags, value - f->first);
#endif
        n_lags += n_lags < LSTM97_N_LAGS;
        lstm97_look(f, lags, n_lags, x);
        if (lstm97_network_advance(&f->weights, &f->state, x) != LSTM97_NETWORK_OK)
            return LSTM97_OVERFLOW;
        forecasts[i] = base + f->scale * f->state.y_k[0];
    }
    return LSTM97_OK;
}

int lstm97_forecast(lstm97_forecaster *f, int horizon, double *forecasts)
{
    if (horizon < 1)
        return LSTM97_OK;
    forecasts[0] = f->n_values > 0 ? f->forecast : lstm97_nan();
    if (f->scale == 0) {
        for (int i = 1; i < horizon; i++)
            forecasts[i] = forecasts[0];
        return LSTM97_OK;
    }
    /* What of the state is needed when the next value comes, but for the partials, which stay as they are. */
    lstm97_network_real z[LSTM97_NETWORK_N_SOURCES], z_k[LSTM97_NETWORK_N_OUTPUT_SOURCES];
    lstm97_network_real y[LSTM97_NETWORK_N_UNITS], y_k = f->state.y_k[0];
    lstm97_network_real s_c[LSTM97_NETWORK_N_CELLS], h[LSTM97_NETWORK_N_CELLS];
    lstm97_network_copy(z, f->state.z, LSTM97_NETWORK_N_SOURCES);
    lstm97_network_copy(z_k, f->state.z_k, LSTM97_NETWORK_N_OUTPUT_SOURCES);
    lstm97_network_copy(y, f->state.y, LSTM97_NETWORK_N_UNITS);
    lstm97_network_copy(s_c, f->state.s_c, LSTM97_NETWORK_N_CELLS);
    lstm97_network_copy(h, f->state.h, LSTM97_NETWORK_N_CELLS);
    int status = lstm97_forecast_on(f, horizon, forecasts);
    lstm97_network_copy(f->state.z, z, LSTM97_NETWORK_N_SOURCES);
    lstm97_network_copy(f->state.z_k, z_k, LSTM97_NETWORK_N_OUTPUT_SOURCES);
    lstm97_network_copy(f->state.y, y, LSTM97_NETWORK_N_UNITS);
    lstm97_network_copy(f->state.s_c, s_c, LSTM97_NETWORK_N_CELLS);
    lstm97_network_copy(f->state.h, h, LSTM97_NETWORK_N_CELLS);
    f->state.y_k[0] = y_k;
    return status;
}

/* Of the errors times the sign, 1 or -1, the k-th from below, times the sign. */
static double lstm97_error_from_below(const lstm97_forecaster *f, int k, double sign)
{
    double found = 0;
    for (int n_found = 0, n_new; n_found < k; n_found += n_new) { /* those that are equal at once */
        double next = 0;
        n_new = 0;
        for (int i = 0; i < f->n_errors; i++) {
            double error = sign * f->errors[i];
            if (n_found > 0 && error <= found)
                continue;
            if (n_new == 0 || error < next) {
                next = error;
                n_new = 1;
            } else if (error <= next)
                n_new++;
        }
        found = next;
    }
    return sign * found;
}

int lstm97_interval(const lstm97_forecaster *f, double probability, double *low, double *high)
{
    *low = *high = lstm97_nan();
    if (lstm97_bits_of(probability) > lstm97_bits_of(0.99) || !(probability > 0))
        return LSTM97_BAD_PROBABILITY;
    int k = (int)((f->n_errors + 1) * (1 - probability) / 2 + 1e-9);
    if (k == 0)
        return LSTM97_TOO_FEW_ERRORS;
    *low = f->forecast + f->scale * lstm97_error_from_below(f, k, 1);
    *high = f->forecast + f->scale * lstm97_error_from_below(f, k, -1);
    return LSTM97_OK;
}

double lstm97_score(const lstm97_forecaster *f)
{
    if (f->judged == 0)
        return lstm97_nan();
    if (f->judged == 2)
        return log10(f->n_errors + 1.0);
    int latest = (f->place + LSTM97_N_RECENT - 1) % LSTM97_N_RECENT;
    int n_as_large = 1;
    double size = f->errors[latest] < 0 ? -f->errors[latest] : f->errors[latest];
    double second = 0; /* the largest of the others */
    for (int i = 0; i < f->n_errors; i++) {
        double other = f->errors[i] < 0 ? -f->errors[i] : f->errors[i];
        if (i == latest)
            continue;
        n_as_large += other >= size;
        second = other > second ? other : second;
    }
    double score = log10((double)f->n_errors / n_as_large);
    if (n_as_large == 1 && f->n_errors >= 100 && second > 0)
        score += lstm97_cut(log10(size / second), 15);
    return score;
}

#endif
