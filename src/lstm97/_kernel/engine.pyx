"""Binds the arrays of a network and of one of its states to a build of the loops, and calls it for streams.

An argument that is an array as the loops need it (contiguous, of the network's dtype) is used without a copy. For one
step, the numbers of a list, of a tuple, or of an array of the other float dtype are copied in C. Any other argument
goes through `sequences`, which converts it or raises what is wrong with it.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AsDouble
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memchr, memcpy, memset

from numpy import (
    asarray, empty, float16, float32, float64, int8, int16, int32, int64, ndarray, uint8, uint16, uint32, uint64,
)

from lstm97._kernel.abi cimport (
    ADAM, AWAITING, BOUNDED, C0, C1, C2, CELL_RECORD, CELL_STATE_NOT_FINITE, CELL_STATE_RECORD, CHANGE_NOT_FINITE,
    COUNT, CROSS_ENTROPY, DEVIATION, FORGET_GATE_RECORD, HIDDEN_RECORD, HUBER, IDENTITY, INPUT_GATE_RECORD, LOGISTIC,
    MEAN, MINUS, MOMENTUM, N_RECORDS, N_SQUASH_CONSTANTS, N_STATISTICS, NOT_LEARNING, OK, ONE_BY_SCALE,
    OUTPUT_GATE_RECORD, OUTPUT_NOT_FINITE, PLAIN, PLUS, RMSPROP, SCALE, SCALE_BY_LN2, SOFTMAX, SQUARED, SQUARES,
    Binding, Chunk, Kernel, Net, Report, State, Tally, real, word,
)
from lstm97._kernel.arrays cimport ROW_BYTES, address, checked_address, point_at

from lstm97 import sequences
from lstm97._checks import not_negative, positive
from lstm97._kernel.layout import stated

cdef extern from "_kernel/cpu.h":
    int x86_64_level()

cdef extern from "_kernel/atomics.h":
    int64_t gil_load64(const int64_t*)
    bint gil_compare_exchange64(int64_t*, int64_t expected, int64_t value)
    void gil_store64(int64_t*, int64_t)

cdef extern from "_kernel/team.h" nogil:
    void move_to_cpu(int n, int from_)

cdef extern from "Python.h":
    unsigned long PyThread_get_thread_ident()

# Who uses a network's weights: the first number of the network's lock. While `train` is under way, the second number is
# the thread that trains, whose own calls (from a callback, for instance) are allowed. An engine's `busy` is the same
# for its state: FREE, CHANGING or BOUND.
cdef enum:
    FREE = 0
    CHANGING = 1    # a call that learns is under way; of a state: any call
    TRAINING = 2    # `train` is under way, but no call of the loops
    READING = 3     # the weights are being read as a whole: saved, copied
    BOUND = 4       # compiled code has bound one state to learn; 5: two states, and so on

# Work is counted in weights times steps, up to about a nanosecond each. A call over many steps checks for signals after
# every SLICE of work. A single step releases the GIL only if its work takes longer than releasing it.
cdef enum:
    SLICE = 100_000_000
    WORTH_RELEASING = 20_000

# In place of the number of dimensions, in the view of a buffer that `make_buffer` has made.
cdef enum:
    OF_COPIES = -1

# The saturation of a new network's cells is checked after every STEPS_TO_A_CHECK learning steps, CHECKS times.
cdef enum:
    STEPS_TO_A_CHECK = 25
    CHECKS = 4

cdef type ARRAY = ndarray     # a C variable, which is read faster than the module's name
cdef type FLOAT64 = float64
cdef frozenset SHORTER_FLOATS = frozenset((float16, float32))
cdef frozenset INTEGERS = frozenset((int, int8, int16, int32, int64, uint8, uint16, uint32, uint64))
cdef double LARGEST = 2.0 ** 53     # of the integers below this, a float64 holds each
cdef str THIS_STEP = "this step"
cdef str NTH_STEP = "step {}"

cdef tuple STATE_ARRAYS = (     # of a State, in the order of `bind_states`
    "act", "y_c", "s_c", "ds_dw", "z_block", "coef_block", "decay_block", "symbols", "h", "y", "s_before", "gates",
    "decay", "target", "e_k", "eps", "e", "e_s", "sums", "g", "g_out", "gain", "net_in", "rows",
    "is_listed",
)

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


cdef inline int64_t this_thread() noexcept:
    """The number of the running thread, not 0."""
    return <int64_t> PyThread_get_thread_ident()


cdef inline void release(Py_buffer* view) noexcept:
    """Release a buffer, if the view has one: an object's, or one of copied numbers."""
    if view.buf != NULL:
        if view.ndim == OF_COPIES:
            PyMem_Free(view.buf)
        else:
            PyBuffer_Release(view)
        view.buf = NULL


# The values in abi.pxd and lanes.h of what `layout.stated` has by the same names.
cdef dict _STATED = {
    "ROW_BYTES": ROW_BYTES,
    "TALLY_NUMBERS": <int> (sizeof(Tally) // 8),
    "OUTPUT_KINDS": {"logistic": LOGISTIC, "identity": IDENTITY, "softmax": SOFTMAX},
    "LOSSES": {"squared": SQUARED, "cross_entropy": CROSS_ENTROPY, "huber": HUBER},
    "RULES": {"plain": PLAIN, "bounded": BOUNDED, "momentum": MOMENTUM, "rmsprop": RMSPROP, "adam": ADAM},
    "STATISTICS": {"count": COUNT, "mean": MEAN, "squares": SQUARES, "deviation": DEVIATION},
    "RECORDS": {
        "cell_state": CELL_STATE_RECORD, "cell": CELL_RECORD, "input_gate": INPUT_GATE_RECORD,
        "output_gate": OUTPUT_GATE_RECORD, "forget_gate": FORGET_GATE_RECORD, "hidden": HIDDEN_RECORD,
    },
    "SQUASH_CONSTANTS": {
        "scale": SCALE, "scale_by_ln2": SCALE_BY_LN2, "one_by_scale": ONE_BY_SCALE, "plus": PLUS, "minus": MINUS,
        "c0": C0, "c1": C1, "c2": C2,
    },
}


def check_stated(dict by_layout):
    """ImportError unless these are the sizes and orders that the loops have: `layout.stated()`."""
    for name, stated_here in _STATED.items():
        found = by_layout[name]
        if (found if isinstance(stated_here, int) else {each: i for i, each in enumerate(found)}) != stated_here:
            raise ImportError(f"{name} is {found} in layout.py, but {stated_here} in the loops: build lstm97 again")
    numbers = {"RECORDS": N_RECORDS, "SQUASH_CONSTANTS": N_SQUASH_CONSTANTS, "STATISTICS": N_STATISTICS}
    for name, number in numbers.items():
        if len(by_layout[name]) != number:
            raise ImportError(f"{name} are of another number in layout.py than in abi.pxd")


check_stated(stated())


def choose_cpu(int n):
    """Move the calling thread to the n-th CPU that it may use, where the system offers that; it may leave it later."""
    move_to_cpu(n, 0)


def cpu_level():
    """The highest n for which this CPU and its operating system offer x86-64-vn; 0 if it is of another kind."""
    return x86_64_level()


cdef class Engine:
    """One network's arrays and one state's, bound to the loops: the calls on one stream.

    Parameters
    ----------
    kernel : capsule
        The build's table of entry points.
    layout : Layout
        Sizes and dtype.
    network : dict of str to ndarray
        ``layout.network_arrays()``; kept alive here, as is the memory of the state.
    state : Memory
        ``layout.state_places.memory()``.
    lock : ndarray, shape (2,), int64
        Shared by all engines of a network; zeros while the weights are free. See the constants FREE to BOUND.
    is_own : bool
        Whether the state is the network's own.
    advice : Advice
        The network's, for warnings about its data.
    """

    def __init__(self, kernel, layout, dict network, state, lock, bint is_own, advice):
        cdef dict sizes = layout.sizes
        cdef Py_ssize_t row_bytes   # of constants of squashing functions
        self.kernel = <const Kernel*> PyCapsule_GetPointer(kernel, "lstm97.kernel")
        self.layout = layout
        self.dtype = layout.dtype
        self.kept = (kernel, network, lock)
        self.memory = state
        self.format = ord(self.dtype.char)
        self.lock = <int64_t*> address(lock)
        self.is_own = is_own
        self.advice = advice
        self.watches_targets = advice.watches_targets
        self.lowest_target, self.highest_target = advice.reach
        self.saturated = []
        self.steps_to_check = STEPS_TO_A_CHECK
        memset(&self.net, 0, sizeof(Net))
        self.net.shape = sizes  # an error if any size is missing
        if len(sizes) != len(<object> self.net.shape):
            raise ValueError(f"the layout's sizes are {sizes}, the loops' {<object> self.net.shape}")
        self.work[0] = layout.step_work(symbols=False)
        self.work[1] = layout.step_work(symbols=True)
        self.net.block_of = <const int32_t*> address(network["block_of"])
        self.net.lane_of = <const word*> address(network["lane_of"])
        self.net.cell_of = <const word*> address(network["cell_of"])
        self.net.is_partial = <const real*> address(network["is_partial"])
        self.net.sum_of = <const word*> address(network["sum_of"])
        self.net.is_summed = <const real*> address(network["is_summed"])
        self.net.is_continued = <const real*> address(network["is_continued"])
        row_bytes = self.net.shape.n_lanes * self.kernel.real_bytes
        self.net.squash = <const real*> checked_address(network["squash"], N_SQUASH_CONSTANTS * row_bytes)
        self.net.squash_h = <const real*> checked_address(network["squash_h"], N_SQUASH_CONSTANTS * ROW_BYTES)
        self.net.squash_g = <const real*> checked_address(network["squash_g"], N_SQUASH_CONSTANTS * ROW_BYTES)
        self.net.logistic = <const real*> checked_address(network["logistic"], N_SQUASH_CONSTANTS * ROW_BYTES)
        self.net.is_g = <const real*> address(network["is_g"])
        self.net.is_cell = <const real*> address(network["is_cell"])
        self.net.is_output = <const real*> address(network["is_output"])
        self.net.has_bias = <const real*> address(network["has_bias"])
        self.net.w = <real*> address(network["w"])
        self.net.w_out = <real*> address(network["w_out"])
        self.bind_learning(layout, network)
        self.default_rate = self.rate(layout.learning.learning_rate)
        self.bind_states(&self.st, sizeof(State), 1, state)
        self.binding = Binding(kernel=self.kernel, net=&self.net, st=&self.st)

    def another(self, state):
        """An engine of the same network for another state, which is not its own: its Memory."""
        cdef Engine other = Engine.__new__(Engine)
        other.kernel, other.net, other.lock, other.kept = self.kernel, self.net, self.lock, self.kept
        other.layout, other.dtype, other.format = self.layout, self.dtype, self.format
        other.work, other.default_rate, other.advice = self.work, self.default_rate, self.advice
        other.lowest_target, other.highest_target = self.lowest_target, self.highest_target
        other.watches_targets = self.advice.watches_targets
        other.saturated = []
        other.steps_to_check = STEPS_TO_A_CHECK
        other.memory = state
        other.bind_states(&other.st, sizeof(State), 1, state)
        other.binding = Binding(kernel=other.kernel, net=&other.net, st=&other.st)
        return other

    cdef int bind_learning(self, object layout, dict network) except -1:
        """Take over how the network learns, and point it at what it keeps from update to update."""
        cdef object learning = layout.learning
        cdef object optimizer = learning.optimizer
        self.net.rule.kind = layout.rule_kind
        self.net.rule.momentum = getattr(optimizer, "beta1", getattr(optimizer, "momentum", 0))
        self.net.rule.decay = getattr(optimizer, "beta2", getattr(optimizer, "decay", 0))
        self.net.rule.epsilon = getattr(optimizer, "epsilon", 0)
        self.net.rule.bound = optimizer.bound or 0
        self.net.rule.n_updates = <int64_t*> address(network["n_updates"])
        if "m" in network:
            self.net.rule.m = <real*> address(network["m"])
            self.net.rule.m_out = <real*> address(network["m_out"])
        if "v" in network:
            self.net.rule.v = <real*> address(network["v"])
            self.net.rule.v_out = <real*> address(network["v_out"])
        if learning.readout is not None:
            self.net.readout.root = <real*> address(network["root"])
            self.net.readout.n_root_lanes = network["root"].shape[1]
            self.net.readout.forgetting = learning.readout.forgetting
            self.net.readout.prior = learning.readout.prior
        self.net.standards.decay = 1
        if learning.scaling is not None and learning.scaling.decay is not None:
            self.net.standards.decay = learning.scaling.decay
        if "statistics_of_inputs" in network:
            self.net.standards.inputs = <double*> address(network["statistics_of_inputs"])
        if "statistics_of_targets" in network:
            self.net.standards.targets = <double*> address(network["statistics_of_targets"])
        return 0

    cdef int bind_states(self, State* st, Py_ssize_t stride, Py_ssize_t n, object memory) except -1:
        """Point n states, `stride` bytes from each to the next, at their arrays; no state has seen an input yet."""
        cdef Py_ssize_t i, k
        cdef Py_ssize_t n_inputs = self.net.shape.n_inputs
        cdef Py_ssize_t n_fixed = self.net.shape.n_sources - n_inputs   # rows of partials that every step changes
        cdef Py_ssize_t n_z = memory.places.arrays["z_block"][0][1]
        # States for symbols alone have no inputs in z: as the loops count them, z begins before its memory.
        cdef Py_ssize_t unread = n_inputs if n_z < self.net.shape.n_sources else 0
        cdef State* each
        cdef void** fields[25]
        fields[:] = [
            <void**> &st.act, <void**> &st.y_c, <void**> &st.s_c, <void**> &st.ds_dw, <void**> &st.z_block,
            <void**> &st.coef_block, <void**> &st.decay_block, <void**> &st.symbols, <void**> &st.h, <void**> &st.y,
            <void**> &st.s_before, <void**> &st.gates, <void**> &st.decay, <void**> &st.target, <void**> &st.e_k,
            <void**> &st.eps, <void**> &st.e, <void**> &st.e_s, <void**> &st.sums, <void**> &st.g, <void**> &st.g_out,
            <void**> &st.gain, <void**> &st.net_in, <void**> &st.rows, <void**> &st.is_listed,
        ]
        for i in range(n):
            memset(<char*> st + i * stride, 0, sizeof(State))
        point_at(fields, sizeof(fields) // sizeof(void**), STATE_ARRAYS, stride, n, memory)
        for i in range(n):
            each = <State*> (<char*> st + i * stride)
            each.symbol = -1
            each.n_z = n_z
            each.z_block = self.at(each.z_block, -unread)
            each.n_rows = n_fixed
            for k in range(n_fixed):
                each.rows[k] = <int32_t> (n_inputs + k)
        return 0

    # ---- exclusive use ----

    cdef int64_t claim_weights(self, int64_t purpose) noexcept:
        """Claim the weights. Returns the value of the lock before; if that refuses the claim, minus this value."""
        cdef int64_t before
        while True:
            before = gil_load64(self.lock)
            if not (
                before == FREE
                # The thread that trains may do anything but bind: its claim would end before the binding does.
                or (before == TRAINING and purpose != BOUND and gil_load64(&self.lock[1]) == this_thread())
                or (before >= BOUND and purpose == BOUND)
            ):
                return -before
            if gil_compare_exchange64(self.lock, before, before + 1 if before >= BOUND else purpose):
                return before

    cdef int64_t claim(self, int64_t state, int64_t weights) except -1:
        """Claim the state and the weights, or neither; FREE: no claim on it. Returns the value of the lock before."""
        cdef int64_t before
        if state != FREE and not gil_compare_exchange64(&self.busy, FREE, state):
            raise RuntimeError(STATE_BOUND if gil_load64(&self.busy) == BOUND else STATE_IN_USE)
        if weights == FREE:
            return FREE
        before = self.claim_weights(weights)
        if before >= 0:
            return before
        if state != FREE:
            gil_store64(&self.busy, FREE)
        if before == -READING:
            raise RuntimeError(NETWORK_BEING_READ)
        if before <= -BOUND:
            raise RuntimeError(NETWORK_BOUND)
        if before == -TRAINING and weights == BOUND:
            raise RuntimeError("this network is being trained")
        raise RuntimeError(NETWORK_IN_USE)

    cdef int enter(self, bint learns) except -1:
        """Claim the state, and the weights if they are to change."""
        self.lock_before = self.claim(CHANGING, CHANGING if learns else FREE)
        return 0

    cdef void leave(self, bint learns) noexcept:
        """End the claims of `enter`."""
        if learns:
            gil_store64(self.lock, self.lock_before)
        gil_store64(&self.busy, FREE)

    def hold(self, *, bint weights, bint state):
        """A context in which no other call changes the weights or uses the state: for reading them."""
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
        """End the claims of `bind`."""
        cdef int64_t bound
        while learns:
            bound = gil_load64(self.lock)
            if gil_compare_exchange64(self.lock, bound, FREE if bound == BOUND else bound - 1):
                break
        gil_store64(&self.busy, FREE)

    def check_rate(self, learning_rate):
        """TypeError or ValueError if this is no learning rate for this network."""
        self.rate(learning_rate)

    cdef double rate(self, object learning_rate) except -1:
        """The learning rate in the network's dtype, None for its own; what is not positive and finite is refused."""
        cdef double rate
        if learning_rate is None:
            return self.default_rate
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
        """How many weights a step of a chunk reads, with padding: `Layout.step_work`."""
        return self.work[chunk.symbols != NULL]

    cdef Py_ssize_t slice_of(self, const Chunk* chunk) noexcept:
        """How many steps of a chunk make a slice."""
        return 1 + SLICE // (1 + self.step_work(chunk))

    # ---- warnings about data ----

    cdef double real_at(self, const real* a, Py_ssize_t i) noexcept:
        """A number of an array of the network's reals."""
        return (<const float*> a)[i] if self.kernel.real_bytes == sizeof(float) else (<const double*> a)[i]

    cdef real* at(self, const real* a, Py_ssize_t i) noexcept:
        """The address of a number of an array of the network's reals."""
        return <real*> (<char*> a + i * self.kernel.real_bytes)

    cdef double largest(self, const real* a, Py_ssize_t n) noexcept:
        """The largest magnitude among n numbers, NaN left out."""
        cdef double found = 0
        cdef Py_ssize_t i
        if a != NULL:
            for i in range(n):
                found = max(found, abs(self.real_at(a, i)))
        return found

    cdef int check_reach(self, const real* targets, Py_ssize_t n, object rows) except -1:
        """Warn, once, of targets, n numbers, that the outputs cannot reach; `rows` are the same as an object."""
        cdef Py_ssize_t k
        cdef double t
        for k in range(n):
            t = self.real_at(targets, k)
            if t < self.lowest_target or t > self.highest_target:
                self.advice.look_at_targets(asarray(rows, self.dtype))
                self.watches_targets = self.advice.watches_targets  # still True if this target was only rounded
                break
        return 0

    cdef int check_saturation(self, const Chunk* chunk, Py_ssize_t n_steps) except -1:
        """Count the saturated cells now and then in the first learning steps; warn if large data saturate most."""
        cdef Py_ssize_t n_saturated
        self.steps_to_check -= n_steps
        if self.steps_to_check > 0:
            return 0
        self.steps_to_check = STEPS_TO_A_CHECK
        n_saturated = self.n_saturated()
        if chunk.values == NULL or not self.advice.are_most_cells(n_saturated):
            self.saturated = None
            return 0
        self.saturated += [n_saturated] * max(1, n_steps // STEPS_TO_A_CHECK)
        if len(self.saturated) >= CHECKS:
            self.advice.judge_cells(
                self.saturated,
                self.largest(chunk.values, n_steps * self.net.shape.n_inputs),
                self.largest(chunk.targets, n_steps * self.net.shape.n_outputs),
            )
            self.saturated = None
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

    cdef object not_finite(self, int status, str where, str advice):
        """The exception for a Status other than OK."""
        return FloatingPointError(f"{_NOT_FINITE[status]} at {where}; {advice}")

    cdef str after_overflow(self, const Chunk* chunk, Py_ssize_t n_steps, Py_ssize_t n_targets, bint of_a_stream):
        """What to try when learning from a chunk has overflowed."""
        return self.advice.after_overflow(
            self.largest(chunk.values, n_steps * self.net.shape.n_inputs),
            self.largest(chunk.targets, n_targets * self.net.shape.n_outputs),
            of_a_stream,
        )

    # ---- the arguments of a single step ----

    cdef bint get_reals(self, object x, Py_buffer* view, Py_ssize_t n, int flags) except -1:
        """Get a buffer of n aligned reals of the network's dtype, if x has one; returns whether it has."""
        view.buf = NULL
        if type(x) is not ARRAY and (not PyObject_CheckBuffer(x) or isinstance(x, ARRAY)):
            return False  # a subclass of ndarray may mean more than its buffer has: a masked array, for instance
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

    cdef int make_buffer(self, Py_buffer* view, Py_ssize_t n) except -1:
        """Make a buffer for copies of n numbers."""
        view.ndim = OF_COPIES
        view.buf = PyMem_Malloc(n * self.kernel.real_bytes)
        if view.buf == NULL:
            raise MemoryError
        return 0

    cdef bint get_other_floats(self, object x, Py_buffer* view, Py_ssize_t n) except -1:
        """Make a buffer of the n numbers of an array of the other float dtype; returns whether x is one."""
        cdef Py_buffer found
        cdef Py_ssize_t i
        cdef char other = c"d" if self.format == c"f" else c"f"
        cdef Py_ssize_t size = sizeof(double) if other == c"d" else sizeof(float)
        view.buf = NULL
        if type(x) is not ARRAY:
            return False
        try:
            PyObject_GetBuffer(x, &found, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return False
        try:
            if (
                found.ndim != 1
                or found.shape[0] != n
                or found.format[0] != other
                or found.format[1] != 0
                or <size_t> found.buf % size != 0
            ):
                return False
            self.make_buffer(view, n)
            for i in range(n):
                if other == c"d":
                    (<float*> view.buf)[i] = <float> (<double*> found.buf)[i]
                else:
                    (<double*> view.buf)[i] = (<float*> found.buf)[i]
            return True
        finally:
            PyBuffer_Release(&found)

    cdef bint get_numbers(self, object x, Py_buffer* view, Py_ssize_t n) except -1:
        """Make a buffer of the n numbers of a list or tuple, as an array would have them; returns whether there is one.

        There is none if the numbers are others than n, or of types whose common dtype is for NumPy to find.
        """
        cdef object number
        cdef type kind
        cdef double value
        cdef Py_ssize_t i = 0
        self.make_buffer(view, n)
        try:
            for number in x:
                kind = type(number)
                if i == n:
                    break
                if kind is float or kind is FLOAT64 or kind in SHORTER_FLOATS:
                    value = PyFloat_AsDouble(number)
                elif kind in INTEGERS:
                    value = PyFloat_AsDouble(number)
                    if not -LARGEST < value < LARGEST:
                        break
                else:
                    break
                if self.kernel.real_bytes == sizeof(float):
                    (<float*> view.buf)[i] = <float> value
                else:
                    (<double*> view.buf)[i] = value
                i += 1
            else:
                if i == n:
                    return True
        except OverflowError:   # an integer that no float holds
            pass
        release(view)
        return False

    cdef bint get_row(self, object x, Py_buffer* view, Py_ssize_t n) except -1:
        """A buffer of n finite reals of the network's dtype, if x has one or has such numbers; returns whether."""
        if type(x) is list or type(x) is tuple:
            if not self.get_numbers(x, view, n):
                return False
        elif not self.get_reals(x, view, n, 0) and not self.get_other_floats(x, view, n):
            return False
        if self.kernel.first_not_finite(<const real*> view.buf, n) < 0:
            return True
        release(view)
        return False

    cdef int get_input(self, object x, Py_buffer* view, Chunk* chunk, int32_t* symbol) except -1:
        """Point the chunk at one step's input."""
        if type(x) is int and 0 <= x < self.net.shape.n_inputs != 1:
            view.buf = NULL
            symbol[0] = x
            chunk.symbols = symbol
            return 0
        if not self.get_row(x, view, self.net.shape.n_inputs):
            x = sequences.as_input(x, self.layout)
            if isinstance(x, int):
                symbol[0] = x
                chunk.symbols = symbol
                return 0
            if not self.get_row(x, view, self.net.shape.n_inputs):
                raise SystemError("as_input returned a row that the loops cannot use")
        chunk.values = <const real*> view.buf
        return 0

    cdef int get_target(self, object target, Py_buffer* view, Chunk* chunk, int32_t* klass) except -1:
        """Point the chunk at one step's target, if there is one."""
        view.buf = NULL
        if target is None:
            return 0
        if type(target) is int and 0 <= target < self.net.shape.n_outputs != 1:
            klass[0] = target
            chunk.classes = klass
            return 0
        if not self.get_row(target, view, self.net.shape.n_outputs):
            target = sequences.as_target(target, self.layout)
            if target is None:
                return 0
            if isinstance(target, int):
                klass[0] = target
                chunk.classes = klass
                return 0
            if not self.get_reals(target, view, self.net.shape.n_outputs, 0):  # finite, or partly NaN
                raise SystemError("as_target returned a row that the loops cannot use")
        chunk.targets = <const real*> view.buf
        if self.watches_targets:
            try:
                self.check_reach(chunk.targets, self.net.shape.n_outputs, target)
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

    # ---- arrays of many steps ----

    cpdef bint fits(self, object x, tuple shape) except -1:
        """Whether x is an array that the loops can use as it is: of this shape, where -1 is any length, and finite.

        What does not fit is for `sequences` to convert or to refuse.
        """
        cdef Py_buffer view
        cdef Py_ssize_t i, n, found
        if type(x) is not ARRAY:
            return False
        try:
            PyObject_GetBuffer(x, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except (BufferError, ValueError):
            return False
        try:
            if (
                view.ndim != len(shape)
                or view.format[0] != self.format
                or view.format[1] != 0
                or <size_t> view.buf % self.kernel.real_bytes != 0
            ):
                return False
            for i in range(view.ndim):
                if shape[i] != -1 and shape[i] != view.shape[i]:
                    return False
            n = view.len // self.kernel.real_bytes
            if n > WORTH_RELEASING:
                with nogil:
                    found = self.kernel.first_not_finite(<const real*> view.buf, n)
            else:
                found = self.kernel.first_not_finite(<const real*> view.buf, n)
            return found < 0
        finally:
            PyBuffer_Release(&view)

    def offsets_of(self, tuple arrays, tuple shape):
        """Where each of some arrays would begin in all of them one after the other, and where the last would end.

        An array of int64, by which `sequences.Sequences` is made; None if not all of them fit the shape.
        """
        cdef Py_ssize_t i
        cdef Py_ssize_t n = len(arrays)
        cdef object found = empty(n + 1, int64)
        cdef int64_t* offsets = <int64_t*> checked_address(found, (n + 1) * sizeof(int64_t))
        offsets[0] = 0
        for i in range(n):
            if not self.fits(arrays[i], shape):
                return None
            offsets[i + 1] = offsets[i] + len(arrays[i])
        return found

    def look_at_targets(self, targets):
        """Warn, once, if the outputs cannot reach targets that fit."""
        if self.watches_targets:
            self.check_reach(<const real*> address(targets), targets.size, targets)

    # ---- the numbers of a state ----

    def numbers(self):
        """What of the state is not in its arrays: what `set_numbers` takes, and the slot of the last sources."""
        return {
            "n_pending": self.st.n_pending,
            "n_rows": self.st.n_rows,
            "symbol": self.st.symbol,
            "phase": self.st.phase,
            "dense": self.st.dense,
            "partials_bound": self.st.partials_bound,
            "slot": self.slot_of(&self.st),
        }

    def set_numbers(
        self, *, Py_ssize_t n_pending, Py_ssize_t n_rows, Py_ssize_t symbol, int phase, bint dense,
        double partials_bound
    ):
        """Set what of the state is not in its arrays, which are filled already.

        The last sources are those of the last pending step, or without any in slot 0.
        """
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

    cdef Py_ssize_t slot_of(self, const State* st) noexcept:
        """The row of z_block that has the last sources of a state of this network; 0 if there are none."""
        return 0 if st.z == NULL else (<char*> st.z - <char*> st.z_block) // self.bytes_of_z()

    # ---- calls ----

    cdef int bind_chunk(self, Chunk* chunk, object inputs, object targets, Py_ssize_t n_targets) except -1:
        """Point a chunk at packed arrays: symbols and classes are 1-D int32, the others 2-D reals."""
        cdef Py_ssize_t n_steps = len(inputs)
        cdef Py_ssize_t row_of_inputs = self.net.shape.n_inputs * self.kernel.real_bytes
        cdef Py_ssize_t row_of_targets = self.net.shape.n_outputs * self.kernel.real_bytes
        memset(chunk, 0, sizeof(Chunk))
        if inputs.ndim == 1:
            chunk.symbols = <const int32_t*> checked_address(inputs, n_steps * sizeof(int32_t))
        else:
            chunk.values = <const real*> checked_address(inputs, n_steps * row_of_inputs)
        if targets is None:
            return 0
        if targets.ndim == 1:
            chunk.classes = <const int32_t*> checked_address(targets, n_targets * sizeof(int32_t))
        else:
            chunk.targets = <const real*> checked_address(targets, n_targets * row_of_targets)
        return 0

    cdef real* outputs(self, object out, Py_ssize_t n_steps) except? NULL:
        """Where the outputs of n_steps go."""
        return <real*> checked_address(out, n_steps * self.net.shape.n_outputs * self.kernel.real_bytes)

    def settle(self, ds_dw, coef_block):
        """Carry out the pending steps on copies of the partials and of `coef_block`; the state stays as it is."""
        cdef State st
        self.enter(False)
        try:
            st = self.st
            st.ds_dw = <real*> address(ds_dw)
            st.coef_block = <real*> address(coef_block)
            self.kernel.settle(&self.net, &st)
        finally:
            self.leave(False)

    cdef void do_steps(
        self, State* st, const Chunk* chunk, Py_ssize_t begin, Py_ssize_t end, const uint8_t* resets, bint learns,
        double rate, real* y, real** records, Report* report
    ) noexcept nogil:
        """Steps begin to end of a chunk, at least one, cut where the state is reset: before the steps that `resets` has
        as 1, unless it is NULL.
        """
        cdef Py_ssize_t cut = end
        cdef const void* found
        while True:
            if resets != NULL:
                if resets[begin]:
                    self.kernel.reset(&self.net, st)
                found = memchr(resets + begin + 1, 1, end - begin - 1)
                cut = end if found == NULL else <const uint8_t*> found - resets
            if learns:
                self.kernel.learn(&self.net, st, chunk, begin, cut, rate, y, report)
            else:
                self.kernel.run(&self.net, st, chunk, begin, cut, y, records, report)
            if report.status != OK or cut == end:
                return
            begin = cut

    cdef int advance(
        self, State* st, const Chunk* chunk, Py_ssize_t n_steps, const uint8_t* resets, bint learns, double rate,
        real* y, real** records, str where
    ) except -1:
        """The steps of a chunk from a claimed state on, slice after slice; a single small step keeps the GIL."""
        cdef Py_ssize_t begin = 0
        cdef Py_ssize_t end
        cdef Py_ssize_t slice_steps = self.slice_of(chunk)
        cdef Report report
        while begin < n_steps:
            end = min(n_steps, begin + slice_steps)
            if n_steps > 1 or slice_steps < SLICE // WORTH_RELEASING:
                with nogil:
                    self.do_steps(st, chunk, begin, end, resets, learns, rate, y, records, &report)
            else:
                self.do_steps(st, chunk, begin, end, resets, learns, rate, y, records, &report)
            if report.status != OK:
                end = report.step + 1
                advice = STREAM
                if learns:
                    advice += "; " + self.after_overflow(chunk, end, end, True)
                raise self.not_finite(report.status, where.format(report.step), advice)
            begin = end
            if begin < n_steps:
                PyErr_CheckSignals()
        if learns and self.saturated is not None:
            self.check_saturation(chunk, n_steps)
        return 0

    cdef int go_on(
        self, const Chunk* chunk, Py_ssize_t n_steps, object resets, bint learns, double rate, real* y,
        real** records, str where
    ) except -1:
        """The steps of a chunk of this state's stream; resets: None, or an array of bools."""
        cdef const uint8_t* cuts = NULL
        if resets is not None:
            self.check_may_reset()
            cuts = <const uint8_t*> checked_address(resets, n_steps)
        self.enter(learns)
        try:
            self.advance(&self.st, chunk, n_steps, cuts, learns, rate, y, records, where)
        finally:
            self.leave(learns)
        return 0

    cdef int check_may_reset(self) except -1:
        """Refuse to set the network's own state anew while another thread trains the network."""
        if self.is_own and gil_load64(&self.lock[1]) not in (0, this_thread()):
            raise RuntimeError(NETWORK_IN_USE)
        return 0

    def reset(self):
        """Set the state to zero; the network's own state not while another thread trains the network."""
        self.check_may_reset()
        self.enter(False)
        self.kernel.reset(&self.net, &self.st)
        self.leave(False)

    def step(self, x, out):
        """One step of inference."""
        return self.infer(x, out, False)

    def peek(self, x, out):
        """The outputs that a step of inference would give; the state stays as it is."""
        return self.infer(x, out, True)

    cdef object infer(self, object x, object out, bint ahead):
        """One step of inference; if `ahead`, in a copy of the state."""
        cdef Py_buffer view
        cdef Chunk chunk
        cdef int32_t symbol
        memset(&chunk, 0, sizeof(Chunk))
        out = self.get_output(out)
        self.get_input(x, &view, &chunk, &symbol)
        try:
            self.enter(False)
            try:
                self.advance(
                    self.get_preview() if ahead else &self.st, &chunk, 1, NULL, False, 0, <real*> address(out), NULL,
                    THIS_STEP
                )
            finally:
                self.leave(False)
        finally:
            release(&view)
        return out

    cdef State* get_preview(self) except NULL:
        """A copy of all that a step of inference needs of the claimed state; its arrays are made for the first one."""
        if self.preview_memory is None:
            memory = self.layout.preview_places.memory()
            self.bind_states(&self.preview, sizeof(State), 1, memory)
            self.preview_memory = memory
        self.copy_activations(&self.preview, &self.st)
        return &self.preview

    cdef void copy_activations(self, State* st, const State* other) noexcept:
        """Copy the activations and cell states of another state of the same network."""
        memcpy(st.act, other.act, self.net.shape.n_lanes * self.kernel.real_bytes)
        memcpy(st.y_c, other.y_c, self.net.shape.n_cell_lanes * self.kernel.real_bytes)
        memcpy(st.s_c, other.s_c, self.net.shape.n_cell_lanes * self.kernel.real_bytes)

    def assign(self, Engine other):
        """Copy all of another state of the same network; allocates nothing."""
        if other is self:
            return
        self.check_may_reset()
        self.enter(False)
        try:
            other.enter(False)
            try:
                self.copy_state(&other.st)
            finally:
                other.leave(False)
        finally:
            self.leave(False)

    cdef void copy_state(self, const State* other) noexcept:
        """Copy what goes on from step to step, and what a late error signal of the last step needs."""
        cdef Py_ssize_t i
        cdef Py_ssize_t size = self.kernel.real_bytes
        cdef Py_ssize_t n = self.net.shape.n_partials
        cdef Py_ssize_t n_fixed = self.net.shape.n_sources - self.net.shape.n_inputs
        cdef Py_ssize_t unread = self.net.shape.n_inputs if other.symbol >= 0 and not other.dense else 0
        cdef Py_ssize_t slot = self.slot_of(other)
        cdef State* st = &self.st
        for i in range(st.n_rows):
            memset(self.at(st.ds_dw, st.rows[i] * n), 0, n * size)
        for i in range(n_fixed, st.n_rows):
            st.is_listed[st.rows[i]] = 0
        memcpy(st.rows, other.rows, other.n_rows * sizeof(int32_t))
        for i in range(n_fixed, other.n_rows):
            st.is_listed[other.rows[i]] = 1
        if other.phase != NOT_LEARNING:  # else all partials are zero
            for i in range(other.n_rows):
                memcpy(self.at(st.ds_dw, other.rows[i] * n), self.at(other.ds_dw, other.rows[i] * n), n * size)
        self.copy_activations(st, other)
        memcpy(st.h, other.h, self.net.shape.n_cell_lanes * size)
        memcpy(st.gates, other.gates, 3 * self.net.shape.n_cell_lanes * size)
        memcpy(st.y, other.y, self.net.shape.n_out_lanes * size)
        memcpy(st.symbols, other.symbols, other.n_pending * sizeof(int32_t))
        memcpy(st.coef_block, other.coef_block, other.n_pending * n * size)
        if self.net.shape.lane_forget >= 0:
            memcpy(st.decay_block, other.decay_block, other.n_pending * n * size)
        for i in range(max(other.n_pending, slot + 1)):  # the sources of the pending steps and of the last step
            memcpy(
                self.at(st.z_block, i * st.n_z + unread), self.at(other.z_block, i * st.n_z + unread),
                (st.n_z - unread) * size,
            )
        st.z = NULL if other.z == NULL else self.at(st.z_block, slot * st.n_z)
        st.n_pending, st.n_rows, st.dense = other.n_pending, other.n_rows, other.dense
        st.partials_bound, st.symbol, st.phase = other.partials_bound, other.symbol, other.phase

    cdef double weight(self, object weight) except -1:
        """The weight of an error signal: finite, at least 0."""
        cdef double found = weight if isinstance(weight, float) else not_negative("weight", weight)
        if not 0 <= found:
            not_negative("weight", weight)
        if found == INFINITY or (found > 0 and self.kernel.real_bytes == sizeof(float) and <float> found == INFINITY):
            raise ValueError(f"weight must be finite in {self.dtype}, got {weight!r}")
        return found

    def learn(self, x, target, learning_rate, weight, out):
        """One step of learning."""
        cdef Py_buffer x_view, target_view
        cdef Chunk chunk
        cdef int32_t symbol, klass
        cdef double rate = self.rate(learning_rate)
        cdef double weight_of_signal
        memset(&chunk, 0, sizeof(Chunk))
        weight_of_signal = self.weight(weight)
        chunk.weights = &weight_of_signal
        out = self.get_output(out)
        self.get_input(x, &x_view, &chunk, &symbol)
        try:
            self.get_target(target, &target_view, &chunk, &klass)
            try:
                self.go_on(&chunk, 1, None, True, rate, <real*> address(out), NULL, THIS_STEP)
            finally:
                release(&target_view)
        finally:
            release(&x_view)
        return out

    def correct(self, target, learning_rate, weight):
        """The error signal of the last learning step."""
        cdef Py_buffer view
        cdef Chunk chunk
        cdef int32_t klass = -1
        cdef int status = OK
        cdef double rate = self.rate(learning_rate)
        cdef double weight_of_signal = self.weight(weight)
        memset(&chunk, 0, sizeof(Chunk))
        self.get_target(target, &view, &chunk, &klass)
        try:
            if chunk.targets == NULL and chunk.classes == NULL:
                raise ValueError(f"target must be the last step's target, got {target!r}")
            self.enter(True)
            try:
                if self.st.phase != AWAITING:
                    raise RuntimeError("correct() needs a learn step without a target right before it")
                status = self.kernel.correct(&self.net, &self.st, chunk.targets, klass, weight_of_signal, rate)
            finally:
                self.leave(True)
            if status != OK:  # said while the target is still there
                raise self.not_finite(status, THIS_STEP, f"{STREAM}; {self.after_overflow(&chunk, 0, 1, True)}")
        finally:
            release(&view)

    def run(self, inputs, out, records, resets=None):
        """Inference over packed inputs; records: None, or an array or None for each of `layout.RECORDS`.

        resets: None, or bools, contiguous: the state is reset before the steps for which they are true.
        """
        cdef Chunk chunk
        cdef real* pointers[N_RECORDS]
        cdef Py_ssize_t i
        cdef Py_ssize_t n_steps = len(inputs)
        self.bind_chunk(&chunk, inputs, None, 0)
        if records is not None:
            for i in range(N_RECORDS):
                pointers[i] = NULL if records[i] is None else <real*> address(records[i])
        self.go_on(
            &chunk, n_steps, resets, False, 0, self.outputs(out, n_steps), NULL if records is None else pointers,
            NTH_STEP
        )

    def learn_run(self, inputs, targets, learning_rate, weights, out, resets=None):
        """Learning steps over packed inputs and targets; weights: float64, (n_steps,), or None; resets as in `run`."""
        cdef Chunk chunk
        cdef Py_ssize_t n_steps = len(inputs)
        cdef double rate = self.rate(learning_rate)
        self.bind_chunk(&chunk, inputs, targets, n_steps)
        if weights is not None:
            chunk.weights = <const double*> checked_address(weights, n_steps * sizeof(double))
        self.go_on(&chunk, n_steps, resets, True, rate, self.outputs(out, n_steps), NULL, NTH_STEP)


cdef class Hold:
    """A claim on a network's weights, on a state, or on both, from `with` to the end of its block.

    Written in C, so that no signal's handler runs between the claim and the block that ends it.
    """

    cdef Engine engine
    cdef bint weights, state
    cdef int64_t purpose, before

    def __init__(self, Engine engine, bint weights, bint state, int64_t purpose):
        self.engine, self.weights, self.state, self.purpose = engine, weights, state, purpose

    def __enter__(self):
        self.before = self.engine.claim(CHANGING if self.state else FREE, self.purpose if self.weights else FREE)
        if self.weights and self.purpose == TRAINING and self.before == FREE:
            gil_store64(&self.engine.lock[1], this_thread())

    def __exit__(self, kind, error, trace):  # not *_, for which there may be no memory
        if self.weights:
            if self.purpose == TRAINING and self.before == FREE:
                gil_store64(&self.engine.lock[1], 0)
            gil_store64(self.engine.lock, self.before)
        if self.state:
            gil_store64(&self.engine.busy, FREE)
