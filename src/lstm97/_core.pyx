# Every inner loop of lstm97: the network and the learning rule of Hochreiter & Schmidhuber (1997). No Python objects,
# no allocation, no exceptions; what can go wrong is a Status for the caller.
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
# alpha e_l      e_k e e_s    lanes of their units         error signals (19)-(23), times the learning rate
# alpha sum ...  dw, dw_out   rows as w, w_out             a batch's sums of changes (22)(26)(28)
#                delta        (n_block, lanes of dw)       of a batch's sequence: dw_m = sum_t delta(t) z_m(t)
#
# Matrices are source-major: a net input is a sum of rows scaled by z_m and the partials change row by row, so a vector
# instruction serves neighbouring units and nothing is summed across a vector. A kind's lanes follow the lanes of the
# kind before without a gap; a vector that covers a kind's last lane may reach into what follows. Every store of this
# sort is overwritten by the next kind's or changes nothing; every array has ROW_BYTES to spare at its end.
#
# Indices: k outputs, j blocks, v cells, u units, m sources, i vectors of LANES lanes, t steps.

from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from cpython.pycapsule cimport PyCapsule_New
from cpython.pyport cimport PY_SSIZE_T_MAX

from lstm97._abi cimport (
    AWAITING, C0, C1, C2, CELL_STATE_NOT_FINITE, CHANGE_NOT_FINITE, CORRECTED, LOGISTIC, MINUS, NOT_LEARNING, OK,
    ONE_BY_SCALE, OUTPUT_NOT_FINITE, PLUS, SCALE, SCALE_BY_LN2, SOFTMAX, Bed, Chunk, Crew, Kernel, Member, Net, Plan,
    Report, State, Sums, Tally, Training, Worker, word,
)
from lstm97._stop_rule cimport rule_holds

cdef extern from "_lanes.h" nogil:
    ctypedef double real        # float or double: the build's choice
    ctypedef double lanes       # a vector of LANES reals; Cython passes the operators on to C
    ctypedef struct exponential:
        lanes q, p, power
    enum:
        LANES, VECTORS, WIDE, ROWS, ROW_LANES, REGISTERS, TILE_ROWS, TILE_WIDTH
    lanes load(const real*)
    lanes load_some(const real*, Py_ssize_t)
    void store(real*, lanes)
    lanes splat(real)
    real sum_of(lanes)
    lanes larger(lanes, lanes)
    real largest_of(lanes)
    bint is_zero(lanes)
    lanes magnitude(lanes)
    double HARMLESS
    lanes picked(const lanes*, int, const word*)
    lanes where_positive(lanes, lanes, lanes)
    exponential exp_parts(lanes, lanes, lanes, lanes)
    double ONE_BY_LN2
    void add_tile(real*, Py_ssize_t, const real*, Py_ssize_t, Py_ssize_t, const real*, Py_ssize_t, Py_ssize_t, int, int)

cdef extern from "_crew.h" nogil:
    enum:
        MOST_ITEMS
    int64_t see(const int64_t*)
    void put "set"(int64_t*, int64_t)
    int64_t add(int64_t*, int64_t)
    void lower(int64_t*, int64_t)
    void lock(int64_t*)
    void unlock(int64_t*)
    double now()
    double time_on_cpu()
    int64_t claim_item(Crew*, const Bed*)
    void end_item(Crew*, const Bed*)
    void open_round(Crew*, int64_t, bint)
    bint await_round(Crew*, int64_t)
    bint await_work(Crew*, Bed*)


cdef enum:              # what the items of a crew's round are
    SHARES              # shares of a batch
    ADD_UP              # rows of weights: total += the shares' sums; after the last wave, total += w: the new weights
    TAKE                # rows of weights: w = total
    SEQUENCES           # as many sequences as there are

cdef enum:
    PATIENCE = 50_000           # microseconds from one look for signals to the next, while waiting for others
    WORTH_A_ROUND = 16_384      # reals of rows that are summed up: several microseconds
    MOST_PARTS = 64             # that these are cut into
    LEAST_REST = 4_000_000      # nanoseconds that the leader goes on alone when others have held it up
    MOST_REST = 500_000_000


# ---- small helpers ---------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t vectors(Py_ssize_t n) noexcept nogil:
    """How many vectors cover n lanes."""
    return <Py_ssize_t> (<size_t> (n + LANES - 1) / <size_t> LANES)  # unsigned: a shift and no more


cdef inline lanes squash(lanes a, const real* c, Py_ssize_t n) noexcept nogil:
    """(plus + minus E) / (1 + E), E = exp(scale a): (3)(4)(5) and tanh, by the constants c in rows of n.

    With E = power (q + p) / (q - p). The logistic's numerator is q - p, and its denominator, as it is rounded, no less
    than that: its values are within [0, 1].
    """
    cdef exponential e = exp_parts(a, load(c + SCALE * n), load(c + SCALE_BY_LN2 * n), load(c + ONE_BY_SCALE * n))
    cdef lanes plus = load(c + PLUS * n)
    cdef lanes minus = load(c + MINUS * n)
    return (
        ((plus + minus * e.power) * e.q - (plus - minus * e.power) * e.p)
        / ((e.q - e.p) + e.power * (e.q + e.p))
    )


cdef inline lanes slope(lanes y, const real* c, Py_ssize_t n) noexcept nogil:
    """The derivative of a squashing function, a quadratic in its value y."""
    return (load(c + C2 * n) * y + load(c + C1 * n)) * y + load(c + C0 * n)


cdef inline void add_rows(
    const real* w, Py_ssize_t stride, const real* z, Py_ssize_t n_rows, lanes* acc, int width
) noexcept nogil:
    """acc += sum_m z_m w_m over n_rows rows, for `width` vectors of lanes (a constant where this is inlined)."""
    cdef Py_ssize_t m, i
    cdef lanes z_m
    for m in range(n_rows):
        z_m = splat(z[m])
        for i in range(width):
            acc[i] = acc[i] + load(w + m * stride + i * LANES) * z_m


cdef inline void add_rows_by_four(
    const real* w, Py_ssize_t stride, const real* z, Py_ssize_t n_rows, lanes* acc, int width
) noexcept nogil:
    """As add_rows, in four sums side by side: a short row would wait for every addition in turn."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_fours = n_rows // 4
    cdef lanes sums[3 * WIDE]
    for i in range(3 * width):
        sums[i] = splat(0)
    for _ in range(n_fours):
        for i in range(width):
            acc[i] = acc[i] + load(w + i * LANES) * splat(z[0])
            sums[i] = sums[i] + load(w + stride + i * LANES) * splat(z[1])
            sums[width + i] = sums[width + i] + load(w + 2 * stride + i * LANES) * splat(z[2])
            sums[2 * width + i] = sums[2 * width + i] + load(w + 3 * stride + i * LANES) * splat(z[3])
        w += 4 * stride
        z += 4
    add_rows(w, stride, z, n_rows - 4 * n_fours, acc, width)
    for i in range(width):
        acc[i] = (acc[i] + sums[i]) + (sums[width + i] + sums[2 * width + i])


cdef void add_columns(
    real* c, Py_ssize_t c_row, const real* a, Py_ssize_t a_row, Py_ssize_t a_term, const real* b, Py_ssize_t b_term,
    Py_ssize_t n_rows, Py_ssize_t n_terms, int width
) noexcept nogil:
    """`width` vectors of every row of add_product, in tiles of 2^n rows."""
    cdef int height = TILE_ROWS
    while n_rows:
        while n_rows < height:
            height //= 2
        add_tile(c, c_row, a, a_row, a_term, b, b_term, n_terms, height, width)
        n_rows -= height
        c += height * c_row
        a += height * a_row


cdef void add_product(
    real* c, Py_ssize_t c_row, const real* a, Py_ssize_t a_row, Py_ssize_t a_term, const real* b, Py_ssize_t b_term,
    Py_ssize_t n_rows, Py_ssize_t n_terms, Py_ssize_t n_vectors
) noexcept nogil:
    """c_r += sum_k a_rk b_k: every row r of c, `n_vectors` long, gets a sum of the rows of b.

    Neighbouring rows are c_row, a_row, b_term reals apart, neighbouring terms of a a_term. A few vectors' width of b
    is used for all rows of c before the next, so that it stays in the level-2 cache.
    """
    cdef int width = TILE_WIDTH
    while n_vectors:
        width = min(width, n_vectors)
        add_columns(c, c_row, a, a_row, a_term, b, b_term, n_rows, n_terms, width)
        n_vectors -= width
        c += width * LANES
        b += width * LANES


cdef inline void add_scaled(real* to, const real* row, lanes factor, Py_ssize_t n) noexcept nogil:
    """to += factor row, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(to + i * LANES) + factor * load(row + i * LANES))


cdef inline void put_product(real* to, const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """to = a b, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(a + i * LANES) * load(b + i * LANES))


cdef inline void put_block_sums(const Net* net, real* to, const real* a, const real* b) noexcept nogil:
    """to_j = sum over the cells v of block j of a_v b_v."""
    cdef Py_ssize_t v
    cdef real total = 0
    if net.single_cells:
        put_product(to, a, b, net.n_cells)
        return
    for v in range(net.n_cells):  # one loop without branches: the sum so far is dropped where a block begins
        total = total * net.is_continued[v] + a[v] * b[v]
        to[net.block_of[v]] = total


cdef inline void copy(real* to, const real* row, Py_ssize_t n) noexcept nogil:
    """to = row, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(row + i * LANES))


cdef inline real dot(const real* a, const real* b, Py_ssize_t n) noexcept nogil:
    """sum_k a_k b_k over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    cdef lanes acc = splat(0)
    for i in range(vectors(n)):
        acc = acc + load(a + i * LANES) * load(b + i * LANES)
    return sum_of(acc)


cdef inline lanes magnitudes(const real* a, Py_ssize_t n) noexcept nogil:
    """|a_i|, summed into the lanes of a vector; without what the last vector reaches into beyond n."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_whole = <Py_ssize_t> (<size_t> n / <size_t> LANES)
    cdef lanes total = magnitude(load_some(a + n_whole * LANES, n - n_whole * LANES))
    for i in range(n_whole):
        total = total + magnitude(load(a + i * LANES))
    return total


cdef Py_ssize_t first_not_finite(const real* a, Py_ssize_t n) noexcept nogil:
    """Index of the first NaN or infinity of a, or -1."""
    cdef Py_ssize_t i
    for i in range(n):
        if a[i] - a[i] != 0:
            return i
    return -1


# ---- forward ---------------------------------------------------------------------------------------------------------

cdef inline void list_input(State* st, Py_ssize_t m) noexcept nogil:
    """Note that input m may have nonzero partials from now on."""
    if not st.is_listed[m]:
        st.is_listed[m] = 1
        st.rows[st.n_rows] = <int32_t> m
        st.n_rows += 1


cdef void spell_out(const Net* net, State* st) noexcept nogil:
    """Write the pending steps' symbols as the one-hot rows they stand for."""
    cdef Py_ssize_t t
    cdef real* z
    for t in range(st.n_pending):
        z = st.z_block + t * st.n_z
        memset(z, 0, net.n_inputs * sizeof(real))
        z[st.symbols[t]] = 1


cdef inline void set_sources(const Net* net, State* st, const real* x, Py_ssize_t symbol) noexcept nogil:
    """z(t): the inputs, the activations of t-1, then the bias's 1.

    A symbol stands for its one-hot row, which is written only into a block that has dense steps too.
    """
    cdef Py_ssize_t m
    cdef Py_ssize_t n_inputs = net.n_inputs
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
        for m in range(n_inputs):
            z[m] = x[m]
        if st.n_rows < net.n_sources:
            for m in range(n_inputs):
                list_input(st, m)
    else:
        if st.dense:
            memset(z, 0, n_inputs * sizeof(real))
            z[symbol] = 1
        st.symbols[st.n_pending] = <int32_t> symbol
        list_input(st, symbol)
    if net.recurrent:
        copy(recurrent, st.act, net.n_hidden)
        recurrent += net.n_hidden
        copy(recurrent, st.y_c, net.n_cells)
        recurrent += net.n_cells
        if net.gate_sources and net.n_blocks:
            copy(recurrent, st.act + net.lane_in, net.n_units - net.lane_in)
    if net.bias_source >= 0:
        z[net.bias_source] = 1


cdef inline lanes squashed(const Net* net, lanes net_in, Py_ssize_t u) noexcept nogil:
    """The activations of a vector of hidden-layer units, from lane u on, by their net inputs."""
    cdef lanes y = squash(net_in, net.squash + u, net.n_lanes)
    return where_positive(load(net.is_g + u), net_in, y) if net.g_is_identity else y


cdef inline void squash_units(const Net* net, State* st, Py_ssize_t begin, int width) noexcept nogil:
    """The activations of `width` vectors of hidden-layer units, from lane `begin` on."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.n_lanes
    cdef Py_ssize_t n_inputs = net.n_inputs
    cdef const real* w = net.w + begin
    cdef lanes acc[WIDE]
    for i in range(width):
        acc[i] = load(w + st.symbol * n + i * LANES) if st.symbol >= 0 else splat(0)
    if st.symbol < 0:
        add_rows(w, n, st.z, n_inputs, acc, width)
    w += n_inputs * n
    if width == WIDE:
        add_rows(w, n, st.z + n_inputs, net.n_sources - n_inputs, acc, width)
    else:
        add_rows_by_four(w, n, st.z + n_inputs, net.n_sources - n_inputs, acc, width)
    for i in range(width):
        store(st.act + begin + i * LANES, squashed(net, acc[i], begin + i * LANES))


cdef void squash_hidden_layer(const Net* net, State* st) noexcept nogil:
    """net_u = sum_m w_um z_m and its squashing: y_in (7), y_out (8), y_f, g(net_c) (9), y_i (6)."""
    cdef Py_ssize_t begin = 0
    while begin + WIDE * LANES <= net.n_lanes:
        squash_units(net, st, begin, WIDE)
        begin += WIDE * LANES
    while begin < net.n_lanes:
        squash_units(net, st, begin, VECTORS)
        begin += VECTORS * LANES


cdef inline real* gate_of_cells(const Net* net, State* st, Py_ssize_t lane, Py_ssize_t which) noexcept nogil:
    """The activations of a kind of gate with a lane per cell: in `act` itself if every block has one cell."""
    if net.single_cells:
        return st.act + lane
    return st.gates + which * net.n_cell_lanes


cdef inline void spread_gate(const Net* net, State* st, Py_ssize_t lane, Py_ssize_t which) noexcept nogil:
    """Give every cell its block's activation of a kind of gate."""
    cdef Py_ssize_t v
    cdef real* per_cell = st.gates + which * net.n_cell_lanes
    for v in range(net.n_cells):
        per_cell[v] = st.act[lane + net.block_of[v]]


cdef void spread_gates(const Net* net, State* st) noexcept nogil:
    """Give every cell its block's gate activations, unless every block has one cell."""
    if net.single_cells:
        return
    spread_gate(net, st, net.lane_in, 0)
    if net.lane_out >= 0:
        spread_gate(net, st, net.lane_out, 1)
    if net.lane_forget >= 0:
        spread_gate(net, st, net.lane_forget, 2)


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
    y_in = gate_of_cells(net, st, net.lane_in, 0)
    y_out = gate_of_cells(net, st, net.lane_out, 1)
    y_f = gate_of_cells(net, st, net.lane_forget, 2)
    for i in range(vectors(net.n_cells)):
        v = i * LANES
        s = load(st.s_c + v)
        if net.lane_forget >= 0:
            store(st.s_before + v, s)
            s = s * load(y_f + v)
        s = s + load(y_in + v) * load(net.is_cell + v) * load(st.act + net.lane_cell + v)
        store(st.s_c + v, s)
        bad = bad + (s - s)
        if net.h_is_identity:
            h = s
        else:
            h = squash(s, net.squash_h, ROW_LANES)
        store(st.h + v, h)
        y_c = h
        if net.lane_out >= 0:
            y_c = h * load(y_out + v)
        store(st.y_c + v, y_c)
    return is_zero(bad)


cdef inline bint fits_registers(const Net* net) noexcept nogil:
    """Whether a vector or two hold all units of the hidden layer, and one all cells."""
    return net.n_lanes <= REGISTERS * LANES and 0 < net.n_cells <= LANES


cdef inline void note_coefficients(const Net* net, State* st, const lanes* coef, const lanes* y_f) noexcept nogil:
    """Into the pending block: the coefficients (27)(25) of each kind of partials, and what all of them decay by."""
    cdef Py_ssize_t begin, k
    cdef Py_ssize_t n = net.n_partials
    cdef Py_ssize_t place = st.n_pending * n
    cdef lanes row
    for k in range(vectors(n)):
        begin = k * LANES
        row = picked(coef, 1, net.cell_of + begin) * load(net.is_partial + begin)
        row = row + picked(coef + 1, 1, net.cell_of + begin) * load(net.is_partial + n + begin)
        if net.lane_forget >= 0:
            row = row + picked(coef + 2, 1, net.cell_of + begin) * load(net.is_partial + 2 * n + begin)
            store(st.decay_block + place + begin, picked(y_f, 1, net.cell_of + begin))
        store(st.coef_block + place + begin, row)


cdef inline void squash_in_registers(const Net* net, State* st, lanes* act, int width) noexcept nogil:
    """As squash_hidden_layer, for `width` vectors of units: into act, and into the state.

    A small network waits: for its exponentials, and for what is stored in one shape and loaded in another. So all
    stays in registers, and the cells' activations, known last, are added to the net inputs last.
    """
    cdef Py_ssize_t i, m
    cdef Py_ssize_t n = width * LANES
    cdef Py_ssize_t n_cells = net.n_cells
    cdef const real* w = net.w
    cdef const real* w_cells
    cdef lanes acc[2]
    cdef lanes more[2]
    for i in range(width):
        acc[i] = load(w + st.symbol * n + i * LANES) if st.symbol >= 0 else splat(0)
        more[i] = splat(0)
    if net.bias_source >= 0:
        for i in range(width):
            acc[i] = acc[i] + load(w + net.bias_source * n + i * LANES)
    if st.symbol < 0:
        add_rows(w, n, st.z, net.n_inputs, acc, width)
    if net.recurrent:
        w += net.n_inputs * n
        add_rows(w, n, st.act, net.n_hidden, acc, width)
        w += net.n_hidden * n
        w_cells = w
        w += n_cells * n
        if net.gate_sources:
            add_rows(w, n, st.act + net.lane_in, net.n_units - net.lane_in, acc, width)
        for m in range(n_cells // 2):
            for i in range(width):
                acc[i] = acc[i] + load(w_cells + 2 * m * n + i * LANES) * splat(st.y_c[2 * m])
                more[i] = more[i] + load(w_cells + (2 * m + 1) * n + i * LANES) * splat(st.y_c[2 * m + 1])
        if n_cells % 2:
            m = n_cells - 1
            add_rows(w_cells + m * n, n, st.y_c + m, 1, more, width)
    for i in range(width):
        act[i] = squashed(net, acc[i] + more[i], i * LANES)
        store(st.act + i * LANES, act[i])


cdef inline bint update_in_registers(const Net* net, State* st, const lanes* act, int width) noexcept nogil:
    """As update_cells and put_coefficients, by the activations of `width` vectors of units."""
    cdef Py_ssize_t n = width * LANES
    cdef lanes one = splat(1)
    cdef lanes coef[3]
    cdef lanes g = picked(act, width, net.lane_of)
    cdef lanes y_in = picked(act, width, net.lane_of + ROW_LANES)
    cdef lanes y_f = one
    cdef lanes y_out, h, y_c
    cdef lanes s = load(st.s_c) * load(net.is_cell)  # lanes without a cell must not grow until they are squashed slowly
    coef[0] = y_in * slope(g, net.squash + net.lane_cell, n)
    coef[1] = g * (y_in * (one - y_in))
    if net.lane_forget >= 0:
        y_f = picked(act, width, net.lane_of + 3 * ROW_LANES)
        coef[2] = s * (y_f * (one - y_f))
        s = s * y_f
    s = s + y_in * g
    store(st.s_c, s)
    h = s if net.h_is_identity else squash(s, net.squash_h, ROW_LANES)
    y_c = h
    if net.lane_out >= 0:
        y_out = picked(act, width, net.lane_of + 2 * ROW_LANES)
        store(st.gates + net.n_cell_lanes, y_out)
        y_c = h * y_out
    store(st.y_c, y_c)
    store(st.h, h)
    note_coefficients(net, st, coef, &y_f)
    return is_zero(s - s)


cdef inline bint advance_in_registers(const Net* net, State* st, int width) noexcept nogil:
    """A step of a small network, from the sources to the cells."""
    cdef lanes act[2]
    squash_in_registers(net, st, act, width)
    return update_in_registers(net, st, act, width)


cdef bint compute_outputs(const Net* net, State* st) noexcept nogil:
    """y_k from the new activations of hidden units and cells (and x(t)). Returns whether all are finite."""
    cdef Py_ssize_t begin, i, k
    cdef Py_ssize_t n = net.n_out_lanes
    cdef Py_ssize_t n_inputs = net.n_inputs
    cdef const real* w
    cdef lanes acc[VECTORS]
    cdef lanes zero = splat(0)
    cdef lanes y
    cdef lanes bad = splat(0)
    for begin in range(n // (VECTORS * LANES)):
        w = net.w_out + begin * VECTORS * LANES
        for i in range(VECTORS):
            acc[i] = zero
        if net.input_to_output:
            if st.symbol < 0:
                add_rows(w, n, st.z, n_inputs, acc, VECTORS)
            else:
                for i in range(VECTORS):
                    acc[i] = load(w + st.symbol * n + i * LANES)
            w += n_inputs * n
        add_rows(w, n, st.act, net.n_hidden, acc, VECTORS)
        w += net.n_hidden * n
        if fits_registers(net):
            add_rows(w, n, st.y_c, net.n_cells, acc, VECTORS)
        else:
            add_rows_by_four(w, n, st.y_c, net.n_cells, acc, VECTORS)
        w += net.n_cells * n
        for i in range(VECTORS):
            k = (begin * VECTORS + i) * LANES
            y = acc[i]
            if net.output_bias:
                y = y + load(w + i * LANES)
            if net.output == LOGISTIC:
                y = squash(y, net.logistic, ROW_LANES)
            store(st.y + k, y)
            bad = bad + (y - y)
    if not is_zero(bad):
        return False
    if net.output == SOFTMAX:
        softmax(net, st)
    return True


cdef void softmax(const Net* net, State* st) noexcept nogil:
    """y_k = exp(net_k) / sum exp(net_l), in place; taken relative to the largest net input, so nothing overflows."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t n = vectors(net.n_outputs)
    cdef real* y = st.y
    cdef exponential e
    cdef lanes y_k, top, total
    cdef lanes one = splat(1)
    cdef real largest
    for k in range(net.n_outputs, n * LANES):
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


# ---- partials --------------------------------------------------------------------------------------------------------

cdef inline void remember_step(const Net* net, State* st) noexcept nogil:
    """The step is pending from now on; in registers it has noted its coefficients itself."""
    if not fits_registers(net):
        put_coefficients(net, st)
    st.n_pending += 1


cdef void put_coefficients(const Net* net, State* st) noexcept nogil:
    """Note what this step does to the partials: ds_dw = y_f ds_dw + coef z_m, for `settle` to carry out.

    coef = y_in g'(net_c) (27), g(net_c) f'(net_in) (25), s_c(t-1) f'(net_f).
    """
    cdef Py_ssize_t i, k, u, v
    cdef Py_ssize_t n_cells = net.n_cells
    cdef Py_ssize_t n_lanes = net.n_lanes
    cdef const real* y_in = gate_of_cells(net, st, net.lane_in, 0)
    cdef const real* y_f = gate_of_cells(net, st, net.lane_forget, 2)
    cdef real* coef = st.coef_block + st.n_pending * net.n_partials
    cdef real* decay = st.decay_block + st.n_pending * net.n_partials
    cdef lanes one = splat(1)
    cdef lanes g, gate, is_cell
    for i in range(vectors(n_cells)):
        v = i * LANES
        u = net.lane_cell + v
        g = load(st.act + u)
        is_cell = load(net.is_cell + v)
        g = slope(g, net.squash + u, n_lanes)
        store(coef + v, load(y_in + v) * g * is_cell)
    for i in range(vectors(n_cells)):
        v = i * LANES
        gate = load(y_in + v)
        is_cell = load(net.is_cell + v)
        store(coef + n_cells + v, load(st.act + net.lane_cell + v) * gate * (one - gate) * is_cell)
    if net.lane_forget < 0:
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
    """`count` rows of ds_dw (a constant where this is inlined) through all pending steps, a vector at a time."""
    cdef Py_ssize_t begin, i, r
    cdef Py_ssize_t n = net.n_partials
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
                if net.lane_forget >= 0:
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
    """Scale every pending step's coef by the forget gates of the steps after it; their product over all is `decay`."""
    cdef Py_ssize_t i, t, v
    cdef Py_ssize_t n = net.n_partials
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
    if m < net.n_inputs and st.symbol >= 0:
        return m == st.symbol
    return st.z[m]


cdef inline void settle_row(const Net* net, const State* st, real* partials, real z_m) noexcept nogil:
    """A row of ds_dw through the only pending step."""
    cdef Py_ssize_t k
    cdef lanes row
    for k in range(net.n_partials // LANES):
        row = load(partials + k * LANES)
        if net.lane_forget >= 0:
            row = row * load(st.decay_block + k * LANES)
        store(partials + k * LANES, row + load(st.coef_block + k * LANES) * splat(z_m))


cdef void settle(const Net* net, State* st) noexcept nogil:
    """Carry the pending steps out on the partials: each row is loaded once for all of them.

    A symbol's step touches its own input row only, beside the rows of the recurrent sources and the bias; with forget
    gates all rows listed decay.
    """
    cdef Py_ssize_t i, t
    cdef Py_ssize_t n = net.n_partials
    cdef Py_ssize_t n_pending = st.n_pending
    cdef Py_ssize_t n_rows = st.n_rows if st.dense else net.n_sources - net.n_inputs
    if n_pending == 0:
        return
    st.partials_bound = INFINITY
    st.n_pending = 0
    if net.lane_forget >= 0:
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
    if net.lane_forget >= 0:
        for i in range(n_rows, st.n_rows):
            scale(st.ds_dw + st.rows[i] * n, st.decay, n)
    for t in range(n_pending):
        add_scaled(st.ds_dw + st.symbols[t] * n, st.coef_block + t * n, splat(1), n)


cdef inline void scale(real* row, const real* factor, Py_ssize_t n) noexcept nogil:
    """row = row factor, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(row + i * LANES, load(row + i * LANES) * load(factor + i * LANES))


# ---- error signals ---------------------------------------------------------------------------------------------------

cdef void output_errors(const Net* net, State* st, double alpha) noexcept nogil:
    """e_k = f'(net_k) (t_k - y_k) (19), the slope 1 for identity and for softmax with cross-entropy."""
    cdef Py_ssize_t i, k
    cdef lanes y, e
    for i in range(vectors(net.n_out_lanes)):
        k = i * LANES
        y = load(st.y + k)
        e = (load(st.target + k) - y) * splat(<real> alpha)
        if net.output == LOGISTIC:
            e = e * y * (splat(1) - y)
        store(st.e_k + k, e * load(net.is_output + k))


cdef void hidden_errors(const Net* net, State* st) noexcept nogil:
    """e_i (20), e_out (21) and e_s (23) from the outputs' errors through the old output weights."""
    cdef Py_ssize_t i, u, v
    cdef Py_ssize_t n = net.n_out_lanes
    cdef Py_ssize_t n_hidden = net.n_hidden
    cdef const real* w = net.w_out + net.input_to_output * net.n_inputs * n
    cdef real* eps = st.eps + n_hidden  # those of the cells
    cdef real* y_out = gate_of_cells(net, st, net.lane_out, 1)
    cdef real y
    cdef lanes e
    if net.n_outputs <= 2:  # a row is at least this long, and nothing has to be summed across a vector
        for u in range(n_hidden + net.n_cells):
            st.eps[u] = w[u * n] * st.e_k[0] + w[u * n + 1] * st.e_k[1]
    else:
        for u in range(n_hidden + net.n_cells):
            st.eps[u] = dot(w + u * n, st.e_k, n)
    for u in range(n_hidden):
        y = st.act[u]
        st.e[u] = y * (1 - y) * st.eps[u]
    if net.lane_out >= 0:
        put_block_sums(net, st.e + net.lane_out, st.h, eps)
        for u in range(net.lane_out, net.lane_out + net.n_blocks):
            y = st.act[u]
            st.e[u] = y * (1 - y) * st.e[u]
    for i in range(vectors(net.n_cells)):
        v = i * LANES
        e = slope(load(st.h + v), net.squash_h, ROW_LANES) * load(eps + v)
        if net.lane_out >= 0:
            e = e * load(y_out + v)
        store(st.e_s + v, e * load(net.is_cell + v))


# ---- weight changes --------------------------------------------------------------------------------------------------

cdef inline void add_by_lane(
    real* w, const real* a, const real* b, Py_ssize_t n, bint only_check, lanes* bad
) noexcept nogil:
    """w += a b over the vectors that cover n lanes; or only NaN into bad if a sum would not be finite."""
    cdef Py_ssize_t i
    cdef lanes sum
    for i in range(vectors(n)):
        sum = load(w + i * LANES) + load(a + i * LANES) * load(b + i * LANES)
        if only_check:
            bad[0] = bad[0] + splat(0) * sum
        else:
            store(w + i * LANES, sum)


cdef inline void add_multiple(
    real* w, const real* a, real factor, Py_ssize_t n, bint only_check, lanes* bad
) noexcept nogil:
    """w += factor a, or only the check, as add_by_lane."""
    cdef Py_ssize_t i
    cdef lanes sum
    for i in range(vectors(n)):
        sum = load(w + i * LANES) + load(a + i * LANES) * splat(factor)
        if only_check:
            bad[0] = bad[0] + splat(0) * sum
        else:
            store(w + i * LANES, sum)


cdef inline void change_output_row(
    const Net* net, const State* st, real* w_out, Py_ssize_t m, real y_m, bint only_check, lanes* bad
) noexcept nogil:
    """w_km += alpha e_k y_m (22) for all k."""
    add_multiple(w_out + m * net.n_out_lanes, st.e_k, y_m, net.n_outputs, only_check, bad)


cdef inline void change_output_weights(
    const Net* net, const State* st, real* w_out, bint only_check, lanes* bad
) noexcept nogil:
    """(22) for every source of the outputs, in their weights or in a batch's sums."""
    cdef Py_ssize_t m
    cdef Py_ssize_t place = net.input_to_output * net.n_inputs
    if net.input_to_output:
        if st.symbol < 0:
            for m in range(net.n_inputs):
                change_output_row(net, st, w_out, m, st.z[m], only_check, bad)
        else:
            change_output_row(net, st, w_out, st.symbol, 1, only_check, bad)
    for m in range(net.n_hidden):
        change_output_row(net, st, w_out, place + m, st.act[m], only_check, bad)
    place += net.n_hidden
    for m in range(net.n_cells):
        change_output_row(net, st, w_out, place + m, st.y_c[m], only_check, bad)
    if net.output_bias:
        change_output_row(net, st, w_out, place + net.n_cells, 1, only_check, bad)


cdef inline void change_steered(
    const Net* net, const State* st, const int32_t* rows, int count, Py_ssize_t lane, Py_ssize_t place, bint per_cell,
    bint only_check, lanes* bad,
) noexcept nogil:
    """`count` rows of the weights from `lane` on, by the partials from `place` on: cells (28), and gates (26) by the
    sums over their block's cells.
    """
    cdef Py_ssize_t i, m
    if per_cell:
        for i in range(count):
            m = rows[i]
            add_by_lane(
                net.w + m * net.n_lanes + lane, st.e_s, st.ds_dw + m * net.n_partials + place, net.n_cells, only_check,
                bad,
            )
        return
    for i in range(count):
        put_block_sums(
            net, st.sums + i * net.n_cell_lanes, st.e_s, st.ds_dw + rows[i] * net.n_partials + place
        )
    for i in range(count):
        add_multiple(
            net.w + rows[i] * net.n_lanes + lane, st.sums + i * net.n_cell_lanes, 1, net.n_blocks, only_check, bad
        )


cdef inline void change_hidden_units(
    const Net* net, const State* st, const int32_t* rows, int count, bint only_check, lanes* bad
) noexcept nogil:
    """`count` rows of the hidden units' weights, by alpha e_i z_m (22); nothing behind their last lane is touched."""
    cdef Py_ssize_t i, u
    cdef real z_m, sum
    cdef real* w
    for i in range(count):
        z_m = source(net, st, rows[i])
        w = net.w + rows[i] * net.n_lanes
        for u in range(net.n_hidden):
            sum = w[u] + st.e[u] * z_m
            if only_check:
                bad[0] = bad[0] + splat(0 * sum)
            else:
                w[u] = sum


cdef inline void change_rows(
    const Net* net, State* st, const int32_t* rows, int count, bint pending, bint only_check, lanes* bad
) noexcept nogil:
    """`count` rows of change_hidden_weights, kind after kind."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_cells = net.n_cells
    if pending:
        for i in range(count):
            settle_row(net, st, st.ds_dw + rows[i] * net.n_partials, source(net, st, rows[i]))
    if n_cells:
        change_steered(net, st, rows, count, net.lane_cell, 0, True, only_check, bad)
        change_steered(net, st, rows, count, net.lane_in, n_cells, net.single_cells, only_check, bad)
    if net.lane_out >= 0:
        for i in range(count):
            add_multiple(
                net.w + rows[i] * net.n_lanes + net.lane_out, st.e + net.lane_out, source(net, st, rows[i]),
                net.n_blocks, only_check, bad,
            )
    if net.lane_forget >= 0:
        change_steered(net, st, rows, count, net.lane_forget, 2 * n_cells, net.single_cells, only_check, bad)


cdef inline void change_rows_of_single_cells(
    const Net* net, State* st, const int32_t* rows, int count, bint pending, bint has_out, bint has_forget
) noexcept nogil:
    """As change_rows, where every block has one cell: a vector of cells, with all that steers them, at a time.

    All kinds of a row are loaded before the first is stored, so that a kind's stores may reach over its last lane.
    """
    cdef Py_ssize_t i, r, v
    cdef Py_ssize_t n_cells = net.n_cells
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
    cdef lanes is_cell, e_s, z_m, w_c, w_in, p_c, p_in
    cdef real* w
    cdef real* p
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
            e_out = load(st.e + net.lane_out + v) * is_cell
        for r in range(count):
            z_m = splat(source(net, st, rows[r]))
            p = st.ds_dw + rows[r] * net.n_partials + v
            w = net.w + rows[r] * net.n_lanes + v
            p_c = load(p)
            p_in = load(p + n_cells)
            w_c = load(w + net.lane_cell)
            w_in = load(w + net.lane_in)
            if has_out:
                w_o = load(w + net.lane_out)
            if has_forget:
                p_f = load(p + 2 * n_cells) * y_f + coef_f * z_m
                w_f = load(w + net.lane_forget)
                p_c = p_c * y_f
                p_in = p_in * y_f
            p_c = p_c + coef_c * z_m
            p_in = p_in + coef_in * z_m
            store(p, p_c)
            store(p + n_cells, p_in)
            store(w + net.lane_cell, w_c + e_s * p_c)
            store(w + net.lane_in, w_in + e_s * p_in)
            if has_out:
                store(w + net.lane_out, w_o + e_out * z_m)
            if has_forget:
                store(p + 2 * n_cells, p_f)
                store(w + net.lane_forget, w_f + e_s * p_f)


cdef inline void change_hidden_weights(
    const Net* net, State* st, bint pending, bint only_check, lanes* bad
) noexcept nogil:
    """Every row of w that can change: by alpha e_l z_m for hidden units and output gates (22), by the partials for the
    other units (26)(28). If this step is still pending, the rows of partials are brought up to date on the way.

    A vector that reaches into the next kind's lanes adds 0 there. As loading what a store has just written in part
    takes long, some rows take each part of the way together.
    """
    cdef Py_ssize_t begin = 0
    cdef int count
    cdef const int32_t* rows
    while begin < st.n_rows:
        rows = st.rows + begin
        count = <int> min(net.rows_together, st.n_rows - begin)
        begin += count
        if net.n_hidden:
            change_hidden_units(net, st, rows, count, only_check, bad)
        if only_check or not net.single_cells or net.n_cells == 0:
            change_rows(net, st, rows, count, pending, only_check, bad)
        elif net.lane_forget < 0 and net.lane_out < 0:
            change_rows_of_single_cells(net, st, rows, count, pending, False, False)
        elif net.lane_forget < 0:
            change_rows_of_single_cells(net, st, rows, count, pending, True, False)
        elif net.lane_out < 0:
            change_rows_of_single_cells(net, st, rows, count, pending, False, True)
        else:
            change_rows_of_single_cells(net, st, rows, count, pending, True, True)
    if net.bias_source >= 0 and not only_check:
        scale(net.w + net.bias_source * net.n_lanes, net.has_bias, net.n_lanes)


cdef inline void change_hidden_weights_in_registers(
    const Net* net, State* st, bint pending, int width, int depth
) noexcept nogil:
    """As change_hidden_weights, for a layer of `width` vectors with partials of `depth` vectors."""
    cdef Py_ssize_t i, k, m, p, r
    cdef Py_ssize_t n = width * LANES
    cdef Py_ssize_t n_partials = depth * LANES
    cdef real* partials
    cdef real* w
    cdef lanes z_m
    cdef lanes sums[2]
    cdef lanes coef[2]
    cdef lanes decay[2]
    cdef lanes e_s[2]
    cdef lanes e[2]
    cdef lanes products[2]
    e_s[0] = load(st.e_s)
    if depth == 2:
        e_s[1] = picked(e_s, 1, net.cell_of + LANES)
    e_s[0] = picked(e_s, 1, net.cell_of)
    for k in range(depth):
        coef[k] = load(st.coef_block + k * LANES) if pending else splat(0)
        decay[k] = load(st.decay_block + k * LANES) if pending and net.lane_forget >= 0 else splat(1)
    for i in range(width):
        e[i] = load(st.e + i * LANES)
    for r in range(st.n_rows):
        m = st.rows[r]
        z_m = splat(source(net, st, m))
        partials = st.ds_dw + m * n_partials
        for k in range(depth):
            products[k] = load(partials + k * LANES) * decay[k] + coef[k] * z_m
            store(partials + k * LANES, products[k])
            products[k] = products[k] * e_s[k]
        for i in range(width):
            sums[i] = e[i] * z_m
        for p in range(net.block_places):
            for i in range(width):
                k = p * n + i * LANES
                sums[i] = sums[i] + picked(products, depth, net.sum_of + k) * load(net.is_summed + k)
        if m == net.bias_source:
            for i in range(width):
                sums[i] = sums[i] * load(net.has_bias + i * LANES)
        w = net.w + m * n
        for i in range(width):
            store(w + i * LANES, load(w + i * LANES) + sums[i])


cdef bint cannot_overflow(const Net* net, State* st) noexcept nogil:
    """Whether all changes are certain to be so small that no finite weight plus its change overflows.

    A change is an error times a source or a partial, and both factors have to be finite. All are bounded by sums of
    magnitudes, which are NaN if any is.
    """
    cdef Py_ssize_t i
    cdef lanes errors = magnitudes(st.e_k, net.n_outputs)
    cdef lanes sources = splat(1)
    cdef lanes partials = splat(0)
    cdef double source_bound, bound
    errors = errors + magnitudes(st.e_s, net.n_cells)
    errors = errors + magnitudes(st.e, net.n_lanes)
    sources = sources + magnitudes(st.y_c, net.n_cells)
    sources = sources + magnitudes(st.z + net.n_inputs, net.n_sources - net.n_inputs)
    if st.symbol < 0:
        sources = sources + magnitudes(st.z, net.n_inputs)
    source_bound = sum_of(sources)
    if st.partials_bound == INFINITY:
        for i in range(st.n_rows):
            partials = partials + magnitudes(st.ds_dw + st.rows[i] * net.n_partials, net.n_partials)
        st.partials_bound = sum_of(partials)
    if st.n_pending:
        st.partials_bound += source_bound * <double> sum_of(magnitudes(st.coef_block, net.n_partials))
    bound = source_bound + st.partials_bound
    return bound < HARMLESS and <double> sum_of(errors) * bound < HARMLESS


cdef int change_weights(Net* net, State* st, double alpha) noexcept nogil:
    """The change of every weight by the error at the target set in `st`; all errors use the old weights.

    If a weight might not be finite afterwards, all are tried first: nobody ever sees one that is not.
    """
    cdef lanes bad = splat(0)
    cdef bint pending
    output_errors(net, st, alpha)
    hidden_errors(net, st)
    if st.n_pending > 1:
        settle(net, st)
    if not cannot_overflow(net, st):
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
    change_output_weights(net, st, net.w_out, False, &bad)
    if not fits_registers(net) or net.n_partials > REGISTERS * LANES:
        change_hidden_weights(net, st, pending, False, &bad)
    elif net.n_partials == LANES:
        if net.n_lanes == LANES:
            change_hidden_weights_in_registers(net, st, pending, 1, 1)
        else:
            change_hidden_weights_in_registers(net, st, pending, 2, 1)
    elif net.n_lanes == LANES:
        change_hidden_weights_in_registers(net, st, pending, 1, 2)
    else:
        change_hidden_weights_in_registers(net, st, pending, 2, 2)
    return OK


# ---- one step --------------------------------------------------------------------------------------------------------

cdef inline bint set_target(const Net* net, State* st, const real* target, Py_ssize_t klass) noexcept nogil:
    """Take the target from a row or a class number; returns whether there is one."""
    cdef Py_ssize_t k
    if klass >= 0:
        for k in range(net.n_outputs):
            st.target[k] = 0
        st.target[klass] = 1
        return True
    if target == NULL or target[0] != target[0]:
        return False
    for k in range(net.n_outputs):
        st.target[k] = target[k]
    return True


cdef inline bint advance(const Net* net, State* st) noexcept nogil:
    """Hidden layer and cells, by the sources in the state. Returns whether the cell states are finite."""
    if fits_registers(net):
        return advance_in_registers(net, st, 1) if net.n_lanes == LANES else advance_in_registers(net, st, 2)
    squash_hidden_layer(net, st)
    spread_gates(net, st)
    return net.n_cells == 0 or update_cells(net, st)


cdef inline void take_input(const Net* net, State* st, const Chunk* chunk, Py_ssize_t t) noexcept nogil:
    """The sources of a chunk's step t."""
    if chunk.symbols != NULL:
        set_sources(net, st, NULL, chunk.symbols[t])
    else:
        set_sources(net, st, chunk.values + t * net.n_inputs, -1)


cdef int learn_step(
    Net* net, State* st, const Chunk* chunk, Py_ssize_t t, const real* target, Py_ssize_t klass, double alpha,
    real* y, Tally* tally,
) noexcept nogil:
    """One step of learning: everything in the order of the paper's section 5 and appendix A.1."""
    cdef bint has_target = set_target(net, st, target, klass)
    st.phase = CORRECTED  # unless the step comes to its end without a target
    take_input(net, st, chunk, t)
    if not advance(net, st):
        return CELL_STATE_NOT_FINITE
    if has_target or y != NULL:
        if not compute_outputs(net, st):
            return OUTPUT_NOT_FINITE
        if y != NULL:
            memcpy(y, st.y, net.n_outputs * sizeof(real))
    remember_step(net, st)
    if not has_target:
        if st.n_pending == net.n_block:
            settle(net, st)
        st.phase = AWAITING
        return OK
    if tally != NULL:
        measure(net, st, tally)
    return change_weights(net, st, alpha)


# ---- reset and stop rule ---------------------------------------------------------------------------------------------

cdef void forget_partials(const Net* net, State* st) noexcept nogil:
    """Partials to zero, in the rows that may have any; a state that did not learn since has none."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.n_partials
    for i in range(st.n_rows):
        memset(st.ds_dw + st.rows[i] * n, 0, n * sizeof(real))
    forget_pending(net, st)


cdef void forget_pending(const Net* net, State* st) noexcept nogil:
    """No pending steps, no inputs seen: for a state whose partials are zero."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_fixed = net.n_sources - net.n_inputs
    for i in range(n_fixed, st.n_rows):
        st.is_listed[st.rows[i]] = 0
    st.n_rows = n_fixed
    st.n_pending = 0
    st.partials_bound = 0
    st.phase = NOT_LEARNING


cdef void forget_activations(const Net* net, State* st) noexcept nogil:
    """Activations and cell states to zero."""
    memset(st.act, 0, net.n_lanes * sizeof(real))
    memset(st.y_c, 0, net.n_cell_lanes * sizeof(real))
    memset(st.s_c, 0, net.n_cell_lanes * sizeof(real))


cdef void reset(const Net* net, State* st) noexcept nogil:
    """Activations, cell states and partials to zero."""
    forget_activations(net, st)
    forget_partials(net, st)


cdef void measure(const Net* net, const State* st, Tally* tally) noexcept nogil:
    """Add this error signal's |t_k - y_k| to the sequence's sum and maximum."""
    cdef Py_ssize_t k
    cdef double error
    for k in range(net.n_outputs):
        error = <double> st.target[k] - <double> st.y[k]
        if error < 0:
            error = -error
        tally.error_sum += error
        if error > tally.error_max:
            tally.error_max = error
    tally.n_signals += 1


cdef void end_sequence(const Net* net, Plan* plan, const Tally* tally) noexcept nogil:
    """Write down the sequence's mean error, judge the stop rule, go on to the next."""
    cdef double error = NAN
    if tally.n_signals:
        error = tally.error_sum / (tally.n_signals * net.n_outputs)
        if plan.rule != NULL and rule_holds(plan.rule, error, tally.error_max > plan.rule.tolerance):
            plan.stopped = True
    plan.errors[plan.position] = error
    plan.position += 1


cdef inline const real* find_target(
    const Net* net, const Chunk* chunk, const Plan* plan, Py_ssize_t i, Py_ssize_t t, Py_ssize_t* klass
) noexcept nogil:
    """The target at step t of sequence i: a row, or NULL and a class number, or -1 for none."""
    cdef int64_t row = plan.offsets[i] + t
    klass[0] = -1
    if chunk.target_per_sequence:
        if row != plan.offsets[i + 1] - 1:
            return NULL
        row = i
    if chunk.classes != NULL:
        klass[0] = chunk.classes[row]
    return chunk.targets + row * net.n_outputs if chunk.targets != NULL else NULL


# ---- batches ---------------------------------------------------------------------------------------------------------
#
# While changes are summed, weights stay as they are, and what a block of steps adds to dw needs no partials but those
# of its beginning, ds_dw_0. With the errors carried back through the block, E(t) = e_s(t) + y_f(t+1) E(t+1) (no forget
# gates: y_f = 1), it is y_f(1) E(1) ds_dw_0 + sum_t E(t) coef(t) z(t), summed over a memory cell block's cells for its
# gates. So a step costs its net inputs and one term of a product of matrices: of z and delta = E coef in a block of
# steps with an error signal; of z and coef, by `settle`, in one without. Hidden units and output gates, whose errors
# come directly, take part at the error signals only.

cdef inline void list_symbol(Sums* sums, Py_ssize_t m) noexcept nogil:
    """Note that the rows of input m may change."""
    if not sums.is_listed[m]:
        sums.is_listed[m] = 1
        sums.symbols[sums.n_symbols] = <int32_t> m
        sums.n_symbols += 1


cdef void unlist_symbols(Sums* sums) noexcept nogil:
    """No input seen."""
    cdef Py_ssize_t i
    for i in range(sums.n_symbols):
        sums.is_listed[sums.symbols[i]] = 0
    sums.n_symbols = 0


cdef void begin_members(const Net* net, const Training* training, Worker* me) noexcept nogil:
    """The next sequences of the share, from a zero state."""
    cdef Py_ssize_t i, k
    cdef Member* member
    cdef const Plan* plan = &training.plan
    me.n_members = min(me.n_together, me.end - me.place)
    me.step = 0
    me.n_active = 0
    for k in range(me.n_members):
        member = me.members + k
        member.position = training.schedule[me.place + k]
        memset(&member.tally, 0, sizeof(Tally))
        forget_activations(net, &member.st)
        if member.settled:
            forget_partials(net, &member.st)
            member.settled = False
        else:
            forget_pending(net, &member.st)
        member.n_signals = 0
        i = plan.order[member.position]
        me.n_active += plan.offsets[i + 1] > plan.offsets[i]
    me.n_open = me.n_active
    me.n_closed = 0
    me.n_pending = 0


cdef void note_signal(const Net* net, Sums* sums, Member* member, double alpha) noexcept nogil:
    """The errors at the target set in the member's state: used at once for the outputs' weights, else kept."""
    cdef State* st = &member.st
    cdef real* e = member.e + member.n_signals * net.n_direct
    cdef lanes unused
    output_errors(net, st, alpha)
    hidden_errors(net, st)
    change_output_weights(net, st, sums.dw_out, False, &unused)
    member.signals[member.n_signals] = <int32_t> (st.n_pending - 1)
    copy(member.e_s + member.n_signals * net.n_cell_lanes, st.e_s, net.n_cells)
    copy(e, st.e, net.n_hidden)
    if net.lane_out >= 0:
        copy(e + net.n_hidden, st.e + net.lane_out, net.n_blocks)
    member.n_signals += 1


cdef void squash_together(const Net* net, Worker* me) noexcept nogil:
    """The activations of all members, by the sources in their states.

    Small networks one by one: while one waits for its exponentials, the processor goes on with the next.
    """
    cdef Py_ssize_t k, u
    cdef State* st = &me.members.st
    cdef Py_ssize_t first = net.n_inputs if st.symbol >= 0 else 0
    cdef lanes act[2]
    if fits_registers(net):
        for k in range(me.n_active):
            if net.n_lanes == LANES:
                squash_in_registers(net, &me.members[k].st, act, 1)
            else:
                squash_in_registers(net, &me.members[k].st, act, 2)
        return
    for k in range(me.n_active):
        st = &me.members[k].st
        if st.symbol >= 0:
            copy(st.act, net.w + st.symbol * net.n_lanes, net.n_units)
        else:
            memset(st.act, 0, net.n_lanes * sizeof(real))
    st = &me.members.st
    add_product(
        st.act, me.apart, st.z + first, me.apart, 1, net.w + first * net.n_lanes, net.n_lanes, me.n_active,
        net.n_sources - first, vectors(net.n_units),
    )
    for k in range(me.n_active):  # a loop of its own: what was stored now would be waited for if loaded next
        st = &me.members[k].st
        for u in range(vectors(net.n_units)):
            store(st.act + u * LANES, squashed(net, load(st.act + u * LANES), u * LANES))
        spread_gates(net, st)


cdef inline bint update_member(const Net* net, State* st) noexcept nogil:
    """The cells of a member by its activations. Returns whether their states are finite."""
    cdef lanes act[2]
    if not fits_registers(net):
        return update_cells(net, st)
    act[0] = load(st.act)
    if net.n_lanes == LANES:
        return update_in_registers(net, st, act, 1)
    act[1] = load(st.act + LANES)
    return update_in_registers(net, st, act, 2)


cdef int step_member(
    const Net* net, const Training* training, Worker* me, Member* member, bint squashed_already
) noexcept nogil:
    """A step from the sources on, or from the activations on."""
    cdef Py_ssize_t klass = -1
    cdef State* st = &member.st
    cdef const Plan* plan = &training.plan
    cdef const real* target = find_target(
        net, &training.chunk, plan, plan.order[member.position], me.step, &klass
    )
    if not (update_member(net, st) if squashed_already else advance(net, st)):
        return CELL_STATE_NOT_FINITE
    remember_step(net, st)
    if set_target(net, st, target, klass):
        if not compute_outputs(net, st):
            return OUTPUT_NOT_FINITE
        measure(net, st, &member.tally)
        member.tally.last_step = me.step
        note_signal(net, me.sums, member, plan.learning_rate)
    return OK


cdef void step_together(const Net* net, const Training* training, Worker* me) noexcept nogil:
    """One step of every member that has one."""
    cdef Py_ssize_t k, t
    cdef const Chunk* chunk = &training.chunk
    cdef const Plan* plan = &training.plan
    cdef bint together = me.n_active > 1
    for k in range(me.n_active):
        t = plan.offsets[plan.order[me.members[k].position]] + me.step
        if chunk.symbols != NULL:
            list_symbol(me.sums, chunk.symbols[t])
        take_input(net, &me.members[k].st, chunk, t)
    if together:
        squash_together(net, me)
    for k in range(me.n_active):
        me.report.status = step_member(net, training, me, me.members + k, together)
        if me.report.status != OK:
            me.sequence = plan.order[me.members[k].position]
            me.report.step = me.step
            return
        me.n_steps += 1
    me.step += 1
    me.n_pending += 1
    while me.n_active:
        k = plan.order[me.members[me.n_active - 1].position]
        if plan.offsets[k + 1] - plan.offsets[k] > me.step:
            break
        me.n_active -= 1


cdef inline void put_carried(const Net* net, real* to, const real* e_s, const real* terms) noexcept nogil:
    """e_s times coef or partials, in the order of the lanes of dw: of cells, then summed over a block's cells for input
    gates and forget gates.
    """
    cdef Py_ssize_t n_cells = net.n_cells
    put_product(to, e_s, terms, n_cells)
    put_block_sums(net, to + n_cells, e_s, terms + n_cells)
    if net.lane_forget >= 0:
        put_block_sums(net, to + n_cells + net.n_blocks, e_s, terms + 2 * n_cells)


cdef Py_ssize_t carry_back(const Net* net, Worker* me, const Member* member) noexcept nogil:
    """E and delta of every pending step up to the last error signal; returns how many these are.

    E of the step before the block is left in me.e_s.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n = vectors(net.n_cells)
    cdef Py_ssize_t n_signals = member.n_signals
    cdef Py_ssize_t n_steps = member.signals[n_signals - 1] + 1
    cdef Py_ssize_t t = n_steps
    cdef real* e_s = me.e_s
    cdef const real* signal
    cdef const real* y_f
    for i in range(n):
        store(e_s + i * LANES, splat(0))
    while t > 0:
        t -= 1
        if n_signals and member.signals[n_signals - 1] == t:
            n_signals -= 1
            signal = member.e_s + n_signals * net.n_cell_lanes
            for i in range(n):
                store(e_s + i * LANES, load(e_s + i * LANES) + load(signal + i * LANES))
        put_carried(net, me.delta + t * net.n_change_lanes, e_s, member.st.coef_block + t * net.n_partials)
        if net.lane_forget >= 0:
            y_f = member.st.decay_block + t * net.n_partials
            for i in range(n):
                store(e_s + i * LANES, load(e_s + i * LANES) * load(y_f + i * LANES) * load(net.is_cell + i * LANES))
    return n_steps


cdef void add_changes(
    const Net* net, real* dw, const State* st, const real* delta, Py_ssize_t n_delta, Py_ssize_t n_steps,
    Py_ssize_t n_lanes
) noexcept nogil:
    """dw_m += sum_t delta(t) z_m(t) over the first pending steps, for some of a row's lanes."""
    cdef Py_ssize_t t
    cdef Py_ssize_t n = net.n_change_lanes
    cdef Py_ssize_t first = 0 if st.dense else net.n_inputs
    add_product(
        dw + first * n, n, st.z_block + first, 1, st.n_z, delta, n_delta, net.n_sources - first, n_steps,
        vectors(n_lanes),
    )
    if not st.dense:
        for t in range(n_steps):
            add_scaled(dw + st.symbols[t] * n, delta + t * n_delta, splat(1), n_lanes)


cdef void close_block(const Net* net, Worker* me, Member* member, bint goes_on) noexcept nogil:
    """What the pending steps add to dw, and to the partials if there are steps to come."""
    cdef Py_ssize_t i, m, n_steps, t
    cdef State* st = &member.st
    cdef real* dw = me.sums.dw
    cdef Py_ssize_t first = 0 if st.dense else net.n_inputs
    if member.n_signals and net.n_cells:
        n_steps = carry_back(net, me, member)
        add_changes(net, dw, st, me.delta, net.n_change_lanes, n_steps, net.n_carried)
        if member.settled:
            for i in range(st.n_rows):
                m = st.rows[i]
                put_carried(net, me.delta, me.e_s, st.ds_dw + m * net.n_partials)
                add_scaled(dw + m * net.n_change_lanes, me.delta, splat(1), net.n_carried)
    if goes_on:
        settle(net, st)
        member.settled = True
    if member.n_signals and net.n_direct:
        for i in range(member.n_signals):  # from now on the steps with a signal only
            t = member.signals[i]
            if t > i:
                copy(st.z_block + i * st.n_z + first, st.z_block + t * st.n_z + first, net.n_sources - first)
                st.symbols[i] = st.symbols[t]
        add_changes(net, dw + net.n_carried, st, member.e, net.n_direct, member.n_signals, net.n_direct)
    member.n_signals = 0
    st.n_pending = 0


cdef bint go_on_with_share(const Net* net, Training* training, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Steps of a share's sequences, some more than the budget at the most; returns whether all are done.

    The order of all sums follows from the share alone, not from the budgets it is worked through in.
    """
    cdef Py_ssize_t k
    cdef Member* member
    while me.place < me.end:
        if me.n_members == 0:
            begin_members(net, training, me)
        while me.n_open:
            if budget[0] <= 0:
                return False
            if me.n_active and me.n_pending < me.n_block:
                if see(&training.last_wanted) < me.item:
                    return True
                budget[0] -= me.n_active
                step_together(net, training, me)
                if me.report.status != OK:
                    lower(&training.last_wanted, me.item)
                    return True
                continue
            member = me.members + me.n_closed
            budget[0] -= member.st.n_pending
            close_block(net, me, member, me.n_closed < me.n_active)
            me.n_closed += 1
            if me.n_closed == me.n_open:
                me.n_open = me.n_active
                me.n_closed = 0
                me.n_pending = 0
        for k in range(me.n_members):
            member = me.members + k
            training.tallies[member.position - training.plan.position] = member.tally
        me.place += me.n_members
        me.n_members = 0
    return True


cdef void arrange_row(const Net* net, real* row, real* scratch, Py_ssize_t m) noexcept nogil:
    """Bring row m of dw into the order of the lanes of w, kind by kind, as each may reach into the next."""
    cdef Py_ssize_t i
    cdef const real* direct = row + net.n_carried
    copy(scratch, direct, net.n_hidden)
    if net.n_cells:
        copy(scratch + net.lane_cell, row, net.n_cells + net.n_blocks)
        if net.lane_out >= 0:
            copy(scratch + net.lane_out, direct + net.n_hidden, net.n_blocks)
        if net.lane_forget >= 0:
            copy(scratch + net.lane_forget, row + net.n_cells + net.n_blocks, net.n_blocks)
    for i in range(net.n_units, net.n_lanes):
        scratch[i] = 0
    if m == net.bias_source:
        put_product(scratch, scratch, net.has_bias, net.n_lanes)
    copy(row, scratch, net.n_lanes)


cdef inline void clear_row(real* row, Py_ssize_t n) noexcept nogil:
    """row = 0."""
    memset(row, 0, n * sizeof(real))


cdef inline void move_row(real* to, real* row, Py_ssize_t n) noexcept nogil:
    """to += row, row = 0."""
    add_scaled(to, row, splat(1), n)
    clear_row(row, n)


cdef inline bint add_weights(real* row, const real* w, Py_ssize_t n) noexcept nogil:
    """row += w; returns whether all are finite."""
    cdef Py_ssize_t i
    cdef lanes new
    cdef lanes bad = splat(0)
    for i in range(vectors(n)):
        new = load(row + i * LANES) + load(w + i * LANES)
        store(row + i * LANES, new)
        bad = bad + (new - new)
    return is_zero(bad)


cdef inline void take_row(real* w, real* row, Py_ssize_t n_lanes, Py_ssize_t n) noexcept nogil:
    """w = row, over n_lanes; row = 0, all n."""
    copy(w, row, n_lanes)
    clear_row(row, n)


cdef bint sum_up_row(
    const Net* net, const Training* training, Worker* me, Py_ssize_t m, bint is_out, bint is_symbol
) noexcept nogil:
    """One row, of the outputs or of the hidden layer, in a round ADD_UP or TAKE; returns whether it stays finite."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.n_out_lanes if is_out else net.n_change_lanes
    cdef Py_ssize_t n_lanes = net.n_out_lanes if is_out else net.n_lanes
    cdef real* w = (net.w_out if is_out else net.w) + m * n_lanes
    cdef real* row = (training.total.dw_out if is_out else training.total.dw) + m * n
    cdef Sums* sums
    if training.task == TAKE:
        take_row(w, row, n_lanes, n)
        return True
    for i in range(training.n_wave if training.n_shares > 1 else 0):
        sums = training.sums + i
        if not is_symbol or sums.is_listed[m]:
            move_row(row, (sums.dw_out if is_out else sums.dw) + m * n, n)
    if training.first_share + training.n_wave < training.n_shares:
        return True
    if not is_out:
        arrange_row(net, row, me.delta, m)
    return add_weights(row, w, n_lanes)


cdef inline Py_ssize_t n_input_rows(const Net* net, const Training* training) noexcept nogil:
    """Rows of inputs that may have changed: where these are symbols, of those seen."""
    return training.total.n_symbols if training.chunk.symbols != NULL else net.n_inputs


cdef void sum_up_rows(const Net* net, Training* training, Worker* me) noexcept nogil:
    """An item's part of all rows that may have changed: of the hidden layer, then of the outputs."""
    cdef Py_ssize_t m, r
    cdef bint is_out, is_input, is_symbol
    cdef bint symbols = training.chunk.symbols != NULL
    cdef Py_ssize_t n_inputs = n_input_rows(net, training)
    cdef Py_ssize_t n_hidden_rows = n_inputs + net.n_sources - net.n_inputs
    cdef Py_ssize_t n_items = training.crew.n_items
    for r in range(me.item * training.n_rows // n_items, (me.item + 1) * training.n_rows // n_items):
        is_out = r >= n_hidden_rows
        m = r - is_out * n_hidden_rows
        is_input = m < n_inputs and (net.input_to_output or not is_out)
        is_symbol = symbols and is_input
        if is_symbol:
            m = training.total.symbols[m]
        elif not is_input and (net.input_to_output or not is_out):
            m += net.n_inputs - n_inputs
        if not sum_up_row(net, training, me, m, is_out, is_symbol):
            me.has_failed = True


# ---- crews -----------------------------------------------------------------------------------------------------------
#
# What the threads of a crew do in the rounds of `_crew.h`. The shares of a batch, what is in them and the order in
# which their changes are summed follow from the batch alone: how many threads there are, and which of them does what,
# changes no bit. The leader is the thread that called: it keeps the plan, and comes back now and then to look for
# signals.

cdef inline Sums* sums_of(Training* training, Py_ssize_t item) noexcept nogil:
    """Where the changes of a wave's share are summed."""
    return training.sums + item if training.n_shares > 1 else &training.total


cdef void begin_item(const Net* net, Training* training, Worker* me) noexcept nogil:
    """Get ready for an item just claimed."""
    cdef const int64_t* bounds = training.bounds + training.bound + training.first_share
    if training.task == SHARES:
        me.sums = sums_of(training, me.item)
        me.report.status = OK
        me.n_steps = 0
        me.place = bounds[me.item]
        me.end = bounds[me.item + 1]
        me.n_members = 0
    else:
        me.position = -1


cdef void end_share(Worker* me) noexcept nogil:
    """Leave word of how a share went; until now nobody else has been looking."""
    me.sums.report = me.report
    me.sums.sequence = me.sequence
    me.sums.n_steps = me.n_steps
    me.n_steps_in_all += me.n_steps


cdef bint go_on(Net* net, Training* training, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Claim items and do them, for about `budget` steps; returns whether none is left to claim."""
    cdef bint is_done = True
    while True:
        if not me.is_busy:
            me.item = claim_item(&training.crew, me.bed)
            if me.item < 0:
                return True
            me.is_busy = True
            begin_item(net, training, me)
        if training.task == SHARES:
            is_done = go_on_with_share(net, training, me, budget)
            if is_done:
                end_share(me)
        elif training.task == SEQUENCES:
            is_done = go_on_with_sequences(net, training, me, budget)
        else:
            sum_up_rows(net, training, me)
        if not is_done:
            return False
        me.is_busy = False
        end_item(&training.crew, me.bed)


cdef bint lead_round(
    Net* net, Training* training, int task, Py_ssize_t n_items, bint is_alone, Py_ssize_t* budget
) noexcept nogil:
    """Begin a round or go on with it, for about `budget` steps; returns whether it is done."""
    if not training.is_open:
        training.task = task
        training.is_open = True
        training.is_waiting = False
        open_round(&training.crew, n_items, is_alone)
    if not go_on(net, training, training.workers, budget):
        return False
    if not training.is_waiting:
        training.is_waiting = True
        if task == SHARES and training.is_shared:
            training.own_time += time_on_cpu()
    if not await_round(&training.crew, PATIENCE):
        return False
    training.is_open = False
    return True


cdef void weigh(Training* training) noexcept nogil:
    """Judge by a wave whether it pays to share: alone, the leader would have gone on as fast as its own shares went.

    Where other threads rather hold it up, as they have no processor or take away its own, it goes on alone for a while.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n_steps = 0
    cdef Py_ssize_t own_steps = training.workers.n_steps_in_all
    cdef double end = now()
    cdef double lost
    for i in range(training.n_wave):
        n_steps += sums_of(training, i).n_steps
    # Nothing to be learned from it if nobody has helped, or on a clock too coarse to see the leader's time.
    if own_steps == 0 or own_steps == n_steps or training.own_time <= 0:
        return
    lost = (end - training.began) - training.own_time * n_steps / own_steps
    training.balance = 0.9 * training.balance + lost
    if training.balance > 0:
        training.balance = 0
        training.rest = min(MOST_REST, max(LEAST_REST, 2 * training.rest))
        training.alone_until = end + training.rest
    elif lost < 0:
        training.rest /= 2


cdef bint lead_shares(Net* net, Training* training, Py_ssize_t* budget) noexcept nogil:
    """Begin a wave or go on with it, for about `budget` steps; returns whether it is done."""
    if not training.is_open:
        training.n_wave = min(training.n_sums, training.n_shares - training.first_share)
        training.is_shared = training.is_worth_sharing
        if training.is_shared:
            training.began = now()
            training.is_shared = training.began >= training.alone_until
        if training.is_shared:
            training.own_time = -time_on_cpu()
            training.workers.n_steps_in_all = 0
    if not lead_round(net, training, SHARES, training.n_wave, not training.is_shared, budget):
        return False
    if training.is_shared and training.worth_sharing:
        weigh(training)
    return True


cdef void help(Net* net, Training* training, Worker* me) noexcept nogil:
    """What all threads but the leader do until there is nothing more to be done."""
    cdef Py_ssize_t budget
    while await_work(&training.crew, me.bed):
        budget = PY_SSIZE_T_MAX
        go_on(net, training, me, &budget)


cdef void give_up(Net* net, Training* training) noexcept nogil:
    """End the present round, whatever is left of it; returns when nobody is at work."""
    cdef Py_ssize_t i
    cdef Worker* me = training.workers
    if not training.is_open:
        return
    put(&training.last_wanted, -1)
    if me.is_busy:
        me.is_busy = False
        if training.task == SEQUENCES:
            end_shared_sequence(net, training, me, OK, False)
        elif training.task == SHARES:
            end_share(me)
        end_item(&training.crew, me.bed)
    while True:
        i = claim_item(&training.crew, me.bed)
        if i < 0:
            break
        if training.task == SHARES:
            sums_of(training, i).n_steps = 0
        end_item(&training.crew, me.bed)
    while not await_round(&training.crew, PATIENCE):
        pass
    training.is_open = False
    for i in range(training.n_wave if training.task == SHARES else 0):
        training.plan.n_steps += sums_of(training, i).n_steps


cdef void begin_batch(const Net* net, Training* training) noexcept nogil:
    """Get ready for the next batch."""
    cdef Py_ssize_t i, k
    cdef int64_t n_steps = 0
    cdef const Plan* plan = &training.plan
    training.n = min(training.size, plan.n_order - plan.position)
    training.bound += training.n_shares
    training.n_shares = 0
    while training.bounds[training.bound + training.n_shares] < plan.position + training.n:
        training.n_shares += 1
    training.first_share = 0
    training.last_wanted = MOST_ITEMS
    if training.crew.n_threads > 1 and training.n_shares > 1:
        for k in range(training.n):
            i = plan.order[plan.position + k]
            n_steps += plan.offsets[i + 1] - plan.offsets[i]
    training.is_worth_sharing = n_steps * training.step_work > training.worth_sharing


cdef bint end_shares(const Net* net, Training* training) noexcept nogil:
    """Bring together what the shares of a wave have come to; returns whether all went well."""
    cdef Py_ssize_t i, k
    cdef Plan* plan = &training.plan
    cdef Sums* sums
    for i in range(training.n_wave):
        sums = sums_of(training, i)
        plan.n_steps += sums.n_steps
        if sums.report.status != OK:
            plan.status = sums.report.status
            plan.step = sums.report.step
            plan.sequence = sums.sequence
            return False
        for k in range(sums.n_symbols if training.n_shares > 1 else 0):
            list_symbol(&training.total, sums.symbols[k])
    training.n_rows = net.n_sources + net.n_out_sources
    training.n_rows -= (1 + net.input_to_output) * (net.n_inputs - n_input_rows(net, training))
    return True


cdef Py_ssize_t last_signal(const Training* training) noexcept nogil:
    """The batch's last sequence with an error signal, or -1."""
    cdef Py_ssize_t last = training.n - 1
    while last >= 0 and training.tallies[last].n_signals == 0:
        last -= 1
    return last


cdef bint lead_sums(Net* net, Training* training, int task) noexcept nogil:
    """A round that goes through the rows of weights; returns whether all weights are finite."""
    cdef Py_ssize_t i
    cdef Py_ssize_t budget = PY_SSIZE_T_MAX
    cdef Py_ssize_t n_reals = training.n_rows * net.n_lanes
    cdef Py_ssize_t n_items = min(MOST_PARTS, n_reals // WORTH_A_ROUND if training.worth_sharing else n_reals)
    cdef bint is_alone = n_items < 2 or not training.is_shared
    cdef bint is_finite = True
    if is_alone:
        training.task = task
        training.crew.n_items = 1
        training.workers.item = 0
        sum_up_rows(net, training, training.workers)
    else:
        while not lead_round(net, training, task, min(n_items, training.n_rows), False, &budget):
            pass
    for i in range(training.crew.n_threads):
        is_finite = is_finite and not training.workers[i].has_failed
        training.workers[i].has_failed = False
    return is_finite


cdef bint sum_up(Net* net, Training* training) noexcept nogil:
    """The changes of a wave into the total; after the last wave, into the weights. Returns whether all went well."""
    cdef Py_ssize_t i, last
    cdef Plan* plan = &training.plan
    cdef bint is_last = training.first_share + training.n_wave == training.n_shares
    last = last_signal(training) if is_last else 0
    if last >= 0 and not lead_sums(net, training, ADD_UP):
        plan.status = CHANGE_NOT_FINITE
        plan.sequence = plan.order[plan.position + last]
        plan.step = training.tallies[last].last_step
        return False
    for i in range(training.n_wave if training.n_shares > 1 else 0):
        unlist_symbols(training.sums + i)
    if is_last:
        if last >= 0:
            lead_sums(net, training, TAKE)
        unlist_symbols(&training.total)
    return True


cdef void train_batches(Net* net, Training* training, Py_ssize_t budget) noexcept nogil:
    """Lead a crew through a plan for about `budget` steps; weights change once per batch, by the sum over it."""
    cdef Py_ssize_t i
    cdef Plan* plan = &training.plan
    while plan.position < plan.n_order and not plan.stopped:
        if training.n == 0:
            begin_batch(net, training)
        while training.first_share < training.n_shares:
            if not lead_shares(net, training, &budget):
                return
            if not end_shares(net, training) or not sum_up(net, training):
                return
            training.first_share += training.n_wave
        for i in range(training.n):
            end_sequence(net, plan, training.tallies + i)
        training.n = 0


cdef void end_shared_sequence(
    const Net* net, Training* training, const Worker* me, int status, bint is_whole
) noexcept nogil:
    """Write down what became of a worker's sequence; one thread at a time."""
    cdef Plan* plan = &training.plan
    lock(&training.is_ending)
    plan.n_steps += me.step
    if is_whole:
        end_sequence(net, plan, &me.tally)
    elif status != OK and plan.status == OK:
        plan.status = status
        plan.sequence = plan.order[me.position]
        plan.step = me.step
        put(&training.last_wanted, -1)
    if plan.stopped:
        put(&training.next_position, plan.n_order)
    unlock(&training.is_ending)


cdef bint go_on_with_sequences(Net* net, Training* training, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Train sequences that nobody has taken yet, for about `budget` steps; returns whether there are no more.

    Weights change by the step and without a lock, under the eyes of the others.
    """
    cdef Py_ssize_t i, length
    cdef Py_ssize_t klass = -1
    cdef int status = OK
    cdef const real* target
    cdef const Plan* plan = &training.plan
    while True:
        if me.position < 0:
            me.position = add(&training.next_position, 1) - 1
            if me.position >= plan.n_order:
                return True
            me.step = 0
            memset(&me.tally, 0, sizeof(Tally))
            reset(net, me.st)
        i = plan.order[me.position]
        length = plan.offsets[i + 1] - plan.offsets[i]
        while me.step < length and see(&training.last_wanted) >= 0:
            if budget[0] <= 0:
                return False
            budget[0] -= 1
            target = find_target(net, &training.chunk, plan, i, me.step, &klass)
            status = learn_step(
                net, me.st, &training.chunk, plan.offsets[i] + me.step, target, klass, plan.learning_rate, NULL,
                &me.tally,
            )
            if status != OK:
                break
            me.step += 1
        end_shared_sequence(net, training, me, status, me.step == length)
        if see(&training.last_wanted) < 0:
            return True
        me.position = -1


cdef void train_hogwild(Net* net, Training* training, Py_ssize_t budget) noexcept nogil:
    """Lead a crew through a plan for about `budget` steps; all change the weights by the step, at the same time."""
    if not training.is_open:
        training.next_position = 0
        training.last_wanted = MOST_ITEMS
    lead_round(net, training, SEQUENCES, training.crew.n_threads, training.crew.n_threads == 1, &budget)


# ---- entry points ----------------------------------------------------------------------------------------------------

cdef void record_step(const Net* net, const State* st, real** records, Py_ssize_t t) noexcept nogil:
    """Copy what was asked for: cell_state, cell, input_gate, output_gate, forget_gate, hidden."""
    cdef Py_ssize_t n_cells = net.n_cells
    cdef Py_ssize_t n_blocks = net.n_blocks
    if records[0] != NULL:
        memcpy(records[0] + t * n_cells, st.s_c, n_cells * sizeof(real))
    if records[1] != NULL:
        memcpy(records[1] + t * n_cells, st.y_c, n_cells * sizeof(real))
    if records[2] != NULL:
        memcpy(records[2] + t * n_blocks, st.act + net.lane_in, n_blocks * sizeof(real))
    if records[3] != NULL:
        memcpy(records[3] + t * n_blocks, st.act + net.lane_out, n_blocks * sizeof(real))
    if records[4] != NULL:
        memcpy(records[4] + t * n_blocks, st.act + net.lane_forget, n_blocks * sizeof(real))
    if records[5] != NULL:
        memcpy(records[5] + t * net.n_hidden, st.act, net.n_hidden * sizeof(real))


cdef void run(
    const Net* net, State* st, const Chunk* chunk, Py_ssize_t begin, Py_ssize_t end, real* outputs, real** records,
    Report* report,
) noexcept nogil:
    """Inference, steps begin to end of a chunk: outputs (n_steps, n_outputs), and records if not NULL.

    The partials end here, as if the state were a constant of the weights.
    """
    cdef Py_ssize_t t
    for t in range(begin, end):
        report.step = t
        if st.phase != NOT_LEARNING:
            forget_partials(net, st)
        take_input(net, st, chunk, t)
        if not advance(net, st):
            report.status = CELL_STATE_NOT_FINITE
            return
        if not compute_outputs(net, st):
            report.status = OUTPUT_NOT_FINITE
            return
        memcpy(outputs + t * net.n_outputs, st.y, net.n_outputs * sizeof(real))
        if records != NULL:
            record_step(net, st, records, t)
    report.status = OK


cdef void learn(
    Net* net, State* st, const Chunk* chunk, Py_ssize_t begin, Py_ssize_t end, double alpha, real* outputs,
    Report* report,
) noexcept nogil:
    """Learning, steps begin to end of a chunk of one stream; the weights change at every error signal."""
    cdef Py_ssize_t t, klass
    cdef const real* target
    for t in range(begin, end):
        target = chunk.targets + t * net.n_outputs if chunk.targets != NULL else NULL
        klass = chunk.classes[t] if chunk.classes != NULL else -1
        report.step = t
        report.status = learn_step(
            net, st, chunk, t, target, klass, alpha, outputs + t * net.n_outputs, NULL
        )
        if report.status != OK:
            return


cdef int correct(Net* net, State* st, const real* target, Py_ssize_t klass, double alpha) noexcept nogil:
    """The error signal of the last learning step, late."""
    set_target(net, st, target, klass)
    st.phase = CORRECTED
    return change_weights(net, st, alpha)


cdef void train(Net* net, State* st, const Chunk* chunk, Plan* plan, Py_ssize_t budget) noexcept nogil:
    """Go on with a plan for at most `budget` steps, every sequence from a zero state; weights change by the step."""
    cdef Py_ssize_t i, length
    cdef Py_ssize_t klass = -1
    cdef const real* target
    while plan.position < plan.n_order and not plan.stopped:
        i = plan.order[plan.position]
        length = plan.offsets[i + 1] - plan.offsets[i]
        plan.sequence = i
        if plan.step == 0:
            reset(net, st)
            memset(&plan.tally, 0, sizeof(Tally))
        while plan.step < length:
            if budget == 0:
                return
            budget -= 1
            target = find_target(net, chunk, plan, i, plan.step, &klass)
            plan.status = learn_step(
                net, st, chunk, plan.offsets[i] + plan.step, target, klass, plan.learning_rate, NULL, &plan.tally
            )
            if plan.status != OK:
                return
            plan.step += 1
            plan.n_steps += 1
        end_sequence(net, plan, &plan.tally)
        plan.step = 0


cdef Kernel build = Kernel(
    real_bytes=sizeof(real),
    reset=reset,
    first_not_finite=first_not_finite,
    run=run,
    learn=learn,
    correct=correct,
    train=train,
    train_batches=train_batches,
    train_hogwild=train_hogwild,
    help=help,
    give_up=give_up,
    settle=settle,
)

kernel = PyCapsule_New(&build, "lstm97.kernel", NULL)
