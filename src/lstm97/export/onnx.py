"""A network as an ONNX model: the forward pass of a step, or of a whole sequence, for the runtimes of ONNX.

`_add_step` makes the graph of a step from the equations that `Network` describes. Each value in it has a row for each
member of a batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lstm97._extras import missing
from lstm97.extend import LANE_ORDER, __version__, float_dtype, held, memory_of, scales_of, write_whole
from lstm97.network import Network
from lstm97.topology import GATES, Kind, Squash, Topology

Array = NDArray[Any]

# The oldest operator set that has all operators as they are used here: before it, Split took its sizes as an attribute.
OPSET = 13
IR_VERSION = 7

# Of a squashing function: the factor of its argument, an operator, the factor of its value. "centered" is
# 2 f(a) - 1 = tanh(a / 2), where f is the logistic function.
_SQUASHING: dict[Squash, tuple[float, str, float]] = {
    "logistic": (1, "Sigmoid", 1),
    "centered": (1 / 2, "Tanh", 1),
    "centered2": (1 / 2, "Tanh", 2),
    "tanh": (1, "Tanh", 1),
    "identity": (1, "Identity", 1),
}


def export_onnx(
    net: Network, path: str | PathLike[str], *, sequence: bool = False, dtype: DTypeLike | None = None
) -> None:
    """Write a network as an ONNX model: inference as any ONNX runtime does it, the state going in and coming out.

    The learning rule is not in the model, nor is the present state: the weights as they are now, frozen, and by which
    means and deviations the network scales its data.

    Parameters
    ----------
    net : Network
        The network.
    path : str or path
        Of the file; one that exists is replaced. Even if writing is interrupted, the path has the whole old file or
        the whole new one.
    sequence : bool, default False
        A model of whole sequences (a Scan over the step) instead of one of a single step.
    dtype : {"float64", "float32"}, optional
        Of the model's inputs, weights and outputs; by default the network's.

    Raises
    ------
    ModuleNotFoundError
        If the package onnx is missing (it comes with the extra ``onnx``).
    TypeError, ValueError
        If an argument is not as above, or a weight, mean or deviation is not finite in `dtype`.
    OSError
        If the file cannot be written.
    RuntimeError
        If another thread trains this network.

    Notes
    -----
    The model of a step has, in this order, the inputs

    ================= ===================== ======================================================================
    ``x``             (batch, n_inputs)     inputs; a symbol is its one-hot row
    ``cell_state``    (batch, n_cells)      the cell states of the step before
    ``activations``   (batch, n_recurrent)  the step before, as the hidden layer sees it: all units that
                                            `Topology.recurrent_sources` counts, in that order
    ================= ===================== ======================================================================

    and the outputs ``y`` of shape (batch, n_outputs), ``next_cell_state`` and ``next_activations``: what the next step
    of the stream gets as its ``cell_state`` and ``activations``. A stream begins with zeros. What a topology has no use
    for is left out: ``cell_state`` without cells, ``activations`` without recurrent connections.

    The model of a sequence has ``X`` of shape (n_steps, batch, n_inputs) and ``Y`` of shape (n_steps, batch, n_outputs)
    in the places of ``x`` and ``y``; the state that comes out is that after the last step. ONNX Runtime wants at least
    one step.

    Inputs and outputs are in the units of the data: scaling is part of the model. Where a network has met symbols only,
    their one-hot rows are not scaled.

    The bytes of a file depend on nothing but the network, the arguments, and the versions of lstm97 and onnx.
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    if not isinstance(sequence, bool):
        raise TypeError(f"sequence must be True or False, got {sequence!r}")
    real = float_dtype(net.dtype if dtype is None else dtype)
    weights, scales = _weights(net, real), _scales(net, real)
    try:
        onnx = import_module("onnx")  # not by a statement: types are checked without it too
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing("export_onnx", error.name, "onnx"), name=error.name) from error
    graph = _Graph(onnx, real, "step." if sequence else "")
    _add_step(graph, net.topology, weights, scales)
    made = _sequence_graph(graph, net.topology) if sequence else _step_graph(graph, net.topology)
    model = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="lstm97",
        producer_version=__version__,
        doc_string=f"An LSTM of 1997, {'whole sequences' if sequence else 'one step'}: {net.topology}",
    )
    onnx.helper.set_model_props(model, {"topology": json.dumps(asdict(net.topology)), "dtype": real.name})
    write_whole(path, model.SerializeToString(deterministic=True))


def _weights(net: Network, dtype: np.dtype[Any]) -> dict[Kind, Array]:
    """Copies of the weights in the model's dtype."""
    with held(net), np.errstate(all="ignore"):
        weights = {kind: view.astype(dtype) for kind, view in net.weights.items()}
    for kind, values in weights.items():
        if not np.isfinite(values).all():
            raise ValueError(f"net has weights of the kind {kind!r} that are not finite in {dtype}")
    return weights


def _scales(net: Network, dtype: np.dtype[Any]) -> dict[str, tuple[Array, Array]]:
    """Means and deviations of the data that are scaled; without those of inputs that have all been symbols."""
    with held(net):
        memory, scales = memory_of(net), scales_of(net)
    for name, scale in scales.items():
        if (np.abs(scale) > np.finfo(dtype).max).any():
            raise ValueError(f"net scales {name} by numbers that are not finite in {dtype}")
    return {name: scale for name, scale in scales.items() if memory[f"scaling.{name}"][:, 0].any()}


class _Graph:
    """The nodes and constants of a step, while they are put together.

    The names of its values have a prefix: in a Scan the step is a graph within a graph, and no name may be used in
    both. Constants have no prefix, as they are always in the outer graph.
    """

    def __init__(self, onnx: Any, dtype: np.dtype[Any], prefix: str) -> None:
        self.onnx = onnx
        self.dtype = dtype
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def value(self, name: str, *shape: str | int) -> Any:
        """Name, type and shape of an input or output."""
        element = self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype)
        return self.onnx.helper.make_tensor_value_info(name, element, shape)

    def constant(self, name: str, values: Array) -> str:
        """Keep an array as a constant; returns its name."""
        self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def named(self, name: str) -> str:
        """The full name of a value, or of a constant."""
        return name if name in self.constants else self.prefix + name

    def node(self, operator: str, inputs: Iterable[str], *outputs: str, **attributes: int) -> str:
        """Add a node; returns the name of its first output."""
        names = [[self.named(name) for name in group] for group in (inputs, outputs)]
        self.nodes.append(self.onnx.helper.make_node(operator, *names, name=names[1][0], **attributes))
        return outputs[0]

    def joined(self, parts: list[str], output: str) -> str:
        """The name of several values side by side; of a single one, its own name."""
        return self.node("Concat", parts, output, axis=1) if len(parts) > 1 else parts[0]

    def net_input(self, layer: str, sources: str, weights: Array, biases: Array | None) -> str:
        """The net inputs of a layer: weights of shape (sources, units), biases of shape (units,) or None."""
        factors = [sources, self.constant(f"{layer}.weights", weights)]
        net_input = f"{layer}.net_input"
        if biases is None:
            return self.node("MatMul", factors, net_input)
        bias = self.constant(f"{layer}.biases", biases)
        if self.dtype == np.float32:
            return self.node("Gemm", [*factors, bias], net_input)
        # ONNX Runtime before 1.18 fuses a Gemm of doubles, or MatMul and Add, with the Sigmoid that follows, and then
        # fails, as it has no kernel for that. It does not fuse a Sum.
        return self.node("Sum", [self.node("MatMul", factors, f"{layer}.product"), bias], net_input)

    def squash(self, squash: Squash, value: str, output: str) -> str:
        """A squashing function of a value."""
        before, operator, after = _SQUASHING[squash]
        if before != 1:
            value = self.node("Mul", [value, self._number("half", before)], f"{output}.argument")
        if after == 1:
            return self.node(operator, [value], output)
        half = self.node(operator, [value], f"{output}.half")
        return self.node("Mul", [half, self._number("two", after)], output)

    def scaled(self, value: str, mean: Array, deviation: Array, output: str) -> str:
        """A value in deviations from the mean; 0 in columns that have always been the same."""
        is_constant = deviation.astype(self.dtype) == 0
        difference = self._less_mean(value, mean, f"{output}.difference")
        divisor = self.constant(f"{output}.deviation", np.where(is_constant, 1, deviation).astype(self.dtype))
        if not is_constant.any():
            return self.node("Div", [difference, divisor], output)
        varies = self.constant(f"{output}.varies", (~is_constant).astype(self.dtype))
        return self.node("Mul", [self.node("Div", [difference, divisor], f"{output}.any"), varies], output)

    def _less_mean(self, value: str, mean: Array, output: str) -> str:
        """A value less the mean. In float32 the mean has two parts: far from zero, one is too coarse."""
        coarse = mean.astype(self.dtype)
        rest = (mean - coarse).astype(self.dtype)
        names = [self.constant(f"{output}.mean", coarse)]
        if rest.any():
            names.append(self.constant(f"{output}.rest_of_mean", rest))
            value = self.node("Sub", [value, names[0]], f"{output}.from_coarse_mean")
        return self.node("Sub", [value, names[-1]], output)

    def in_units(self, value: str, mean: Array, deviation: Array, output: str) -> str:
        """The value of which `scaled` makes this one."""
        factor = self.constant(f"{output}.deviation", deviation.astype(self.dtype))
        product = self.node("Mul", [value, factor], f"{output}.from_mean")
        return self.node("Add", [product, self.constant(f"{output}.mean", mean.astype(self.dtype))], output)

    def _number(self, name: str, value: float) -> str:
        return self.constant(name, np.array([value], self.dtype))


def _add_step(
    graph: _Graph, topology: Topology, weights: Mapping[Kind, Array], scales: Mapping[str, tuple[Array, Array]]
) -> None:
    """Add the nodes that compute ``y`` and the next state from ``x`` and the state before."""
    activations: dict[str, str] = {"input": "x"}
    if "inputs" in scales and (topology.n_cells or topology.n_hidden or topology.input_to_output):
        activations["input"] = graph.scaled("x", *scales["inputs"], "scaled_x")
    if topology.n_cells or topology.n_hidden:
        net_inputs = _hidden_net_inputs(graph, topology, weights, activations["input"])
        for kind, net_input in net_inputs.items():
            if kind != "cell":
                activations[kind] = graph.node("Sigmoid", [net_input], kind)
        if topology.n_cells:
            activations["cell"] = _add_cells(graph, topology, net_inputs["cell"])
    if topology.recurrent_sources:
        seen = [activations[kind] for kind in topology.recurrent_sources]
        graph.node("Concat", seen, "next_activations", axis=1)
    _add_outputs(graph, topology, weights["output"], activations, "scaled_y" if "targets" in scales else "y")
    if "targets" in scales:
        graph.in_units("scaled_y", *scales["targets"], "y")


def _hidden_net_inputs(
    graph: _Graph, topology: Topology, weights: Mapping[Kind, Array], inputs: str
) -> dict[Kind, str]:
    """The net inputs of the hidden layer by kind of unit: one product with all weights, then split."""
    kinds = [kind for kind in LANE_ORDER if kind in weights]
    n_sources = topology.n_inputs + sum(topology.recurrent_sources.values())
    biases = None
    if any(map(topology.has_bias, kinds)):
        none = {kind: np.zeros(topology.units[kind], graph.dtype) for kind in kinds}
        biases = np.concatenate([weights[kind][:, -1] if topology.has_bias(kind) else none[kind] for kind in kinds])
    together = graph.net_input(
        "hidden_layer",
        graph.joined([inputs, "activations"] if topology.recurrent_sources else [inputs], "hidden_layer.sources"),
        np.concatenate([weights[kind][:, :n_sources] for kind in kinds]).T,
        biases,
    )
    sizes = graph.constant("hidden_layer.sizes", np.array([topology.units[kind] for kind in kinds], np.int64))
    names: dict[Kind, str] = {kind: f"{kind}.net_input" for kind in kinds}
    graph.node("Split", [together, sizes], *names.values(), axis=1)
    return names


def _add_cells(graph: _Graph, topology: Topology, net_input: str) -> str:
    """Add the cells; returns the name of their activations."""
    gates = {kind: _at_cells(graph, topology, kind) for kind in GATES if kind in topology.units}
    g = graph.squash(topology.input_squash, net_input, "squashed_input")
    kept = "cell_state"
    if topology.forget_gates:
        kept = graph.node("Mul", [gates["forget_gate"], kept], "kept")
    let_in = graph.node("Mul", [gates["input_gate"], g], "let_in")
    state = graph.node("Add", [kept, let_in], "next_cell_state")
    h = graph.squash(topology.output_squash, state, "squashed_cell_state")
    return graph.node("Mul", [gates["output_gate"], h], "cell") if topology.output_gates else h


def _at_cells(graph: _Graph, topology: Topology, gate: Kind) -> str:
    """The activation of each cell's gate: the cells of a block share theirs."""
    if topology.n_cells == topology.n_blocks:
        return gate
    block_of = np.repeat(np.arange(topology.n_blocks), topology.blocks).astype(np.int64)
    return graph.node("Gather", [gate, graph.constant("block_of_cell", block_of)], f"{gate}.at_cells", axis=1)


def _add_outputs(
    graph: _Graph, topology: Topology, weights: Array, activations: Mapping[str, str], output: str
) -> None:
    """Add the outputs, which see the hidden layer of the same step."""
    sources = topology.sources("output")
    has_bias = sources.pop("bias")
    seen = [activations[kind] for kind, n in sources.items() if n]
    matrix = weights[:, : len(weights[0]) - has_bias].T
    if not seen:  # no source but the bias: the inputs, with weights 0, give the batch its size
        seen, matrix = ["x"], np.zeros((topology.n_inputs, topology.n_outputs), graph.dtype)
    joined = graph.joined(seen, "output.sources")
    net_input = graph.net_input("output", joined, matrix, weights[:, -1] if has_bias else None)
    operator = {"logistic": "Sigmoid", "identity": "Identity", "softmax": "Softmax"}[topology.output]
    graph.node(operator, [net_input], output, **({"axis": 1} if operator == "Softmax" else {}))


def _states(graph: _Graph, topology: Topology, prefix: str = "") -> list[list[Any]]:
    """The state that a stream carries from step to step, as inputs and as outputs; without parts of size 0."""
    sizes = {"cell_state": topology.n_cells, "activations": sum(topology.recurrent_sources.values())}
    return [
        [graph.value(prefix + which + name, "batch", n) for name, n in sizes.items() if n] for which in ("", "next_")
    ]


def _step_graph(graph: _Graph, topology: Topology) -> Any:
    """The graph of one step."""
    before, after = _states(graph, topology)
    return graph.onnx.helper.make_graph(
        graph.nodes,
        "step",
        [graph.value("x", "batch", topology.n_inputs), *before],
        [graph.value("y", "batch", topology.n_outputs), *after],
        list(graph.constants.values()),
    )


def _sequence_graph(graph: _Graph, topology: Topology) -> Any:
    """The graph of a sequence: a Scan, whose inputs and outputs begin with the state."""
    helper = graph.onnx.helper
    before, after = _states(graph, topology, graph.prefix)
    body = helper.make_graph(
        graph.nodes,
        "step",
        [*before, graph.value(graph.named("x"), "batch", topology.n_inputs)],
        [*after, graph.value(graph.named("y"), "batch", topology.n_outputs)],
    )
    before, after = _states(graph, topology)
    inputs, outputs = ([value.name for value in values] for values in (before, after))
    return helper.make_graph(
        [helper.make_node("Scan", [*inputs, "X"], [*outputs, "Y"], name="steps", body=body, num_scan_inputs=1)],
        "sequence",
        [graph.value("X", "n_steps", "batch", topology.n_inputs), *before],
        [graph.value("Y", "n_steps", "batch", topology.n_outputs), *after],
        list(graph.constants.values()),
    )
