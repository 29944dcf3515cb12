"""Networks as ONNX models: ONNX Runtime gives the network's outputs, and the files are as documented."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from compare import TOLERANCE, assert_close
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from topologies import cases
from waiting import HANGS

import lstm97

ROOT = Path(__file__).parents[2]
TENSORS = {"tensor(double)": np.float64, "tensor(float)": np.float32}

peers = pytest.mark.peers  # onnx and ONNX Runtime are among them


def export(net, path, **options):
    """Export, check the file, and open it in ONNX Runtime."""
    import onnx
    import onnxruntime

    lstm97.export_onnx(net, path, **options)
    onnx.checker.check_model(str(path), full_check=True)
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = one_thread.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), one_thread, providers=["CPUExecutionProvider"])


def zero_state(session, batch):
    """The inputs of the state at a stream's first step, by name."""
    _, *parts = session.get_inputs()
    return {part.name: np.zeros((batch, part.shape[1]), TENSORS[part.type]) for part in parts}


def go_on(session, x, state):
    """Make one call; returns the outputs, and the state for the next call."""
    y, *after = session.run(None, {session.get_inputs()[0].name: x, **state})
    return y, dict(zip(state, after, strict=True))


def states_of(net, states):
    """The model's expected state for these states of a network, by name, with a row for each."""
    kinds = net.topology.recurrent_sources
    parts = {}
    if net.topology.n_cells:
        parts["cell_state"] = np.stack([state.cell_state for state in states])
    if kinds:
        rows = [np.concatenate([state.activations[kind] for kind in kinds]) for state in states]
        parts["activations"] = np.stack(rows)
    return parts


def shapes(values):
    return {value.name: tuple(value.shape) for value in values}


def network(case, dtype):
    net = lstm97.Network(case.topology, dtype)
    for kind, values in case.weights.items():
        net.weights[kind] = values
    return net


def streams(case, batch):
    """Inputs of shape (n_steps, batch, n_inputs)."""
    rng = np.random.default_rng([case.seed, 3])
    return rng.uniform(-1, 1, (case.n_steps, batch, case.topology.n_inputs))


any_case = cases(max_steps=12, symbols=False, classes=False, when="never")


@peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=any_case, batch=st.sampled_from([1, 3]))
@examples(0.4)
def test_step_model_gives_the_networks_outputs(tmp_path_factory, dtype, case, batch):
    net = network(case, dtype)
    session = export(net, tmp_path_factory.getbasetemp() / "step.onnx")
    states = [net.new_state() for _ in range(batch)]
    carried = zero_state(session, batch)
    for x in streams(case, batch).astype(dtype):
        y, carried = go_on(session, x, carried)
        expected = np.stack([net.step(row, state=state) for row, state in zip(x, states, strict=True)])
        assert y.dtype == dtype
        assert_close(y, expected, TOLERANCE[dtype], "y")
        assert_close(carried, states_of(net, states), TOLERANCE[dtype], "state")


@peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@given(case=any_case, batch=st.sampled_from([1, 3]), cut=st.floats(0, 1))
@examples(0.4)
def test_sequence_model_gives_the_networks_outputs_in_one_call_or_two(tmp_path_factory, dtype, case, batch, cut):
    net = network(case, dtype)
    session = export(net, tmp_path_factory.getbasetemp() / "sequence.onnx", sequence=True)
    X = streams(case, batch).astype(dtype)
    states = [net.new_state() for _ in range(batch)]
    expected = np.stack([net.run(X[:, i], state=state) for i, state in enumerate(states)], axis=1)

    Y, after = go_on(session, X, zero_state(session, batch))
    assert Y.dtype == dtype
    assert_close(Y, expected, TOLERANCE[dtype], "Y")
    assert_close(after, states_of(net, states), TOLERANCE[dtype], "state")

    n_first = int(cut * len(X))
    if 0 < n_first < len(X):
        first, between = go_on(session, X[:n_first], zero_state(session, batch))
        second, after_both = go_on(session, X[n_first:], between)
        assert_close(np.concatenate([first, second]), Y, TOLERANCE[dtype], "Y in two calls")
        assert_close(after_both, after, TOLERANCE[dtype], "state after two calls")


@peers
@pytest.mark.parametrize("sequence", [False, True])
def test_stream_begun_by_the_network_continues_in_onnx_runtime(tmp_path, sequence):
    net = lstm97.Network(lstm97.Topology(2, 3, blocks=(1, 2), n_hidden=2, forget_gates=True), init_range=1.0)
    session = export(net, tmp_path / "net.onnx", sequence=sequence)
    begin, (x,) = np.split(np.random.default_rng(0).uniform(-1, 1, (6, 2)), [5])
    net.run(begin)
    fed = x[np.newaxis, np.newaxis] if sequence else x[np.newaxis]
    y, after = go_on(session, fed, states_of(net, [net.state]))
    assert_close(y.reshape(3), net.step(x), 1e-12)
    assert_close(after, states_of(net, [net.state]), 1e-12)


@peers
def test_model_in_another_dtype_than_the_network(tmp_path):
    net = lstm97.Network(lstm97.Topology(2, 1), init_range=1.0)
    x = np.array([0.3, -0.6])
    session = export(net, tmp_path / "net.onnx", dtype="float32")
    y, _ = go_on(session, x[np.newaxis].astype(np.float32), zero_state(session, 1))
    assert y.dtype == np.float32
    assert_close(y[0], net.step(x), TOLERANCE["float32"])


def learned(net, rng, n=50):
    """The network has learned from data in various units, as far as it scales them; returns other such inputs."""
    t = net.topology
    scales_targets = net.scaling.targets and t.output == "identity"
    X = rng.normal(0, 1, (2 * n, t.n_inputs))
    if net.scaling.inputs:
        X = 1e4 + X * 10.0 ** np.arange(t.n_inputs)
    X[:, -1] = 3.0
    targets = rng.dirichlet(np.ones(t.n_outputs), n) * (1e3 if scales_targets else 1)
    net.learn_run(X[:n], targets, 0.05)
    net.reset()
    return X[n:].astype(net.dtype)


@peers
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("scaling", [lstm97.Scaling(), lstm97.Scaling(targets=False), lstm97.Scaling(inputs=False)])
@pytest.mark.parametrize(
    "topology",
    [
        lstm97.Topology(3, 2, blocks=(2, 1), n_hidden=1, input_to_output=True, output="identity"),
        lstm97.Topology(3, 2, blocks=(2,), recurrent=False, output="softmax"),
        lstm97.Topology(3, 2, blocks=(), input_to_output=True, output="identity"),
        lstm97.Topology(3, 2, blocks=(), output="identity"),
    ],
)
def test_scaling_is_in_the_model(tmp_path, topology, scaling, sequence, dtype):
    net = lstm97.Network(topology, dtype, init_range=0.5, scaling=scaling)
    X = learned(net, np.random.default_rng(1))
    session = export(net, tmp_path / "net.onnx", sequence=sequence)
    expected = net.run(X)
    if sequence:
        Y, _ = go_on(session, X[:, None].astype(dtype), zero_state(session, 1))
    else:
        state, Y = zero_state(session, 1), []
        for x in X.astype(dtype):
            y, state = go_on(session, x[None], state)
            Y.append(y)
    unit = max(1.0, np.abs(expected).max())
    assert_close(np.reshape(Y, expected.shape) / unit, expected / unit, TOLERANCE[dtype])


@peers
def test_inputs_that_have_been_symbols_are_not_scaled(tmp_path):
    net = lstm97.Network(lstm97.Topology(4, 1, output="identity"), init_range=1.0, scaling=lstm97.Scaling())
    symbols = np.random.default_rng(1).integers(4, size=50)
    net.learn_run(symbols, np.sin(symbols)[:, None], 0.1)
    net.reset()
    session = export(net, tmp_path / "net.onnx", sequence=True)
    Y, _ = go_on(session, np.eye(4)[symbols][:, None], zero_state(session, 1))
    assert_close(Y[:, 0], net.run(symbols), 1e-12)


@peers
def test_a_scale_that_the_dtype_cannot_hold_is_refused(tmp_path):
    net = lstm97.Network(lstm97.Topology(2, 1, output="identity"), scaling=lstm97.Scaling())
    net.learn([1e60, 1], [0.5], 0.1)
    with pytest.raises(ValueError, match="net scales inputs by numbers that are not finite in float32"):
        lstm97.export_onnx(net, tmp_path / "net.onnx", dtype="float32")
    lstm97.export_onnx(net, tmp_path / "net.onnx")


# ---- the files ----


@peers
@pytest.mark.parametrize(
    ("topology", "state"),
    [
        # 1 hidden unit, 3 cells, 2 input gates, 2 output gates
        (lstm97.Topology(4, 5, blocks=(2, 1), n_hidden=1), {"cell_state": 3, "activations": 8}),
        (lstm97.Topology(4, 5, blocks=(2, 1), n_hidden=1, gate_sources=False), {"cell_state": 3, "activations": 4}),
        (lstm97.Topology(4, 5, blocks=(2, 1), recurrent=False), {"cell_state": 3}),
        (lstm97.Topology(4, 5, blocks=(), n_hidden=2), {"activations": 2}),
        (lstm97.Topology(4, 5, blocks=(), n_hidden=2, recurrent=False), {}),
        (lstm97.Topology(4, 5, blocks=(), bias="none"), {}),
    ],
)
def test_inputs_and_outputs_are_those_that_the_topology_needs(tmp_path, topology, state):
    net = lstm97.Network(topology)
    before = {name: ("batch", n) for name, n in state.items()}
    after = {f"next_{name}": shape for name, shape in before.items()}
    step = export(net, tmp_path / "step.onnx")
    assert shapes(step.get_inputs()) == {"x": ("batch", 4), **before}
    assert shapes(step.get_outputs()) == {"y": ("batch", 5), **after}
    sequence = export(net, tmp_path / "sequence.onnx", sequence=True)
    assert shapes(sequence.get_inputs()) == {"X": ("n_steps", "batch", 4), **before}
    assert shapes(sequence.get_outputs()) == {"Y": ("n_steps", "batch", 5), **after}


@peers
def test_model_names_its_producer(tmp_path):
    topology = lstm97.Topology(2, 1, blocks=(3,), bias="gates")
    session = export(lstm97.Network(topology, "float32"), tmp_path / "net.onnx")
    about = session.get_modelmeta()
    assert about.producer_name == "lstm97"
    assert str(topology) in about.description
    assert about.custom_metadata_map == {"topology": json.dumps(asdict(topology)), "dtype": "float32"}


@peers
def test_old_runtimes_can_read_it(tmp_path):
    import onnx

    for sequence in (False, True):
        lstm97.export_onnx(lstm97.Network(lstm97.Topology(2, 1)), tmp_path / "net.onnx", sequence=sequence)
        model = onnx.load(tmp_path / "net.onnx")
        assert model.producer_version == lstm97.__version__
        assert model.ir_version == 7
        assert [(one.domain, one.version) for one in model.opset_import] == [("", 13)]
        # Before 1.18, ONNX Runtime fuses a Gemm and a Sigmoid into an operator that it lacks for doubles.
        assert "Gemm" not in str(model.graph)


@peers
def test_same_network_makes_the_same_bytes_in_any_process(tmp_path):
    code = (
        "import sys, lstm97; "
        "net = lstm97.Network(lstm97.Topology(3, 2, n_hidden=2, forget_gates=True)); "
        "lstm97.export_onnx(net, 'step.onnx'); lstm97.export_onnx(net, 'sequence.onnx', sequence=True)"
    )
    found = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        hashing = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=hashing, check=True, timeout=HANGS)
        found.append([(folder / name).read_bytes() for name in ("step.onnx", "sequence.onnx")])
    assert found[0] == found[1]


@peers
def test_file_is_replaced_or_left_as_it_was(tmp_path):
    path = tmp_path / "net.onnx"
    net = lstm97.Network(lstm97.Topology(2, 1))
    lstm97.export_onnx(net, path)
    before = path.read_bytes()
    net.weights["cell"][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"net has weights of the kind 'cell' that are not finite in float64"):
        lstm97.export_onnx(net, path)
    assert path.read_bytes() == before
    net.weights["cell"][0, 0] = 1.0
    lstm97.export_onnx(net, path)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError):
        lstm97.export_onnx(net, tmp_path / "no folder" / "net.onnx")


@peers
def test_example_serves_two_streams():
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "onnx" / "serve.py"],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    a, b, apart = done.stdout.splitlines()
    assert re.fullmatch(r"stream a began with \+1 and ends with \+(0\.9|1\.0)\d", a)
    assert re.fullmatch(r"stream b began with -1 and ends with -(0\.9|1\.0)\d", b)
    assert float(apart.split()[5]) < TOLERANCE["float32"]


# ---- the command ----


def command(*arguments, before=""):
    """Run ``lstm97 export onnx`` in a process of its own, which executes the code ``before`` first."""
    code = f"{before}from lstm97.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "export", "onnx", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )


@peers
def test_command_writes_the_same_file_as_the_function(tmp_path):
    net = lstm97.Network(lstm97.Topology(2, 1), seed=3)
    file, out, expected = (tmp_path / name for name in ("net.safetensors", "other", "expected"))
    net.save(file, state=True)

    done = command(file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'net.onnx'} written: one step, 93 weights.\n"
    lstm97.export_onnx(net, expected)
    assert (tmp_path / "net.onnx").read_bytes() == expected.read_bytes()

    done = command(file, "--sequence", "--dtype", "float32", "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{out} written: whole sequences, 93 weights.\n"
    lstm97.export_onnx(net, expected, sequence=True, dtype="float32")
    assert out.read_bytes() == expected.read_bytes()


def test_errors_of_the_command_name_the_cause(tmp_path):
    file, bad = tmp_path / "net.safetensors", tmp_path / "bad.onnx"
    lstm97.Network(lstm97.Topology(2, 1)).save(file)
    bad.write_bytes(b"no network")
    for arguments, status, words in (
        ([file], 1, "Error: export_onnx needs the package onnx: pip install onnx\n"),
        ([bad, "--out", tmp_path / "out.onnx"], 1, "is not a safetensors file"),
        ([bad], 2, f"'{bad}' holds the network; name another file by --out."),
        ([tmp_path / "none"], 2, "does not exist"),
        ([file, "--out", tmp_path / "none" / "net.onnx"], 2, f"directory '{tmp_path / 'none'}' does not exist"),
        ([file, "--dtype", "float16"], 2, "'float16' is not one of 'float64', 'float32'"),
    ):
        done = command(*arguments, before="import sys; sys.modules['onnx'] = None; ")
        assert (done.returncode, done.stdout) == (status, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == [bad, file]


# ---- tests that need no onnx ----


def test_without_onnx_the_error_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the package onnx: pip install onnx") as caught:
        lstm97.export_onnx(lstm97.Network(lstm97.Topology(2, 1)), tmp_path / "net.onnx")
    assert caught.value.name == "onnx"
    assert list(tmp_path.iterdir()) == []


def test_package_is_imported_without_onnx():
    code = "import sys, lstm97; lstm97.export_onnx; print([name for name in sys.modules if name.startswith('onnx')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"net": lstm97.Topology(2, 1)}, TypeError, "net must be a Network, got Topology"),
        ({"sequence": 1}, TypeError, "sequence must be True or False, got 1"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"dtype": "float32"}, ValueError, "net has weights of the kind 'output' that are not finite in float32"),
    ],
)
def test_arguments_that_are_refused(tmp_path, options, error, words):
    net = lstm97.Network(lstm97.Topology(2, 1))
    net.weights["output"][0, 1] = 1e300
    with pytest.raises(error, match=words):
        lstm97.export_onnx(**{"net": net, "path": tmp_path / "net.onnx", **options})
    assert list(tmp_path.iterdir()) == []
