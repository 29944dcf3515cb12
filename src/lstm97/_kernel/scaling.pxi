# Scaling inside the network: the running mean and deviation of each input and target, and what they make of data.

cdef inline void take_in(double* column, double x, double decay) noexcept nogil:
    """Take a value into the statistics of its column, by Welford's method; what came before counts `decay` times.

    A value so large that its square overflows is left out: the network's own overflow tells of it.
    """
    cdef double count = decay * column[COUNT] + 1
    cdef double delta = x - column[MEAN]
    cdef double mean = column[MEAN] + delta / count
    cdef double squares = decay * column[SQUARES] + delta * (x - mean)
    if squares - squares != 0:
        return
    column[COUNT], column[MEAN], column[SQUARES] = count, mean, squares
    column[DEVIATION] = sqrt(squares / count)


cdef void take_in_inputs(const Net* net, const Chunk* chunk, Py_ssize_t t) noexcept nogil:
    """Take the inputs of a chunk's step t into their statistics."""
    cdef Py_ssize_t m
    if net.standards.inputs == NULL or chunk.symbols != NULL:
        return
    for m in range(net.shape.n_inputs):
        take_in(
            net.standards.inputs + m * N_STATISTICS, chunk.values[t * net.shape.n_inputs + m], net.standards.decay
        )


cdef inline double scaled(const double* column, double x) noexcept nogil:
    """x in deviations from the mean; 0 if its column has always been the same."""
    return (x - column[MEAN]) / column[DEVIATION] if column[DEVIATION] > 0 else 0


cdef void take_in_targets(const Net* net, const real* target, Py_ssize_t klass) noexcept nogil:
    """Take a target, as far as it is given, into the statistics."""
    cdef Py_ssize_t k
    cdef real t
    if net.standards.targets == NULL or (target == NULL and klass < 0):
        return
    for k in range(net.shape.n_outputs):
        t = (k == klass) if klass >= 0 else target[k]
        if t == t:
            take_in(net.standards.targets + k * N_STATISTICS, t, net.standards.decay)


cdef void scale_target(const Net* net, State* st) noexcept nogil:
    """The state's target in deviations from the mean, where targets are scaled."""
    cdef Py_ssize_t k
    if net.standards.targets == NULL:
        return
    for k in range(net.shape.n_outputs):
        if st.target[k] == st.target[k]:
            st.target[k] = <real> scaled(net.standards.targets + k * N_STATISTICS, st.target[k])


cdef inline double output_in_units(const Net* net, const State* st, Py_ssize_t k) noexcept nogil:
    """An output of the last step in the units of the targets."""
    cdef const double* column
    if net.standards.targets == NULL:
        return st.y[k]
    column = net.standards.targets + k * N_STATISTICS
    return st.y[k] * column[DEVIATION] + column[MEAN]


cdef inline bint give_outputs(const Net* net, const State* st, real* y) noexcept nogil:
    """Copy the outputs, in the units of the targets, to y; returns whether they are finite."""
    cdef Py_ssize_t k
    if net.standards.targets == NULL:
        memcpy(y, st.y, net.shape.n_outputs * sizeof(real))
        return True
    for k in range(net.shape.n_outputs):
        y[k] = <real> output_in_units(net, st, k)
    return first_not_finite(y, net.shape.n_outputs) < 0
