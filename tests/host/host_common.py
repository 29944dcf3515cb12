"""What the programs `host_*.py` share: a network whose single steps hand the GIL over, and whether it is learning."""

from __future__ import annotations

import warnings

import numpy as np

import lstm97

LARGE = lstm97.Topology(2, 1, blocks=(1,) * 100, output="identity")
NO_STEPS = np.empty((0, 2))


def constant(n_steps):
    """Inputs and targets: what is learned does not matter."""
    return np.full((n_steps, 2), 0.5), np.full((n_steps, 1), 0.25)


def is_learning(net):
    """Whether another thread is in a call that learns; asking changes nothing."""
    try:
        net.learn_run(NO_STEPS, None, state=net.new_state())
    except RuntimeError:
        return True
    return False


def fork_without_warning():
    """From Python 3.12 on a fork comes with a warning where there are threads, which is what some of these test."""
    warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
