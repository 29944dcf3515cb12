# The inner loops of LSTM networks: the network and the learning rule of Hochreiter & Schmidhuber (1997). No Python
# objects, no allocation, no exceptions: a failure is a returned Status, which the caller turns into an exception. The
# loops of other kinds of networks are in lstm97/methods.
#
# paper          here         shape                        meaning
# -------------  -----------  ---------------------------  ------------------------------------------------------------
# z_m            z            (n_sources,)                 sources of the hidden layer: x(t), activations of t-1, 1
# y_i y_in ...   act          (n_lanes,)                   activations: hidden units, g(net_c), y_in, y_out, y_f
# s_c, h(s_c)    s_c, h       (n_cells,)                   cell states, squashed
# y_c            y_c          (n_cells,)                   y_out h(s_c)
# w_um           w            (n_sources, n_lanes)         row m: the weights from source m to every unit
# ds/dw          ds_dw        (n_sources, n_partials)      row m: partials by w_cm, w_in_m, w_f_m; a lane per cell
# w_km           w_out        (n_out_sources, n_out_lanes) row m: the weights from source m to every output
# y_k            y            (n_out_lanes,)               outputs
# t_k            target       (n_out_lanes,)               targets of the outputs
# alpha e_l      e_k e e_s    lanes of their units         error signals (19)-(23), times the learning rate
# sum w_ku ...   eps          (n_hidden + n_cells,)        sum_k w_ku alpha e_k: what the outputs' errors add up to
# partials'      coef         (n_block, n_partials)        a step's part of the partials is coef z_m: ds/dw(t) =
# recursion      decay        (n_block, n_partials)        decay(t) ds/dw(t-1) + coef(t) z_m(t); decay is y_f
# for gates      sums         (rows_together, n_cells)     e_s ds_dw, summed over the cells of each block
# alpha sum ...  dw, dw_out   rows as w, w_out             a batch's sums of changes (22)(26)(28)
#                delta        (n_block, lanes of dw)       of a batch's sequence: dw_m = sum_t delta(t) z_m(t)
# -dE/dw         g, g_out     rows as w, w_out             gradients, for the rules of _kernel/rules.pxi
#
# Matrices are source-major: a net input is a sum of rows scaled by z_m and the partials change row by row, so a vector
# instruction works on neighbouring units and nothing is summed across a vector. In a row, the lanes of one kind of unit
# follow those of the kind before without a gap, so the vector that covers a kind's last lane may reach into the next
# kind. A store that reaches over is overwritten by the store of the next kind, or stores what was there. Every array
# has ROW_BYTES more memory than its elements, so that a vector may reach over its end.
#
# Indices: k outputs, j blocks, v cells, u units, m sources, i vectors of LANES lanes, t steps.

from libc.math cimport INFINITY, NAN, pow, sqrt
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy, memset

from cpython.pycapsule cimport PyCapsule_New
from cpython.pyport cimport PY_SSIZE_T_MAX

from lstm97._kernel.abi cimport (
    ADAM, AWAITING, BOUNDED, C0, C1, C2, CELL_RECORD, CELL_STATE_NOT_FINITE, CELL_STATE_RECORD, CHANGE_NOT_FINITE,
    CORRECTED, COUNT, DEVIATION, FORGET_GATE_RECORD, HIDDEN_RECORD, HUBER, INPUT_GATE_RECORD, LOGISTIC, MEAN, MINUS,
    MOMENTUM, N_STATISTICS, NOT_LEARNING, OK, ONE_BY_SCALE, OUTPUT_GATE_RECORD, OUTPUT_NOT_FINITE, PLAIN, PLUS,
    RMSPROP, SCALE, SCALE_BY_LN2, SOFTMAX, SQUARED, SQUARES, Abreast, Chunk, Job, Kernel, Member, Net, Outcome, Portion,
    Report, Request, State, Streams, Sums, Tally, Team, Update, Waiter, Worker, word,
)
from lstm97._kernel.stop_rule cimport rule_holds

include "_kernel/vectors.pxi"
include "_kernel/scaling.pxi"


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef inline void list_input(State* st, Py_ssize_t m) noexcept nogil:
    """Add input m to the rows that may have nonzero partials."""
    if not st.is_listed[m]:
        st.is_listed[m] = 1
        st.rows[st.n_rows] = <int32_t> m
        st.n_rows += 1


cdef void spell_out(const Net* net, State* st) noexcept nogil:
    """Write the symbols of the pending steps into z_block, as the one-hot rows they stand for."""
    cdef Py_ssize_t t
    cdef real* z
    for t in range(st.n_pending):
        z = st.z_block + t * st.n_z
        memset(z, 0, net.shape.n_inputs * sizeof(real))
        z[st.symbols[t]] = 1


cdef inline void set_sources(const Net* net, State* st, const real* x, Py_ssize_t symbol) noexcept nogil:
    """z(t): the inputs, the activations of t-1, then the bias's 1.

    A symbol stands for its one-hot row, which is only written where the block also has a step with a row of inputs.
    """
    cdef Py_ssize_t m
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef real* z = st.z_block + st.n_pending * st.n_z
    cdef real* recurrent = z + n_inputs
    st.z = z
    st.symbol = symbol
    if st.n_pending == 0:
        st.dense = symbol < 0
    if symbol < 0:
        if not st.dense:
            spell_out(net, st)
            st.dense = True
        if net.standards.inputs == NULL:
            for m in range(n_inputs):
                z[m] = x[m]
        else:
            for m in range(n_inputs):
                z[m] = <real> scaled(net.standards.inputs + m * N_STATISTICS, x[m])
        if st.n_rows < net.shape.n_sources:
            for m in range(n_inputs):
                list_input(st, m)
    else:
        if st.dense:
            memset(z, 0, n_inputs * sizeof(real))
            z[symbol] = 1
        st.symbols[st.n_pending] = <int32_t> symbol
        list_input(st, symbol)
    if net.shape.recurrent:
        copy(recurrent, st.act, net.shape.n_hidden)
        recurrent += net.shape.n_hidden
        copy(recurrent, st.y_c, net.shape.n_cells)
        recurrent += net.shape.n_cells
        if net.shape.gate_sources and net.shape.n_blocks:
            copy(recurrent, st.act + net.shape.lane_in, net.shape.n_units - net.shape.lane_in)
    if net.shape.bias_source >= 0:
        z[net.shape.bias_source] = 1


cdef inline lanes squashed(const Net* net, lanes net_in, Py_ssize_t u) noexcept nogil:
    """The activations of a vector of hidden-layer units, whose first is in lane u, by their net inputs."""
    cdef lanes y = squash(net_in, net.squash + u, net.shape.n_lanes)
    return where_positive(load(net.is_g + u), net_in, y) if net.shape.g_is_identity else y


cdef inline void squash_units(const Net* net, State* st, Py_ssize_t begin, int width) noexcept nogil:
    """The activations of `width` vectors of hidden-layer units, from lane `begin` on."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.shape.n_lanes
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef const real* w = net.w + begin
    cdef lanes acc[WIDE]
    for i in range(width):
        acc[i] = load(w + st.symbol * n + i * LANES) if st.symbol >= 0 else splat(0)
    if st.symbol < 0:
        add_rows(w, n, st.z, n_inputs, acc, width)
    w += n_inputs * n
    if width == WIDE:
        add_rows(w, n, st.z + n_inputs, net.shape.n_sources - n_inputs, acc, width)
    else:
        add_rows_by_four(w, n, st.z + n_inputs, net.shape.n_sources - n_inputs, acc, width)
    for i in range(width):
        store(st.act + begin + i * LANES, squashed(net, acc[i], begin + i * LANES))


cdef void squash_hidden_layer(const Net* net, State* st) noexcept nogil:
    """net_u = sum_m w_um z_m and its squashing: y_in (7), y_out (8), y_f, g(net_c) (9), y_i (6)."""
    cdef Py_ssize_t u
    cdef Py_ssize_t begin = 0
    if st.is_ahead:
        st.is_ahead = False
        for u in range(vectors(net.shape.n_lanes)):
            store(st.act + u * LANES, squashed(net, load(st.net_in + u * LANES), u * LANES))
        return
    while begin + WIDE * LANES <= net.shape.n_lanes:
        squash_units(net, st, begin, WIDE)
        begin += WIDE * LANES
    while begin < net.shape.n_lanes:
        squash_units(net, st, begin, VECTORS)
        begin += VECTORS * LANES


cdef inline real* gate_of_cells(const Net* net, State* st, Py_ssize_t lane, Py_ssize_t which) noexcept nogil:
    """Where the activations of a kind of gate are, one for each cell: in `act` itself if every block has one cell."""
    if net.shape.single_cells:
        return st.act + lane
    return st.gates + which * net.shape.n_cell_lanes


cdef inline void spread_gate(const Net* net, State* st, Py_ssize_t lane, Py_ssize_t which) noexcept nogil:
    """Copy each block's activation of a kind of gate to the lanes of its cells."""
    cdef Py_ssize_t v
    cdef real* per_cell = st.gates + which * net.shape.n_cell_lanes
    for v in range(net.shape.n_cells):
        per_cell[v] = st.act[lane + net.block_of[v]]


cdef void spread_gates(const Net* net, State* st) noexcept nogil:
    """Copy each block's gate activations to the lanes of its cells, unless every block has one cell."""
    if net.shape.single_cells:
        return
    spread_gate(net, st, net.shape.lane_in, 0)
    if net.shape.lane_out >= 0:
        spread_gate(net, st, net.shape.lane_out, 1)
    if net.shape.lane_forget >= 0:
        spread_gate(net, st, net.shape.lane_forget, 2)


cdef bint update_cells(const Net* net, State* st) noexcept nogil:
    """s_c = y_f s_c + y_in g(net_c) (no forget gate: y_f = 1), y_c = y_out h(s_c) (no output gate: y_out = 1).

    Returns whether all states are finite.
    """
    cdef Py_ssize_t i, v
    cdef lanes s, h, y_c
    cdef lanes bad = splat(0)
    cdef real *y_in
    cdef real *y_out
    cdef real *y_f
    y_in = gate_of_cells(net, st, net.shape.lane_in, 0)
    y_out = gate_of_cells(net, st, net.shape.lane_out, 1)
    y_f = gate_of_cells(net, st, net.shape.lane_forget, 2)
    for i in range(vectors(net.shape.n_cells)):
        v = i * LANES
        s = load(st.s_c + v)
        if net.shape.lane_forget >= 0:
            store(st.s_before + v, s)
            s = s * load(y_f + v)
        s = s + load(y_in + v) * load(net.is_cell + v) * load(st.act + net.shape.lane_cell + v)
        store(st.s_c + v, s)
        bad = bad + (s - s)
        if net.shape.h_is_identity:
            h = s
        else:
            h = squash(s, net.squash_h, ROW_LANES)
        store(st.h + v, h)
        y_c = h
        if net.shape.lane_out >= 0:
            y_c = h * load(y_out + v)
        store(st.y_c + v, y_c)
    return is_zero(bad)


cdef bint compute_outputs(const Net* net, State* st) noexcept nogil:
    """y_k from the new activations of hidden units and cells, and from x(t) where outputs see it.

    Returns whether all y_k are finite.
    """
    cdef Py_ssize_t begin, i, k
    cdef Py_ssize_t n = net.shape.n_out_lanes
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef const real* w
    cdef lanes acc[VECTORS]
    cdef lanes zero = splat(0)
    cdef lanes y
    cdef lanes bad = splat(0)
    for begin in range(n // (VECTORS * LANES)):
        w = net.w_out + begin * VECTORS * LANES
        for i in range(VECTORS):
            acc[i] = zero
        if net.shape.input_to_output:
            if st.symbol < 0:
                add_rows(w, n, st.z, n_inputs, acc, VECTORS)
            else:
                for i in range(VECTORS):
                    acc[i] = load(w + st.symbol * n + i * LANES)
            w += n_inputs * n
        add_rows(w, n, st.act, net.shape.n_hidden, acc, VECTORS)
        w += net.shape.n_hidden * n
        if fits_registers(net):
            add_rows(w, n, st.y_c, net.shape.n_cells, acc, VECTORS)
        else:
            add_rows_by_four(w, n, st.y_c, net.shape.n_cells, acc, VECTORS)
        w += net.shape.n_cells * n
        for i in range(VECTORS):
            k = (begin * VECTORS + i) * LANES
            y = acc[i]
            if net.shape.output_bias:
                y = y + load(w + i * LANES)
            if net.shape.output == LOGISTIC:
                y = squash(y, net.logistic, ROW_LANES)
            store(st.y + k, y)
            bad = bad + (y - y)
    if not is_zero(bad):
        return False
    if net.shape.output == SOFTMAX:
        softmax(net, st)
    return True


cdef void softmax(const Net* net, State* st) noexcept nogil:
    """y_k = exp(net_k) / sum exp(net_l), in the array of the net inputs.

    The largest net input is subtracted from all of them first, so that nothing overflows.
    """
    cdef Py_ssize_t i, k
    cdef Py_ssize_t n = vectors(net.shape.n_outputs)
    cdef real* y = st.y
    cdef exponential e
    cdef lanes y_k, top, total
    cdef lanes one = splat(1)
    cdef real largest
    for k in range(net.shape.n_outputs, n * LANES):
        y[k] = y[0]
    top = load(y)
    for i in range(1, n):
        top = larger(top, load(y + i * LANES))
    largest = largest_of(top)
    total = splat(0)
    for i in range(n):
        e = exp_parts(load(y + i * LANES) - splat(largest), one, splat(ONE_BY_LN2), one)
        y_k = e.power * (e.q + e.p) / (e.q - e.p) * load(net.is_output + i * LANES)
        total = total + y_k
        store(y + i * LANES, y_k)
    total = splat(1 / sum_of(total))
    for i in range(n):
        store(y + i * LANES, load(y + i * LANES) * total)


# ---- error signals ---------------------------------------------------------------------------------------------------

cdef void output_errors(const Net* net, State* st, double alpha) noexcept nogil:
    """alpha e_k, with e_k = f'(net_k) (t_k - y_k) (19); f' is 1 for identity outputs and with cross-entropy.

    With the loss of Huber, t_k - y_k counts as 1 or -1 where it is beyond.
    """
    cdef Py_ssize_t i, k
    cdef lanes y, e
    for i in range(vectors(net.shape.n_out_lanes)):
        k = i * LANES
        y = load(st.y + k)
        e = load(st.target + k) - y
        if net.shape.loss == HUBER:
            e = clamped(e, splat(1))
        e = e * splat(<real> alpha)
        if net.shape.output == LOGISTIC and net.shape.loss == SQUARED:
            e = e * y * (splat(1) - y)
        store(st.e_k + k, where_positive(load(net.is_output + k), e, splat(0)))
    if st.is_partial:
        for k in range(net.shape.n_outputs):
            if st.target[k] != st.target[k]:
                st.e_k[k] = 0


cdef void hidden_errors(const Net* net, State* st) noexcept nogil:
    """e_i (20), e_out (21) and e_s (23), from the outputs' errors and the output weights before their change."""
    cdef Py_ssize_t i, u, v
    cdef Py_ssize_t n = net.shape.n_out_lanes
    cdef Py_ssize_t n_hidden = net.shape.n_hidden
    cdef const real* w = net.w_out + net.shape.input_to_output * net.shape.n_inputs * n
    cdef real* eps = st.eps + n_hidden  # those of the cells
    cdef real* y_out = gate_of_cells(net, st, net.shape.lane_out, 1)
    cdef real y
    cdef lanes e
    if net.shape.n_outputs <= 2:  # every row has two lanes or more; this sums nothing across a vector
        for u in range(n_hidden + net.shape.n_cells):
            st.eps[u] = w[u * n] * st.e_k[0] + w[u * n + 1] * st.e_k[1]
    else:
        for u in range(n_hidden + net.shape.n_cells):
            st.eps[u] = dot(w + u * n, st.e_k, n)
    for u in range(n_hidden):
        y = st.act[u]
        st.e[u] = y * (1 - y) * st.eps[u]
    if net.shape.lane_out >= 0:
        put_block_sums(net, st.e + net.shape.lane_out, st.h, eps)
        for u in range(net.shape.lane_out, net.shape.lane_out + net.shape.n_blocks):
            y = st.act[u]
            st.e[u] = y * (1 - y) * st.e[u]
    for i in range(vectors(net.shape.n_cells)):
        v = i * LANES
        e = slope(load(st.h + v), net.squash_h, ROW_LANES) * load(eps + v)
        if net.shape.lane_out >= 0:
            e = e * load(y_out + v)
        store(st.e_s + v, e * load(net.is_cell + v))


# ---- partials --------------------------------------------------------------------------------------------------------

cdef inline void remember_step(const Net* net, State* st) noexcept nogil:
    """Make the last step a pending one. A step in registers has stored its coefficients already."""
    if not fits_registers(net):
        put_coefficients(net, st)
    st.n_pending += 1


cdef void put_coefficients(const Net* net, State* st) noexcept nogil:
    """Store what this step does to the partials: ds_dw = y_f ds_dw + coef z_m, which `settle` carries out later.

    coef = y_in g'(net_c) (27), g(net_c) f'(net_in) (25), s_c(t-1) f'(net_f).
    """
    cdef Py_ssize_t i, k, u, v
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef Py_ssize_t n_lanes = net.shape.n_lanes
    cdef const real* y_in = gate_of_cells(net, st, net.shape.lane_in, 0)
    cdef const real* y_f = gate_of_cells(net, st, net.shape.lane_forget, 2)
    cdef real* coef = st.coef_block + st.n_pending * net.shape.n_partials
    cdef real* decay = st.decay_block + st.n_pending * net.shape.n_partials
    cdef lanes one = splat(1)
    cdef lanes g, gate, is_cell
    for i in range(vectors(n_cells)):
        v = i * LANES
        u = net.shape.lane_cell + v
        g = load(st.act + u)
        is_cell = load(net.is_cell + v)
        g = slope(g, net.squash + u, n_lanes)
        store(coef + v, load(y_in + v) * g * is_cell)
    for i in range(vectors(n_cells)):
        v = i * LANES
        gate = load(y_in + v)
        is_cell = load(net.is_cell + v)
        store(coef + n_cells + v, load(st.act + net.shape.lane_cell + v) * gate * (one - gate) * is_cell)
    if net.shape.lane_forget < 0:
        return
    for i in range(vectors(n_cells)):
        v = i * LANES
        gate = load(y_f + v)
        is_cell = load(net.is_cell + v)
        store(coef + 2 * n_cells + v, load(st.s_before + v) * gate * (one - gate) * is_cell)
    for k in range(3):
        for i in range(vectors(n_cells)):
            v = i * LANES
            store(decay + k * n_cells + v, load(y_f + v) * load(net.is_cell + v))


cdef inline void settle_rows(
    const Net* net, State* st, const int32_t* rows, int count, Py_ssize_t n_pending
) noexcept nogil:
    """Carry out all pending steps on `count` rows of ds_dw (a constant where this is inlined), vector after vector."""
    cdef Py_ssize_t begin, i, r
    cdef Py_ssize_t n = net.shape.n_partials
    cdef const real* z
    cdef const real* coef
    cdef real* row[ROWS]
    cdef lanes acc[ROWS * VECTORS]
    cdef lanes z_m
    for r in range(count):
        row[r] = st.ds_dw + rows[r] * n
    for begin in range(n // (VECTORS * LANES)):
        coef = st.coef_block + begin * VECTORS * LANES
        for r in range(count):
            for i in range(VECTORS):
                acc[r * VECTORS + i] = load(row[r] + i * LANES)
                if net.shape.lane_forget >= 0:
                    acc[r * VECTORS + i] = (
                        acc[r * VECTORS + i] * load(st.decay + (begin * VECTORS + i) * LANES)
                    )
        z = st.z_block
        for _ in range(n_pending):
            for r in range(count):
                z_m = splat(z[rows[r]])
                for i in range(VECTORS):
                    acc[r * VECTORS + i] = acc[r * VECTORS + i] + load(coef + i * LANES) * z_m
            z += st.n_z
            coef += n
        for r in range(count):
            for i in range(VECTORS):
                store(row[r] + i * LANES, acc[r * VECTORS + i])
            row[r] += VECTORS * LANES


cdef void fold_decay(const Net* net, State* st, Py_ssize_t n_pending) noexcept nogil:
    """Scale each pending step's coef by the forget gates of the steps after it; st.decay = their product over all."""
    cdef Py_ssize_t i, t, v
    cdef Py_ssize_t n = net.shape.n_partials
    cdef lanes product
    for i in range(vectors(n)):
        product = splat(1)
        for t in range(n_pending):
            v = (n_pending - 1 - t) * n + i * LANES
            store(st.coef_block + v, load(st.coef_block + v) * product)
            product = product * load(st.decay_block + v)
        store(st.decay + i * LANES, product)


cdef inline real source(const Net* net, const State* st, Py_ssize_t m) noexcept nogil:
    """z_m of the last step."""
    if m < net.shape.n_inputs and st.symbol >= 0:
        return m == st.symbol
    return st.z[m]


cdef inline void settle_row(const Net* net, const State* st, real* partials, real z_m) noexcept nogil:
    """Carry out the only pending step on a row of ds_dw."""
    cdef Py_ssize_t k
    cdef lanes row
    for k in range(net.shape.n_partials // LANES):
        row = load(partials + k * LANES)
        if net.shape.lane_forget >= 0:
            row = row * load(st.decay_block + k * LANES)
        store(partials + k * LANES, row + load(st.coef_block + k * LANES) * splat(z_m))


cdef void settle(const Net* net, State* st) noexcept nogil:
    """Carry out the pending steps on the partials; each row is loaded once for all of these steps.

    A step with a symbol changes the row of that symbol, the rows of the recurrent sources and that of the bias. With
    forget gates all listed rows decay.
    """
    cdef Py_ssize_t i, t
    cdef Py_ssize_t n = net.shape.n_partials
    cdef Py_ssize_t n_pending = st.n_pending
    cdef Py_ssize_t n_rows = st.n_rows if st.dense else net.shape.n_sources - net.shape.n_inputs
    if n_pending == 0:
        return
    st.partials_bound = INFINITY
    st.n_pending = 0
    if net.shape.lane_forget >= 0:
        fold_decay(net, st, n_pending)
    i = 0
    while i + ROWS <= n_rows:
        settle_rows(net, st, st.rows + i, ROWS, n_pending)
        i += ROWS
    while i < n_rows:
        settle_rows(net, st, st.rows + i, 1, n_pending)
        i += 1
    if st.dense:
        return
    if net.shape.lane_forget >= 0:
        for i in range(n_rows, st.n_rows):
            scale(st.ds_dw + st.rows[i] * n, st.decay, n)
    for t in range(n_pending):
        add_scaled(st.ds_dw + st.symbols[t] * n, st.coef_block + t * n, splat(1), n)


# ---- weight changes --------------------------------------------------------------------------------------------------

cdef inline void change_output_row(
    const Net* net, const State* st, real* w_out, Py_ssize_t m, real y_m, bint only_check, lanes* bad
) noexcept nogil:
    """w_km += alpha e_k y_m (22) for all k."""
    add_multiple(w_out + m * net.shape.n_out_lanes, st.e_k, y_m, net.shape.n_outputs, only_check, bad)


cdef inline void change_output_weights(
    const Net* net, const State* st, real* w_out, bint only_check, lanes* bad
) noexcept nogil:
    """w_km += alpha e_k y_m (22) for every source m of the outputs; w_out is their weights or a batch's sums."""
    cdef Py_ssize_t m
    cdef Py_ssize_t first = net.shape.input_to_output * net.shape.n_inputs
    if net.shape.input_to_output:
        if st.symbol < 0:
            for m in range(net.shape.n_inputs):
                change_output_row(net, st, w_out, m, st.z[m], only_check, bad)
        else:
            change_output_row(net, st, w_out, st.symbol, 1, only_check, bad)
    for m in range(net.shape.n_hidden):
        change_output_row(net, st, w_out, first + m, st.act[m], only_check, bad)
    first += net.shape.n_hidden
    for m in range(net.shape.n_cells):
        change_output_row(net, st, w_out, first + m, st.y_c[m], only_check, bad)
    if net.shape.output_bias:
        change_output_row(net, st, w_out, first + net.shape.n_cells, 1, only_check, bad)


cdef inline void change_steered(
    const Net* net, const State* st, const int32_t* rows, int count, Py_ssize_t lane, Py_ssize_t partial, bint per_cell,
    bint only_check, lanes* bad,
) noexcept nogil:
    """`count` rows of the weights from `lane` on, by the partials from lane `partial` on: cells (28), and gates (26) by
    the sums over their block's cells.
    """
    cdef Py_ssize_t i, m
    if per_cell:
        for i in range(count):
            m = rows[i]
            add_by_lane(
                net.w + m * net.shape.n_lanes + lane, st.e_s, st.ds_dw + m * net.shape.n_partials + partial,
                net.shape.n_cells, only_check,
                bad,
            )
        return
    for i in range(count):
        put_block_sums(
            net, st.sums + i * net.shape.n_cell_lanes, st.e_s, st.ds_dw + rows[i] * net.shape.n_partials + partial
        )
    for i in range(count):
        add_multiple(
            net.w + rows[i] * net.shape.n_lanes + lane, st.sums + i * net.shape.n_cell_lanes, 1, net.shape.n_blocks,
            only_check, bad
        )


cdef inline void change_hidden_units(
    const Net* net, const State* st, const int32_t* rows, int count, bint only_check, lanes* bad
) noexcept nogil:
    """Change `count` rows of the hidden units' weights by alpha e_i z_m (22), and nothing after their last lane."""
    cdef Py_ssize_t i, u
    cdef real z_m, sum
    cdef real* w
    for i in range(count):
        z_m = source(net, st, rows[i])
        w = net.w + rows[i] * net.shape.n_lanes
        for u in range(net.shape.n_hidden):
            sum = w[u] + st.e[u] * z_m
            if only_check:
                bad[0] = bad[0] + splat(0 * sum)
            else:
                w[u] = sum


cdef inline void change_rows(
    const Net* net, State* st, const int32_t* rows, int count, bint pending, bint only_check, lanes* bad
) noexcept nogil:
    """As change_hidden_weights, for `count` rows of all kinds but hidden units, one kind after the other."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_cells = net.shape.n_cells
    if pending:
        for i in range(count):
            settle_row(net, st, st.ds_dw + rows[i] * net.shape.n_partials, source(net, st, rows[i]))
    if n_cells:
        change_steered(net, st, rows, count, net.shape.lane_cell, 0, True, only_check, bad)
        change_steered(net, st, rows, count, net.shape.lane_in, n_cells, net.shape.single_cells, only_check, bad)
    if net.shape.lane_out >= 0:
        for i in range(count):
            add_multiple(
                net.w + rows[i] * net.shape.n_lanes + net.shape.lane_out, st.e + net.shape.lane_out,
                source(net, st, rows[i]),
                net.shape.n_blocks, only_check, bad,
            )
    if net.shape.lane_forget >= 0:
        change_steered(
            net, st, rows, count, net.shape.lane_forget, 2 * n_cells, net.shape.single_cells, only_check, bad
        )


cdef inline bint can_look_ahead(const Net* net, const State* st) noexcept nogil:
    """Whether the change of the weights may compute the next step's net inputs: only where squash_units adds up one row
    after the other, all rows change, and the next sources have a place beside the last step's.
    """
    cdef Py_ssize_t n_wide = net.shape.n_lanes - net.shape.n_lanes % (WIDE * LANES)
    return (
        net.shape.looks_ahead and not fits_registers(net) and net.shape.n_units <= n_wide
        and net.standards.inputs == NULL and st.symbol < 0 and st.n_rows == net.shape.n_sources and st.z == st.z_block
    )


cdef void look_ahead(const Net* net, State* st, const real* x) noexcept nogil:
    """The sources of the next step, whose inputs are x, into the second row of z_block; net inputs of 0."""
    cdef real* z = st.z
    st.z_block += st.n_z  # the next step's place
    st.n_pending = 0
    set_sources(net, st, x, -1)
    st.z_block -= st.n_z
    st.z = z
    memset(st.net_in, 0, net.shape.n_lanes * sizeof(real))
    st.is_ahead = True


cdef inline void change_rows_of_single_cells(
    const Net* net, State* st, const int32_t* rows, Py_ssize_t first, int count, bint pending, bint has_out,
    bint has_forget, bint is_ahead
) noexcept nogil:
    """As change_rows, where every block has one cell: for a vector of cells, the weights of cells and gates together.

    Of each row the lanes of all kinds are loaded before any is stored, so that a store may reach over a kind's last
    lane. If `is_ahead`, the rows are those from `first` on, and the new weights times the next step's sources are added
    to its net inputs.
    """
    cdef Py_ssize_t i, r, v
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef lanes zero = splat(0)
    cdef lanes one = splat(1)
    cdef lanes coef_c = zero
    cdef lanes coef_in = zero
    cdef lanes coef_f = zero
    cdef lanes y_f = one
    cdef lanes e_out = zero
    cdef lanes w_o = zero
    cdef lanes w_f = zero
    cdef lanes p_f = zero
    cdef lanes net_c, net_in, net_o, net_f
    cdef lanes is_cell, e_s, z_m, z_next, w_c, w_in, p_c, p_in
    cdef Py_ssize_t m
    cdef real* w
    cdef real* p
    net_c = net_in = net_o = net_f = zero
    for i in range(vectors(n_cells)):
        v = i * LANES
        is_cell = load(net.is_cell + v)
        e_s = load(st.e_s + v)
        if pending:
            coef_c = load(st.coef_block + v) * is_cell
            coef_in = load(st.coef_block + n_cells + v) * is_cell
            if has_forget:
                coef_f = load(st.coef_block + 2 * n_cells + v) * is_cell
                y_f = where_positive(is_cell, load(st.decay_block + v), one)
        if has_out:
            e_out = load(st.e + net.shape.lane_out + v) * is_cell
        if is_ahead:
            net_c = load(st.net_in + net.shape.lane_cell + v)
            net_in = load(st.net_in + net.shape.lane_in + v)
            net_o = load(st.net_in + net.shape.lane_out + v)
            if has_forget:
                net_f = load(st.net_in + net.shape.lane_forget + v)
        for r in range(count):
            m = first + r if is_ahead else rows[r]
            z_m = splat(source(net, st, m))
            p = st.ds_dw + m * net.shape.n_partials + v
            w = net.w + m * net.shape.n_lanes + v
            p_c = load(p)
            p_in = load(p + n_cells)
            w_c = load(w + net.shape.lane_cell)
            w_in = load(w + net.shape.lane_in)
            if has_out:
                w_o = load(w + net.shape.lane_out)
            if has_forget:
                p_f = load(p + 2 * n_cells) * y_f + coef_f * z_m
                w_f = load(w + net.shape.lane_forget)
                p_c = p_c * y_f
                p_in = p_in * y_f
            p_c = p_c + coef_c * z_m
            p_in = p_in + coef_in * z_m
            store(p, p_c)
            store(p + n_cells, p_in)
            w_c = w_c + e_s * p_c
            w_in = w_in + e_s * p_in
            store(w + net.shape.lane_cell, w_c)
            store(w + net.shape.lane_in, w_in)
            if has_out:
                w_o = w_o + e_out * z_m
                store(w + net.shape.lane_out, w_o)
            if has_forget:
                store(p + 2 * n_cells, p_f)
                w_f = w_f + e_s * p_f
                store(w + net.shape.lane_forget, w_f)
            if is_ahead:  # 0 in lanes of the next kind
                z_next = splat(st.z_block[st.n_z + m]) * is_cell
                net_c = net_c + w_c * z_next
                net_in = net_in + w_in * z_next
                net_o = net_o + w_o * z_next
                if has_forget:
                    net_f = net_f + w_f * z_next
        if is_ahead:
            store(st.net_in + net.shape.lane_cell + v, net_c)
            store(st.net_in + net.shape.lane_in + v, net_in)
            store(st.net_in + net.shape.lane_out + v, net_o)
            if has_forget:
                store(st.net_in + net.shape.lane_forget + v, net_f)


cdef inline void change_hidden_weights(
    const Net* net, State* st, bint pending, bint only_check, lanes* bad
) noexcept nogil:
    """Change the rows of w that the state lists: by alpha e_l z_m for hidden units and output gates (22), by partials
    for the other units (26)(28). If `pending`, this step is carried out on each row of partials first.

    A vector that reaches into the next kind's lanes adds 0 there. Loading what several stores have just written takes
    long, so rows_together rows are changed kind by kind.
    """
    cdef Py_ssize_t begin = 0
    cdef int count
    cdef const int32_t* rows
    while begin < st.n_rows:
        rows = st.rows + begin
        count = <int> min(net.shape.rows_together, st.n_rows - begin)
        if net.shape.n_hidden:
            change_hidden_units(net, st, rows, count, only_check, bad)
        if only_check or not net.shape.single_cells or net.shape.n_cells == 0:
            change_rows(net, st, rows, count, pending, only_check, bad)
        elif st.is_ahead and net.shape.lane_forget < 0:
            change_rows_of_single_cells(net, st, NULL, begin, count, pending, True, False, True)
        elif st.is_ahead:
            change_rows_of_single_cells(net, st, NULL, begin, count, pending, True, True, True)
        elif net.shape.lane_forget < 0 and net.shape.lane_out < 0:
            change_rows_of_single_cells(net, st, rows, 0, count, pending, False, False, False)
        elif net.shape.lane_forget < 0:
            change_rows_of_single_cells(net, st, rows, 0, count, pending, True, False, False)
        elif net.shape.lane_out < 0:
            change_rows_of_single_cells(net, st, rows, 0, count, pending, False, True, False)
        else:
            change_rows_of_single_cells(net, st, rows, 0, count, pending, True, True, False)
        begin += count
    if net.shape.bias_source >= 0 and not only_check:
        scale(net.w + net.shape.bias_source * net.shape.n_lanes, net.has_bias, net.shape.n_lanes)


cdef bint are_bounded(const Net* net, State* st, double limit) noexcept nogil:
    """Whether it is certain that all changes of weights are below a limit; no finite weight plus a HARMLESS overflows.

    A change is an error times a source or a partial, and both factors have to be below it. All are bounded by sums of
    magnitudes, which are NaN if any is.
    """
    cdef Py_ssize_t i
    cdef lanes errors = magnitudes(st.e_k, net.shape.n_outputs)
    cdef lanes sources = splat(1)
    cdef lanes partials = splat(0)
    cdef double source_bound, bound
    errors = errors + magnitudes(st.e_s, net.shape.n_cells)
    errors = errors + magnitudes(st.e, net.shape.n_lanes)
    sources = sources + magnitudes(st.y_c, net.shape.n_cells)
    sources = sources + magnitudes(st.z + net.shape.n_inputs, net.shape.n_sources - net.shape.n_inputs)
    if st.symbol < 0:
        sources = sources + magnitudes(st.z, net.shape.n_inputs)
    source_bound = sum_of(sources)
    if st.partials_bound == INFINITY:
        for i in range(st.n_rows):
            partials = partials + magnitudes(st.ds_dw + st.rows[i] * net.shape.n_partials, net.shape.n_partials)
        st.partials_bound = sum_of(partials)
    if st.n_pending:  # times 2, because a sum rounded to nearest is at most twice the exact sum
        st.partials_bound += 2 * source_bound * <double> sum_of(magnitudes(st.coef_block, net.shape.n_partials))
    bound = source_bound + st.partials_bound
    return bound < limit and <double> sum_of(errors) * bound < limit


include "_kernel/rules.pxi"


cdef int change_weights(Net* net, State* st, double alpha, const real* x_next) noexcept nogil:
    """The change of every weight by the error at the target set in `st`; all errors use the old weights. The next
    step's inputs are given if they are known and the next step is sure to come with nothing in between, else NULL.

    If a weight may not be finite afterwards, all changes are computed without storing them first. If one is not finite,
    no weight is changed.
    """
    cdef lanes bad = splat(0)
    cdef bint pending
    if net.rule.kind != PLAIN or net.readout.root != NULL:
        return change_by_rule(net, st, alpha)
    output_errors(net, st, alpha * st.weight)
    hidden_errors(net, st)
    if st.n_pending > 1:
        settle(net, st)
    if not are_bounded(net, st, HARMLESS):
        settle(net, st)
        change_output_weights(net, st, net.w_out, True, &bad)
        change_hidden_weights(net, st, False, True, &bad)
        if not is_zero(bad):
            return CHANGE_NOT_FINITE
        change_output_weights(net, st, net.w_out, False, &bad)
        change_hidden_weights(net, st, False, False, &bad)
        return OK
    pending = st.n_pending == 1
    st.n_pending = 0
    if x_next != NULL and can_look_ahead(net, st):
        look_ahead(net, st, x_next)
    change_output_weights(net, st, net.w_out, False, &bad)
    if not fits_registers(net) or net.shape.n_partials > REGISTERS * LANES:
        change_hidden_weights(net, st, pending, False, &bad)
    elif net.shape.n_partials == LANES:
        if net.shape.n_lanes == LANES:
            change_hidden_weights_in_registers(net, st, pending, 1, 1)
        else:
            change_hidden_weights_in_registers(net, st, pending, 2, 1)
    elif net.shape.n_lanes == LANES:
        change_hidden_weights_in_registers(net, st, pending, 1, 2)
    else:
        change_hidden_weights_in_registers(net, st, pending, 2, 2)
    return OK


include "_kernel/registers.pxi"


# ---- one step --------------------------------------------------------------------------------------------------------

cdef inline bint set_target(
    const Net* net, State* st, const real* target, Py_ssize_t klass, double weight
) noexcept nogil:
    """Take the target from a row or a class number; returns whether there is an error signal."""
    cdef Py_ssize_t k
    cdef Py_ssize_t n_missing = 0
    if weight == 0:
        return False
    st.weight = weight
    st.is_partial = False
    if klass >= 0:
        for k in range(net.shape.n_outputs):
            st.target[k] = 0
        st.target[klass] = 1
        return True
    if target == NULL:
        return False
    for k in range(net.shape.n_outputs):
        st.target[k] = target[k]
        n_missing += target[k] != target[k]
    st.is_partial = n_missing > 0
    return n_missing < net.shape.n_outputs


cdef inline bint advance(const Net* net, State* st) noexcept nogil:
    """Hidden layer and cells, from the sources in the state. Returns whether the cell states are finite."""
    if fits_registers(net):
        return advance_in_registers(net, st, 1) if net.shape.n_lanes == LANES else advance_in_registers(net, st, 2)
    squash_hidden_layer(net, st)
    spread_gates(net, st)
    return net.shape.n_cells == 0 or update_cells(net, st)


cdef inline void take_input(const Net* net, State* st, const Chunk* chunk, Py_ssize_t t) noexcept nogil:
    """Set the sources of the state to those of a chunk's step t."""
    if chunk.symbols != NULL:
        set_sources(net, st, NULL, chunk.symbols[t])
    else:
        set_sources(net, st, chunk.values + t * net.shape.n_inputs, -1)


cdef int learn_step(
    Net* net, State* st, const Chunk* chunk, Py_ssize_t t, const real* target, Py_ssize_t klass, double weight,
    double alpha, const real* x_next, real* y, Tally* tally,
) noexcept nogil:
    """One step of learning: everything in the order of the paper's section 5 and appendix A.1. `x_next` as in
    change_weights.
    """
    cdef bint has_target = set_target(net, st, target, klass, weight)
    st.phase = CORRECTED  # changed below if the step succeeds without a target
    take_in_inputs(net, chunk, t)
    take_input(net, st, chunk, t)
    if not advance(net, st):
        return CELL_STATE_NOT_FINITE
    if has_target or y != NULL:
        if not compute_outputs(net, st):
            return OUTPUT_NOT_FINITE
        if y != NULL and not give_outputs(net, st, y):
            return OUTPUT_NOT_FINITE
    remember_step(net, st)
    if not has_target:
        if st.n_pending == net.shape.n_block:
            settle(net, st)
        st.phase = AWAITING
        return OK
    if tally != NULL:
        measure(net, st, tally)
    take_in_targets(net, target, klass)
    scale_target(net, st)
    return change_weights(net, st, alpha, x_next)


include "_kernel/streams.pxi"
include "_kernel/batches.pxi"
include "_kernel/abreast.pxi"
include "_kernel/shares.pxi"
include "_kernel/many_streams.pxi"
include "_kernel/entries.pxi"
