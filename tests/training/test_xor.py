"""Exclusive or of two marked bits long ago: Adam solves within minutes what plain gradient descent does not."""

from __future__ import annotations

import numpy as np
import pytest

from lstm97 import SGD, Adam, Network, Stop, Topology, train

LENGTH = 20
N_SEQUENCES = 300_000
TOPOLOGY = Topology(2, 1, blocks=(1,) * 8, loss="cross_entropy")


def marked_bits(seed, n=N_SEQUENCES):
    """Sequences of random bits, -1 or 1, of which two in the first half are marked, and the exclusive or of these.

    The last bit that matters is at least 10 steps from the end.
    """
    rng = np.random.default_rng(seed)
    bits, marks = rng.integers(2, size=(n, LENGTH)), np.zeros((n, LENGTH))
    first, second = rng.integers(0, 5, n), rng.integers(5, 10, n)
    each = np.arange(n)
    marks[each, first] = marks[each, second] = 1
    targets = bits[each, first] ^ bits[each, second]
    return np.stack([2.0 * bits - 1, marks], axis=-1), targets[:, None].astype(float)


def is_solved(optimizer, learning_rate, seed):
    """Whether 1000 sequences in a row come out on the right side of 1/2, none of them seen before."""
    net = Network(TOPOLOGY, seed=seed, optimizer=optimizer)
    stop = Stop(window=1000, tolerance=0.5, mean_error=1.0, max_wrong=0)
    return train(net, *marked_bits(seed), learning_rate, stop=stop).stopped


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_adam_solves_it(seed):
    assert is_solved(Adam(), 0.003, seed)


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [0.02, 0.1, 0.5])
def test_plain_gradient_descent_does_not(learning_rate):
    assert not any(is_solved(SGD(), learning_rate, seed) for seed in range(2))
