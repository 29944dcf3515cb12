"""The paper's tasks: seeded generators of fresh sequences and their targets.

A generator takes a `numpy.random.Generator`, a number of sequences and the task's own parameters, and returns
`(inputs, targets)`: an `lstm97.Sequences` and what `lstm97.train` wants as targets. All sequences of a call
are written into one flat array, so the cost per sequence stays far below the cost of training on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm97 import Sequences

SHORTEST_ADDING_LAG = 11
"""The shortest lag at which the first ten pairs never include the last pair, whose marker is -1."""


def adding(rng: np.random.Generator, n_sequences: int, lag: int) -> tuple[Sequences, NDArray[np.float64]]:
    """Draw sequences of the adding task (task 4 of the paper).

    Every element is a pair (value, marker). One of the first ten pairs is marked 1, then one of the first
    ``lag // 2 - 1`` pairs that are still unmarked. All other markers are 0, except those of the first and the
    last pair, which are always -1. The target, known at the end only, is ``0.5 + (X1 + X2) / 4`` for the
    values X1 and X2 of the two marked pairs.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's T: lengths are uniform in [T, T + T / 10], both ends included. At least 11.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 2): the value, uniform in [-1, 1), and the marker.
    targets : ndarray of float64, shape (n_sequences, 1)
        One target per sequence, for its last step; in [0, 1].

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `lag` is below 11.

    Notes
    -----
    A first pair that gets marked keeps its marker -1: the network cannot see the mark, and the pair's value
    counts as 0 in the target.
    """
    if n_sequences < 0:
        raise ValueError(f"n_sequences is {n_sequences}, expected 0 or more")
    if lag < SHORTEST_ADDING_LAG:
        raise ValueError(
            f"lag is {lag}, expected {SHORTEST_ADDING_LAG} or more: "
            "one of the first ten pairs is marked and must not be the last one"
        )
    lengths = rng.integers(lag, lag + lag // 10, size=n_sequences, endpoint=True)
    offsets = np.zeros(n_sequences + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    start, last = offsets[:-1], offsets[1:] - 1

    first = rng.integers(10, size=n_sequences)
    second = rng.integers(lag // 2 - 1, size=n_sequences)
    second += second >= first  # the pair marked already does not count among the unmarked ones

    values = np.zeros((int(offsets[-1]), 2))
    values[:, 0] = rng.uniform(-1.0, 1.0, size=len(values))
    values[start + first, 1] = 1.0
    values[start + second, 1] = 1.0
    values[start, 1] = -1.0  # after the marks: a marked first pair keeps -1
    values[last, 1] = -1.0

    x1 = np.where(first == 0, 0.0, values[start + first, 0])
    x2 = np.where(second == 0, 0.0, values[start + second, 0])
    return Sequences(values, offsets), (0.5 + (x1 + x2) / 4.0)[:, np.newaxis]
