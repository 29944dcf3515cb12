# Many streams side by side, a step each: a lane for every stream, where the other loops have a lane for every unit.
#
# Streams are in groups of `width`. A row has one number of every stream of its group, so that all operations work on
# whole vectors whatever the topology, and the weights, which stand still meanwhile, are factors of whole rows. Here a
# step carries out its change of the partials at once; none is pending. Lanes without a stream, and those of streams
# that do not take part in a step, stay as they are: `present` is 0 there.

cdef Py_ssize_t find_present(Streams* st, Py_ssize_t group, const uint8_t* mask) noexcept nogil:
    """Set `present` for a group, by the mask or, if that is NULL, for all its streams; returns how many take part."""
    cdef Py_ssize_t i, stream
    cdef Py_ssize_t n_present = 0
    cdef bint takes_part
    for i in range(st.width):
        stream = group * st.width + i
        takes_part = stream < st.n_streams and (mask == NULL or mask[stream] != 0)
        st.present[i] = takes_part
        n_present += takes_part
    st.is_full = n_present == st.width
    return n_present


cdef inline Py_ssize_t n_streams_of(const Streams* st, Py_ssize_t group) noexcept nogil:
    """How many of a group's lanes are streams."""
    return min(st.width, st.n_streams - group * st.width)


cdef inline Py_ssize_t row_of(const Streams* st, Py_ssize_t stream) noexcept nogil:
    """The row of a chunk that a stream takes."""
    return stream if st.at == NULL else st.at[stream]


cdef inline const real* squash_of(const Net* net, Py_ssize_t u) noexcept nogil:
    """The squashing constants of a unit of the hidden layer, the same in every lane."""
    cdef bint is_cell = net.shape.lane_cell <= u and u < net.shape.lane_cell + net.shape.n_cells
    return net.squash_g if is_cell else net.logistic


cdef void put_inputs(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """The rows of z that are inputs. Symbols are written only where `list_inputs` needs them."""
    cdef Py_ssize_t i, m
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef Py_ssize_t n = n_streams_of(st, group)
    cdef const real* x
    if chunk.symbols != NULL:
        return
    for i in range(n):
        if st.present[i] == 0:
            for m in range(n_inputs):
                st.z[m * st.width + i] = 0
            continue
        x = chunk.values + row_of(st, group * st.width + i) * n_inputs
        if net.standards.inputs == NULL:
            for m in range(n_inputs):
                st.z[m * st.width + i] = x[m]
        else:
            for m in range(n_inputs):
                st.z[m * st.width + i] = <real> scaled(net.standards.inputs + m * N_STATISTICS, x[m])
    for m in range(n_inputs if n < st.width else 0):
        memset(st.z + m * st.width + n, 0, (st.width - n) * sizeof(real))


cdef void put_recurrent_sources(const Net* net, Streams* st, Py_ssize_t group) noexcept nogil:
    """The rows of z that are activations of the step before, and the bias."""
    cdef Py_ssize_t i
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n_hidden = net.shape.n_hidden * width
    cdef Py_ssize_t n_cells = net.shape.n_cells * width
    cdef Py_ssize_t n_gates = (net.shape.n_units - net.shape.lane_in) * width
    cdef real* z = st.z + net.shape.n_inputs * width
    cdef const real* act = st.act + group * net.shape.n_units * width
    if net.shape.recurrent:
        memcpy(z, act, n_hidden * sizeof(real))
        memcpy(z + n_hidden, st.y_c + group * n_cells, n_cells * sizeof(real))
        if net.shape.gate_sources and net.shape.n_blocks:
            memcpy(z + n_hidden + n_cells, act + net.shape.lane_in * width, n_gates * sizeof(real))
    if net.shape.bias_source >= 0:
        z = st.z + net.shape.bias_source * width
        for i in range(width):
            z[i] = 1


cdef void put_first_terms(
    const Streams* st, Py_ssize_t group, const Chunk* chunk, const real* w, Py_ssize_t n_lanes, const real* bias,
    real* to, Py_ssize_t n_units
) noexcept nogil:
    """to = the bias's row of w, unless it is NULL, plus each stream's row by its symbol, if inputs are symbols."""
    cdef Py_ssize_t i, u
    cdef const real* row
    for u in range(n_units):
        i = u * st.width
        while i < (u + 1) * st.width:
            store(to + i, splat(0) if bias == NULL else splat(bias[u]))
            i += LANES
    for i in range(n_streams_of(st, group) if chunk.symbols != NULL else 0):
        if st.present[i] > 0:
            row = w + chunk.symbols[row_of(st, group * st.width + i)] * n_lanes
            for u in range(n_units):
                to[u * st.width + i] += row[u]


cdef void squash_group(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """The new activations of a group's units."""
    cdef Py_ssize_t i, u
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n_units = net.shape.n_units
    cdef Py_ssize_t first = net.shape.n_inputs if chunk.symbols != NULL else 0
    cdef const real* before = st.act + group * n_units * width
    cdef const real* constants
    cdef const real* bias = NULL
    if net.shape.bias_source >= 0:  # the last source
        bias = net.w + net.shape.bias_source * net.shape.n_lanes
    put_first_terms(st, group, chunk, net.w, net.shape.n_lanes, bias, st.new_act, n_units)
    add_product(
        st.new_act, width, net.w + first * net.shape.n_lanes, 1, net.shape.n_lanes, st.z + first * width, width,
        n_units, net.shape.n_sources - first - (bias != NULL), width // LANES,
    )
    for u in range(n_units):
        constants = squash_of(net, u)
        i = u * width
        if constants == net.logistic:
            while i < (u + 1) * width:
                store(st.new_act + i, logistic(load(st.new_act + i)))
                i += LANES
        elif not net.shape.g_is_identity:
            while i < (u + 1) * width:
                store(st.new_act + i, squash(load(st.new_act + i), constants, ROW_LANES))
                i += LANES
    if not st.is_full:
        for u in range(n_units):
            keep_absent(st, st.new_act + u * width, before + u * width)


cdef inline void keep_absent(const Streams* st, real* row, const real* before) noexcept nogil:
    """row = before, in the lanes of streams that take no part."""
    cdef Py_ssize_t i = 0
    while i < st.width:
        store(row + i, where_positive(load(st.present + i), load(row + i), load(before + i)))
        i += LANES


cdef inline bint update_cells_of_group(
    const Net* net, Streams* st, Py_ssize_t group, bint has_forget, bint has_out, bint learns, bint is_full
) noexcept nogil:
    """As update_group, for a topology that has these gates or not."""
    cdef Py_ssize_t i, v
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef const real* before = st.s_c + group * n_cells * width
    cdef const real* y_c_before = st.y_c + group * n_cells * width
    cdef const real* g_v
    cdef const real* gates
    cdef real* coef
    cdef lanes s, s_new, g, y_in, y_f, h, y_c, present, coef_c, coef_in
    cdef lanes one = splat(1)
    cdef lanes bad = splat(0)
    for v in range(n_cells):
        g_v = st.new_act + (net.shape.lane_cell + v) * width
        gates = st.new_act + net.block_of[v] * width
        coef = st.coef + v * width
        i = 0
        while i < width:
            present = one if is_full else load(st.present + i)
            g = load(g_v + i)
            y_in = load(gates + net.shape.lane_in * width + i)
            s = load(before + v * width + i)
            s_new = s
            if learns:
                coef_c = y_in * slope(g, net.squash_g, ROW_LANES)
                coef_in = g * y_in * (one - y_in)
                store(coef + i, coef_c if is_full else coef_c * present)
                store(coef + n_cells * width + i, coef_in if is_full else coef_in * present)
            if has_forget:
                y_f = load(gates + net.shape.lane_forget * width + i)
                s_new = s * y_f
                if learns:
                    store(coef + 2 * n_cells * width + i, s_new * (one - y_f) * present)
                    store(st.decay + v * width + i, y_f if is_full else where_positive(present, y_f, one))
            s_new = s_new + y_in * g
            s = s_new if is_full else where_positive(present, s_new, s)
            store(st.new_s_c + v * width + i, s)
            bad = bad + (s - s)
            h = s
            if not net.shape.h_is_identity:
                h = squash(s, net.squash_h, ROW_LANES)
            store(st.h + v * width + i, h)
            y_c = h
            if has_out:
                y_c = h * load(gates + net.shape.lane_out * width + i)
            if not is_full:
                y_c = where_positive(present, y_c, load(y_c_before + v * width + i))
            store(st.new_y_c + v * width + i, y_c)
            i += LANES
    return is_zero(bad)


cdef bint update_group(const Net* net, Streams* st, Py_ssize_t group, bint learns) noexcept nogil:
    """The new states and outputs of a group's cells; whether all states are finite. If it `learns`, also what the step
    does to the partials: ds_dw = decay ds_dw + coef z_m; nothing where a stream takes no part.
    """
    cdef bint has_forget = net.shape.lane_forget >= 0
    cdef bint has_out = net.shape.lane_out >= 0
    if not learns:
        return update_cells_of_group(net, st, group, has_forget, has_out, False, False)
    if not st.is_full:
        return update_cells_of_group(net, st, group, has_forget, has_out, True, False)
    return update_cells_of_group(net, st, group, has_forget, has_out, True, True)


cdef Py_ssize_t first_lane_not_finite(const real* rows, Py_ssize_t n_rows, Py_ssize_t width) noexcept nogil:
    """The lane of the first NaN or infinity in n_rows rows, or -1."""
    cdef Py_ssize_t found = first_not_finite(rows, n_rows * width)
    return found % width if found >= 0 else -1


cdef bint put_outputs(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """y_k of a group by its new activations; whether those of streams that take part are finite."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n = net.shape.n_out_lanes
    cdef Py_ssize_t n_outputs = net.shape.n_outputs
    cdef Py_ssize_t n_vectors = width // LANES
    cdef const real* w = net.w_out
    cdef lanes y
    cdef lanes bad = splat(0)
    if net.shape.input_to_output:
        put_first_terms(st, group, chunk, w, n, NULL, st.y, n_outputs)
        if chunk.symbols == NULL:
            add_product(st.y, width, w, 1, n, st.z, width, n_outputs, net.shape.n_inputs, n_vectors)
        w += net.shape.n_inputs * n
    else:
        memset(st.y, 0, n_outputs * width * sizeof(real))
    add_product(st.y, width, w, 1, n, st.new_act, width, n_outputs, net.shape.n_hidden, n_vectors)
    w += net.shape.n_hidden * n
    add_product(st.y, width, w, 1, n, st.new_y_c, width, n_outputs, net.shape.n_cells, n_vectors)
    w += net.shape.n_cells * n
    for k in range(n_outputs):
        i = 0
        while i < width:
            y = load(st.y + k * width + i)
            if net.shape.output_bias:
                y = y + splat(w[k])
            if net.shape.output == LOGISTIC:
                y = squash(y, net.logistic, ROW_LANES)
            y = where_positive(load(st.present + i), y, splat(0))
            store(st.y + k * width + i, y)
            bad = bad + (y - y)
            i += LANES
    if not is_zero(bad):
        return False
    if net.shape.output == SOFTMAX:
        softmax_group(net, st)
    return True


cdef void softmax_group(const Net* net, Streams* st) noexcept nogil:
    """y_k = exp(net_k) / sum exp(net_l) for every stream, in the rows of the net inputs."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t width = st.width
    cdef lanes top, total, y
    cdef lanes one = splat(1)
    cdef exponential e
    i = 0
    while i < width:
        top = load(st.y + i)
        for k in range(1, net.shape.n_outputs):
            top = larger(top, load(st.y + k * width + i))
        total = splat(0)
        for k in range(net.shape.n_outputs):
            e = exp_parts(load(st.y + k * width + i) - top, one, splat(ONE_BY_LN2), one)
            y = e.power * (e.q + e.p) / (e.q - e.p)
            total = total + y
            store(st.y + k * width + i, y)
        for k in range(net.shape.n_outputs):
            store(st.y + k * width + i, load(st.y + k * width + i) / total)
        i += LANES


cdef Py_ssize_t give_outputs_of_group(
    const Net* net, const Streams* st, Py_ssize_t group, const double* statistics, bint by_row, real* y
) noexcept nogil:
    """Write a group's outputs to y, in the units of the targets by these statistics (NULL: as they are): each stream's
    to the row of its number, NaN if it does not take part, or, `by_row`, to the row of the chunk that it takes. Returns
    the lane of a stream whose outputs are not finite, or -1.
    """
    cdef Py_ssize_t i, k
    cdef Py_ssize_t bad = -1
    cdef Py_ssize_t n_outputs = net.shape.n_outputs
    cdef const double* column
    cdef real* row
    for i in range(n_streams_of(st, group)):
        if st.present[i] == 0 and st.at != NULL:
            continue
        row = y + (row_of(st, group * st.width + i) if by_row else group * st.width + i) * n_outputs
        for k in range(n_outputs):
            row[k] = st.y[k * st.width + i] if st.present[i] > 0 else NAN
        if statistics != NULL and st.present[i] > 0:
            for k in range(n_outputs):
                column = statistics + k * N_STATISTICS
                row[k] = <real> (row[k] * column[DEVIATION] + column[MEAN])
            if first_not_finite(row, n_outputs) >= 0:
                bad = i
    return bad


cdef void give_no_outputs(const Net* net, const Streams* st, Py_ssize_t group, real* y) noexcept nogil:
    """Write NaN to y for all streams of a group, of which none takes part."""
    cdef Py_ssize_t i
    y += group * st.width * net.shape.n_outputs
    for i in range(n_streams_of(st, group) * net.shape.n_outputs):
        y[i] = NAN


cdef bint forward_group(
    const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk, const double* statistics, bint by_row,
    bint learns, real* y, Report* report
) noexcept nogil:
    """A step of a group, which learns or not: new activations, states and outputs; whether all are finite."""
    cdef Py_ssize_t bad = -1
    put_inputs(net, st, group, chunk)
    put_recurrent_sources(net, st, group)
    squash_group(net, st, group, chunk)
    report.status = OK
    if not update_group(net, st, group, learns):
        report.status = CELL_STATE_NOT_FINITE
        bad = first_lane_not_finite(st.new_s_c, net.shape.n_cells, st.width)
    elif not put_outputs(net, st, group, chunk):
        report.status = OUTPUT_NOT_FINITE
        bad = first_lane_not_finite(st.y, net.shape.n_outputs, st.width)
    else:
        bad = give_outputs_of_group(net, st, group, statistics, by_row, y)
        if bad >= 0:
            report.status = OUTPUT_NOT_FINITE
    report.step = group * st.width + bad
    return report.status == OK


cdef void keep_step(const Net* net, Streams* st, Py_ssize_t group, int phase) noexcept nogil:
    """The new activations and states become the group's."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_act = net.shape.n_units * st.width
    cdef Py_ssize_t n_cells = net.shape.n_cells * st.width
    memcpy(st.act + group * n_act, st.new_act, n_act * sizeof(real))
    memcpy(st.y_c + group * n_cells, st.new_y_c, n_cells * sizeof(real))
    memcpy(st.s_c + group * n_cells, st.new_s_c, n_cells * sizeof(real))
    for i in range(n_streams_of(st, group)):
        if st.present[i] > 0:
            st.phase[group * st.width + i] = <uint8_t> phase


# ---- resets ----------------------------------------------------------------------------------------------------------

cdef inline Py_ssize_t nth_row(const Net* net, const Streams* st, Py_ssize_t group, Py_ssize_t i) noexcept nogil:
    """The i-th of the sources of a group whose partials may be nonzero: recurrent sources, bias, then inputs seen."""
    cdef Py_ssize_t n_fixed = net.shape.n_sources - net.shape.n_inputs
    return net.shape.n_inputs + i if i < n_fixed else st.rows[group * net.shape.n_inputs + i - n_fixed]


cdef inline Py_ssize_t n_rows_of(const Net* net, const Streams* st, Py_ssize_t group) noexcept nogil:
    """How many there are."""
    return net.shape.n_sources - net.shape.n_inputs + st.n_rows[group]


cdef inline void clear_lanes(real* rows, Py_ssize_t n_rows, const real* present, Py_ssize_t width) noexcept nogil:
    """rows = 0 in the lanes that are present."""
    cdef Py_ssize_t i, k
    for k in range(n_rows):
        i = 0
        while i < width:
            store(rows + k * width + i, where_positive(load(present + i), splat(0), load(rows + k * width + i)))
            i += LANES


cdef inline void see(const Net* net, Streams* st, Py_ssize_t group, Py_ssize_t m, Py_ssize_t lane) noexcept nogil:
    """Note that a stream has seen input m."""
    cdef int32_t* rows = st.rows + group * net.shape.n_inputs
    cdef int32_t* n_seen = st.n_seen + group * net.shape.n_inputs + m
    cdef uint8_t* seen = st.seen + (group * net.shape.n_inputs + m) * st.width + lane
    if seen[0]:
        return
    seen[0] = 1
    if n_seen[0] == 0:
        rows[st.n_rows[group]] = <int32_t> m
        st.n_rows[group] += 1
    n_seen[0] += 1


cdef void unsee(const Net* net, Streams* st, Py_ssize_t group, Py_ssize_t i) noexcept nogil:
    """Note that the streams that take part have not seen the i-th of the inputs that their group has seen."""
    cdef Py_ssize_t lane
    cdef int32_t* rows = st.rows + group * net.shape.n_inputs
    cdef int32_t* n_seen = st.n_seen + group * net.shape.n_inputs + rows[i]
    cdef uint8_t* seen = st.seen + (group * net.shape.n_inputs + rows[i]) * st.width
    for lane in range(st.width):
        if seen[lane] and st.present[lane] > 0:
            seen[lane] = 0
            n_seen[0] -= 1
    if n_seen[0] == 0:
        st.n_rows[group] -= 1
        rows[i] = rows[st.n_rows[group]]


cdef bint is_learning(const Streams* st, Py_ssize_t group) noexcept nogil:
    """Whether any stream of a group that takes part may have partials."""
    cdef Py_ssize_t i
    for i in range(n_streams_of(st, group)):
        if st.present[i] > 0 and st.phase[group * st.width + i] != NOT_LEARNING:
            return True
    return False


cdef void forget_partials_of_group(
    const Net* net, Streams* st, Py_ssize_t group, Py_ssize_t n_present
) noexcept nogil:
    """The partials of the streams that take part become 0."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = st.n_partials * st.width
    cdef real* ds_dw = st.ds_dw + group * net.shape.n_sources * n
    if st.ds_dw == NULL or not st.has_partials[group] or not is_learning(st, group):
        return
    for i in range(n_rows_of(net, st, group)):
        clear_lanes(ds_dw + nth_row(net, st, group, i) * n, st.n_partials, st.present, st.width)
    for i in range(st.n_rows[group] - 1, -1, -1):
        unsee(net, st, group, i)
    if st.n_rows[group] == 0 and n_present == n_streams_of(st, group):
        st.has_partials[group] = 0


cdef void reset_streams(const Net* net, Streams* st, const uint8_t* mask) noexcept nogil:
    """Set activations, cell states and partials of the streams of the mask to zero; of all if it is NULL."""
    cdef Py_ssize_t group, i, n_present
    cdef Py_ssize_t width = st.width
    for group in range(st.n_groups):
        n_present = find_present(st, group, mask)
        if n_present == 0:
            continue
        clear_lanes(st.act + group * net.shape.n_units * width, net.shape.n_units, st.present, width)
        clear_lanes(st.y_c + group * net.shape.n_cells * width, net.shape.n_cells, st.present, width)
        clear_lanes(st.s_c + group * net.shape.n_cells * width, net.shape.n_cells, st.present, width)
        forget_partials_of_group(net, st, group, n_present)
        for i in range(n_streams_of(st, group)):
            if st.present[i] > 0:
                st.phase[group * width + i] = NOT_LEARNING


# ---- learning --------------------------------------------------------------------------------------------------------

cdef Py_ssize_t put_targets(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """The targets of a group's streams, scaled, NaN where there is none, and their weights; how many have a target."""
    cdef Py_ssize_t i, k, stream
    cdef Py_ssize_t n_signals = 0
    cdef Py_ssize_t n_given
    cdef Py_ssize_t n_outputs = net.shape.n_outputs
    cdef real t
    for i in range(n_outputs * st.width):
        st.target[i] = NAN
    for i in range(st.width):
        stream = group * st.width + i
        st.weight[i] = 0
        if st.present[i] == 0 or (chunk.targets == NULL and chunk.classes == NULL):
            continue
        st.weight[i] = 1 if chunk.weights == NULL else <real> chunk.weights[stream]
        if st.weight[i] == 0 or (chunk.classes != NULL and chunk.classes[stream] < 0):
            continue
        n_given = 0
        for k in range(n_outputs):
            t = (chunk.classes[stream] == k) if chunk.classes != NULL else chunk.targets[stream * n_outputs + k]
            n_given += t == t
            if net.standards.targets != NULL and t == t:
                t = <real> scaled(net.standards.targets + k * N_STATISTICS, t)
            st.target[k * st.width + i] = t
        n_signals += n_given > 0
    return n_signals


cdef double put_output_errors(const Net* net, Streams* st, double alpha) noexcept nogil:
    """alpha e_k (19) of a group, 0 where there is no target; returns the sum of their squares."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t width = st.width
    cdef double squares = 0
    cdef lanes e, y
    for k in range(net.shape.n_outputs):
        i = 0
        while i < width:
            y = load(st.y + k * width + i)
            e = load(st.target + k * width + i) - y
            if net.shape.loss == HUBER:
                e = clamped(e, splat(1))
            e = e * splat(<real> alpha) * load(st.weight + i)
            if net.shape.output == LOGISTIC and net.shape.loss == SQUARED:
                e = e * y * (splat(1) - y)
            store(st.e_k + k * width + i, e)
            i += LANES
        for i in range(width):
            if st.target[k * width + i] != st.target[k * width + i]:
                st.e_k[k * width + i] = 0
            squares += <double> st.e_k[k * width + i] * <double> st.e_k[k * width + i]
    return squares


cdef void put_hidden_errors(const Net* net, Streams* st) noexcept nogil:
    """e_i (20), e_out (21) and e_s (23) of a group, by the output weights before their change."""
    cdef Py_ssize_t i, j, u, v
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n = net.shape.n_out_lanes
    cdef Py_ssize_t n_hidden = net.shape.n_hidden
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef const real* w = net.w_out + net.shape.input_to_output * net.shape.n_inputs * n
    cdef real* eps = st.e_s
    cdef real* e_out = st.e + n_hidden * width
    cdef lanes e, y
    memset(st.e, 0, (n_hidden + net.shape.n_blocks) * width * sizeof(real))
    memset(eps, 0, n_cells * width * sizeof(real))
    add_product(st.e, width, w, n, 1, st.e_k, width, n_hidden, net.shape.n_outputs, width // LANES)
    add_product(eps, width, w + n_hidden * n, n, 1, st.e_k, width, n_cells, net.shape.n_outputs, width // LANES)
    for u in range(n_hidden):
        i = u * width
        while i < (u + 1) * width:
            y = load(st.new_act + i)
            store(st.e + i, y * (splat(1) - y) * load(st.e + i))
            i += LANES
    for v in range(n_cells):
        j = net.block_of[v] * width
        i = 0
        while i < width:
            e = load(eps + v * width + i)
            y = load(st.h + v * width + i)
            if net.shape.lane_out >= 0:
                store(e_out + j + i, load(e_out + j + i) + y * e)
                e = e * load(st.new_act + net.shape.lane_out * width + j + i)
            store(eps + v * width + i, e * slope(y, net.squash_h, ROW_LANES))
            i += LANES
    i = 0
    while net.shape.lane_out >= 0 and i < net.shape.n_blocks * width:
        y = load(st.new_act + net.shape.lane_out * width + i)
        store(e_out + i, y * (splat(1) - y) * load(e_out + i))
        i += LANES


cdef void list_inputs(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """List the inputs whose partials change, and write the rows of z that stand for symbols."""
    cdef Py_ssize_t i, lane
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef Py_ssize_t n = n_streams_of(st, group)
    cdef const int32_t* rows = st.rows + group * n_inputs
    if chunk.symbols == NULL:
        for i in range(n_inputs):
            for lane in range(n if st.n_seen[group * n_inputs + i] < n else 0):
                if st.present[lane] > 0:
                    see(net, st, group, i, lane)
        return
    for lane in range(n):
        if st.present[lane] > 0:
            see(net, st, group, chunk.symbols[group * st.width + lane], lane)
    for i in range(st.n_rows[group]):
        memset(st.z + rows[i] * st.width, 0, st.width * sizeof(real))
    for lane in range(n):
        if st.present[lane] > 0:
            st.z[chunk.symbols[group * st.width + lane] * st.width + lane] = 1


cdef inline void carry_cell(
    const Net* net, Streams* st, Py_ssize_t v, real* p, const real* z_m, real* dw, bint has_forget, bint has_signal
) noexcept nogil:
    """Carry the partials of cell v by the weights from one source through this step; with an error signal, add what
    they change by to dw, summed over the streams.
    """
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t next_kind = net.shape.n_cells * width
    cdef Py_ssize_t j = net.block_of[v]
    cdef const real* coef = st.coef + v * width
    cdef const real* e_s = st.e_s + v * width
    cdef const real* decay = st.decay + v * width
    cdef lanes z, e, y_f, p_c, p_in, p_f
    cdef lanes sum_c = splat(0)
    cdef lanes sum_in = splat(0)
    cdef lanes sum_f = splat(0)
    p += v * width
    while i < width:
        z = load(z_m + i)
        p_c = load(p + i)
        p_in = load(p + next_kind + i)
        if has_forget:
            y_f = load(decay + i)
            p_c = p_c * y_f
            p_in = p_in * y_f
            p_f = load(p + 2 * next_kind + i) * y_f + load(coef + 2 * next_kind + i) * z
            store(p + 2 * next_kind + i, p_f)
        p_c = p_c + load(coef + i) * z
        p_in = p_in + load(coef + next_kind + i) * z
        store(p + i, p_c)
        store(p + next_kind + i, p_in)
        if has_signal:
            e = load(e_s + i)
            sum_c = sum_c + e * p_c
            sum_in = sum_in + e * p_in
            if has_forget:
                sum_f = sum_f + e * p_f
        i += LANES
    if has_signal:
        dw[net.shape.lane_cell + v] += sum_of(sum_c)
        dw[net.shape.lane_in + j] += sum_of(sum_in)
        if has_forget:
            dw[net.shape.lane_forget + j] += sum_of(sum_f)


cdef void carry_partials(const Net* net, Streams* st, Py_ssize_t group, bint has_signal) noexcept nogil:
    """Carry the partials of a group through this step; with an error signal, add the changes of the hidden layer's
    weights to the total.
    """
    cdef Py_ssize_t i, j, m, u, v
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t n_hidden = net.shape.n_hidden
    cdef bint has_forget = net.shape.lane_forget >= 0
    cdef const real* z_m
    cdef real* p
    cdef real* dw
    for i in range(n_rows_of(net, st, group)):
        m = nth_row(net, st, group, i)
        z_m = st.z + m * width
        p = st.ds_dw + (group * net.shape.n_sources + m) * st.n_partials * width
        dw = st.total.dw + m * net.shape.n_change_lanes
        for v in range(net.shape.n_cells):
            if has_forget and has_signal:
                carry_cell(net, st, v, p, z_m, dw, True, True)
            elif has_forget:
                carry_cell(net, st, v, p, z_m, dw, True, False)
            elif has_signal:
                carry_cell(net, st, v, p, z_m, dw, False, True)
            else:
                carry_cell(net, st, v, p, z_m, dw, False, False)
        if not has_signal:
            continue
        for u in range(n_hidden):
            dw[u] += dot(st.e + u * width, z_m, width)
        for j in range(net.shape.n_blocks if net.shape.lane_out >= 0 else 0):
            dw[net.shape.lane_out + j] += dot(st.e + (n_hidden + j) * width, z_m, width)


cdef void add_output_changes(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """Add alpha e_k y_m (22), summed over a group's streams, to the total."""
    cdef Py_ssize_t i, k, m
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t first = net.shape.input_to_output * net.shape.n_inputs
    cdef const real* y_m
    cdef real* dw
    for i in range(n_streams_of(st, group) if first and chunk.symbols != NULL else 0):
        if st.present[i] == 0:  # its row may be after the last
            continue
        dw = st.total.dw_out + chunk.symbols[row_of(st, group * width + i)] * net.shape.n_out_lanes
        for k in range(net.shape.n_outputs):
            dw[k] += st.e_k[k * width + i]
    for m in range(first if chunk.symbols != NULL else 0, net.shape.n_out_sources):
        i = m - first
        if i < 0:
            y_m = st.z + m * width
        elif i < net.shape.n_hidden:
            y_m = st.new_act + i * width
        elif i < net.shape.n_hidden + net.shape.n_cells:
            y_m = st.new_y_c + (i - net.shape.n_hidden) * width
        else:
            y_m = st.present  # the bias: 1 wherever there is an error
        dw = st.total.dw_out + m * net.shape.n_out_lanes
        for k in range(net.shape.n_outputs):
            dw[k] += dot(st.e_k + k * width, y_m, width)


cdef Py_ssize_t nth_change(const Net* net, const Streams* st, bint is_out, Py_ssize_t i) noexcept nogil:
    """The i-th row of w or w_out that the total changes, -1 after the last: those of inputs only if one was seen."""
    cdef Py_ssize_t n_inputs = net.shape.n_inputs if net.shape.input_to_output or not is_out else 0
    cdef Py_ssize_t n_fixed = (net.shape.n_out_sources if is_out else net.shape.n_sources) - n_inputs
    if i < n_fixed:
        return n_inputs + i
    return st.total.symbols[i - n_fixed] if n_inputs and i - n_fixed < st.total.n_symbols else -1


cdef bint use_total(
    Net* net, Streams* st, Update* update, int round_kind, double* squares
) noexcept nogil:
    """All rows of the total in a round SUM_ROWS, which computes the new weights, or TAKE_ROWS, which keeps them and
    clears the total; whether all new weights are finite. `squares` grows by sum a g^2.
    """
    cdef Py_ssize_t i, m, n, n_lanes
    cdef bint is_finite = True
    cdef bint is_out
    cdef real* row
    cdef real* w
    cdef lanes row_squares
    cdef lanes bad = splat(0)
    for is_out in range(2 - (net.readout.root != NULL)):
        n = net.shape.n_out_lanes if is_out else net.shape.n_change_lanes
        n_lanes = net.shape.n_out_lanes if is_out else net.shape.n_lanes
        i = 0
        m = nth_change(net, st, is_out, i)
        while m >= 0:
            row = (st.total.dw_out if is_out else st.total.dw) + m * n
            w = (net.w_out if is_out else net.w) + m * n_lanes
            row_squares = splat(0)
            if round_kind == SUM_ROWS:
                if not is_out and m == net.shape.bias_source:
                    put_product(row, row, net.has_bias, n_lanes)
                if net.rule.kind == PLAIN:
                    is_finite = add_weights(row, w, n_lanes) and is_finite
                else:
                    use_rows(net, update, is_out, NULL, m, 1, row, False, False, False, &row_squares, &bad)
                    squares[0] += sum_of(row_squares)
            elif net.rule.kind == PLAIN:
                take_row(w, row, n_lanes, n)
            else:
                use_rows(net, update, is_out, NULL, m, 1, row, False, True, True, &row_squares, &bad)
                clear_row(row, n)
            i += 1
            m = nth_change(net, st, is_out, i)
    return is_finite and is_zero(bad) and squares[0] - squares[0] == 0


cdef void drop_total(const Net* net, Streams* st) noexcept nogil:
    """The total becomes 0, without any change of the weights."""
    cdef Py_ssize_t i, m
    cdef bint is_out
    for is_out in range(2):
        i = 0
        m = nth_change(net, st, is_out, i)
        while m >= 0:
            if is_out:
                clear_row(st.total.dw_out + m * net.shape.n_out_lanes, net.shape.n_out_lanes)
            else:
                clear_row(st.total.dw + m * net.shape.n_change_lanes, net.shape.n_change_lanes)
            i += 1
            m = nth_change(net, st, is_out, i)
    unlist_symbols(&st.total)


cdef int ascending(const void* a, const void* b) noexcept nogil:
    """The order of two of a list of inputs."""
    return (<const int32_t*> a)[0] - (<const int32_t*> b)[0]


cdef int change_by_total(Net* net, Streams* st, double rate) noexcept nogil:
    """Change the weights by the total over all streams, or none of them if one would not be finite.

    Inputs are sorted, so that the sum of squares does not depend on the order in which they were seen.
    """
    cdef Update update
    cdef double squares = 0
    if net.rule.bound > 0:
        qsort(st.total.symbols, st.total.n_symbols, sizeof(int32_t), ascending)
    begin_update(net, rate, &update)
    if not use_total(net, st, &update, SUM_ROWS, &squares):
        drop_total(net, st)
        return CHANGE_NOT_FINITE
    if net.rule.kind != PLAIN:
        net.rule.n_updates[0] += 1
    if net.rule.bound > 0:
        limit_update(net, &update, squares, st.total.e_squares)
    use_total(net, st, &update, TAKE_ROWS, &squares)
    unlist_symbols(&st.total)
    return OK


cdef void keep_signals(const Net* net, Streams* st, Py_ssize_t group, const Chunk* chunk) noexcept nogil:
    """Note the error signals of a group for the readout."""
    cdef Py_ssize_t i, k, m, stream
    cdef Py_ssize_t width = st.width
    cdef Py_ssize_t first = net.shape.input_to_output * net.shape.n_inputs
    cdef Py_ssize_t n_given
    cdef real* u
    for i in range(n_streams_of(st, group)):
        stream = group * width + i
        u = st.sources + stream * net.readout.n_root_lanes
        n_given = 0
        for k in range(net.shape.n_outputs):
            st.signals[stream * net.shape.n_outputs + k] = st.target[k * width + i]
            n_given += st.target[k * width + i] == st.target[k * width + i]
        st.weights[stream] = st.weight[i] if n_given else 0
        for m in range(first):
            u[m] = st.z[m * width + i] if chunk.symbols == NULL else m == chunk.symbols[stream]
        for m in range(net.shape.n_hidden):
            u[first + m] = st.new_act[m * width + i]
        for m in range(net.shape.n_cells):
            u[first + net.shape.n_hidden + m] = st.new_y_c[m * width + i]


cdef int fit_readout(Net* net, Streams* st) noexcept nogil:
    """Recursive least squares over the error signals of all streams, as if they came one after the other."""
    cdef Py_ssize_t i, k, m
    cdef Py_ssize_t n = net.shape.n_out_lanes
    cdef Py_ssize_t first = net.shape.input_to_output * net.shape.n_inputs
    cdef State one
    cdef real e
    cdef const real* target
    memset(&one, 0, sizeof(State))
    one.symbol = -1
    one.gain = st.gain
    one.e_k = st.error
    for i in range(st.n_streams):
        one.weight = st.weights[i]
        if one.weight == 0:
            continue
        one.z = st.sources + i * net.readout.n_root_lanes
        one.act = one.z + first
        one.y_c = one.act + net.shape.n_hidden
        target = st.signals + i * net.shape.n_outputs
        for k in range(net.shape.n_outputs):
            e = target[k]
            for m in range(net.shape.n_out_sources):
                e = e - out_source(net, &one, m) * net.w_out[m * n + k]
            if net.shape.loss == HUBER:
                e = min(max(e, <real> -1), <real> 1)
            st.error[k] = e * one.weight if e == e else 0
        if not put_gain(net, &one) or not change_by_gain(net, &one, True):
            return CHANGE_NOT_FINITE
        change_by_gain(net, &one, False)
        reduce_root(net, &one)
    return OK


cdef void take_in_streams(const Net* net, Streams* st, const Chunk* chunk, const uint8_t* mask) noexcept nogil:
    """Take the inputs and targets of all streams that take part into their statistics, stream after stream.

    `statistics_before` has those of the targets as they were, by which outputs are given.
    """
    cdef Py_ssize_t i
    cdef const real* target = NULL
    if net.standards.targets != NULL:
        memcpy(
            st.statistics_before, net.standards.targets, net.shape.n_outputs * N_STATISTICS * sizeof(double)
        )
    for i in range(st.n_streams):
        if mask != NULL and not mask[i]:
            continue
        take_in_inputs(net, chunk, i)
        if chunk.targets != NULL:
            target = chunk.targets + i * net.shape.n_outputs
        if chunk.weights == NULL or chunk.weights[i] != 0:
            take_in_targets(net, target, -1 if chunk.classes == NULL else chunk.classes[i])


# ---- calls -----------------------------------------------------------------------------------------------------------

cdef void step_streams(
    const Net* net, Streams* st, const Chunk* chunk, const uint8_t* mask, bint keeps, real* y, Report* report
) noexcept nogil:
    """A step of inference of all streams that the mask names; the streams go on only if it `keeps` the step."""
    cdef Py_ssize_t group, n_present
    report.status = OK
    for group in range(st.n_groups):
        n_present = find_present(st, group, mask)
        if n_present == 0:
            give_no_outputs(net, st, group, y)
            continue
        if not forward_group(net, st, group, chunk, net.standards.targets, False, False, y, report):
            return
        if keeps:
            forget_partials_of_group(net, st, group, n_present)
            keep_step(net, st, group, NOT_LEARNING)


cdef bint run_streams(
    const Net* net, Streams* st, const Chunk* chunk, int64_t* at, const int64_t* ends, bint last, Py_ssize_t budget,
    real* y, Report* report
) noexcept nogil:
    """Go on for `budget` steps of inference of one group, stream i through the rows at[i] to ends[i] of the chunk.

    Outputs are written to the same rows of y; if `last`, to row i, where those of the last step stay. Returns whether
    steps are left.
    """
    cdef Py_ssize_t i, n_present
    report.status = OK
    for _ in range(budget):
        n_present = 0
        for i in range(st.width):
            st.present[i] = i < st.n_streams and at[i] < ends[i]
            n_present += st.present[i] > 0
        st.is_full = n_present == st.width
        if n_present == 0:
            return False
        st.at = at
        if not forward_group(net, st, 0, chunk, net.standards.targets, not last, False, y, report):
            st.at = NULL
            return False
        st.at = NULL
        keep_step(net, st, 0, NOT_LEARNING)
        for i in range(st.n_streams):
            at[i] += st.present[i] > 0
    return True


cdef void learn_streams(
    Net* net, Streams* st, const Chunk* chunk, const uint8_t* mask, double rate, real* y, Report* report
) noexcept nogil:
    """A learning step of all streams that the mask names, and one change of the weights by the sum of their errors."""
    cdef Py_ssize_t group, i, n_present, n_signals
    cdef Py_ssize_t n_in_all = 0
    cdef double alpha = rate if net.rule.kind == PLAIN else 1
    cdef const double* statistics = NULL
    if net.standards.targets != NULL:
        statistics = st.statistics_before
    take_in_streams(net, st, chunk, mask)
    st.total.e_squares = 0
    report.status = OK
    for group in range(st.n_groups):
        n_present = find_present(st, group, mask)
        if n_present == 0:
            give_no_outputs(net, st, group, y)
        elif forward_group(net, st, group, chunk, statistics, False, True, y, report):
            list_inputs(net, st, group, chunk)
        else:
            drop_total(net, st)
            return
        for i in range(st.n_rows[group]):
            list_symbol(&st.total, st.rows[group * net.shape.n_inputs + i])
        if net.readout.root != NULL:
            memset(st.weights + group * st.width, 0, n_streams_of(st, group) * sizeof(real))
        if n_present == 0:
            continue
        n_signals = put_targets(net, st, group, chunk)
        n_in_all += n_signals
        if n_signals:
            st.total.e_squares += put_output_errors(net, st, alpha)
            put_hidden_errors(net, st)
            if net.readout.root == NULL:
                add_output_changes(net, st, group, chunk)
            else:
                keep_signals(net, st, group, chunk)
        st.has_partials[group] = 1
        carry_partials(net, st, group, n_signals > 0)
        keep_step(net, st, group, CORRECTED)
    if n_in_all:
        report.step = -1
        report.status = change_by_total(net, st, rate)
        if report.status == OK and net.readout.root != NULL:
            report.status = fit_readout(net, st)
    else:
        unlist_symbols(&st.total)
