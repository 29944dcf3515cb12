"""How errors flow back in time (section 3 and appendix A.2 of the paper), read off the learners' weight changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lstm97.methods import BPTT, RTRL, Learner, RecurrentTopology, train
from lstm97.network import Network
from lstm97.sequences import Sequences
from lstm97.topology import Topology

Floats = NDArray[np.float64]

STEPS = 100
UNITS = 10
SEEDS = 20
INIT_RANGES = (0.2, 1.0, 4.0)
"""Ranges of initial weights of the conventional nets. By the paper's bound errors must vanish below 4 / UNITS = 0.4."""

RATE = 1e100
"""The learning rate: so large that the weights before the change are lost in rounding. Results are divided by it."""


@dataclass(frozen=True)
class Flow:
    """How strongly an error reaches units some steps back, in nets of one kind."""

    method: str
    init_range: float
    sizes: Floats
    """Shape (SEEDS, STEPS): of each net, the error's norm at lags 0, 1, ..., as a share of that at lag 0."""


def error_flow(learner: Learner | Network) -> Floats:
    """Return the norm of the error at the net inputs of recurrent units or cells, by how many steps it went back.

    Every step of a sequence has an input symbol of its own, and the last one a target. So the weights from the symbol
    of a step change by exactly the error that reaches that step.

    Parameters
    ----------
    learner : RTRL, BPTT or lstm97.Network
        It has one input for each step of the sequence. Its weights are changed.

    Returns
    -------
    ndarray, shape (n_inputs,)
        At lag 0, 1, ...: of an LSTM at its cells.
    """
    n_steps = learner.topology.n_inputs
    kind = "cell" if isinstance(learner, Network) else "recurrent"
    view = learner.weights[kind]  # the kinds of weights differ between learners and networks
    before = view.copy()
    target = np.ones((1, learner.topology.n_outputs))
    train(learner, Sequences([*range(n_steps)], [0, n_steps]), target, learning_rate=RATE, update="sequence")
    changes = (view - before)[:, :n_steps]
    sizes: Floats = np.linalg.norm(changes, axis=0)[::-1] / RATE
    return sizes


def measure() -> list[Flow]:
    """Let errors flow through nets of each kind with random weights, STEPS steps back."""
    conventional = RecurrentTopology(n_inputs=STEPS, n_outputs=1, n_hidden=UNITS)
    makes = [(name, init_range, make) for init_range in INIT_RANGES for name, make in (("rtrl", RTRL), ("bptt", BPTT))]
    flows = [
        _flow(name, init_range, [make(conventional, seed=seed, init_range=init_range) for seed in range(SEEDS)])
        for name, init_range, make in makes
    ]
    cells = Topology(STEPS, 1, blocks=(1,) * UNITS)
    lstms = [Network(cells, seed=seed, init_range=0.2) for seed in range(SEEDS)]
    return [*flows, _flow("lstm", 0.2, lstms)]


def _flow(method: str, init_range: float, learners: Sequence[Learner | Network]) -> Flow:
    sizes = np.array([error_flow(learner) for learner in learners])
    return Flow(method, init_range, sizes / sizes[:, :1])
