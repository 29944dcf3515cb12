"""What goes on inside a network over one sequence: states, gates, and what a gate's net input is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lstm97.network import Network

Array = NDArray[Any]
Gate = Literal["input_gate", "output_gate"]


@dataclass(frozen=True)
class Inside:
    """A network's activations over one sequence from a zero state; arrays of shape (n_steps, units)."""

    outputs: Array
    cell_state: Array
    cell: Array
    gates: Mapping[str, Array]
    """"input_gate" and, if there are any, "output_gate"."""


def look_inside(network: Network, sequence: Array) -> Inside:
    """Run a sequence from a zero state, which leaves the network's own state alone, and note what goes on.

    Parameters
    ----------
    network : lstm97.Network
        Without forget gates.
    sequence : ndarray
        Rows of shape (n_steps, n_inputs), or symbols of shape (n_steps,).

    Returns
    -------
    Inside
    """
    gates = [kind for kind in ("input_gate", "output_gate") if kind in network.topology.units]
    outputs, seen = network.run(sequence, record=("cell_state", "cell", *gates), state=network.new_state())
    return Inside(outputs, seen["cell_state"], seen["cell"], {gate: seen[gate] for gate in gates})


def net_input_parts(network: Network, sequence: Array, gate: Gate, block: int) -> dict[str, Array]:
    """Split the net input of a block's gate by what it comes from (equations 7 to 9 of the paper).

    Parameters
    ----------
    network, sequence
        As for `look_inside`.
    gate : {"input_gate", "output_gate"}
    block : int
        The block's number, from 0.

    Returns
    -------
    dict of str to ndarray, shape (n_steps,)
        "input", the recurrent sources "cell", "input_gate", "output_gate", and "bias", as far as the gate has them.
        Their sum is the gate's net input.
    """
    inside = look_inside(network, sequence)
    before = {
        kind: np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
        for kind, rows in {"cell": inside.cell, **inside.gates}.items()
    }
    n_steps = len(sequence)
    one_hot = np.eye(network.topology.n_inputs)[sequence] if sequence.ndim == 1 else sequence
    sources = {"input": one_hot, **before, "bias": np.ones((n_steps, 1))}
    weights, parts, begin = network.weights[gate][block], {}, 0
    for kind, n in network.topology.sources(gate).items():
        if n:
            parts[kind] = sources[kind] @ weights[begin : begin + n]
        begin += n
    return parts
