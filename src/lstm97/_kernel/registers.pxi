# A step of small networks, whose hidden layer fits into one or two vectors: the activations stay in registers.

cdef inline bint fits_registers(const Net* net) noexcept nogil:
    """Whether one or two vectors hold all units of the hidden layer, and one vector all cells."""
    return net.shape.n_lanes <= REGISTERS * LANES and 0 < net.shape.n_cells <= LANES


cdef inline void note_coefficients(const Net* net, State* st, const lanes* coef, const lanes* y_f) noexcept nogil:
    """Store into the pending block the coefficients (27)(25) of each kind of partials, and their decay y_f."""
    cdef Py_ssize_t begin, k
    cdef Py_ssize_t n = net.shape.n_partials
    cdef Py_ssize_t first = st.n_pending * n
    cdef lanes row
    for k in range(vectors(n)):
        begin = k * LANES
        row = picked(coef, 1, net.cell_of + begin) * load(net.is_partial + begin)
        row = row + picked(coef + 1, 1, net.cell_of + begin) * load(net.is_partial + n + begin)
        if net.shape.lane_forget >= 0:
            row = row + picked(coef + 2, 1, net.cell_of + begin) * load(net.is_partial + 2 * n + begin)
            store(st.decay_block + first + begin, picked(y_f, 1, net.cell_of + begin))
        store(st.coef_block + first + begin, row)


cdef inline void squash_in_registers(const Net* net, State* st, lanes* act, int width) noexcept nogil:
    """As squash_hidden_layer, for `width` vectors of units; the activations go into act and into the state.

    The time of a small network is that of the longest chain of operations: the exponentials, and loads of what has just
    been stored in another shape. So values stay in registers, and the cells' activations, which are computed last in a
    step, are added last to the net inputs of the next.
    """
    cdef Py_ssize_t i, m
    cdef Py_ssize_t n = width * LANES
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef const real* w = net.w
    cdef const real* w_cells
    cdef lanes acc[2]
    cdef lanes more[2]
    for i in range(width):
        acc[i] = load(w + st.symbol * n + i * LANES) if st.symbol >= 0 else splat(0)
        more[i] = splat(0)
    if net.shape.bias_source >= 0:
        for i in range(width):
            acc[i] = acc[i] + load(w + net.shape.bias_source * n + i * LANES)
    if st.symbol < 0:
        add_rows(w, n, st.z, net.shape.n_inputs, acc, width)
    if net.shape.recurrent:
        w += net.shape.n_inputs * n
        add_rows(w, n, st.act, net.shape.n_hidden, acc, width)
        w += net.shape.n_hidden * n
        w_cells = w
        w += n_cells * n
        if net.shape.gate_sources:
            add_rows(w, n, st.act + net.shape.lane_in, net.shape.n_units - net.shape.lane_in, acc, width)
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
    """As update_cells and put_coefficients, from the activations of `width` vectors of units."""
    cdef Py_ssize_t n = width * LANES
    cdef lanes one = splat(1)
    cdef lanes coef[3]
    cdef lanes g = picked(act, width, net.lane_of)
    cdef lanes y_in = picked(act, width, net.lane_of + ROW_LANES)
    cdef lanes y_f = one
    cdef lanes y_out, h, y_c
    # Lanes without a cell are set to 0: if they grew, the exponential would take its slow branch.
    cdef lanes s = load(st.s_c) * load(net.is_cell)
    coef[0] = y_in * slope(g, net.squash + net.shape.lane_cell, n)
    coef[1] = g * (y_in * (one - y_in))
    if net.shape.lane_forget >= 0:
        y_f = picked(act, width, net.lane_of + 3 * ROW_LANES)
        coef[2] = s * (y_f * (one - y_f))
        s = s * y_f
    s = s + y_in * g
    store(st.s_c, s)
    h = s if net.shape.h_is_identity else squash(s, net.squash_h, ROW_LANES)
    y_c = h
    if net.shape.lane_out >= 0:
        y_out = picked(act, width, net.lane_of + 2 * ROW_LANES)
        store(st.gates + net.shape.n_cell_lanes, y_out)
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
        decay[k] = load(st.decay_block + k * LANES) if pending and net.shape.lane_forget >= 0 else splat(1)
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
        for p in range(net.shape.largest_block):
            for i in range(width):
                k = p * n + i * LANES
                sums[i] = sums[i] + picked(products, depth, net.sum_of + k) * load(net.is_summed + k)
        if m == net.shape.bias_source:
            for i in range(width):
                sums[i] = sums[i] * load(net.has_bias + i * LANES)
        w = net.w + m * n
        for i in range(width):
            store(w + i * LANES, load(w + i * LANES) + sums[i])
