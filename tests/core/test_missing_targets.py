"""Rows of targets that are partly NaN: no error for these outputs."""

from __future__ import annotations

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from hypothesis import given
from hypothesis import strategies as st
from reference import mean_errors, train
from rule_cases import cut, data_of, pair, rule_cases
from topologies import may_lack_targets

import lstm97
from lstm97 import Network, Topology

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["logistic", "identity"])
@pytest.mark.parametrize("how", [{}, {"update": "sequence"}, {"update": "sequence", "batch_size": 3}])
@given(data=st.data(), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_training_is_the_reference(how, output, dtype, data, lengths):
    case = data.draw(rule_cases(output=output, classes=False, symbols=False, max_steps=30))
    net, reference = pair(case, dtype, {})
    X, D, _ = cut(case, data_of(case, dtype), lengths)
    outputs = train(reference, X, D, case.learning_rate, **how)
    history = lstm97.train(net, X, D, case.learning_rate, **how)
    assert_close(net.weights, reference.weights, TOLERANCE[dtype], "weights")
    expected = mean_errors(case.topology, outputs, D)
    assert np.array_equal(np.isnan(history.errors), np.isnan(expected))
    assert_close(np.nan_to_num(history.errors), np.nan_to_num(expected), TOLERANCE[dtype], "errors")


@pytest.mark.parametrize("output", ["logistic", "identity"])
def test_a_missing_target_is_one_that_the_output_meets(output):
    topology = Topology(2, 3, blocks=(2,), output=output)
    missing, met = Network(topology, seed=1), Network(topology, seed=1)
    rng = np.random.default_rng(0)
    for x in rng.uniform(-1, 1, (20, 2)):
        target = rng.uniform(size=3)
        target[rng.integers(3)] = np.nan
        y = missing.learn(x, target)
        assert np.array_equal(met.learn(x, np.where(np.isnan(target), met.peek(x), target)), y)
    assert np.array_equal(missing.parameters, met.parameters)
    assert not np.array_equal(missing.parameters, Network(topology, seed=1).parameters)


def test_the_weights_of_an_output_without_target_stay():
    net = Network(Topology(2, 2, blocks=(1,), output="identity"), seed=1)
    before = net.weights["output"].copy()
    net.learn([1, 2], None)
    net.correct([np.nan, 3.0])
    assert np.array_equal(net.weights["output"][0], before[0])
    assert (net.weights["output"][1] != before[1]).all()


def test_masked_values_are_missing_too():
    X = np.random.default_rng(0).uniform(size=(5, 2))
    T = np.array([[0.1, np.nan], [np.nan, np.nan], [0.3, 0.4], [np.nan, 0.5], [0.5, 0.5]])
    nets = [Network(Topology(2, 2), seed=1) for _ in range(2)]
    nets[0].learn_run(X, T)
    nets[1].learn_run(X, np.ma.masked_invalid(T))
    assert np.array_equal(nets[0].parameters, nets[1].parameters)


def test_softmax_and_infinity_are_refused():
    softmax, linear = Network(Topology(2, 2, output="softmax")), Network(Topology(2, 2, output="identity"))
    for net, row, words in ((softmax, [0.5, np.nan], "partly NaN"), (linear, [np.inf, np.nan], "infinit|finite")):
        before = net.parameters
        calls = (
            lambda net=net, row=row: net.learn([1, 2], row),
            lambda net=net, row=row: net.learn_run([[1.0, 2.0]], [row]),
            lambda net=net, row=row: lstm97.train(net, [[[1.0, 2.0]]], [[row]]),
        )
        for call in calls:
            with pytest.raises(ValueError, match=words):
                call()
        assert np.array_equal(net.parameters, before)
