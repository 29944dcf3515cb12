"""The loops of recurrent cascade correlation: the net, and its passes through a training set.

name          shape                     meaning
------------  ------------------------  ------------------------------------------------------------------------------
x             (n_steps, n_inputs)       inputs, or the number of the one that is 1 (symbols)
hidden        (n_steps, n_hidden)       V_i(t), the activations of the installed units: frozen, so computed only once
residuals     (n_steps, n_outputs)      E_o(t) = (t_o - y_o) (f'(net_o) + offset), at the steps that have a target
w             (units, n_sources)        row u: the weights from every source to unit u
v             (n_steps,)                V(t), a candidate's activations
d             (n_sources,)              dV(t)/dw, carried forward from step to step
slope         as w                      the derivative with respect to w of what is minimized

Sources are inputs, hidden units, the unit's own activation of t-1 (not of outputs), 1: in this order. Indices: k, o
outputs, i units, m sources, t steps, s sequences. No Python objects inside the loops.
"""

from libc.math cimport NAN, exp, fabs, isfinite, isnan
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

import numpy as np

from lstm97._kernel.abi cimport StopRule
from lstm97._kernel.stop_rule cimport rule_holds
from lstm97._kernel.stop_window cimport give_back, take_rule

cdef struct Data:
    Py_ssize_t n_inputs, n_hidden, n_outputs
    const double *x             # NULL if there are symbols
    const int32_t *symbols      # NULL if there are none
    const int64_t *offsets
    const double *targets       # (n_steps, n_outputs)
    const uint8_t *has_target   # (n_steps,)
    const double *hidden
    double *residuals


# ---- small helpers ---------------------------------------------------------------------------------------------------

cdef inline double logistic(double a) noexcept nogil:
    """f(a) = 1 / (1 + exp(-a))."""
    return 1.0 / (1.0 + exp(-a))


cdef inline double squash(double a, bint symmetric) noexcept nogil:
    """A hidden unit's activation: f(a), or f(a) - 1/2."""
    return logistic(a) - 0.5 if symmetric else logistic(a)


cdef inline double slope_of(double y, bint symmetric) noexcept nogil:
    """f'(a) from y, the activation f(a), or f(a) - 1/2."""
    return 0.25 - y * y if symmetric else y * (1.0 - y)


cdef inline double dot(const double *a, const double *b, Py_ssize_t n) noexcept nogil:
    """sum_m a_m b_m."""
    cdef Py_ssize_t m
    cdef double total = 0
    for m in range(n):
        total += a[m] * b[m]
    return total


cdef inline void add(double *to, double factor, const double *a, Py_ssize_t n) noexcept nogil:
    """to_m += factor a_m."""
    cdef Py_ssize_t m
    for m in range(n):
        to[m] += factor * a[m]


cdef inline double from_inputs(const Data *data, Py_ssize_t t, const double *w) noexcept nogil:
    """The inputs' part of a net input."""
    if data.symbols != NULL:
        return w[data.symbols[t]]
    return dot(w, data.x + t * data.n_inputs, data.n_inputs)


cdef inline double from_layers(const Data *data, Py_ssize_t t, const double *w) noexcept nogil:
    """The inputs' and hidden units' part of a net input."""
    return from_inputs(data, t, w) + dot(w + data.n_inputs, data.hidden + t * data.n_hidden, data.n_hidden)


cdef inline void add_layers(double *to, double factor, const Data *data, Py_ssize_t t) noexcept nogil:
    """to_m += factor z_m(t), m the inputs and hidden units."""
    if data.symbols != NULL:
        to[data.symbols[t]] += factor
    else:
        add(to, factor, data.x + t * data.n_inputs, data.n_inputs)
    add(to + data.n_inputs, factor, data.hidden + t * data.n_hidden, data.n_hidden)


# ---- the net ---------------------------------------------------------------------------------------------------------

cdef void step(
    const Data *data, Py_ssize_t t, const double *w, bint symmetric, bint linear, double *state, double *y
) noexcept nogil:
    """One step of the net, all weights in one row w: the activations in state go from t - 1 to t; writes y_k."""
    cdef Py_ssize_t i, k
    cdef double net
    for i in range(data.n_hidden):
        # Unit i sees the units before it at t, in state[:i], and itself at t - 1, still in state[i].
        net = from_inputs(data, t, w) + dot(w + data.n_inputs, state, i + 1) + w[data.n_inputs + i + 1]
        state[i] = squash(net, symmetric)
        w += data.n_inputs + i + 2
    for k in range(data.n_outputs):
        net = from_inputs(data, t, w) + dot(w + data.n_inputs, state, data.n_hidden) + w[data.n_inputs + data.n_hidden]
        y[k] = net if linear else logistic(net)
        w += data.n_inputs + data.n_hidden + 1


cdef void follow(
    const Data *data, Py_ssize_t begin, Py_ssize_t end, const double *w, bint symmetric, double *v
) noexcept nogil:
    """V(t) of a unit after all installed ones, for one sequence: f(sum_m w_m z_m(t) + w_self V(t-1) + w_bias)."""
    cdef Py_ssize_t t
    cdef Py_ssize_t own = data.n_inputs + data.n_hidden
    cdef double before = 0
    for t in range(begin, end):
        before = squash(from_layers(data, t, w) + w[own] * before + w[own + 1], symmetric)
        v[t] = before


# ---- output weights --------------------------------------------------------------------------------------------------

cdef double learn_outputs(
    const Data *data, Py_ssize_t t, const double *w, double offset, bint linear,
    double *slope, double *error_sum, double *worst
) noexcept nogil:
    """Errors at a step with a target: E_o(t), and slope_om -= E_o z_m(t); returns sum_o (t_o - y_o)^2."""
    cdef Py_ssize_t k
    cdef Py_ssize_t bias = data.n_inputs + data.n_hidden
    cdef double y, error, residual
    cdef double squares = 0
    for k in range(data.n_outputs):
        y = from_layers(data, t, w) + w[bias]
        if not linear:
            y = logistic(y)
        error = data.targets[t * data.n_outputs + k] - y
        residual = error if linear else error * (y * (1.0 - y) + offset)
        data.residuals[t * data.n_outputs + k] = residual
        add_layers(slope, -residual, data, t)
        slope[bias] -= residual
        squares += error * error
        error = fabs(error)
        error_sum[0] += error
        if error > worst[0] or isnan(error):  # a NaN stays: nothing is greater
            worst[0] = error
        w += bias + 1
        slope += bias + 1
    return squares


# ---- candidates ------------------------------------------------------------------------------------------------------

cdef Py_ssize_t weigh_residuals(
    const Data *data, const int64_t *order, Py_ssize_t n_order, double *mean, double *squares
) noexcept nogil:
    """The mean of each E_o over the steps with a target, and the sum of all E_o^2; returns the number of such steps."""
    cdef Py_ssize_t p, t, o
    cdef Py_ssize_t n = 0
    cdef const double *e
    squares[0] = 0
    memset(mean, 0, data.n_outputs * sizeof(double))
    for p in range(n_order):
        for t in range(data.offsets[order[p]], data.offsets[order[p] + 1]):
            if data.has_target[t]:
                e = data.residuals + t * data.n_outputs
                add(mean, 1.0, e, data.n_outputs)
                squares[0] += dot(e, e, data.n_outputs)
                n += 1
    for o in range(data.n_outputs):
        mean[o] /= max(n, 1)
    return n


cdef void correlate(
    const Data *data, const int64_t *order, Py_ssize_t n_order, const double *mean, double scale,
    const double *w, bint symmetric, double *v, double *correlation
) noexcept nogil:
    """A candidate's C_o = scale sum_t V(t) (E_o(t) - mean E_o); the mean of V drops out of the sum."""
    cdef Py_ssize_t p, t, o, begin, end
    memset(correlation, 0, data.n_outputs * sizeof(double))
    for p in range(n_order):
        begin, end = data.offsets[order[p]], data.offsets[order[p] + 1]
        follow(data, begin, end, w, symmetric, v)
        for t in range(begin, end):
            if data.has_target[t]:
                for o in range(data.n_outputs):
                    correlation[o] += scale * v[t] * (data.residuals[t * data.n_outputs + o] - mean[o])


cdef void climb(
    const Data *data, const int64_t *order, Py_ssize_t n_order, const double *mean, double scale,
    const double *w, bint symmetric, const double *v, const double *correlation, double *d, double *slope
) noexcept nogil:
    """A candidate's slope_m -= dS/dw_m, S = sum_o |C_o|, after `correlate`.

    dV(t)/dw_m = f'(net(t)) (z_m(t) + w_self dV(t-1)/dw_m)
    """
    cdef Py_ssize_t p, t, m, o, begin
    cdef Py_ssize_t own = data.n_inputs + data.n_hidden
    cdef double prime, carry, factor, deviation
    for p in range(n_order):
        begin = data.offsets[order[p]]
        memset(d, 0, (own + 2) * sizeof(double))
        for t in range(begin, data.offsets[order[p] + 1]):
            prime = slope_of(v[t], symmetric)
            carry = prime * w[own]
            for m in range(own + 2):
                d[m] *= carry
            add_layers(d, prime, data, t)
            if t > begin:
                d[own] += prime * v[t - 1]
            d[own + 1] += prime
            if data.has_target[t]:
                factor = 0
                for o in range(data.n_outputs):
                    deviation = data.residuals[t * data.n_outputs + o] - mean[o]
                    factor += deviation if correlation[o] >= 0 else -deviation
                add(slope, -scale * factor, d, own + 2)


# ---- quickprop -------------------------------------------------------------------------------------------------------

cdef inline double quick_step(double slope, double before, double last, double epsilon, double mu) noexcept nogil:
    """The next step of a weight: to the minimum of the parabola with the slopes now and before its last step.

    That part is at most mu times the last step. A step down the slope is added if the last step went down it too, and
    is all if there was no last step.
    """
    cdef double next_step = 0
    cdef double sign = 1.0 if last > 0 else -1.0
    if last == 0:
        return -epsilon * slope
    if sign * slope < 0:
        next_step = -epsilon * slope
    if sign * slope <= sign * before * mu / (1.0 + mu):
        return next_step + mu * last
    return next_step + last * slope / (before - slope)


# ---- entry points ----------------------------------------------------------------------------------------------------

cdef int bind(Data *data, object inputs, Py_ssize_t n_inputs) except -1:
    """Point data at packed inputs: int32 symbols or float64 rows."""
    cdef const int32_t[::1] symbols
    cdef const double[:, ::1] x
    if inputs.ndim == 1:
        symbols = inputs
        data.symbols = &symbols[0]
    else:
        x = inputs
        if x.shape[1] != n_inputs:
            raise ValueError(f"inputs has {x.shape[1]} columns, expected {n_inputs}")
        data.x = &x[0, 0]
    data.n_inputs = n_inputs
    return 0


def run(
    inputs, const int64_t[::1] offsets, const double[::1] weights, Py_ssize_t n_inputs, bint symmetric, bint linear,
    double[::1] state, bint fresh, double[:, ::1] Y
):
    """The outputs for sequences packed one after the other; with `fresh`, each from a state of zero."""
    cdef Data data
    cdef Py_ssize_t s, t
    memset(&data, 0, sizeof(Data))
    bind(&data, inputs, n_inputs)
    data.n_hidden = state.shape[0]
    data.n_outputs = Y.shape[1]
    with nogil:
        for s in range(offsets.shape[0] - 1):
            if fresh:
                memset(&state[0], 0, data.n_hidden * sizeof(double))
            for t in range(offsets[s], offsets[s + 1]):
                step(&data, t, &weights[0], symmetric, linear, &state[0], &Y[t, 0])


def quickprop(
    double[:, ::1] weights, double[:, ::1] slope, double[:, ::1] before, double[:, ::1] last,
    double epsilon, double mu, double decay
):
    """Change weights by their slopes; returns whether all are finite. Stores slopes in `before` and steps in `last`."""
    cdef Py_ssize_t u, m
    cdef double gradient
    cdef bint finite = True
    with nogil:
        for u in range(weights.shape[0]):
            for m in range(weights.shape[1]):
                gradient = slope[u, m] + decay * weights[u, m]
                last[u, m] = quick_step(gradient, before[u, m], last[u, m], epsilon, mu)
                before[u, m] = gradient
                weights[u, m] += last[u, m]
                finite = finite and isfinite(weights[u, m])
    return finite


cdef class TrainingSet:
    """A set of sequences, the installed units' activations at all its steps, and the passes through it.

    Parameters
    ----------
    inputs : ndarray, shape (n_steps, n_inputs), float64, or (n_steps,), int32
        Packed rows or symbols. These arrays must not change.
    offsets : ndarray of int64, shape (n_sequences + 1,)
        Where the sequences begin and end.
    targets : ndarray of float64, shape (n_steps, n_outputs)
        Rows of NaN where there is no target.
    n_inputs : int
    symmetric, linear : bool
        Whether hidden units range from -1/2 to 1/2 (else 0 to 1), and whether outputs are linear (else logistic).
    """

    cdef Data data
    cdef bint symmetric, linear
    cdef readonly object errors     # (n_sequences,) mean |t - y| by the last output pass; NaN if there is no target
    cdef readonly object worst      # (n_sequences,) largest |t - y| by the last output pass
    cdef readonly object hidden     # (n_steps, n_hidden)
    cdef readonly object residuals  # (n_steps, n_outputs)
    cdef double[::1] error_of, worst_of, v
    cdef object kept

    def __init__(
        self, inputs, const int64_t[::1] offsets, const double[:, ::1] targets, Py_ssize_t n_inputs, bint symmetric,
        bint linear
    ):
        cdef const uint8_t[::1] has_target = (~np.isnan(targets[:, 0])).view(np.uint8)
        cdef double[:, ::1] residuals
        memset(&self.data, 0, sizeof(Data))
        bind(&self.data, inputs, n_inputs)
        self.residuals = np.zeros((targets.shape[0], targets.shape[1]))
        residuals = self.residuals
        self.kept = (inputs, offsets, targets, has_target)
        self.data.n_outputs = targets.shape[1]
        self.data.offsets = &offsets[0]
        self.data.targets = &targets[0, 0]
        self.data.has_target = &has_target[0]
        self.data.residuals = &residuals[0, 0]
        self.symmetric, self.linear = symmetric, linear
        self.errors = np.full(offsets.shape[0] - 1, NAN)
        self.worst = np.full(offsets.shape[0] - 1, NAN)
        self.error_of, self.worst_of, self.v = self.errors, self.worst, np.zeros(targets.shape[0])
        self.keep(np.empty((targets.shape[0], 0)))

    cdef int keep(self, object hidden) except -1:
        """Store the activations of all installed units and point data at them."""
        cdef double[:, ::1] view = hidden
        self.hidden = hidden
        self.data.hidden = &view[0, 0]
        self.data.n_hidden = view.shape[1]
        return 0

    cdef int check(self, Py_ssize_t n_sources, Py_ssize_t n_own, Py_ssize_t n_units, Py_ssize_t n_wanted) except -1:
        """Refuse arrays whose shape does not fit this net."""
        cdef Py_ssize_t wanted = self.data.n_inputs + self.data.n_hidden + n_own
        if n_sources != wanted or n_units != n_wanted:
            raise ValueError(f"arrays have shape ({n_units}, {n_sources}), expected ({n_wanted}, {wanted})")
        return 0

    def add_unit(self, const double[::1] w):
        """Run one more unit, with weights (n_inputs + n_hidden + 2,), over the set and store its activations."""
        cdef Py_ssize_t s
        self.check(w.shape[0], 2, 1, 1)
        with nogil:
            for s in range(self.error_of.shape[0]):
                follow(&self.data, self.data.offsets[s], self.data.offsets[s + 1], &w[0], self.symmetric, &self.v[0])
        self.keep(np.ascontiguousarray(np.column_stack([self.hidden, self.v])))

    def output_pass(
        self, const int64_t[::1] order, const double[:, ::1] w, double offset, double[:, ::1] slope
    ):
        """One pass with these output weights: writes errors and residuals, adds the weights' slopes to `slope`.

        Returns the sum of squared errors, and the number of steps with a target.
        """
        cdef Py_ssize_t p, t
        cdef Py_ssize_t n = 0
        cdef Py_ssize_t n_here
        cdef int64_t s
        cdef double error, worst
        cdef double squares = 0
        self.check(w.shape[1], 1, w.shape[0], self.data.n_outputs)
        self.check(slope.shape[1], 1, slope.shape[0], self.data.n_outputs)
        with nogil:
            for p in range(order.shape[0]):
                s = order[p]
                error = worst = 0
                n_here = 0
                for t in range(self.data.offsets[s], self.data.offsets[s + 1]):
                    if self.data.has_target[t]:
                        squares += learn_outputs(
                            &self.data, t, &w[0, 0], offset, self.linear, &slope[0, 0], &error, &worst
                        )
                        n_here += 1
                self.error_of[s] = error / (n_here * self.data.n_outputs) if n_here else NAN
                self.worst_of[s] = worst if n_here else NAN
                n += n_here
        return squares, n

    def candidate_pass(
        self, const int64_t[::1] order, const double[:, ::1] w, double[:, ::1] correlation, double[:, ::1] slope=None
    ):
        """One pass with a pool of candidates: writes the C_o of each; adds the slopes of -S to `slope`, if not None.

        C_o is divided by the sum of all squared residuals, so that its size does not depend on the size of the errors.
        Returns the number of steps with a target.
        """
        cdef Py_ssize_t c, n
        cdef double squares, scale
        cdef bint climbs = slope is not None
        cdef double[::1] mean = np.empty(self.data.n_outputs)
        cdef double[::1] d = np.empty(w.shape[1])
        self.check(w.shape[1], 2, correlation.shape[0], w.shape[0])
        if correlation.shape[1] != self.data.n_outputs:
            raise ValueError(f"correlation has {correlation.shape[1]} columns, expected {self.data.n_outputs}")
        if climbs:
            self.check(slope.shape[1], 2, slope.shape[0], w.shape[0])
        with nogil:
            n = weigh_residuals(&self.data, &order[0], order.shape[0], &mean[0], &squares)
            scale = 1.0 / squares if squares > 0 else 0.0
            for c in range(w.shape[0]):
                correlate(
                    &self.data, &order[0], order.shape[0], &mean[0], scale, &w[c, 0], self.symmetric, &self.v[0],
                    &correlation[c, 0],
                )
                if climbs:
                    climb(
                        &self.data, &order[0], order.shape[0], &mean[0], scale, &w[c, 0], self.symmetric, &self.v[0],
                        &correlation[c, 0], &d[0], &slope[c, 0],
                    )
        return n


def enter(history, const double[::1] errors, const double[::1] worst):
    """Enter the errors of sequences into a History, one by one, until its stop rule holds; returns their number.

    `errors` are the mean, `worst` the largest ``|t - y|`` of each sequence; NaN if it has no target.
    """
    cdef StopRule rule
    cdef Py_ssize_t i, n = errors.shape[0]
    cdef bint stopped = history._stopped
    take_rule(&rule, history)
    if rule.window:
        for i in range(n):
            if not isnan(errors[i]) and rule_holds(&rule, errors[i], not worst[i] <= rule.tolerance):
                n = i + 1
                stopped = True
                break
    history._room(n)[:] = errors[:n]
    give_back(&rule, n, 0, stopped, history)
    return n
