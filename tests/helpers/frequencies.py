"""How often what was drawn may come."""

from __future__ import annotations

import numpy as np


def assert_frequencies(counts, probabilities, n):
    """Counts of n independent draws are within five standard deviations of what is expected."""
    probabilities = np.asarray(probabilities)
    deviation = np.sqrt(n * probabilities * (1 - probabilities))
    assert (np.abs(counts - n * probabilities) <= 5 * deviation).all()
