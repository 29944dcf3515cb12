"""A network with one more memory cell block, the old weights in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from topologies import topologies

import lstm97
from lstm97 import Network, Topology


def named(net):
    """Every weight by the names of the two units it connects: ("output", 0, "cell", 3)."""
    found = {}
    for kind, weights in net.weights.items():
        places = [(source, i) for source, n in net.topology.sources(kind).items() for i in range(n)]
        for unit, row in enumerate(weights):
            found |= {(kind, unit, *place): w for place, w in zip(places, row.tolist(), strict=True)}
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(topology=topologies(), size=st.integers(1, 3), seed=st.integers(0, 9))
def test_every_old_weight_is_where_it_was_and_every_new_one_in_range(dtype, topology, size, seed):
    net = Network(topology, dtype=dtype, seed=3, init_range=50)
    before = net.parameters
    grown = net.with_block(size, seed=seed, init_range=0.5)
    assert grown.topology.blocks == (*topology.blocks, size)
    assert np.array_equal(net.parameters, before)
    old, now = named(net), named(grown)
    assert {place: now[place] for place in old} == old
    new = {place: w for place, w in now.items() if place not in old}
    assert max(map(abs, new.values())) <= 0.5
    # All new weights are drawn: they differ in float64, while hundreds of float32 numbers may have equal ones.
    drawn = named(Network(topology, seed=3, init_range=50).with_block(size, seed=seed, init_range=0.5))
    assert len({drawn[place] for place in new}) == len(new)
    assert new == {place: float(np.dtype(dtype).type(drawn[place])) for place in new}


@given(topology=topologies(large=False))
def test_with_outgoing_range_0_the_network_computes_the_same(topology):
    net = Network(topology, seed=3, init_range=0.3)
    grown = net.with_block(2, outgoing_range=0, seed=1)
    X = np.random.default_rng(0).uniform(-1, 1, (20, topology.n_inputs))
    assert np.allclose(grown.run(X), net.run(X), rtol=1e-12, atol=1e-12)


def test_biases_of_the_new_gates_can_be_given():
    net = Network(Topology(2, 1, forget_gates=True), input_gate_bias=(-1, -2))
    grown = net.with_block(input_gate_bias=-3, output_gate_bias=-4, forget_gate_bias=5)
    assert grown.weights["input_gate"][:, -1].tolist() == [-1, -2, -3]
    assert grown.weights["output_gate"][-1, -1] == -4
    assert grown.weights["forget_gate"][-1, -1] == 5


def test_growing_from_no_block_at_all_and_learning_on():
    """The paper's task 2a begins like this: the outputs see the inputs, and a cell is added when that is not enough."""
    topology = Topology(
        3, 1, blocks=(), output_gates=False, recurrent=False, input_to_output=True, bias="none", output="identity"
    )
    rng = np.random.default_rng(0)
    first = rng.choice([0, 1], 3000)
    inputs = np.column_stack([first, np.full((3000, 5), 2)]).astype(np.int32)
    targets = first[:, None].astype(float)
    net = Network(topology, seed=1)
    few = lstm97.train(net, inputs, targets, learning_rate=0.1).errors[-500:].mean()
    grown = net.with_block(1, seed=2)
    assert np.array_equal(grown.weights["output"][:, :3], net.weights["output"])
    more = lstm97.train(grown, inputs, targets, learning_rate=0.1, epochs=3).errors[-500:].mean()
    assert few > 0.3  # the last symbol carries no information about the first
    assert more < 0.1


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 1.5}, TypeError, "size must be an integer"),
        ({"init_range": -1}, ValueError, "init_range"),
        ({"outgoing_range": -1}, ValueError, "outgoing_range"),
        ({"outgoing_range": np.inf}, ValueError, "outgoing_range must be finite"),
        ({"outgoing_range": 1.7e308}, ValueError, "outgoing_range must be finite, and twice its value in float64 too"),
        ({"forget_gate_bias": 1}, ValueError, "forget_gate_bias is given but the topology has no forget gates"),
        ({"input_gate_bias": np.nan}, ValueError, "input_gate_bias must be finite"),
        ({"seed": "x"}, TypeError, "SeedSequence"),
    ],
)
def test_bad_arguments(arguments, error, words):
    with pytest.raises(error, match=words):
        Network(Topology(2, 1)).with_block(**arguments)
