"""`peek` predicts without changing the stream, and `assign` copies a state into another: both to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases

import lstm97
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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=40), data=st.data())
def test_peeking_changes_no_bit_of_what_follows(dtype, case, data):
    net, alone = network_of(case, dtype), network_of(case, dtype)
    for i, (x, target) in enumerate(zip(case.inputs, case.targets, strict=True)):
        before = as_bytes(net.state)
        seen = [net.peek(x).tobytes()]
        if data.draw(st.booleans()):  # peek twice, at other inputs, which may be vectors among symbols
            net.peek(np.full(case.topology.n_inputs, 0.5))
            net.peek(case.inputs[-1 - i])
            seen.append(net.peek(x, state=net.state, out=np.empty(case.topology.n_outputs, dtype)).tobytes())
        assert as_bytes(net.state) == before
        if i % 7 == 5:  # a step of inference in between
            y, expected = net.step(x), alone.step(x)
        else:
            y = net.learn(x, target, case.learning_rate)
            expected = alone.learn(x, target, case.learning_rate)
        assert y.tobytes() == expected.tobytes()
        assert set(seen) == {y.tobytes()}
    assert np.array_equal(net.parameters, alone.parameters)


def test_predict_then_learn_learns_a_delay():
    """The target is the input of two steps ago: with `step` instead of `peek` the net would see every input twice."""
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], (20_000, 1))
    Y = np.roll(X, 2, 0)
    squashes = {"input_squash": "tanh", "output_squash": "tanh"}
    topology = Topology(1, 1, blocks=(1,) * 4, forget_gates=True, output="identity", **squashes)
    net = Network(topology, seed=1, init_range=0.5)
    errors = []
    for x, y in zip(X, Y, strict=True):
        errors.append(abs(net.peek(x)[0] - y[0]))
        net.learn(x, y, 0.05)
    assert np.mean(errors[:500]) > 0.8
    assert np.mean(errors[-2000:]) < 0.3


def test_peeking_at_an_overflow_leaves_the_state():
    net = Network(
        Topology(1, 1, (2,), recurrent=False, input_squash="identity", output_squash="identity", output="identity")
    )
    net.weights["cell"] = 1e300
    net.weights["input_gate"] = 0
    net.learn([1.0], None)
    before = as_bytes(net.state)
    with pytest.raises(FloatingPointError, match="cell state overflowed at this step; reset the state"):
        net.peek([1e300])
    assert as_bytes(net.state) == before
    net.learn([1.0], None)


def test_peeking_is_refused_where_a_step_would_be():
    net, other = Network(Topology(2, 1)), Network(Topology(2, 1))
    with pytest.raises(ValueError, match=r"x has shape \(3,\), expected \(2,\)"):
        net.peek([1, 2, 3])
    with pytest.raises(ValueError, match="another network"):
        net.peek([1, 2], state=other.state)


# ---- assign ----


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=cases(max_steps=40), data=st.data())
def test_an_assigned_state_continues_as_its_source(dtype, case, data):
    """Both states may be anywhere: in the middle of a block, after inference, with symbols, awaiting a late target."""
    net, alone = network_of(case, dtype), network_of(case, dtype)
    a, b, c = net.new_state(), net.new_state(), alone.new_state()
    X, D, rate = case.inputs, case.targets, case.learning_rate
    n, m = data.draw(st.integers(0, len(X))), data.draw(st.integers(0, len(X)))
    if data.draw(st.booleans()):
        net.run(X[:m], state=b)
    else:
        net.learn_run(X[:m], None, state=b)
    for state, network in ((a, net), (c, alone)):
        network.learn_run(X[:n], D[:n], rate, state=state)
        if n % 5 == 4:
            network.run(X[:2], state=state)
    b.assign(a)
    assert as_bytes(b) == as_bytes(a)
    if n and n % 5 != 4 and (np.isnan(D[n - 1]).all() if D.ndim == 2 else D[n - 1] < 0):
        row = np.full(case.topology.n_outputs, 0.5)
        net.correct(row, rate, state=b)
        alone.correct(row, rate, state=c)
    Y, Z = net.learn_run(X[n:], D[n:], rate, state=b), alone.learn_run(X[n:], D[n:], rate, state=c)
    assert np.array_equal(Y, Z)
    assert np.array_equal(net.parameters, alone.parameters)
    assert as_bytes(b) == as_bytes(c)


def test_other_networks_states_are_refused():
    net, other = Network(Topology(2, 1)), Network(Topology(2, 1))
    with pytest.raises(ValueError, match="other is a state of another network"):
        net.state.assign(other.state)
    with pytest.raises(TypeError, match="other must be a State, got Network"):
        net.state.assign(net)
    net.state.assign(net.state)


def test_a_bound_state_is_neither_assigned_nor_assigned_to():
    net = Network(Topology(2, 1))
    state = net.new_state()
    binding = net.state._engine.bind(learns=False)
    for one, other in ((state, net.state), (net.state, state)):
        with pytest.raises(RuntimeError, match="bound by compiled code"):
            one.assign(other)
    net.state._engine.unbind(learns=False)
    state.assign(net.state)
    del binding


def test_states_have_a_repr():
    net = Network(Topology(2, 1, blocks=(2, 1)))
    assert repr(net.state) == "<State: 3 cells, not learning>"
    net.learn([1, 2], None)
    assert repr(net.state) == "<State: 3 cells, awaiting>"
    net.correct([0.5])
    assert repr(net.state) == "<State: 3 cells, corrected>"


def test_nothing_is_allocated():
    """An assignment needs no memory: a hundred of them allocate as much as none."""
    import tracemalloc

    net = Network(Topology(2, 1, blocks=(2,) * 20))
    before = net.new_state()
    net.learn_run(np.zeros((40, 2)), None)
    before.assign(net.state)
    tracemalloc.start()
    try:
        for _ in range(100):
            net.state.assign(before)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1000
    assert lstm97.show_config().build
