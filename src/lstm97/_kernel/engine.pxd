# What `trainer` needs to know of an Engine.

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

from lstm97._kernel.abi cimport Binding, Chunk, Kernel, Net, Report, State, real


@cython.final
cdef class Engine:
    cdef const Kernel* kernel
    cdef Net net
    cdef State st
    cdef int64_t* lock              # the network's
    cdef int64_t lock_before        # the value of `lock` before this engine's call that learns
    cdef int64_t busy               # CHANGING: a call on this state is under way; BOUND: compiled code has bound it
    cdef Binding binding            # for compiled code
    cdef bint is_own
    cdef double default_rate        # of calls that are given no learning rate
    cdef char format                # of the network's reals, as in the format of a Py_buffer
    cdef Py_ssize_t work[2]         # weights that a step reads, with padding: of inputs as values, as symbols
    cdef readonly object layout
    cdef object dtype               # the layout's
    cdef object advice              # the network's
    cdef bint watches_targets       # whether targets are to be compared with the outputs' reach
    cdef double lowest_target, highest_target   # the outputs' reach
    cdef list saturated             # the number of saturated cells at each check; None: there is no further check
    cdef Py_ssize_t steps_to_check  # learning steps until the next check of saturation
    cdef object kept                # the objects whose memory the network's engines use, which must stay alive
    cdef object memory              # the state's
    cdef State preview              # the state in which `peek` steps, once it has memory
    cdef object preview_memory

    # exclusive use
    cdef int64_t claim_weights(self, int64_t purpose) noexcept
    cdef int64_t claim(self, int64_t state, int64_t weights) except -1
    cdef int enter(self, bint learns) except -1
    cdef void leave(self, bint learns) noexcept
    # learning rate, work, data
    cdef double rate(self, object learning_rate) except -1
    cdef double weight(self, object weight) except -1
    cdef Py_ssize_t step_work(self, const Chunk* chunk) noexcept
    cdef Py_ssize_t slice_of(self, const Chunk* chunk) noexcept
    cdef double real_at(self, const real* a, Py_ssize_t i) noexcept
    cdef real* at(self, const real* a, Py_ssize_t i) noexcept
    cdef double largest(self, const real* a, Py_ssize_t n) noexcept
    cdef int check_reach(self, const real* targets, Py_ssize_t n, object rows) except -1
    cdef int check_saturation(self, const Chunk* chunk, Py_ssize_t n_steps) except -1
    cpdef Py_ssize_t n_saturated(self) noexcept
    cdef object not_finite(self, int status, str where, str advice)
    cdef str after_overflow(self, const Chunk* chunk, Py_ssize_t n_steps, Py_ssize_t n_targets, bint of_a_stream)
    # arguments
    cdef int bind_learning(self, object layout, dict network) except -1
    cdef int bind_states(self, State* st, Py_ssize_t stride, Py_ssize_t n, object memory) except -1
    cdef bint get_reals(self, object x, Py_buffer* view, Py_ssize_t n, int flags) except -1
    cdef int make_buffer(self, Py_buffer* view, Py_ssize_t n) except -1
    cdef bint get_other_floats(self, object x, Py_buffer* view, Py_ssize_t n) except -1
    cdef bint get_numbers(self, object x, Py_buffer* view, Py_ssize_t n) except -1
    cdef bint get_row(self, object x, Py_buffer* view, Py_ssize_t n) except -1
    cdef int get_input(self, object x, Py_buffer* view, Chunk* chunk, int32_t* symbol) except -1
    cdef int get_target(self, object target, Py_buffer* view, Chunk* chunk, int32_t* klass) except -1
    cdef object get_output(self, object out)
    cpdef bint fits(self, object x, tuple shape) except -1
    cdef int bind_chunk(self, Chunk* chunk, object inputs, object targets, Py_ssize_t n_targets) except -1
    cdef real* outputs(self, object out, Py_ssize_t n_steps) except? NULL
    # steps and states
    cdef Py_ssize_t bytes_of_z(self) noexcept
    cdef Py_ssize_t slot_of(self, const State* st) noexcept
    cdef void do_steps(
        self, State* st, const Chunk* chunk, Py_ssize_t begin, Py_ssize_t end, const uint8_t* resets, bint learns,
        double rate, real* y, real** records, Report* report
    ) noexcept nogil
    cdef int advance(
        self, State* st, const Chunk* chunk, Py_ssize_t n_steps, const uint8_t* resets, bint learns, double rate,
        real* y, real** records, str where
    ) except -1
    cdef int go_on(
        self, const Chunk* chunk, Py_ssize_t n_steps, object resets, bint learns, double rate, real* y,
        real** records, str where
    ) except -1
    cdef int check_may_reset(self) except -1
    cdef object infer(self, object x, object out, bint ahead)
    cdef State* get_preview(self) except NULL
    cdef void copy_activations(self, State* st, const State* other) noexcept
    cdef void copy_state(self, const State* other) noexcept
