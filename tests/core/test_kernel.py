"""The compiled network against tests/judges/reference.py, over random topologies, streams and both dtypes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import ReferenceNetwork, mean_errors, train
from topologies import cases, may_lack_targets, packed

import lstm97

pytestmark = may_lack_targets

DTYPES = ("float64", "float32")


def networks(case, dtype):
    """The compiled network and the reference with the same weights, rounded to the dtype."""
    net = lstm97.Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind][...] = w
    return net, ReferenceNetwork(case.topology, {kind: np.array(w, np.float64) for kind, w in net.weights.items()})


def inputs_of(case, dtype):
    """Inputs, rounded to the dtype."""
    return case.inputs if case.symbols else case.inputs.astype(dtype)


def targets_of(case, dtype):
    """Targets, rounded to the dtype."""
    return case.targets if case.classes else case.targets.astype(dtype)


def assert_same_network(net, reference, tolerance):
    assume(all(np.abs(w).max(initial=0) < 100 for w in reference.weights.values()))
    assert_close(net.weights, reference.weights, tolerance, "weights")


def assert_same_state(state, reference, tolerance):
    assert_close(state.cell_state, reference.cell_state, tolerance, "cell_state")
    assert_close(state.activations, reference.activations, tolerance, "activations")
    assert_close(state.partials, reference.partials, tolerance, "partials")


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases())
def test_learning_a_stream_is_the_reference_step_by_step(dtype, case):
    net, reference = networks(case, dtype)
    state = net.new_state()
    for x, target in zip(inputs_of(case, dtype), targets_of(case, dtype), strict=True):
        y = net.learn(x, target, case.learning_rate, state=state)
        assert y.dtype == dtype
        assert_close(y, reference.learn(x, target, case.learning_rate), TOLERANCE[dtype], "outputs")
    assert_same_network(net, reference, TOLERANCE[dtype])
    assert_same_state(state, reference, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases())
def test_inference_is_the_reference_and_records_what_happened(dtype, case):
    net, reference = networks(case, dtype)
    names = ["cell_state", *(kind for kind in net.weights if kind != "output")]
    names = [name for name in names if name != "cell_state" or case.topology.n_cells]
    Y, seen = net.run(inputs_of(case, dtype), record=names)
    assert list(seen) == names
    for t, x in enumerate(inputs_of(case, dtype)):
        assert_close(Y[t], reference.step(x), TOLERANCE[dtype], "outputs")
        for name in names:
            expected = reference.cell_state if name == "cell_state" else reference.activations[name]
            assert_close(seen[name][t], expected, TOLERANCE[dtype], name)


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(max_steps=20), data=st.data())
def test_learning_resumes_after_inference_with_the_partials_dropped(dtype, case, data):
    net, reference = networks(case, dtype)
    state = net.new_state()
    for x, target in zip(inputs_of(case, dtype), targets_of(case, dtype), strict=True):
        if data.draw(st.booleans()):
            y = net.learn(x, target, case.learning_rate, state=state)
            expected = reference.learn(x, target, case.learning_rate)
        else:
            y, expected = net.step(x, state=state), reference.step(x)
        assert_close(y, expected, TOLERANCE[dtype], "outputs")
    assert_same_network(net, reference, TOLERANCE[dtype])
    assert_same_state(state, reference, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("update", ["step", "sequence"])
@given(case=cases(max_steps=30), lengths=st.lists(st.integers(0, 12), min_size=1, max_size=5))
def test_training_sequences_is_the_reference(dtype, update, case, lengths):
    net, reference = networks(case, dtype)
    X, D = inputs_of(case, dtype), targets_of(case, dtype)
    cuts = np.minimum(np.cumsum([0, *lengths]), len(X))
    X, D = ([array[a:b] for a, b in itertools.pairwise(cuts)] for array in (X, D))
    X, D = packed(X, case.symbols), packed(D, case.classes)
    history = lstm97.train(net, X, D, learning_rate=case.learning_rate, update=update)
    outputs = train(reference, X, D, case.learning_rate, update)
    assert_same_network(net, reference, TOLERANCE[dtype])
    expected = mean_errors(case.topology, outputs, D)
    assert np.array_equal(np.isnan(history.errors), np.isnan(expected))
    assert_close(np.nan_to_num(history.errors), np.nan_to_num(expected), TOLERANCE[dtype], "errors")


@given(case=cases(symbols=True, min_steps=2).filter(lambda case: case.topology.n_inputs > 1), data=st.data())
def test_symbols_are_one_hot_rows_to_the_bit(case, data):
    by_symbol, by_row = networks(case, "float64")[0], networks(case, "float64")[0]
    rows = np.eye(case.topology.n_inputs)[case.inputs]
    for symbol, row, target in zip(case.inputs, rows, case.targets, strict=True):
        x = row if data.draw(st.integers(0, 9)) == 0 else int(symbol)  # both kinds of steps in one stream
        y = by_symbol.learn(x, target, case.learning_rate)
        assert np.array_equal(y, by_row.learn(row, target, case.learning_rate))
    assert np.array_equal(by_symbol.parameters, by_row.parameters)


@given(case=cases(classes=True))
def test_classes_are_one_hot_targets_to_the_bit(case):
    by_class, by_row = networks(case, "float64")[0], networks(case, "float64")[0]
    rows = np.where(case.targets[:, None] < 0, np.nan, np.eye(case.topology.n_outputs)[case.targets])
    by_class.learn_run(case.inputs, case.targets, case.learning_rate)
    by_row.learn_run(case.inputs, rows, case.learning_rate)
    assert np.array_equal(by_class.parameters, by_row.parameters)
