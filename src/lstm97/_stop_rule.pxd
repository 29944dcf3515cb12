# The stop rule of lstm97.Stop, as all loops judge it; its struct is in _abi.pxd.

from libc.stdint cimport uint8_t
from libc.string cimport memset

from lstm97._abi cimport StopRule


cdef inline void add_error(StopRule* rule, double error) noexcept nogil:
    """Add to the sum of the window's errors, keeping what rounding drops (Neumaier): the terms may differ in size."""
    cdef double total = rule.error_sum + error
    if (rule.error_sum if rule.error_sum > 0 else -rule.error_sum) >= (error if error > 0 else -error):
        rule.error_rest += (rule.error_sum - total) + error
    else:
        rule.error_rest += (error - total) + rule.error_sum
    rule.error_sum = total


cdef inline bint rule_holds(StopRule* rule, double error, bint wrong) noexcept nogil:
    """Enter a sequence into the window; whether the rule holds now: window full, few wrong, mean error small."""
    cdef Py_ssize_t place = rule.n_seen % rule.window
    if rule.n_seen >= rule.window:
        rule.n_wrong -= rule.wrong[place]
        add_error(rule, -rule.errors[place])
    rule.errors[place] = error
    rule.wrong[place] = wrong
    rule.n_wrong += wrong
    add_error(rule, error)
    rule.n_seen += 1
    return (
        rule.n_seen >= rule.window
        and rule.n_wrong <= rule.max_wrong
        and rule.error_sum + rule.error_rest < rule.mean_error * rule.window
    )


cdef inline int take_rule(StopRule* rule, object history) except -1:
    """Go on with a History's stop rule, which keeps the arrays; if it has none, the window is 0."""
    cdef double[::1] errors
    cdef uint8_t[::1] wrong
    memset(rule, 0, sizeof(StopRule))
    window = history._window
    if window is not None:
        errors, wrong = window.errors, window.wrong
        rule.errors, rule.wrong = &errors[0], &wrong[0]
        rule.window, rule.max_wrong = window.stop.window, window.stop.max_wrong
        rule.tolerance, rule.mean_error = window.stop.tolerance, window.stop.mean_error
        rule.n_seen, rule.n_wrong = window.n_seen, window.n_wrong
        rule.error_sum, rule.error_rest = window.error_sum, window.error_rest
    return 0


cdef inline int give_back_rule(const StopRule* rule, object history) except -1:
    """Let the History know how far the rule has come."""
    window = history._window
    if window is not None:
        window.n_seen, window.n_wrong = rule.n_seen, rule.n_wrong
        window.error_sum, window.error_rest = rule.error_sum, rule.error_rest
    return 0
