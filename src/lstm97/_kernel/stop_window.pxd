# How a History's stop rule gets to the loops and back. It uses Python objects and buffers, so `_core` may not cimport
# it: Cython's code for those alone would be half of each build of the loops.

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from lstm97._kernel.abi cimport StopRule
from lstm97._kernel.arrays cimport address


cdef inline int take_rule(StopRule* rule, object history) except -1:
    """Point a rule at a History's, which keeps the arrays alive; if the History has none, the window is 0."""
    memset(rule, 0, sizeof(StopRule))
    window = history._window
    if window is not None:
        rule.errors = <double*> address(window.errors)
        rule.wrong = <uint8_t*> address(window.wrong)
        rule.window, rule.max_wrong = window.stop.window, window.stop.max_wrong
        rule.tolerance, rule.mean_error = window.stop.tolerance, window.stop.mean_error
        rule.n_seen, rule.n_wrong = window.n_seen, window.n_wrong
        rule.error_sum, rule.error_rest = window.error_sum, window.error_rest
    return 0


cdef inline int give_back(
    const StopRule* rule, int64_t n_sequences, int64_t n_steps, bint stopped, object history
) except -1:
    """Add to the History what was done, and set its rule to this one; if memory is short, nothing changes."""
    cdef object window = history._window
    n_sequences += history._sequences
    n_steps += history._steps
    cdef object sequences = n_sequences
    cdef object steps = n_steps
    if window is not None:
        window.n_seen, window.n_wrong, window.error_sum, window.error_rest = (
            rule.n_seen, rule.n_wrong, rule.error_sum, rule.error_rest
        )
    history._sequences, history._steps, history._stopped = sequences, steps, stopped
    return 0
