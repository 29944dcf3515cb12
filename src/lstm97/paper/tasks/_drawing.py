"""What the generators share: checks of their arguments, and the lengths and offsets of sequences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def check(name: str, value: int, at_least: int) -> None:
    """Refuse a number that is too small."""
    if value < at_least:
        raise ValueError(f"{name} is {value}, expected {at_least} or more")


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where sequences of these lengths, one after the other, begin and end."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def draw_lengths(rng: np.random.Generator, n_sequences: int, lag: int) -> NDArray[np.int64]:
    """Draw lengths of sequences, uniform in [T, T + T / 10] for T = `lag`."""
    return rng.integers(lag, lag + lag // 10, size=n_sequences, endpoint=True)
