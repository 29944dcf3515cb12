"""Files of lstm97.methods: saved learners are loaded again, and other files are refused."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from learners import FULLY, LEARNERS, NETS, SPARSE, stream
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lstm97
from lstm97.methods import BPTT, RCC, RTRL, Chunker, Elman, load

equal = np.testing.assert_array_equal


@pytest.fixture(params=LEARNERS)
def make(request):
    return LEARNERS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "learner.safetensors"


def settings_of(path):
    """Metadata and settings of a file."""
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    return metadata, json.loads(metadata["settings"])


def test_a_loaded_learner_has_the_settings_and_weights_and_learns_the_same(make, path):
    X, T = stream(30)
    net = make()
    net.train([X], [T], 0.3)
    net.save(path)
    back = load(path)
    assert type(back) is type(net)
    assert back.topology == net.topology
    assert list(back.weights) == list(net.weights)
    equal(back.parameters, net.parameters)
    equal(back.learn_run(X, T, 0.3), net.learn_run(X, T, 0.3))  # depends on settings outside the topology too
    equal(back.parameters, net.parameters)


def test_the_state_of_the_stream_is_not_saved_and_not_touched(make, path):
    X, T = stream(30)
    net, other = make(), make()
    for learner in (net, other):
        learner.learn_run(X[:20], T[:20], 0.3)
    net.save(path)
    back, fresh = load(path), make()
    fresh.parameters = net.parameters
    equal(back.run(X), fresh.run(X))
    equal(net.learn_run(X[20:], T[20:], 0.3), other.learn_run(X[20:], T[20:], 0.3))


@pytest.mark.parametrize(
    ("net", "name", "value"),
    [
        (RTRL(FULLY, teacher_forcing=True), "teacher_forcing", True),
        (BPTT(SPARSE, 7), "steps", 7),
        (BPTT(SPARSE), "steps", None),
        (Chunker(NETS, threshold=0.375), "threshold", 0.375),
        (Chunker(NETS, threshold=float("inf")), "threshold", float("inf")),
    ],
)
def test_settings_are_in_the_file_by_name(net, name, value, path):
    net.save(path)
    metadata, settings = settings_of(path)
    assert metadata["method"] == net.method
    assert settings[name] == value
    load(path).save(path)
    assert settings_of(path) == (metadata, settings)


def test_tensors_are_the_weights_by_layer(make, path):
    net = make()
    net.save(path)
    tensors = load_file(path)
    assert set(tensors) == {f"weights.{layer}" for layer in net.weights}
    for layer, w in net.weights.items():
        equal(tensors[f"weights.{layer}"], w)


# ---- other files -----------------------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(ValueError, match=r"is not a (file of lstm97\.methods|safetensors file)") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing")


def test_files_of_networks_are_read_too(path):
    net = lstm97.Network(lstm97.Topology(2, 1, blocks=(1,)), dtype="float32", seed=3)
    net.save(path)
    assert isinstance(load(path), lstm97.Network)
    assert np.array_equal(load(path).parameters, net.parameters)


def test_files_of_learners_are_not_taken_for_those_of_networks(make, path):
    make().save(path)
    with pytest.raises(ValueError, match=r"learner\.safetensors"):
        lstm97.load(path)


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 8, b"\xff" * 100, b"PK\x03\x04" * 50, b"{}"])
def test_other_files_than_safetensors_are_refused(path, data):
    path.write_bytes(data)
    refused(path)


def test_a_file_cut_anywhere_is_refused(make, path):
    make().save(path)
    data = path.read_bytes()
    for length in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path)


def test_a_file_with_one_damaged_byte_in_its_header_is_refused_or_another_valid_file(make, path):
    """If the file is not refused, it is a learner with the same number of weights, all finite."""
    make().save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in range(8 + int.from_bytes(data[:8], "little")):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            net = load(path)
        except ValueError:
            continue
        assert np.isfinite(net.parameters).all()


def altered(path, *, metadata=None, settings=None, topology=None, tensors=None):
    """Write a file again with changed values; a value of None removes the entry."""
    found, said = settings_of(path)
    weights = load_file(path)

    def update(these, by):
        these.update(by or {})
        return {name: value for name, value in these.items() if value is not None}

    said["topology"] = update(said["topology"], topology)
    found["settings"] = json.dumps(update(said, settings))
    save_file(update(weights, tensors), path, update(found, metadata))


SMALL = {"weights.recurrent": np.zeros((2, 2))}


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"format": "lstm97.methods 2"}},
        {"metadata": {"format": None}},
        {"metadata": {"method": "hebb"}},
        {"metadata": {"method": None}},
        {"metadata": {"method": "elman"}},
        {"metadata": {"settings": None}},
        {"metadata": {"settings": "["}},
        {"metadata": {"settings": "[]"}},
        {"metadata": {"settings": "3"}},
        {"metadata": {"settings": "[" * 100_000}},
        {"settings": {"unknown": 1}},
        {"settings": {"topology": 3}},
        {"settings": {"topology": []}},
        {"settings": {"teacher_forcing": "yes"}},
        {"topology": {"n_inputs": 4}},
        {"topology": {"n_inputs": -4}},
        {"topology": {"n_inputs": "3"}},
        {"topology": {"n_inputs": None}},
        {"topology": {"n_hidden": 2.5}},
        {"topology": {"squash": "relu"}},
        {"topology": {"squash": ["tanh"]}},
        {"topology": {"recurrence": [[1]]}},
        {"topology": {"recurrence": [[True], [True, False]]}},
        {"topology": {"unknown": 1}},
        {"tensors": SMALL},
        {"tensors": {"weights.recurrent": None}},
        {"tensors": {"weights.more": np.zeros(2)}},
        {"tensors": {"weights.recurrent": np.full((5, 9), np.nan)}},
        {"tensors": {"weights.recurrent": np.full((5, 9), np.inf)}},
        {"tensors": {"weights.recurrent": np.zeros((5, 9), np.float32)}},
        {"tensors": {"weights.recurrent": np.zeros((5, 9), np.int64)}},
    ],
    ids=str,
)
def test_a_file_with_impossible_values_is_refused(path, change):
    net = RTRL(FULLY, seed=1)
    assert net.weights["recurrent"].shape == (5, 9)
    net.save(path)
    altered(path)
    equal(load(path).parameters, net.parameters)
    altered(path, **change)
    refused(path)


@pytest.mark.parametrize("n", [10**12, 10**40])
@pytest.mark.parametrize("name", ["n_inputs", "n_hidden", "n_outputs"])
def test_a_file_that_claims_more_data_than_it_has_is_refused(make, path, name, n):
    make().save(path)
    altered(path, topology={name: n})
    refused(path)


@pytest.mark.parametrize("steps", [10**15, 10**40])
def test_a_huge_depth_of_bptt_takes_memory_for_the_steps_so_far_only(path, steps):
    BPTT(SPARSE, 3).save(path)
    altered(path, settings={"steps": steps})
    net = load(path)
    assert net.steps == steps
    before = net.n_bytes
    net.run(np.zeros((10, SPARSE.n_inputs)))
    assert net.n_bytes == before < 100_000


def test_an_elman_net_with_other_settings_is_refused(path):
    net = LEARNERS["elman"]()
    assert isinstance(net, Elman)
    net.save(path)
    altered(path, settings={"steps": 3})
    refused(path)


@pytest.mark.parametrize("name", [*LEARNERS, "rcc"])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_have_the_weights_and_a_zero_state(name, again):
    net = RCC(3, 2, seed=4) if name == "rcc" else LEARNERS[name]()
    X = np.random.default_rng(1).normal(size=(5, net.topology.n_inputs))
    net.run(X)
    before = net.parameters
    other = again(net)
    assert type(other) is type(net)
    assert np.array_equal(other.parameters, before)
    Y = other.run(X)
    assert np.array_equal(Y, net.predict([X])[0])
    other.weights[next(iter(other.weights))][...] = 0.5
    assert np.array_equal(net.parameters, before)
