"""Common parts of `host_*.py`: a network so large that its single steps release the GIL, and whether it is learning."""

from __future__ import annotations

import warnings

import numpy as np

import lstm97

LARGE = lstm97.Topology(2, 1, blocks=(1,) * 100, output="identity")
NO_STEPS = np.empty((0, 2))


def constant(n_steps):
    """Constant inputs and targets, for tests where it does not matter what is learned."""
    return np.full((n_steps, 2), 0.5), np.full((n_steps, 1), 0.25)


def is_learning(net):
    """Whether another thread is in a call that learns; this check changes nothing."""
    try:
        net.learn_run(NO_STEPS, None, state=net.new_state())
    except RuntimeError:
        return True
    return False


def fork_without_warning():
    """Ignore the warning that a fork gives from Python 3.12 on if there are threads: some programs test just that."""
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
