"""The paper's tasks against the paper's statements, its experiments against its tables, and the trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lstm97
from lstm97.paper import READINGS, ROWS, Experiment, adding, experiment, run_trial

# ---- the adding task ----


def draw(seed, n_sequences, lag):
    return adding(np.random.default_rng(seed), n_sequences, lag)


def mark_probabilities(lag):
    """By going through all choices the paper allows: how likely each pair is marked, and pairs of marks."""
    probability, both = np.zeros(lag), np.zeros((lag, lag))
    for first in range(10):
        unmarked = [pair for pair in range(lag) if pair != first][: lag // 2 - 1]
        for second in unmarked:
            share = 1 / (10 * len(unmarked))
            probability[[first, second]] += share
            both[min(first, second), max(first, second)] += share
    return probability, both


def assert_frequencies(counts, probabilities, n):
    """Counts of n independent draws are within five standard deviations of what is expected."""
    probabilities = np.asarray(probabilities)
    deviation = np.sqrt(n * probabilities * (1 - probabilities))
    assert (np.abs(counts - n * probabilities) <= 5 * deviation).all()


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
    # The marks of the first pair, seen by the other mark being alone.
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


# ---- experiments ----


def test_table_7_is_that_of_the_paper():
    rows = ROWS["adding"]
    assert [(row.lag, row.paper.sequences, row.paper.wrong) for row in rows] == [
        (100, 74_000, 1),
        (500, 209_000, 0),
        (1000, 853_000, 1),
    ]
    for row in rows:
        assert row.topology == lstm97.Topology(2, 1, blocks=(2, 2), bias="all", output="logistic")
        assert row.topology.n_weights == 93
        assert (row.input_gate_bias, row.output_gate_bias) == ((-3, -6), None)
        assert (row.learning_rate, row.init_range, row.update) == (0.5, 0.1, "step")
        assert row.stop == lstm97.Stop(window=2000, tolerance=0.04, mean_error=0.01, max_wrong=0)
        assert (row.test_sequences, row.test_tolerance, row.trials) == (2560, 0.04, 10)
        assert row.max_sequences == 3 * row.paper.sequences
        assert row.reading == "literal"


def test_readings_of_adding_differ_in_the_output_unit_only():
    assert [reading.name for reading in READINGS["adding"]] == ["linear-output", "literal"]
    for row in ROWS["adding"]:
        literal = experiment("adding", row.lag, "literal")
        linear = experiment("adding", row.lag)
        assert literal == row
        assert linear == dataclasses.replace(
            row, reading="linear-output", topology=dataclasses.replace(row.topology, output="identity")
        )


@pytest.mark.parametrize(("lag", "row"), [(20, 100), (299, 100), (300, 500), (749, 500), (750, 1000), (9999, 1000)])
def test_a_lag_without_row_is_like_the_nearest_row(lag, row):
    expected = dataclasses.replace(experiment("adding", row), row=f"4-{lag}", lag=lag, paper=None)
    assert experiment("adding", lag) == expected


def test_experiment_names_what_it_knows():
    with pytest.raises(ValueError, match=r"^task is 'adding up', expected one of 'adding'$"):
        experiment("adding up", 100)
    with pytest.raises(ValueError, match=r"^reading is 'x', expected one of 'linear-output', 'literal'$"):
        experiment("adding", 100, "x")


# ---- trials ----


def small(lag=15, **changes) -> Experiment:
    return dataclasses.replace(experiment("adding", lag), test_sequences=100, **changes)


def test_same_seed_same_trial():
    (network, trial), (other, again) = (run_trial(small(), 7, max_sequences=1200) for _ in range(2))
    assert trial == again
    np.testing.assert_array_equal(network.parameters, other.parameters)
    _, different = run_trial(small(), 8, max_sequences=1200)
    assert (different.steps, different.train_error) != (trial.steps, trial.train_error)


@pytest.mark.parametrize("cap", [1, 999, 1000, 1001, 2500])
def test_a_trial_gives_up_at_the_exact_cap(cap):
    seen = []
    _, trial = run_trial(small(), 1, max_sequences=cap, callback=seen.append)
    assert not trial.solved
    assert trial.sequences == trial.max_sequences == cap
    assert [progress.sequences for progress in seen] == [*range(1000, cap, 1000), cap]
    assert seen[-1].steps == trial.steps
    assert seen[-1].error == trial.train_error


def test_the_cap_changes_nothing_before_it():
    errors = []
    for cap in (1500, 2500):
        run_trial(small(), 2, max_sequences=cap, callback=lambda progress: errors.append(progress.error))
    at_1000, _, again_at_1000, _, _ = errors
    assert at_1000 == again_at_1000


def test_the_stop_rule_goes_on_over_portions_and_ends_at_the_exact_sequence():
    easy = lstm97.Stop(window=1500, tolerance=100, mean_error=100)
    _, trial = run_trial(small(stop=easy), 3)
    assert trial.solved
    assert trial.sequences == 1500
    _, trial = run_trial(small(stop=easy), 3, max_sequences=1499)
    assert not trial.solved


def test_the_record_counts_what_the_network_gets_wrong():
    setting = small(test_tolerance=0.1)
    network, trial = run_trial(setting, 4, max_sequences=3000)
    inputs, targets = adding(np.random.default_rng(np.random.SeedSequence(4).spawn(3)[2]), 100, setting.lag)
    errors = []
    for sequence, target in zip(inputs, targets[:, 0], strict=True):
        network.reset()
        outputs = [network.step(x)[0] for x in sequence]
        errors.append(abs(outputs[-1] - target))
    assert 0 < trial.test_wrong == sum(error > 0.1 for error in errors) < 100
    assert trial.test_error == pytest.approx(np.mean(errors))
    assert (trial.task, trial.lag, trial.reading, trial.seed) == ("adding", 15, "linear-output", 4)
    assert trial.steps_per_second == trial.steps / trial.train_seconds
    assert trial.seconds > trial.train_seconds


def test_a_short_lag_is_learned():
    _, trial = run_trial(experiment("adding", 20), 1)
    assert trial.solved
    assert trial.train_error < 0.01
    assert trial.test_wrong <= 26  # 1 %


def test_run_trial_refuses_a_cap_of_nothing():
    with pytest.raises(ValueError, match=r"^max_sequences is 0, expected 1 or more$"):
        run_trial(small(), 1, max_sequences=0)
