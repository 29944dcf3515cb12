"""The adding task against the paper's statements."""

from __future__ import annotations

import numpy as np
import pytest
from frequencies import assert_frequencies
from hypothesis import given
from hypothesis import strategies as st

from lstm97.paper import adding

# ---- the adding task ----


def draw(seed, n_sequences, lag):
    return adding(np.random.default_rng(seed), n_sequences, lag)


def mark_probabilities(lag):
    """The probabilities that each pair is marked, and of pairs of marks, from all choices that the paper allows."""
    probability, both = np.zeros(lag), np.zeros((lag, lag))
    for first in range(10):
        unmarked = [pair for pair in range(lag) if pair != first][: lag // 2 - 1]
        for second in unmarked:
            share = 1 / (10 * len(unmarked))
            probability[[first, second]] += share
            both[min(first, second), max(first, second)] += share
    return probability, both


@pytest.mark.parametrize(("lag", "longest"), [(11, 12), (19, 20), (100, 110), (105, 115), (1000, 1100)])
def test_lengths_are_uniform_from_lag_to_a_tenth_more(lag, longest):
    n = 4000 if lag < 1000 else 20_000
    inputs, _ = draw(1, n, lag)
    values = np.arange(lag, longest + 1)
    counts = np.bincount(inputs.lengths, minlength=longest + 1)
    assert len(inputs) == n
    assert len(counts) == longest + 1
    assert counts[:lag].sum() == 0
    assert_frequencies(counts[values], np.full(len(values), 1 / len(values)), n)


def test_values_are_uniform_in_minus_one_to_one():
    inputs, _ = draw(2, 1000, 100)
    counts, _ = np.histogram(inputs.values[:, 0], bins=20, range=(-1, 1))
    assert counts.sum() == inputs.n_steps
    assert_frequencies(counts, np.full(20, 1 / 20), inputs.n_steps)


@given(st.integers(11, 60), st.integers(1, 40), st.integers(0, 2**32))
def test_markers_and_targets_of_every_sequence(lag, n_sequences, seed):
    inputs, targets = draw(seed, n_sequences, lag)
    assert targets.shape == (n_sequences, 1)
    for sequence, target in zip(inputs, targets[:, 0], strict=True):
        values, markers = sequence.T
        assert markers[0] == markers[-1] == -1
        assert np.isin(markers[1:-1], [0, 1]).all()
        marked = np.flatnonzero(markers == 1)
        # At most one of the two marks is invisible: that of the first pair, which then counts as 0.
        assert len(marked) in (1, 2)
        assert target == pytest.approx(0.5 + values[marked].sum() / 4)
        assert 0 <= target <= 1
        assert marked.max() <= max(9, lag // 2 - 1)
        assert len(marked) == 1 or marked.min() < 10


@pytest.mark.parametrize("lag", [11, 14, 20, 30, 100])
def test_each_pair_is_marked_as_often_as_the_rule_says(lag):
    n = 40_000
    inputs, _ = draw(3, n, lag)
    start = inputs.offsets[:-1]
    probability, both = mark_probabilities(lag)
    markers = inputs.values[start[:, np.newaxis] + np.arange(1, lag - 1), 1] == 1
    assert_frequencies(markers.sum(axis=0), probability[1 : lag - 1], n)
    assert probability[lag - 1] == 0
    # If the first pair is marked, only the other mark is visible.
    alone = markers[markers.sum(axis=1) == 1]
    assert_frequencies(alone.sum(axis=0), both[0, 1 : lag - 1], n)
    assert_frequencies(len(alone), probability[0], n)


def test_target_is_known_from_the_visible_marks_alone():
    inputs, targets = draw(4, 2000, 100)
    first_marked = 0
    for sequence, target in zip(inputs, targets[:, 0], strict=True):
        values, markers = sequence.T
        visible = values[markers == 1]
        assert target == pytest.approx(0.5 + visible.sum() / 4)
        first_marked += len(visible) == 1
    assert_frequencies(first_marked, 1 / 10 + 9 / 10 / 49, 2000)  # first choice, or else second


def test_adding_draws_the_same_from_the_same_seed_and_fresh_sequences_from_one_generator():
    rng = np.random.default_rng(5)
    (inputs, targets), (others, _) = adding(rng, 50, 30), adding(rng, 50, 30)
    again, targets_again = draw(5, 50, 30)
    np.testing.assert_array_equal(inputs.values, again.values)
    np.testing.assert_array_equal(inputs.offsets, again.offsets)
    np.testing.assert_array_equal(targets, targets_again)
    assert not np.isin(inputs.values[:, 0], others.values[:, 0]).any()


@pytest.mark.parametrize(("n_sequences", "lag", "name"), [(-1, 100, "n_sequences"), (10, 10, "lag")])
def test_adding_refuses(n_sequences, lag, name):
    with pytest.raises(ValueError, match=f"^{name} is {n_sequences if name == 'n_sequences' else lag}"):
        draw(6, n_sequences, lag)
