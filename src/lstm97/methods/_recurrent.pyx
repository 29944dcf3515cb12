"""The loops of simple recurrent nets: forward, real-time recurrent learning, backpropagation through time, the chunker.

name          shape                     meaning
------------  ------------------------  ------------------------------------------------------------------------------
x             (n_inputs,)               inputs of the step, or the number of the one that is 1
fed           (n_units,)                what the recurrent layer sees of itself: y of t-1, or forced targets
y             (n_units,)                activations of the recurrent layer: y_k = f(sum_m w_km z_m), z = x, fed, 1
o             (n_outputs,)              outputs: the last of y, or a layer of their own that sees x (or not), y, 1
w, v          (n_sources, units)        row m: the weights from source m into the recurrent layer, into the outputs
w_change, ..  as w, v                   where changes are added: the weights themselves, or sums applied later
e             (n_outputs,)              learning rate * f'(net_k) (t_k - o_k); 0 where t_k is NaN
delta         (n_units,)                errors at the recurrent layer's net inputs (BPTT) or activations (RTRL)
p             (n_units, n_padded)       RTRL's sensitivities dy_k/dw_im at [k, m n + i], n = n_units
past_*        (capacity, ...)           BPTT's rings: step t is at t % capacity

Matrices are source-major, so that one symbol's weights are neighbours and every long loop runs along memory.
Indices: j, k, u units, m sources, i weights or units, t steps. No Python objects inside the loops.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport NAN, exp, fabs, isnan, tanh
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

cdef enum:
    LOGISTIC
    TANH
    IDENTITY

cdef enum:
    BLOCK = 8               # weights whose sensitivities are advanced together: their sums fit the registers
    SLICE = 20_000_000      # about as many multiplications run between two checks for signals

cdef struct Net:
    Py_ssize_t n_inputs, n_units, n_outputs, n_sources, n_out_sources
    Py_ssize_t n_padded             # weights of the recurrent layer, rounded up to a multiple of BLOCK
    bint separate, input_to_output, bias
    bint trains_through_time        # BPTT rather than RTRL
    bint forced                     # teacher forcing
    int squash, output
    int64_t depth                   # BPTT: steps an error goes back, its own included; 0: to the beginning
    double *w
    double *v
    double *w_change
    double *v_change
    double *w_sum
    double *v_sum
    const double *sees              # (n_units, n_units) row j: 1 where unit k sees unit j, else 0; or NULL: all

cdef struct State:
    int64_t n_steps                 # since the last reset
    int32_t symbol                  # the number of the input that is 1, or -1 if the inputs are in x
    double *x
    double *fed
    double *y
    double *o
    double *e
    double *delta
    double *delta_before
    double *p
    double *block                   # (n_units, BLOCK)
    int64_t capacity
    int32_t *past_symbol
    double *past_x
    double *past_y
    double *past_injected           # the errors that reached the recurrent layer's activations directly

cdef struct Pair:                   # the state that the chunker's two nets share
    bint next_inputs                # targets are the next inputs
    Py_ssize_t n_imitated           # the chunker's units that the automatizer predicts: hidden ones, then outputs
    bint timed                      # the chunker has an input for the time
    bint had_target                 # the last step had a target, which was the next input if next_inputs
    double threshold
    int64_t clock                   # steps since the reset
    int64_t last                    # time of the latest input that was passed on, the first input's being 1
    int64_t *passed                 # times of the inputs passed on, or NULL
    Py_ssize_t n_passed             # number of the inputs passed on
    double *target_low              # scratch, (outputs of the automatizer,)
    double *target_high             # scratch, (outputs of the chunker,)
    double *row                     # scratch, (n_inputs,)


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef inline double squashed(double a, int kind) noexcept nogil:
    if kind == LOGISTIC:
        return 1 / (1 + exp(-a))
    return tanh(a) if kind == TANH else a


cdef inline double slope(double y, int kind) noexcept nogil:
    """f'(a) from y = f(a)."""
    if kind == LOGISTIC:
        return y * (1 - y)
    return 1 - y * y if kind == TANH else 1


cdef inline void add_inputs(const Net* net, const State* st, double* to, const double* w, Py_ssize_t n) noexcept nogil:
    """to += sum over the inputs of x_m w_m, for n units."""
    cdef Py_ssize_t m
    if st.symbol >= 0:
        add_row(to, w + st.symbol * n, 1, n)
        return
    for m in range(net.n_inputs):
        if st.x[m] != 0:
            add_row(to, w + m * n, st.x[m], n)


cdef void set_input(const Net* net, State* st, const Chunk* chunk, Py_ssize_t t) noexcept nogil:
    """Copy the input of step t of a chunk into the state."""
    if chunk.symbols != NULL:
        st.symbol = chunk.symbols[t]
    else:
        st.symbol = -1
        memcpy(st.x, chunk.values + t * net.n_inputs, net.n_inputs * sizeof(double))


cdef void take_row(const Chunk* chunk, Py_ssize_t t, double* row, Py_ssize_t n) noexcept nogil:
    """The input of step t of a chunk as a row, one-hot for a symbol."""
    if chunk.symbols == NULL:
        memcpy(row, chunk.values + t * n, n * sizeof(double))
    else:
        memset(row, 0, n * sizeof(double))
        row[chunk.symbols[t]] = 1


cdef void forward(const Net* net, State* st) noexcept nogil:
    """Compute y and o from x and fed."""
    cdef Py_ssize_t n = net.n_units
    cdef Py_ssize_t u, m
    cdef const double* v = net.v
    memset(st.y, 0, n * sizeof(double))
    add_inputs(net, st, st.y, net.w, n)
    for m in range(n):
        if st.fed[m] != 0:
            add_row(st.y, net.w + (net.n_inputs + m) * n, st.fed[m], n)
    if net.bias:
        add_row(st.y, net.w + (net.n_inputs + n) * n, 1, n)
    for u in range(n):
        st.y[u] = squashed(st.y[u], net.squash)
    if not net.separate:
        memcpy(st.o, st.y + n - net.n_outputs, net.n_outputs * sizeof(double))
        return
    memset(st.o, 0, net.n_outputs * sizeof(double))
    if net.input_to_output:
        add_inputs(net, st, st.o, v, net.n_outputs)
        v += net.n_inputs * net.n_outputs
    for m in range(n):
        add_row(st.o, v + m * net.n_outputs, st.y[m], net.n_outputs)
    if net.bias:
        add_row(st.o, v + n * net.n_outputs, 1, net.n_outputs)
    for u in range(net.n_outputs):
        st.o[u] = squashed(st.o[u], net.output)


cdef void reset(const Net* net, State* st) noexcept nogil:
    st.n_steps = 0
    memset(st.y, 0, net.n_units * sizeof(double))
    memset(st.o, 0, net.n_outputs * sizeof(double))
    memset(st.fed, 0, net.n_units * sizeof(double))


cdef inline void feed_back(const Net* net, State* st) noexcept nogil:
    """End a step: its activations become what the next step sees."""
    memcpy(st.fed, st.y, net.n_units * sizeof(double))
    st.n_steps += 1


# ---- real-time recurrent learning ------------------------------------------------------------------------------------

cdef void advance_block(const Net* net, State* st, Py_ssize_t begin) noexcept nogil:
    """p_k = f'(net_k) sum_j w_kj p_j for BLOCK weights; the new ones wait in `block` until every unit has read them."""
    cdef Py_ssize_t n = net.n_units
    cdef Py_ssize_t k, j, i
    cdef double factor
    cdef double sums[BLOCK]
    cdef const double* p_j
    for k in range(n):
        for i in range(BLOCK):
            sums[i] = 0
        for j in range(n):
            factor = net.w[(net.n_inputs + j) * n + k]
            p_j = st.p + j * net.n_padded + begin
            for i in range(BLOCK):
                sums[i] += factor * p_j[i]
        factor = slope(st.y[k], net.squash)
        for i in range(BLOCK):
            st.block[k * BLOCK + i] = factor * sums[i]
    for k in range(n):
        memcpy(st.p + k * net.n_padded + begin, st.block + k * BLOCK, BLOCK * sizeof(double))


cdef void advance_sensitivities(const Net* net, State* st) noexcept nogil:
    """dy_k/dw_im (t) = f'(net_k) (sum_j w_kj dy_j/dw_im (t-1) + z_m if k = i), for every weight of the layer.

    Reads fed, x and y of this step. The second part is left out for absent connections, so their weights do not change.
    """
    cdef Py_ssize_t n = net.n_units
    cdef Py_ssize_t k, m
    cdef double factor
    cdef double* p_k
    if st.n_steps == 0:
        memset(st.p, 0, n * net.n_padded * sizeof(double))
    else:
        for k in range(net.n_padded // BLOCK):
            advance_block(net, st, k * BLOCK)
    for k in range(n):
        p_k = st.p + k * net.n_padded + k
        factor = slope(st.y[k], net.squash)
        if st.symbol >= 0:
            p_k[st.symbol * n] += factor
        else:
            for m in range(net.n_inputs):
                p_k[m * n] += factor * st.x[m]
        p_k += net.n_inputs * n
        for m in range(n):
            p_k[m * n] += factor * st.fed[m] * (1 if net.sees == NULL else net.sees[m * n + k])
        if net.bias:
            p_k[n * n] += factor


# ---- backpropagation through time ------------------------------------------------------------------------------------

cdef void remember(const Net* net, State* st) noexcept nogil:
    """Store this step in the rings, for errors that go back to it later."""
    cdef int64_t slot = st.n_steps % st.capacity
    st.past_symbol[slot] = st.symbol
    if st.symbol < 0:
        memcpy(st.past_x + slot * net.n_inputs, st.x, net.n_inputs * sizeof(double))
    memcpy(st.past_y + slot * net.n_units, st.y, net.n_units * sizeof(double))
    memset(st.past_injected + slot * net.n_units, 0, net.n_units * sizeof(double))


cdef void go_back(const Net* net, State* st, int64_t depth, bint collect) noexcept nogil:
    """w_change += the errors at the net inputs times their sources, over `depth` steps back from this one.

    The errors at the activations of this step are in delta. With `collect`, the stored errors of the earlier steps are
    added on the way.
    """
    cdef Py_ssize_t n = net.n_units
    cdef int64_t t = st.n_steps
    cdef int64_t last = max(<int64_t> 0, t - depth + 1)
    cdef Py_ssize_t u, m
    cdef int64_t slot
    cdef const double* y
    cdef const double* y_before
    cdef const double* x
    cdef double* row
    cdef double* swap
    while t >= last:
        slot = t % st.capacity
        y = st.past_y + slot * n
        for u in range(n):
            st.delta[u] *= slope(y[u], net.squash)
        if st.past_symbol[slot] >= 0:
            add_row(net.w_change + st.past_symbol[slot] * n, st.delta, 1, n)
        else:
            x = st.past_x + slot * net.n_inputs
            for m in range(net.n_inputs):
                if x[m] != 0:
                    add_row(net.w_change + m * n, st.delta, x[m], n)
        if net.bias:
            add_row(net.w_change + (net.n_inputs + n) * n, st.delta, 1, n)
        if t > 0:
            y_before = st.past_y + ((t - 1) % st.capacity) * n
            for m in range(n):
                row = net.w_change + (net.n_inputs + m) * n
                if net.sees == NULL:
                    add_row(row, st.delta, y_before[m], n)
                else:
                    for u in range(n):
                        row[u] += st.delta[u] * y_before[m] * net.sees[m * n + u]
        if t > last:
            for m in range(n):
                st.delta_before[m] = dot(net.w + (net.n_inputs + m) * n, st.delta, n)
            swap = st.delta
            st.delta = st.delta_before
            st.delta_before = swap
            if collect:
                add_row(st.delta, st.past_injected + ((t - 1) % st.capacity) * n, 1, n)
        t -= 1


# ---- errors and weight changes ---------------------------------------------------------------------------------------

cdef inline void advance(const Net* net, State* st) noexcept nogil:
    """One step forward, with the data that learning needs; `feed_back` ends it."""
    forward(net, st)
    if net.trains_through_time:
        remember(net, st)
    else:
        advance_sensitivities(net, st)


cdef void add_change(double* w, double* change, Py_ssize_t n) noexcept nogil:
    """w += change; change = 0."""
    add_row(w, change, 1, n)
    memset(change, 0, n * sizeof(double))


cdef void apply_sums(const Net* net) noexcept nogil:
    """Add the summed changes to the weights and clear the sums."""
    add_change(net.w, net.w_sum, net.n_sources * net.n_units)
    add_change(net.v, net.v_sum, net.n_out_sources * net.n_outputs)


cdef void change_outputs(const Net* net, const State* st) noexcept nogil:
    """v_change += e z, z the outputs' sources."""
    cdef Py_ssize_t n = net.n_outputs
    cdef double* change = net.v_change
    cdef Py_ssize_t m
    if net.input_to_output:
        if st.symbol >= 0:
            add_row(change + st.symbol * n, st.e, 1, n)
        else:
            for m in range(net.n_inputs):
                if st.x[m] != 0:
                    add_row(change + m * n, st.e, st.x[m], n)
        change += net.n_inputs * n
    for m in range(net.n_units):
        add_row(change + m * n, st.e, st.y[m], n)
    if net.bias:
        add_row(change + net.n_units * n, st.e, 1, n)


cdef bint set_errors(const Net* net, State* st, const double* target, double rate) noexcept nogil:
    """Set e, and delta at the activations, from the targets of this step; returns whether there are any."""
    cdef Py_ssize_t k, m
    cdef Py_ssize_t n = net.n_units
    cdef const double* v = net.v + net.n_inputs * net.input_to_output * net.n_outputs
    cdef bint found = False
    for k in range(net.n_outputs):
        if isnan(target[k]):
            st.e[k] = 0
        else:
            found = True
            st.e[k] = rate * (target[k] - st.o[k])
    if not found:
        return False
    if net.separate:
        for k in range(net.n_outputs):
            st.e[k] *= slope(st.o[k], net.output)
        for m in range(n):
            st.delta[m] = dot(v + m * net.n_outputs, st.e, net.n_outputs)
    else:
        memset(st.delta, 0, n * sizeof(double))
        memcpy(st.delta + n - net.n_outputs, st.e, net.n_outputs * sizeof(double))
    return True


cdef bint learn_from(const Net* net, State* st, const double* target, double rate, bint at_once) noexcept nogil:
    """Learn from the targets of this step, after `advance`, at once or into the sums. Returns whether there were any.

    RTRL: w_im changes by sum_k delta_k dy_k/dw_im. BPTT at once, or truncated: the errors go back from here. BPTT by
    the sequence without truncation: they are stored, and `collect` sends them all back at the sequence's end.
    """
    cdef Py_ssize_t n_weights = net.n_sources * net.n_units
    cdef Py_ssize_t k
    if not set_errors(net, st, target, rate):
        return False
    if net.separate:
        change_outputs(net, st)
    if not net.trains_through_time:
        for k in range(net.n_units):
            if st.delta[k] != 0:
                add_row(net.w_change, st.p + k * net.n_padded, st.delta[k], n_weights)
        return True
    if at_once or net.depth:
        go_back(net, st, net.depth if net.depth else st.n_steps + 1, False)
    else:
        memcpy(st.past_injected + (st.n_steps % st.capacity) * net.n_units, st.delta, net.n_units * sizeof(double))
    if at_once:
        add_change(net.w, net.w_sum, n_weights)
    return True


cdef void collect(const Net* net, State* st) noexcept nogil:
    """At a sequence's end: the stored errors of all its steps go back in one pass, in BPTT without truncation."""
    if not net.trains_through_time or net.depth or not st.n_steps:
        return
    st.n_steps -= 1
    memcpy(st.delta, st.past_injected + (st.n_steps % st.capacity) * net.n_units, net.n_units * sizeof(double))
    go_back(net, st, st.n_steps + 1, True)
    st.n_steps += 1


cdef void force(const Net* net, State* st, const double* target) noexcept nogil:
    """Teacher forcing: the next step sees targets instead of outputs; they depend on no weight, so their p are 0."""
    cdef Py_ssize_t k
    cdef Py_ssize_t first = net.n_units - net.n_outputs
    for k in range(net.n_outputs):
        if not isnan(target[k]):
            st.fed[first + k] = target[k]
            memset(st.p + (first + k) * net.n_padded, 0, net.n_padded * sizeof(double))


cdef void learn_step(
    const Net* net, State* st, const double* target, double rate, bint at_once, Tally* tally
) noexcept nogil:
    """One step with the input that is set, and learning from its targets; `target` and `tally` may be NULL."""
    advance(net, st)
    if target != NULL:
        if tally != NULL:
            add_to_tally(tally, st.o, target, net.n_outputs)
        learn_from(net, st, target, rate, at_once)
    feed_back(net, st)
    if net.forced and target != NULL:
        force(net, st, target)


cdef void forget_sums(const Net* net) noexcept nogil:
    """Clear the sums, which may hold changes of a sequence that was not finished."""
    memset(net.w_sum, 0, net.n_sources * net.n_units * sizeof(double))
    memset(net.v_sum, 0, net.n_out_sources * net.n_outputs * sizeof(double))


cdef void set_change_targets(Net* net, bint at_once) noexcept nogil:
    """Choose where changes are added. BPTT must not change the recurrent weights while errors go back through them."""
    net.w_change = net.w if at_once and not net.trains_through_time else net.w_sum
    net.v_change = net.v if at_once else net.v_sum


cdef bint weights_finite(const Net* net) noexcept nogil:
    return (
        all_finite(net.w, net.n_sources * net.n_units)
        and all_finite(net.v, net.n_out_sources * net.n_outputs)
    )


# ---- the chunker -----------------------------------------------------------------------------------------------------

cdef bint learn_late(const Net* net, State* st, const double* target, double rate) noexcept nogil:
    """`learn_from` for the last step, after `feed_back` has ended it; its input, y, o and p are still in the state."""
    cdef bint found
    st.n_steps -= 1
    found = learn_from(net, st, target, rate, True)
    st.n_steps += 1
    return found


cdef void pass_on(const Net* high, State* hi, Pair* pair, const double* x, int64_t time, double rate) noexcept nogil:
    """Pass an input on to the chunker, with the time since the input passed on before.

    The chunker first learns to predict it, then steps. The time enters as 1 - 1/gap, which differs for all gaps and
    stays below 1.
    """
    cdef Py_ssize_t n = high.n_inputs - pair.timed
    cdef Py_ssize_t first = high.n_outputs - n
    cdef Py_ssize_t k
    if hi.n_steps:
        for k in range(first):
            pair.target_high[k] = NAN
        memcpy(pair.target_high + first, x, n * sizeof(double))
        learn_late(high, hi, pair.target_high, rate)
    hi.symbol = -1
    memcpy(hi.x, x, n * sizeof(double))
    if pair.timed:
        hi.x[n] = 1 - 1 / <double> (time - pair.last)
    pair.last = time
    advance(high, hi)
    feed_back(high, hi)
    if pair.passed != NULL:
        pair.passed[pair.n_passed] = time
    pair.n_passed += 1


cdef bint differs(const double* prediction, const double* x, Py_ssize_t n, double threshold) noexcept nogil:
    """Whether the prediction of any element is off by more than the threshold, or NaN."""
    cdef Py_ssize_t k
    for k in range(n):
        if not fabs(prediction[k] - x[k]) <= threshold:
            return True
    return False


cdef void judge_prediction(
    const Net* low, State* lo, const Net* high, State* hi, Pair* pair, double rate
) noexcept nogil:
    """Learn from the input in `row`, which the step before should have predicted; pass it on if it did not."""
    cdef Py_ssize_t n = low.n_inputs
    cdef Py_ssize_t first = low.n_outputs - pair.n_imitated - n
    cdef Py_ssize_t k
    cdef bint surprise = differs(lo.o + first, pair.row, n, pair.threshold)
    for k in range(low.n_outputs):
        pair.target_low[k] = NAN
    memcpy(pair.target_low + first, pair.row, n * sizeof(double))
    learn_late(low, lo, pair.target_low, rate)
    if surprise:
        pass_on(high, hi, pair, pair.row, pair.clock + 1, rate)


cdef void chunk_step(
    const Net* low, State* lo, const Net* high, State* hi, Pair* pair, const Chunk* chunk, Py_ssize_t t,
    const double* target, double rate, Tally* tally
) noexcept nogil:
    """One step of both nets; `target` is a row of the task's outputs, all NaN where there is none.

    The automatizer's outputs are the task's, its next input (unless the task's targets are the next inputs), the
    chunker's units. The chunker's are the task's and its own next input, or that alone. Where the task's targets are
    the next inputs, a target says whether the next input was expected; else that is judged at the next step, and if a
    target is missed, this step's input is passed on to the chunker too, which then learns the target.
    """
    cdef Py_ssize_t n = low.n_inputs
    cdef Py_ssize_t n_task = low.n_outputs - pair.n_imitated - (0 if pair.next_inputs else n)
    cdef Py_ssize_t k
    take_row(chunk, t, pair.row, n)
    if pair.clock == 0:
        pass_on(high, hi, pair, pair.row, 1, rate)
    elif not (pair.next_inputs and pair.had_target):
        judge_prediction(low, lo, high, hi, pair, rate)
    set_input(low, lo, chunk, t)
    advance(low, lo)
    pair.had_target = not isnan(target[0])
    add_to_tally(tally, lo.o, target, n_task)
    for k in range(low.n_outputs):
        pair.target_low[k] = NAN
    memcpy(pair.target_low, target, n_task * sizeof(double))
    k = low.n_outputs - pair.n_imitated
    memcpy(pair.target_low + k, hi.y, high.n_units * sizeof(double))
    if pair.n_imitated > high.n_units:
        memcpy(pair.target_low + k + high.n_units, hi.o, high.n_outputs * sizeof(double))
    learn_from(low, lo, pair.target_low, rate, True)
    feed_back(low, lo)
    if pair.had_target and pair.next_inputs:
        if differs(lo.o, target, n, pair.threshold):
            pass_on(high, hi, pair, target, pair.clock + 2, rate)
    elif pair.had_target and differs(lo.o, target, n_task, pair.threshold):
        if pair.last <= pair.clock:
            pass_on(high, hi, pair, pair.row, pair.clock + 1, rate)
        for k in range(high.n_outputs):
            pair.target_high[k] = NAN
        memcpy(pair.target_high, target, n_task * sizeof(double))
        learn_late(high, hi, pair.target_high, rate)
    pair.clock += 1


cdef void reset_pair(const Net* low, State* lo, const Net* high, State* hi, Pair* pair) noexcept nogil:
    reset(low, lo)
    reset(high, hi)
    pair.had_target = False
    pair.clock = pair.last = 0


# ---- sequences -------------------------------------------------------------------------------------------------------

cdef class Loops:
    """One net with its weights, a state for its stream and one for sequences. Arguments are packed and checked."""

    cdef Net net
    cdef State stream, sequence
    cdef readonly object w, v
    cdef list arrays, stream_past, sequence_past
    cdef double* row

    def __init__(self, topology, *, bint through_time, depth, bint forced):
        """`depth`: how many steps BPTT goes back, None for all."""
        cdef Net* net = &self.net
        kinds = {"logistic": LOGISTIC, "tanh": TANH, "identity": IDENTITY}
        self.arrays, self.stream_past, self.sequence_past = [], [], []
        net.n_inputs, net.n_units, net.n_outputs = topology.n_inputs, topology.n_units, topology.n_outputs
        net.n_sources, net.n_out_sources = topology.n_sources, topology.n_output_sources
        net.n_padded = (net.n_sources * net.n_units + BLOCK - 1) // BLOCK * BLOCK
        net.separate = not topology.fully_recurrent
        net.input_to_output, net.bias = topology.input_to_output, topology.bias
        net.squash, net.output = kinds[topology.squash], kinds[topology.output]
        net.trains_through_time, net.forced = through_time, forced
        net.depth = 0 if depth is None else min(depth, 2**62)
        self.w = np.zeros((net.n_sources, net.n_units))
        self.v = np.zeros((net.n_out_sources, net.n_outputs))
        net.w, net.v = kept_address(self.w, self.arrays), kept_address(self.v, self.arrays)
        net.w_sum, net.v_sum = zeros(self.w.size, self.arrays), zeros(self.v.size, self.arrays)
        seen = topology.sees
        net.sees = NULL if seen.all() else kept_address(np.ascontiguousarray(seen.T, np.float64), self.arrays)
        self.row = zeros(net.n_outputs, self.arrays)
        self.make_state(&self.stream, self.stream_past)
        self.make_state(&self.sequence, self.sequence_past)

    cdef int make_state(self, State* st, list past) except -1:
        cdef Net* net = &self.net
        cdef list arrays = self.arrays
        st.x, st.fed, st.y = zeros(net.n_inputs, arrays), zeros(net.n_units, arrays), zeros(net.n_units, arrays)
        st.o, st.e = zeros(net.n_outputs, arrays), zeros(net.n_outputs, arrays)
        st.delta, st.delta_before = zeros(net.n_units, arrays), zeros(net.n_units, arrays)
        reset(net, st)
        if net.trains_through_time:
            self.make_past(st, past, 64)
        else:
            st.p = zeros(net.n_units * net.n_padded, arrays)
            st.block = zeros(net.n_units * BLOCK, arrays)

    cdef int make_past(self, State* st, list past, int64_t capacity) except -1:
        """Make the rings, or longer ones with the same steps: only rings of the greatest length have wrapped around."""
        cdef Net* net = &self.net
        cdef list arrays = []
        cdef Py_ssize_t n_old = len(past)
        symbols = np.zeros(capacity, np.int32)
        cdef int32_t* past_symbol = <int32_t*> address(symbols)
        cdef double* past_x = zeros(capacity * net.n_inputs, arrays)
        cdef double* past_y = zeros(capacity * net.n_units, arrays)
        cdef double* past_injected = zeros(capacity * net.n_units, arrays)
        cdef int64_t n = min(st.n_steps, min(st.capacity, capacity))
        if n:
            memcpy(past_symbol, st.past_symbol, n * sizeof(int32_t))
            memcpy(past_x, st.past_x, n * net.n_inputs * sizeof(double))
            memcpy(past_y, st.past_y, n * net.n_units * sizeof(double))
            memcpy(past_injected, st.past_injected, n * net.n_units * sizeof(double))
        # Extending the list can fail, so it comes before the pointers change; it holds the old arrays until then.
        past.extend([symbols, *arrays])
        st.past_symbol, st.past_x, st.past_y, st.past_injected = past_symbol, past_x, past_y, past_injected
        st.capacity = capacity
        del past[:n_old]

    cdef int ensure_capacity(self, State* st, list past, int64_t n_steps) except -1:
        """Make room for n_steps since the reset, or for one more step than errors go back, if that is less."""
        cdef int64_t most = self.net.depth + 1 if self.net.depth else <int64_t> 1 << 62
        cdef int64_t needed = min(n_steps, most)
        if self.net.trains_through_time and needed > st.capacity:
            self.make_past(st, past, min(max(needed, 2 * st.capacity), most))

    @property
    def n_bytes(self):
        """Bytes of memory of weights and states."""
        cdef Py_ssize_t total = 0
        # A loop, not a comprehension: where memory runs out in one, Cython 3.3 releases its item twice.
        for array in [*self.arrays, *self.stream_past, *self.sequence_past]:
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
        self.ensure_capacity(st, self.stream_past, st.n_steps + n)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    set_input(net, st, &chunk, t)
                    advance(net, st)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    feed_back(net, st)
                    cost += cost_of_step(net, 0)
                    t += 1
            PyErr_CheckSignals()

    def predict(self, inputs, offsets, Y):
        """Run over sequences, each from a zero state."""
        cdef const int64_t* begins = <const int64_t*> address(offsets)
        cdef Chunk chunk
        cdef Net* net = &self.net
        cdef State* st = &self.sequence
        cdef Py_ssize_t t = 0, i = 0, n = len(inputs)
        cdef Py_ssize_t cost
        cdef double* y = <double*> address(Y)
        bind_chunk(&chunk, inputs, None)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    while t == begins[i]:
                        reset(net, st)
                        i += 1
                    set_input(net, st, &chunk, t)
                    forward(net, st)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    feed_back(net, st)
                    cost += cost_of_step(net, 0)
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
        self.ensure_capacity(st, self.stream_past, st.n_steps + n)
        set_change_targets(net, True)
        while t < n:
            with nogil:
                cost = 0
                while t < n and cost < SLICE:
                    set_input(net, st, &chunk, t)
                    learn_step(net, st, target_at(&chunk, t, self.row, net.n_outputs), rate, True, NULL)
                    memcpy(y + t * net.n_outputs, st.o, net.n_outputs * sizeof(double))
                    cost += cost_of_step(net, st.n_steps)
                    t += 1
            PyErr_CheckSignals()
        return weights_finite(net)

    def train(
        self, inputs, offsets, targets, bint target_per_sequence, order,
        double rate, bint at_once, history,
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
        reset(net, st)
        self.ensure_capacity(st, self.sequence_past, np.diff(offsets).max(initial=0))
        set_change_targets(net, at_once)
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
                            cost += cost_of_step(net, st.n_steps if at_once or net.depth else 0)
                            t += 1
                            n_steps += 1
                            continue
                        if position >= 0:
                            if not at_once:
                                collect(net, st)
                                apply_sums(net)
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
                        cost += net.n_sources * net.n_units
                PyErr_CheckSignals()
        finally:
            forget_sums(net)
            give_back(&rule, max(position, 0), n_steps, stopped, history)
        if not finite:
            raise_not_finite(i)


cdef class PairLoops:
    """The chunker: the `Loops` of the automatizer (low) and of the net above it (high), and the state they share."""

    cdef Loops low, high
    cdef Pair stream, sequence
    cdef list arrays
    cdef double* row
    cdef Py_ssize_t n_task

    def __init__(self, Loops low, Loops high, *, bint next_inputs, bint timed, bint outputs_too, double threshold):
        cdef Pair* pair = &self.stream
        self.low, self.high, self.arrays = low, high, []
        pair.next_inputs, pair.timed, pair.threshold = next_inputs, timed, threshold
        pair.n_imitated = high.net.n_units + outputs_too * high.net.n_outputs
        pair.target_low = zeros(low.net.n_outputs, self.arrays)
        pair.target_high = zeros(high.net.n_outputs, self.arrays)
        pair.row = zeros(low.net.n_inputs, self.arrays)
        self.sequence = pair[0]
        self.n_task = low.net.n_outputs - pair.n_imitated - (0 if next_inputs else low.net.n_inputs)
        self.row = zeros(self.n_task, self.arrays)
        self.reset()

    def reset(self):
        reset_pair(&self.low.net, &self.low.stream, &self.high.net, &self.high.stream, &self.stream)

    def catch_up(self):
        """Set the clock by the automatizer's, after steps of inference that it did alone."""
        if self.stream.clock != self.low.stream.n_steps:
            self.stream.clock = self.low.stream.n_steps
            self.stream.had_target = False

    def learn(self, inputs, targets, double rate, Y):
        """Continue the stream and learn. Returns the times of inputs passed on, or None if weights overflowed."""
        cdef Chunk chunk
        cdef Net* low = &self.low.net
        cdef State* lo = &self.low.stream
        cdef Tally tally
        cdef Py_ssize_t t = 0, n = len(inputs)
        cdef Py_ssize_t cost
        cdef double* y = <double*> address(Y)
        passed = np.zeros(2 * n + 1, np.int64)
        bind_chunk(&chunk, inputs, targets)
        set_change_targets(low, True)
        set_change_targets(&self.high.net, True)
        self.stream.passed, self.stream.n_passed = <int64_t*> address(passed), 0
        try:
            while t < n:
                with nogil:
                    cost = 0
                    while t < n and cost < SLICE:
                        memset(&tally, 0, sizeof(Tally))
                        chunk_step(
                            low, lo, &self.high.net, &self.high.stream, &self.stream, &chunk, t,
                            target_at(&chunk, t, self.row, self.n_task), rate, &tally,
                        )
                        memcpy(y + t * self.n_task, lo.o, self.n_task * sizeof(double))
                        cost += cost_of_step(low, 0) + cost_of_step(&self.high.net, 0)
                        t += 1
                PyErr_CheckSignals()
        finally:
            self.stream.passed = NULL
        if not weights_finite(low) or not weights_finite(&self.high.net):
            return None
        return passed[:self.stream.n_passed].copy()

    def train(
        self, inputs, offsets, targets, bint target_per_sequence, order,
        double rate, history,
    ):
        """Train on sequences; the History is up to date however this ends."""
        cdef Chunk chunk
        cdef StopRule rule
        cdef Tally tally
        cdef Net* low = &self.low.net
        cdef Net* high = &self.high.net
        cdef Pair* pair = &self.sequence
        cdef Py_ssize_t i = 0, t = 0, end = 0, position = -1, n_steps = 0
        cdef Py_ssize_t cost
        cdef bint stopped = False, finite = True
        cdef const double* target
        cdef Py_ssize_t n = len(order)
        cdef const int64_t* begins = <const int64_t*> address(offsets)
        cdef const int64_t* numbers = <const int64_t*> address(order)
        room = history._room(n)
        cdef double* errors = <double*> address(room)
        no_target = np.full(self.n_task, np.nan)
        cdef double* none = <double*> address(no_target)
        bind_chunk(&chunk, inputs, targets)
        take_rule(&rule, history)
        set_change_targets(low, True)
        set_change_targets(high, True)
        try:
            while position < n and not stopped and finite:
                with nogil:
                    cost = 0
                    while cost < SLICE:
                        if t < end:
                            target = none
                            if not target_per_sequence or t == end - 1:
                                target = target_at(&chunk, i if target_per_sequence else t, self.row, self.n_task)
                            chunk_step(
                                low, &self.low.sequence, high, &self.high.sequence, pair, &chunk, t, target, rate,
                                &tally,
                            )
                            cost += cost_of_step(low, 0) + cost_of_step(high, 0)
                            t += 1
                            n_steps += 1
                            continue
                        if position >= 0:
                            finite = weights_finite(low) and weights_finite(high)
                            if not finite:
                                break
                            stopped = end_of_sequence(&tally, self.n_task, &errors[position], &rule)
                        position += 1
                        if position == n or stopped:
                            break
                        i = numbers[position]
                        t, end = begins[i], begins[i + 1]
                        memset(&tally, 0, sizeof(Tally))
                        reset_pair(low, &self.low.sequence, high, &self.high.sequence, pair)
                        cost += low.n_sources
                PyErr_CheckSignals()
        finally:
            give_back(&rule, max(position, 0), n_steps, stopped, history)
        if not finite:
            raise_not_finite(i)


cdef Py_ssize_t cost_of_step(const Net* net, int64_t n_back) noexcept nogil:
    """About how many multiplications a step takes from which errors may go back n_back steps."""
    cdef Py_ssize_t n_weights = net.n_units * net.n_sources
    cdef int64_t depth = min(n_back, net.depth) if net.depth else n_back
    cdef Py_ssize_t recurrent = depth if net.trains_through_time else net.n_units * net.n_units
    return n_weights * (1 + recurrent) + 2 * net.n_out_sources * net.n_outputs
