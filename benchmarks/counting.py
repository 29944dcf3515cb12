"""How much work a time step takes, counted from the topology: the limits of a row are times of this work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import lstm97

STEERING = ("cell", "input_gate", "forget_gate")  # their weights have partials, as they affect the cell state


@dataclass(frozen=True)
class Work:
    """Work per time step of one sequence.

    Attributes
    ----------
    multiply_adds : float
        The fewest that the learning rule needs: net inputs, partials, errors, weight changes. Squashing functions are
        not counted, nor other work that grows with the units and not with the weights.
    weight_bytes : float
        Weights read for the net inputs of one step.
    steps_per_read : int
        Steps (of different sequences) that use these weights each time they are read.
    squashed_in_turn : int
        Squashing functions between a step's sources and the next step's that must be computed one after the other; 0
        where other sequences step in the meantime.
    changed_bytes : float
        Weights and partials that every step changes; 0 unless there is an error signal at every step.
    """

    multiply_adds: float
    weight_bytes: float
    steps_per_read: int
    squashed_in_turn: int
    changed_bytes: float


def count(
    topology: lstm97.Topology,
    dtype: str,
    *,
    signals: float,
    outputs: float,
    batch_size: int = 1,
    symbols_seen: float | None = None,
) -> Work:
    """Count the work of learning.

    Parameters
    ----------
    topology : lstm97.Topology
        The network.
    dtype : str
        The dtype of its weights.
    signals, outputs : float
        The share of the steps with an error signal, and the share of the steps at which outputs are computed.
    batch_size : int, default 1
        Sequences per weight change. From 2 on weights do not change during a sequence, and the change is a sum of outer
        products: one lane per gate instead of one per cell of its block.
    symbols_seen : float, optional
        If inputs are symbols, how many different ones a sequence has had at its error signal.

    Returns
    -------
    Work
        Per time step of one sequence.
    """
    t = topology
    summed = batch_size > 1
    hidden = {kind: n for kind, n in t.units.items() if kind != "output"}
    # Inputs that cost nothing: with symbols only one input is 1, and weights of symbols not seen do not change.
    idle = 0 if symbols_seen is None else t.n_inputs - 1
    idle_at_signal = 0.0 if symbols_seen is None or summed else t.n_inputs - symbols_seen
    idle_output = idle * t.input_to_output

    read = sum(n * (t.n_sources(kind) - idle) for kind, n in hidden.items())
    output = t.n_outputs * (t.n_sources("output") - idle_output)
    partials, changes = 0.0, float(output)
    for kind, n in hidden.items():
        sources = t.n_sources(kind)
        if kind in STEERING:
            lanes = n if summed else t.n_cells
            partials += lanes * (sources - idle)
            changes += 0 if summed else lanes * (sources - idle_at_signal)
        else:
            changes += n * (sources - idle)
    errors = t.n_outputs * (t.n_hidden + t.n_cells)
    itemsize = np.dtype(dtype).itemsize
    # Gates and g, then h; then the outputs, if the next step needs weights that this step's error changes.
    in_turn = 2 + (signals == 1 and t.output != "identity")
    return Work(
        multiply_adds=read + outputs * output + partials + signals * (errors + changes),
        weight_bytes=(read + outputs * output) * itemsize,
        steps_per_read=batch_size,
        squashed_in_turn=0 if summed else in_turn,
        changed_bytes=(read + output + partials) * itemsize if signals == 1 and not summed else 0,
    )
