# The stop rule of lstm97.Stop, as all loops judge it, in C alone; its struct is in abi.pxd. A History's own rule is
# handed to the loops by stop_window.pxd.

from lstm97._kernel.abi cimport StopRule


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
    cdef Py_ssize_t slot = rule.n_seen % rule.window
    if rule.n_seen >= rule.window:
        rule.n_wrong -= rule.wrong[slot]
        add_error(rule, -rule.errors[slot])
    rule.errors[slot] = error
    rule.wrong[slot] = wrong
    rule.n_wrong += wrong
    add_error(rule, error)
    rule.n_seen += 1
    return (
        rule.n_seen >= rule.window
        and rule.n_wrong <= rule.max_wrong
        and rule.error_sum + rule.error_rest < rule.mean_error * rule.window
    )
