"""Losses and weights of error signals, against tests/judges/reference.py."""

from __future__ import annotations

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from hypothesis import given
from rule_cases import data_of, pair, rule_cases, some_data
from topologies import may_lack_targets

import lstm97
from lstm97 import Network, Topology

pytestmark = [may_lack_targets, pytest.mark.filterwarnings("ignore:targets from .* out of reach")]

DTYPES = ("float64", "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=rule_cases(large=True))
def test_all_losses_are_the_reference(dtype, case):
    net, reference = pair(case, dtype, {})
    for x, target, weight in zip(*data_of(case, dtype), strict=True):
        y = net.learn(x, target, case.learning_rate, weight=weight)
        assert_close(y, reference.learn(x, target, case.learning_rate, weight), TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


@pytest.mark.parametrize(
    ("output", "allowed"),
    [
        ("logistic", ["squared", "cross_entropy"]),
        ("identity", ["squared", "huber"]),
        ("softmax", ["cross_entropy"]),
    ],
)
def test_which_losses_go_with_which_outputs(output, allowed):
    assert Topology(2, 3, output=output).loss == allowed[0]
    assert Topology(2, 3, output=output) == Topology(2, 3, output=output, loss=allowed[0])
    for loss in {"squared", "cross_entropy", "huber", "absolute"}:
        if loss in allowed:
            assert Topology(2, 3, output=output, loss=loss).loss == loss
        else:
            with pytest.raises(ValueError, match="loss"):
                Topology(2, 3, output=output, loss=loss)


def bias_changes(target, output="identity", weight=1.0, **arguments):
    """The change of the outputs' biases, e_k, by one step at learning rate 1, all weights 0."""
    topology = Topology(1, 2, blocks=(), n_hidden=1, output=output, **arguments)
    net = Network(topology, init_range=0)
    net.learn([1.0], target, 1.0, weight=weight)
    return net.weights["output"][:, -1].tolist()


def test_error_signals_by_hand():
    assert bias_changes([0.25, -3]) == [0.25, -3]
    assert bias_changes([0.25, -3], loss="huber") == [0.25, -1]
    assert bias_changes([0.25, 1.5], loss="huber", weight=4.0) == [1, 4]
    assert bias_changes([0.25, 1], "logistic") == [-0.25 / 4, 0.5 / 4]
    assert bias_changes([0.25, 1], "logistic", loss="cross_entropy") == [-0.25, 0.5]
    assert bias_changes([0.25, 0.75], "softmax", weight=2.0) == [-0.5, 0.5]


def test_the_loss_is_in_files(tmp_path):
    net = Network(Topology(2, 1, output="identity", loss="huber"))
    net.save(tmp_path / "net")
    assert lstm97.load(tmp_path / "net").topology == net.topology


# ---- weights of error signals ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_scales_the_rate_of_plain_gradient_descent_and_0_is_no_target(dtype):
    X, T = np.random.default_rng(0).uniform(size=(2, 30, 2))
    topology = Topology(2, 2, blocks=(2,))
    heavy, fast = Network(topology, dtype, seed=1), Network(topology, dtype, seed=1)
    weights = np.tile([0, 1, 4.0], 10)  # powers of two: the same bits
    heavy.learn_run(X, T, 0.125, weight=weights)
    for x, target, weight in zip(X, T, weights, strict=True):
        fast.learn(x, target if weight else None, 0.125 * (weight or 1))
    assert np.array_equal(heavy.parameters, fast.parameters)


def test_a_step_of_weight_0_can_be_corrected():
    nets = [Network(Topology(2, 1), seed=1) for _ in range(2)]
    nets[0].learn([1, 2], [0.5], weight=0)
    nets[0].correct([0.7], weight=2.0)
    nets[1].learn([1, 2], [0.7], weight=2.0)
    assert np.array_equal(nets[0].parameters, nets[1].parameters)


@pytest.mark.parametrize("options", [{}, {"update": "sequence"}, {"update": "sequence", "batch_size": 5}])
def test_weights_per_sequence_are_weights_of_their_last_steps(options):
    inputs, targets = some_data()
    weights = np.tile([0, 1, 2.5], 4)
    per_step = [np.r_[np.full(len(x) - 1, 7.0), w] for x, w in zip(inputs, weights, strict=True)]
    rows = [np.r_[np.full((len(x) - 1, 1), np.nan), [t]] for x, t in zip(inputs, targets, strict=True)]
    nets = [Network(Topology(2, 1), seed=1) for _ in range(2)]
    histories = [
        lstm97.train(nets[0], inputs, targets, sample_weight=weights, **options),
        lstm97.train(nets[1], inputs, rows, sample_weight=per_step, **options),
    ]
    assert np.array_equal(nets[0].parameters, nets[1].parameters)
    assert np.isnan(histories[0].errors).tolist() == [True, False, False] * 4
    assert np.array_equal(histories[0].errors, histories[1].errors, equal_nan=True)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_bad_weights_are_refused(wrong):
    net = Network(Topology(2, 1))
    before = net.parameters
    calls = (
        lambda: net.learn([1, 2], [0.5], weight=wrong),
        lambda: net.learn_run([[1.0, 2.0]], [[0.5]], weight=[wrong]),
        lambda: lstm97.train(net, [[[1.0, 2.0]]], [[0.5]], sample_weight=[wrong]),
    )
    for call in calls:
        with pytest.raises(ValueError, match="weight"):
            call()
    net.learn([1, 2], None)
    with pytest.raises(ValueError, match="weight"):
        net.correct([0.5], weight=wrong)
    with pytest.raises(ValueError, match="sample_weight"):
        lstm97.train(net, [[[1.0, 2.0]]], [[0.5]], sample_weight=[1.0, 1.0])
    assert np.array_equal(net.parameters, before)


def test_weights_that_the_dtype_cannot_hold_are_refused():
    net = Network(Topology(1, 1), "float32")
    with pytest.raises(ValueError, match="finite in float32"):
        net.learn([0.5], [0.5], weight=1e300)
    with pytest.raises(ValueError, match="finite in float32"):
        net.learn_run([[0.5]], [[0.5]], weight=[1e300])
    with pytest.raises(ValueError, match="finite in float32"):
        lstm97.train(net, [[[0.5]]], [[0.5]], sample_weight=[1e300])
