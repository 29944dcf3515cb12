"""Hand calculation, least squares and NumPy's statistics judge the reference's learning rules."""

from __future__ import annotations

from types import SimpleNamespace

import learning_rules as rules
import numpy as np
import pytest
import reference as ref
from compare import assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases

import lstm97

SGD = SimpleNamespace(momentum=0.0, bound=None)
ADAM = SimpleNamespace(beta1=0.5, beta2=0.75, epsilon=1e-300, bound=None)
RMSPROP = SimpleNamespace(decay=0.75, epsilon=1e-300, bound=None)

LINEAR = lstm97.Topology(4, 2, blocks=(), input_to_output=True, output="identity")
"""Two linear outputs that see the inputs and a bias, and nothing else: features that never change."""


def linear(optimizer=SGD, readout=None, scaling=None, topology=LINEAR):
    rng = np.random.default_rng(0)
    weights = {kind: rng.normal(size=shape) for kind, shape in ref.weight_shapes(topology).items()}
    return rules.LearningNetwork(topology, weights, optimizer, readout, scaling)


# ---- optimizers ----


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (SGD, [0.2, -0.1, 0.3]),
        (SimpleNamespace(momentum=0.5, bound=None), [0.2, 0.0, 0.3]),  # m = 2, 0, 3
        # v = 1, 1, 3, over 1 - decay^t = 1/4, 7/16, 37/64: the roots of 4, 16/7, 192/37
        (RMSPROP, [0.2 / 2, -0.1 / np.sqrt(16 / 7), 0.3 / np.sqrt(192 / 37)]),
        # m = 1, 0, 3/2, over 1 - beta1^t = 1/2, 3/4, 7/8; v as above
        (ADAM, [0.2 / 2, 0.0, 0.1 * (12 / 7) / np.sqrt(192 / 37)]),
        (SimpleNamespace(**{**vars(ADAM), "epsilon": 2.0}), [0.2 / 4, 0.0]),
        # M = sum a g^2 / (bound sum_e2) = 0.1 * 4 / (1/10 * 2) = 2, then 1/2, then 9/2
        (SimpleNamespace(momentum=0.0, bound=0.1), [0.2 / 2, -0.1, 0.3 / 4.5]),
        # a = 0.1 / 2: M = 0.05 * 4 / (0.05 * 2)
        (SimpleNamespace(**{**vars(ADAM), "bound": 0.05}), [0.1 / 2, 0.0]),
    ],
)
def test_changes_by_hand(settings, changes):
    weights = {"output": np.zeros((1, 1))}
    optimizer = rules.Optimizer(settings, weights)
    used = {"output": np.ones((1, 1), dtype=bool)}
    for g, change in zip((2.0, -1.0, 3.0), changes, strict=False):
        before = weights["output"].item()
        optimizer.change(weights, {"output": np.full((1, 1), g)}, 0.1, used, sum_e2=2.0)
        assert weights["output"].item() - before == pytest.approx(change, rel=1e-14, abs=1e-16)


@examples(0.25)
@given(case=cases(max_steps=12, large=False), update=st.sampled_from(["step", "sequence"]))
def test_plain_gradient_descent_is_the_reference(case, update):
    net = rules.LearningNetwork(case.topology, case.weights, SGD)
    other = ref.ReferenceNetwork(case.topology, case.weights)
    data = [case.inputs], [case.targets], case.learning_rate
    outputs = rules.train(net, *data, update=update)
    assert_close(outputs[0], ref.train(other, *data, update=update)[0], 1e-15, "outputs")
    assert_close(net.weights, other.weights, 1e-15, "weights")


def test_an_update_never_moves_outputs_beyond_their_targets_if_bound_is_1():
    net = linear(SimpleNamespace(momentum=0.0, bound=1.0))
    x, target = [3.0, -5.0, 100.0, 0.1], np.array([7.0, -1000.0])
    net.learn(x, target, learning_rate=1e6)
    assert_close(net.step(x), target, 1e-12)
    weights = {kind: w.copy() for kind, w in net.weights.items()}
    plain = linear()
    plain.weights["output"][...] = weights["output"]
    net.learn([0.1] * 4, [1.0, 2.0], learning_rate=0.1)  # too small a change to be divided
    plain.learn([0.1] * 4, [1.0, 2.0], learning_rate=0.1)
    assert_close(net.weights, plain.weights, 1e-15)


def test_symbols_that_were_not_seen_since_the_reset_keep_weights_and_memory():
    topology = lstm97.Topology(4, 2, blocks=(1,), n_hidden=1, input_to_output=True)
    net = linear(ADAM, topology=topology)
    memory = (net.weights, net.optimizer.m, net.optimizer.v)

    def learn(symbols):
        """The inputs whose columns a run changes, one set for each of weights, m and v and for each kind."""
        before = [{kind: array.copy() for kind, array in arrays.items()} for arrays in memory]
        for symbol in symbols:
            net.learn(symbol, [0.9, 0.2])
        pairs = [(a[kind], b[kind]) for a, b in zip(memory, before, strict=True) for kind in a]
        return [set(np.flatnonzero((a != b)[:, :4].any(axis=0)).tolist()) for a, b in pairs]

    assert all(changed == {0, 2} for changed in learn([2, 0, 2]))
    assert all(changed == {0, 2, 3} for changed in learn([3]))  # also the outputs' weights from 0 and 2, whose g is 0
    net.reset()
    assert all(changed == {1} for changed in learn([1]))
    net.learn([0.0] * 4, None)  # numbers: all inputs take part
    assert all(changed == {0, 1, 2, 3} for changed in learn([1]))


# ---- readout ----


@pytest.mark.parametrize("forgetting", [1.0, 0.99])
def test_the_readout_is_regularised_least_squares(forgetting):
    prior, n_steps = 5.0, 60
    net = linear(readout=SimpleNamespace(forgetting=forgetting, prior=prior))
    before = net.weights["output"].copy()
    rng = np.random.default_rng(1)
    X, T = rng.normal(size=(n_steps, 4)), rng.normal(size=(n_steps, 2))
    for x, t in zip(X, T, strict=True):
        net.learn(x, t)
    # W = argmin sum_i forgetting^(n - i) |t_i - W u_i|^2 + forgetting^n |W - W0|^2 / prior
    U = np.column_stack([X, np.ones(n_steps)])
    importance = forgetting ** np.arange(n_steps - 1, -1, -1.0)
    rest = forgetting**n_steps / prior
    A = (U.T * importance) @ U + rest * np.eye(5)
    expected = np.linalg.solve(A, (U.T * importance) @ T + rest * before.T).T
    assert_close(net.weights["output"], expected, 1e-12)
    assert_close(net.readout.P, np.linalg.inv(A), 1e-12)


def test_the_diagonal_of_the_readout_never_exceeds_that_of_the_beginning():
    net = linear(readout=SimpleNamespace(forgetting=0.9, prior=2.0))
    for _ in range(2000):  # one direction only: without a limit P would grow by 1 / 0.9 at each step in the others
        net.learn([1.0, 0.0, 0.0, 0.0], [0.5, -0.5])
    assert np.diag(net.readout.P) == pytest.approx(np.full(5, 2.0), rel=1e-9)
    assert_close(net.step([1.0, 0.0, 0.0, 0.0]), [0.5, -0.5], 1e-3)


@pytest.mark.parametrize("dead", [False, True])
def test_the_readout_follows_a_map_that_changes_however_long_it_has_learned(dead):
    """Also where one source never tells anything: the others forget as before."""
    net = linear(readout=SimpleNamespace(forgetting=0.95, prior=1.0))
    if dead:
        net.weights["output"][:, 0] = 0
    rng = np.random.default_rng(5)
    for _ in range(3):
        wanted = rng.normal(size=(2, 5)) * [not dead, 1, 1, 1, 1]
        for x in rng.normal(size=(1500, 4)) * [not dead, 1, 1, 1]:
            net.learn(x, wanted @ [*x, 1])
        assert_close(net.weights["output"], wanted, 1e-9)
        assert np.linalg.eigvalsh(net.readout.P).min() > 0


# ---- scaling ----


@pytest.mark.parametrize("decay", [None, 0.9])
def test_statistics_are_those_of_numpy(decay):
    values = np.random.default_rng(2).normal(1e3, 2, 50)
    column = rules.Column(decay)
    for value in values:
        column.take_in(value)
    importance = (decay or 1.0) ** np.arange(49, -1, -1.0)
    mean = np.average(values, weights=importance)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=importance))
    assert column.mean == pytest.approx(mean, rel=1e-14)
    assert column.deviation == pytest.approx(deviation, rel=1e-12)
    assert column.scaled(1001.0) == pytest.approx((1001 - mean) / deviation, rel=1e-12)


def test_a_constant_column_is_0_and_an_unseen_one_too():
    column = rules.Column(None)
    assert (column.scaled(3.0), column.unscaled(3.0)) == (0.0, 0.0)
    for _ in range(7):
        column.take_in(0.1)
        assert (column.scaled(0.1), column.scaled(5.0), column.unscaled(3.0)) == (0.0, 0.0, 0.1)


def test_a_batch_with_scaling_is_one_on_standardised_data():
    both = SimpleNamespace(inputs=True, targets=True, decay=None)
    topology = lstm97.Topology(4, 2, blocks=(2,), output="identity")
    net, plain = linear(scaling=both, topology=topology), linear(topology=topology)
    rng = np.random.default_rng(3)
    X, T = rng.normal(50, 9, (3, 6, 4)), rng.normal(-700, 30, (3, 6, 2))
    T[0, :3], T[1, 2, 0] = np.nan, np.nan
    rows = T.reshape(-1, 2)
    mean, deviation = np.nanmean(rows, axis=0), np.nanstd(rows, axis=0)
    Z = (X - X.mean(axis=(0, 1))) / X.std(axis=(0, 1))
    Y = rules.train(net, X, T, 0.1, "sequence", 3)
    expected = rules.train(plain, Z, (T - mean) / deviation, 0.1, "sequence", 3)
    assert_close(net.weights, plain.weights, 1e-12, "weights")
    assert_close(Y, np.array(expected) * deviation + mean, 1e-12, "outputs")


def test_outputs_do_not_know_the_target_of_their_step():
    both = SimpleNamespace(inputs=True, targets=True, decay=None)
    for late in (False, True):
        net = linear(scaling=both)
        assert net.learn([1.0, 2.0, 3.0, 4.0], [10.0, np.nan]).tolist() == [0.0, 0.0]
        assert net.learn([2.0, 1.0, 3.0, 4.0], None if late else [20.0, 5.0]).tolist() == [10.0, 0.0]
        if late:
            net.correct([20.0, 5.0])
        net.step([2.0, 1.0, 3.0, 4.0])
        assert [(column.mean, column.deviation) for column in net.target_columns] == [(15.0, 5.0), (5.0, 0.0)]


# ---- weights of error signals ----


def test_a_weight_scales_errors_and_0_is_no_error_signal():
    net, other = linear(), linear()
    net.learn([1.0, 2.0, 3.0, 4.0], [1.0, 1.0], 0.01, weight=3.0)
    other.learn([1.0, 2.0, 3.0, 4.0], [1.0, 1.0], 0.03)
    assert_close(net.weights, other.weights, 1e-15)
    adam = linear(ADAM)
    before = adam.weights["output"].copy()
    adam.learn([1.0, 2.0, 3.0, 4.0], [1.0, 1.0], weight=0.0)
    assert np.array_equal(adam.weights["output"], before)
    assert adam.optimizer.t == 0
    adam.correct([1.0, 1.0])
    assert adam.optimizer.t == 1
