# Rules of learning other than the paper's: the gradients of an update are collected in rows, and an optimizer or
# recursive least squares changes the weights by them.
#
# Adam and RMSprop keep means of the gradients g and of their squares. Here m and v are these means divided by the share
# that a new one has of them: sums in which what came before counts `kept` times, so that taking in a gradient is one
# multiplication and one addition. a = rate / (sqrt(mean of squares) + epsilon) is the step size of a weight. With a
# bound every change is divided by M = sum a g^2 / (bound sum e_k^2), if that is above 1; then M is found before any
# weight changes, and the rows of g hold the changes meanwhile.

cdef inline bint keeps_squares(int kind) noexcept nogil:
    """Whether a rule divides by the root of the mean of the squares."""
    return kind == RMSPROP or kind == ADAM


cdef inline bint keeps_mean(int kind) noexcept nogil:
    """Whether a rule keeps a mean of the gradients."""
    return kind == MOMENTUM or kind == ADAM


cdef double correction(double kept, double t) noexcept nogil:
    """1 / (1 - kept^t): how many times too small a mean is that began at 0, and of which `kept` was kept t times."""
    return 1 / (1 - pow(kept, t)) if (1 - kept) * t < 40 else 1  # e^-40 is lost in rounding


cdef void begin_update(const Net* net, double rate, Update* update) noexcept nogil:
    """The numbers of the update that comes next."""
    cdef double t = net.rule.n_updates[0] + 1
    update.rate = rate
    update.m_correction = correction(net.rule.momentum, t) if net.rule.kind == ADAM else 1
    update.v_correction = correction(net.rule.decay, t) if keeps_squares(net.rule.kind) else 1
    update.scale = 1


cdef inline void set_factors(int kind, const Net* net, const Update* update, factors* by) noexcept nogil:
    """What a rule of this kind multiplies with, in every lane."""
    cdef double rate = update.rate * update.scale
    by.rate = splat(<real> rate)
    by.m_kept = splat(<real> net.rule.momentum)
    by.m_part = splat(<real> ((1 - net.rule.momentum) * update.m_correction)) if kind == ADAM else splat(1)
    by.v_kept = splat(<real> net.rule.decay)
    by.root = splat(<real> min(MOST_ROOT, sqrt((1 - net.rule.decay) * update.v_correction) / rate))
    by.epsilon = splat(<real> min(MOST_ROOT * MOST_ROOT, net.rule.epsilon / rate))


cdef inline void use_gradient(
    int kind, const factors* by, lanes g, real* w, real* m, real* v, real* changes, bint keeps, lanes* squares,
    lanes* bad
) noexcept nogil:
    """A vector of gradients, by a rule of this kind (a constant where this is inlined).

    `keeps`: the memory m, v takes them in, and the weights w change; or, where `changes` is not NULL, what they are to
    change by is stored there. Without `keeps`, `bad` is NaN if a number would not be finite, or
    m so large that later, moderate gradients would not be certain to leave weights finite. `squares` grows by
    a g^2, unless the weights change.
    """
    cdef lanes a = by.rate
    cdef lanes m_u = g
    cdef lanes v_u
    if keeps_squares(kind):
        v_u = load(v) * by.v_kept + (g * g + splat(SMALLEST))
        a = one_by_root(v_u, by.root, by.epsilon)
        if keeps:
            store(v, v_u)
    if keeps_mean(kind):
        m_u = load(m) * by.m_kept + g
        if keeps:
            store(m, m_u)
        else:
            bad[0] = bad[0] + splat(0) * (m_u * splat(OF_MEAN))
        if kind == ADAM:
            m_u = m_u * by.m_part
    m_u = a * m_u
    if keeps and changes == NULL:
        store(w, load(w) + m_u)
        return
    squares[0] = squares[0] + (a * g if keeps_mean(kind) else m_u) * g
    if keeps:
        store(changes, m_u)
    else:
        bad[0] = bad[0] + splat(0) * (load(w) + m_u)
        if keeps_squares(kind):
            bad[0] = bad[0] + splat(0) * v_u


cdef inline void use_gradients(
    int kind, const Net* net, const Update* update, bint is_out, const int32_t* rows, Py_ssize_t first,
    Py_ssize_t count, real* g, bint by_row, bint keeps, bint applies, lanes* squares, lanes* bad
) noexcept nogil:
    """As use_rows, by a rule of this kind (a constant where this is inlined)."""
    cdef Py_ssize_t i, r, row, u
    cdef Py_ssize_t n = net.shape.n_out_lanes if is_out else net.shape.n_lanes
    cdef Py_ssize_t n_g = net.shape.n_out_lanes if is_out else net.shape.n_change_lanes
    cdef real* w = net.w_out if is_out else net.w
    cdef real* m = net.rule.m_out if is_out else net.rule.m
    cdef real* v = net.rule.v_out if is_out else net.rule.v
    cdef real* g_u
    cdef factors by
    cdef lanes total = squares[0]
    set_factors(kind, net, update, &by)
    for r in range(count):
        row = first + r if rows == NULL else rows[r]
        for i in range(vectors(n)):
            u = row * n + i * LANES
            g_u = g + (row if by_row else r) * n_g + i * LANES
            use_gradient(
                kind, &by, load(g_u), w + u, m + u if keeps_mean(kind) else NULL,
                v + u if keeps_squares(kind) else NULL, NULL if applies or not keeps else g_u, keeps, &total,
                bad,
            )
    squares[0] = total


cdef void use_rows(
    const Net* net, const Update* update, bint is_out, const int32_t* rows, Py_ssize_t first, Py_ssize_t count,
    real* g, bint by_row, bint keeps, bint applies, lanes* squares, lanes* bad
) noexcept nogil:
    """`count` rows of gradients, of the output weights or of the others: `rows`, or, if that is NULL, from `first` on.

    `by_row`: their gradients are in the same rows of g; else they follow one another there. `keeps`: as for
    use_gradient. `applies`: the weights change; else, if it `keeps`, g becomes what they are to change by.
    """
    if net.rule.kind == RMSPROP:
        use_gradients(RMSPROP, net, update, is_out, rows, first, count, g, by_row, keeps, applies, squares, bad)
    elif net.rule.kind == ADAM:
        use_gradients(ADAM, net, update, is_out, rows, first, count, g, by_row, keeps, applies, squares, bad)
    elif net.rule.kind == MOMENTUM:
        use_gradients(MOMENTUM, net, update, is_out, rows, first, count, g, by_row, keeps, applies, squares, bad)
    else:
        use_gradients(BOUNDED, net, update, is_out, rows, first, count, g, by_row, keeps, applies, squares, bad)


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
    last lane writes 0, and the next kind overwrites it; rows of g have a vector more than those of w to reach into.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.shape.n_change_lanes
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
            put_product(row, row, net.has_bias, net.shape.n_lanes)


cdef inline void use_lanes(
    int kind, const factors* by, lanes g, real* w, real* m, real* v, real* changes, Py_ssize_t u, bint defers,
    lanes* squares
) noexcept nogil:
    """As use_gradient, for the lanes from u on of a row; if it `defers`, what they are to change by is kept."""
    use_gradient(
        kind, by, g, w + u, m + u if keeps_mean(kind) else NULL, v + u if keeps_squares(kind) else NULL,
        changes + u if defers else NULL, True, squares, squares,
    )


cdef inline void use_single_cells(
    int kind, const Net* net, State* st, const Update* update, const int32_t* rows, int count, bint pending,
    lanes* squares
) noexcept nogil:
    """put_gradients and use_rows in one, where every block has one cell, the cells fill their vectors and there are no
    hidden units: a vector of cells at a time, with its gates, by a rule of this kind (a constant here).
    """
    cdef Py_ssize_t r, v
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef Py_ssize_t lane_out = net.shape.lane_out
    cdef Py_ssize_t lane_forget = net.shape.lane_forget
    cdef bint defers = net.rule.bound > 0
    cdef bint is_bias
    cdef const real* coef = st.coef_block
    cdef const real* bias
    cdef real *w
    cdef real *m
    cdef real *s
    cdef real *g
    cdef real *p
    cdef factors by
    cdef lanes total = squares[0]
    cdef lanes e_s, y_f, z_m, p_c, p_in, p_out
    cdef lanes p_f = splat(0)
    set_factors(kind, net, update, &by)
    for r in range(count):
        z_m = splat(source(net, st, rows[r]))
        p = st.ds_dw + rows[r] * net.shape.n_partials
        w = net.w + rows[r] * net.shape.n_lanes
        m = net.rule.m + rows[r] * net.shape.n_lanes if keeps_mean(kind) else NULL
        s = net.rule.v + rows[r] * net.shape.n_lanes if keeps_squares(kind) else NULL
        g = st.g + rows[r] * net.shape.n_change_lanes if defers else NULL
        bias = net.has_bias
        is_bias = rows[r] == net.shape.bias_source
        v = 0
        while v < n_cells:
            e_s = load(st.e_s + v)
            p_c = load(p + v)
            p_in = load(p + n_cells + v)
            if lane_forget >= 0:
                p_f = load(p + 2 * n_cells + v)
            if pending:
                if lane_forget >= 0:
                    y_f = load(st.decay_block + v)
                    p_c = p_c * y_f
                    p_in = p_in * y_f
                    p_f = p_f * y_f + load(coef + 2 * n_cells + v) * z_m
                    store(p + 2 * n_cells + v, p_f)
                p_c = p_c + load(coef + v) * z_m
                p_in = p_in + load(coef + n_cells + v) * z_m
                store(p + v, p_c)
                store(p + n_cells + v, p_in)
            p_c = e_s * p_c
            p_in = e_s * p_in
            if is_bias:
                p_c = p_c * load(bias + net.shape.lane_cell + v)
                p_in = p_in * load(bias + net.shape.lane_in + v)
            use_lanes(kind, &by, p_c, w, m, s, g, net.shape.lane_cell + v, defers, &total)
            use_lanes(kind, &by, p_in, w, m, s, g, net.shape.lane_in + v, defers, &total)
            if lane_out >= 0:
                p_out = load(st.e + lane_out + v) * z_m
                if is_bias:
                    p_out = p_out * load(bias + lane_out + v)
                use_lanes(kind, &by, p_out, w, m, s, g, lane_out + v, defers, &total)
            if lane_forget >= 0:
                p_f = e_s * p_f
                if is_bias:
                    p_f = p_f * load(bias + lane_forget + v)
                use_lanes(kind, &by, p_f, w, m, s, g, lane_forget + v, defers, &total)
            v += LANES
    squares[0] = total


cdef void use_rows_of_single_cells(
    const Net* net, State* st, const Update* update, const int32_t* rows, int count, bint pending, lanes* squares
) noexcept nogil:
    """use_single_cells by the network's rule."""
    if net.rule.kind == RMSPROP:
        use_single_cells(RMSPROP, net, st, update, rows, count, pending, squares)
    elif net.rule.kind == ADAM:
        use_single_cells(ADAM, net, st, update, rows, count, pending, squares)
    elif net.rule.kind == MOMENTUM:
        use_single_cells(MOMENTUM, net, st, update, rows, count, pending, squares)
    else:
        use_single_cells(BOUNDED, net, st, update, rows, count, pending, squares)


cdef double change_by_rows(
    const Net* net, State* st, const Update* update, bint pending, bint keeps, lanes* bad
) noexcept nogil:
    """The rows of gradients of one error signal, used as by use_gradient; returns sum a g^2.

    Without a bound, and if `keeps`, the weights change at once; with one, the rows of g hold the changes afterwards.
    """
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t n_inputs = net.shape.n_inputs if net.shape.input_to_output else 0
    cdef Py_ssize_t i, n_fixed
    cdef int count
    cdef bint applies = keeps and net.rule.bound == 0
    cdef bint by_row = net.rule.bound > 0
    cdef bint is_simple = (
        keeps and net.shape.single_cells and net.shape.n_cells > 0 and net.shape.n_cells % LANES == 0
        and net.shape.n_hidden == 0
    )
    cdef const int32_t* rows
    cdef double total = 0
    cdef lanes squares
    while begin < st.n_rows:
        rows = st.rows + begin
        count = <int> min(net.shape.rows_together, st.n_rows - begin)
        begin += count
        squares = splat(0)
        if is_simple:
            use_rows_of_single_cells(net, st, update, rows, count, pending, &squares)
        else:
            put_gradients(net, st, rows, count, pending, st.g, by_row)
            use_rows(net, update, False, rows, 0, count, st.g, by_row, keeps, applies, &squares, bad)
        total += <double> sum_of(squares)
    if net.readout.root != NULL:
        return total
    squares = splat(0)
    n_fixed = net.shape.n_out_sources - n_inputs
    for i in range(n_inputs, net.shape.n_out_sources):
        put_out_gradients(net, st, st.g_out + i * net.shape.n_out_lanes, i)
    use_rows(net, update, True, NULL, n_inputs, n_fixed, st.g_out, True, keeps, applies, &squares, bad)
    if n_inputs:
        rows = st.rows + net.shape.n_sources - net.shape.n_inputs
        count = <int> (n_out_rows(net, st) - n_fixed)
        for i in range(count):
            put_out_gradients(net, st, st.g_out + rows[i] * net.shape.n_out_lanes, rows[i])
        use_rows(net, update, True, rows, 0, count, st.g_out, True, keeps, applies, &squares, bad)
    return total + <double> sum_of(squares)


cdef void apply_changes(const Net* net, const State* st, const Update* update) noexcept nogil:
    """w += scale times the changes in the rows of g."""
    cdef Py_ssize_t i, row
    cdef lanes scale = splat(<real> update.scale)
    for i in range(st.n_rows):
        row = st.rows[i]
        add_scaled(
            net.w + row * net.shape.n_lanes, st.g + row * net.shape.n_change_lanes, scale, net.shape.n_lanes
        )
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
# P = S S'. With f = S'u, r = forgetting / weight of the error signal and b = r + f'f the gain is k = S f / b, and
# S - S f f' / (b + sqrt(r b)) is the root of P - k (P u)' (J. E. Potter, 1963): P stays symmetric and positive, however
# it is rounded. The sum of the squares of row m of S is P_mm. The weight is in e_k already, so that it is divided out.

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
    b = <real> net.readout.forgetting + <real> st.weight * dot(st.gain, st.gain, n)
    for row in range(net.shape.n_out_sources):
        add_multiple(
            net.w_out + row * net.shape.n_out_lanes, st.e_k, st.gain[n + row] / b, net.shape.n_outputs, only_check,
            &bad
        )
    return is_zero(bad)


cdef void reduce_root(const Net* net, State* st) noexcept nogil:
    """S of P after the error signal: reduced by what it told, divided by the root of forgetting.

    No P_mm becomes larger than at first: the row of a source that tells nothing, whose P_mm would grow for ever,
    forgets as much less as that takes, and no other row does.
    """
    cdef Py_ssize_t i, row
    cdef Py_ssize_t n = net.readout.n_root_lanes
    cdef Py_ssize_t n_rows = net.shape.n_out_sources
    cdef double r = net.readout.forgetting / st.weight
    cdef double b = r + <double> dot(st.gain, st.gain, n)
    cdef double part = 1 / (b + sqrt(r * b))
    cdef double p
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
        if net.readout.forgetting == 1:
            continue
        p = sum_of(squares)
        factor = splat(<real> sqrt(min(1 / net.readout.forgetting, net.readout.prior / p)) if p > 0 else 1)
        for i in range(vectors(n)):
            store(root + i * LANES, load(root + i * LANES) * factor)
