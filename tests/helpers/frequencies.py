"""A check that values drawn at random come about as often as their probabilities say."""

from __future__ import annotations

import numpy as np


def assert_frequencies(counts, probabilities, n):
    """Check that counts of n independent draws are within five standard deviations of their expected values."""
    probabilities = np.asarray(probabilities)
    deviation = np.sqrt(n * probabilities * (1 - probabilities))
    assert (np.abs(counts - n * probabilities) <= 5 * deviation).all()
