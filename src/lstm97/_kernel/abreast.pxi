# The sequences of a batch's share in small networks, which step abreast: a lane for each, as in many_streams.pxi.
#
# The change of the weights is that of batches.pxi: errors are carried back through a block of pending steps, and the
# sum of z and delta over steps is a product of matrices, here one whose terms are vectors of sequences; its lanes are
# summed at the end. Lanes without a sequence, and of sequences that have ended, have coefficients and errors of 0.

cdef enum:
    INPUTS_AHEAD = 16   # steps whose inputs are brought into lanes together


cdef inline int64_t n_steps_at(const Request* request, Py_ssize_t position) noexcept nogil:
    """How many steps the sequence at a position of the order has."""
    cdef Py_ssize_t i = request.order[position]
    return request.offsets[i + 1] - request.offsets[i]


cdef bint are_worth_abreast(const Net* net, const Job* job, const Worker* me) noexcept nogil:
    """Whether the next sequences of the share step abreast: not if too many lanes would be empty, or if partials by
    many symbols had to be kept from block to block.
    """
    cdef Py_ssize_t k
    cdef int64_t n_steps = 0
    cdef const Request* request = &job.portion.request
    cdef int64_t longest = n_steps_at(request, job.batch.schedule[me.begin])
    if me.abreast.st.width == 0 or (job.chunk.symbols != NULL and longest > me.n_block):
        return False
    for k in range(me.begin, min(me.end, me.begin + me.abreast.st.width)):
        n_steps += n_steps_at(request, job.batch.schedule[k])
    return n_steps >= job.batch.worth_abreast * me.abreast.st.width * longest


cdef void put_present(Streams* st, Py_ssize_t n) noexcept nogil:
    """The first n lanes take part."""
    cdef Py_ssize_t i
    for i in range(st.width):
        st.present[i] = i < n
    st.is_full = n == st.width


cdef void begin_abreast(const Net* net, Job* job, Worker* me) noexcept nogil:
    """Begin the next sequences of the share, from a zero state."""
    cdef Py_ssize_t k, position
    cdef Streams* st = &me.abreast.st
    cdef const Request* request = &job.portion.request
    me.n_members = min(st.width, me.end - me.begin)
    me.step = me.n_active = me.n_pending = me.abreast.n_signals = 0
    for k in range(me.n_members):
        position = job.batch.schedule[me.begin + k]
        st.at[k] = request.offsets[request.order[position]]
        me.n_active += n_steps_at(request, position) > 0
        memset(job.batch.tallies + position - job.portion.outcome.position, 0, sizeof(Tally))
    st.n_streams = me.n_members
    st.has_partials[0] = 0
    st.total.dw_out = me.sums.dw_out
    memset(st.act, 0, net.shape.n_units * st.width * sizeof(real))
    memset(st.y_c, 0, net.shape.n_cells * st.width * sizeof(real))
    memset(st.s_c, 0, net.shape.n_cells * st.width * sizeof(real))
    put_present(st, me.n_active)


cdef Py_ssize_t put_whole_vectors(
    const Net* net, const real* const* x, Py_ssize_t n, Py_ssize_t width, real* z
) noexcept nogil:
    """Of the first n numbers of LANES sequences, at x, as many as fill vectors, into their lanes of z: how many."""
    cdef Py_ssize_t f = 0
    cdef Py_ssize_t r
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef Py_ssize_t m = 0
    cdef lanes rows[MOST_LANES]
    while f + LANES <= n:
        for r in range(LANES):
            rows[r] = load(x[r] + f)
        transpose(rows)
        for r in range(LANES):
            store(z + m * width, rows[r])
            m += 1
            if m == n_inputs:
                m = 0
                z += net.shape.n_sources * width
        f += LANES
    return f


cdef void put_inputs_ahead(const Net* net, const Job* job, Worker* me) noexcept nogil:
    """The rows of z that are inputs, for the next steps: sequence after sequence, as its inputs lie side by side.

    After a sequence's end stays what was there, which is finite and has no effect.
    """
    cdef Py_ssize_t f, first, k, m, n, t
    cdef Py_ssize_t n_inputs = net.shape.n_inputs
    cdef Py_ssize_t width = me.abreast.st.width
    cdef Py_ssize_t n_z = net.shape.n_sources * width
    cdef real* z = me.abreast.z + me.n_pending * n_z
    cdef const real* x[MOST_LANES]
    cdef Py_ssize_t n_numbers[MOST_LANES]
    first = 0
    while first < me.n_active:
        n = PY_SSIZE_T_MAX
        for k in range(LANES):
            n_numbers[k] = 0
            if first + k < me.n_active:
                x[k] = job.chunk.values + me.abreast.st.at[first + k] * n_inputs
                n_numbers[k] = n_steps_at(&job.portion.request, job.batch.schedule[me.begin + first + k]) - me.step
                n_numbers[k] = min(n_numbers[k], min(INPUTS_AHEAD, me.n_block - me.n_pending)) * n_inputs
            n = min(n, n_numbers[k])
        n = 0 if net.standards.inputs != NULL else put_whole_vectors(net, x, n, width, z + first)
        for k in range(LANES):
            t = n // n_inputs
            m = n - t * n_inputs
            for f in range(n, n_numbers[k]):
                z[t * n_z + m * width + first + k] = x[k][f] if net.standards.inputs == NULL else <real> scaled(
                    net.standards.inputs + m * N_STATISTICS, x[k][f]
                )
                m += 1
                if m == n_inputs:
                    m = 0
                    t += 1
        first += LANES


cdef Py_ssize_t put_targets_abreast(const Net* net, const Job* job, Worker* me) noexcept nogil:
    """The targets at this step as they are given, NaN where there is none, and their weights; how many have one."""
    cdef Py_ssize_t i, k, n_given
    cdef Py_ssize_t n_signals = 0
    cdef Py_ssize_t n_ending = me.n_active
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t klass = -1
    cdef double weight = 1
    cdef real t
    cdef const real* target
    cdef Streams* st = &me.abreast.st
    cdef const Request* request = &job.portion.request
    if job.chunk.target_per_sequence:  # the last of the active sequences are the shortest
        while n_ending and n_steps_at(request, job.batch.schedule[me.begin + n_ending - 1]) == me.step + 1:
            n_ending -= 1
        first = n_ending
    if first == me.n_active:
        return 0
    for i in range(net.shape.n_outputs * st.width):
        st.target[i] = NAN
    memset(st.weight, 0, st.width * sizeof(real))
    for i in range(first, me.n_active):
        target = find_target(
            net, &job.chunk, request, request.order[job.batch.schedule[me.begin + i]], me.step, &klass, &weight
        )
        if weight == 0 or (target == NULL and klass < 0):
            continue
        n_given = 0
        for k in range(net.shape.n_outputs):
            t = (k == klass) if klass >= 0 else target[k]
            st.target[k * st.width + i] = t
            n_given += t == t
        st.weight[i] = <real> weight if n_given else 0
        n_signals += n_given > 0
    return n_signals


cdef void measure_abreast(const Net* net, Job* job, Worker* me) noexcept nogil:
    """As `measure`, for every sequence with an error signal; then the targets are scaled."""
    cdef Py_ssize_t i, k
    cdef double error, y
    cdef real* t
    cdef Streams* st = &me.abreast.st
    cdef Tally* tally
    cdef const double* column = net.standards.targets
    for i in range(me.n_active):
        if st.weight[i] == 0:
            continue
        tally = job.batch.tallies + job.batch.schedule[me.begin + i] - job.portion.outcome.position
        tally.n_signals += 1
        tally.last_step = me.step
        for k in range(net.shape.n_outputs):
            t = st.target + k * st.width + i
            if t[0] != t[0]:
                continue
            y = st.y[k * st.width + i]
            if net.standards.targets != NULL:
                column = net.standards.targets + k * N_STATISTICS
                y = <real> (y * column[DEVIATION] + column[MEAN])
            error = <double> t[0] - y
            tally.n_values += 1
            tally.error_sum += abs(error)
            tally.error_max = max(tally.error_max, abs(error))
            if net.standards.targets != NULL:
                t[0] = <real> scaled(column, t[0])


cdef bint note_signals_abreast(const Net* net, Job* job, Worker* me) noexcept nogil:
    """The errors at this step's targets; whether the outputs that have one are finite.

    The outputs' weights are changed by them at once, the others' by what is noted when the block ends.
    """
    cdef Py_ssize_t i
    cdef Abreast* a = &me.abreast
    cdef Streams* st = &a.st
    cdef Py_ssize_t position = job.batch.schedule[me.begin]
    cdef bint is_finite
    for i in range(st.width):
        st.present[i] = st.weight[i] != 0
    is_finite = put_outputs(net, st, 0, &job.chunk)
    if is_finite:
        measure_abreast(net, job, me)
        st.e = a.e + a.n_signals * (net.shape.n_hidden + net.shape.n_blocks) * st.width
        st.e_s = a.e_s + a.n_signals * net.shape.n_cells * st.width
        me.sums.e_squares += put_output_errors(
            net, st, rate_at(&job.portion.request, position) if net.rule.kind == PLAIN else 1
        )
        put_hidden_errors(net, st)
        add_output_changes(net, st, 0, &job.chunk)
        a.signals[a.n_signals] = <int32_t> me.n_pending
        a.n_signals += 1
    put_present(st, me.n_active)
    return is_finite


cdef inline void swap(real** a, real** b) noexcept nogil:
    """Exchange two arrays."""
    cdef real* kept = a[0]
    a[0] = b[0]
    b[0] = kept


cdef int step_abreast(const Net* net, Job* job, Worker* me, Py_ssize_t* lane) noexcept nogil:
    """One step of every sequence that has a further one. If it fails, `lane` is the one in which it did."""
    cdef Py_ssize_t k
    cdef Abreast* a = &me.abreast
    cdef Streams* st = &a.st
    cdef const Request* request = &job.portion.request
    st.z = a.z + me.n_pending * net.shape.n_sources * st.width
    st.coef = a.coef + me.n_pending * st.n_partials * st.width
    st.decay = a.decay
    if net.shape.lane_forget >= 0:
        st.decay = a.decay + me.n_pending * net.shape.n_cells * st.width
    for k in range(me.n_active if job.chunk.symbols != NULL else 0):
        list_symbol(me.sums, job.chunk.symbols[st.at[k]])
    if job.chunk.symbols == NULL and me.n_pending % INPUTS_AHEAD == 0:
        put_inputs_ahead(net, job, me)
    put_recurrent_sources(net, st, 0)
    squash_group(net, st, 0, &job.chunk)
    if not update_group(net, st, 0, True):
        lane[0] = first_lane_not_finite(st.new_s_c, net.shape.n_cells, st.width)
        return CELL_STATE_NOT_FINITE
    if put_targets_abreast(net, job, me) and not note_signals_abreast(net, job, me):
        lane[0] = first_lane_not_finite(st.y, net.shape.n_outputs, st.width)
        return OUTPUT_NOT_FINITE
    swap(&st.act, &st.new_act)
    swap(&st.y_c, &st.new_y_c)
    swap(&st.s_c, &st.new_s_c)
    for k in range(me.n_active):
        st.at[k] += 1
    me.n_steps += me.n_active
    me.step += 1
    me.n_pending += 1
    k = me.n_active
    while me.n_active and n_steps_at(request, job.batch.schedule[me.begin + me.n_active - 1]) == me.step:
        me.n_active -= 1
    if me.n_active < k:
        put_present(st, me.n_active)
    return OK


cdef inline void put_sums_of_blocks(
    const Net* net, real* to, const real* e_s, const real* terms, Py_ssize_t width
) noexcept nogil:
    """to_j = sum over the cells v of block j of e_s_v terms_v, in rows of a lane for each sequence."""
    cdef Py_ssize_t i, v
    cdef real* row
    cdef lanes product
    for v in range(net.shape.n_cells):
        row = to + net.block_of[v] * width
        i = 0
        while i < width:
            product = load(e_s + v * width + i) * load(terms + v * width + i)
            store(row + i, load(row + i) + product if net.is_continued[v] else product)
            i += LANES


cdef Py_ssize_t carry_back_abreast(const Net* net, Abreast* a, bint only_errors) noexcept nogil:
    """As carry_back, through the pending steps up to the last error signal, whose number is returned.

    `delta` takes the place of `coef`: a gate's is in the row of its block's number, at most that of its first cell. If
    `only_errors`, it is not computed, only the errors carried back to the beginning of the block.
    """
    cdef Py_ssize_t width = a.st.width
    cdef Py_ssize_t n = net.shape.n_cells * width
    cdef Py_ssize_t n_signals = a.n_signals
    cdef Py_ssize_t n_steps = a.signals[n_signals - 1] + 1
    cdef Py_ssize_t t = n_steps
    cdef real* row
    memset(a.carried, 0, n * sizeof(real))
    while t > 0:
        t -= 1
        if n_signals and a.signals[n_signals - 1] == t:
            n_signals -= 1
            add_scaled(a.carried, a.e_s + n_signals * n, splat(1), n)
        if not only_errors:
            row = a.coef + t * a.st.n_partials * width
            put_product(row, a.carried, row, n)
            put_sums_of_blocks(net, row + n, a.carried, row + n, width)
            if net.shape.lane_forget >= 0:
                put_sums_of_blocks(net, row + n + net.shape.n_blocks * width, a.carried, row + 2 * n, width)
        if net.shape.lane_forget >= 0:
            put_product(a.carried, a.carried, a.decay + t * n, n)
    return n_steps


cdef void settle_abreast(const Net* net, Abreast* a, Py_ssize_t n_steps) noexcept nogil:
    """Carry the partials through the pending steps."""
    cdef Py_ssize_t i, m, p, t, v
    cdef Py_ssize_t width = a.st.width
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef Py_ssize_t n_z = net.shape.n_sources * width
    cdef Py_ssize_t n = a.st.n_partials * width
    cdef real* row
    cdef lanes sum
    for m in range(net.shape.n_sources):
        for p in range(a.st.n_partials):
            v = p % n_cells
            row = a.st.ds_dw + m * n + p * width
            i = 0
            while i < width:
                sum = load(row + i) if a.st.has_partials[0] else splat(0)
                for t in range(n_steps):
                    if net.shape.lane_forget >= 0:
                        sum = sum * load(a.decay + (t * n_cells + v) * width + i)
                    sum = sum + load(a.coef + t * n + p * width + i) * load(a.z + t * n_z + m * width + i)
                store(row + i, sum)
                i += LANES
    a.st.has_partials[0] = 1


cdef void add_settled_changes(const Net* net, const Abreast* a, real* dw) noexcept nogil:
    """Add to dw what the errors carried back to the beginning of the block change by the partials of that time."""
    cdef Py_ssize_t m, v
    cdef Py_ssize_t width = a.st.width
    cdef Py_ssize_t n = net.shape.n_cells * width
    cdef const real* e
    cdef const real* p
    for m in range(net.shape.n_sources):
        for v in range(net.shape.n_cells):
            e = a.carried + v * width
            p = a.st.ds_dw + (m * a.st.n_partials + v) * width
            dw[v] += dot(e, p, width)
            dw[net.shape.n_cells + net.block_of[v]] += dot(e, p + n, width)
            if net.shape.lane_forget >= 0:
                dw[net.shape.n_cells + net.shape.n_blocks + net.block_of[v]] += dot(e, p + 2 * n, width)
        dw += net.shape.n_change_lanes


cdef void add_changes_abreast(
    const Net* net, const Job* job, const Worker* me, real* dw, const int32_t* which, const real* delta,
    Py_ssize_t n_delta, Py_ssize_t n_steps, Py_ssize_t n
) noexcept nogil:
    """dw_m += sum_t delta(t) z_m(t) over n_steps pending steps, or those that `which` lists, for n lanes of a row."""
    cdef Py_ssize_t i, k, t, u
    cdef Py_ssize_t width = me.abreast.st.width
    cdef Py_ssize_t first = net.shape.n_inputs if job.chunk.symbols != NULL else 0
    cdef int64_t begin, end
    cdef const Request* request = &job.portion.request
    cdef const real* column
    cdef real* row
    add_dots(
        dw + first * net.shape.n_change_lanes, net.shape.n_change_lanes, me.abreast.z + first * width,
        net.shape.n_sources * width, which, delta, n_delta * width, width, n_steps, net.shape.n_sources - first, n,
    )
    for k in range(me.n_members if first else 0):
        i = request.order[job.batch.schedule[me.begin + k]]
        begin = request.offsets[i] + me.step - me.n_pending
        end = request.offsets[i + 1]
        for i in range(n_steps):
            t = i if which == NULL else which[i]
            if begin + t >= end:
                break
            row = dw + job.chunk.symbols[begin + t] * net.shape.n_change_lanes
            column = delta + i * n_delta * width + k
            for u in range(n):
                row[u] += column[u * width]


cdef void close_block_abreast(const Net* net, const Job* job, Worker* me) noexcept nogil:
    """As close_block, for all sequences of the share; those that have further steps go on with settled partials."""
    cdef Py_ssize_t n_steps
    cdef Abreast* a = &me.abreast
    cdef real* dw = me.sums.dw
    cdef Py_ssize_t n_direct = net.shape.n_hidden
    cdef Py_ssize_t n_carried = net.shape.n_cells + net.shape.n_blocks
    if net.shape.lane_forget >= 0:
        n_carried += net.shape.n_blocks
    if net.shape.lane_out >= 0:
        n_direct += net.shape.n_blocks
    if a.n_signals and a.st.has_partials[0]:
        carry_back_abreast(net, a, True)
        add_settled_changes(net, a, dw)
    if me.n_active and net.shape.n_cells:
        settle_abreast(net, a, me.n_pending)
    if a.n_signals and net.shape.n_cells:
        n_steps = carry_back_abreast(net, a, False)
        add_changes_abreast(net, job, me, dw, NULL, a.coef, a.st.n_partials, n_steps, n_carried)
    if a.n_signals and n_direct:
        add_changes_abreast(
            net, job, me, dw + net.shape.n_carried, a.signals, a.e, net.shape.n_hidden + net.shape.n_blocks,
            a.n_signals, n_direct,
        )
    me.n_pending = a.n_signals = 0


cdef bint go_on_abreast(const Net* net, Job* job, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Go on with sequences that step abreast, for about `budget` steps; returns whether they are done, or given up."""
    cdef Py_ssize_t lane = -1
    while me.n_active:
        if me.n_pending == me.n_block:
            close_block_abreast(net, job, me)
        if atomic_load64(&job.last_wanted) < me.task:
            return True
        if budget[0] <= 0:
            return False
        budget[0] -= me.n_active
        me.report.status = step_abreast(net, job, me, &lane)
        if me.report.status != OK:
            me.sequence = job.portion.request.order[job.batch.schedule[me.begin + lane]]
            me.report.step = me.step
            atomic_min64(&job.last_wanted, me.task)
            return True
    close_block_abreast(net, job, me)
    return True
