# Rules of learning other than the paper's: the gradients of an update are collected in rows, and an optimizer or
# recursive least squares changes the weights by them.
#
# Adam and RMSprop keep means m, v of the gradients g and of their squares; a is the step size of a weight. With a bound
# every change is divided by M = sum a g^2 / (bound sum e_k^2), if that is above 1; then M is found before any weight
# changes, and the rows of g hold the changes meanwhile.

cdef inline bint keeps_squares(int kind) noexcept nogil:
    """Whether a rule divides by the root of the mean of the squares."""
    return kind == RMSPROP or kind == ADAM


cdef inline bint keeps_mean(int kind) noexcept nogil:
    """Whether a rule keeps a mean of the gradients."""
    return kind == MOMENTUM or kind == ADAM


cdef void begin_update(const Net* net, double rate, Update* update) noexcept nogil:
    """The numbers of the update that comes next."""
    cdef double t = net.rule.n_updates[0] + 1
    update.rate = rate
    update.m_correction = 1 / (1 - pow(net.rule.momentum, t)) if net.rule.kind == ADAM else 1
    update.v_correction = 1 / (1 - pow(net.rule.decay, t))
    update.scale = 1


cdef inline void use_gradients(
    int kind, const Net* net, const Update* update, real* w, real* m, real* v, real* g, Py_ssize_t n, bint keeps,
    bint changes, lanes* squares, lanes* bad
) noexcept nogil:
    """A row of `n` gradients g, by a rule of this kind (a constant where this is inlined).

    `keeps`: the row's memory takes them in. `changes`: the weights w change, times scale; else, if `keeps`, g becomes
    the changes, and if not, `bad` is NaN if a new weight is not finite. `squares` grows by a g^2.
    """
    cdef Py_ssize_t i, u
    cdef lanes one = splat(1)
    cdef lanes rate = splat(<real> update.rate)
    cdef lanes scale = splat(<real> update.scale)
    cdef lanes m_kept = splat(<real> net.rule.momentum)
    cdef lanes m_share = splat(<real> (1 - net.rule.momentum)) if kind == ADAM else one
    cdef lanes v_kept = splat(<real> net.rule.decay)
    cdef lanes v_share = splat(<real> (1 - net.rule.decay))
    cdef lanes m_correction = splat(<real> update.m_correction)
    cdef lanes v_correction = splat(<real> update.v_correction)
    cdef lanes epsilon = splat(<real> net.rule.epsilon)
    cdef lanes total = squares[0]
    cdef lanes g_u, m_u, v_u, a, change
    for i in range(vectors(n)):
        u = i * LANES
        g_u = load(g + u)
        a = rate
        m_u = g_u
        if keeps_squares(kind):
            v_u = load(v + u) * v_kept + g_u * g_u * v_share
            a = rate / (root_of(v_u * v_correction) + epsilon)
            if keeps:
                store(v + u, v_u)
        if keeps_mean(kind):
            m_u = load(m + u) * m_kept + g_u * m_share
            if keeps:
                store(m + u, m_u)
            if kind == ADAM:
                m_u = m_u * m_correction
        change = a * m_u
        total = total + a * g_u * g_u
        if changes:
            store(w + u, load(w + u) + change * scale)
        elif keeps:
            store(g + u, change)
        else:
            bad[0] = bad[0] + splat(0) * (load(w + u) + change)
    squares[0] = total


cdef void use_row(
    const Net* net, const Update* update, bint is_out, Py_ssize_t row, real* g, bint keeps, bint changes,
    lanes* squares, lanes* bad
) noexcept nogil:
    """As use_gradients, for a row of the output weights or of the others and its gradients."""
    cdef Py_ssize_t n = net.shape.n_out_lanes if is_out else net.shape.n_lanes
    cdef Py_ssize_t first = row * n
    cdef real* w = (net.w_out if is_out else net.w) + first
    cdef real* m = NULL
    cdef real* v = NULL
    if keeps_mean(net.rule.kind):
        m = (net.rule.m_out if is_out else net.rule.m) + first
    if keeps_squares(net.rule.kind):
        v = (net.rule.v_out if is_out else net.rule.v) + first
    if net.rule.kind == RMSPROP:
        use_gradients(RMSPROP, net, update, w, m, v, g, n, keeps, changes, squares, bad)
    elif net.rule.kind == ADAM:
        use_gradients(ADAM, net, update, w, m, v, g, n, keeps, changes, squares, bad)
    elif net.rule.kind == MOMENTUM:
        use_gradients(MOMENTUM, net, update, w, m, v, g, n, keeps, changes, squares, bad)
    else:
        use_gradients(BOUNDED, net, update, w, m, v, g, n, keeps, changes, squares, bad)


cdef void limit_update(const Net* net, Update* update, double squares, double e_squares) noexcept nogil:
    """Set the scale of an update by the bound: `squares` is sum a g^2, `e_squares` sum e_k^2."""
    cdef double allowed = net.rule.bound * e_squares
    update.scale = allowed / squares if squares > allowed and allowed > 0 else 1


cdef double sum_of_e_squares(const Net* net, const State* st) noexcept nogil:
    """sum e_k^2 of the error signal."""
    cdef Py_ssize_t k
    cdef double total = 0
    for k in range(net.shape.n_outputs):
        total += <double> st.e_k[k] * <double> st.e_k[k]
    return total


# ---- the gradients of one error signal -------------------------------------------------------------------------------

cdef inline Py_ssize_t n_out_rows(const Net* net, const State* st) noexcept nogil:
    """Rows of the output weights that an error signal changes: of the inputs those that the state lists."""
    cdef Py_ssize_t n_inputs = net.shape.n_inputs if net.shape.input_to_output else 0
    cdef Py_ssize_t n_seen = st.n_rows - (net.shape.n_sources - net.shape.n_inputs) if n_inputs else 0
    return n_seen + net.shape.n_out_sources - n_inputs


cdef inline Py_ssize_t out_row(const Net* net, const State* st, Py_ssize_t i) noexcept nogil:
    """The i-th of these rows: hidden units, cells and bias, then the inputs listed."""
    cdef Py_ssize_t n_inputs = net.shape.n_inputs if net.shape.input_to_output else 0
    cdef Py_ssize_t n_fixed = net.shape.n_out_sources - n_inputs
    return n_inputs + i if i < n_fixed else st.rows[net.shape.n_sources - net.shape.n_inputs + i - n_fixed]


cdef inline real out_source(const Net* net, const State* st, Py_ssize_t row) noexcept nogil:
    """What the source of a row of the output weights sends."""
    if net.shape.input_to_output:
        if row < net.shape.n_inputs:
            return source(net, st, row)
        row -= net.shape.n_inputs
    if row < net.shape.n_hidden:
        return st.act[row]
    row -= net.shape.n_hidden
    return st.y_c[row] if row < net.shape.n_cells else 1


cdef inline void put_out_gradients(const Net* net, const State* st, real* g, Py_ssize_t row) noexcept nogil:
    """g_k = e_k y_m (22), for a row of the output weights."""
    cdef Py_ssize_t k
    cdef lanes y_m = splat(out_source(net, st, row))
    for k in range(vectors(net.shape.n_out_lanes)):
        store(g + k * LANES, load(st.e_k + k * LANES) * y_m)


cdef inline void put_multiple(real* to, const real* a, real factor, Py_ssize_t n) noexcept nogil:
    """to = factor a, over the vectors that cover n lanes."""
    cdef Py_ssize_t i
    for i in range(vectors(n)):
        store(to + i * LANES, load(a + i * LANES) * splat(factor))


cdef void put_gradients(
    const Net* net, State* st, const int32_t* rows, int count, bint pending, real* g, bint by_row
) noexcept nogil:
    """The gradients of `count` rows of w, as change_hidden_weights computes them, kind of unit after kind.

    `by_row`: row m of g is that of row m of w; else the rows follow one another. A vector that reaches over a kind's
    last lane writes 0, and the next kind overwrites it.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.shape.n_lanes
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef real* row
    cdef const real* p
    if pending:
        for i in range(count):
            settle_row(net, st, st.ds_dw + rows[i] * net.shape.n_partials, source(net, st, rows[i]))
    for i in range(count):
        row = g + (rows[i] if by_row else i) * n
        put_multiple(row, st.e, source(net, st, rows[i]), net.shape.n_hidden)
    if n_cells == 0:
        return
    for i in range(count):
        row = g + (rows[i] if by_row else i) * n
        p = st.ds_dw + rows[i] * net.shape.n_partials
        put_product(row + net.shape.lane_cell, st.e_s, p, n_cells)
        put_block_sums(net, row + net.shape.lane_in, st.e_s, p + n_cells)
        if net.shape.lane_out >= 0:
            put_multiple(
                row + net.shape.lane_out, st.e + net.shape.lane_out, source(net, st, rows[i]), net.shape.n_blocks
            )
        if net.shape.lane_forget >= 0:
            put_block_sums(net, row + net.shape.lane_forget, st.e_s, p + 2 * n_cells)
        if rows[i] == net.shape.bias_source:
            put_product(row, row, net.has_bias, n)


cdef double change_by_rows(
    const Net* net, State* st, const Update* update, bint pending, bint keeps, lanes* bad
) noexcept nogil:
    """The rows of gradients of one error signal, used as by use_gradients; returns sum a g^2.

    Without a bound, and if `keeps`, the weights change at once; with one, the rows of g hold the changes afterwards.
    """
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t i, row
    cdef int count
    cdef bint changes = keeps and net.rule.bound == 0
    cdef bint by_row = net.rule.bound > 0
    cdef const int32_t* rows
    cdef double total = 0
    cdef lanes squares
    while begin < st.n_rows:
        rows = st.rows + begin
        count = <int> min(net.shape.rows_together, st.n_rows - begin)
        begin += count
        put_gradients(net, st, rows, count, pending, st.g, by_row)
        squares = splat(0)
        for i in range(count):
            row = rows[i]
            use_row(
                net, update, False, row, st.g + (row if by_row else i) * net.shape.n_lanes, keeps, changes, &squares,
                bad
            )
        total += <double> sum_of(squares)
    if net.readout.root != NULL:
        return total
    squares = splat(0)
    for i in range(n_out_rows(net, st)):
        row = out_row(net, st, i)
        put_out_gradients(net, st, st.g_out + row * net.shape.n_out_lanes, row)
        use_row(net, update, True, row, st.g_out + row * net.shape.n_out_lanes, keeps, changes, &squares, bad)
    return total + <double> sum_of(squares)


cdef void apply_changes(const Net* net, const State* st, const Update* update) noexcept nogil:
    """w += scale times the changes in the rows of g."""
    cdef Py_ssize_t i, row
    cdef lanes scale = splat(<real> update.scale)
    for i in range(st.n_rows):
        row = st.rows[i] * net.shape.n_lanes
        add_scaled(net.w + row, st.g + row, scale, net.shape.n_lanes)
    for i in range(n_out_rows(net, st) if net.readout.root == NULL else 0):
        row = out_row(net, st, i) * net.shape.n_out_lanes
        add_scaled(net.w_out + row, st.g_out + row, scale, net.shape.n_out_lanes)


cdef int change_by_rule(Net* net, State* st, double rate) noexcept nogil:
    """As change_weights, by a rule that is not PLAIN, by recursive least squares, or both.

    The new weights are computed without storing them first, unless all gradients are certain to be moderate.
    """
    cdef lanes bad = splat(0)
    cdef Update update
    cdef double squares
    cdef bint pending
    output_errors(net, st, st.weight)
    hidden_errors(net, st)
    begin_update(net, rate, &update)
    if st.n_pending > 1:
        settle(net, st)
    if net.readout.root != NULL and not put_gain(net, st):
        return CHANGE_NOT_FINITE
    if not (rate < MOST_RATE and are_bounded(net, st, MODERATE)):
        settle(net, st)
        squares = change_by_rows(net, st, &update, False, False, &bad)
        if not is_zero(bad) or squares - squares != 0 or not change_by_gain(net, st, True):
            return CHANGE_NOT_FINITE
    pending = st.n_pending == 1
    st.n_pending = 0
    net.rule.n_updates[0] += 1
    squares = change_by_rows(net, st, &update, pending, True, &bad)
    if net.rule.bound > 0:
        limit_update(net, &update, squares, sum_of_e_squares(net, st))
        apply_changes(net, st, &update)
    if net.readout.root != NULL:
        change_by_gain(net, st, False)
        reduce_root(net, st)
    return OK


# ---- recursive least squares -----------------------------------------------------------------------------------------
#
# P = S S'. With f = S'u and b = forgetting + f'f the gain is k = S f / b, and S - S f f' / (b + sqrt(forgetting b)) is
# the root of P - k (P u)' (J. E. Potter, 1963): P stays symmetric and positive, however it is rounded.

cdef bint put_gain(const Net* net, State* st) noexcept nogil:
    """f = S'u, with u the sources of the outputs, and S f; returns whether f'f is finite."""
    cdef Py_ssize_t i, row
    cdef Py_ssize_t n = net.readout.n_root_lanes
    cdef real* f = st.gain
    cdef real* sf = st.gain + n
    cdef real u
    memset(f, 0, n * sizeof(real))
    for row in range(net.shape.n_out_sources):
        u = out_source(net, st, row)
        if u != 0:
            add_scaled(f, net.readout.root + row * n, splat(u), n)
    for row in range(net.shape.n_out_sources):
        sf[row] = dot(net.readout.root + row * n, f, n)
    u = dot(f, f, n)
    for i in range(net.shape.n_out_sources):
        u = u + 0 * sf[i]
    return u - u == 0


cdef bint change_by_gain(const Net* net, State* st, bint only_check) noexcept nogil:
    """w_km += e_k k_m for every source m of the outputs; if `only_check`, returns whether all would be finite."""
    cdef Py_ssize_t row
    cdef Py_ssize_t n = net.readout.n_root_lanes
    cdef lanes bad = splat(0)
    cdef real b
    if net.readout.root == NULL:
        return True
    b = <real> net.readout.forgetting + dot(st.gain, st.gain, n)
    for row in range(net.shape.n_out_sources):
        add_multiple(
            net.w_out + row * net.shape.n_out_lanes, st.e_k, st.gain[n + row] / b, net.shape.n_outputs, only_check,
            &bad
        )
    return is_zero(bad)


cdef void reduce_root(const Net* net, State* st) noexcept nogil:
    """S of P after the error signal: reduced by what it told, divided by the root of forgetting.

    The trace of P, the sum of the squares in S, stays at most at its first value.
    """
    cdef Py_ssize_t i, row
    cdef Py_ssize_t n = net.readout.n_root_lanes
    cdef Py_ssize_t n_rows = net.shape.n_out_sources
    cdef double b = net.readout.forgetting + <double> dot(st.gain, st.gain, n)
    cdef double part = 1 / (b + sqrt(net.readout.forgetting * b))
    cdef double growth
    cdef double trace = 0
    cdef lanes s, squares, factor
    cdef real* root
    for row in range(n_rows):
        root = net.readout.root + row * n
        factor = splat(<real> (-part * st.gain[n + row]))
        squares = splat(0)
        for i in range(vectors(n)):
            s = load(root + i * LANES) + factor * load(st.gain + i * LANES)
            store(root + i * LANES, s)
            squares = squares + s * s
        trace += <double> sum_of(squares)
    if net.readout.forgetting == 1 or trace == 0:
        return
    growth = sqrt(min(1 / net.readout.forgetting, net.readout.most_trace / trace))
    for row in range(n_rows):
        root = net.readout.root + row * n
        for i in range(vectors(n)):
            store(root + i * LANES, load(root + i * LANES) * splat(<real> growth))
