"""Recurrent cascade correlation: slopes, the forward pass, growth, the stop rule, files, the Reber grammar."""

from __future__ import annotations

import numpy as np
import pytest

import lstm97
from lstm97 import History, Network, Sequences, Stop, Topology
from lstm97.methods._cascade import TrainingSet, enter, quickprop
from lstm97.methods.cascade import RCC, CascadeTopology
from lstm97.methods.learner import read

pytestmark = pytest.mark.filterwarnings("ignore:no target was found")

# ---- the reference: plain loops, one unit and one step at a time ----


def logistic(a):
    return 1 / (1 + np.exp(-a))


def squash(a, activation):
    return logistic(a) - 0.5 if activation == "symmetric" else logistic(a)


def unit_by_hand(w, sequences, before, activation):
    """V(t) of a unit that sees the inputs, the units before it, itself a step ago, and a bias."""
    V = []
    for x, hidden in zip(sequences, before, strict=True):
        own = [0.0]
        for t in range(len(x)):
            own.append(squash(w @ np.concatenate([x[t], hidden[t], [own[-1], 1.0]]), activation))
        V.append(np.array(own[1:]))
    return V


def cascade_by_hand(hidden_weights, sequences, activation):
    """The activations of all units at all steps: a list of (n_steps_i, n_hidden)."""
    found = [np.empty((len(x), 0)) for x in sequences]
    for w in hidden_weights:
        V = unit_by_hand(w, sequences, found, activation)
        found = [np.column_stack([rows, v]) for rows, v in zip(found, V, strict=True)]
    return found


def outputs_by_hand(w, sequences, hidden, output):
    Y = []
    for x, rows in zip(sequences, hidden, strict=True):
        net = np.column_stack([x, rows, np.ones(len(x))]) @ w.T
        Y.append(net if output == "identity" else logistic(net))
    return Y


class Problem:
    """A random net and a random training set: ragged sequences, one of them empty, some steps without a target."""

    def __init__(self, seed, n_units, *, symbols, activation="symmetric", output="logistic"):
        rng = np.random.default_rng(seed)
        self.activation, self.output = activation, output
        lengths = [4, 1, 0, 7, 3]
        if symbols:
            numbers = [rng.integers(3, size=n).astype(np.int32) for n in lengths]
            self.inputs, self.x = Sequences.pack(numbers), [np.eye(3)[s] for s in numbers]
        else:
            self.x = [rng.normal(size=(n, 3)) for n in lengths]
            self.inputs = Sequences.pack(self.x)
        self.targets = [rng.uniform(0, 1, (n, 2)) for n in lengths]
        for rows in self.targets:
            rows[rng.random(len(rows)) < 0.3] = np.nan
        self.targets[3][2] = 0.2, 0.9
        self.units = [rng.uniform(-2, 2, 3 + i + 2) for i in range(n_units)]
        self.w = rng.uniform(-1, 1, (2, 3 + n_units + 1))
        self.candidates = rng.uniform(-2, 2, (4, 3 + n_units + 2))
        self.order = np.array([3, 0, 1, 3, 2])  # sequence 3 twice, sequence 4 not at all
        self.hidden = cascade_by_hand(self.units, self.x, activation)
        self.set = TrainingSet(
            self.inputs.values,
            self.inputs.offsets,
            np.concatenate(self.targets),
            3,
            activation == "symmetric",
            output == "identity",
        )
        for w in self.units:
            self.set.add_unit(w)

    def outputs(self, w):
        """Targets, outputs and sources at the steps with targets, sequence after sequence in the order."""
        Y = outputs_by_hand(w, self.x, self.hidden, self.output)
        rows = [
            (self.targets[s][t], Y[s][t], np.concatenate([self.x[s][t], self.hidden[s][t], [1.0]]))
            for s in self.order
            for t in range(len(Y[s]))
            if not np.isnan(self.targets[s][t, 0])
        ]
        return tuple(np.array(column) for column in zip(*rows, strict=True))

    def residuals(self, offset):
        T, Y, _ = self.outputs(self.w)
        return (T - Y) * (1 if self.output == "identity" else Y * (1 - Y) + offset)

    def correlations(self, w, E):
        V = unit_by_hand(w, self.x, self.hidden, self.activation)
        at_targets = np.concatenate([V[s][~np.isnan(self.targets[s][:, 0])] for s in self.order])
        return (at_targets - at_targets.mean()) @ (E - E.mean(axis=0)) / (E**2).sum()


def differences(function, w, h=1e-5):
    """Central differences of a function of one array."""
    found = np.zeros_like(w)
    for i in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[i] += h
        down[i] -= h
        found[i] = (function(up) - function(down)) / (2 * h)
    return found


PROBLEMS = [
    (seed, n_units, symbols, activation, output)
    for seed, (symbols, activation, output) in enumerate(
        [
            (False, "symmetric", "logistic"),
            (True, "symmetric", "logistic"),
            (False, "logistic", "identity"),
            (True, "logistic", "identity"),
        ]
    )
    for n_units in (0, 1, 3)
]


@pytest.fixture(params=PROBLEMS, ids=lambda case: "-".join(map(str, case[1:])))
def problem(request):
    seed, n_units, symbols, activation, output = request.param
    return Problem(seed, n_units, symbols=symbols, activation=activation, output=output)


# ---- slopes ----


def test_frozen_units_activations_are_those_of_plain_loops(problem):
    assert np.allclose(problem.set.hidden, np.concatenate(problem.hidden), rtol=0, atol=1e-14)


def test_output_slopes_are_differences_of_the_squared_error(problem):
    slope = np.zeros_like(problem.w)
    error, n = problem.set.output_pass(problem.order, problem.w, 0.0, slope)

    def half_error(w):
        T, Y, _ = problem.outputs(w)
        return 0.5 * ((T - Y) ** 2).sum()

    assert np.allclose(slope, differences(half_error, problem.w), rtol=1e-6, atol=1e-8)
    assert error == pytest.approx(2 * half_error(problem.w))
    assert n == len(problem.outputs(problem.w)[0])


def test_the_prime_offset_is_part_of_residuals_and_output_slopes(problem):
    slope = np.zeros_like(problem.w)
    problem.set.output_pass(problem.order, problem.w, 0.1, slope)
    E = problem.residuals(0.1)
    assert np.allclose(slope, -E.T @ problem.outputs(problem.w)[2], rtol=1e-12, atol=1e-13)
    given = [~np.isnan(rows[:, 0]) for rows in problem.targets]
    at = [problem.set.residuals[problem.inputs.offsets[s] :][: len(given[s])][given[s]] for s in problem.order]
    assert np.allclose(np.concatenate(at), E, rtol=1e-12, atol=1e-13)


def test_a_sequences_errors_are_the_mean_and_the_largest_at_its_targets(problem):
    problem.set.output_pass(problem.order, problem.w, 0.1, np.zeros_like(problem.w))
    Y = outputs_by_hand(problem.w, problem.x, problem.hidden, problem.output)
    for s in range(5):
        errors = np.abs(problem.targets[s] - Y[s])
        errors = errors[~np.isnan(errors[:, 0])]
        if s in problem.order and errors.size:
            assert problem.set.errors[s] == pytest.approx(errors.mean())
            assert problem.set.worst[s] == pytest.approx(errors.max())
        else:
            assert np.isnan(problem.set.errors[s])
            assert np.isnan(problem.set.worst[s])


def test_candidate_slopes_are_differences_of_the_correlation(problem):
    problem.set.output_pass(problem.order, problem.w, 0.1, np.zeros_like(problem.w))
    E = problem.residuals(0.1)
    found, slope = np.zeros((4, 2)), np.zeros_like(problem.candidates)
    n = problem.set.candidate_pass(problem.order, problem.candidates, found, slope)
    assert n == len(E)
    for w, C, slopes in zip(problem.candidates, found, slope, strict=True):
        assert np.allclose(C, problem.correlations(w, E), rtol=1e-10, atol=1e-14)
        by_differences = differences(lambda w: -np.abs(problem.correlations(w, E)).sum(), w)
        assert np.abs(by_differences).max() > 1e-4
        assert np.allclose(slopes, by_differences, rtol=1e-6, atol=1e-8)


def test_correlations_alone_are_those_of_the_pass_with_slopes():
    problem = Problem(5, 2, symbols=False)
    problem.set.output_pass(problem.order, problem.w, 0.1, np.zeros_like(problem.w))
    alone, found, slope = np.zeros((4, 2)), np.zeros((4, 2)), np.zeros_like(problem.candidates)
    problem.set.candidate_pass(problem.order, problem.candidates, alone)
    problem.set.candidate_pass(problem.order, problem.candidates, found, slope)
    assert alone.any()
    assert np.array_equal(alone, found)


def test_arrays_of_another_net_are_refused():
    problem = Problem(0, 1, symbols=False)
    good = np.zeros_like(problem.w)
    for w, slope in ((good[:, 1:], good), (good[:1], good), (good, good[:, 1:]), (good, good[:1])):
        with pytest.raises(ValueError, match="expected"):
            problem.set.output_pass(problem.order, w.copy(), 0.1, slope.copy())
    pool = problem.candidates
    for correlation, slope in ((np.zeros((3, 2)), pool), (np.zeros((4, 1)), pool), (np.zeros((4, 2)), pool[:, 1:])):
        with pytest.raises(ValueError, match="expected"):
            problem.set.candidate_pass(problem.order, pool, correlation, slope.copy())
    with pytest.raises(ValueError, match="expected"):
        problem.set.add_unit(np.zeros(5))
    with pytest.raises(ValueError, match="columns"):
        TrainingSet(np.zeros((1, 2)), np.array([0, 1]), np.zeros((1, 1)), 3, True, False)


# ---- quickprop ----


def test_quickprop_jumps_to_the_minimum_of_a_parabola_it_has_crossed():
    minimum, curvature = 0.7, 3.0
    w, before, last = np.array([[-1.0]]), np.zeros((1, 1)), np.zeros((1, 1))
    for _ in range(2):
        assert quickprop(w, curvature * (w - minimum), before, last, 0.5, 2.0, 0.0)
    assert w[0, 0] == pytest.approx(minimum, abs=1e-14)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_quickprop_takes_mu_times_the_last_step_at_most_and_adds_the_slope(sign):
    w, before, last = np.zeros((1, 1)), np.array([[sign]]), np.array([[-0.3 * sign]])
    quickprop(w, np.array([[0.9 * sign]]), before, last, 0.1, 2.0, 0.0)
    assert w[0, 0] == pytest.approx(-sign * (2.0 * 0.3 + 0.1 * 0.9))
    assert last[0, 0] == w[0, 0]
    assert before[0, 0] == 0.9 * sign


def test_quickprop_decay_adds_to_the_slope():
    w, before, last = np.array([[2.0, -3.0]]), np.zeros((1, 2)), np.zeros((1, 2))
    quickprop(w, np.zeros((1, 2)), before, last, 0.5, 2.0, 0.1)
    assert np.allclose(w, [[1.9, -2.85]])
    assert np.allclose(before, [[0.2, -0.3]])


def test_quickprop_reports_weights_that_are_not_finite():
    w = np.array([[1e308]])
    assert not quickprop(w, np.array([[-1e308]]), np.zeros((1, 1)), np.zeros((1, 1)), 10.0, 2.0, 0.0)


# ---- the net ----


def grown(n_units, seed=0, **options):
    """A net with units of random weights."""
    net = RCC(3, 2, seed=seed, **options)
    settings = net._settings() | {"units": n_units}
    net = RCC._from_settings(settings, CascadeTopology(n_inputs=3, n_outputs=2, n_hidden=n_units).n_weights)
    net.parameters = np.random.default_rng(seed).uniform(-2, 2, net.topology.n_weights)
    return net


@pytest.mark.parametrize("output", ["logistic", "identity"])
@pytest.mark.parametrize("activation", ["symmetric", "logistic"])
@pytest.mark.parametrize("n_units", [0, 1, 3])
def test_outputs_are_those_of_plain_loops(n_units, activation, output):
    net = grown(n_units, activation=activation, output=output)
    rng = np.random.default_rng(1)
    symbols = [rng.integers(3, size=n) for n in (5, 0, 1, 8)]
    dense = [rng.normal(size=(n, 3)) for n in (5, 0, 1, 8)]
    weights = list(net.weights.values())
    for inputs, x in ((dense, dense), (symbols, [np.eye(3)[s] for s in symbols])):
        hidden = cascade_by_hand([w[0] for w in weights[:-1]], x, activation)
        for Y, expected in zip(net.predict(inputs), outputs_by_hand(weights[-1], x, hidden, output), strict=True):
            assert np.allclose(Y, expected, rtol=1e-12, atol=1e-13)


def test_a_stream_continues_and_predict_does_not_change_it():
    net = grown(3)
    X = np.random.default_rng(2).normal(size=(9, 3))
    (expected,) = net.predict([X])
    assert np.array_equal(net.run(X[:4]), expected[:4])
    net.predict([X])
    assert np.array_equal(net.step(X[4]), expected[4])
    assert np.array_equal(net.run(X[5:]), expected[5:])
    assert not np.allclose(net.run(X[:1]), expected[:1])
    net.reset()
    assert np.array_equal(net.run(X), expected)


def test_topology_counts_weights():
    for n in range(5):
        net = grown(n)
        assert net.units == net.topology.n_hidden == n
        assert [w.shape for w in net.weights.values()] == [(1, 3 + i + 2) for i in range(n)] + [(2, 3 + n + 1)]
        assert list(net.weights) == [f"hidden_{i + 1}" for i in range(n)] + ["output"]
        assert net.topology.n_weights == net.parameters.size == sum(w.size for w in net.weights.values())
    # The LSTM paper estimates 119 to 198 for 7 to 9 hidden units on the Reber grammar; with all biases there are more.
    weights = [CascadeTopology(n_inputs=7, n_outputs=7, n_hidden=n).n_weights for n in (7, 8, 9)]
    assert weights == [189, 212, 236]


def test_weights_are_views():
    net = grown(2)
    before = net.run(np.ones((3, 3)))
    for layer in net.weights.values():
        layer *= 0.5
    net.reset()
    assert not np.allclose(net.run(np.ones((3, 3))), before)


# ---- growth ----


def task(seed=0, n=40):
    """Ragged sequences of symbols; at every step but the first: was the latest symbol of 0 and 1 a 1?"""
    rng = np.random.default_rng(seed)
    inputs = [rng.integers(4, size=rng.integers(2, 9)) for _ in range(n)]
    targets = []
    for symbols in inputs:
        state, rows = 0, []
        for symbol in symbols:
            state = symbol if symbol < 2 else state
            rows.append(state)
        targets.append(np.array(rows))
        targets[-1][0] = -1
    return inputs, targets


def until(net, condition, most=2000, **how):
    """Train one epoch after the other until the condition holds."""
    history = History()
    while not condition():
        assert history.epochs < most
        net.train(*task(), history=history, **how)
    return history


def squared_error(net):
    inputs, targets = task()
    Y = net.predict(inputs)
    return sum(((np.eye(2)[c] - y)[c >= 0] ** 2).sum() for c, y in zip(targets, Y, strict=True))


def test_phases_take_turns_and_installed_units_are_frozen():
    net = RCC(4, 2, max_units=2, seed=1)
    seen, errors = [], []
    frozen = {}
    history = History()
    while net.phase != "full":
        assert history.epochs < 2000
        phase, units = net.phase, net.units
        net.train(*task(), history=history)
        if (net.phase, net.units) != (phase, units):
            seen.append((phase, units))
            if phase == "outputs":
                errors.append(squared_error(net))
        for name, w in frozen.items():
            assert np.array_equal(net.weights[name], w)
        frozen = {name: w.copy() for name, w in net.weights.items() if name != "output"}
    assert seen == [(phase, units) for units in range(2) for phase in ("outputs", "candidates")]
    assert len(frozen) == net.units == 2
    net.train(*task(), epochs=150)
    errors.append(squared_error(net))
    assert (net.phase, net.units) == ("full", 2)
    assert all(np.array_equal(net.weights[name], w) for name, w in frozen.items())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_a_candidates_first_step_is_down_its_slope():
    net = RCC(4, 2, seed=1, candidate_rate=0.7)
    until(net, lambda: net.phase == "candidates")
    pool = net._training.pool.weights.copy()
    assert pool.shape == (8, 6)
    correlation, slope = np.zeros((8, 2)), np.zeros_like(pool)
    net._training.passes.candidate_pass(np.arange(40), pool, correlation, slope)
    net.train(*task())
    assert np.allclose(net._training.pool.weights, pool - 0.7 / 6 * slope, rtol=1e-12, atol=1e-15)
    assert net.score == pytest.approx(np.abs(correlation).sum(axis=1).max())


def test_an_outputs_first_step_is_down_its_slope():
    net = RCC(4, 2, seed=1, output_decay=0.01)
    w, slope = net.weights["output"].copy(), np.zeros((2, 5))
    _, n = net._begin(*packed()).passes.output_pass(np.arange(40), w, 0.1, slope)
    assert n == sum(len(symbols) - 1 for symbols in task()[0])
    net.train(*task(), learning_rate=0.6)
    assert np.allclose(net.weights["output"], w - 0.6 / n * (slope + 0.01 * w), rtol=1e-12, atol=1e-15)


def test_a_stream_survives_a_new_unit():
    net = RCC(4, 2, seed=1)
    until(net, lambda: net.units == 1)
    x = np.eye(4)[[0, 3, 1, 2, 2]]
    net.run(x[:3])
    until(net, lambda: net.units == 2)
    first, second = (net.weights[name][0] for name in ("hidden_1", "hidden_2"))
    V = unit_by_hand(first, [x], [np.empty((5, 0))], "symmetric")[0]
    new = unit_by_hand(second, [x[3:]], [V[3:, None]], "symmetric")[0]  # the new unit begins at step 3
    expected = logistic(np.column_stack([x[3:], V[3:], new, np.ones(2)]) @ net.weights["output"].T)
    assert np.allclose(net.run(x[3:]), expected, rtol=1e-12)


def test_output_weights_do_not_change_while_candidates_train():
    net = RCC(4, 2, seed=1)
    until(net, lambda: net.phase == "candidates")
    assert np.isnan(net.score)
    before, scores = net.parameters, []
    history = History()
    while net.phase == "candidates":
        assert np.array_equal(net.parameters, before)
        net.train(*task(), history=history)
        scores.append(net.score)
    assert scores[-2] > scores[0] > 0
    assert np.isnan(scores[-1])
    per_epoch = history.errors.reshape(-1, 40)
    assert np.array_equal(per_epoch, np.tile(per_epoch[0], (len(per_epoch), 1)))


def test_a_new_unit_is_the_best_candidate_and_is_seen_by_its_correlations():
    net = RCC(4, 2, seed=1, candidates=5, candidate_epochs=3, init_range=0.5)
    until(net, lambda: net.phase == "candidates")
    net.train(*task(), epochs=2)
    training, output = net._training, net.weights["output"].copy()
    pool = training.pool
    net.train(*task())
    assert net.units == 1
    residuals = training.passes.residuals[~np.isnan(training.passes.residuals[:, 0])]
    found = np.zeros((5, 2))
    fresh = RCC(4, 2, seed=1)._begin(*packed())
    fresh.passes.output_pass(np.arange(40), output, 0.1, np.zeros_like(output))
    assert np.array_equal(fresh.passes.residuals, residuals)
    fresh.passes.candidate_pass(np.arange(40), pool.weights, found)
    best = np.abs(found).sum(axis=1).argmax()
    assert np.array_equal(net.weights["hidden_1"][0], pool.weights[best])
    assert np.array_equal(net.weights["output"], np.insert(output, 4, np.clip(found[best], -0.5, 0.5), axis=1))


def test_a_new_units_weights_stay_in_range_where_errors_vanish():
    net = RCC(4, 2, seed=1, init_range=0.8)
    until(net, lambda: squared_error(net) < 1e-6 and net.phase == "candidates")
    units = net.units
    until(net, lambda: net.units > units)
    assert np.array_equal(np.abs(net.weights["output"][:, -2]), [0.8, 0.8])


def packed():
    inputs, targets = task()
    return Sequences.pack(inputs), Sequences.pack(targets, name="targets").values, False


def test_epochs_in_one_call_or_many_are_the_same():
    one, many = RCC(4, 2, seed=3), RCC(4, 2, seed=3)
    history = one.train(*task(), epochs=150)
    for _ in range(50):
        inputs, targets = task()  # other arrays, the same set
        many.train(inputs, targets, epochs=3)
    assert one.units >= 2
    assert np.array_equal(one.parameters, many.parameters)
    assert history.sequences == 150 * 40
    assert history.epochs == 150
    assert history.steps == 150 * sum(map(len, task()[0]))
    assert history.seconds > 0


def test_another_set_or_other_weights_begin_with_outputs():
    net = RCC(4, 2, seed=3)
    until(net, lambda: net.phase == "candidates")
    net.train(*task())
    assert net.phase == "candidates"
    net.train(*task(seed=9))
    assert net.phase == "outputs"
    until(net, lambda: net.phase == "candidates")
    net.weights["output"][0, 0] += 0.1
    net.train(*task())
    assert net.phase == "outputs"


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        ([[0, 1], [2, 3]], [[0, 1], [0, 1]]),  # the same set
        ([[0, 1, 2, 3]], [[0, 1, 0, 1]]),
        ([[0, 1], [2, 2]], [[0, 1], [0, 1]]),
        ([[0, 1], [2, 3]], [[0, 1], [0, -1]]),
        (np.eye(4)[[[0, 1], [2, 3]]], [[0, 1], [0, 1]]),
        ([[0, 1, 2, 3], [], [], []], [0, -1, -1, -1]),
        ([[0, 1, 2, 3], [], [], []], [[0, -1, -1, -1], [], [], []]),
    ],
)
def test_a_change_of_the_set_begins_with_outputs(inputs, targets):
    def data(inputs, targets):
        inputs = inputs if isinstance(inputs, np.ndarray) else Sequences.pack([np.array(x, int) for x in inputs])
        if isinstance(targets[0], list):
            targets = Sequences.pack([np.array(c, int) for c in targets])
        return inputs, targets if isinstance(targets, Sequences) else np.array(targets)

    for before in (([[0, 1], [2, 3]], [[0, 1], [0, 1]]), ([[0, 1, 2, 3], [], [], []], [0, -1, -1, -1])):
        net = RCC(4, 2, seed=3, output_epochs=2)
        net.train(*data(*before), epochs=3)
        assert net.phase == "candidates"
        net.train(*data(inputs, targets))
        same = isinstance(inputs, list) and (inputs, targets) == before
        assert net.phase == ("candidates" if same else "outputs")


def test_the_caller_may_write_into_the_arrays_between_calls():
    inputs, targets = np.random.default_rng(0).normal(size=(6, 3, 2)), np.full((6, 1), 0.3)
    net, other = RCC(2, 1), RCC(2, 1)
    net.train(inputs, targets, epochs=5)
    other.train(inputs, targets, epochs=5)
    changed = inputs + 1
    other.train(changed, targets, epochs=5)
    inputs += 1
    net.train(inputs, targets, epochs=5)
    assert np.array_equal(net.parameters, other.parameters)


def test_order_is_the_set():
    inputs, targets = task()
    part = [3, 8, 8, 20]
    net, other = RCC(4, 2, seed=3), RCC(4, 2, seed=3)
    history = net.train(inputs, targets, epochs=60, order=part)
    other.train([inputs[i] for i in part], [targets[i] for i in part], epochs=60)
    assert net.units == other.units > 0
    assert np.allclose(net.parameters, other.parameters, rtol=1e-6, atol=1e-9)
    assert history.sequences == 240
    assert history.steps == 60 * sum(len(inputs[i]) for i in part)


def test_a_generator_draws_the_order_of_every_epoch():
    net, other = RCC(4, 2, seed=3), RCC(4, 2, seed=3)
    history = net.train(*task(), epochs=2, order=np.random.default_rng(0))
    other.train(*task(), epochs=2)
    first, second = history.errors[:40], history.errors[40:]
    assert np.allclose(net.parameters, other.parameters)
    rng = np.random.default_rng(0)
    unshuffled = np.empty(40)
    unshuffled[rng.permutation(40)] = first
    assert np.array_equal(unshuffled, RCC(4, 2, seed=3).train(*task()).errors)
    assert not np.allclose(second, first)


def test_targets_in_every_form():
    inputs, targets = task()
    rows = [np.where(c[:, None] < 0, np.nan, np.eye(2)[c]) for c in targets]
    last = np.array([c[-1] for c in targets])
    at_last = [np.where(np.arange(len(c)) < len(c) - 1, -1, c) for c in targets]

    def after(inputs, targets):
        net = RCC(4, 2, seed=2)
        net.train(inputs, targets, epochs=40)
        return net.parameters

    one_hot = [np.eye(4)[symbols] for symbols in inputs]
    assert np.array_equal(after(inputs, rows), after(inputs, targets))
    assert np.array_equal(after(one_hot, rows), after(inputs, targets))
    assert np.array_equal(after(inputs, last), after(inputs, at_last))
    assert np.array_equal(after(inputs, np.eye(2)[last]), after(inputs, at_last))
    assert not np.array_equal(after(inputs, last), after(inputs, targets))


def test_nothing_is_learned_without_targets():
    net = RCC(4, 2, seed=2)
    before = net.parameters
    inputs = [np.array([1, 2]), np.array([], int), np.array([3])]
    history = net.train(inputs, [np.full(len(x), -1) for x in inputs], epochs=30, stop=Stop(1, 1, np.inf))
    assert np.array_equal(net.parameters, before)
    assert np.isnan(history.errors).all()
    assert (history.sequences, history.steps, history.stopped) == (90, 90, False)
    history = net.train(*task(), epochs=2, order=[])
    assert np.array_equal(net.parameters, before)
    assert (history.sequences, history.epochs) == (0, 2)
    until(net, lambda: net.phase == "candidates")
    net.train(*task())
    score, pool = net.score, net._training.pool.weights.copy()
    net.train(*task(), epochs=300, order=[])
    assert (net.phase, net.score) == ("candidates", score)
    assert np.array_equal(net._training.pool.weights, pool)


def test_empty_sequences_have_no_last_step():
    inputs = [np.array([], int), np.array([1, 2]), np.array([], int), np.array([3]), np.array([], int)]
    net, other = RCC(4, 2, seed=2), RCC(4, 2, seed=2)
    history = net.train(inputs, np.array([-1, 1, -1, 0, -1]), epochs=3)
    other.train([np.array([1, 2]), np.array([3])], [np.array([-1, 1]), np.array([0])], epochs=3)
    assert np.array_equal(net.parameters, other.parameters)
    assert np.isnan(history.errors).tolist() == 3 * [True, False, True, False, True]


def test_training_that_diverges_raises_and_keeps_the_weights():
    net = RCC(2, 1, output="identity", seed=1)
    inputs, targets = np.ones((3, 2, 2)), np.full((3, 1), 5.0)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        net.train(inputs, targets, learning_rate=1e200, epochs=10)
    assert np.isfinite(net.parameters).all()
    net, other = RCC(2, 1, output="identity", seed=1), RCC(2, 1, output="identity", seed=1)
    with pytest.raises(FloatingPointError, match="weight is not finite"):
        net.train(inputs, targets, learning_rate=1e308)
    net.train(inputs, targets, epochs=5)  # the failed call has left nothing behind
    other.train(inputs, targets, epochs=5)
    assert np.array_equal(net.parameters, other.parameters)
    net.parameters = np.zeros(net.topology.n_weights)
    history = net.train(inputs, targets, epochs=50)
    assert history.errors[-1] < 0.1 * history.errors[0]


# ---- the stop rule ----


def test_the_stop_rule_is_the_one_of_lstm97_train():
    rng = np.random.default_rng(0)
    ends = []
    for trial in range(60):
        n = 50
        errors = rng.exponential(rng.choice([0.05, 1e9], (n, 1), p=[0.97, 0.03]), (n, 2))
        errors[rng.random(n) < 0.1] = 0.01, 0.12  # just at the tolerance
        errors[rng.random(n) < 0.1] = np.nan
        stop = Stop(int(rng.integers(1, 12)), 0.12, rng.choice([0.06, np.inf]), int(rng.integers(0, 4)))
        # The net's weights are so small, and change so little, that its errors are the targets.
        net = Network(Topology(1, 2, blocks=(), input_to_output=True, output="identity"), init_range=1e-300)
        expected = lstm97.train(net, np.ones((n, 1, 1)), errors, 1e-300, stop=stop)
        found = History()
        found._begin(stop)
        for begin in range(0, n, 7):
            part = errors[begin : begin + 7]
            done = enter(found, part.mean(axis=1), part.max(axis=1))
            assert done == len(part) or found.stopped
            if found.stopped:
                break
        ends.append(found.sequences)
        assert found.stopped == expected.stopped, trial
        assert found.sequences == expected.sequences
        assert np.array_equal(found.errors, expected.errors, equal_nan=True)
        mine, theirs = found._window, expected._window
        assert (mine.n_seen, mine.n_wrong) == (theirs.n_seen, theirs.n_wrong)
        assert (mine.error_sum, mine.error_rest) == (theirs.error_sum, theirs.error_rest)
        assert np.array_equal(mine.errors, theirs.errors)
        assert np.array_equal(mine.wrong, theirs.wrong)
    assert len(set(ends)) > 5


def test_training_ends_at_the_exact_sequence_with_the_weights_that_were_judged():
    inputs, targets = task()
    stop = Stop(window=50, tolerance=0.4, mean_error=0.2)
    net = RCC(4, 2, seed=1)
    history = net.train(inputs, targets, epochs=1000, stop=stop)
    assert history.stopped
    n = history.sequences
    assert 50 <= n == len(history.errors)
    assert history.epochs == n // 40 - (n % 40 == 0)  # the epoch in which training ended is not counted
    assert history.steps == n // 40 * sum(map(len, inputs)) + sum(map(len, inputs[: n % 40]))
    Y = net.predict(inputs)
    mean, worst = [], []
    for c, y in zip(targets, Y, strict=True):
        errors = np.abs(np.eye(2)[c] - y)[c >= 0]
        mean.append(errors.mean())
        worst.append(errors.max())
    last = n % 40 or 40
    assert np.allclose(history.errors[-last:], mean[:last], rtol=1e-12)
    assert max(worst[:last]) <= 0.4
    # Training did not end a sequence too late: a window of 49 ends it one earlier, or the mean was too large there.
    means = np.convolve(history.errors, np.ones(50) / 50, "valid")
    assert means[-1] < 0.2
    again = RCC(4, 2, seed=1)
    other = again.train(inputs, targets, epochs=1000, stop=Stop(window=49, tolerance=0.4, mean_error=0.2))
    assert other.stopped
    assert n - 1 == other.sequences or means[-2] >= 0.2
    assert net.train(inputs, targets, stop=stop, history=history) is history


def test_the_rule_can_hold_while_candidates_train():
    net = RCC(4, 2, seed=1)
    until(net, lambda: net.phase == "candidates")
    before = net._training.pool.weights.copy()
    history = net.train(*task(), epochs=10, stop=Stop(window=63, tolerance=1, mean_error=np.inf))
    assert (history.stopped, history.sequences, history.epochs) == (True, 63, 1)
    assert net.phase == "candidates"
    pool = net._training.pool.weights.copy()
    assert not np.array_equal(pool, before)
    other = RCC(4, 2, seed=1)
    until(other, lambda: other.phase == "candidates")
    other.train(*task())
    assert np.array_equal(other._training.pool.weights, pool)


# ---- calls and arguments ----


def test_it_does_not_learn_from_streams():
    net = grown(1)
    before = net.parameters
    for call in (lambda: net.learn([1, 2, 3], [0, 1]), lambda: net.learn_run(np.ones((2, 3)), None)):
        with pytest.raises(NotImplementedError, match="whole training sets: use train"):
            call()
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("update", ["step", "sequence", "batch", 1])
def test_updates_are_once_per_set(update):
    with pytest.raises(ValueError, match="once per pass over the set"):
        RCC(4, 2).train(*task(), update=update)


def test_update_by_the_set_is_the_default():
    one, other = RCC(4, 2), RCC(4, 2)
    one.train(*task(), update="set")
    other.train(*task())
    assert np.array_equal(one.parameters, other.parameters)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("seed", -1, ValueError),
        ("seed", None, TypeError),
        ("init_range", 0, ValueError),
        ("candidates", 0, ValueError),
        ("candidates", 2.5, TypeError),
        ("max_units", -1, ValueError),
        ("output_epochs", 0, ValueError),
        ("candidate_epochs", 0, ValueError),
        ("patience", -1, ValueError),
        ("output_threshold", -0.1, ValueError),
        ("candidate_threshold", np.nan, ValueError),
        ("candidate_rate", 0, ValueError),
        ("mu", np.inf, ValueError),
        ("output_decay", -1, ValueError),
        ("output_decay", np.inf, ValueError),
        ("candidate_decay", "0", TypeError),
        ("prime_offset", np.inf, ValueError),
        ("activation", "tanh", ValueError),
        ("output", ["logistic"], ValueError),
    ],
)
def test_bad_settings_are_refused_by_name(name, value, error):
    with pytest.raises(error, match=name):
        RCC(4, 2, **{name: value})


def test_settings_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        RCC(4, 2, 1)


def test_patience_and_longest_end_a_phase():
    net = RCC(4, 2, seed=1, output_epochs=5, candidate_epochs=3, patience=0, max_units=2)
    phases = []
    for _ in range(20):
        phases.append(net.phase)
        net.train(*task())
    assert phases == 2 * (5 * ["outputs"] + 3 * ["candidates"]) + 4 * ["full"]
    net.train(*task(), epochs=20)
    assert net.units == 2
    net = RCC(4, 2, seed=1, output_threshold=1e9, candidate_threshold=1e9, patience=4)
    phases = []
    for _ in range(10):
        phases.append(net.phase)
        net.train(*task())
    assert phases == 5 * ["outputs"] + 5 * ["candidates"]


# ---- files ----


def test_a_loaded_net_can_continue_training(tmp_path):
    net = RCC(4, 2, seed=5, candidates=3, activation="logistic", mu=1.5, max_units=6)
    until(net, lambda: net.units == 2)
    net.save(tmp_path / "net")
    copy = read(tmp_path / "net", {"rcc": RCC})
    assert isinstance(copy, RCC)
    assert (copy.units, copy.phase) == (2, "outputs")
    assert copy._settings() == net._settings()
    assert np.array_equal(copy.parameters, net.parameters)
    inputs, _ = task(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(copy.predict(inputs), net.predict(inputs), strict=True))
    frozen = copy.weights["hidden_2"].copy()
    before = squared_error(copy)
    until(copy, lambda: copy.units == 4)
    assert np.array_equal(copy.weights["hidden_2"], frozen)
    until(copy, lambda: copy.phase == "candidates")
    assert squared_error(copy) < before


def test_a_file_with_settings_that_do_not_fit_is_refused():
    net = grown(2)
    settings, n_weights = net._settings(), net.topology.n_weights
    for change in ({"units": 1}, {"units": -1}, {"units": "2"}, {"max_units": 1}, {"activation": "tanh"}, {"other": 1}):
        with pytest.raises((ValueError, TypeError)):
            RCC._from_settings(settings | change, n_weights)
    with pytest.raises(ValueError, match="numbers"):
        RCC._from_settings(settings | {"units": 10**12}, n_weights)
    del settings["units"]
    with pytest.raises(KeyError):
        RCC._from_settings(settings, n_weights)


# ---- the Reber grammar ----

SYMBOLS = "BTPSXVE"
EDGES = {1: "T2 P3", 2: "S2 X4", 3: "T3 V5", 4: "X3 S6", 5: "P4 V6", 6: "E7"}


def reber(rng, n):
    """Strings without their last symbols, the symbols that follow, and which symbols could follow."""
    inputs, targets, possible = [], [], []
    for _ in range(n):
        node, string, options = 1, [0], []
        while node < 7:
            edges = EDGES[node].split()
            options.append([SYMBOLS.index(edge[0]) for edge in edges])
            symbol, following = edges[rng.integers(len(edges))]
            string.append(SYMBOLS.index(symbol))
            node = int(following)
        inputs.append(np.array(string[:-1]))
        targets.append(np.array(string[1:]))
        possible.append(options)
    return inputs, targets, possible


def n_right(net, inputs, possible):
    """The number of strings for which the possible next symbols are the most active outputs at every step."""
    return sum(
        all(set(np.argsort(y)[-len(options) :]) == set(options) for y, options in zip(Y, string, strict=True))
        for Y, string in zip(net.predict(inputs), possible, strict=True)
    )


def test_it_learns_the_reber_grammar():
    rng = np.random.default_rng(1)
    inputs, targets, possible = reber(rng, 128)
    fresh, _, possible_there = reber(rng, 500)
    net = RCC(7, 7, seed=1)
    history = History()
    assert n_right(net, inputs, possible) == 0
    while n_right(net, inputs, possible) < 128:
        assert history.epochs < 400
        net.train(inputs, targets, history=history)
    assert 1 <= net.units <= 4
    assert n_right(net, fresh, possible_there) == 500
