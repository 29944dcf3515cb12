"""Networks in files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from safetensors import safe_open
from topologies import topologies

import lstm97


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(topology=topologies())
def test_a_loaded_network_is_the_saved_one_to_the_bit(tmp_path_factory, dtype, topology):
    path = tmp_path_factory.getbasetemp() / "net.safetensors"
    net = lstm97.Network(topology, dtype=dtype, seed=5)
    net.save(path)
    loaded = lstm97.load(path)
    assert loaded.topology == topology
    assert loaded.dtype == dtype
    assert np.array_equal(loaded.parameters, net.parameters)
    x = np.ones(topology.n_inputs)
    assert np.array_equal(loaded.step(x), net.step(x))


def test_the_file_is_safetensors_with_the_topology_in_its_header(tmp_path):
    path = tmp_path / "net.safetensors"
    net = lstm97.Network(lstm97.Topology(2, 1, blocks=(2, 2)))
    net.save(str(path))
    with safe_open(path, framework="numpy") as file:
        header = file.metadata()
        assert set(file.keys()) == set(net.weights)
        assert np.array_equal(file.get_tensor("cell"), net.weights["cell"])
    assert header["lstm97_format"] == "1"
    assert json.loads(header["topology"])["blocks"] == [2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lstm97_format": "2"}, "has lstm97 format '2'; this version reads '1'"),
        ({"topology": None}, "has no usable header"),
        ({"topology": "[]"}, "has no usable header"),
        ({"topology": '{"n_inputs": 2}'}, "has no usable header"),
        ({"dtype": "float16"}, "has no usable header"),
        ({"topology": '{"n_inputs": 3, "n_outputs": 1}'}, "its topology needs"),
    ],
)
def test_headers_that_are_refused(tmp_path, change, words):
    from safetensors.numpy import save_file

    path = tmp_path / "net.safetensors"
    net = lstm97.Network(lstm97.Topology(2, 1))
    net.save(path)
    with safe_open(path, framework="numpy") as file:
        header = {key: value for key, value in {**file.metadata(), **change}.items() if value is not None}
    save_file({kind: np.ascontiguousarray(w) for kind, w in net.weights.items()}, path, metadata=header)
    with pytest.raises(ValueError, match=words):
        lstm97.load(path)
