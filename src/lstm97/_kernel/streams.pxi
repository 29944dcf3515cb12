# The steps of one stream, or of one sequence after the other: resets, the stop rule, learning, inference.

cdef void forget_partials(const Net* net, State* st) noexcept nogil:
    """Set the partials to zero, in the listed rows: all others are zero already."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n = net.shape.n_partials
    for i in range(st.n_rows):
        memset(st.ds_dw + st.rows[i] * n, 0, n * sizeof(real))
    forget_pending(net, st)


cdef void forget_pending(const Net* net, State* st) noexcept nogil:
    """Drop the pending steps and the list of inputs seen, of a state whose partials are zero."""
    cdef Py_ssize_t i
    cdef Py_ssize_t n_fixed = net.shape.n_sources - net.shape.n_inputs
    for i in range(n_fixed, st.n_rows):
        st.is_listed[st.rows[i]] = 0
    st.n_rows = n_fixed
    st.n_pending = 0
    st.partials_bound = 0
    st.phase = NOT_LEARNING


cdef void forget_activations(const Net* net, State* st) noexcept nogil:
    """Set activations and cell states to zero."""
    memset(st.act, 0, net.shape.n_lanes * sizeof(real))
    memset(st.y_c, 0, net.shape.n_cell_lanes * sizeof(real))
    memset(st.s_c, 0, net.shape.n_cell_lanes * sizeof(real))


cdef void reset(const Net* net, State* st) noexcept nogil:
    """Set activations, cell states and partials to zero."""
    forget_activations(net, st)
    forget_partials(net, st)


cdef void measure(const Net* net, const State* st, Tally* tally) noexcept nogil:
    """Add this error signal's |t_k - y_k|, in the units of the targets, to the sequence's sum and maximum."""
    cdef Py_ssize_t k
    cdef double error
    for k in range(net.shape.n_outputs):
        error = <double> st.target[k] - output_in_units(net, st, k)
        if error != error:
            continue
        tally.n_values += 1
        if error < 0:
            error = -error
        tally.error_sum += error
        if error > tally.error_max:
            tally.error_max = error
    tally.n_signals += 1


cdef void end_sequence(const Net* net, Portion* portion, const Tally* tally) noexcept nogil:
    """Note the mean error of the sequence at `position`, judge the stop rule, go on to the next position."""
    cdef double error = NAN
    cdef const Request* request = &portion.request
    cdef Outcome* outcome = &portion.outcome
    if tally.n_signals:
        error = tally.error_sum / tally.n_values
        if request.rule != NULL and rule_holds(request.rule, error, tally.error_max > request.rule.tolerance):
            outcome.stopped = True
    request.errors[outcome.position] = error
    outcome.position += 1


cdef inline double rate_at(const Request* request, Py_ssize_t position) noexcept nogil:
    """The learning rate of the sequence at a position of the order."""
    return request.learning_rate if request.learning_rates == NULL else request.learning_rates[position]


cdef inline const real* find_target(
    const Net* net, const Chunk* chunk, const Request* request, Py_ssize_t i, Py_ssize_t t, Py_ssize_t* klass,
    double* weight
) noexcept nogil:
    """The target at step t of sequence i: a row, or NULL and a class number, or -1 for none; and its weight."""
    cdef int64_t row = request.offsets[i] + t
    klass[0] = -1
    weight[0] = 1
    if chunk.target_per_sequence:
        if row != request.offsets[i + 1] - 1:
            return NULL
        row = i
    if chunk.weights != NULL:
        weight[0] = chunk.weights[row]
    if chunk.classes != NULL:
        klass[0] = chunk.classes[row]
    return chunk.targets + row * net.shape.n_outputs if chunk.targets != NULL else NULL


cdef void record_step(const Net* net, const State* st, real** records, Py_ssize_t t) noexcept nogil:
    """Copy step t into the records that are not NULL."""
    cdef Py_ssize_t n_cells = net.shape.n_cells
    cdef Py_ssize_t n_blocks = net.shape.n_blocks
    if records[CELL_STATE_RECORD] != NULL:
        memcpy(records[CELL_STATE_RECORD] + t * n_cells, st.s_c, n_cells * sizeof(real))
    if records[CELL_RECORD] != NULL:
        memcpy(records[CELL_RECORD] + t * n_cells, st.y_c, n_cells * sizeof(real))
    if records[INPUT_GATE_RECORD] != NULL:
        memcpy(records[INPUT_GATE_RECORD] + t * n_blocks, st.act + net.shape.lane_in, n_blocks * sizeof(real))
    if records[OUTPUT_GATE_RECORD] != NULL:
        memcpy(records[OUTPUT_GATE_RECORD] + t * n_blocks, st.act + net.shape.lane_out, n_blocks * sizeof(real))
    if records[FORGET_GATE_RECORD] != NULL:
        memcpy(records[FORGET_GATE_RECORD] + t * n_blocks, st.act + net.shape.lane_forget, n_blocks * sizeof(real))
    if records[HIDDEN_RECORD] != NULL:
        memcpy(records[HIDDEN_RECORD] + t * net.shape.n_hidden, st.act, net.shape.n_hidden * sizeof(real))


cdef void run(
    const Net* net, State* st, const Chunk* chunk, Py_ssize_t begin, Py_ssize_t end, real* outputs, real** records,
    Report* report,
) noexcept nogil:
    """Inference, steps begin to end of a chunk: outputs (n_steps, n_outputs), and records if not NULL.

    The partials become zero: from here on, the state counts as independent of the weights.
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
        if not give_outputs(net, st, outputs + t * net.shape.n_outputs):
            report.status = OUTPUT_NOT_FINITE
            return
        if records != NULL:
            record_step(net, st, records, t)
    report.status = OK


cdef inline const real* inputs_after(
    const Net* net, const Chunk* chunk, Py_ssize_t t, Py_ssize_t end
) noexcept nogil:
    """The inputs of the step after step t of a chunk, of which steps up to `end` follow at once; NULL if none does."""
    if chunk.values == NULL or t + 1 >= end:
        return NULL
    return chunk.values + (t + 1) * net.shape.n_inputs


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
            net, st, chunk, t, target, klass, 1 if chunk.weights == NULL else chunk.weights[t], alpha,
            inputs_after(net, chunk, t, end), outputs + t * net.shape.n_outputs, NULL
        )
        if report.status != OK:
            return


cdef int correct(
    Net* net, State* st, const real* target, Py_ssize_t klass, double weight, double alpha
) noexcept nogil:
    """The error signal of the last learning step, whose target comes after the step."""
    if not set_target(net, st, target, klass, weight):
        return OK
    take_in_targets(net, target, klass)
    scale_target(net, st)
    st.phase = CORRECTED
    return change_weights(net, st, alpha, NULL)


cdef void train(Net* net, State* st, const Chunk* chunk, Portion* portion, Py_ssize_t budget) noexcept nogil:
    """Go on with a portion for at most `budget` steps, each sequence from a zero state; weights change by the step."""
    cdef Py_ssize_t i, length, row
    cdef Py_ssize_t klass = -1
    cdef double weight = 1
    cdef double rate
    cdef const real* target
    cdef const Request* request = &portion.request
    cdef Outcome* outcome = &portion.outcome
    while outcome.position < request.n_order and not outcome.stopped:
        i = request.order[outcome.position]
        length = request.offsets[i + 1] - request.offsets[i]
        outcome.sequence = i
        rate = rate_at(request, outcome.position)
        if outcome.step == 0:
            reset(net, st)
            memset(&outcome.tally, 0, sizeof(Tally))
        while outcome.step < length:
            if budget == 0:
                return
            budget -= 1
            target = find_target(net, chunk, request, i, outcome.step, &klass, &weight)
            row = request.offsets[i] + outcome.step
            outcome.status = learn_step(
                net, st, chunk, row, target, klass, weight, rate,
                inputs_after(net, chunk, row, row + min(length - outcome.step, budget + 1)), NULL, &outcome.tally,
            )
            if outcome.status != OK:
                return
            outcome.step += 1
            outcome.n_steps += 1
        end_sequence(net, portion, &outcome.tally)
        outcome.step = 0
