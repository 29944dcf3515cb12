"""The loops of LSTM nets whose units see themselves alone: forward, the whole gradient carried forward, optimizers.

name          shape                  meaning
------------  ---------------------  ---------------------------------------------------------------------------------
x             (n_inputs,)            inputs of the step, or the number of the one that is 1
y, y_before   (n_units,)             activations of the hidden layer: cells y_c, gates by kind, hidden units; of t-1
dy            (n_units,)             slopes f'(net_u), of a cell g'(net_c)
s, h, dh      (n_cells,)             cell states, h(s_c), h'(s_c); s_before, h_before and dh_before of t-1
y_in, y_out   (n_cells,)             the activations of the cell's gates; 1 where there is no such gate. y_f likewise
o, e          (n_outputs,)           outputs; errors at their net inputs
w, w_out      (n_sources, units)     row m: the weights from source m: inputs, the unit itself, bias; for outputs:
                                     inputs (or not), hidden units, cells, bias
g, m, v       as w, w_out            -dE/dw of one update; an optimizer's means of g and of g^2
traces        (n_sources, n_traces)  row m: derivatives by the weights from source m, in parts of n_cells (if there are
                                     such gates) or n_hidden numbers: T_c, T_in, T_out, T_f = ds_c/dw of the cell's own
                                     weight, of its gates'; G_in, G_out, G_f = dy/dw of its gates, for every cell of a
                                     block the same; G_h = dy/dw of hidden units

With q_u the weight of unit u from itself and y_c = y_out h(s_c), what a step carries forward is, of w from source m,

    G_u   = f'(net_u) (z_m + q_u G_u)
    p     = y_f + y_in g'(net_c) q_c y_out h'(s_c)          with y_out, h, h' of t-1
    T_c   = p T_c + y_in g'(net_c) z_m                      T_in = p T_in + g(net_c) G_in
    T_f   = p T_f + s_c(t-1) G_f                            T_out = p T_out + y_in g'(net_c) q_c h(s_c(t-1)) G_out(t-1)

and what reaches the outputs is dy_c/dw = y_out h'(s_c) T, of an output gate's weights h(s_c) G_out more.

Only rows of inputs that were not 0 since the reset are touched, if inputs come as symbols; else all are. Indices: c
cells, j blocks, u units, m sources, k outputs, i lanes or numbers of a list. No Python objects inside the loops.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport exp, isnan, sqrt, tanh
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

import numpy as np

from lstm97._kernel.abi cimport StopRule
from lstm97._kernel.arrays cimport address
from lstm97._kernel.stop_window cimport give_back, take_rule
from lstm97.methods._packed cimport (
    Chunk, Tally, add_row, add_to_tally, all_finite, bind_chunk, dot, end_of_sequence, kept_address, raise_not_finite,
    target_at, zeros,
)

cdef enum:                          # in the order of `elementwise.SQUASHES`, `LOSSES` and `OPTIMIZERS`
    LOGISTIC
    CENTERED
    CENTERED2
    TANH
    IDENTITY
    SOFTMAX

cdef enum:
    SQUARED
    CROSS_ENTROPY
    HUBER

cdef enum:
    SGD
    RMSPROP
    ADAM

cdef enum:
    SLICE = 20_000_000      # about as many multiplications run between two checks for signals

NUMBERS = (
    *("n_inputs", "n_cells", "n_hidden", "n_units", "n_outputs", "n_out_sources"),
    *("lane_in", "lane_out", "lane_f", "lane_hidden"),
    *("has_out", "has_f", "has_bias", "input_to_output", "output_bias", "g", "h", "output", "loss", "rule"),
)
RULE = ("kept_m", "kept_v", "epsilon", "bound")

cdef struct Matrix:
    Py_ssize_t n_sources, n_lanes
    double *w
    double *g
    double *m                       # NULL if the optimizer keeps none; v too
    double *v

cdef struct Net:
    # These are `NUMBERS`, in that order.
    Py_ssize_t n_inputs, n_cells, n_hidden, n_units, n_outputs, n_out_sources
    Py_ssize_t lane_in, lane_out, lane_f, lane_hidden                   # where kinds of units begin in w
    Py_ssize_t has_out, has_f, has_bias, input_to_output, output_bias
    Py_ssize_t g, h, output, loss, rule
    # These are `RULE`, in that order: what an update keeps of m and v, 0 for none; a bound of 0 is none.
    double kept_m, kept_v, epsilon, bound
    Py_ssize_t n_traces
    Py_ssize_t T_c, T_in, T_out, T_f, G_in, G_out, G_f, G_h             # where these parts begin in a row of traces
    const int32_t *block_of         # (n_cells,)
    const double *is_biased         # (n_units,)
    Matrix hidden, out
    double *n_updates
    double e2                       # sum of the squares of the errors behind g

cdef struct State:
    int32_t symbol                  # the number of the input that is 1, or -1 if the inputs are in x
    Py_ssize_t n_seen
    int32_t *seen                   # (n_inputs,) the first n_seen: inputs whose rows may not be 0
    double *is_seen                 # (n_inputs,)
    double *x
    double *y
    double *y_before
    double *dy
    double *s
    double *s_before
    double *h
    double *h_before
    double *dh
    double *dh_before
    double *y_in
    double *y_out
    double *y_out_before
    double *y_f
    double *o
    double *e
    double *kept                    # (n_traces,) what a trace is multiplied by
    double *taken                   # (n_traces,) what its source is multiplied by
    double *z                       # (n_traces,) the source, for each trace
    double *delta                   # (n_traces,) the error that a trace is multiplied by
    double *traces


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef inline double squashed(double a, int kind) noexcept nogil:
    if kind == IDENTITY:
        return a
    if kind == TANH:
        return tanh(a)
    a = 1 / (1 + exp(-a))
    return a if kind == LOGISTIC else 2 * a - 1 if kind == CENTERED else 4 * a - 2


cdef inline double slope(double y, int kind) noexcept nogil:
    """f'(a) from y = f(a)."""
    if kind == LOGISTIC:
        return y * (1 - y)
    if kind == CENTERED:
        return (1 - y * y) / 2
    if kind == CENTERED2:
        return 1 - y * y / 4
    return 1 - y * y if kind == TANH else 1


cdef inline void swap(double** a, double** b) noexcept nogil:
    cdef double* first = a[0]
    a[0] = b[0]
    b[0] = first


cdef inline void add_inputs(const Net* net, const State* st, double* to, const Matrix* a) noexcept nogil:
    """to += sum over the inputs of x_m w_m."""
    cdef Py_ssize_t m
    if st.symbol >= 0:
        add_row(to, a.w + st.symbol * a.n_lanes, 1, a.n_lanes)
        return
    for m in range(net.n_inputs):
        if st.x[m] != 0:
            add_row(to, a.w + m * a.n_lanes, st.x[m], a.n_lanes)


cdef void set_input(const Net* net, State* st, const Chunk* chunk, Py_ssize_t t) noexcept nogil:
    """Copy the input of step t of a chunk into the state."""
    if chunk.symbols != NULL:
        st.symbol = chunk.symbols[t]
    else:
        st.symbol = -1
        memcpy(st.x, chunk.values + t * net.n_inputs, net.n_inputs * sizeof(double))


cdef void step_cells(const Net* net, State* st) noexcept nogil:
    """The cells' states and activations, once y has g(net_c) in the cells' places, and the gates' activations."""
    cdef Py_ssize_t c, j
    for c in range(net.n_cells):
        j = net.block_of[c]
        st.y_in[c] = st.y[net.lane_in + j]
        if net.has_f:
            st.y_f[c] = st.y[net.lane_f + j]
        if net.has_out:
            st.y_out[c] = st.y[net.lane_out + j]
        st.s[c] = st.y_f[c] * st.s_before[c] + st.y_in[c] * st.y[c]
        st.h[c] = squashed(st.s[c], net.h)
        st.dh[c] = slope(st.h[c], net.h)


cdef void set_outputs(const Net* net, State* st) noexcept nogil:
    """The outputs, from the inputs and y."""
    cdef const double* w = net.out.w
    cdef Py_ssize_t n = net.n_outputs
    cdef Py_ssize_t k, u
    cdef double most, total = 0
    memset(st.o, 0, n * sizeof(double))
    if net.input_to_output:
        add_inputs(net, st, st.o, &net.out)
        w += net.n_inputs * n
    for u in range(net.n_hidden):
        add_row(st.o, w + u * n, st.y[net.lane_hidden + u], n)
    w += net.n_hidden * n
    for u in range(net.n_cells):
        add_row(st.o, w + u * n, st.y[u], n)
    if net.output_bias:
        add_row(st.o, w + net.n_cells * n, 1, n)
    if net.output != SOFTMAX:
        for k in range(n):
            st.o[k] = squashed(st.o[k], net.output)
        return
    most = st.o[0]
    for k in range(n):
        most = max(most, st.o[k])
    for k in range(n):
        st.o[k] = exp(st.o[k] - most)
        total += st.o[k]
    for k in range(n):
        st.o[k] /= total


cdef void forward(const Net* net, State* st, bint learns) noexcept nogil:
    """One step with the input that is set; with `learns`, the traces too."""
    cdef const double* w = net.hidden.w + net.n_inputs * net.n_units
    cdef Py_ssize_t n = net.n_units
    cdef Py_ssize_t u
    swap(&st.y, &st.y_before)
    swap(&st.s, &st.s_before)
    swap(&st.h, &st.h_before)
    swap(&st.dh, &st.dh_before)
    swap(&st.y_out, &st.y_out_before)
    if net.has_bias:
        memcpy(st.y, w + n, n * sizeof(double))
    else:
        memset(st.y, 0, n * sizeof(double))
    for u in range(n):
        st.y[u] += w[u] * st.y_before[u]
    add_inputs(net, st, st.y, &net.hidden)
    for u in range(net.n_cells):
        st.y[u] = squashed(st.y[u], net.g)
        st.dy[u] = slope(st.y[u], net.g)
    for u in range(net.n_cells, n):
        st.y[u] = squashed(st.y[u], LOGISTIC)
        st.dy[u] = st.y[u] * (1 - st.y[u])
    step_cells(net, st)
    if learns:
        advance_traces(net, st)
    for u in range(net.n_cells):
        st.y[u] = st.y_out[u] * st.h[u]
    set_outputs(net, st)


cdef void reset(const Net* net, State* st) noexcept nogil:
    cdef Py_ssize_t i
    memset(st.y, 0, net.n_units * sizeof(double))
    memset(st.s, 0, net.n_cells * sizeof(double))
    memset(st.h, 0, net.n_cells * sizeof(double))
    memset(st.dh, 0, net.n_cells * sizeof(double))
    if net.has_out:  # else it is 1
        memset(st.y_out, 0, net.n_cells * sizeof(double))
    for i in range(st.n_seen):
        memset(st.traces + st.seen[i] * net.n_traces, 0, net.n_traces * sizeof(double))
        st.is_seen[st.seen[i]] = 0
    st.n_seen = 0
    memset(st.traces + net.n_inputs * net.n_traces, 0, (1 + net.has_bias) * net.n_traces * sizeof(double))


# ---- the gradient, carried forward -----------------------------------------------------------------------------------

cdef void see_input(const Net* net, State* st, int32_t m) noexcept nogil:
    if not st.is_seen[m]:
        st.is_seen[m] = 1
        st.seen[st.n_seen] = m
        st.n_seen += 1


cdef void set_unit_factors(const Net* net, State* st, Py_ssize_t begin, Py_ssize_t lane, bint by_block) noexcept nogil:
    """The factors of dy/dw of gates, one for each cell, or of hidden units, from the part at `begin` on."""
    cdef const double* q = net.hidden.w + net.n_inputs * net.n_units
    cdef Py_ssize_t n = net.n_cells if by_block else net.n_hidden
    cdef Py_ssize_t i, u
    for i in range(n):
        u = lane + (net.block_of[i] if by_block else i)
        st.taken[begin + i] = st.dy[u]
        st.kept[begin + i] = st.dy[u] * q[u]


cdef void set_factors(const Net* net, State* st) noexcept nogil:
    """`kept` and `taken`, before y has the cells' activations: there it still has g(net_c).

    `taken` multiplies z in T_c and the parts G; in T_in, T_out and T_f it multiplies the G of that gate.
    """
    cdef const double* q = net.hidden.w + net.n_inputs * net.n_units
    cdef Py_ssize_t c
    cdef double p
    for c in range(net.n_cells):
        st.taken[net.T_c + c] = st.y_in[c] * st.dy[c]
        st.taken[net.T_in + c] = st.y[c]
        p = st.y_f[c] + st.taken[net.T_c + c] * q[c] * st.y_out_before[c] * st.dh_before[c]
        st.kept[net.T_c + c] = st.kept[net.T_in + c] = p
        if net.has_out:
            st.kept[net.T_out + c] = p
            st.taken[net.T_out + c] = st.taken[net.T_c + c] * q[c] * st.h_before[c]
        if net.has_f:
            st.kept[net.T_f + c] = p
            st.taken[net.T_f + c] = st.s_before[c]
    set_unit_factors(net, st, net.G_in, net.lane_in, True)
    if net.has_out:
        set_unit_factors(net, st, net.G_out, net.lane_out, True)
    if net.has_f:
        set_unit_factors(net, st, net.G_f, net.lane_f, True)
    set_unit_factors(net, st, net.G_h, net.lane_hidden, False)


cdef inline void add_products(double* to, const double* a, const double* b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] += a[i] * b[i]


cdef inline void advance_row(
    const Net* net, const State* st, double* row, double x, const double* z
) noexcept nogil:
    """The traces of one source: x, or z for each trace if that is not NULL. What reads G of t-1 comes first."""
    cdef Py_ssize_t n = net.n_cells
    cdef Py_ssize_t i
    for i in range(net.G_in):
        row[i] *= st.kept[i]
    if net.has_out:
        add_products(row + net.T_out, st.taken + net.T_out, row + net.G_out, n)
    if z == NULL:
        add_row(row + net.T_c, st.taken + net.T_c, x, n)
        for i in range(net.G_in, net.n_traces):
            row[i] = st.kept[i] * row[i] + st.taken[i] * x
    else:
        add_products(row + net.T_c, st.taken + net.T_c, z + net.T_c, n)
        for i in range(net.G_in, net.n_traces):
            row[i] = st.kept[i] * row[i] + st.taken[i] * z[i]
    add_products(row + net.T_in, st.taken + net.T_in, row + net.G_in, n)
    if net.has_f:
        add_products(row + net.T_f, st.taken + net.T_f, row + net.G_f, n)


cdef void spread(const Net* net, double* to, const double* of_units) noexcept nogil:
    """A number of each unit to the traces of its own weights; those of T_in, T_out and T_f stay."""
    cdef Py_ssize_t c, j
    memcpy(to + net.T_c, of_units, net.n_cells * sizeof(double))
    for c in range(net.n_cells):
        j = net.block_of[c]
        to[net.G_in + c] = of_units[net.lane_in + j]
        if net.has_out:
            to[net.G_out + c] = of_units[net.lane_out + j]
        if net.has_f:
            to[net.G_f + c] = of_units[net.lane_f + j]
    memcpy(to + net.G_h, of_units + net.lane_hidden, net.n_hidden * sizeof(double))


cdef void advance_traces(const Net* net, State* st) noexcept nogil:
    """All traces of this step: of the inputs seen, of the units themselves, of the bias."""
    cdef double* rest = st.traces + net.n_inputs * net.n_traces
    cdef Py_ssize_t i
    cdef int32_t m
    if st.symbol >= 0:
        see_input(net, st, st.symbol)
    elif st.n_seen < net.n_inputs:
        for m in range(<int32_t> net.n_inputs):
            see_input(net, st, m)
    set_factors(net, st)
    for i in range(st.n_seen):
        m = st.seen[i]
        advance_row(net, st, st.traces + m * net.n_traces, st.x[m] if st.symbol < 0 else st.symbol == m, NULL)
    spread(net, st.z, st.y_before)
    advance_row(net, st, rest, 0, st.z)
    if net.has_bias:
        spread(net, st.z, net.is_biased)
        advance_row(net, st, rest + net.n_traces, 0, st.z)


# ---- errors ----------------------------------------------------------------------------------------------------------

cdef void set_errors(const Net* net, State* st, const double* target) noexcept nogil:
    """e at the outputs' net inputs, and what each trace is multiplied by: the errors at y_u, at s_c, at y_out."""
    cdef const double* w = net.out.w + net.n_inputs * net.input_to_output * net.n_outputs
    cdef Py_ssize_t n = net.n_outputs
    cdef Py_ssize_t k, c
    cdef double error
    for k in range(n):
        st.e[k] = target[k] - st.o[k]
        if net.loss == HUBER:
            st.e[k] = min(max(st.e[k], -1.0), 1.0) if not isnan(st.e[k]) else st.e[k]
        elif net.loss == SQUARED and net.output == LOGISTIC:
            st.e[k] *= st.o[k] * (1 - st.o[k])
    for k in range(net.n_hidden):
        st.delta[net.G_h + k] = dot(w + k * n, st.e, n)
    w += net.n_hidden * n
    for c in range(net.n_cells):
        error = dot(w + c * n, st.e, n)
        st.delta[net.T_c + c] = error * st.y_out[c] * st.dh[c]
        if net.has_out:
            st.delta[net.G_out + c] = error * st.h[c]


cdef inline void add_gate(
    const Net* net, double* g, const double* row, const double* delta, Py_ssize_t first
) noexcept nogil:
    """g of gates: what comes by the cells of their blocks, the numbers of whose gate's first one is `first`."""
    cdef Py_ssize_t c
    for c in range(net.n_cells):
        g[first + net.block_of[c]] += delta[c] * row[c]


cdef inline void add_gradient_row(const Net* net, const State* st, Py_ssize_t m) noexcept nogil:
    """g += the gradient, of the weights from source m."""
    cdef double* g = net.hidden.g + m * net.n_units
    cdef const double* row = st.traces + m * net.n_traces
    cdef const double* delta = st.delta + net.T_c
    add_products(g, delta, row + net.T_c, net.n_cells)
    add_gate(net, g, row + net.T_in, delta, net.lane_in)
    if net.has_out:
        add_gate(net, g, row + net.T_out, delta, net.lane_out)
        add_gate(net, g, row + net.G_out, st.delta + net.G_out, net.lane_out)
    if net.has_f:
        add_gate(net, g, row + net.T_f, delta, net.lane_f)
    add_products(g + net.lane_hidden, st.delta + net.G_h, row + net.G_h, net.n_hidden)


cdef void add_gradient(Net* net, State* st) noexcept nogil:
    """g += the gradient of this step's error, whose e and delta are set."""
    cdef double* g = net.out.g
    cdef Py_ssize_t n = net.n_outputs
    cdef Py_ssize_t i, u
    net.e2 += dot(st.e, st.e, n)
    if net.input_to_output:
        for i in range(st.n_seen):
            u = st.seen[i]
            if st.symbol < 0:
                add_row(g + u * n, st.e, st.x[u], n)
            elif st.symbol == u:
                add_row(g + u * n, st.e, 1, n)
        g += net.n_inputs * n
    for u in range(net.n_hidden):
        add_row(g + u * n, st.e, st.y[net.lane_hidden + u], n)
    g += net.n_hidden * n
    for u in range(net.n_cells):
        add_row(g + u * n, st.e, st.y[u], n)
    if net.output_bias:
        add_row(g + net.n_cells * n, st.e, 1, n)
    for i in range(st.n_seen):
        add_gradient_row(net, st, st.seen[i])
    for u in range(net.n_inputs, net.n_inputs + 1 + net.has_bias):
        add_gradient_row(net, st, u)


# ---- changes of weights ----------------------------------------------------------------------------------------------

cdef struct Factors:
    double rate, by_m, by_v, scale      # learning rate; 1 / (1 - kept^t) of m and v; 1 / M


cdef inline double step_size(const Net* net, const Factors* by, const Matrix* a, Py_ssize_t i) noexcept nogil:
    if net.rule == SGD:
        return by.rate
    return by.rate / (sqrt(a.v[i] * by.by_v) + net.epsilon)


cdef double remember(
    const Net* net, const Factors* by, const Matrix* a, Py_ssize_t begin, Py_ssize_t n
) noexcept nogil:
    """Take g into m and v. Returns the sum of a g^2, with a the step sizes, if the rule has a bound."""
    cdef double moved = 0
    cdef Py_ssize_t i
    if a.m != NULL:
        for i in range(begin, begin + n):
            a.m[i] = net.kept_m * a.m[i] + (1 if net.rule == SGD else 1 - net.kept_m) * a.g[i]
    if a.v != NULL:
        for i in range(begin, begin + n):
            a.v[i] = net.kept_v * a.v[i] + (1 - net.kept_v) * a.g[i] * a.g[i]
    if net.bound:
        for i in range(begin, begin + n):
            moved += step_size(net, by, a, i) * a.g[i] * a.g[i]
    return moved


cdef double change(
    const Net* net, const Factors* by, const Matrix* a, Py_ssize_t begin, Py_ssize_t n
) noexcept nogil:
    """Change weights, and clear their g."""
    cdef const double* direction = a.g if a.m == NULL else a.m
    cdef double factor = by.scale * by.by_m
    cdef Py_ssize_t i
    if net.rule == SGD:
        add_row(a.w + begin, direction + begin, factor * by.rate, n)
    else:
        for i in range(begin, begin + n):
            a.w[i] += factor * step_size(net, by, a, i) * direction[i]
    memset(a.g + begin, 0, n * sizeof(double))
    return 0


cdef double over_weights(
    const Net* net, const State* st, const Factors* by,
    double (*use)(const Net*, const Factors*, const Matrix*, Py_ssize_t, Py_ssize_t) noexcept nogil
) noexcept nogil:
    """Use all weights but those from inputs that were not seen; returns the sum."""
    cdef const Matrix* a = &net.hidden
    cdef const Matrix* b = &net.out
    cdef double total = 0
    cdef Py_ssize_t first = net.n_inputs * net.input_to_output
    cdef Py_ssize_t i
    for i in range(st.n_seen):
        total += use(net, by, a, st.seen[i] * a.n_lanes, a.n_lanes)
        if net.input_to_output:
            total += use(net, by, b, st.seen[i] * b.n_lanes, b.n_lanes)
    total += use(net, by, a, net.n_inputs * a.n_lanes, (1 + net.has_bias) * a.n_lanes)
    return total + use(net, by, b, first * b.n_lanes, (b.n_sources - first) * b.n_lanes)


cdef double correction(double kept, double t) noexcept nogil:
    """1 / (1 - kept^t)."""
    return 1 / (1 - kept ** t)


cdef void update(Net* net, const State* st, double rate) noexcept nogil:
    """One update of the weights by g, which is then 0."""
    cdef Factors by
    cdef double moved
    net.n_updates[0] += 1
    by.rate, by.scale = rate, 1
    by.by_m = correction(net.kept_m, net.n_updates[0]) if net.rule == ADAM else 1
    by.by_v = correction(net.kept_v, net.n_updates[0]) if net.rule != SGD else 1
    if net.bound or net.hidden.m != NULL or net.hidden.v != NULL:
        moved = over_weights(net, st, &by, remember)
        if net.bound and net.e2 > 0 and moved > net.bound * net.e2:
            by.scale = net.bound * net.e2 / moved
    over_weights(net, st, &by, change)
    net.e2 = 0


cdef void forget_gradient(Net* net) noexcept nogil:
    """Clear g, which may hold that of a sequence that was not finished."""
    memset(net.hidden.g, 0, net.hidden.n_sources * net.hidden.n_lanes * sizeof(double))
    memset(net.out.g, 0, net.out.n_sources * net.out.n_lanes * sizeof(double))
    net.e2 = 0


cdef bint weights_finite(const Net* net) noexcept nogil:
    return (
        all_finite(net.hidden.w, net.hidden.n_sources * net.hidden.n_lanes)
        and all_finite(net.out.w, net.out.n_sources * net.out.n_lanes)
    )


cdef void learn_step(
    Net* net, State* st, const double* target, double rate, bint at_once, Tally* tally
) noexcept nogil:
    """One step with the input that is set, and learning from its targets; `target` and `tally` may be NULL."""
    forward(net, st, True)
    if target == NULL or isnan(target[0]):
        return
    if tally != NULL:
        add_to_tally(tally, st.o, target, net.n_outputs)
    set_errors(net, st, target)
    add_gradient(net, st)
    if at_once:
        update(net, st, rate)


cdef Py_ssize_t cost_of_step(const Net* net) noexcept nogil:
    """About how many multiplications a step takes."""
    return 100 + (net.n_inputs + 2) * (2 * net.n_traces + net.n_units) + net.out.n_sources * net.n_outputs


# ---- memory ----------------------------------------------------------------------------------------------------------

cdef void set_parts(Net* net) noexcept nogil:
    """Where the parts of a row of traces begin."""
    cdef Py_ssize_t n = net.n_cells
    net.T_c, net.T_in, net.T_out = 0, n, 2 * n
    net.T_f = net.T_out + n * net.has_out
    net.G_in = net.T_f + n * net.has_f
    net.G_out = net.G_in + n
    net.G_f = net.G_out + n * net.has_out
    net.G_h = net.G_f + n * net.has_f
    net.n_traces = net.G_h + net.n_hidden


cdef double* taken(double** end, Py_ssize_t n) noexcept nogil:
    """Memory for n numbers: the last of those that end there, and end before it now."""
    end[0] -= n
    return end[0]


# ---- sequences -------------------------------------------------------------------------------------------------------

cdef class Loops:
    """One net with its weights, a state for its stream and one for sequences. Arguments are packed and checked."""

    cdef Net net
    cdef State stream, sequence
    cdef readonly object w, w_out, n_updates
    cdef readonly dict memory
    cdef list arrays
    cdef double* row

    def __init__(self, numbers, rule, block_of, is_biased):
        """`numbers` and `rule` by the names of `NUMBERS` and `RULE`, and the arrays of `Net`."""
        cdef Net* net = &self.net
        cdef Py_ssize_t* number = &net.n_inputs
        cdef double* real = &net.kept_m
        self.arrays, self.memory = [block_of, is_biased], {}
        for i, name in enumerate(NUMBERS):
            number[i] = numbers[name]
        for i, name in enumerate(RULE):
            real[i] = rule[name]
        net.block_of, net.is_biased = <int32_t*> address(block_of), <double*> address(is_biased)
        set_parts(net)
        self.row = zeros(net.n_outputs, self.arrays)
        self.n_updates = np.zeros(1)
        net.n_updates = kept_address(self.n_updates, self.arrays)
        self.w = self.make_matrix(&net.hidden, "hidden", net.n_inputs + 1 + net.has_bias, net.n_units)
        self.w_out = self.make_matrix(&net.out, "output", net.n_out_sources, net.n_outputs)
        self.make_state(&self.stream)
        self.make_state(&self.sequence)

    cdef object make_matrix(self, Matrix* a, str name, Py_ssize_t n_sources, Py_ssize_t n_lanes):
        """Point at new weights, and the gradient and memory that belong to them; returns the weights."""
        cdef Net* net = &self.net
        a.n_sources, a.n_lanes = n_sources, n_lanes
        w = np.zeros((n_sources, n_lanes))
        a.w, a.g = kept_address(w, self.arrays), zeros(w.size, self.arrays)
        if net.rule == ADAM or (net.rule == SGD and net.kept_m):
            self.memory["m", name] = m = np.zeros(w.shape)
            a.m = kept_address(m, self.arrays)
        if net.rule != SGD:
            self.memory["v", name] = v = np.zeros(w.shape)
            a.v = kept_address(v, self.arrays)
        return w

    cdef int make_state(self, State* st) except -1:
        """Point at parts of new memory, from the end on."""
        cdef Net* net = &self.net
        cdef Py_ssize_t n = 2 * net.n_inputs + 3 * net.n_units + 10 * net.n_cells + 2 * net.n_outputs
        cdef Py_ssize_t n_traces = (net.n_inputs + 1 + net.has_bias + 4) * net.n_traces
        cdef double* end = zeros(n + n_traces, self.arrays) + n + n_traces
        cdef Py_ssize_t c
        seen = np.zeros(net.n_inputs, np.int32)
        self.arrays.append(seen)
        st.seen = <int32_t*> address(seen)
        st.is_seen, st.x = taken(&end, net.n_inputs), taken(&end, net.n_inputs)
        st.y, st.y_before, st.dy = taken(&end, net.n_units), taken(&end, net.n_units), taken(&end, net.n_units)
        st.s, st.s_before = taken(&end, net.n_cells), taken(&end, net.n_cells)
        st.h, st.h_before = taken(&end, net.n_cells), taken(&end, net.n_cells)
        st.dh, st.dh_before = taken(&end, net.n_cells), taken(&end, net.n_cells)
        st.y_in, st.y_f = taken(&end, net.n_cells), taken(&end, net.n_cells)
        st.y_out, st.y_out_before = taken(&end, net.n_cells), taken(&end, net.n_cells)
        st.o, st.e = taken(&end, net.n_outputs), taken(&end, net.n_outputs)
        st.kept, st.taken = taken(&end, net.n_traces), taken(&end, net.n_traces)
        st.z, st.delta = taken(&end, net.n_traces), taken(&end, net.n_traces)
        st.traces = taken(&end, (net.n_inputs + 1 + net.has_bias) * net.n_traces)
        for c in range(net.n_cells):
            st.y_f[c] = st.y_out[c] = st.y_out_before[c] = 1
        reset(net, st)
        return 0

    @property
    def n_bytes(self):
        """Bytes of memory of weights and states."""
        cdef Py_ssize_t total = 0
        # A loop, not a comprehension: where memory runs out in one, Cython 3.3 releases its item twice.
        for array in self.arrays:
            total += array.nbytes
        return total

    def reset(self):
        reset(&self.net, &self.stream)

    def run(self, inputs, Y):
        """Inference: continue the stream."""
        cdef Chunk chunk
        cdef Net* net = &self.net
        cdef State* st = &self.stream
        cdef Py_ssize_t t = 0, n = len(inputs)
        cdef Py_ssize_t cost
        cdef double* y = <double*> address(Y)
        bind_chunk(&chunk, inputs, None)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    set_input(net, st, &chunk, t)
                    forward(net, st, True)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    cost += cost_of_step(net)
                    t += 1
            PyErr_CheckSignals()

    def predict(self, inputs, offsets, Y):
        """Run over sequences, each from a zero state."""
        cdef Chunk chunk
        cdef Net* net = &self.net
        cdef State* st = &self.sequence
        cdef Py_ssize_t t = 0, i = 0, n = len(inputs)
        cdef Py_ssize_t cost
        cdef double* y = <double*> address(Y)
        cdef const int64_t* begins = <const int64_t*> address(offsets)
        bind_chunk(&chunk, inputs, None)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    while t == begins[i]:
                        reset(net, st)
                        i += 1
                    set_input(net, st, &chunk, t)
                    forward(net, st, False)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    cost += cost_of_step(net)
                    t += 1
            PyErr_CheckSignals()
        reset(net, st)

    def learn(self, inputs, targets, double rate, Y):
        """Continue the stream and learn; returns whether the weights are finite afterwards."""
        cdef Chunk chunk
        cdef Net* net = &self.net
        cdef State* st = &self.stream
        cdef Py_ssize_t t = 0, n = len(inputs)
        cdef Py_ssize_t cost
        cdef double* y = <double*> address(Y)
        bind_chunk(&chunk, inputs, targets)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    set_input(net, st, &chunk, t)
                    learn_step(net, st, target_at(&chunk, t, self.row, net.n_outputs), rate, True, NULL)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    cost += cost_of_step(net)
                    t += 1
            PyErr_CheckSignals()
        return weights_finite(net)

    def train(
        self, inputs, offsets, targets, bint target_per_sequence, order, double rate, bint at_once, history,
    ):
        """Train on sequences; the History is up to date however this ends."""
        cdef Chunk chunk
        cdef StopRule rule
        cdef Tally tally
        cdef Net* net = &self.net
        cdef State* st = &self.sequence
        cdef Py_ssize_t i = 0, t = 0, end = 0, position = -1, n_steps = 0
        cdef Py_ssize_t cost
        cdef bint stopped = False, finite = True
        cdef const double* target
        cdef Py_ssize_t n = len(order)
        cdef const int64_t* begins = <const int64_t*> address(offsets)
        cdef const int64_t* numbers = <const int64_t*> address(order)
        room = history._room(n)
        cdef double* errors = <double*> address(room)
        bind_chunk(&chunk, inputs, targets)
        take_rule(&rule, history)
        try:
            while position < n and not stopped and finite:
                with nogil:
                    cost = 0
                    while cost < SLICE:
                        if t < end:
                            set_input(net, st, &chunk, t)
                            target = NULL
                            if not target_per_sequence or t == end - 1:
                                target = target_at(&chunk, i if target_per_sequence else t, self.row, net.n_outputs)
                            learn_step(net, st, target, rate, at_once, &tally)
                            cost += cost_of_step(net)
                            t += 1
                            n_steps += 1
                            continue
                        if position >= 0:
                            if not at_once and tally.n_signals:
                                update(net, st, rate)
                            finite = weights_finite(net)
                            if not finite:
                                break
                            stopped = end_of_sequence(&tally, net.n_outputs, &errors[position], &rule)
                        position += 1
                        if position == n or stopped:
                            break
                        i = numbers[position]
                        t, end = begins[i], begins[i + 1]
                        memset(&tally, 0, sizeof(Tally))
                        reset(net, st)
                        cost += cost_of_step(net)
                PyErr_CheckSignals()
        finally:
            forget_gradient(net)
            give_back(&rule, max(position, 0), n_steps, stopped, history)
        if not finite:
            raise_not_finite(i)
