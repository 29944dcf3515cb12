"""C functions for compiled code that lets a network learn; cython_api.pxd documents them."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport INFINITY
from libc.string cimport memset

from lstm97._kernel.abi cimport AWAITING, Binding, Chunk, Report, real

from lstm97.network import State


cdef struct Stream:         # the type behind the opaque lstm97_stream
    Binding to
    bint learns
    PyObject* state         # kept alive


cdef lstm97_stream* lstm97_bind(object state, size_t real_bytes, bint learns) except NULL:
    cdef Stream* stream
    if not isinstance(state, State):
        raise TypeError(f"state must be a State, got {type(state).__name__}")
    engine = state._engine
    if real_bytes != engine.layout.dtype.itemsize:
        raise TypeError(f"real_bytes is {real_bytes}, but the network's dtype is {engine.layout.dtype}")
    stream = <Stream*> PyMem_Malloc(sizeof(Stream))
    if stream == NULL:
        raise MemoryError()
    try:
        stream.to = (<Binding*> PyCapsule_GetPointer(engine.bind(learns=learns), "lstm97.binding"))[0]
    except BaseException:
        PyMem_Free(stream)
        raise
    stream.learns = learns
    stream.state = <PyObject*> state
    Py_INCREF(state)
    return <lstm97_stream*> stream


cdef int lstm97_unbind(lstm97_stream* stream) except -1:
    cdef Stream* bound = <Stream*> stream
    if bound == NULL:
        return 0
    state = <object> bound.state
    state._engine.unbind(learns=bound.learns)
    PyMem_Free(bound)
    Py_DECREF(state)
    return 0


cdef inline bint finite(const Binding* to, const void* numbers, Py_ssize_t n) noexcept nogil:
    """Whether n numbers are neither NaN nor infinite."""
    return to.kernel.first_not_finite(<const real*> numbers, n) < 0


cdef inline int check(const Binding* to, const void* target, double learning_rate) noexcept nogil:
    """LSTM97_OK, or the status of a target that is not finite, or of a rate not positive and finite in the dtype."""
    if not finite(to, target, to.net.shape.n_outputs):
        return LSTM97_INPUT_NOT_FINITE
    if to.kernel.real_bytes == sizeof(float):
        learning_rate = <float> learning_rate
    return LSTM97_OK if 0 < learning_rate < INFINITY else LSTM97_BAD_LEARNING_RATE


cdef int lstm97_step(lstm97_stream* stream, const void* x, void* y) noexcept nogil:
    cdef Binding* to = &(<Stream*> stream).to
    cdef Chunk chunk
    cdef Report report
    if not finite(to, x, to.net.shape.n_inputs):
        return LSTM97_INPUT_NOT_FINITE
    memset(&chunk, 0, sizeof(Chunk))
    chunk.values = <const real*> x
    to.kernel.run(to.net, to.st, &chunk, 0, 1, <real*> y, NULL, &report)
    return report.status


cdef int lstm97_learn(
    lstm97_stream* stream, const void* x, const void* target, double learning_rate, void* y
) noexcept nogil:
    cdef Binding* to = &(<Stream*> stream).to
    cdef Chunk chunk
    cdef Report report
    cdef int status = LSTM97_OK
    if not (<Stream*> stream).learns:
        return LSTM97_NOT_LEARNING
    if not finite(to, x, to.net.shape.n_inputs):
        return LSTM97_INPUT_NOT_FINITE
    if target != NULL:
        status = check(to, target, learning_rate)
        if status != LSTM97_OK:
            return status
    memset(&chunk, 0, sizeof(Chunk))
    chunk.values = <const real*> x
    chunk.targets = <const real*> target
    to.kernel.learn(to.net, to.st, &chunk, 0, 1, learning_rate, <real*> y, &report)
    return report.status


cdef int lstm97_correct(lstm97_stream* stream, const void* target, double learning_rate) noexcept nogil:
    cdef Binding* to = &(<Stream*> stream).to
    cdef int status
    if not (<Stream*> stream).learns:
        return LSTM97_NOT_LEARNING
    status = check(to, target, learning_rate)
    if status != LSTM97_OK:
        return status
    if to.st.phase != AWAITING:
        return LSTM97_NOT_AWAITING
    return to.kernel.correct(to.net, to.st, <const real*> target, -1, 1, learning_rate)


cdef void lstm97_reset(lstm97_stream* stream) noexcept nogil:
    cdef Binding* to = &(<Stream*> stream).to
    to.kernel.reset(to.net, to.st)
