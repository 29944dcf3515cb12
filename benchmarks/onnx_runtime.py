"""The ONNX Runtime peers: an LSTM and a linear output as a graph of one step, on one CPU thread, in float32."""

from __future__ import annotations

from importlib import import_module
from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from .timing import Workload


def step_model(n_inputs: int, n_cells: int, n_outputs: int) -> bytes:
    """One step as a graph: input and state go in, output and new state come out."""
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
        "one step",
        [value("x", 1, 1, n_inputs), value("h", 1, 1, n_cells), value("c", 1, 1, n_cells)],
        [value("y", 1, n_outputs), value("h_new", 1, 1, n_cells), value("c_new", 1, 1, n_cells)],
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


def _session(n_inputs: int, n_cells: int, n_outputs: int) -> Any:
    onnxruntime = import_module("onnxruntime")  # has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    model = step_model(n_inputs, n_cells, n_outputs)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _steps(inputs: npt.NDArray[Any]) -> list[list[npt.NDArray[Any]]]:
    """Each sequence as a list of inputs of the shape the graph takes."""
    return [list(sequence[:, None, None, :]) for sequence in inputs]


def run_calls(inputs: npt.NDArray[Any], *, n_cells: int, n_outputs: int) -> Workload:
    """A ``session.run`` per step, the state passed as arrays."""
    _, n_steps, n_inputs = inputs.shape
    session = _session(n_inputs, n_cells, n_outputs)
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
    session = _session(n_inputs, n_cells, n_outputs)
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
