# A learning network for compiled code: C functions that Cython code cimports and calls without the GIL.
#
#     from lstm97.cython_api cimport LSTM97_OK, lstm97_bind, lstm97_learn, lstm97_stream, lstm97_unbind
#
#     cdef lstm97_stream* stream = lstm97_bind(net.state, sizeof(double), True)
#     with nogil:
#         status = lstm97_learn(stream, x, target, 0.1, y)    # double *x, *target, *y
#     lstm97_unbind(stream)
#
# What is declared here keeps its meaning and its binary form in every version 0.x of the package that has it; new
# functions and codes may join. Numbers are of the network's dtype: `double` for float64, `float` for float32.

cdef extern from *:
    """
    typedef struct lstm97_stream lstm97_stream;
    """
    ctypedef struct lstm97_stream   # a bound state; opaque

cdef enum:
    # The first four are the Status of abi.pxd.
    LSTM97_OK = 0
    # Weights are those before the call; reset the stream.
    LSTM97_CELL_STATE_NOT_FINITE = 1
    LSTM97_OUTPUT_NOT_FINITE = 2
    LSTM97_CHANGE_NOT_FINITE = 3    # a weight would become infinite or NaN
    # Nothing has changed.
    LSTM97_INPUT_NOT_FINITE = 4     # x or target has NaN or infinity
    LSTM97_BAD_LEARNING_RATE = 5    # not positive and finite in the network's dtype
    LSTM97_NOT_AWAITING = 6         # the last step was not a learn step without target
    LSTM97_NOT_LEARNING = 7         # the stream is bound for inference

# Bind a State (of lstm97.Network.state or new_state()), which this keeps alive, with its network. Until `lstm97_unbind`
# Python's calls on the state are refused and, if it is bound to learn, all calls that change the network's weights or
# read them as a whole (save, copies). Several states of one network may be bound at a time, also to learn. real_bytes
# is the size of a number: sizeof(double) or sizeof(float).
# TypeError: not a State, or its numbers have another size. RuntimeError: it is in use, or cannot learn now.
cdef lstm97_stream* lstm97_bind(object state, size_t real_bytes, bint learns) except NULL

# Release the state. The pointer must not be used afterwards. NULL is allowed and does nothing.
cdef int lstm97_unbind(lstm97_stream* stream) except -1

# The functions below allocate nothing, take no lock and do not call Python. The caller ensures that arrays are
# contiguous and as long as the topology says, that there is one call at a time on a stream, and that while a call
# learns, no other call learns on the same network.

# One step of inference: x (n_inputs,), y (n_outputs,). As Network.step.
cdef int lstm97_step(lstm97_stream* stream, const void* x, void* y) noexcept nogil

# One step of learning; target (n_outputs,), or NULL for none. y is by the weights before the change. As Network.learn.
cdef int lstm97_learn(
    lstm97_stream* stream, const void* x, const void* target, double learning_rate, void* y
) noexcept nogil

# Learn from the target of the last learn step when it comes late; it must not be NULL. As Network.correct.
cdef int lstm97_correct(lstm97_stream* stream, const void* target, double learning_rate) noexcept nogil

# Set the state to zero. As State.reset.
cdef void lstm97_reset(lstm97_stream* stream) noexcept nogil
