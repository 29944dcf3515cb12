# How the threads of a crew share the work.
#
# What the threads of a crew do in the rounds of `crew.h`. The shares of a batch, what is in them and the order in
# which their changes are summed follow from the batch alone: how many threads there are, and which of them does what,
# changes no bit. The leader is the thread that called: it keeps the plan, and comes back now and then to look for
# signals.

cdef extern from "_kernel/crew.h" nogil:
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
    training.n_rows = net.shape.n_sources + net.shape.n_out_sources
    training.n_rows -= (1 + net.shape.input_to_output) * (net.shape.n_inputs - n_input_rows(net, training))
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
    cdef Py_ssize_t n_reals = training.n_rows * net.shape.n_lanes
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
