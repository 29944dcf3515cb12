"""Tasks 4 and 5 of the paper: the sum and the product of the values of two marked pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm97.paper.tasks._drawing import Floats, check, draw_lengths, offsets_of
from lstm97.sequences import Sequences

SHORTEST_LAG = 11
"""The shortest lag of tasks 4 and 5 at which the first ten pairs never include the last pair, whose marker is -1."""


def adding(rng: np.random.Generator, n_sequences: int, lag: int) -> tuple[Sequences, Floats]:
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
    values, offsets, x1, x2 = _marked_pairs(rng, n_sequences, lag, low=-1.0, unseen=0.0)
    return Sequences(values, offsets), (0.5 + (x1 + x2) / 4.0)[:, np.newaxis]


def multiplication(rng: np.random.Generator, n_sequences: int, lag: int) -> tuple[Sequences, Floats]:
    """Draw sequences of the multiplication task (task 5 of the paper).

    As `adding`, with values in [0, 1) and the product of the two marked ones as the target; a marked first pair, whose
    mark cannot be seen, counts as 1.

    Parameters
    ----------
    rng, n_sequences, lag
        As for `adding`.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 2): the value and the marker.
    targets : ndarray of float64, shape (n_sequences, 1)
        One target per sequence, for its last step; in [0, 1].

    Raises
    ------
    ValueError
        As for `adding`.
    """
    values, offsets, x1, x2 = _marked_pairs(rng, n_sequences, lag, low=0.0, unseen=1.0)
    return Sequences(values, offsets), (x1 * x2)[:, np.newaxis]


def _marked_pairs(
    rng: np.random.Generator, n_sequences: int, lag: int, *, low: float, unseen: float
) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Pairs (value, marker) of tasks 4 and 5, where their sequences begin, and the values of the two marked ones.

    Values are uniform in [low, 1). A marked first pair counts as `unseen`.
    """
    check("n_sequences", n_sequences, 0)
    if lag < SHORTEST_LAG:
        raise ValueError(
            f"lag is {lag}, expected {SHORTEST_LAG} or more: "
            "one of the first ten pairs is marked and must not be the last one"
        )
    offsets = offsets_of(draw_lengths(rng, n_sequences, lag))
    start, last = offsets[:-1], offsets[1:] - 1

    first = rng.integers(10, size=n_sequences)
    second = rng.integers(lag // 2 - 1, size=n_sequences)
    second += second >= first  # counted among the pairs that are still unmarked

    values = np.zeros((int(offsets[-1]), 2))
    values[:, 0] = rng.uniform(low, 1.0, size=len(values))
    values[start + first, 1] = 1.0
    values[start + second, 1] = 1.0
    values[start, 1] = -1.0  # written after the marks, so that a marked first pair has -1
    values[last, 1] = -1.0

    x1 = np.where(first == 0, unseen, values[start + first, 0])
    x2 = np.where(second == 0, unseen, values[start + second, 0])
    return values, offsets, x1, x2
