"""The training sequences and the tests of trials, against slow and obvious versions."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from reber import inner_successors

from lstm97 import Network, Topology
from lstm97.paper import run_trial, select_rows, tasks
from lstm97.paper.tasks import problems
from lstm97.paper.tasks.problems import FreshSequences, GrammarStrings, problem_of

ROW = {row.row: row for row in select_rows([])}


def rng_of(seed):
    return np.random.default_rng(seed)


def small(name, **changes):
    """A row with sequences of a few steps."""
    row = ROW[name]
    if row.task.startswith("long-lag"):
        changes |= {"topology": dataclasses.replace(row.topology, n_inputs=9, n_outputs=9), "lag": 8}
    elif not row.task.startswith("temporal-order"):
        changes |= {"lag": 12}
    return dataclasses.replace(row, **changes)


def network_of(experiment, seed=1):
    """A network whose outputs differ a lot from sequence to sequence."""
    return Network(experiment.topology, seed=seed, init_range=2.0)


def stepped(network, sequence):
    """Outputs at every step, one step after the other from a zero state."""
    network.reset()
    return [network.step(int(x) if sequence.dtype.kind == "i" else x) for x in sequence]


def one_hot(k, n):
    return [1.0 if i == k else 0.0 for i in range(n)]


def errors_by_hand(network, inputs, targets, *, last_step=False):
    """Absolute errors of every sequence at each of its targets and outputs, one list for each sequence."""
    n = network.topology.n_outputs
    found = []
    for i, sequence in enumerate(inputs):
        outputs, target = stepped(network, sequence), targets[i]
        if np.ndim(target) == 0:
            pairs = [(outputs[-1], one_hot(target, n))]
        elif isinstance(targets, np.ndarray):
            pairs = [(outputs[-1], target)]
        else:
            pairs = [(y, one_hot(t, n)) for y, t in zip(outputs, target, strict=True)]
        judged = pairs[-1:] if last_step else pairs
        found.append([abs(t - y) for row, wanted in judged for y, t in zip(row, wanted, strict=True)])
    return found


def middle(errors):
    """A tolerance that some of the sequences exceed and some do not."""
    largest = [max(one) for one in errors]
    assert min(largest) < max(largest)
    return (min(largest) + max(largest)) / 2


GENERATORS = {
    "2a": lambda rng, n: tasks.long_lag(rng, n, 8),
    "2b": lambda rng, n: tasks.long_lag(rng, n, 8, random_middle=True),
    "2c-50-50": lambda rng, n: tasks.distractors(rng, n, 12, 50),
    "3a-100-3": lambda rng, n: tasks.two_sequences(rng, n, 12, 3, variant="a"),
    "3b-100-1": lambda rng, n: tasks.two_sequences(rng, n, 12, 1, variant="b"),
    "4-100": lambda rng, n: tasks.adding(rng, n, 12),
    "5-13": lambda rng, n: tasks.multiplication(rng, n, 12),
    "6a": lambda rng, n: tasks.temporal_order(rng, n, 2),
    "6b": lambda rng, n: tasks.temporal_order(rng, n, 3),
}
"""Rows that are tested with the targets of training, and the sequences of their small versions."""


# ---- fresh sequences ----


@pytest.mark.parametrize("name", GENERATORS)
def test_sequences_to_train_on_are_those_of_the_task_in_their_order(name):
    problem = problem_of(small(name), 1, tolerance=0.1)
    rng, same = rng_of(3), rng_of(3)
    for n in (7, 20):
        inputs, targets, order = problem.draw(rng, n)
        expected, expected_targets = GENERATORS[name](same, n)
        assert order.tolist() == list(range(n))
        np.testing.assert_array_equal(inputs.values, expected.values)
        np.testing.assert_array_equal(inputs.offsets, expected.offsets)
        for target, wanted in zip(targets, expected_targets, strict=True):
            np.testing.assert_array_equal(target, wanted)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_fresh_sequence_is_wrong_if_any_output_at_a_target_is_off_by_more_than_the_tolerance(name):
    experiment = small(name)
    network = network_of(experiment)
    errors = errors_by_hand(network, *GENERATORS[name](rng_of(4), 40))
    tolerance = middle(errors)
    ((wrong, means),) = problem_of(experiment, 1, tolerance=tolerance).test(network, rng_of(4), 40, 40)
    assert wrong.tolist() == [max(one) > tolerance for one in errors]
    assert means == pytest.approx([sum(one) / len(one) for one in errors])
    assert 0 < wrong.sum() < 40


@pytest.mark.parametrize("name", ["2a", "2b"])
def test_only_the_last_step_is_judged_on_request(name):
    experiment = small(name)
    network = network_of(experiment)
    inputs, targets = GENERATORS[name](rng_of(5), 40)
    errors = errors_by_hand(network, inputs, targets, last_step=True)
    assert all(len(one) == 9 for one in errors)
    tolerance = middle(errors)
    problem = problem_of(experiment, 1, tolerance=tolerance, last_step=True)
    ((wrong, means),) = problem.test(network, rng_of(5), 40, 40)
    assert wrong.tolist() == [max(one) > tolerance for one in errors]
    assert means == pytest.approx([sum(one) / len(one) for one in errors])
    # With all steps judged the means differ.
    ((_, means_of_all),) = problem_of(experiment, 1, tolerance=tolerance).test(network, rng_of(5), 40, 40)
    assert (means_of_all != means).all()


def test_an_error_as_large_as_the_tolerance_is_right():
    experiment = small("4-100")
    network = network_of(experiment)
    ((_, means),) = problem_of(experiment, 1, tolerance=0.0).test(network, rng_of(6), 1, 1)
    for tolerance, is_wrong in ((means[0], False), (np.nextafter(means[0], 0), True), (0.0, True), (math.inf, False)):
        ((wrong, _),) = problem_of(experiment, 1, tolerance=float(tolerance)).test(network, rng_of(6), 1, 1)
        assert wrong.tolist() == [is_wrong]


@pytest.mark.parametrize(("at_once", "sizes"), [(10, [10, 10, 5]), (25, [25]), (100, [25]), (1, [1] * 25)])
def test_portions_of_a_test_are_drawn_when_they_are_asked_for(at_once, sizes):
    experiment = small("4-100")
    network = network_of(experiment)
    rng, same = rng_of(7), rng_of(7)
    portions = problem_of(experiment, 1, tolerance=0.3).test(network, rng, 25, at_once)
    for size in sizes:
        wrong, means = next(portions)
        errors = errors_by_hand(network, *tasks.adding(same, size, 12))
        assert wrong.tolist() == [one[0] > 0.3 for one in errors]
        assert means == pytest.approx([one[0] for one in errors])
        assert rng.bit_generator.state == same.bit_generator.state
    assert next(portions, None) is None


def test_testing_leaves_the_network_as_it_is():
    experiment = small("6a")
    network = network_of(experiment)
    before = network.parameters
    list(problem_of(experiment, 1, tolerance=0.3).test(network, rng_of(8), 30, 7))
    np.testing.assert_array_equal(network.parameters, before)


# ---- targets with noise ----


def constant(topology, value):
    """A network whose only output is always the same."""
    network = Network(topology, seed=1)
    network.parameters = np.zeros(topology.n_weights)
    network.weights["output"][0, -1] = math.log(value / (1 - value))
    return network


@pytest.mark.parametrize(("value", "is_class_1"), [(0.2, False), (0.8, True)])
def test_noisy_targets_are_judged_without_their_noise(value, is_class_1):
    experiment = small("3c-100-3")
    network = constant(Topology(1, 1, blocks=(1,)), value)
    n = 400
    ((wrong, means),) = problem_of(experiment, 1, tolerance=0.1).test(network, rng_of(9), n, n)
    np.testing.assert_allclose(means, np.where(wrong, 0.6, 0.0), atol=1e-12)
    # The class follows from the informative elements, 1 or -1 each with a standard deviation of 0.45.
    inputs, _ = tasks.two_sequences(rng_of(9), n, 12, 3, variant="b")
    guessed = np.array([sequence[:3].sum() > 0 for sequence in inputs])
    assert np.mean(guessed == (wrong != is_class_1)) > 0.97
    assert 0.4 < wrong.mean() < 0.6


def test_noisy_targets_are_trained_on_with_their_noise():
    inputs, targets, _ = problem_of(small("3c-100-3"), 1, tolerance=0.1).draw(rng_of(10), 2000)
    positive = np.array([sequence[:3].sum() > 0 for sequence in inputs])
    assert targets.shape == (2000, 1)
    assert len(np.unique(targets)) == 2000
    for of_class, mean in ((targets[positive], 0.8), (targets[~positive], 0.2)):
        # The mean of about 1000 targets of variance 0.1, and the few whose class is guessed wrong.
        assert of_class.mean() == pytest.approx(mean, abs=0.06)
        assert of_class.var() == pytest.approx(0.1, abs=0.025)


# ---- the embedded Reber grammar ----


def string_of(inputs, targets):
    return "".join(tasks.REBER[k] for k in [*inputs, targets[-1]])


def successors(string):
    """The symbols that may follow after each symbol of a string, except the last."""
    assert string[0] + string[-1] == "BE"
    assert string[1] == string[-2]
    assert string[1] in "TP"
    return [{"T", "P"}, *inner_successors(string[2:-2]), {string[1]}, {"E"}]


def strings_of(grammar):
    return [string_of(x, t) for x, t in zip(grammar.inputs, grammar.targets, strict=True)]


@pytest.fixture(scope="module")
def sets():
    return tasks.embedded_reber_sets(rng_of(0))


def test_a_string_is_right_where_all_possible_symbols_are_more_active_than_all_others(sets):
    # After this little training some strings are right and some wrong.
    network, _ = run_trial(ROW["1-5"], 1, max_sequences=3000)
    expected = []
    for strings in sets:
        for x, string in zip(strings.inputs, strings_of(strings), strict=True):
            is_right, errors = True, []
            for y, possible, following in zip(stepped(network, x), successors(string), string[1:], strict=True):
                others = set(tasks.REBER) - possible
                activity = dict(zip(tasks.REBER, y, strict=True))
                is_right &= min(activity[symbol] for symbol in possible) > max(activity[symbol] for symbol in others)
                errors += [abs((symbol == following) - activity[symbol]) for symbol in tasks.REBER]
            expected.append((sum(errors) / len(errors), not is_right))
    found = [
        (error, is_wrong)
        for wrong, means in GrammarStrings(0).test(network, rng_of(1), 256, 64)
        for error, is_wrong in zip(means.tolist(), wrong.tolist(), strict=True)
    ]
    # The order of the strings is not fixed, so the sorted errors are compared.
    assert len(found) == 2 * 256
    expected.sort()
    found.sort()
    assert [error for error, _ in found] == pytest.approx([error for error, _ in expected])
    assert [is_wrong for _, is_wrong in found] == [is_wrong for _, is_wrong in expected]
    assert 0 < sum(is_wrong for _, is_wrong in found) < 512


class Oracle:
    """Replaces `predict`: gives the possible symbols; optionally with a wrong activity at one step of one string."""

    def __init__(self, string=None, step=0, activity=0.0):
        self.string, self.step, self.activity = string, step, activity
        self.seen = []

    def __call__(self, network, inputs):
        return [self.outputs(x) for x in inputs]

    def outputs(self, x):
        string = "".join(tasks.REBER[k] for k in x) + "E"
        self.seen.append(string)
        possible = successors(string)
        outputs = np.array([[1.0 if symbol in here else 0.0 for symbol in tasks.REBER] for here in possible])
        if string == self.string:
            impossible = np.flatnonzero(outputs[self.step] == 0)
            outputs[self.step, impossible[-1]] = self.activity
        return outputs


def wrong_by(oracle, monkeypatch):
    monkeypatch.setattr(problems, "predict", oracle)
    network = Network(ROW["1-1"].topology)
    return sum(int(wrong.sum()) for wrong, _ in GrammarStrings(0).test(network, rng_of(1), 256, 64))


def test_every_string_of_both_sets_is_judged_and_a_perfect_network_has_none_wrong(sets, monkeypatch):
    oracle = Oracle()
    assert wrong_by(oracle, monkeypatch) == 0
    assert sorted(oracle.seen) == sorted(strings_of(sets[0]) + strings_of(sets[1]))


@pytest.mark.parametrize("of_set", [0, 1])
@pytest.mark.parametrize("number", [0, 1, 17, 254, 255])
def test_one_impossible_symbol_as_active_as_a_possible_one_makes_its_string_wrong(sets, monkeypatch, of_set, number):
    strings = strings_of(sets[of_set])
    string = strings[number]
    for step in (0, len(string) // 2, len(string) - 2):
        assert wrong_by(Oracle(string, step, activity=1.0), monkeypatch) == strings.count(string)
        assert wrong_by(Oracle(string, step, activity=0.999), monkeypatch) == 0


def test_training_strings_are_drawn_at_random_from_the_training_set(sets):
    training, test = (strings_of(strings) for strings in sets)
    inputs, targets, order = GrammarStrings(0).draw(rng_of(2), 256 * 40)
    drawn = [string_of(inputs[i], targets[i]) for i in order]
    assert len(drawn) == 256 * 40
    assert set(drawn) == set(training)
    assert not set(drawn) & set(test)
    # Each of 256 strings is expected 40 times; six standard deviations.
    assert np.abs(np.bincount(order, minlength=256) - 40).max() < 6 * math.sqrt(40)
    assert (np.diff(order) < 0).any()
    for k in (0, 100, 255):
        assert [set("".join(tasks.REBER[t])) for t in targets[k]] == [
            {symbol} for symbol in string_of(inputs[k], targets[k])[1:]
        ]


def test_seeds_take_turns_with_three_pairs_of_sets(sets):
    def training_set(seed):
        problem = problem_of(ROW["1-1"], seed, tolerance=math.inf)
        assert isinstance(problem, GrammarStrings)
        inputs, targets, _ = problem.draw(rng_of(0), 1)
        return tuple(string_of(x, t) for x, t in zip(inputs, targets, strict=True))

    found = [training_set(seed) for seed in range(1, 31)]
    assert found[0] == tuple(strings_of(sets[0]))
    assert found == 10 * found[:3]
    assert len(set(found)) == 3


def test_all_tasks_but_the_grammar_draw_fresh_sequences():
    for row in ROW.values():
        kind = GrammarStrings if row.paper_task == "1" else FreshSequences
        assert isinstance(problem_of(row, 1, tolerance=0.1), kind)
