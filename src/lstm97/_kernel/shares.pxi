# How the workers of a team do a job: training in batches, or Hogwild training. The words are those of team.h.
#
# The shares of a batch, the sequences in them and the order in which their changes are summed follow from the batch
# alone: the number of workers, and which worker does which task, change no bit of the result. The leader alone writes
# the outcome of training in batches, and it returns now and then so that the engine can look for signals.

cdef extern from "_kernel/team.h" nogil:
    enum:
        MOST_TASKS
    int64_t atomic_load64(const int64_t*)
    void atomic_store64(int64_t*, int64_t)
    int64_t atomic_add64(int64_t*, int64_t)
    void atomic_min64(int64_t*, int64_t)
    void spin_lock(int64_t*)
    void spin_unlock(int64_t*)
    double now()
    double time_on_cpu()
    int64_t claim_task(Team*, const Waiter*)
    void end_task(Team*, const Waiter*)
    void open_round(Team*, int64_t, bint)
    bint wait_for_tasks(Team*, int64_t)
    bint wait_for_round(Team*, Waiter*)


cdef enum:              # the kinds of rounds, by what a task is
    TRAIN_SHARES        # a share of a batch
    SUM_ROWS            # rows of weights: total += the shares' sums; after a batch's last shares, total += w
    TAKE_ROWS           # rows of weights: w = total, which is the new weights
    TRAIN_SEQUENCES     # Hogwild: sequences, until none is left

cdef enum:
    LONGEST_WAIT = 50_000       # microseconds that the leader waits for helpers; then it returns, to check for Ctrl-C
    WORTH_A_ROUND = 16_384      # numbers in rows that are worth a task of their own: several microseconds of work
    MOST_PARTS = 64             # tasks of a round that goes through rows
    LEAST_ALONE = 4_000_000     # nanoseconds that the leader goes on alone after sharing has cost it time
    MOST_ALONE = 500_000_000


cdef inline Sums* sums_of(Job* job, Py_ssize_t task) noexcept nogil:
    """Where the changes of a share, by its task in the round, are summed."""
    return job.batch.sums + task if job.batch.n_shares > 1 else &job.batch.total


cdef void begin_task(const Net* net, Job* job, Worker* me) noexcept nogil:
    """Set a worker up for the task it has just claimed."""
    cdef const int64_t* bounds = job.batch.bounds + job.batch.bounds_index + job.batch.first_share
    if job.round_kind == TRAIN_SHARES:
        me.sums = sums_of(job, me.task)
        me.sums.e_squares = 0
        me.report.status = OK
        me.n_steps = 0
        me.begin = bounds[me.task]
        me.end = bounds[me.task + 1]
        me.n_members = 0
    else:
        me.position = -1


cdef void end_share(Worker* me) noexcept nogil:
    """Copy how the worker's share went to the share's sums, where the leader finds it when the round is done."""
    me.sums.report = me.report
    me.sums.sequence = me.sequence
    me.sums.n_steps = me.n_steps
    me.n_steps_in_round += me.n_steps


cdef bint go_on_with_round(Net* net, Job* job, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Claim tasks and do them, for about `budget` steps; returns whether no task is left to claim."""
    cdef bint is_done = True
    while True:
        if not me.is_busy:
            me.task = claim_task(&job.team, me.waiter)
            if me.task < 0:
                return True
            me.is_busy = True
            begin_task(net, job, me)
        if job.round_kind == TRAIN_SHARES:
            is_done = go_on_with_share(net, job, me, budget)
            if is_done:
                end_share(me)
        elif job.round_kind == TRAIN_SEQUENCES:
            is_done = go_on_with_sequences(net, job, me, budget)
        else:
            sum_up_rows(net, job, me)
        if not is_done:
            return False
        me.is_busy = False
        end_task(&job.team, me.waiter)


cdef bint lead_round(
    Net* net, Job* job, int round_kind, Py_ssize_t n_tasks, bint is_alone, Py_ssize_t* budget
) noexcept nogil:
    """As the leader, open a round or go on with it, for about `budget` steps; returns whether it is done."""
    if not job.is_open:
        job.round_kind = round_kind
        job.is_open = True
        job.sharing.leader_waits = False
        open_round(&job.team, n_tasks, is_alone)
    if not go_on_with_round(net, job, job.workers, budget):
        return False
    if not job.sharing.leader_waits:
        job.sharing.leader_waits = True
        if round_kind == TRAIN_SHARES and job.batch.is_shared:
            job.sharing.own_time += time_on_cpu()
    if not wait_for_tasks(&job.team, LONGEST_WAIT):
        return False
    job.is_open = False
    return True


cdef void judge_sharing(Job* job) noexcept nogil:
    """Judge by a round of shares whether sharing saves time: alone, the leader would have trained all shares as fast as
    its own. If helpers have cost time, as there is no processor for them, the leader goes on alone for a while.
    """
    cdef Py_ssize_t i
    cdef Py_ssize_t n_steps = 0
    cdef Py_ssize_t own_steps = job.workers.n_steps_in_round
    cdef double end = now()
    cdef double cost     # of sharing, in this round
    for i in range(job.batch.n_in_round):
        n_steps += sums_of(job, i).n_steps
    # Such a round is no evidence: no helper has done a task, or the clock is too coarse to measure the leader's time.
    if own_steps == 0 or own_steps == n_steps or job.sharing.own_time <= 0:
        return
    cost = (end - job.sharing.began) - job.sharing.own_time * n_steps / own_steps
    job.sharing.cost = 0.9 * job.sharing.cost + cost
    if job.sharing.cost > 0:
        job.sharing.cost = 0
        job.sharing.alone_time = min(MOST_ALONE, max(LEAST_ALONE, 2 * job.sharing.alone_time))
        job.sharing.alone_until = end + job.sharing.alone_time
    elif cost < 0:
        job.sharing.alone_time /= 2


cdef bint lead_shares(Net* net, Job* job, Py_ssize_t* budget) noexcept nogil:
    """Open a round of shares or go on with it, for about `budget` steps; returns whether it is done."""
    if not job.is_open:
        job.batch.n_in_round = min(job.batch.n_sums, job.batch.n_shares - job.batch.first_share)
        job.batch.is_shared = job.batch.is_worth_sharing
        if job.batch.is_shared:
            job.sharing.began = now()
            job.batch.is_shared = job.sharing.began >= job.sharing.alone_until
        if job.batch.is_shared:
            job.sharing.own_time = -time_on_cpu()
            job.workers.n_steps_in_round = 0
    if not lead_round(net, job, TRAIN_SHARES, job.batch.n_in_round, not job.batch.is_shared, budget):
        return False
    if job.batch.is_shared and job.batch.worth_sharing:
        judge_sharing(job)
    return True


cdef void help(Net* net, Job* job, Worker* me) noexcept nogil:
    """What a helper does until the leader ends the team: claim tasks of round after round, and do them."""
    cdef Py_ssize_t budget
    while wait_for_round(&job.team, me.waiter):
        budget = PY_SSIZE_T_MAX
        go_on_with_round(net, job, me, &budget)


cdef void give_up(Net* net, Job* job) noexcept nogil:
    """As the leader, end the present round without its remaining tasks; returns when no helper is at work."""
    cdef Py_ssize_t i
    cdef Worker* me = job.workers
    if not job.is_open:
        return
    atomic_store64(&job.last_wanted, -1)
    if me.is_busy:
        me.is_busy = False
        if job.round_kind == TRAIN_SEQUENCES:
            end_shared_sequence(net, job, me, OK, False)
        elif job.round_kind == TRAIN_SHARES:
            end_share(me)
        end_task(&job.team, me.waiter)
    while True:
        i = claim_task(&job.team, me.waiter)
        if i < 0:
            break
        if job.round_kind == TRAIN_SHARES:
            sums_of(job, i).n_steps = 0
        end_task(&job.team, me.waiter)
    while not wait_for_tasks(&job.team, LONGEST_WAIT):
        pass
    job.is_open = False
    for i in range(job.batch.n_in_round if job.round_kind == TRAIN_SHARES else 0):
        job.portion.outcome.n_steps += sums_of(job, i).n_steps


cdef void take_in_batch(const Net* net, const Job* job) noexcept nogil:
    """Take all inputs and targets of a batch into their statistics, which then stay as they are until its end."""
    cdef Py_ssize_t i, k, t
    cdef Py_ssize_t klass = -1
    cdef double weight = 1
    cdef const real* target
    cdef const Request* request = &job.portion.request
    for k in range(job.batch.n_sequences):
        i = request.order[job.portion.outcome.position + k]
        for t in range(request.offsets[i + 1] - request.offsets[i]):
            target = find_target(net, &job.chunk, request, i, t, &klass, &weight)
            take_in_inputs(net, &job.chunk, request.offsets[i] + t)
            if weight != 0:
                take_in_targets(net, target, klass)


cdef void begin_batch(const Net* net, Job* job) noexcept nogil:
    """Find the sequences and shares of the next batch, and whether it is worth sharing."""
    cdef Py_ssize_t i, k
    cdef int64_t n_steps = 0
    cdef const Request* request = &job.portion.request
    cdef const Outcome* outcome = &job.portion.outcome
    job.batch.n_sequences = min(job.batch.size, request.n_order - outcome.position)
    job.batch.bounds_index += job.batch.n_shares
    job.batch.n_shares = 0
    while job.batch.bounds[job.batch.bounds_index + job.batch.n_shares] < outcome.position + job.batch.n_sequences:
        job.batch.n_shares += 1
    job.batch.first_share = 0
    job.last_wanted = MOST_TASKS
    if job.team.n_threads > 1 and job.batch.n_shares > 1:
        for k in range(job.batch.n_sequences):
            i = request.order[outcome.position + k]
            n_steps += request.offsets[i + 1] - request.offsets[i]
    job.batch.is_worth_sharing = n_steps * job.batch.step_work > job.batch.worth_sharing
    if job.batch.n_shares > 1:
        job.batch.total.e_squares = 0
    if net.standards.inputs != NULL or net.standards.targets != NULL:
        take_in_batch(net, job)


cdef bint collect_shares(const Net* net, Job* job) noexcept nogil:
    """Add the outcome of a round's shares to the portion's; returns whether all shares went well."""
    cdef Py_ssize_t i, k
    cdef Outcome* outcome = &job.portion.outcome
    cdef Sums* sums
    for i in range(job.batch.n_in_round):
        sums = sums_of(job, i)
        outcome.n_steps += sums.n_steps
        if job.batch.n_shares > 1:
            job.batch.total.e_squares += sums.e_squares
        if sums.report.status != OK:
            outcome.status = sums.report.status
            outcome.step = sums.report.step
            outcome.sequence = sums.sequence
            return False
        for k in range(sums.n_symbols if job.batch.n_shares > 1 else 0):
            list_symbol(&job.batch.total, sums.symbols[k])
    job.n_rows = net.shape.n_sources + net.shape.n_out_sources
    job.n_rows -= (1 + net.shape.input_to_output) * (net.shape.n_inputs - n_input_rows(net, job))
    return True


cdef Py_ssize_t last_signal(const Job* job) noexcept nogil:
    """The number, in the batch, of its last sequence with an error signal; -1 without any."""
    cdef Py_ssize_t last = job.batch.n_sequences - 1
    while last >= 0 and job.batch.tallies[last].n_signals == 0:
        last -= 1
    return last


cdef bint lead_rows(Net* net, Job* job, int round_kind) noexcept nogil:
    """As the leader, a whole round that goes through the rows of weights; returns whether all weights are finite."""
    cdef Py_ssize_t i
    cdef Py_ssize_t budget = PY_SSIZE_T_MAX
    cdef Py_ssize_t n_reals = job.n_rows * net.shape.n_lanes
    cdef Py_ssize_t n_tasks = min(MOST_PARTS, n_reals // WORTH_A_ROUND if job.batch.worth_sharing else n_reals)
    cdef bint is_alone = n_tasks < 2 or not job.batch.is_shared
    cdef bint is_finite = True
    if is_alone:
        job.round_kind = round_kind
        job.team.n_tasks = 1
        job.workers.task = 0
        sum_up_rows(net, job, job.workers)
    else:
        while not lead_round(net, job, round_kind, min(n_tasks, job.n_rows), False, &budget):
            pass
    for i in range(job.team.n_threads):
        is_finite = is_finite and not job.workers[i].has_failed
        job.workers[i].has_failed = False
    return is_finite


cdef bint sum_up(Net* net, Job* job) noexcept nogil:
    """Add the changes of a round's shares to the batch's total, and after the last ones change the weights by it.

    Returns whether all new weights are finite.
    """
    cdef Py_ssize_t i, last
    cdef const Request* request = &job.portion.request
    cdef Outcome* outcome = &job.portion.outcome
    cdef bint is_last = job.batch.first_share + job.batch.n_in_round == job.batch.n_shares
    last = last_signal(job) if is_last else 0
    if is_last:
        begin_update(net, rate_at(request, outcome.position), &job.batch.update)
    if last >= 0 and not lead_rows(net, job, SUM_ROWS):
        outcome.status = CHANGE_NOT_FINITE
        outcome.sequence = request.order[outcome.position + last]
        outcome.step = job.batch.tallies[last].last_step
        return False
    for i in range(job.batch.n_in_round if job.batch.n_shares > 1 else 0):
        unlist_symbols(job.batch.sums + i)
    if is_last:
        if last >= 0:
            if net.rule.kind != PLAIN:
                net.rule.n_updates[0] += 1
            if net.rule.bound > 0:
                limit_update(net, &job.batch.update, sum_of_row_squares(net, job), job.batch.total.e_squares)
            lead_rows(net, job, TAKE_ROWS)
        unlist_symbols(&job.batch.total)
    return True


cdef void train_batches(Net* net, Job* job, Py_ssize_t budget) noexcept nogil:
    """As the leader, go on with training in batches for about `budget` steps."""
    cdef Py_ssize_t i
    cdef Portion* portion = &job.portion
    cdef const Request* request = &portion.request
    cdef Outcome* outcome = &portion.outcome
    while outcome.position < request.n_order and not outcome.stopped:
        if job.batch.n_sequences == 0:
            begin_batch(net, job)
        while job.batch.first_share < job.batch.n_shares:
            if not lead_shares(net, job, &budget):
                return
            if not collect_shares(net, job) or not sum_up(net, job):
                return
            job.batch.first_share += job.batch.n_in_round
        for i in range(job.batch.n_sequences):
            end_sequence(net, portion, job.batch.tallies + i)
        job.batch.n_sequences = 0


cdef void end_shared_sequence(
    const Net* net, Job* job, const Worker* me, int status, bint is_whole
) noexcept nogil:
    """Add a worker's sequence to the outcome of Hogwild training; one worker at a time, by a lock."""
    cdef Portion* portion = &job.portion
    cdef const Request* request = &portion.request
    cdef Outcome* outcome = &portion.outcome
    spin_lock(&job.outcome_lock)
    outcome.n_steps += me.step
    if is_whole:
        end_sequence(net, portion, &me.tally)
    elif status != OK and outcome.status == OK:
        outcome.status = status
        outcome.sequence = request.order[me.position]
        outcome.step = me.step
        atomic_store64(&job.last_wanted, -1)
    if outcome.stopped:
        atomic_store64(&job.next_position, request.n_order)
    spin_unlock(&job.outcome_lock)


cdef bint go_on_with_sequences(Net* net, Job* job, Worker* me, Py_ssize_t* budget) noexcept nogil:
    """Hogwild: claim sequences and train them, for about `budget` steps; returns whether none is left to claim.

    The weights change at every error signal without a lock, while the other workers read and change them too.
    """
    cdef Py_ssize_t i, length
    cdef Py_ssize_t klass = -1
    cdef double weight = 1
    cdef int status = OK
    cdef const real* target
    cdef const Request* request = &job.portion.request
    while True:
        if me.position < 0:
            me.position = atomic_add64(&job.next_position, 1) - 1
            if me.position >= request.n_order:
                return True
            me.step = 0
            memset(&me.tally, 0, sizeof(Tally))
            reset(net, me.st)
        i = request.order[me.position]
        length = request.offsets[i + 1] - request.offsets[i]
        while me.step < length and atomic_load64(&job.last_wanted) >= 0:
            if budget[0] <= 0:
                return False
            budget[0] -= 1
            target = find_target(net, &job.chunk, request, i, me.step, &klass, &weight)
            status = learn_step(
                net, me.st, &job.chunk, request.offsets[i] + me.step, target, klass, weight,
                rate_at(request, me.position), NULL, NULL, &me.tally,
            )
            if status != OK:
                break
            me.step += 1
        end_shared_sequence(net, job, me, status, me.step == length)
        if atomic_load64(&job.last_wanted) < 0:
            return True
        me.position = -1


cdef void train_hogwild(Net* net, Job* job, Py_ssize_t budget) noexcept nogil:
    """As the leader, go on with Hogwild training for about `budget` steps: all workers change the weights at once."""
    if not job.is_open:
        job.next_position = 0
        job.last_wanted = MOST_TASKS
    lead_round(net, job, TRAIN_SEQUENCES, job.team.n_threads, job.team.n_threads == 1, &budget)
