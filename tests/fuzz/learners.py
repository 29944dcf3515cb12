"""One small learner of every kind, for tests that all must pass."""

from __future__ import annotations

import numpy as np

from lstm97 import Topology
from lstm97.methods import BPTT, RTRL, Chunker, ChunkerTopology, ElementwiseLSTM, Elman, RecurrentTopology

N_INPUTS = 3
N_OUTPUTS = 3  # so that targets can be the next inputs

LAYERED = RecurrentTopology(n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, n_hidden=4, input_to_output=True, squash="tanh")
FULLY = RecurrentTopology(n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, n_hidden=2, fully_recurrent=True, bias=True)
SPARSE = RecurrentTopology(
    n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, n_hidden=2, recurrence=[[True, False], [True, True]], output="identity"
)
NETS = ChunkerTopology(n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, n_hidden=2, imitated="hidden", bias=True)
NEXT = ChunkerTopology(n_inputs=N_INPUTS, n_outputs=N_OUTPUTS, next_inputs=True, time=False)
CELLS = Topology(N_INPUTS, N_OUTPUTS, blocks=(2, 1), n_hidden=1, forget_gates=True, recurrent="self")

LEARNERS = {
    "rtrl": lambda seed=1: RTRL(LAYERED, seed, 0.7),
    "rtrl, fully recurrent": lambda seed=1: RTRL(FULLY, seed, 0.7),
    "rtrl, teacher forcing": lambda seed=1: RTRL(FULLY, seed, 0.7, teacher_forcing=True),
    "bptt": lambda seed=1: BPTT(FULLY, seed=seed, init_range=0.7),
    "bptt(3)": lambda seed=1: BPTT(SPARSE, 3, seed, 0.7),
    "elman": lambda seed=1: Elman(LAYERED, seed, 0.7),
    "chunker": lambda seed=1: Chunker(NETS, seed, 0.7, threshold=0.45),
    "chunker of next inputs": lambda seed=1: Chunker(NEXT, seed, 0.7, threshold=0.45),
    "elementwise lstm": lambda seed=1: ElementwiseLSTM(CELLS, seed, 0.7),
}

PER_SEQUENCE = [name for name in LEARNERS if "chunker" not in name]
"""Learners whose weights can change once per sequence."""


def stream(n_steps, seed=0, share=0.7):
    """Inputs in [0, 1] and targets at some steps."""
    rng = np.random.default_rng([seed, n_steps])
    T = rng.random((n_steps, N_OUTPUTS))
    T[rng.random(n_steps) >= share] = np.nan
    return rng.random((n_steps, N_INPUTS)), T


def symbols(n_steps, seed=0, share=0.7):
    """Symbols and classes at some steps."""
    rng = np.random.default_rng([seed, n_steps])
    classes = rng.integers(N_OUTPUTS, size=n_steps)
    classes[rng.random(n_steps) >= share] = -1
    return rng.integers(N_INPUTS, size=n_steps), classes
