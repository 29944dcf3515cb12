"""Exclusive or of two marked bits long ago: Adam solves what plain gradient descent does not."""

from __future__ import annotations

import numpy as np
import pytest

from lstm97 import SGD, Adam, History, Network, Stop, Topology, train

LENGTH = 20
PORTION, N_PORTIONS = 25_000, 12  # 300,000 sequences; on average Adam takes 40,000
TOPOLOGY = Topology(2, 1, blocks=(1,) * 16, loss="cross_entropy")  # with 8 cells a seed in 20 is not solved


def marked_bits(rng, n):
    """n sequences of random bits, -1 or 1, of which two in the first half are marked, and the exclusive or of these."""
    bits, marks = rng.integers(2, size=(n, LENGTH)), np.zeros((n, LENGTH))
    first, second = rng.integers(0, 5, n), rng.integers(5, 10, n)
    each = np.arange(n)
    marks[each, first] = marks[each, second] = 1
    targets = bits[each, first] ^ bits[each, second]
    return np.stack([2.0 * bits - 1, marks], axis=-1), targets[:, None].astype(float)


def is_solved(optimizer, learning_rate, seed):
    """Whether 1000 sequences in a row come out on the right side of 1/2, none of them seen before."""
    net, rng, history = Network(TOPOLOGY, seed=seed, optimizer=optimizer), np.random.default_rng(seed), History()
    stop = Stop(window=1000, tolerance=0.5, mean_error=1.0, max_wrong=0)
    for _ in range(N_PORTIONS):
        if train(net, *marked_bits(rng, PORTION), learning_rate, stop=stop, history=history).stopped:
            return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_adam_solves_it(seed):
    assert is_solved(Adam(), 0.003, seed)


@pytest.mark.slow
@pytest.mark.parametrize("learning_rate", [0.02, 0.1, 0.5])
def test_plain_gradient_descent_does_not(learning_rate):
    assert not is_solved(SGD(), learning_rate, seed=0)
