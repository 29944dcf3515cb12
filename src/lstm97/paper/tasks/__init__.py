"""The paper's tasks: seeded generators of fresh sequences, and how a network's answers to them are judged.

A generator takes a `numpy.random.Generator`, a number of sequences and the task's own parameters, and returns
`(inputs, targets)`: an `lstm97.Sequences` and what `lstm97.train` wants as targets. All sequences of a call
are written into one flat array, so the cost per sequence stays far below the cost of training on it.
"""

from __future__ import annotations

from lstm97.paper.tasks.long_lags import distractors, long_lag
from lstm97.paper.tasks.marked_pairs import SHORTEST_LAG, adding, multiplication
from lstm97.paper.tasks.reber import REBER, Grammar, embedded_reber, embedded_reber_sets
from lstm97.paper.tasks.symbol_order import TEMPORAL_ORDER, temporal_order
from lstm97.paper.tasks.two_class import two_sequences

__all__ = [
    "REBER",
    "SHORTEST_LAG",
    "TEMPORAL_ORDER",
    "Grammar",
    "adding",
    "distractors",
    "embedded_reber",
    "embedded_reber_sets",
    "long_lag",
    "multiplication",
    "temporal_order",
    "two_sequences",
]
