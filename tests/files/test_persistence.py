"""Networks and states in files, pickles and copies."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as serialize
from topologies import cases, topologies

import lstm97
from lstm97 import Network, Topology, _format
from lstm97.network import network_from_bytes, network_to_bytes

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
DTYPES = ("float64", "float32")


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
    assert header["lstm97_format"] == "2"
    assert json.loads(header["topology"])["blocks"] == [2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lstm97_format": "3"}, "has lstm97 format '3'; this version reads '1' and '2'"),
        ({"topology": None}, "has no usable header"),
        ({"topology": "[]"}, "has no usable header"),
        ({"topology": '{"n_inputs": 2}'}, "has no usable header"),
        ({"dtype": "float16"}, "has no usable header"),
        ({"topology": '{"n_inputs": 3, "n_outputs": 1}'}, "its header needs"),
        ({"topology": '{"n_inputs": 2, "n_outputs": 1, "forget_gates": true}'}, "lacks the tensor 'forget_gate'"),
        ({"topology": '{"n_inputs": 2, "n_outputs": 1, "output_gates": false}'}, "should not have the tensor"),
        ({"state": "{}"}, "the state must have phase, symbol, symbols_only and partials_bound"),
        ({"training": "{}"}, "the training must have"),
        ({"training": "5"}, "the training must have"),
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


# ---- states ----


def go_on(net, case, begin, state=None):
    """Everything visible of a stream from step `begin` on: outputs, weights, the state's properties."""
    Y = net.learn_run(case.inputs[begin:], case.targets[begin:], case.learning_rate, state=state)
    state = net.state if state is None else state
    shown = [state.cell_state, *state.activations.values(), *state.partials.values()]
    return [Y, net.parameters, *shown]


def network_of(case, dtype):
    net = Network(case.topology, dtype=dtype)
    for kind, w in case.weights.items():
        net.weights[kind] = w
    return net


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@given(case=cases(max_steps=40))
def test_a_stream_saved_at_any_step_continues_with_the_same_bits(dtype, case):
    """Saved as pickles, which contain the bytes of files and need no disk."""
    whole = go_on(network_of(case, dtype), case, 0)
    net = network_of(case, dtype)
    for t in range(case.n_steps + 1):
        found = go_on(pickle.loads(pickle.dumps(net)), case, t)
        assert np.array_equal(found[0], whole[0][t:])
        assert same(found[1:], whole[1:])
        net.learn_run(case.inputs[t : t + 1], case.targets[t : t + 1], case.learning_rate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("forget_gates", [False, True])
@pytest.mark.parametrize("blocks", [(2, 2), (1,) * 40, (20, 3)])
def test_every_step_of_a_long_stream(dtype, forget_gates, blocks):
    """Several blocks of pending steps; numbers and symbols mixed; targets at some steps, some of them late."""
    topology = Topology(5, 2, blocks=blocks, n_hidden=1, forget_gates=forget_gates)
    rng = np.random.default_rng(7)
    xs = [int(rng.integers(5)) if rng.random() < 0.5 else rng.uniform(-1, 1, 5) for _ in range(70)]
    ts = [rng.uniform(0, 1, 2) if rng.random() < 0.1 else None for _ in xs]
    late = [t is None and rng.random() < 0.1 for t in ts]

    def continued(net, begin):
        ys = []
        for x, t, is_late in list(zip(xs, ts, late, strict=True))[begin:]:
            ys.append(net.learn(x, t, 0.3))
            if is_late:
                net.correct([0.2, 0.9], 0.3)
        return [*ys, net.parameters, net.state.cell_state, *net.state.partials.values()]

    net = Network(topology, dtype=dtype, seed=3, init_range=0.5)
    saved = []
    for x, t, is_late in zip(xs, ts, late, strict=True):
        saved.append(pickle.dumps(net))
        net.learn(x, t, 0.3)
        if is_late:
            net.correct([0.2, 0.9], 0.3)
    unbroken = [net.parameters, net.state.cell_state, *net.state.partials.values()]
    whole = continued(pickle.loads(saved[0]), 0)
    assert same(whole[len(xs) :], unbroken)
    for n, data in enumerate(saved):
        assert same(continued(pickle.loads(data), n), whole[n:]), n


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(
    case=cases(max_steps=40, classes=False),
    scale=st.sampled_from([1.0, 1e2, 1e4, 1e8, 1e18]),
    init_range=st.sampled_from([0.3, 3.0, 1e4]),
)
def test_every_reachable_state_can_be_saved_loaded_and_copied(dtype, case, scale, init_range):
    """Saturated gates, extreme inputs, overflows: the file loads, and the network continues with the same bits."""
    net = Network(case.topology, dtype=dtype, seed=case.seed, init_range=init_range)
    inputs = case.inputs if case.symbols else case.inputs * scale
    for i, (x, target) in enumerate(zip(inputs, case.targets, strict=True)):
        with suppress(FloatingPointError):
            net.learn(x, target, case.learning_rate)
        if i % 3:
            continue
        twins = [
            network_from_bytes(network_to_bytes(net, True)),
            copy.copy(net),
            pickle.loads(pickle.dumps(net)),
        ]
        for twin in twins:
            assert network_to_bytes(twin, True) == network_to_bytes(net, True)
        state = copy.copy(net.state)
        other = twins[0]
        for x, target in zip(inputs[i + 1 : i + 6], case.targets[i + 1 : i + 6], strict=True):
            outcomes = []
            for each, of in ((twins[1], None), (other, None)):
                try:
                    outcomes.append(each.learn(x, target, case.learning_rate, state=of).tobytes())
                except FloatingPointError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]
            assert other.parameters.tobytes() == twins[1].parameters.tobytes()
        assert state.cell_state.tobytes() == net.state.cell_state.tobytes()


def test_forget_gates_of_earlier_versions_that_are_1_and_an_ulp_are_read():
    net = Network(Topology(4, 1, blocks=(2,), forget_gates=True))
    for symbol in (0, 1, 2, 1, 0):
        net.learn(symbol, None)
    data = damaged(net, lambda tensors: tensors["state.pending.decay"].__setitem__(3, np.nextafter(1, 2)))
    assert network_from_bytes(data).state.cell_state.tobytes() == net.state.cell_state.tobytes()


@pytest.mark.filterwarnings("ignore:1 of 1 cells are saturated")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e18])  # a large input makes all other sources negligible
def test_the_bound_of_the_partials_is_one_however_they_are_rounded(dtype, scale):
    """Otherwise a loaded state has no bound, and saving it again gives other bytes."""
    bounds = []
    for seed in range(30):
        net, rng = (
            Network(Topology(1, 1, blocks=(1,), output="identity"), dtype, seed, 0.5),
            np.random.default_rng(seed),
        )
        for _ in range(100):
            with suppress(FloatingPointError):
                net.learn(rng.uniform(-scale, scale, 1), rng.uniform(-1, 1, 1), 1e-8 / scale**2)
            numbers, parts = net.state._parts()
            bounds.append(float.fromhex(numbers["partials_bound"]))
            assert np.abs(parts["partials"]).max() <= bounds[-1]
            if rng.random() < 0.1:
                net.reset()
    assert np.isfinite(bounds).mean() > 0.9


def test_a_wrong_bound_in_a_file_is_not_trusted():
    """Otherwise a file could make the loops write infinite weights."""
    net = Network(Topology(2, 1, blocks=(2,), output="identity"))
    net.learn_run(np.ones((20, 2)), None)
    contents = _format.parse(io.BytesIO(data := network_to_bytes(net, True)), len(data), "")
    numbers = json.loads(contents.metadata["state"])
    for bound, words in (("-1", "partials_bound is '-1'"), ("x", "no usable header"), (1, "partials_bound is 1")):
        metadata = contents.metadata | {"state": json.dumps(numbers | {"partials_bound": bound})}
        with pytest.raises(ValueError, match=words):
            network_from_bytes(serialize(contents.tensors, metadata))
    metadata = contents.metadata | {"state": json.dumps(numbers | {"partials_bound": (0.0).hex()})}
    found = network_from_bytes(serialize(contents.tensors, metadata))
    assert found.state._engine.numbers()["partials_bound"] == np.inf


def test_a_file_holds_what_a_pickle_holds(tmp_path):
    net = Network(Topology(3, 2, forget_gates=True), dtype="float32")
    for i in range(20):
        net.learn(i % 3, None)
    net.save(tmp_path / "net", state=True)
    (_, (data,)) = net.__reduce__()
    loaded, pickled = _format.read(tmp_path / "net"), _format.parse(io.BytesIO(data), len(data), "")
    assert loaded.metadata == pickled.metadata
    assert loaded.tensors.keys() == pickled.tensors.keys()
    assert all(np.array_equal(array, pickled.tensors[name]) for name, array in loaded.tensors.items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_before", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("symbols", [False, True])
def test_a_target_that_comes_after_loading(tmp_path, dtype, n_before, symbols):
    for blocks in ((2, 2), (1,) * 40):
        net = Network(Topology(3, 2, blocks=blocks, forget_gates=True), dtype=dtype)
        rng = np.random.default_rng(0)
        for _ in range(n_before):
            net.learn(int(rng.integers(3)) if symbols else rng.uniform(-1, 1, 3), None)
        net.save(tmp_path / "net", state=True)
        loaded = lstm97.load(tmp_path / "net")
        for each in (net, loaded):
            each.correct([0.1, 0.9], 0.5)
        assert np.array_equal(loaded.parameters, net.parameters)
        with pytest.raises(RuntimeError, match="needs a learn step"):
            loaded.correct([0.1, 0.9])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("blocks", [(2, 2), (1,) * 20, (3,)])
@pytest.mark.parametrize("n_before", [1, 5, 15, 16])
def test_a_state_saved_after_a_step_that_failed(dtype, blocks, n_before):
    net = Network(Topology(2, 1, blocks=blocks, output="identity"), dtype=dtype, init_range=1)
    rng = np.random.default_rng(0)
    for _ in range(n_before):
        net.learn(rng.uniform(-1, 1, 2), None)
    weights = net.parameters
    net.weights["output"] = np.finfo(dtype).max
    with pytest.raises(FloatingPointError):
        net.learn([1, 1], [1])
    net.parameters = weights
    twin = pickle.loads(pickle.dumps(net))
    assert same(twin.state.partials.values(), net.state.partials.values())
    assert np.array_equal(twin.learn([0.5, -1], [0.3]), net.learn([0.5, -1], [0.3]))
    assert np.array_equal(twin.parameters, net.parameters)


def test_inference_continues_too_and_without_partials(tmp_path):
    net = Network(Topology(2, 1), init_range=1)
    net.learn([1, -1], None)
    net.step([0.5, 1])
    net.save(tmp_path / "net", state=True)
    loaded = lstm97.load(tmp_path / "net")
    assert np.array_equal(loaded.step([1, 1]), net.step([1, 1]))
    with pytest.raises(RuntimeError, match="needs a learn step"):
        loaded.correct([0.1])


def test_another_state_can_be_saved_instead_of_the_own(tmp_path):
    net = Network(Topology(2, 1), init_range=1)
    stream = net.new_state()
    net.step([1, -1], state=stream)
    net.save(tmp_path / "net", state=stream)
    assert np.array_equal(lstm97.load(tmp_path / "net").step([1, 1]), net.step([1, 1], state=stream))
    with pytest.raises(ValueError, match="belongs to another network"):
        Network(Topology(2, 1)).save(tmp_path / "net", state=stream)
    with pytest.raises(TypeError, match="state must be True, False or a State, got int"):
        net.save(tmp_path / "net", state=1)


def test_without_state_the_loaded_network_begins_with_a_zero_state(tmp_path):
    net = Network(Topology(2, 1), init_range=1)
    net.learn([1, -1], None)
    net.save(tmp_path / "net")
    net.reset()
    assert np.array_equal(lstm97.load(tmp_path / "net").step([1, 1]), net.step([1, 1]))


# ---- pickles and copies ----


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_has_weights_and_state_of_its_own(copied):
    net = Network(Topology(2, 1), dtype="float32", seed=4)
    net.learn([1, 0.5], [0.3])
    net.learn([1, 0.5], None)
    twin = copied(net)
    before = twin.parameters
    assert np.array_equal(twin.learn([1, 1], [0.2]), copied(net).learn([1, 1], [0.2]))
    assert not np.array_equal(twin.parameters, before)
    assert np.array_equal(net.parameters, before)


def test_a_copied_state_is_one_more_of_the_same_network():
    net = Network(Topology(2, 1), init_range=1)
    stream = net.new_state()
    net.learn([1, 0.5], None, state=stream)
    twin = copy.copy(stream)
    assert np.array_equal(net.step([1, 1], state=twin), net.step([1, 1], state=stream))
    own = copy.copy(net.state)
    net.step([1, 1], state=own)
    assert not net.state.cell_state.any()


def test_a_network_and_its_states_are_pickled_together():
    net = Network(Topology(2, 1), init_range=1)
    states = [net.new_state() for _ in range(3)]
    for i, state in enumerate(states):
        net.step([i, 1], state=state)
    twin, twins = pickle.loads(pickle.dumps((net, states)))
    for state, other in zip(states, twins, strict=True):
        assert np.array_equal(twin.step([1, 1], state=other), net.step([1, 1], state=state))
    alone = copy.deepcopy(states[1])  # copies its network too
    with pytest.raises(ValueError, match="belongs to another network"):
        net.step([1, 1], state=alone)


def test_copying_a_network_with_its_own_state_copies_both():
    net = Network(Topology(2, 1), init_range=1)
    twin, own = copy.deepcopy((net, net.state))
    assert own is twin.state
    another = copy.copy(net.state)
    assert another is not net.state
    assert np.array_equal(net.step([1, 1], state=another), net.step([1, 1]))
    alone = pickle.loads(pickle.dumps(net.state))
    assert np.array_equal(alone.cell_state, net.state.cell_state)
    assert np.array_equal(copy.copy(alone).cell_state, net.state.cell_state)  # it kept its network


def test_a_network_is_freed_at_once_and_its_own_state_refuses_calls():
    net = Network(Topology(2, 1))
    state = net.state
    del net
    with pytest.raises(TypeError, match="network is gone"):
        copy.copy(state)


# ---- whole files ----


def test_a_save_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(("fsync", stat.S_ISDIR(os.fstat(fd).st_mode))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("replace", os.path.getsize(a))), replace(a, b)))
    Network(Topology(2, 1)).save(tmp_path / "net")
    assert done == [("fsync", False), ("replace", os.path.getsize(tmp_path / "net")), ("fsync", True)]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "net"
    Network(Topology(2, 1)).save(path)
    old = path.read_bytes()

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Network(Topology(2, 1), seed=1).save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["net"]


def test_links_and_permissions_stay(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    Network(Topology(2, 1)).save(target)
    target.chmod(0o666)  # permissions that the umask denies to a new file
    link.symlink_to(target)
    Network(Topology(2, 1), seed=1).save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o666
    assert np.array_equal(lstm97.load(target).parameters, Network(Topology(2, 1), seed=1).parameters)


def test_a_topology_that_no_header_holds_is_not_saved(tmp_path):
    net = Network(Topology(1, 1, blocks=(1,) * 400_000, recurrent=False, output_gates=False, bias="none"))
    with pytest.raises(ValueError, match="400000 blocks does not fit the header of a file"):
        net.save(tmp_path / "net")
    assert not os.listdir(tmp_path)


def test_places_that_cannot_be_written(tmp_path):
    net = Network(Topology(2, 1))
    with pytest.raises(FileNotFoundError):
        net.save(tmp_path / "no" / "net")
    with pytest.raises(OSError, match="is not a regular file"):
        net.save(tmp_path)
    with pytest.raises(OSError, match="/dev/null is not a regular file"):
        net.save("/dev/null")
    with pytest.raises(FileNotFoundError):
        lstm97.load(tmp_path / "no")
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is not a regular file"):
            lstm97.load(path)


def test_names_that_a_temporary_name_must_not_outgrow(tmp_path):
    net = Network(Topology(2, 1), seed=1)
    for path in (tmp_path / ("n" * 255), os.fsencode(tmp_path / "bytes")):
        net.save(path)
        assert np.array_equal(lstm97.load(path).parameters, net.parameters)
    assert len(os.listdir(tmp_path)) == 2


def damaged(net, change):
    """The bytes of a network with its state, after a change of the tensors."""
    contents = _format.parse(io.BytesIO(data := network_to_bytes(net, True)), len(data), "")
    tensors = {name: array.copy() for name, array in contents.tensors.items()}
    change(tensors)
    return serialize(tensors, contents.metadata)


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("state.pending.decay", 3, 1e300, "pending.decay is not between 0 and 1"),
        ("state.pending.decay", 0, np.nan, "pending.decay is not between 0 and 1"),
        ("state.pending.symbols", 2, -5, "pending symbols are not among its inputs_seen"),
        ("state.pending.symbols", 2, 2**31 - 1, "pending symbols are not among its inputs_seen"),
        ("state.inputs_seen", 0, 2, "inputs_seen are not different inputs"),
        ("state.inputs_seen", 0, -1, "inputs_seen are not different inputs"),
        ("state.partials", 3, 5.0, "partials by inputs that are not among its inputs_seen"),
        ("cell", 1, np.inf, "weights that are not finite"),
    ],
)
def test_hostile_states_are_refused(name, place, value, words):
    net = Network(Topology(4, 1, blocks=(2,), forget_gates=True))
    for symbol in (0, 1, 2, 1, 0):
        net.learn(symbol, None)
    with pytest.raises(ValueError, match=f"the data (is damaged: the state('s| has)|has) {words}"):
        network_from_bytes(damaged(net, lambda tensors: tensors[name].__setitem__(place, value)))


@pytest.mark.parametrize("n_kills", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_a_kill_at_any_instant_leaves_the_old_file_or_the_new_one(tmp_path, n_kills):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(HERE / "kill_saves.py"), str(tmp_path / "net"), str(n_kills)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["kills"] == n_kills
    assert found["broken"] == 0
    # The kills came at all phases of a save: some left a temporary file,
    assert found["left behind"] > 0
    assert found["different files"] > n_kills / 10  # and they came after different numbers of saves


# ---- the format, forever ----


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("format-*.safetensors")), ids=lambda path: path.name)
def test_files_of_every_format_load_forever(path):
    """Files that make_golden_files.py of their version wrote; beside each the results of further steps."""
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    net = lstm97.load(path)
    assert net.dtype == expected["dtype"]
    assert json.loads(json.dumps(net.topology.blocks)) == expected["blocks"]
    tolerance = {"float64": 1e-12, "float32": 1e-5}[expected["dtype"]]
    for x, target, y in zip(expected["inputs"], expected["targets"], expected["outputs"], strict=True):
        assert np.allclose(net.learn(x, target, 0.5), y, rtol=tolerance, atol=tolerance)
    assert np.allclose(net.parameters, expected["parameters"], rtol=tolerance, atol=tolerance)


def test_there_is_a_golden_file_for_the_present_format():
    assert sorted(GOLDEN.glob(f"format-{_format.FORMAT}-*.safetensors"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_in_a_save_leaves_the_network_usable():
    """A handler could run between a claim and the block that releases it, if there were a gap between the two."""
    net = Network(Topology(2, 1))
    n_interrupts = 0

    def interrupt(*_):
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        while n_interrupts < 2000:
            try:
                signal.setitimer(signal.ITIMER_REAL, 2e-5 + 2e-7 * (n_interrupts % 500))
                for _ in range(50):  # bounded, as the exception is lost if the handler runs in a callback of Python
                    network_to_bytes(net, True)
            except InterruptedError:
                pass
            n_interrupts += 1
            net.learn([1, 1], [0.5], 1e-3)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
