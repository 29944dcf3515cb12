"""Which unit sees which: the paper's weight counts, and what a topology refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from reference import weight_shapes
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from topologies import topologies

import lstm97
from lstm97 import Topology

# The networks of the 1997 paper's experiments: task, topology, and the number of weights that the paper states
PAPER = [
    ("1-1", Topology(7, 7, blocks=(1,) * 4, bias="gates"), 264),
    ("1-2", Topology(7, 7, blocks=(2,) * 3, bias="gates"), 276),
    ("1-3", Topology(7, 7, blocks=(2,) * 3, bias="gates"), 276),
    ("1-4", Topology(7, 7, blocks=(1,) * 4, bias="gates"), 264),
    ("1-5", Topology(7, 7, blocks=(2,) * 3, bias="gates"), 276),
    (
        "2a, 2b",
        Topology(101, 101, (1,), output_gates=False, recurrent=False, input_to_output=True, bias="none"),
        10504,
    ),
    ("2c, p=50", Topology(54, 2, blocks=(1, 1), bias="none"), 364),
    ("2c, p=100", Topology(104, 2, blocks=(1, 1), bias="none"), 664),
    ("2c, p=200", Topology(204, 2, blocks=(1, 1), bias="none"), 1264),
    ("2c, p=500", Topology(504, 2, blocks=(1, 1), bias="none"), 3064),
    ("2c, p=1000", Topology(1004, 2, blocks=(1, 1), bias="none"), 6064),
    ("3a, 3b, 3c", Topology(1, 1, blocks=(1, 1, 1), bias="hidden"), 102),
    ("4, 5", Topology(2, 1, blocks=(2, 2)), 93),
    ("6a", Topology(8, 4, blocks=(2, 2)), 156),
    ("6b", Topology(8, 8, blocks=(2, 2, 2)), 308),
]


@pytest.mark.parametrize(("topology", "n_weights"), [row[1:] for row in PAPER], ids=[row[0] for row in PAPER])
def test_weight_counts_are_those_of_the_paper(topology, n_weights):
    assert topology.n_weights == n_weights
    assert lstm97.Network(topology).parameters.shape == (n_weights,)


@given(topologies())
def test_weights_have_the_shapes_and_order_of_the_reference(topology):
    shapes = {kind: w.shape for kind, w in lstm97.Network(topology).weights.items()}
    assert shapes == weight_shapes(topology)
    assert list(shapes) == list(weight_shapes(topology))
    assert topology.n_weights == sum(units * sources for units, sources in shapes.values())


def test_a_kind_without_bias_has_one_source_fewer():
    weights = lstm97.Network(Topology(2, 1, bias="gates")).weights
    assert weights["cell"].shape == (4, 10)
    assert weights["input_gate"].shape == (2, 11)


@given(topologies(recurrent="self"))
def test_a_self_recurrent_unit_sees_one_unit_of_its_layer(topology):
    alone = dataclasses.replace(topology, recurrent=False)
    n_units = sum(n for kind, n in topology.units.items() if kind != "output")
    assert topology.n_weights == alone.n_weights + n_units
    for kind in topology.units:
        sources = topology.sources(kind)
        assert sum(sources.values()) == topology.n_sources(kind)
        if kind == "output":
            assert sources == alone.sources(kind)
        else:
            assert sources == {"input": topology.n_inputs, "self": 1, "bias": int(topology.has_bias(kind))}
            assert list(sources) == ["input", "self", "bias"]
    assert topology == dataclasses.replace(topology, recurrent="self")


def test_a_network_refuses_a_self_recurrent_topology_and_names_who_takes_it(tmp_path):
    words = r"recurrent='self' is for lstm97\.methods\.ElementwiseLSTM"
    with pytest.raises(ValueError, match=words):
        lstm97.Network(Topology(2, 1, recurrent="self"))
    path = tmp_path / "net.safetensors"
    lstm97.Network(Topology(2, 1)).save(path)
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    metadata["topology"] = metadata["topology"].replace('"recurrent": true', '"recurrent": "self"')
    save_file(load_file(path), path, metadata)
    with pytest.raises(ValueError, match=words):
        lstm97.load(path)


def test_equal_hashable_and_normalised():
    a = Topology(np.int64(3), 2, blocks=[2, np.int32(1)], forget_gates=np.True_)
    assert a == Topology(3, 2, blocks=(2, 1), forget_gates=True)
    assert hash(a) == hash(Topology(3, 2, blocks=(2, 1), forget_gates=True))
    assert (type(a.n_inputs), type(a.blocks[1]), type(a.forget_gates)) == (int, int, bool)
    with pytest.raises(dataclasses.FrozenInstanceError):
        a.n_inputs = 4


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"n_inputs": 0}, ValueError, "n_inputs must be at least 1, got 0"),
        ({"n_outputs": -1}, ValueError, "n_outputs must be at least 1"),
        ({"n_inputs": 2**31 - 9}, ValueError, "unit of kind 'cell' would have 2147483648 sources, at most 2147483647"),
        ({"blocks": (2**40,)}, ValueError, "would have 1099511627781 sources"),
        ({"n_hidden": 2**63}, ValueError, "would have 9223372036854775819 sources"),
        ({"n_inputs": 2**40, "blocks": ()}, ValueError, "n_inputs is 1099511627776, at most"),
        ({"n_outputs": 2**31}, ValueError, "n_outputs is 2147483648, at most"),
        ({"n_inputs": 2.0}, TypeError, "n_inputs must be an integer"),
        ({"n_inputs": True}, TypeError, "n_inputs must be an integer"),
        ({"n_hidden": -1}, ValueError, "n_hidden must be at least 0"),
        ({"blocks": 2}, TypeError, "blocks must be a sequence"),
        ({"blocks": "22"}, TypeError, "blocks must be a sequence"),
        ({"blocks": (2, 0)}, ValueError, r"blocks\[1\] must be at least 1"),
        ({"blocks": (2, 1.5)}, TypeError, r"blocks\[1\] must be an integer"),
        ({"recurrent": 1}, TypeError, "recurrent must be True, False or 'self'"),
        ({"recurrent": "all"}, ValueError, "recurrent must be True, False or 'self', got 'all'"),
        ({"forget_gates": None}, TypeError, "forget_gates must be True or False"),
        (
            {"bias": "some"},
            ValueError,
            "bias must be one of 'all', 'hidden', 'gates', 'gates_and_output', 'none', got 'some'",
        ),
        ({"input_squash": "relu"}, ValueError, "input_squash must be one of 'logistic'"),
        ({"output_squash": None}, ValueError, "output_squash must be one of"),
        ({"output": "tanh"}, ValueError, "output must be one of"),
    ],
)
def test_refuses(arguments, error, words):
    with pytest.raises(error, match=words):
        Topology(**{"n_inputs": 2, "n_outputs": 1, **arguments})
