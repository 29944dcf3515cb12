"""Task 2 of the paper: long time lags, without noise (2a), with a random middle (2b), among distractors (2c)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm97.paper.tasks._drawing import check, offsets_of
from lstm97.sequences import Sequences


def long_lag(
    rng: np.random.Generator, n_sequences: int, lag: int, *, random_middle: bool = False
) -> tuple[Sequences, Sequences]:
    """Draw noise-free sequences with a long time lag (task 2a), or with a random middle (task 2b).

    With p = ``lag`` and p + 1 symbols a1 .. a(p-1), x, y, numbered in this order: (x, a1, ..., a(p-1), x) or (y, a1,
    ..., a(p-1), y), each with probability 1/2. The task is to predict the next symbol at every step.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's p, at least 2: the last symbol is known p steps before it comes.
    random_middle : bool, default False
        Draw the p - 1 symbols between at random (task 2b) instead of a1 .. a(p-1).

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, p steps each.
    targets : lstm97.Sequences
        The next symbol at every step, as a class.

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `lag` is below 2.
    """
    check("n_sequences", n_sequences, 0)
    check("lag", lag, 2)
    strings = np.empty((n_sequences, lag + 1), np.int32)
    strings[:, 0] = strings[:, -1] = rng.integers(lag - 1, lag, size=n_sequences, endpoint=True)
    strings[:, 1:-1] = rng.integers(lag - 1, size=(n_sequences, lag - 1)) if random_middle else np.arange(lag - 1)
    offsets = np.arange(n_sequences + 1) * lag
    return Sequences(strings[:, :-1].ravel(), offsets), Sequences(strings[:, 1:].ravel(), offsets)


def distractors(
    rng: np.random.Generator, n_sequences: int, lag: int, n_distractors: int
) -> tuple[Sequences, NDArray[np.int32]]:
    """Draw sequences with very long time lags and no local regularities (task 2c of the paper).

    With p = ``n_distractors`` and q = ``lag``: b, then x or y, then q distractors and k more, then e. Symbols are
    numbered a1 .. ap, e, b, x, y. k is geometric: each further element is a distractor with probability 9/10, else e.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's q; the shortest time lag is q + 1.
    n_distractors : int
        The paper's p.

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, q + k + 3 steps.
    targets : ndarray of int32, shape (n_sequences,)
        The second symbol as a class, x 0 and y 1, for the last step.

    Raises
    ------
    ValueError
        If `n_sequences` or `lag` is negative, or `n_distractors` below 1.
    """
    check("n_sequences", n_sequences, 0)
    check("lag", lag, 0)
    check("n_distractors", n_distractors, 1)
    p = n_distractors
    more = rng.geometric(0.1, size=n_sequences) - 1
    offsets = offsets_of(lag + more + 3)
    classes = rng.integers(2, size=n_sequences, dtype=np.int32)
    values = rng.integers(p, size=int(offsets[-1]), dtype=np.int32)
    values[offsets[:-1]] = p + 1
    values[offsets[:-1] + 1] = p + 2 + classes
    values[offsets[1:] - 1] = p
    return Sequences(values, offsets), classes
