"""Overflows and NaN raise FloatingPointError, name the place, and leave the weights of before."""

from __future__ import annotations

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from reference import ReferenceNetwork
from topologies import may_lack_targets, packed

import lstm97
from lstm97 import Network, Topology

pytestmark = may_lack_targets

HUGE = {"float64": 1e308, "float32": 3e38}
DTYPES = ("float64", "float32")


def overflowing_cells(dtype):
    """A network whose cell state overflows if the input is 1, but not if it is 0."""
    topology = Topology(2, 1, (3,), input_squash="identity", output_squash="tanh", output="identity", recurrent=False)
    net = Network(topology, dtype=dtype)
    net.weights["cell"][1] = 0
    net.weights["cell"][1, 0] = HUGE[dtype]
    return net


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_error_of_a_cell_state_names_the_step_and_the_remedy(dtype):
    net = overflowing_cells(dtype)
    before = net.parameters
    X = np.zeros((20, 2))
    X[7:] = 1
    with pytest.raises(FloatingPointError, match=r"cell state overflowed at step \d+; reset the state$") as caught:
        net.run(X)
    failed = int(str(caught.value).split("step ")[1].split(";")[0])
    assert failed > 7  # a few steps of half of HUGE do not overflow
    with pytest.raises(FloatingPointError, match="cell state overflowed at this step"):
        net.step(X[failed])  # the state is not reset, so it overflows again
    net.reset()
    assert np.isfinite(net.run(X[:failed])).all()
    net.reset()
    words = (
        f"cell state overflowed at step {failed}; reset the state; try a smaller learning_rate, or forget_gates=True"
    )
    with pytest.raises(FloatingPointError, match=words):
        net.learn_run(X, None)
    with pytest.raises(RuntimeError, match="correct"):
        net.correct([1.0])
    assert np.array_equal(net.parameters, before)
    sequences = [X[:5], X[:failed], X]
    with pytest.raises(
        FloatingPointError, match=f"cell state overflowed at step {failed} of sequence 2; try a smaller"
    ):
        lstm97.train(net, sequences, [x[:, :1] * np.nan for x in sequences])
    with pytest.raises(FloatingPointError, match=f"in sequence 2: cell state overflowed at step {failed};"):
        lstm97.predict(net, sequences)
    net.reset()
    assert np.isfinite(net.run(X[:failed])).all()
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_that_is_not_finite(dtype):
    net = Network(Topology(2, 2, blocks=(), n_hidden=2, output="identity", recurrent=False), dtype=dtype)
    net.weights["output"][1] = HUGE[dtype]
    before = net.parameters
    for call in (
        lambda: net.step([1, 1]),
        lambda: net.run([[1, 1]]),
        lambda: net.learn([1, 1], [0, 0]),
        lambda: net.learn([1, 1], None),
        lambda: lstm97.train(net, [[[1.0, 1.0]]], [[0.0, 0.0]]),
        lambda: lstm97.predict(net, [[[1.0, 1.0]]]),
    ):
        with pytest.raises(FloatingPointError, match="output is not finite"):
            call()
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symbols", [False, True])
def test_a_weight_change_that_is_not_finite_changes_no_weight(dtype, symbols):
    topology = Topology(3, 2, (2, 1), n_hidden=1, forget_gates=True, input_to_output=True, output="identity")
    net, same = Network(topology, dtype=dtype), Network(topology, dtype=dtype)
    x = 1 if symbols else [0.5, 1, -1]
    huge = [0, HUGE[dtype]]
    net.learn(x, [1, 0])
    same.learn(x, [1, 0])
    for call in (
        lambda: net.learn(x, huge, 100),
        lambda: net.learn(x, None) is None or net.correct(huge, 100),
        lambda: net.learn_run([x] * 3, [[np.nan] * 2] * 2 + [huge], 100),
        lambda: lstm97.train(net, packed([[x] * 3], symbols), [huge], learning_rate=100),
        lambda: lstm97.train(net, packed([[x] * 3], symbols), [huge], learning_rate=100, update="sequence"),
    ):
        with pytest.raises(FloatingPointError, match="weight change is not finite"):
            call()
        assert np.array_equal(net.parameters, same.parameters)
        net.reset()
    same.reset()
    assert np.array_equal(net.learn(x, [1, 0]), same.learn(x, [1, 0]))
    assert np.array_equal(net.parameters, same.parameters)


def net_that_large_inputs_do_not_saturate(dtype, blocks, **options):
    topology = Topology(1, 1, blocks, output_squash="tanh", output="identity", recurrent=False, bias="none", **options)
    net = Network(topology, dtype=dtype, seed=3)
    net.weights["input_gate"][...] = 0
    net.weights["output_gate"][...] = 0
    return net


SMALL_AND_LARGE = [(1,), (2, 2), (1,) * 20, (3,) * 8]


@pytest.mark.parametrize("blocks", SMALL_AND_LARGE)
@pytest.mark.parametrize(("dtype", "large"), [("float64", 1e300), ("float32", 1e37)])
@pytest.mark.parametrize("steps_between", [0, 1, 15])
def test_partials_of_earlier_steps_that_would_make_a_weight_overflow(dtype, large, blocks, steps_between):
    net = net_that_large_inputs_do_not_saturate(dtype, blocks)
    net.weights["cell"][...] = 0.1 / large
    before = net.parameters
    net.learn([large], None)
    for _ in range(steps_between):
        net.learn([0.0], None)
    with pytest.raises(FloatingPointError, match="weight change is not finite"):
        net.learn([0.0], [1e20], 1.0)
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("blocks", SMALL_AND_LARGE)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(("dtype", "large"), [("float64", 1e160), ("float32", 1e20)])
def test_a_partial_that_overflows_is_noticed_beside_the_smallest_error(dtype, large, blocks, late):
    net = net_that_large_inputs_do_not_saturate(dtype, blocks, input_squash="identity")
    net.weights["cell"][...] = 1
    before = net.parameters
    if late:
        net.learn([large], None)
    with pytest.raises(FloatingPointError, match="weight change is not finite"):
        net.correct([0.0], 1e-13) if late else net.learn([large], [0.0], 1e-13)
    assert np.array_equal(net.parameters, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blocks", [(2, 2), (1,) * 5, (3,) * 20])
def test_changes_of_any_size_are_right_as_long_as_the_weights_stay_finite(dtype, blocks):
    topology = Topology(2, 2, blocks, n_hidden=1, forget_gates=True, input_to_output=True, output="identity")
    net = Network(topology, dtype=dtype, seed=3)
    for weights in net.weights.values():  # the hidden layer does not see the inputs yet, so it does not saturate
        weights[:, :2] = 0
    reference = ReferenceNetwork(topology, net.weights)
    large = HUGE[dtype] ** 0.95
    for t in range(3):
        x, target = [0.5 * large, -large], None if t < 2 else [0.5, -0.25]
        net.learn(x, target, 0.01)
        reference.learn(x, target, 0.01)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype])
    assert max(np.abs(weights).max() for weights in net.weights.values()) > HUGE[dtype] ** 0.85


def test_changes_before_the_one_that_failed_stay():
    X, T = np.ones((4, 2)), np.array([[0.5], [np.nan], [1e308], [0.5]])
    net, same = (Network(Topology(2, 1, output="identity")) for _ in range(2))
    with pytest.raises(FloatingPointError, match="weight change is not finite at step 2;"):
        net.learn_run(X, T, 100)
    same.learn_run(X[:2], T[:2], 100)
    assert np.array_equal(net.parameters, same.parameters)
    with pytest.raises(FloatingPointError, match="weight change is not finite at step 2 of sequence 1;"):
        lstm97.train(net, [X[:2], X], [T[:2], T], learning_rate=100)


@pytest.mark.parametrize("target", [[1e30], np.array([1e30])], ids=["list", "another dtype"])
def test_a_late_target_that_overflows_is_named_as_it_was_given(target):
    net = Network(Topology(1, 1, blocks=(1,), output="identity"), "float32", seed=0)
    net.learn([1.0], None, 0.1)
    with pytest.raises(FloatingPointError, match=r"targets that reach 1e\+30 "):
        net.correct(target, 1e30)
