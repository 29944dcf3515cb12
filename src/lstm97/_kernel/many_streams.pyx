"""Binds the arrays of many streams over one network to a build of the loops, and makes their calls."""

cimport cython
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from lstm97._kernel.abi cimport CHANGE_NOT_FINITE, OK, Chunk, Report, Streams, real
from lstm97._kernel.arrays cimport address, checked_address, point_at
from lstm97._kernel.engine cimport Engine

cdef extern from "_kernel/atomics.h":
    bint gil_compare_exchange64(int64_t*, int64_t expected, int64_t value)
    void gil_store64(int64_t*, int64_t)

# What claims ask for: the numbers of engine.pyx.
cdef enum:
    FREE = 0
    CHANGING = 1

cdef tuple ARRAYS = (
    "act", "y_c", "s_c", "phase", "has_partials", "seen_by", "n_seen", "rows", "n_rows", "present", "z", "new_act",
    "new_y_c", "new_s_c", "h", "y", "target", "weight", "e_k", "e", "e_s", "coef", "decay", "statistics_before", "dw",
    "dw_out", "seen", "is_seen", "sources", "signals", "weights", "gain", "error",
)


@cython.final
cdef class StreamsEngine:
    """The arrays of many streams, bound to the loops: the calls that step all of them.

    Between `__enter__` and `__exit__` no call uses the streams: for reading and writing their arrays.

    Parameters
    ----------
    engine : Engine
        Of the network's own state: it has the network's arrays and its lock.
    n : int
        How many streams.
    memory : layout.Memory
        ``layout.streams_memory(n)``; kept alive here.
    """

    cdef Engine engine
    cdef Streams streams
    cdef int64_t busy       # a call on these streams is under way
    cdef object kept

    def __init__(self, Engine engine, Py_ssize_t n, memory):
        cdef Streams* st = &self.streams
        cdef void** fields[33]
        memset(st, 0, sizeof(Streams))
        fields[:] = [
            <void**> &st.act, <void**> &st.y_c, <void**> &st.s_c, <void**> &st.phase, <void**> &st.has_partials,
            <void**> &st.seen, <void**> &st.n_seen, <void**> &st.rows, <void**> &st.n_rows, <void**> &st.present,
            <void**> &st.z, <void**> &st.new_act, <void**> &st.new_y_c, <void**> &st.new_s_c, <void**> &st.h,
            <void**> &st.y, <void**> &st.target, <void**> &st.weight, <void**> &st.e_k, <void**> &st.e,
            <void**> &st.e_s, <void**> &st.coef, <void**> &st.decay, <void**> &st.statistics_before,
            <void**> &st.total.dw, <void**> &st.total.dw_out, <void**> &st.total.symbols,
            <void**> &st.total.is_listed, <void**> &st.sources, <void**> &st.signals, <void**> &st.weights,
            <void**> &st.gain, <void**> &st.error,
        ]
        point_at(fields, sizeof(fields) // sizeof(void**), ARRAYS, sizeof(Streams), 1, memory)
        self.engine = engine
        self.kept = [memory]
        st.n_streams = n
        st.n_groups, _, st.width = memory.places.arrays["act"][0]
        st.n_partials = memory.places.arrays["coef"][0][0]

    def bind_partials(self, ds_dw):
        """Point the streams at the memory of their partials, ``layout.streams_partials(n)``."""
        self.kept.append(ds_dw)
        self.streams.ds_dw = <real*> address(ds_dw)

    def __enter__(self):
        if not gil_compare_exchange64(&self.busy, FREE, CHANGING):
            raise RuntimeError("these streams are in use by another thread; give each thread Streams of its own")

    def __exit__(self, kind, error, trace):
        gil_store64(&self.busy, FREE)

    cdef const uint8_t* mask(self, object mask) except? NULL:
        """Where a mask of bools is; NULL for None."""
        if mask is None:
            return NULL
        return <const uint8_t*> checked_address(mask, self.streams.n_streams)

    cdef int check(self, const Report* report, const Chunk* chunk, bint learns) except -1:
        """Raise what a report tells, unless all went well."""
        if report.status == OK:
            return 0
        advice = "reset the streams"
        if learns:
            n = self.streams.n_streams
            advice += "; " + self.engine.after_overflow(chunk, n, n, True)
        where = "this step" if report.status == CHANGE_NOT_FINITE else f"stream {report.step}"
        raise self.engine.not_finite(report.status, where, advice)

    def reset(self, mask):
        """Set the streams of the mask to zero, all if it is None."""
        cdef const uint8_t* chosen = self.mask(mask)
        with self:
            with nogil:
                self.engine.kernel.reset_streams(&self.engine.net, &self.streams, chosen)

    def step(self, inputs, mask, out, bint keeps):
        """A step of inference; the streams stay as they are unless it `keeps` the step."""
        cdef Chunk chunk
        cdef Report report
        cdef const uint8_t* chosen = self.mask(mask)
        cdef real* y = self.engine.outputs(out, self.streams.n_streams)
        self.engine.bind_chunk(&chunk, inputs, None, 0)
        with self:
            with nogil:
                self.engine.kernel.step_streams(
                    &self.engine.net, &self.streams, &chunk, chosen, keeps, y, &report
                )
        self.check(&report, &chunk, False)

    def run(self, values, at, ends, bint last, Py_ssize_t budget, out):
        """Inference of one group of streams for `budget` steps: stream i through rows at[i] to ends[i] of `values`.

        at, ends: int64, (n,); `at` goes on. Outputs go to the same rows of `out`, or, if `last`, to row i. Returns
        whether steps are left.
        """
        cdef Chunk chunk
        cdef Report report
        cdef bint is_left
        cdef Py_ssize_t n = self.streams.n_streams
        cdef int64_t* begins = <int64_t*> checked_address(at, n * sizeof(int64_t))
        cdef const int64_t* stops = <const int64_t*> checked_address(ends, n * sizeof(int64_t))
        cdef real* y = self.engine.outputs(out, n if last else len(values))
        if self.streams.n_groups != 1:
            raise SystemError("run is for one group of streams")
        self.engine.bind_chunk(&chunk, values, None, 0)
        with self:
            with nogil:
                is_left = self.engine.kernel.run_streams(
                    &self.engine.net, &self.streams, &chunk, begins, stops, last, budget, y, &report
                )
        self.check(&report, &chunk, False)
        return is_left

    def learn(self, inputs, targets, learning_rate, weights, mask, out):
        """A step of learning, and one change of the weights; the partials are bound. weights: float64 (n,), or None."""
        cdef Chunk chunk
        cdef Report report
        cdef int64_t before
        cdef Py_ssize_t n = self.streams.n_streams
        cdef double rate = self.engine.rate(learning_rate)
        cdef const uint8_t* chosen = self.mask(mask)
        cdef real* y = self.engine.outputs(out, n)
        if self.streams.ds_dw == NULL:
            raise SystemError("these streams have no partials yet")
        self.engine.bind_chunk(&chunk, inputs, targets, n)
        if weights is not None:
            chunk.weights = <const double*> checked_address(weights, n * sizeof(double))
        with self:
            before = self.engine.claim(FREE, CHANGING)
            with nogil:
                self.engine.kernel.learn_streams(
                    &self.engine.net, &self.streams, &chunk, chosen, rate, y, &report
                )
            gil_store64(self.engine.lock, before)
        self.check(&report, &chunk, True)
