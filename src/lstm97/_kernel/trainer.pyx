"""Trains one network on packed sequences: alone, or as the leader of a team of threads.

The words of sharing (job, portion, team, worker, round, task, share ...) are those of `team.h`.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport pow
from libc.stdint cimport int64_t
from libc.string cimport memset

from numpy import empty, zeros

from lstm97._kernel.abi cimport (
    OK, Abreast, Chunk, Job, Member, Outcome, Portion, Request, StopRule, Streams, Sums, Tally, Team, Waiter, Worker,
)
from lstm97._kernel.arrays cimport address, checked_address, point_at
from lstm97._kernel.engine cimport Engine
from lstm97._kernel.stop_window cimport give_back, take_rule

from lstm97.options import Decay

cdef extern from "_kernel/team.h" nogil:
    void atomic_store64(int64_t*, int64_t)
    void end_team(Team*)
    int this_cpu()
    void move_to_cpu(int n, int from_)

cdef extern from "Python.h":
    enum:
        WAIT_LOCK
    void* PyThread_allocate_lock()
    int PyThread_acquire_lock(void*, int)
    void PyThread_release_lock(void*)
    void PyThread_free_lock(void*)


cdef int bind_sums(Sums* sums, Py_ssize_t n, object memory) except -1:
    """Point n sums at their arrays."""
    cdef void** fields[4]
    fields[:] = [<void**> &sums.dw, <void**> &sums.dw_out, <void**> &sums.symbols, <void**> &sums.is_listed]
    point_at(
        fields, sizeof(fields) // sizeof(void**), ("dw", "dw_out", "seen", "is_seen"), sizeof(Sums), n, memory
    )
    return 0


cdef object bind_members(Engine engine, Worker* worker, object memory, object shared):
    """Point a worker and its members at their arrays for batches; returns the memory of the structs of its members."""
    cdef object members
    cdef object places = memory.places
    cdef void** fields[3]
    cdef void** fields_of_worker[2]
    worker.n_together = places.n
    worker.n_block = places.arrays["symbols"][0][0]
    members = zeros(worker.n_together * sizeof(Member), "uint8")
    worker.members = <Member*> address(members)
    engine.bind_states(&worker.members.st, sizeof(Member), worker.n_together, memory)
    fields[:] = [<void**> &worker.members.signals, <void**> &worker.members.e_s, <void**> &worker.members.e]
    point_at(
        fields, sizeof(fields) // sizeof(void**), ("signals", "signals_e_s", "signals_e"), sizeof(Member),
        worker.n_together, memory,
    )
    worker.stride = places.stride // engine.kernel.real_bytes
    fields_of_worker[:] = [<void**> &worker.e_s, <void**> &worker.delta]
    point_at(
        fields_of_worker, sizeof(fields_of_worker) // sizeof(void**), ("carried_e_s", "delta"), sizeof(Worker), 1,
        shared,
    )
    return members


cdef tuple ABREAST_ARRAYS = (
    "act", "new_act", "y_c", "new_y_c", "s_c", "new_s_c", "h", "y", "target", "e_k", "present", "weight", "ds_dw", "at",
    "has_partials", "z", "coef", "decay", "e", "e_s", "carried", "signals",
)


cdef int bind_abreast(Abreast* a, object memory) except -1:
    """Point what sequences need that step abreast at its arrays."""
    cdef Streams* st = &a.st
    cdef void** fields[22]
    cdef dict arrays = memory.places.arrays
    fields[:] = [
        <void**> &st.act, <void**> &st.new_act, <void**> &st.y_c, <void**> &st.new_y_c, <void**> &st.s_c,
        <void**> &st.new_s_c, <void**> &st.h, <void**> &st.y, <void**> &st.target, <void**> &st.e_k,
        <void**> &st.present, <void**> &st.weight, <void**> &st.ds_dw, <void**> &st.at, <void**> &st.has_partials,
        <void**> &a.z, <void**> &a.coef, <void**> &a.decay, <void**> &a.e, <void**> &a.e_s,
        <void**> &a.carried, <void**> &a.signals,
    ]
    point_at(fields, sizeof(fields) // sizeof(void**), ABREAST_ARRAYS, sizeof(Abreast), 1, memory)
    st.n_groups = 1
    _, st.n_partials, st.width = arrays["coef"][0]
    return 0


@cython.final
cdef class Trainer:
    """Does one job, that is one call of `lstm97.train`, portion after portion, with or without a team.

    Without `begin_batches` or `begin_hogwild`, weights change at each error signal and there is no team.

    Parameters
    ----------
    engine : Engine
        Of the network, with a state of its own that training uses.
    """

    cdef Engine engine
    cdef Job* job       # in memory of its own: helpers may use it when the interpreter ends
    cdef object kept    # the arrays and engines whose memory the job uses, which must stay alive
    cdef object rates   # the memory of the request's learning rates, or None

    def __cinit__(self, Engine engine):
        self.engine = engine
        self.kept = ()
        self.job = <Job*> PyMem_Calloc(1, sizeof(Job))
        if self.job == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef Py_ssize_t i
        cdef Team* team
        if self.job == NULL:
            return
        team = &self.job.team
        for i in range(team.n_threads):
            PyThread_release_lock(team.waiters[i].wake_lock)
            PyThread_free_lock(team.waiters[i].wake_lock)
        PyMem_Free(team.waiters)
        PyMem_Free(self.job)

    # ---- teams ----

    cdef int form_team(self, Py_ssize_t n_threads) except -1:
        """Make the workers of a team, without what they work with."""
        cdef Py_ssize_t i
        cdef Job* job = self.job
        cdef Team* team = &job.team
        workers = zeros(n_threads * sizeof(Worker), "uint8")
        self.kept += (workers,)
        job.workers = <Worker*> address(workers)
        job.leader_cpu = this_cpu()
        team.waiters = <Waiter*> PyMem_Calloc(n_threads, sizeof(Waiter))
        if team.waiters == NULL:
            raise MemoryError
        for i in range(n_threads):
            job.workers[i].waiter = team.waiters + i
            team.waiters[i].wake_lock = PyThread_allocate_lock()
            if team.waiters[i].wake_lock == NULL:
                raise MemoryError
            PyThread_acquire_lock(team.waiters[i].wake_lock, WAIT_LOCK)
            team.n_threads = i + 1
        return 0

    def begin_batches(self, *, dict batch, total, sums, list workers, double worth_abreast, Py_ssize_t worth_sharing):
        """From now on `train` changes the weights once per batch: arrays and memory of the layout.

        `workers` has for each thread the memory of its members, that which they share, and that of sequences which
        step abreast, as they do where they use a share of at least `worth_abreast` of the lanes. The leader alone
        trains a batch of less work than `worth_sharing`, in weights times steps.
        """
        cdef Job* job = self.job
        self.form_team(len(workers))
        job.batch.worth_abreast = worth_abreast
        job.batch.worth_sharing = worth_sharing
        job.batch.size = len(batch["tallies"])
        job.batch.tallies = <Tally*> checked_address(batch["tallies"], job.batch.size * sizeof(Tally))
        job.batch.row_squares = <double*> address(batch["row_squares"])
        bind_sums(&job.batch.total, 1, total)
        job.batch.n_sums = sums.places.n
        all_sums = zeros(job.batch.n_sums * sizeof(Sums), "uint8")
        job.batch.sums = <Sums*> address(all_sums)
        bind_sums(job.batch.sums, job.batch.n_sums, sums)
        members = []  # no comprehension: if its list fails to grow, Cython 3.3 drops a reference to the item twice
        for i, (memory, shared, abreast) in enumerate(workers):
            members.append(bind_members(self.engine, &job.workers[i], memory, shared))
            bind_abreast(&job.workers[i].abreast, abreast)
        self.kept += (batch, total, sums, workers, all_sums, members)

    def begin_hogwild(self, list engines):
        """From now on `train` lets the states of these engines, this trainer's engine first, learn at the same time."""
        cdef Engine engine
        self.form_team(len(engines))
        for i, engine in enumerate(engines):
            self.job.workers[i].st = &engine.st
        self.kept += tuple(engines)

    def move_helper(self, int number):
        """Move the calling thread, the helper of this number, to another CPU than the leader and the other helpers."""
        move_to_cpu(number, self.job.leader_cpu)

    def help(self, Py_ssize_t number):
        """Be the helper of this number, 1 or more, until the team ends."""
        cdef Engine engine = self.engine
        cdef Job* job = self.job
        with nogil:
            engine.kernel.help(&engine.net, job, job.workers + number)

    def end_team(self):
        """Let the helpers end: there will be no further work for them."""
        end_team(&self.job.team)

    # ---- training ----

    cdef object put_rates(self, object learning_rate, Py_ssize_t n_together, object history):
        """Set the request's learning rate, or by a Decay that of each sequence: the same for `n_together` in a row.

        Returns the memory of the latter, to be kept while the request is under way.
        """
        cdef Request* request = &self.job.portion.request
        cdef int64_t before = history._sequences
        cdef int64_t n_falling
        cdef double start, end, rate = 0
        cdef double* rates
        cdef Py_ssize_t i
        if not isinstance(learning_rate, Decay):
            request.learning_rate = self.engine.rate(learning_rate)
            return None
        start, end, n_falling = learning_rate.start, learning_rate.end, learning_rate.sequences
        self.engine.rate(start)
        self.engine.rate(end)
        kept = empty(request.n_order)
        rates = <double*> checked_address(kept, request.n_order * sizeof(double))
        for i in range(request.n_order):
            if i % n_together == 0:
                rate = end
                if before + i < n_falling:  # as `Decay.at` computes it, to the bit
                    rate = max(end, start * pow(end / start, <double> (before + i) / <double> n_falling))
                if self.engine.kernel.real_bytes == sizeof(float):
                    rate = <float> rate
            rates[i] = rate
        request.learning_rates = rates
        return kept

    def train(
        self, inputs, offsets, targets, bint target_per_sequence, weights, order, schedule, learning_rate, history
    ):
        """Do a portion of the job: train on packed sequences in the given order.

        The History is up to date however this ends. The learning rate is a number, or a Decay.

        The weights change at every error signal if `schedule` is None, else once per batch. A schedule is a pair of
        arrays: positions in the order, batch after batch and share after share, the longest sequence of a share first;
        and where in them the shares begin, then where the last share ends.
        """
        cdef Engine engine = self.engine
        cdef Job* job = self.job
        cdef Chunk* chunk = &job.chunk
        cdef Portion* portion = &job.portion
        cdef Request* request = &portion.request
        cdef Outcome* outcome = &portion.outcome
        cdef StopRule* rule = &job.rule
        cdef Py_ssize_t n_sequences = len(offsets) - 1
        cdef Py_ssize_t n_targets = len(targets)
        memset(portion, 0, sizeof(Portion))
        engine.bind_chunk(chunk, inputs, targets, n_sequences if target_per_sequence else len(inputs))
        chunk.target_per_sequence = target_per_sequence
        if weights is not None:
            chunk.weights = <const double*> checked_address(weights, n_targets * sizeof(double))
        request.offsets = <const int64_t*> checked_address(offsets, (n_sequences + 1) * sizeof(int64_t))
        request.n_order = len(order)
        request.order = <const int64_t*> checked_address(order, request.n_order * sizeof(int64_t))
        self.rates = self.put_rates(learning_rate, 1 if schedule is None else job.batch.size, history)
        job.batch.n_sequences = job.batch.n_shares = job.batch.bounds_index = 0
        job.batch.step_work = engine.step_work(chunk)
        if schedule is not None:
            job.batch.schedule = <const int64_t*> checked_address(schedule[0], request.n_order * sizeof(int64_t))
            job.batch.bounds = <const int64_t*> address(schedule[1])
        errors = history._room(request.n_order)
        request.errors = <double*> checked_address(errors, request.n_order * sizeof(double))
        take_rule(rule, history)
        if rule.window:
            request.rule = rule
        cdef Py_ssize_t slice_steps = engine.slice_of(chunk)
        cdef bint is_ending = False     # with the sequence or batch under way
        cdef bint is_hogwild = schedule is None and job.team.n_threads != 0
        engine.enter(True)
        try:
            while job.is_open or (
                outcome.position < request.n_order and not outcome.stopped and not (is_ending and is_hogwild)
            ):
                with nogil:
                    if schedule is not None:
                        engine.kernel.train_batches(&engine.net, job, slice_steps)
                    elif is_hogwild:
                        engine.kernel.train_hogwild(&engine.net, job, slice_steps)
                    else:
                        engine.kernel.train(&engine.net, &engine.st, chunk, portion, slice_steps)
                if not job.is_open and outcome.status != OK:
                    raise engine.not_finite(
                        outcome.status, f"step {outcome.step} of sequence {outcome.sequence}",
                        engine.after_overflow(chunk, request.offsets[n_sequences], n_targets, False)
                    )
                PyErr_CheckSignals()
                if history._is_given_up:
                    raise KeyboardInterrupt
                if history._is_asked_to_end and not is_ending:
                    is_ending = True
                    if is_hogwild:
                        atomic_store64(&job.next_position, request.n_order)
                    else:
                        request.n_order = outcome.position + (
                            job.batch.n_sequences if schedule is not None else outcome.step > 0
                        )
        finally:
            with nogil:
                engine.kernel.give_up(&engine.net, job)
            engine.leave(True)  # before anything that may find no memory
            give_back(rule, outcome.position, outcome.n_steps, outcome.stopped, history)
