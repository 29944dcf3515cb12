"""Task 6 of the paper: the temporal order of two symbols (6a) or three (6b)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstm97.paper.tasks._drawing import check, draw_lengths, offsets_of
from lstm97.sequences import Sequences

TEMPORAL_ORDER = "EBabcdXY"
"""The symbols of the temporal order tasks, in the order of their numbers."""


def temporal_order(
    rng: np.random.Generator, n_sequences: int, n_relevant: int = 2
) -> tuple[Sequences, NDArray[np.int32]]:
    """Draw sequences of the temporal order tasks (6a with two relevant symbols, 6b with three).

    E first and B last, 100 to 110 symbols; X or Y at random in each relevant place, a, b, c or d in all others.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    n_relevant : {2, 3}
        2: the relevant symbols are at t1 in 10..20 and t2 in 50..60. 3: in 10..20, 33..43 and 66..76. Places are
        counted from 0.

    Returns
    -------
    inputs : lstm97.Sequences
        Symbols, as numbers of `TEMPORAL_ORDER`.
    targets : ndarray of int32, shape (n_sequences,)
        The class for the last step: the relevant symbols as binary digits, X 0 and Y 1, the first the most significant.

    Raises
    ------
    ValueError
        If `n_sequences` is negative or `n_relevant` neither 2 nor 3.
    """
    check("n_sequences", n_sequences, 0)
    begins = {2: (10, 50), 3: (10, 33, 66)}.get(n_relevant)
    if begins is None:
        raise ValueError(f"n_relevant is {n_relevant}, expected 2 or 3")
    offsets = offsets_of(draw_lengths(rng, n_sequences, 100))
    a, x = TEMPORAL_ORDER.index("a"), TEMPORAL_ORDER.index("X")
    values = rng.integers(a, a + 4, size=int(offsets[-1]), dtype=np.int32)
    values[offsets[:-1]] = TEMPORAL_ORDER.index("E")
    values[offsets[1:] - 1] = TEMPORAL_ORDER.index("B")
    classes = np.zeros(n_sequences, np.int32)
    for begin in begins:
        is_y = rng.integers(2, size=n_sequences, dtype=np.int32)
        values[offsets[:-1] + rng.integers(begin, begin + 10, size=n_sequences, endpoint=True)] = x + is_y
        classes = 2 * classes + is_y
    return Sequences(values, offsets), classes
