# The steps of one stream, or of one sequence after the other: resets, the stop rule, learning, inference.

cdef void forget_partials(const Net* net, State* st) noexcept nogil:
    """Partials to zero, in the rows that may have any; a state that did not learn since has none."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.shape.n_partials
    for i in range(st.n_rows):
        memset(st.ds_dw + st.rows[i] * n, 0, n * sizeof(real))
    forget_pending(net, st)


cdef void forget_pending(const Net* net, State* st) noexcept nogil:
    """No pending steps, no inputs seen: for a state whose partials are zero."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_fixed = net.shape.n_sources - net.shape.n_inputs
    for i in range(n_fixed, st.n_rows):
        st.is_listed[st.rows[i]] = 0
    st.n_rows = n_fixed
    st.n_pending = 0
    st.partials_bound = 0
    st.phase = NOT_LEARNING


cdef void forget_activations(const Net* net, State* st) noexcept nogil:
    """Activations and cell states to zero."""
    memset(st.act, 0, net.shape.n_lanes * sizeof(real))
    memset(st.y_c, 0, net.shape.n_cell_lanes * sizeof(real))
    memset(st.s_c, 0, net.shape.n_cell_lanes * sizeof(real))


cdef void reset(const Net* net, State* st) noexcept nogil:
    """Activations, cell states and partials to zero."""
    forget_activations(net, st)
    forget_partials(net, st)


cdef void measure(const Net* net, const State* st, Tally* tally) noexcept nogil:
    """Add this error signal's |t_k - y_k| to the sequence's sum and maximum."""
    cdef Py_ssize_t k
    cdef double error
    for k in range(net.shape.n_outputs):
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
        error = tally.error_sum / (tally.n_signals * net.shape.n_outputs)
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
    return chunk.targets + row * net.shape.n_outputs if chunk.targets != NULL else NULL


cdef void record_step(const Net* net, const State* st, real** records, Py_ssize_t t) noexcept nogil:
    """Copy what was asked for: cell_state, cell, input_gate, output_gate, forget_gate, hidden."""
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef Py_ssize_t n_blocks = net.shape.n_blocks
    if records[0] != NULL:
        memcpy(records[0] + t * n_cells, st.s_c, n_cells * sizeof(real))
    if records[1] != NULL:
        memcpy(records[1] + t * n_cells, st.y_c, n_cells * sizeof(real))
    if records[2] != NULL:
        memcpy(records[2] + t * n_blocks, st.act + net.shape.lane_in, n_blocks * sizeof(real))
    if records[3] != NULL:
        memcpy(records[3] + t * n_blocks, st.act + net.shape.lane_out, n_blocks * sizeof(real))
    if records[4] != NULL:
        memcpy(records[4] + t * n_blocks, st.act + net.shape.lane_forget, n_blocks * sizeof(real))
    if records[5] != NULL:
        memcpy(records[5] + t * net.shape.n_hidden, st.act, net.shape.n_hidden * sizeof(real))


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
        memcpy(outputs + t * net.shape.n_outputs, st.y, net.shape.n_outputs * sizeof(real))
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
        target = chunk.targets + t * net.shape.n_outputs if chunk.targets != NULL else NULL
        klass = chunk.classes[t] if chunk.classes != NULL else -1
        report.step = t
        report.status = learn_step(
            net, st, chunk, t, target, klass, alpha, outputs + t * net.shape.n_outputs, NULL
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
