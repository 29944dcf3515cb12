"""Many sequences in one run of a stream, cut by resets; states made from arrays. Both to the bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases

from lstm97 import Network, Topology


def network_of(case, dtype):
    net = Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind] = w
    return net


def as_bytes(state):
    """Everything in a state, as in a file."""
    numbers, arrays = state._parts()
    return str(numbers), {name: array.tobytes() for name, array in arrays.items()}


def cut_by_hand(net, call, resets):
    """The results of ``call(begin, end)`` for each part between resets, the state reset where the mask says so."""
    cuts = [0, *(int(t) for t in np.flatnonzero(resets) if t), len(resets)]
    found = []
    for begin, end in pairwise(cuts):
        if resets[begin]:
            net.reset()
        found.append(call(begin, end))
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=50), data=st.data())
def test_learning_with_resets_is_learning_cut_by_hand(dtype, case, data):
    resets = np.array(data.draw(st.lists(st.booleans(), min_size=case.n_steps, max_size=case.n_steps)), bool)
    net, alone = network_of(case, dtype), network_of(case, dtype)
    for each in (net, alone):
        each.learn_run(case.inputs, case.targets, case.learning_rate)  # so that there is something to reset
    found = net.learn_run(case.inputs, case.targets, case.learning_rate, resets=resets)

    def learned(begin, end):
        return alone.learn_run(case.inputs[begin:end], case.targets[begin:end], case.learning_rate)

    assert np.array_equal(found, np.concatenate(cut_by_hand(alone, learned, resets)))
    assert np.array_equal(net.parameters, alone.parameters)
    assert as_bytes(net.state) == as_bytes(alone.state)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=50, large=False), data=st.data())
def test_inference_with_resets_is_inference_cut_by_hand(dtype, case, data):
    resets = np.array(data.draw(st.lists(st.booleans(), min_size=case.n_steps, max_size=case.n_steps)), bool)
    net, alone = network_of(case, dtype), network_of(case, dtype)
    record = ("cell_state", "cell") if case.topology.n_cells else ()
    for each in (net, alone):
        each.learn_run(case.inputs, None)
    found, seen = net.run(case.inputs, record, resets=resets)
    parts = cut_by_hand(alone, lambda begin, end: alone.run(case.inputs[begin:end], record), resets)
    assert np.array_equal(found, np.concatenate([Y for Y, _ in parts]))
    for name in record:
        assert np.array_equal(seen[name], np.concatenate([part[name] for _, part in parts]))
    assert as_bytes(net.state) == as_bytes(alone.state)
    assert np.array_equal(found[resets], net.run(case.inputs[resets], resets=np.ones(resets.sum(), bool)))


def test_no_resets_and_none_are_the_same_and_a_mask_of_any_layout_is_taken():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    wide = np.zeros((300, 2), bool)
    wide[::7, 1] = True
    odd = (wide[:, 1] * 2).astype(np.uint8).view(bool)  # true by a 2, as other libraries may write it
    nets = [Network(Topology(2, 1), seed=1) for _ in range(5)]
    plain, zeros = nets[0].run(X), nets[1].run(X, resets=np.zeros(300, bool))
    assert np.array_equal(plain, zeros)
    masked = [net.run(X, resets=m) for net, m in zip(nets[2:], (wide[:, 1], wide[:, 1].tolist(), odd), strict=True)]
    assert all(np.array_equal(masked[0], other) for other in masked[1:])
    assert not np.array_equal(plain, masked[0])


def test_other_states_can_be_reset_and_the_others_stay():
    net = Network(Topology(2, 1), seed=1)
    X = np.linspace(-1, 1, 20).reshape(10, 2)
    net.learn_run(X, None)
    own, state = as_bytes(net.state), net.new_state()
    net.run(X, state=state, resets=np.arange(10) == 9)
    assert as_bytes(net.state) == own
    net.reset()
    net.run(X[9:])
    assert np.array_equal(state.cell_state, net.state.cell_state)


def test_an_overflow_names_the_step_of_the_chunk():
    squashes = {"input_squash": "identity", "output_squash": "identity", "output": "identity"}
    net = Network(Topology(1, 1, (2,), recurrent=False, **squashes))
    net.weights["cell"] = 1e300
    X = np.zeros((10, 1))
    X[6] = 1e9
    with pytest.raises(FloatingPointError, match="overflowed at step 6"):
        net.run(X, resets=np.arange(10) % 4 == 0)


@pytest.mark.parametrize(
    ("resets", "error", "words"),
    [
        ([0, 1, 0], TypeError, "resets has dtype int64, expected bool"),
        (np.zeros(3), TypeError, "resets has dtype float64, expected bool"),
        ("yes", TypeError, "resets has dtype"),
        ([True, False], ValueError, r"resets has shape \(2,\), expected \(3,\), one for each step"),
        ([[True], [False], [False]], ValueError, r"resets has shape \(3, 1\), expected \(3,\)"),
        (True, ValueError, r"resets has shape \(\), expected \(3,\)"),
        (np.ma.array([True, False, True], mask=[0, 1, 0]), ValueError, "resets has masked values"),
    ],
)
def test_other_masks_are_refused_and_change_nothing(resets, error, words):
    net = Network(Topology(2, 1), seed=1)
    X = np.ones((3, 2))
    net.learn_run(X, None)
    before, weights = as_bytes(net.state), net.parameters
    for call in (lambda: net.run(X, resets=resets), lambda: net.learn_run(X, [[1.0]] * 3, resets=resets)):
        with pytest.raises(error, match=words):
            call()
    assert as_bytes(net.state) == before
    assert np.array_equal(net.parameters, weights)


# ---- states from arrays ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=30))
def test_inference_goes_on_from_arrays_of_a_state(dtype, case):
    net = network_of(case, dtype)
    net.learn_run(case.inputs, case.targets, case.learning_rate)
    arrays = net.state.cell_state, net.state.activations
    state = net.new_state(cell_state=arrays[0], activations=arrays[1])
    assert np.array_equal(state.cell_state, arrays[0])
    for kind, values in arrays[1].items():
        assert np.array_equal(state.activations[kind], values)
    assert not any(partials.any() for partials in state.partials.values())
    assert np.array_equal(net.run(case.inputs, state=state), net.run(case.inputs))
    assert as_bytes(state) == as_bytes(net.state)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=30, when="some"))
def test_learning_goes_on_as_from_a_state_that_inference_has_reached(dtype, case):
    net, other = network_of(case, dtype), network_of(case, dtype)
    net.run(case.inputs)
    state = other.new_state(net.state.cell_state, net.state.activations)
    found = other.learn_run(case.inputs, case.targets, case.learning_rate, state=state)
    assert np.array_equal(found, net.learn_run(case.inputs, case.targets, case.learning_rate))
    assert np.array_equal(other.parameters, net.parameters)


def test_what_is_left_out_is_zero():
    net = Network(Topology(2, 1, blocks=(1, 2), n_hidden=1), seed=1)
    zero = as_bytes(net.new_state())
    assert as_bytes(net.new_state(None, {})) == zero
    assert as_bytes(net.new_state([0, 0, 0], {"cell": [0, 0, 0]})) == zero
    state = net.new_state(activations={"input_gate": [0.25, 0.5]})
    assert state.activations["input_gate"].tolist() == [0.25, 0.5]
    assert not any(state.activations[kind].any() for kind in ("cell", "output_gate", "hidden"))
    assert not state.cell_state.any()
    assert not net.state.cell_state.any()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"cell_state": [1.0]}, ValueError, r"cell_state has shape \(1,\), expected \(3,\)"),
        ({"cell_state": 1.0}, ValueError, r"cell_state has shape \(\), expected \(3,\)"),
        ({"cell_state": [1, np.nan, 0]}, ValueError, "cell_state must be finite in float32"),
        ({"cell_state": [1e300, 0, 0]}, ValueError, "cell_state must be finite in float32"),
        ({"cell_state": ["a", "b", "c"]}, TypeError, "cell_state has dtype"),
        ({"activations": [1.0]}, TypeError, "activations must be arrays by kind of unit, got list"),
        ({"activations": {"forget_gate": [1.0, 1.0]}}, ValueError, "activations has 'forget_gate'; this network has"),
        ({"activations": {"output": [1.0]}}, ValueError, "activations has 'output'; this network has 'cell'"),
        ({"activations": {"cell": [1.0]}}, ValueError, r"activations\['cell'\] has shape \(1,\), expected \(3,\)"),
        ({"activations": {"hidden": [np.inf]}}, ValueError, r"activations\['hidden'\] must be finite"),
    ],
)
def test_arrays_that_are_no_state_are_refused(arguments, error, words):
    net = Network(Topology(2, 1, blocks=(1, 2), n_hidden=1), "float32")
    with pytest.raises(error, match=words):
        net.new_state(**arguments)
