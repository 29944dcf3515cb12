"""Task 3 of the paper: the two-sequence problem, noise and signal on the same input line."""

from __future__ import annotations

import numpy as np

from lstm97.paper.tasks._drawing import Floats, check, draw_lengths, offsets_of
from lstm97.sequences import Sequences


def two_sequences(
    rng: np.random.Generator, n_sequences: int, lag: int, n_informative: int, *, variant: str = "a"
) -> tuple[Sequences, Floats]:
    """Draw sequences of the two-sequence problem (task 3 of the paper): noise and signal on the same input line.

    The first N elements are +1 in sequences of class 1 and -1 in those of class 2. All others are Gaussian with mean 0
    and VARIANCE 0.2.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where all randomness comes from.
    n_sequences : int
        How many sequences to draw.
    lag : int
        The paper's T: lengths are uniform in [T, T + T / 10], both ends included.
    n_informative : int
        The paper's N, from 1 to `lag`.
    variant : {"a", "b", "c"}
        "a": as above. "b": the informative elements carry the same noise too. "c": as "b", and the targets are 0.2 and
        0.8 plus Gaussian noise of variance 0.1.

    Returns
    -------
    inputs : lstm97.Sequences
        Values of shape (n_steps, 1).
    targets : ndarray of float64, shape (n_sequences, 1)
        For the last step: 1 for class 1 and 0 for class 2; with "c" 0.8 and 0.2, noise added.

    Raises
    ------
    ValueError
        If a number is out of range or the variant unknown.
    """
    check("n_sequences", n_sequences, 0)
    check("n_informative", n_informative, 1)
    check("lag", lag, n_informative)
    if variant not in ("a", "b", "c"):
        raise ValueError(f"variant is {variant!r}, expected 'a', 'b' or 'c'")
    offsets = offsets_of(draw_lengths(rng, n_sequences, lag))
    is_class_1 = rng.integers(2, size=n_sequences).astype(bool)
    values = rng.normal(scale=np.sqrt(0.2), size=(int(offsets[-1]), 1))
    informative = offsets[:-1, np.newaxis] + np.arange(n_informative)
    sign = np.where(is_class_1, 1.0, -1.0)[:, np.newaxis]
    values[informative, 0] = sign + (values[informative, 0] if variant != "a" else 0.0)
    targets = noise_free = is_class_1[:, np.newaxis].astype(np.float64)
    if variant == "c":
        targets = 0.2 + 0.6 * noise_free + rng.normal(scale=np.sqrt(0.1), size=noise_free.shape)
    return Sequences(values, offsets), targets
