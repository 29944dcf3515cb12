/* The peer: the 1997 learning rule as a textbook would write it.
 *
 * One row of weights and of partials per unit, a dot product per net input, libm's exp, no padding, no blocking. All
 * net inputs come before all activations, which lets their sums overlap: a plain loop, but not a slow one. Double
 * precision, every non-input unit biased, gates among the sources, one sequence at a time, weights changed at each
 * error signal. Outputs are computed only at steps that have a target.
 *
 *   paper      name        shape                 meaning
 *   z          z           n_sources             inputs, cells, input gates, output gates (t-1), 1
 *   w_c        w_c         n_cells x n_sources   weights of the cells; w_in, w_out: of the gates
 *   w_k        w_k         n_outputs x n_cells+1 weights of the outputs
 *   s_c, y_c   s_c, y_c    n_cells               cell states, cell outputs
 *   ds/dw      ds_dw_c     n_cells x n_sources   carried forward; ds_dw_in likewise
 *
 * Numbers in brackets are the paper's equations.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int n_inputs, n_blocks, block_size, n_cells, n_sources, n_outputs, logistic_output;
    double *w_c, *w_in, *w_out, *w_k;
    double *z, *y_in, *y_out, *s_c, *y_c, *h_s, *y_k;
    double *ds_dw_c, *ds_dw_in, *e_k, *back, *nets;
    double *memory;
    long n_weights, n_state;
} textbook;

static double f(double a) { return 1.0 / (1.0 + exp(-a)); } /* (3) */

static double *take(double **free_part, long n)
{
    double *mine = *free_part;
    *free_part += n;
    return mine;
}

textbook *textbook_new(int n_inputs, int n_blocks, int block_size, int n_outputs, int logistic_output)
{
    textbook *net = malloc(sizeof *net);
    if (!net)
        return NULL;
    int cells = n_blocks * block_size, sources = n_inputs + cells + 2 * n_blocks + 1;
    net->n_inputs = n_inputs;
    net->n_blocks = n_blocks;
    net->block_size = block_size;
    net->n_cells = cells;
    net->n_sources = sources;
    net->n_outputs = n_outputs;
    net->logistic_output = logistic_output;
    net->n_weights = (long)(cells + 2 * n_blocks) * sources + (long)n_outputs * (cells + 1);
    net->n_state = sources + 2L * n_blocks + 3L * cells + 2L * cells * sources;
    net->memory = calloc(net->n_weights + net->n_state + 2L * (n_outputs + cells + n_blocks), sizeof(double));
    if (!net->memory) {
        free(net);
        return NULL;
    }
    double *rest = net->memory;
    net->w_c = take(&rest, (long)cells * sources);
    net->w_in = take(&rest, (long)n_blocks * sources);
    net->w_out = take(&rest, (long)n_blocks * sources);
    net->w_k = take(&rest, (long)n_outputs * (cells + 1));
    net->z = take(&rest, sources);
    net->y_in = take(&rest, n_blocks);
    net->y_out = take(&rest, n_blocks);
    net->s_c = take(&rest, cells);
    net->y_c = take(&rest, cells);
    net->h_s = take(&rest, cells);
    net->ds_dw_c = take(&rest, (long)cells * sources);
    net->ds_dw_in = take(&rest, (long)cells * sources);
    net->y_k = take(&rest, n_outputs);
    net->e_k = take(&rest, n_outputs);
    net->back = take(&rest, cells);
    net->nets = take(&rest, cells + 2L * n_blocks);
    return net;
}

void textbook_free(textbook *net)
{
    if (net)
        free(net->memory);
    free(net);
}

/* Weights in one array: cells, input gates, output gates, outputs; a row per unit. */
void textbook_set_weights(textbook *net, const double *w) { memcpy(net->memory, w, net->n_weights * sizeof(double)); }

void textbook_get_weights(const textbook *net, double *w) { memcpy(w, net->memory, net->n_weights * sizeof(double)); }

static double dot(const double *w, const double *z, int n)
{
    double sum = 0.0;
    for (int m = 0; m < n; m++)
        sum += w[m] * z[m];
    return sum;
}

static void add_scaled(double *row, double factor, const double *z, int n)
{
    for (int m = 0; m < n; m++)
        row[m] += factor * z[m];
}

static void forward(textbook *net, const double *x)
{
    int sources = net->n_sources;
    double *z = net->z;
    memcpy(z, x, net->n_inputs * sizeof(double));
    z += net->n_inputs;
    memcpy(z, net->y_c, net->n_cells * sizeof(double));
    z += net->n_cells;
    memcpy(z, net->y_in, net->n_blocks * sizeof(double));
    z += net->n_blocks;
    memcpy(z, net->y_out, net->n_blocks * sizeof(double));
    z[net->n_blocks] = 1.0;
    z = net->z;

    /* (7)-(9): the rows of w_c, w_in and w_out follow each other */
    int n_units = net->n_cells + 2 * net->n_blocks;
    for (int u = 0; u < n_units; u++)
        net->nets[u] = dot(net->w_c + (long)u * sources, z, sources);
    const double *net_c = net->nets, *net_in = net_c + net->n_cells, *net_out = net_in + net->n_blocks;

    for (int j = 0; j < net->n_blocks; j++) {
        double y_in = f(net_in[j]);   /* (7) */
        double y_out = f(net_out[j]); /* (8) */
        net->y_in[j] = y_in;
        net->y_out[j] = y_out;
        for (int v = j * net->block_size; v < (j + 1) * net->block_size; v++) {
            double f_c = f(net_c[v]); /* (9) */
            double g = 4.0 * f_c - 2.0;                                    /* (5) */
            double g_slope = 4.0 * f_c * (1.0 - f_c);
            net->s_c[v] += y_in * g;
            net->h_s[v] = 2.0 * f(net->s_c[v]) - 1.0; /* (4) */
            net->y_c[v] = y_out * net->h_s[v];
            add_scaled(net->ds_dw_in + (long)v * sources, g * y_in * (1.0 - y_in), z, sources); /* (25) */
            add_scaled(net->ds_dw_c + (long)v * sources, y_in * g_slope, z, sources);           /* (27) */
        }
    }
}

static void outputs(textbook *net)
{
    int cells = net->n_cells;
    for (int k = 0; k < net->n_outputs; k++) {
        const double *w = net->w_k + (long)k * (cells + 1);
        double a = dot(w, net->y_c, cells) + w[cells];
        net->y_k[k] = net->logistic_output ? f(a) : a;
    }
}

static void learn(textbook *net, const double *target, double alpha)
{
    int cells = net->n_cells, sources = net->n_sources;
    for (int v = 0; v < cells; v++)
        net->back[v] = 0.0;
    for (int k = 0; k < net->n_outputs; k++) {
        double y = net->y_k[k];
        double *w = net->w_k + (long)k * (cells + 1);
        net->e_k[k] = (target[k] - y) * (net->logistic_output ? y * (1.0 - y) : 1.0); /* (19) */
        add_scaled(net->back, net->e_k[k], w, cells); /* sum_k w_kv e_k, with the old weights */
        add_scaled(w, alpha * net->e_k[k], net->y_c, cells);                          /* (22) */
        w[cells] += alpha * net->e_k[k];
    }
    for (int j = 0; j < net->n_blocks; j++) {
        double y_out = net->y_out[j], e_out = 0.0;
        for (int v = j * net->block_size; v < (j + 1) * net->block_size; v++) {
            double h = net->h_s[v];
            double e_s = y_out * 0.5 * (1.0 - h * h) * net->back[v]; /* (23) */
            e_out += h * net->back[v];
            add_scaled(net->w_in + (long)j * sources, alpha * e_s, net->ds_dw_in + (long)v * sources, sources); /* (26) */
            add_scaled(net->w_c + (long)v * sources, alpha * e_s, net->ds_dw_c + (long)v * sources, sources);   /* (28) */
        }
        e_out *= y_out * (1.0 - y_out); /* (21) */
        add_scaled(net->w_out + (long)j * sources, alpha * e_out, net->z, sources); /* (22) */
    }
}

/* Trains on n_items sequences, taken in turn from n_sequences of n_steps each; with every_step there is a
 * target row for each step, else one for each sequence, at its end. */
void textbook_train(textbook *net, const double *inputs, const double *targets, long n_items, long n_sequences,
                    long n_steps, int every_step, double alpha)
{
    for (long i = 0; i < n_items; i++) {
        long sequence = i % n_sequences;
        const double *x = inputs + sequence * n_steps * net->n_inputs;
        const double *target = targets + sequence * (every_step ? n_steps : 1) * net->n_outputs;
        memset(net->z, 0, net->n_state * sizeof(double));
        for (long t = 0; t < n_steps; t++, x += net->n_inputs) {
            forward(net, x);
            if (every_step || t == n_steps - 1) {
                outputs(net);
                learn(net, target, alpha);
                target += net->n_outputs;
            }
        }
    }
}
