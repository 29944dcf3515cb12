# What the loops of several learners share: packed data, a sequence's errors, memory, rows of numbers.

from libc.math cimport NAN, fabs, isfinite, isnan
from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np

from lstm97._kernel.abi cimport StopRule
from lstm97._kernel.arrays cimport address
from lstm97._kernel.stop_rule cimport rule_holds

cdef struct Tally:                  # of the errors of one sequence
    Py_ssize_t n_signals
    double error_sum, error_max

cdef struct Chunk:                  # packed inputs, rows or symbols, and targets, rows or classes or none
    const double *values
    const int32_t *symbols
    const double *targets
    const int32_t *classes


# ---- rows ------------------------------------------------------------------------------------------------------------

cdef inline void add_row(double* to, const double* row, double scale, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] += scale * row[i]


cdef inline double dot(const double* a, const double* b, Py_ssize_t n) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += a[i] * b[i]
    return total


cdef inline bint all_finite(const double* a, Py_ssize_t n) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t i
    for i in range(n):
        total += a[i] * 0
    return isfinite(total)


# ---- targets and errors ----------------------------------------------------------------------------------------------

cdef inline const double* target_at(const Chunk* chunk, Py_ssize_t index, double* row, Py_ssize_t n) noexcept nogil:
    """The targets at an index of the chunk, as a row; NaN where there are none."""
    cdef Py_ssize_t k
    if chunk.targets != NULL:
        return chunk.targets + index * n
    for k in range(n):
        row[k] = NAN if chunk.classes == NULL or chunk.classes[index] < 0 else 0
    if chunk.classes != NULL and chunk.classes[index] >= 0:
        row[chunk.classes[index]] = 1
    return row


cdef inline void add_to_tally(Tally* tally, const double* o, const double* target, Py_ssize_t n) noexcept nogil:
    """Count the errors of a step, if it has targets."""
    cdef Py_ssize_t k
    cdef double error
    if isnan(target[0]):
        return
    tally.n_signals += 1
    for k in range(n):
        error = fabs(target[k] - o[k])
        tally.error_sum += error
        if error > tally.error_max or isnan(error):  # a NaN stays: nothing is greater
            tally.error_max = error


cdef inline bint end_of_sequence(
    const Tally* tally, Py_ssize_t n_outputs, double* error, StopRule* rule
) noexcept nogil:
    """Store the sequence's mean error; returns whether there is a stop rule that holds."""
    error[0] = NAN
    if not tally.n_signals:
        return False
    error[0] = tally.error_sum / (tally.n_signals * n_outputs)
    return rule.window and rule_holds(rule, error[0], not tally.error_max <= rule.tolerance)


cdef inline int raise_not_finite(Py_ssize_t sequence) except -1:
    raise FloatingPointError(f"weights overflowed in sequence {sequence}; try a smaller learning_rate")


# ---- arrays ----------------------------------------------------------------------------------------------------------

cdef inline double* kept_address(object array, list arrays) except NULL:
    """The address of a float64 array's numbers, valid for as long as the list holds the array."""
    if not array.size:
        array = np.zeros(1)
    arrays.append(array)
    return <double*> address(array)


cdef inline double* zeros(Py_ssize_t n, list arrays) except NULL:
    """New memory for n numbers."""
    return kept_address(np.zeros(max(n, 1)), arrays)


cdef inline int bind_chunk(Chunk* chunk, object inputs, object targets) except -1:
    """Point a chunk at packed arrays, which the caller keeps alive: 1-D int32 symbols or classes, or rows."""
    memset(chunk, 0, sizeof(Chunk))
    if len(inputs):
        if inputs.ndim == 1:
            chunk.symbols = <const int32_t*> address(inputs)
        else:
            chunk.values = <const double*> address(inputs)
    if targets is not None and len(targets):
        if targets.ndim == 1:
            chunk.classes = <const int32_t*> address(targets)
        else:
            chunk.targets = <const double*> address(targets)
    return 0
