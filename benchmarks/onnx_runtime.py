"""The ONNX Runtime peers, on one CPU thread: an LSTM with a linear output, in float32, and networks exported by us."""

from __future__ import annotations

import tempfile
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lstm97

from .timing import Workload


def lstm_model(n_inputs: int, n_cells: int, n_outputs: int, *, n_steps: int = 1, n_sequences: int = 1) -> bytes:
    """Steps of sequences side by side as a graph: inputs and states go in, the last outputs and new states come out."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> Any:
        return numpy_helper.from_array(rng.uniform(-0.1, 0.1, shape).astype(np.float32), name)

    def value(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        [
            helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["", "h_new", "c_new"], hidden_size=n_cells),
            helper.make_node("Squeeze", ["h_new", "first_axis"], ["hidden"]),
            helper.make_node("Gemm", ["hidden", "V", "bias"], ["y"], transB=1),
        ],
        "steps",
        [value("x", n_steps, n_sequences, n_inputs), *(value(name, 1, n_sequences, n_cells) for name in ("h", "c"))],
        [value("y", n_sequences, n_outputs), *(value(name, 1, n_sequences, n_cells) for name in ("h_new", "c_new"))],
        [
            weights("W", 1, 4 * n_cells, n_inputs),
            weights("R", 1, 4 * n_cells, n_cells),
            weights("B", 1, 8 * n_cells),
            weights("V", n_outputs, n_cells),
            weights("bias", n_outputs),
            numpy_helper.from_array(np.array([0]), "first_axis"),
        ],
    )
    # Versions that all runtimes of the last years read, and that have these operators.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _session(model: bytes) -> Any:
    onnxruntime = import_module("onnxruntime")  # has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _steps(inputs: npt.NDArray[Any]) -> list[list[npt.NDArray[Any]]]:
    """Each sequence as a list of inputs of the shape the graph takes."""
    return [list(sequence[:, None, None, :]) for sequence in inputs]


def run_calls(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """A ``session.run`` per step, the state passed as arrays."""
    _, n_steps, n_inputs = inputs.shape
    session = _session(lstm_model(n_inputs, n_cells, n_outputs))
    sequences = _steps(inputs)
    zero = np.zeros((1, 1, n_cells), np.float32)
    names = ["y", "h_new", "c_new"]

    def run(n_items: int) -> Any:
        y = None
        for sequence in islice(cycle(sequences), n_items):
            h, c = zero, zero
            for x in sequence:
                y, h, c = session.run(names, {"x": x, "h": h, "c": c})
        return y

    return Workload(f"ONNX Runtime LSTM({n_inputs}, {n_cells}), session.run, float32", run, n_steps)


def bound_calls(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """A run per step on buffers bound once: two for h and two for c, which change places at every step."""
    _, n_steps, n_inputs = inputs.shape
    session = _session(lstm_model(n_inputs, n_cells, n_outputs))
    values = import_module("onnxruntime").OrtValue

    def buffer(*shape: int) -> Any:
        # A value on the CPU shares the memory of its array, so each value needs an array of its own.
        return values.ortvalue_from_numpy(np.zeros(shape, np.float32))

    sequences = _steps(inputs)
    zero = np.zeros((1, 1, n_cells), np.float32)
    x_value, y_value = buffer(1, 1, n_inputs), buffer(1, n_outputs)
    states = [tuple(buffer(*zero.shape) for _ in range(2)) for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        for name, value in zip(("x", "h", "c"), (x_value, *before), strict=True):
            binding.bind_ortvalue_input(name, value)
        for name, value in zip(("y", "h_new", "c_new"), (y_value, *after), strict=True):
            binding.bind_ortvalue_output(name, value)
        bindings.append(binding)

    def run(n_items: int) -> Any:
        y = None
        for sequence in islice(cycle(sequences), n_items):
            for value in states[0]:
                value.update_inplace(zero)
            for x, binding in zip(sequence, cycle(bindings), strict=False):
                x_value.update_inplace(x)
                session.run_with_iobinding(binding)
                y = y_value.numpy()
        return y

    return Workload(f"ONNX Runtime LSTM({n_inputs}, {n_cells}), bound buffers, float32", run, n_steps)


def prediction(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """The outputs at the end of all sequences, (n_sequences, n_steps, n_inputs), in one ``session.run``."""
    n_sequences, n_steps, n_inputs = inputs.shape
    session = _session(lstm_model(n_inputs, n_cells, n_outputs, n_steps=n_steps, n_sequences=n_sequences))
    zero = np.zeros((1, n_sequences, n_cells), np.float32)
    given = {"x": np.ascontiguousarray(inputs.swapaxes(0, 1)), "h": zero, "c": zero}

    def run(n_items: int) -> None:
        for _ in range(n_items):
            session.run(["y"], given)

    name = f"ONNX Runtime LSTM({n_inputs}, {n_cells}), {n_sequences} sequences"
    return Workload(name, run, n_sequences * n_steps)


def streams(net: lstm97.Network, inputs: npt.NDArray[Any]) -> tuple[Workload, Any]:
    """A network exported by lstm97: a step of all streams, with inputs (n_streams, n_inputs), per ``session.run``, the
    states passed as arrays; and a call that gives the outputs of the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        lstm97.export_onnx(net, Path(folder) / "step.onnx")
        session = _session((Path(folder) / "step.onnx").read_bytes())
    x, *states = (value.name for value in session.get_inputs())
    carried = {value.name: np.zeros((len(inputs), value.shape[1]), net.dtype) for value in session.get_inputs()[1:]}

    def call() -> npt.NDArray[Any]:
        y: npt.NDArray[Any]
        y, *after = session.run(["y", *(f"next_{name}" for name in states)], {x: inputs, **carried})
        carried.update(zip(states, after, strict=True))
        return y

    def run(n_items: int) -> None:
        for _ in range(n_items):
            call()

    return Workload("ONNX Runtime, the network exported, all streams", run, len(inputs)), call
