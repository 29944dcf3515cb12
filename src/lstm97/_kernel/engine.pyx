"""Binds the arrays of a network and one of its states to a build of the loops, and makes the calls.

Arguments that are already what the loops want (contiguous, native, the network's dtype) are used in place; anything
else goes through `sequences`, which converts it or says what is wrong with it.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDED, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from numpy import asarray, empty, ndarray, zeros

from lstm97._kernel.abi cimport (
    AWAITING, CELL_STATE_NOT_FINITE, CHANGE_NOT_FINITE, MAX_RECORDS, MINUS, NOT_LEARNING, OK, OUTPUT_NOT_FINITE, PLUS,
    Bed, Binding, Chunk, Crew, Kernel, Member, Net, Plan, Report, State, StopRule, Sums, Tally, Training, Worker, real,
    word,
)
from lstm97._kernel.stop_window cimport address, give_back, take_rule

from lstm97 import sequences
from lstm97._checks import positive

cdef extern from "_kernel/cpu.h":
    int x86_64_level()

cdef extern from "_kernel/claims.h":
    int64_t look(const int64_t* claim)
    bint take(int64_t* claim, int64_t from_, int64_t to)  # whether it was `from_`
    void give(int64_t* claim, int64_t to)

cdef extern from "_kernel/crew.h" nogil:
    void end_rounds(Crew*)
    int this_cpu()
    void spread_out(int n, int from_)
    void put "set"(int64_t*, int64_t)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()
    enum:
        WAIT_LOCK
    void* PyThread_allocate_lock()
    int PyThread_acquire_lock(void*, int)
    void PyThread_release_lock(void*)
    void PyThread_free_lock(void*)

# What a network's lock says of its weights. Where it says TRAINING, its second number is the thread that trains, whose
# own calls (from a callback, say) go through. Of a state an engine says FREE, CHANGING or BOUND.
cdef enum:
    FREE = 0
    CHANGING = 1    # a call that learns is under way; of a state: any call
    TRAINING = 2    # between the calls of one `train`
    READING = 3     # being read by somebody who wants them whole
    BOUND = 4       # learning in compiled code that has bound a state; with every further one the number is one more

# Work is counted in weights times steps, a nanosecond or two each. A call over many steps looks for signals after
# every slice of work; a single step hands the GIL over only if its work is worth more than the handing over.
cdef enum:
    SLICE = 100_000_000
    WORTH_RELEASING = 20_000

# Learning steps from one look at a new network's cells to the next, and how many looks find most of them saturated
# before that is told.
cdef enum:
    STEPS_TO_A_LOOK = 25
    LOOKS_AT_CELLS = 4

cdef type ARRAY = ndarray     # found without a look into the module's names
cdef str THIS_STEP = "this step"
cdef str NTH_STEP = "step {}"

cdef dict _NOT_FINITE = {
    CELL_STATE_NOT_FINITE: "cell state overflowed",
    OUTPUT_NOT_FINITE: "output is not finite",
    CHANGE_NOT_FINITE: "weight change is not finite",
}


cdef str STATE_IN_USE = "this state is in use by another thread; give each thread its own: new_state()"
cdef str NETWORK_IN_USE = "this network is being trained by another thread"
cdef str NETWORK_BEING_READ = "this network is being saved or copied by another thread"
cdef str STATE_BOUND = "this state is bound by compiled code (lstm97.cython_api)"
cdef str NETWORK_BOUND = "this network is bound by compiled code that learns (lstm97.cython_api)"
cdef str STREAM = "reset the state"


cdef object not_finite(int status, str where, str advice):
    """The exception for a Status other than OK."""
    return FloatingPointError(f"{_NOT_FINITE[status]} at {where}; {advice}")


cdef inline int64_t this_thread() noexcept:
    """A number of the running thread, not 0."""
    return <int64_t> PyThread_get_thread_ident()


cdef inline void release(Py_buffer* view) noexcept:
    """Give a buffer back, if one was taken."""
    if view.buf != NULL:
        PyBuffer_Release(view)
        view.buf = NULL


cdef void* room(object array, Py_ssize_t n_bytes) except? NULL:
    """Where the data of a C-contiguous array of so many bytes is; the loops would go on beyond a shorter one's end."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    PyBuffer_Release(&view)
    if view.len < n_bytes:
        raise SystemError(f"an array has {view.len} bytes where the loops need {n_bytes}")
    return view.buf


cdef int place(void** pointer, Py_ssize_t apart, Py_ssize_t n, object array) except -1:
    """Point n pointers, `apart` bytes from each other, at the rows of an array along its first axis."""
    cdef Py_buffer view
    cdef Py_ssize_t i
    PyObject_GetBuffer(array, &view, PyBUF_STRIDED)
    for i in range(n):
        (<void**> (<char*> pointer + i * apart))[0] = <char*> view.buf + i * view.strides[0]
    PyBuffer_Release(&view)
    return 0


cdef int bind_states(const Net* net, State* st, Py_ssize_t apart, Py_ssize_t n, dict arrays) except -1:
    """Point n states, `apart` bytes from each other, at their arrays; nothing has been seen yet."""
    cdef Py_ssize_t i, k
    cdef Py_ssize_t n_z = arrays["z_block"].shape[2]
    cdef Py_ssize_t unread = 0
    cdef State* each
    if n_z < net.shape.n_sources:  # no room for the inputs: they are symbols, and nobody looks at them in z
        unread = net.shape.n_inputs * arrays["z_block"].itemsize
    for i in range(n):
        memset(<char*> st + i * apart, 0, sizeof(State))
    place(<void**> &st.act, apart, n, arrays["act"])
    place(<void**> &st.y_c, apart, n, arrays["y_c"])
    place(<void**> &st.s_c, apart, n, arrays["s_c"])
    place(<void**> &st.ds_dw, apart, n, arrays["ds_dw"])
    place(<void**> &st.z_block, apart, n, arrays["z_block"])
    place(<void**> &st.coef_block, apart, n, arrays["coef_block"])
    place(<void**> &st.decay_block, apart, n, arrays["decay_block"])
    place(<void**> &st.symbols, apart, n, arrays["symbols"])
    place(<void**> &st.h, apart, n, arrays["h"])
    place(<void**> &st.y, apart, n, arrays["y"])
    place(<void**> &st.s_before, apart, n, arrays["s_before"])
    place(<void**> &st.gates, apart, n, arrays["gates"])
    place(<void**> &st.decay, apart, n, arrays["decay"])
    place(<void**> &st.target, apart, n, arrays["target"])
    place(<void**> &st.e_k, apart, n, arrays["e_k"])
    place(<void**> &st.eps, apart, n, arrays["eps"])
    place(<void**> &st.e, apart, n, arrays["e"])
    place(<void**> &st.e_s, apart, n, arrays["e_s"])
    place(<void**> &st.sums, apart, n, arrays["sums"])
    place(<void**> &st.rows, apart, n, arrays["rows"])
    place(<void**> &st.is_listed, apart, n, arrays["is_listed"])
    for i in range(n):
        each = <State*> (<char*> st + i * apart)
        each.symbol = -1
        each.n_z = n_z
        each.z_block = <real*> (<char*> each.z_block - unread)
        each.n_rows = net.shape.n_sources - net.shape.n_inputs
        for k in range(each.n_rows):
            each.rows[k] = <int32_t> (net.shape.n_inputs + k)
    return 0


cdef int bind_sums(Sums* sums, Py_ssize_t n, dict arrays) except -1:
    """Point n sums at their arrays."""
    place(<void**> &sums.dw, sizeof(Sums), n, arrays["dw"])
    place(<void**> &sums.dw_out, sizeof(Sums), n, arrays["dw_out"])
    place(<void**> &sums.symbols, sizeof(Sums), n, arrays["seen"])
    place(<void**> &sums.is_listed, sizeof(Sums), n, arrays["is_seen"])
    return 0


cdef object bind_members(const Net* net, Worker* worker, dict arrays):
    """Point a worker at its arrays for batches; returns what holds its members, which is to be kept with these."""
    cdef object members
    worker.n_together, worker.n_block = arrays["symbols"].shape
    members = zeros(worker.n_together * sizeof(Member), "uint8")
    worker.members = <Member*> address(members)
    bind_states(net, &worker.members.st, sizeof(Member), worker.n_together, arrays)
    place(<void**> &worker.members.signals, sizeof(Member), worker.n_together, arrays["signals"])
    place(<void**> &worker.members.e_s, sizeof(Member), worker.n_together, arrays["signals_e_s"])
    place(<void**> &worker.members.e, sizeof(Member), worker.n_together, arrays["signals_e"])
    worker.apart = arrays["act"].strides[0] // arrays["act"].itemsize
    worker.e_s = <real*> address(arrays["carried_e_s"])
    worker.delta = <real*> address(arrays["delta"])
    return members


def choose_cpu(int n):
    """Let the calling thread begin on the n-th CPU that it may use; where the system offers that."""
    spread_out(n, 0)


def cpu_level():
    """The highest n for which this CPU and its operating system offer x86-64-vn; 0 if it is of another kind."""
    return x86_64_level()


@cython.final
cdef class Engine:
    """One network's arrays and one state's, bound to the loops.

    Parameters
    ----------
    kernel : capsule
        The build's table of entry points.
    layout : Layout
        Sizes and dtype.
    network, state : dict of str to ndarray
        ``layout.network_arrays()`` and ``layout.state_arrays()``; kept alive here.
    lock : ndarray, shape (2,), int64
        Shared by all engines of a network: zeros while nobody changes the weights or reads them as a whole.
    is_own : bool
        Whether the state is the network's own.
    advice : Advice
        The network's, for warnings about its data.
    """

    cdef const Kernel* kernel
    cdef Net net
    cdef State st
    cdef Training* job             # once it has one
    cdef int64_t* lock             # the network's
    cdef int64_t before            # what it said before this engine's call that learns
    cdef int64_t busy              # CHANGING: a call on this state is under way; BOUND: compiled code has bound it
    cdef Binding binding           # for that
    cdef bint is_own
    cdef char format
    cdef readonly object layout
    cdef object dtype              # the layout's
    cdef object advice             # the network's
    cdef bint watches_targets      # whether they may be out of the outputs' reach, which is
    cdef double lowest_target, highest_target
    cdef int looks                 # how many more looks at the cells until somebody is told, or 0
    cdef Py_ssize_t steps_to_look  # learning steps until the next one
    cdef object kept
    cdef State glance              # what `peek` works on, once there is one
    cdef object glance_arrays

    def __init__(self, kernel, layout, dict network, dict state, lock, bint is_own, advice):
        cdef dict sizes = layout.sizes
        self.kernel = <const Kernel*> PyCapsule_GetPointer(kernel, "lstm97.kernel")
        self.layout = layout
        self.dtype = layout.dtype
        self.kept = (kernel, network, state, lock)
        self.format = ord(self.dtype.char)
        self.lock = <int64_t*> address(lock)
        self.is_own = is_own
        self.advice = advice
        self.watches_targets = advice.watches_targets
        self.lowest_target, self.highest_target = advice.reach
        self.looks = LOOKS_AT_CELLS
        self.steps_to_look = STEPS_TO_A_LOOK
        memset(&self.net, 0, sizeof(Net))
        self.net.shape = sizes  # refused if it lacks any
        if len(sizes) != len(<object> self.net.shape):
            raise ValueError(f"the layout's sizes are {sizes}, the loops' {<object> self.net.shape}")
        self.net.block_of = <const int32_t*> address(network["block_of"])
        self.net.lane_of = <const word*> address(network["lane_of"])
        self.net.cell_of = <const word*> address(network["cell_of"])
        self.net.is_partial = <const real*> address(network["is_partial"])
        self.net.sum_of = <const word*> address(network["sum_of"])
        self.net.is_summed = <const real*> address(network["is_summed"])
        self.net.is_continued = <const real*> address(network["is_continued"])
        self.net.squash = <const real*> address(network["squash"])
        self.net.squash_h = <const real*> address(network["squash_h"])
        self.net.logistic = <const real*> address(network["logistic"])
        self.net.is_g = <const real*> address(network["is_g"])
        self.net.is_cell = <const real*> address(network["is_cell"])
        self.net.is_output = <const real*> address(network["is_output"])
        self.net.has_bias = <const real*> address(network["has_bias"])
        self.net.w = <real*> address(network["w"])
        self.net.w_out = <real*> address(network["w_out"])
        bind_states(&self.net, &self.st, sizeof(State), 1, state)
        self.binding = Binding(kernel=self.kernel, net=&self.net, st=&self.st)

    # ---- exclusive use ----

    cdef int64_t claim_weights(self, int64_t purpose) noexcept:
        """Claim the weights; returns what the lock said before, or if it refuses them, minus what it says."""
        cdef int64_t before
        while True:
            before = look(self.lock)
            if not (
                before == FREE
                # A training's own thread may do anything but bind: that would be given back too early.
                or (before == TRAINING and purpose != BOUND and look(&self.lock[1]) == this_thread())
                or (before >= BOUND and purpose == BOUND)
            ):
                return -before
            if take(self.lock, before, before + 1 if before >= BOUND else purpose):
                return before

    cdef int64_t claim(self, int64_t state, int64_t weights) except -1:
        """Claim the state and the weights, or neither; FREE for one: leave it. Returns what the lock said before."""
        cdef int64_t before
        if state != FREE and not take(&self.busy, FREE, state):
            raise RuntimeError(STATE_BOUND if look(&self.busy) == BOUND else STATE_IN_USE)
        if weights == FREE:
            return FREE
        before = self.claim_weights(weights)
        if before >= 0:
            return before
        if state != FREE:
            give(&self.busy, FREE)
        if before == -READING:
            raise RuntimeError(NETWORK_BEING_READ)
        if before <= -BOUND:
            raise RuntimeError(NETWORK_BOUND)
        if before == -TRAINING and weights == BOUND:
            raise RuntimeError("this network is being trained")
        raise RuntimeError(NETWORK_IN_USE)

    cdef int enter(self, bint learns) except -1:
        """Claim the state, and the weights if they are to change."""
        self.before = self.claim(CHANGING, CHANGING if learns else FREE)
        return 0

    cdef void leave(self, bint learns) noexcept:
        """Give back what `enter` claimed."""
        if learns:
            give(self.lock, self.before)
        give(&self.busy, FREE)

    def hold(self, *, bint weights, bint state):
        """A context in which nobody else changes the weights or uses the state: for reading them in peace."""
        return Hold(self, weights, state, READING)

    def training(self):
        """A context in which only this thread changes the weights."""
        return Hold(self, True, False, TRAINING)

    def bind(self, *, bint learns):
        """Claim the state, and the weights if they are to change, until `unbind`: a capsule with the Binding.

        States of the same network may be bound to learn at the same time.
        """
        binding = PyCapsule_New(&self.binding, "lstm97.binding", NULL)  # before the claims, as it may fail
        self.claim(BOUND, BOUND if learns else FREE)
        return binding

    def unbind(self, *, bint learns):
        """Give back what `bind` claimed."""
        cdef int64_t bound
        while learns:
            bound = look(self.lock)
            if take(self.lock, bound, FREE if bound == BOUND else bound - 1):
                break
        give(&self.busy, FREE)

    def check_rate(self, learning_rate):
        """TypeError or ValueError if this is no learning rate for this network."""
        self.rate(learning_rate)

    cdef double rate(self, object learning_rate) except -1:
        """The learning rate in the network's dtype; what is not positive and finite there is refused."""
        cdef double rate
        if isinstance(learning_rate, float):
            rate = <double> learning_rate
        else:
            rate = positive("learning_rate", learning_rate)
        if self.kernel.real_bytes == sizeof(float):
            rate = <float> rate
        if not 0 < rate < INFINITY:
            positive("learning_rate", learning_rate)
            raise ValueError(f"learning_rate is {learning_rate!r}, which {self.dtype} can't hold")
        return rate

    cdef Py_ssize_t step_work(self, const Chunk* chunk) noexcept:
        """How many weights a step of a chunk reads, with padding; `Layout.step_work` knows the same."""
        cdef Py_ssize_t unread = self.net.shape.n_inputs if chunk.symbols != NULL else 0
        return (
            (self.net.shape.n_sources - unread) * self.net.shape.n_lanes
            + (self.net.shape.n_out_sources - unread * self.net.shape.input_to_output) * self.net.shape.n_out_lanes
        )

    cdef Py_ssize_t slice_of(self, const Chunk* chunk) noexcept:
        """How many steps of a chunk make a slice."""
        return 1 + SLICE // (1 + self.step_work(chunk))

    # ---- looking at data ----

    cdef double real_at(self, const real* a, Py_ssize_t i) noexcept:
        """A number of an array of the network's reals."""
        return (<const float*> a)[i] if self.kernel.real_bytes == sizeof(float) else (<const double*> a)[i]

    cdef real* at(self, const real* a, Py_ssize_t i) noexcept:
        """Where such a number is."""
        return <real*> (<char*> a + i * self.kernel.real_bytes)

    cdef double largest(self, const real* a, Py_ssize_t n) noexcept:
        """The largest magnitude among n numbers; NaN is none."""
        cdef double found = 0
        cdef Py_ssize_t i
        if a != NULL:
            for i in range(n):
                found = max(found, abs(self.real_at(a, i)))
        return found

    cdef int look_at_target(self, const real* target, object row) except -1:
        """Warn, once, of a target that the outputs cannot reach."""
        cdef Py_ssize_t k
        cdef double t
        for k in range(self.net.shape.n_outputs):
            t = self.real_at(target, k)
            if t < self.lowest_target or t > self.highest_target:
                self.advice.look_at_targets(row)
                self.watches_targets = self.advice.watches_targets  # still, if this one was only rounded
                break
        return 0

    cdef int look_at_cells(self, const Chunk* chunk, Py_ssize_t n_steps) except -1:
        """Look, now and then in the first learning steps, whether large data saturate the cells; warn if they do."""
        cdef Py_ssize_t n_saturated
        self.steps_to_look -= n_steps
        if self.steps_to_look > 0:
            return 0
        self.steps_to_look = STEPS_TO_A_LOOK
        n_saturated = self.n_saturated()
        if 2 * n_saturated > self.net.shape.n_cells and chunk.values != NULL:
            self.looks = max(0, self.looks - max(1, n_steps // STEPS_TO_A_LOOK))
        else:
            self.looks = 0
        if self.looks == 0 and n_saturated:
            self.advice.look_at_cells(
                n_saturated,
                self.largest(chunk.values, n_steps * self.net.shape.n_inputs),
                self.largest(chunk.targets, n_steps * self.net.shape.n_outputs),
            )
        return 0

    cpdef Py_ssize_t n_saturated(self) noexcept:
        """How many cells' g(net_c) were within a hundredth of g's range from its ends at the last step."""
        cdef Py_ssize_t v
        cdef Py_ssize_t found = 0
        cdef const real* squash = self.at(self.net.squash, self.net.shape.lane_cell)
        cdef double g, plus, minus
        if self.net.shape.g_is_identity:
            return 0
        for v in range(self.net.shape.n_cells):
            g = self.real_at(self.st.act, self.net.shape.lane_cell + v)
            plus = self.real_at(squash, PLUS * self.net.shape.n_lanes + v)
            minus = self.real_at(squash, MINUS * self.net.shape.n_lanes + v)
            found += min(abs(g - plus), abs(g - minus)) < 0.01 * abs(plus - minus)
        return found

    cdef str after_overflow(self, const Chunk* chunk, Py_ssize_t n_steps, Py_ssize_t n_targets, bint of_a_stream):
        """What to try when learning from a chunk has overflowed."""
        return self.advice.after_overflow(
            self.largest(chunk.values, n_steps * self.net.shape.n_inputs),
            self.largest(chunk.targets, n_targets * self.net.shape.n_outputs),
            of_a_stream,
        )

    # ---- the arguments of a single step ----

    cdef bint get_reals(self, object x, Py_buffer* view, Py_ssize_t n, int flags) except -1:
        """Take a buffer of n aligned reals of the network's dtype, if x offers it as it is."""
        view.buf = NULL
        if type(x) is not ARRAY and (not PyObject_CheckBuffer(x) or isinstance(x, ARRAY)):
            return False  # an array of another kind may mean more than its buffer says, a masked one for instance
        try:
            PyObject_GetBuffer(x, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | flags)
        except (BufferError, ValueError):
            return False
        if (
            view.ndim == 1
            and view.shape[0] == n
            and view.format[0] == self.format
            and view.format[1] == 0
            and <size_t> view.buf % self.kernel.real_bytes == 0
        ):
            return True
        release(view)
        return False

    cdef bint get_row(self, object x, Py_buffer* view, Py_ssize_t n) except -1:
        """As get_reals, if all are finite."""
        if not self.get_reals(x, view, n, 0):
            return False
        if self.kernel.first_not_finite(<const real*> view.buf, n) < 0:
            return True
        release(view)
        return False

    cdef int get_input(self, object x, Py_buffer* view, Chunk* chunk, int32_t* symbol) except -1:
        """Point the chunk at one step's input."""
        if not self.get_row(x, view, self.net.shape.n_inputs):
            x = sequences.as_input(x, self.layout)
            if isinstance(x, int):
                symbol[0] = x
                chunk.symbols = symbol
                return 0
            if not self.get_row(x, view, self.net.shape.n_inputs):
                raise SystemError("as_input made a row the loops can't use")
        chunk.values = <const real*> view.buf
        return 0

    cdef int get_target(self, object target, Py_buffer* view, Chunk* chunk, int32_t* klass) except -1:
        """Point the chunk at one step's target, if there is one."""
        view.buf = NULL
        if target is None:
            return 0
        if not self.get_row(target, view, self.net.shape.n_outputs):
            target = sequences.as_target(target, self.layout)
            if target is None:
                return 0
            if isinstance(target, int):
                klass[0] = target
                chunk.classes = klass
                return 0
            if not self.get_row(target, view, self.net.shape.n_outputs):
                raise SystemError("as_target made a row the loops can't use")
        chunk.targets = <const real*> view.buf
        if self.watches_targets:
            try:
                self.look_at_target(chunk.targets, asarray(target))
            except BaseException:
                release(view)
                raise
        return 0

    cdef object get_output(self, object out):
        """`out`, checked, or a new array, for one step's outputs."""
        cdef Py_buffer view
        if out is None:
            return empty(self.net.shape.n_outputs, self.dtype)
        if type(out) is ARRAY and self.get_reals(out, &view, self.net.shape.n_outputs, PyBUF_WRITABLE):
            release(&view)
            return out
        return sequences.checked_out(out, (self.net.shape.n_outputs,), self.dtype)

    # ---- a state in parts ----

    def standing(self):
        """What of the state is not in its arrays: what `stand_at` takes, and z_block's row of the last sources."""
        return {
            "n_pending": self.st.n_pending,
            "n_rows": self.st.n_rows,
            "symbol": self.st.symbol,
            "phase": self.st.phase,
            "dense": self.st.dense,
            "partials_bound": self.st.partials_bound,
            "slot": 0 if self.st.z == NULL else (<char*> self.st.z - <char*> self.st.z_block) // self.bytes_of_z(),
        }

    def stand_at(
        self, *, Py_ssize_t n_pending, Py_ssize_t n_rows, Py_ssize_t symbol, int phase, bint dense,
        double partials_bound
    ):
        """Go on from arrays that somebody has filled, and these numbers; z is the last pending row, or the first."""
        self.st.n_pending = n_pending
        self.st.n_rows = n_rows
        self.st.symbol = symbol
        self.st.phase = phase
        self.st.dense = dense
        self.st.z = <real*> (<char*> self.st.z_block + max(0, n_pending - 1) * self.bytes_of_z())
        self.st.partials_bound = partials_bound

    cdef Py_ssize_t bytes_of_z(self) noexcept:
        """From a row of z_block to the next."""
        return self.st.n_z * self.kernel.real_bytes

    # ---- calls ----

    cdef int bind_chunk(self, Chunk* chunk, object inputs, object targets, Py_ssize_t n_targets) except -1:
        """Point a chunk at packed arrays: symbols and classes are 1-D int32, the others 2-D reals."""
        cdef Py_ssize_t n_steps = len(inputs)
        memset(chunk, 0, sizeof(Chunk))
        if inputs.ndim == 1:
            chunk.symbols = <const int32_t*> room(inputs, n_steps * sizeof(int32_t))
        else:
            chunk.values = <const real*> room(inputs, n_steps * self.net.shape.n_inputs * self.kernel.real_bytes)
        if targets is None:
            return 0
        if targets.ndim == 1:
            chunk.classes = <const int32_t*> room(targets, n_targets * sizeof(int32_t))
        else:
            chunk.targets = <const real*> room(targets, n_targets * self.net.shape.n_outputs * self.kernel.real_bytes)
        return 0

    cdef real* outputs(self, object out, Py_ssize_t n_steps) except? NULL:
        """Where the outputs of so many steps go."""
        return <real*> room(out, n_steps * self.net.shape.n_outputs * self.kernel.real_bytes)

    def settle(self, ds_dw, coef_block):
        """Carry the pending steps out on copies of the partials and of `coef_block`; the state stays as it is."""
        cdef State st
        self.enter(False)
        try:
            st = self.st
            st.ds_dw = <real*> address(ds_dw)
            st.coef_block = <real*> address(coef_block)
            self.kernel.settle(&self.net, &st)
        finally:
            self.leave(False)

    cdef int advance(
        self, State* st, const Chunk* chunk, Py_ssize_t n_steps, bint learns, double rate, real* y, real** records,
        str where
    ) except -1:
        """Steps of one stream from a claimed state on, in slices; a single small step keeps the GIL."""
        cdef Py_ssize_t begin = 0
        cdef Py_ssize_t end
        cdef Py_ssize_t slice_steps = self.slice_of(chunk)
        cdef Report report
        while begin < n_steps:
            end = min(n_steps, begin + slice_steps)
            if n_steps > 1 or slice_steps < SLICE // WORTH_RELEASING:
                with nogil:
                    if learns:
                        self.kernel.learn(&self.net, st, chunk, begin, end, rate, y, &report)
                    else:
                        self.kernel.run(&self.net, st, chunk, begin, end, y, records, &report)
            elif learns:
                self.kernel.learn(&self.net, st, chunk, begin, end, rate, y, &report)
            else:
                self.kernel.run(&self.net, st, chunk, begin, end, y, records, &report)
            if report.status != OK:
                end = report.step + 1
                advice = STREAM
                if learns:
                    advice += "; " + self.after_overflow(chunk, end, end, True)
                raise not_finite(report.status, where.format(report.step), advice)
            begin = end
            if begin < n_steps:
                PyErr_CheckSignals()
        if learns and self.looks:
            self.look_at_cells(chunk, n_steps)
        return 0

    cdef int go_on(
        self, const Chunk* chunk, Py_ssize_t n_steps, bint learns, double rate, real* y, real** records, str where
    ) except -1:
        """Steps of this state's stream."""
        self.enter(learns)
        try:
            self.advance(&self.st, chunk, n_steps, learns, rate, y, records, where)
        finally:
            self.leave(learns)
        return 0

    def reset(self):
        """State to zero; the network's own state only while nobody else trains it."""
        if self.is_own and look(&self.lock[1]) not in (0, this_thread()):
            raise RuntimeError(NETWORK_IN_USE)
        self.enter(False)
        self.kernel.reset(&self.net, &self.st)
        self.leave(False)

    def step(self, x, out):
        """One step of inference."""
        cdef Py_buffer view
        cdef Chunk chunk
        cdef int32_t symbol
        memset(&chunk, 0, sizeof(Chunk))
        out = self.get_output(out)
        self.get_input(x, &view, &chunk, &symbol)
        try:
            self.go_on(&chunk, 1, False, 0, <real*> address(out), NULL, THIS_STEP)
        finally:
            release(&view)
        return out

    def peek(self, x, out):
        """The outputs that a step of inference would give; the state stays as it is."""
        cdef Py_buffer view
        cdef Chunk chunk
        cdef int32_t symbol
        memset(&chunk, 0, sizeof(Chunk))
        out = self.get_output(out)
        self.get_input(x, &view, &chunk, &symbol)
        try:
            self.enter(False)
            try:
                if self.glance_arrays is None:
                    arrays = self.layout.glance_arrays()
                    bind_states(&self.net, &self.glance, sizeof(State), 1, arrays)
                    self.glance_arrays = arrays
                # All that a step of inference sees of the step before.
                memcpy(self.glance.act, self.st.act, self.net.shape.n_lanes * self.kernel.real_bytes)
                memcpy(self.glance.y_c, self.st.y_c, self.net.shape.n_cell_lanes * self.kernel.real_bytes)
                memcpy(self.glance.s_c, self.st.s_c, self.net.shape.n_cell_lanes * self.kernel.real_bytes)
                self.advance(&self.glance, &chunk, 1, False, 0, <real*> address(out), NULL, THIS_STEP)
            finally:
                self.leave(False)
        finally:
            release(&view)
        return out

    def assign(self, Engine other):
        """Take over the place of another state of the same network; nothing is allocated."""
        if other is self:
            return
        if self.is_own and look(&self.lock[1]) not in (0, this_thread()):
            raise RuntimeError(NETWORK_IN_USE)
        self.enter(False)
        try:
            other.enter(False)
            try:
                self.take_place(&other.st)
            finally:
                other.leave(False)
        finally:
            self.leave(False)

    cdef void take_place(self, const State* other) noexcept:
        """Copy what goes on from step to step, and what the last step's late error signal needs."""
        cdef Py_ssize_t i
        cdef Py_ssize_t size = self.kernel.real_bytes
        cdef Py_ssize_t n = self.net.shape.n_partials
        cdef Py_ssize_t n_fixed = self.net.shape.n_sources - self.net.shape.n_inputs
        cdef Py_ssize_t unread = self.net.shape.n_inputs if other.symbol >= 0 and not other.dense else 0
        cdef Py_ssize_t slot = 0 if other.z == NULL else (<char*> other.z - <char*> other.z_block) // self.bytes_of_z()
        cdef State* st = &self.st
        for i in range(st.n_rows):
            memset(self.at(st.ds_dw, st.rows[i] * n), 0, n * size)
        for i in range(n_fixed, st.n_rows):
            st.is_listed[st.rows[i]] = 0
        memcpy(st.rows, other.rows, other.n_rows * sizeof(int32_t))
        for i in range(n_fixed, other.n_rows):
            st.is_listed[other.rows[i]] = 1
        if other.phase != NOT_LEARNING:  # else there are none
            for i in range(other.n_rows):
                memcpy(self.at(st.ds_dw, other.rows[i] * n), self.at(other.ds_dw, other.rows[i] * n), n * size)
        memcpy(st.act, other.act, self.net.shape.n_lanes * size)
        memcpy(st.y_c, other.y_c, self.net.shape.n_cell_lanes * size)
        memcpy(st.s_c, other.s_c, self.net.shape.n_cell_lanes * size)
        memcpy(st.h, other.h, self.net.shape.n_cell_lanes * size)
        memcpy(st.gates, other.gates, 3 * self.net.shape.n_cell_lanes * size)
        memcpy(st.y, other.y, self.net.shape.n_out_lanes * size)
        memcpy(st.symbols, other.symbols, other.n_pending * sizeof(int32_t))
        memcpy(st.coef_block, other.coef_block, other.n_pending * n * size)
        if self.net.shape.lane_forget >= 0:
            memcpy(st.decay_block, other.decay_block, other.n_pending * n * size)
        for i in range(max(other.n_pending, slot + 1)):  # the rows of sources that are pending, and the last step's
            memcpy(
                self.at(st.z_block, i * st.n_z + unread), self.at(other.z_block, i * st.n_z + unread),
                (st.n_z - unread) * size,
            )
        st.z = NULL if other.z == NULL else self.at(st.z_block, slot * st.n_z)
        st.n_pending, st.n_rows, st.dense = other.n_pending, other.n_rows, other.dense
        st.partials_bound, st.symbol, st.phase = other.partials_bound, other.symbol, other.phase

    def learn(self, x, target, learning_rate, out):
        """One step of learning."""
        cdef Py_buffer x_view, target_view
        cdef Chunk chunk
        cdef int32_t symbol, klass
        cdef double rate = self.rate(learning_rate)
        memset(&chunk, 0, sizeof(Chunk))
        out = self.get_output(out)
        self.get_input(x, &x_view, &chunk, &symbol)
        try:
            self.get_target(target, &target_view, &chunk, &klass)
            try:
                self.go_on(&chunk, 1, True, rate, <real*> address(out), NULL, THIS_STEP)
            finally:
                release(&target_view)
        finally:
            release(&x_view)
        return out

    def correct(self, target, learning_rate):
        """The error signal of the last learning step."""
        cdef Py_buffer view
        cdef Chunk chunk
        cdef int32_t klass = -1
        cdef int status = OK
        cdef double rate = self.rate(learning_rate)
        memset(&chunk, 0, sizeof(Chunk))
        self.get_target(target, &view, &chunk, &klass)
        try:
            if chunk.targets == NULL and chunk.classes == NULL:
                raise ValueError(f"target must be the last step's target, got {target!r}")
            self.enter(True)
            try:
                if self.st.phase != AWAITING:
                    raise RuntimeError("correct() needs a learn step without a target right before it")
                status = self.kernel.correct(&self.net, &self.st, chunk.targets, klass, rate)
            finally:
                self.leave(True)
        finally:
            release(&view)
        if status != OK:
            raise not_finite(status, THIS_STEP, f"{STREAM}; {self.after_overflow(&chunk, 0, 1, True)}")

    def run(self, inputs, out, records):
        """Inference over packed inputs; records: None, or an array or None for each of `layout.RECORDS`."""
        cdef Chunk chunk
        cdef real* places[MAX_RECORDS]
        cdef Py_ssize_t i
        cdef Py_ssize_t n_steps = len(inputs)
        self.bind_chunk(&chunk, inputs, None, 0)
        if records is not None:
            for i in range(MAX_RECORDS):
                places[i] = NULL if records[i] is None else <real*> address(records[i])
        self.go_on(
            &chunk, n_steps, False, 0, self.outputs(out, n_steps), NULL if records is None else places, NTH_STEP
        )

    def learn_run(self, inputs, targets, learning_rate, out):
        """Learning steps over packed inputs and targets."""
        cdef Chunk chunk
        cdef Py_ssize_t n_steps = len(inputs)
        cdef double rate = self.rate(learning_rate)
        self.bind_chunk(&chunk, inputs, targets, n_steps)
        self.go_on(&chunk, n_steps, True, rate, self.outputs(out, n_steps), NULL, NTH_STEP)

    # ---- crews ----

    cdef Training* get_job(self) except NULL:
        """Where calls of `train` keep what they do: where it stays if the interpreter ends before the others do."""
        if self.job == NULL:
            self.job = <Training*> PyMem_Calloc(1, sizeof(Training))
            if self.job == NULL:
                raise MemoryError
        return self.job

    cdef Training* begin_crew(self, Py_ssize_t n_threads) except NULL:
        """Get a crew ready, all but what they work with."""
        cdef Py_ssize_t i
        cdef Training* job = self.get_job()
        workers = zeros(n_threads * sizeof(Worker), "uint8")
        self.kept += (workers,)
        job.workers = <Worker*> address(workers)
        job.leader_cpu = this_cpu()
        job.crew.beds = <Bed*> PyMem_Calloc(n_threads, sizeof(Bed))
        if job.crew.beds == NULL:
            raise MemoryError
        for i in range(n_threads):
            job.workers[i].bed = job.crew.beds + i
            job.crew.beds[i].bell = PyThread_allocate_lock()
            if job.crew.beds[i].bell == NULL:
                raise MemoryError
            PyThread_acquire_lock(job.crew.beds[i].bell, WAIT_LOCK)
            job.crew.n_threads = i + 1
        return job

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.job == NULL:
            return
        for i in range(self.job.crew.n_threads):
            PyThread_release_lock(self.job.crew.beds[i].bell)
            PyThread_free_lock(self.job.crew.beds[i].bell)
        PyMem_Free(self.job.crew.beds)
        PyMem_Free(self.job)

    def begin_batches(self, *, dict batch, dict sums, list workers, Py_ssize_t worth_sharing):
        """From now on `train` sums changes over batches: arrays of the layout, workers' for each thread.

        Batches of less work than `worth_sharing`, weights times steps, are for the leader alone.
        """
        cdef Training* job = self.begin_crew(len(workers))
        job.worth_sharing = worth_sharing
        job.size = len(batch["tallies"])
        job.tallies = <Tally*> address(batch["tallies"])
        bind_sums(&job.total, 1, batch)
        job.n_sums = len(sums["seen"])
        all_sums = zeros(job.n_sums * sizeof(Sums), "uint8")
        job.sums = <Sums*> address(all_sums)
        bind_sums(job.sums, job.n_sums, sums)
        members = []  # not by a comprehension: where one fails to grow, Cython 3.3 gives up its item twice
        for i, arrays in enumerate(workers):
            members.append(bind_members(&self.net, &job.workers[i], arrays))
        self.kept += (batch, sums, workers, all_sums, members)

    def begin_hogwild(self, list engines):
        """From now on `train` lets these engines' states learn at once, the first of them this engine's own."""
        cdef Engine engine
        cdef Training* job = self.begin_crew(len(engines))
        for i, engine in enumerate(engines):
            job.workers[i].st = &engine.st
        self.kept += tuple(engines[1:])

    def settle_helper(self, int number):
        """Let the calling thread, a helper, begin on another CPU than the leader and the other helpers."""
        spread_out(number, self.job.leader_cpu)

    def help(self, Py_ssize_t number):
        """Be the thread of this number, 1 or more, in this engine's crew, until it is dismissed."""
        with nogil:
            self.kernel.help(&self.net, self.job, self.job.workers + number)

    def dismiss(self):
        """There will be no further work for the crew."""
        end_rounds(&self.job.crew)

    def train(self, inputs, offsets, targets, bint target_per_sequence, order, schedule, learning_rate, history):
        """Train on packed sequences in the given order; the History is up to date however this ends.

        The weights change at every error signal if `schedule` is None, else once per batch. It has positions in the
        order, batch after batch and share after share, each share's by falling length of the sequences; and where in
        them the shares begin, and the last one ends.
        """
        cdef Training* job = self.get_job()
        cdef Chunk* chunk = &job.chunk
        cdef Plan* plan = &job.plan
        cdef StopRule* rule = &job.rule
        cdef Py_ssize_t n_sequences = len(offsets) - 1
        cdef Py_ssize_t n_targets = len(targets)
        memset(plan, 0, sizeof(Plan))
        plan.learning_rate = self.rate(learning_rate)
        self.bind_chunk(chunk, inputs, targets, n_sequences if target_per_sequence else len(inputs))
        chunk.target_per_sequence = target_per_sequence
        plan.offsets = <const int64_t*> room(offsets, (n_sequences + 1) * sizeof(int64_t))
        plan.n_order = len(order)
        plan.order = <const int64_t*> room(order, plan.n_order * sizeof(int64_t))
        job.n = job.n_shares = job.bound = 0
        job.step_work = self.step_work(chunk)
        if schedule is not None:
            job.schedule = <const int64_t*> room(schedule[0], plan.n_order * sizeof(int64_t))
            job.bounds = <const int64_t*> address(schedule[1])
        errors = history._room(plan.n_order)
        plan.errors = <double*> room(errors, plan.n_order * sizeof(double))
        take_rule(rule, history)
        if rule.window:
            plan.rule = rule
        cdef Py_ssize_t slice_steps = self.slice_of(chunk)
        cdef bint is_ending = False     # with the sequence or batch under way
        cdef bint is_hogwild = schedule is None and job.crew.n_threads != 0
        self.enter(True)
        try:
            while job.is_open or (plan.position < plan.n_order and not plan.stopped and not (is_ending and is_hogwild)):
                with nogil:
                    if schedule is not None:
                        self.kernel.train_batches(&self.net, job, slice_steps)
                    elif is_hogwild:
                        self.kernel.train_hogwild(&self.net, job, slice_steps)
                    else:
                        self.kernel.train(&self.net, &self.st, chunk, plan, slice_steps)
                if not job.is_open and plan.status != OK:
                    raise not_finite(
                        plan.status, f"step {plan.step} of sequence {plan.sequence}",
                        self.after_overflow(chunk, plan.offsets[n_sequences], n_targets, False)
                    )
                PyErr_CheckSignals()
                if history._is_given_up:
                    raise KeyboardInterrupt
                if history._is_asked_to_end and not is_ending:
                    is_ending = True
                    if is_hogwild:
                        put(&job.next_position, plan.n_order)
                    else:
                        plan.n_order = plan.position + (job.n if schedule is not None else plan.step > 0)
        finally:
            with nogil:
                self.kernel.give_up(&self.net, job)
            self.leave(True)  # before anything that may find no memory
            give_back(rule, plan.position, plan.n_steps, plan.stopped, history)


cdef class Hold:
    """A claim on a network's weights, on a state, or on both, from `with` to the end of its block.

    In C, where no signal's handler comes between the claim and the block that gives it back.
    """

    cdef Engine engine
    cdef bint weights, state
    cdef int64_t purpose, before

    def __init__(self, Engine engine, bint weights, bint state, int64_t purpose):
        self.engine, self.weights, self.state, self.purpose = engine, weights, state, purpose

    def __enter__(self):
        self.before = self.engine.claim(CHANGING if self.state else FREE, self.purpose if self.weights else FREE)
        if self.weights and self.purpose == TRAINING and self.before == FREE:
            give(&self.engine.lock[1], this_thread())

    def __exit__(self, kind, error, trace):  # not *_, for which there may be no memory
        if self.weights:
            if self.purpose == TRAINING and self.before == FREE:
                give(&self.engine.lock[1], 0)
            give(self.engine.lock, self.before)
        if self.state:
            give(&self.engine.busy, FREE)
