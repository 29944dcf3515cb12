# Sequences that step together and change the weights once, by the sum of their changes.
#
# While changes are summed, the weights stay as they are. Then the change dw by a block of steps needs the partials
# ds_dw_0 at the beginning of the block, but not those of each step. The errors are carried back through the block:
#
#     E(t) = e_s(t) + y_f(t+1) E(t+1)                          (without forget gates y_f = 1)
#     dw   = y_f(1) E(1) ds_dw_0 + sum_t E(t) coef(t) z(t)     (summed over a block's cells for its gates)
#
# So a step costs its net inputs and one term of a product of matrices: of z and delta = E coef in a block of steps with
# an error signal, of z and coef (in `settle`) in a block without one. The errors of hidden units and output gates are
# not carried back: only steps with an error signal change their weights.

cdef inline void list_symbol(Sums* sums, Py_ssize_t m) noexcept nogil:
    """Add input m to the inputs whose rows of weights change."""
    if not sums.is_listed[m]:
        sums.is_listed[m] = 1
        sums.symbols[sums.n_symbols] = <int32_t> m
        sums.n_symbols += 1


cdef void unlist_symbols(Sums* sums) noexcept nogil:
    """Empty the list of inputs whose rows change."""
    cdef Py_ssize_t i
    for i in range(sums.n_symbols):
        sums.is_listed[sums.symbols[i]] = 0
    sums.n_symbols = 0


cdef void begin_members(const Net* net, const Job* job, Worker* me) noexcept nogil:
    """Begin the next sequences of the share that step together, from a zero state."""
    cdef Py_ssize_t i, k
    cdef Member* member
    cdef const Request* request = &job.portion.request
    me.n_members = min(me.n_together, me.end - me.begin)
    me.step = 0
    me.n_active = 0
    for k in range(me.n_members):
        member = me.members + k
        member.position = job.batch.schedule[me.begin + k]
        memset(&member.tally, 0, sizeof(Tally))
        forget_activations(net, &member.st)
        if member.settled:
            forget_partials(net, &member.st)
            member.settled = False
        else:
            forget_pending(net, &member.st)
        member.n_signals = 0
        i = request.order[member.position]
        me.n_active += request.offsets[i + 1] > request.offsets[i]
    me.n_open = me.n_active
    me.n_closed = 0
    me.n_pending = 0


cdef void note_signal(const Net* net, Sums* sums, Member* member, double alpha) noexcept nogil:
    """The errors at the target in the member's state: added to the outputs' sums now, kept for the other weights."""
    cdef State* st = &member.st
    cdef real* e = member.e + member.n_signals * net.shape.n_direct
    cdef lanes unused
    output_errors(net, st, alpha * st.weight if net.rule.kind == PLAIN else st.weight)
    sums.e_squares += sum_of_e_squares(net, st)
    hidden_errors(net, st)
    change_output_weights(net, st, sums.dw_out, False, &unused)
    member.signals[member.n_signals] = <int32_t> (st.n_pending - 1)
    copy(member.e_s + member.n_signals * net.shape.n_cell_lanes, st.e_s, net.shape.n_cells)
    copy(e, st.e, net.shape.n_hidden)
    if net.shape.lane_out >= 0:
        copy(e + net.shape.n_hidden, st.e + net.shape.lane_out, net.shape.n_blocks)
    member.n_signals += 1


cdef void squash_together(const Net* net, Worker* me) noexcept nogil:
    """The activations of all members, by the sources in their states.

    Small networks are computed one by one: the processor overlaps the exponentials of one with the next.
    """
    cdef Py_ssize_t k, u
    cdef State* st = &me.members.st
    cdef Py_ssize_t first = net.shape.n_inputs if st.symbol >= 0 else 0
    cdef lanes act[2]
    if fits_registers(net):
        for k in range(me.n_active):
            if net.shape.n_lanes == LANES:
                squash_in_registers(net, &me.members[k].st, act, 1)
            else:
                squash_in_registers(net, &me.members[k].st, act, 2)
        return
    for k in range(me.n_active):
        st = &me.members[k].st
        if st.symbol >= 0:
            copy(st.act, net.w + st.symbol * net.shape.n_lanes, net.shape.n_units)
        else:
            memset(st.act, 0, net.shape.n_lanes * sizeof(real))
    st = &me.members.st
    add_product(
        st.act, me.stride, st.z + first, me.stride, 1, net.w + first * net.shape.n_lanes, net.shape.n_lanes,
        me.n_active, net.shape.n_sources - first, vectors(net.shape.n_units),
    )
    for k in range(me.n_active):  # not in the loop before: loading what has just been stored takes long
        st = &me.members[k].st
        for u in range(vectors(net.shape.n_units)):
            store(st.act + u * LANES, squashed(net, load(st.act + u * LANES), u * LANES))
        spread_gates(net, st)


cdef inline bint update_member(const Net* net, State* st) noexcept nogil:
    """The cells of a member by its activations. Returns whether their states are finite."""
    cdef lanes act[2]
    if not fits_registers(net):
        return update_cells(net, st)
    act[0] = load(st.act)
    if net.shape.n_lanes == LANES:
        return update_in_registers(net, st, act, 1)
    act[1] = load(st.act + LANES)
    return update_in_registers(net, st, act, 2)


cdef int step_member(
    const Net* net, const Job* job, Worker* me, Member* member, bint squashed_already
) noexcept nogil:
    """The rest of a member's step: from the sources on, or, if `squashed_already`, from the activations on."""
    cdef Py_ssize_t klass = -1
    cdef double weight = 1
    cdef State* st = &member.st
    cdef const Request* request = &job.portion.request
    cdef const real* target = find_target(
        net, &job.chunk, request, request.order[member.position], me.step, &klass, &weight
    )
    if not (update_member(net, st) if squashed_already else advance(net, st)):
        return CELL_STATE_NOT_FINITE
    remember_step(net, st)
    if set_target(net, st, target, klass, weight):
        if not compute_outputs(net, st):
            return OUTPUT_NOT_FINITE
        measure(net, st, &member.tally)
        scale_target(net, st)
        member.tally.last_step = me.step
        note_signal(net, me.sums, member, rate_at(request, member.position))
    return OK


cdef void step_together(const Net* net, const Job* job, Worker* me) noexcept nogil:
    """One step of every member that has a further step."""
    cdef Py_ssize_t k, t
    cdef const Chunk* chunk = &job.chunk
    cdef const Request* request = &job.portion.request
    cdef bint together = me.n_active > 1
    for k in range(me.n_active):
        t = request.offsets[request.order[me.members[k].position]] + me.step
        if chunk.symbols != NULL:
            list_symbol(me.sums, chunk.symbols[t])
        take_input(net, &me.members[k].st, chunk, t)
    if together:
        squash_together(net, me)
    for k in range(me.n_active):
        me.report.status = step_member(net, job, me, me.members + k, together)
        if me.report.status != OK:
            me.sequence = request.order[me.members[k].position]
            me.report.step = me.step
            return
        me.n_steps += 1
    me.step += 1
    me.n_pending += 1
    while me.n_active:
        k = request.order[me.members[me.n_active - 1].position]
        if request.offsets[k + 1] - request.offsets[k] > me.step:
            break
        me.n_active -= 1


cdef inline void put_carried(const Net* net, real* to, const real* e_s, const real* terms) noexcept nogil:
    """to = e_s times `terms` (a row of coef or of partials), in the order of the lanes of dw: for cells as it is, for
    input gates and forget gates summed over a block's cells.
    """
    cdef Py_ssize_t n_cells = net.shape.n_cells
    put_product(to, e_s, terms, n_cells)
    put_block_sums(net, to + n_cells, e_s, terms + n_cells)
    if net.shape.lane_forget >= 0:
        put_block_sums(net, to + n_cells + net.shape.n_blocks, e_s, terms + 2 * n_cells)


cdef Py_ssize_t carry_back(const Net* net, Worker* me, const Member* member) noexcept nogil:
    """Compute E and delta of every pending step up to the last error signal; returns the number of these steps.

    E of the step before the block is left in me.e_s.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n = vectors(net.shape.n_cells)
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
            signal = member.e_s + n_signals * net.shape.n_cell_lanes
            for i in range(n):
                store(e_s + i * LANES, load(e_s + i * LANES) + load(signal + i * LANES))
        put_carried(net, me.delta + t * net.shape.n_change_lanes, e_s, member.st.coef_block + t * net.shape.n_partials)
        if net.shape.lane_forget >= 0:
            y_f = member.st.decay_block + t * net.shape.n_partials
            for i in range(n):
                store(e_s + i * LANES, load(e_s + i * LANES) * load(y_f + i * LANES) * load(net.is_cell + i * LANES))
    return n_steps


cdef void add_changes(
    const Net* net, real* dw, const State* st, const real* delta, Py_ssize_t n_delta, Py_ssize_t n_steps,
    Py_ssize_t n_lanes
) noexcept nogil:
    """dw_m += sum_t delta(t) z_m(t) over the first n_steps pending steps, for n_lanes lanes of a row."""
    cdef Py_ssize_t t
    cdef Py_ssize_t n = net.shape.n_change_lanes
    cdef Py_ssize_t first = 0 if st.dense else net.shape.n_inputs
    add_product(
        dw + first * n, n, st.z_block + first, 1, st.n_z, delta, n_delta, net.shape.n_sources - first, n_steps,
        vectors(n_lanes),
    )
    if not st.dense:
        for t in range(n_steps):
            add_scaled(dw + st.symbols[t] * n, delta + t * n_delta, splat(1), n_lanes)


cdef void close_block(const Net* net, Worker* me, Member* member, bint goes_on) noexcept nogil:
    """Add the pending steps of a member to dw, and to its partials if `goes_on`: if it has further steps."""
    cdef Py_ssize_t i, m, n_steps, t
    cdef State* st = &member.st
    cdef real* dw = me.sums.dw
    cdef Py_ssize_t first = 0 if st.dense else net.shape.n_inputs
    if member.n_signals and net.shape.n_cells:
        n_steps = carry_back(net, me, member)
        add_changes(net, dw, st, me.delta, net.shape.n_change_lanes, n_steps, net.shape.n_carried)
        if member.settled:
            for i in range(st.n_rows):
                m = st.rows[i]
                put_carried(net, me.delta, me.e_s, st.ds_dw + m * net.shape.n_partials)
                add_scaled(dw + m * net.shape.n_change_lanes, me.delta, splat(1), net.shape.n_carried)
    if goes_on:
        settle(net, st)
        member.settled = True
    if member.n_signals and net.shape.n_direct:
        for i in range(member.n_signals):  # move the steps with a signal to the front
            t = member.signals[i]
            if t > i:
                copy(st.z_block + i * st.n_z + first, st.z_block + t * st.n_z + first, net.shape.n_sources - first)
                st.symbols[i] = st.symbols[t]
        add_changes(
            net, dw + net.shape.n_carried, st, member.e, net.shape.n_direct, member.n_signals, net.shape.n_direct
        )
    member.n_signals = 0
    st.n_pending = 0


cdef bint go_on_with_members(const Net* net, Job* job, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Go on with members for about `budget` steps; returns whether they are done, or given up."""
    cdef Py_ssize_t k
    cdef Member* member
    while me.n_open:
        if budget[0] <= 0:
            return False
        if me.n_active and me.n_pending < me.n_block:
            if atomic_load64(&job.last_wanted) < me.task:
                return True
            budget[0] -= me.n_active
            step_together(net, job, me)
            if me.report.status != OK:
                atomic_min64(&job.last_wanted, me.task)
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
        job.batch.tallies[member.position - job.portion.outcome.position] = member.tally
    return True


cdef bint go_on_with_share(const Net* net, Job* job, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Go on with a worker's share for about `budget` steps; returns whether the share is done, or given up.

    The order of all sums depends on the share alone, not on how it is cut by budgets.
    """
    cdef bint is_done
    while me.begin < me.end:
        if me.n_members == 0:
            me.is_abreast = are_worth_abreast(net, job, me)
            if me.is_abreast:
                begin_abreast(net, job, me)
            else:
                begin_members(net, job, me)
        if me.is_abreast:
            is_done = go_on_abreast(net, job, me, budget)
        else:
            is_done = go_on_with_members(net, job, me, budget)
        if not is_done:
            return False
        if me.report.status != OK or atomic_load64(&job.last_wanted) < me.task:
            return True
        me.begin += me.n_members
        me.n_members = 0
    return True


cdef void arrange_row(const Net* net, real* row, real* scratch, Py_ssize_t m) noexcept nogil:
    """Bring row m of dw into the order of the lanes of w, one kind after the other, as each may reach into the next."""
    cdef Py_ssize_t i
    cdef const real* direct = row + net.shape.n_carried
    copy(scratch, direct, net.shape.n_hidden)
    if net.shape.n_cells:
        copy(scratch + net.shape.lane_cell, row, net.shape.n_cells + net.shape.n_blocks)
        if net.shape.lane_out >= 0:
            copy(scratch + net.shape.lane_out, direct + net.shape.n_hidden, net.shape.n_blocks)
        if net.shape.lane_forget >= 0:
            copy(scratch + net.shape.lane_forget, row + net.shape.n_cells + net.shape.n_blocks, net.shape.n_blocks)
    for i in range(net.shape.n_units, net.shape.n_lanes):
        scratch[i] = 0
    if m == net.shape.bias_source:
        put_product(scratch, scratch, net.has_bias, net.shape.n_lanes)
    copy(row, scratch, net.shape.n_lanes)


cdef inline void clear_row(real* row, Py_ssize_t n) noexcept nogil:
    """row = 0."""
    memset(row, 0, n * sizeof(real))


cdef inline void move_row(real* to, real* row, Py_ssize_t n) noexcept nogil:
    """to += row, row = 0."""
    add_scaled(to, row, splat(1), n)
    clear_row(row, n)


cdef inline bint add_weights(real* row, const real* w, Py_ssize_t n) noexcept nogil:
    """row += w; returns whether all sums are finite."""
    cdef Py_ssize_t i
    cdef lanes new
    cdef lanes bad = splat(0)
    for i in range(vectors(n)):
        new = load(row + i * LANES) + load(w + i * LANES)
        store(row + i * LANES, new)
        bad = bad + (new - new)
    return is_zero(bad)


cdef inline void take_row(real* w, real* row, Py_ssize_t n_lanes, Py_ssize_t n) noexcept nogil:
    """w = row over n_lanes lanes, then row = 0 over all n."""
    copy(w, row, n_lanes)
    clear_row(row, n)


cdef bint sum_up_row(
    const Net* net, const Job* job, Worker* me, Py_ssize_t m, bint is_out, bint is_symbol
) noexcept nogil:
    """A row of the outputs or the hidden layer, in a round SUM_ROWS or TAKE_ROWS; whether it is finite."""
    cdef Py_ssize_t i
    cdef lanes squares = splat(0)
    cdef lanes bad = splat(0)
    cdef double total
    cdef Py_ssize_t n = net.shape.n_out_lanes if is_out else net.shape.n_change_lanes
    cdef Py_ssize_t n_lanes = net.shape.n_out_lanes if is_out else net.shape.n_lanes
    cdef real* w = (net.w_out if is_out else net.w) + m * n_lanes
    cdef real* row = (job.batch.total.dw_out if is_out else job.batch.total.dw) + m * n
    cdef Sums* sums
    if job.round_kind == TAKE_ROWS:
        if net.rule.kind == PLAIN:
            take_row(w, row, n_lanes, n)
        else:
            use_rows(net, &job.batch.update, is_out, NULL, m, 1, row, False, True, True, &squares, &bad)
            clear_row(row, n)
        return True
    for i in range(job.batch.n_in_round if job.batch.n_shares > 1 else 0):
        sums = job.batch.sums + i
        if not is_symbol or sums.is_listed[m]:
            move_row(row, (sums.dw_out if is_out else sums.dw) + m * n, n)
    if job.batch.first_share + job.batch.n_in_round < job.batch.n_shares:
        return True
    if not is_out:
        arrange_row(net, row, me.delta, m)
    if net.rule.kind == PLAIN:
        return add_weights(row, w, n_lanes)
    use_rows(net, &job.batch.update, is_out, NULL, m, 1, row, False, False, False, &squares, &bad)
    total = sum_of(squares)
    job.batch.row_squares[is_out * net.shape.n_sources + m] = total
    return is_zero(bad) and total - total == 0


cdef inline Py_ssize_t n_input_rows(const Net* net, const Job* job) noexcept nogil:
    """How many rows of inputs may have changed: where inputs are symbols, those of the symbols seen."""
    return job.batch.total.n_symbols if job.chunk.symbols != NULL else net.shape.n_inputs


cdef inline Py_ssize_t find_row(
    const Net* net, const Job* job, Py_ssize_t r, bint* is_out, bint* is_symbol
) noexcept nogil:
    """The r-th of the rows that may have changed, those of the hidden layer before those of the outputs."""
    cdef bint is_input
    cdef Py_ssize_t n_inputs = n_input_rows(net, job)
    cdef Py_ssize_t n_hidden_rows = n_inputs + net.shape.n_sources - net.shape.n_inputs
    cdef Py_ssize_t m
    is_out[0] = r >= n_hidden_rows
    m = r - is_out[0] * n_hidden_rows
    is_input = m < n_inputs and (net.shape.input_to_output or not is_out[0])
    is_symbol[0] = job.chunk.symbols != NULL and is_input
    if is_symbol[0]:
        return job.batch.total.symbols[m]
    if not is_input and (net.shape.input_to_output or not is_out[0]):
        return m + net.shape.n_inputs - n_inputs
    return m


cdef double sum_of_row_squares(const Net* net, const Job* job) noexcept nogil:
    """sum a g^2 over the rows that may have changed, in an order that does not depend on who computed them."""
    cdef Py_ssize_t m, r
    cdef bint is_out = False
    cdef bint is_symbol = False
    cdef double total = 0
    for r in range(job.n_rows):
        m = find_row(net, job, r, &is_out, &is_symbol)
        total += job.batch.row_squares[is_out * net.shape.n_sources + m]
    return total


cdef void sum_up_rows(const Net* net, Job* job, Worker* me) noexcept nogil:
    """The rows of a worker's task, among all that may have changed."""
    cdef Py_ssize_t m, r
    cdef bint is_out = False
    cdef bint is_symbol = False
    cdef Py_ssize_t n_tasks = job.team.n_tasks
    for r in range(me.task * job.n_rows // n_tasks, (me.task + 1) * job.n_rows // n_tasks):
        m = find_row(net, job, r, &is_out, &is_symbol)
        if not sum_up_row(net, job, me, m, is_out, is_symbol):
            me.has_failed = True
