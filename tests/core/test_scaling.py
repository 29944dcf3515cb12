"""Running standardisation inside the network, against tests/judges/learning_rules.py."""

from __future__ import annotations

import numpy as np
import pytest
from compare import assert_close
from hypothesis import given
from hypothesis import strategies as st
from learning_rules import train
from reference import mean_errors
from rule_cases import OPTIMIZERS, TOLERANCE, cut, data_of, pair, rate_of, rule_cases, some_data
from topologies import may_lack_targets, packed

import lstm97
from lstm97 import SGD, Network, Scaling, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")
SCALINGS = (Scaling(), Scaling(targets=False), Scaling(inputs=False), Scaling(decay=0.9), Scaling(False, False))


def in_other_units(case, dtype):
    """The case's data with an offset and a scale of their own; targets only where outputs have no range."""
    X, D, weights = data_of(case, dtype)
    if not case.symbols:
        X = (X * 20 + 50).astype(dtype)
    if not case.classes and case.topology.output == "identity":
        D = (D * 300 - 1000).astype(dtype)
    return X, D, weights


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=rule_cases(), scaling=st.sampled_from(SCALINGS), data=st.data())
def test_learning_a_stream_is_the_reference(dtype, case, scaling, data):
    rule = {"scaling": scaling}
    # without scaled targets their errors are large, and bounded changes small enough
    rule["optimizer"] = SGD() if case.topology.output != "identity" else SGD(bound=0.1)
    net, reference = pair(case, dtype, rule)
    rate = rate_of(case, rule) / 10
    wanted = in_other_units if scaling.inputs and scaling.targets else data_of
    for x, target, weight in zip(*wanted(case, dtype), strict=True):
        if data.draw(st.integers(0, 4)) == 0:
            y, expected = net.step(x), reference.step(x)
        elif data.draw(st.booleans()):
            assert_close(net.learn(x, None), reference.learn(x, None), TOLERANCE[dtype], "outputs")
            if reference.is_signal(target, weight):
                net.correct(target, rate, weight=weight)
                reference.correct(target, rate, weight)
            continue
        else:
            y, expected = net.learn(x, target, rate, weight=weight), reference.learn(x, target, rate, weight)
        assert_close(y, expected, TOLERANCE[dtype], "outputs")
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("update", ["step", "sequence"])
@given(
    case=rule_cases(max_steps=30, symbols=False),
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=9),
    size=st.integers(1, 4),
    decay=st.sampled_from([None, 0.95]),
)
def test_training_and_predicting_are_the_reference(update, dtype, case, lengths, size, decay):
    rule = {"scaling": Scaling(decay=decay), "optimizer": OPTIMIZERS["bounded adam"]}
    net, reference = pair(case, dtype, rule)
    X, D, _ = cut(case, in_other_units(case, dtype), lengths)
    how = {"update": update, "batch_size": size if update == "sequence" else 1}
    rate = rate_of(case, rule)
    outputs = train(reference, X, D, rate, **how)
    history = lstm97.train(net, X, packed(D, case.classes), rate, **how)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")
    expected = mean_errors(case.topology, outputs, D)
    assert np.array_equal(np.isnan(history.errors), np.isnan(expected))
    assert_close(np.nan_to_num(history.errors), np.nan_to_num(expected), TOLERANCE[dtype], "errors")
    for x, Y in zip(X, lstm97.predict(net, X), strict=True):
        reference.reset()
        assert_close(Y, reference.run(x), TOLERANCE[dtype], "predictions")


def test_outputs_before_the_first_target_are_0_and_then_do_not_know_their_own():
    found = []
    for last in (7e6, -1.0):
        net = Network(Topology(1, 1, output="identity"), seed=1, scaling=Scaling())
        first = [net.step([5.0]), net.learn([3.0], None), net.learn([4.0], [1e6])]
        assert first == [0.0] * 3
        assert net.learn([5.0], [2e6]) == 1e6  # one target has no deviation
        found.append(net.learn([6.0], [last]).item())
    assert found[0] == found[1]
    assert 1e6 < found[0] < 2e6


def test_inference_leaves_the_statistics():
    nets = [Network(Topology(2, 1, output="identity"), seed=1, scaling=Scaling()) for _ in range(2)]
    X, T = np.random.default_rng(0).normal(7, 3, (2, 20, 2))
    for net in nets:
        net.learn_run(X, T[:, :1])
    nets[0].run(1e6 * X)
    nets[0].step(1e6 * X[0])
    nets[0].peek(-1e6 * X[0])
    lstm97.predict(nets[0], [1e6 * X])
    for net in nets:
        net.reset()
    assert np.array_equal(nets[0].learn_run(X, T[:, :1]), nets[1].learn_run(X, T[:, :1]))
    assert np.array_equal(nets[0].parameters, nets[1].parameters)


def test_any_unit_gives_the_same_network():
    """Powers of two as units change no digit."""
    X, T = np.random.default_rng(0).normal(size=(2, 50, 1))
    nets = [Network(Topology(1, 1, output="identity"), seed=1, scaling=Scaling()) for _ in range(2)]
    Y = nets[0].learn_run(X, T)
    assert np.array_equal(nets[1].learn_run(1024 * X, T / 256), Y / 256)
    assert np.array_equal(nets[0].parameters, nets[1].parameters)


def test_constant_inputs_are_0_and_take_no_part():
    X, T = np.random.default_rng(0).normal(size=(2, 50, 1))
    with_constant = Network(Topology(2, 1, blocks=(1,), output="identity"), seed=1, scaling=Scaling())
    with_0 = Network(with_constant.topology, seed=1, scaling=Scaling())
    for net, constant in ((with_constant, 0.1), (with_0, 0.0)):
        net.learn_run(np.column_stack([X, np.full(50, constant)]), T)
    assert np.array_equal(with_constant.parameters, with_0.parameters)


@pytest.mark.parametrize("output", ["logistic", "softmax"])
def test_targets_are_scaled_for_linear_outputs_only(output):
    X, T = np.random.default_rng(0).uniform(size=(2, 50, 2))
    found = []
    for targets in (False, True):
        net = Network(Topology(2, 2, output=output), seed=1, scaling=Scaling(targets=targets))
        found.append((net.learn_run(X, T), net.parameters))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


# ---- refusals ----


def test_settings():
    assert Scaling() == Scaling(inputs=True, targets=True, decay=None)
    net = Network(Topology(2, 1), scaling=Scaling(decay=0.5))
    assert net.scaling == Scaling(decay=0.5)
    with pytest.raises(AttributeError):
        net.scaling = None
    with pytest.raises(AttributeError):
        net.scaling.decay = None
    with pytest.raises(TypeError, match="scaling"):
        Network(Topology(2, 1), scaling=True)


@pytest.mark.parametrize("wrong", [0, 1, -0.5, 2, np.nan])
def test_a_decay_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="decay"):
        Scaling(decay=wrong)


@pytest.mark.parametrize("name", ["inputs", "targets"])
def test_flags_are_bools(name):
    with pytest.raises(TypeError, match=name):
        Scaling(**{name: 1})


def test_hogwild_is_refused():
    net = Network(Topology(2, 1), scaling=Scaling())
    with pytest.raises(ValueError, match="scaling"):
        lstm97.train(net, *some_data(), parallel="hogwild")
